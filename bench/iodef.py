"""What it costs to check incidents: run it as ``python -m bench.iodef [--rounds N]``.

The baseline is lxml's bare parse of the same bytes, `lxml.etree.fromstring` with its own parser: no limits, no
schema, nothing looked at. Rounds of it and of ours alternate; the ratio is the median of the rounds. Three documents:
one as small as the example of RFC 8600, a report with six events and their logs, and 10 MB of such reports. "Both"
is what validation and extraction cost beyond the safe parse; "whole way" is from bytes to attributes, the safe parse
included. Prints one JSON line with everything, and a table.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from bench.policy import machine, peak, resident

LARGE = 10_000_000
"""Bytes of the large document."""

EXAMPLE = b"""<?xml version="1.0" encoding="UTF-8"?>
<IODEF-Document version="2.00" xml:lang="en" xmlns="urn:ietf:params:xml:ns:iodef-2.0">
  <Incident purpose="reporting" restriction="private">
    <IncidentID name="csirt.example.com">492382</IncidentID>
    <GenerationTime>2015-07-18T09:00:00-05:00</GenerationTime>
    <Contact type="organization" role="creator">
      <Email><EmailTo>contact@csirt.example.com</EmailTo></Email>
    </Contact>
  </Incident>
</IODEF-Document>
"""
"""As small as documents get: that of RFC 8600 §5 has the same parts."""

_STORY = (
    "Since the early morning logins are tried from many addresses against the VPN gateways of a member, with names "
    "that were published after the breach of a mail provider last spring. Three accounts were taken over before the "
    "second factor was demanded from everybody; they were blocked at 09:10, and their sessions ended. The addresses "
    "below are those of successful logins; those that only tried are left out. Please block them, and tell us what "
    "they did in your networks."
)

_LOG = (
    "Nov 21 09:{minute:02}:01 vpn1 sshd[{port}]: Failed password for j.doe from 192.0.2.{host} port {port}\n"
    "Nov 21 09:{minute:02}:04 vpn1 sshd[{port}]: Failed password for j.doe from 192.0.2.{host} port {port}\n"
    "Nov 21 09:{minute:02}:09 vpn1 sshd[{port}]: Accepted password for j.doe from 192.0.2.{host} port {port}"
)

_EVENT = """
      <EventData>
        <Flow>
          <System category="source" spoofed="no">
            <Node><Address category="ipv4-addr">192.0.2.{host}</Address></Node>
            <Service ip-protocol="6"><Port>{port}</Port></Service>
          </System>
          <System category="target">
            <Node>
              <DomainData system-status="innocent-hacked" domain-status="assignedAndActive">
                <Name>host{number}.example.org</Name>
              </DomainData>
              <Address category="ipv6-net">2001:db8:{host:x}::/48</Address>
            </Node>
            <Service ip-protocol="6"><Port>443</Port></Service>
          </System>
        </Flow>
        <Expectation action="block-host" severity="high"/>
        <Record>
          <RecordData>
            <DateTime>2026-11-21T09:{minute:02}:00Z</DateTime>
            <RecordItem dtype="string">{log}</RecordItem>
          </RecordData>
        </Record>
      </EventData>"""

_INCIDENT = """
    <Incident purpose="mitigation" restriction="amber">
      <IncidentID name="csirt.example.org">2026-{number}</IncidentID>
      <StartTime>2026-11-21T08:55:00Z</StartTime>
      <GenerationTime>2026-11-21T09:30:00Z</GenerationTime>
      <Description>{story}</Description>
      <Assessment occurrence="actual">
        <IncidentCategory>password guessing</IncidentCategory>
        <SystemImpact severity="medium" type="takeover-account"/>
        <BusinessImpact severity="low" type="degraded-reputation"/>
        <Confidence rating="medium"/>
      </Assessment>
      <Method>
        <Reference><URL>https://attack.example.org/T1110</URL></Reference>
        <Description>password guessing against a VPN gateway</Description>
      </Method>
      <Contact type="organization" role="creator">
        <ContactName>CSIRT of example.org</ContactName>
        <Email><EmailTo>csirt@example.org</EmailTo></Email>
      </Contact>{events}
    </Incident>"""


def _event(number: int) -> str:
    values = {"host": number % 250 + 1, "port": 1024 + number % 60000, "minute": number % 60}
    return _EVENT.format(number=number, log=_LOG.format(**values), **values)


def document(incidents: int, events: int) -> bytes:
    """A document as a CSIRT would send it."""
    parts = []
    for number in range(incidents):
        rows = "".join(map(_event, range(events)))
        parts.append(_INCIDENT.format(number=number, story=_STORY, events=rows))
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<IODEF-Document version="2.00" xml:lang="en"'
    return f'{head} xmlns="urn:ietf:params:xml:ns:iodef-2.0">{"".join(parts)}\n</IODEF-Document>\n'.encode()


def large() -> bytes:
    """A document of `LARGE` bytes."""
    return document(LARGE // len(document(1, 6)) + 1, 6)


def per_call(what: Callable[[], object], times: int) -> float:
    """Microseconds of one call, the mean of `times`."""
    start = time.perf_counter_ns()
    for _ in range(times):
        what()
    return (time.perf_counter_ns() - start) / times / 1000


def measure(source: bytes, rounds: int) -> dict[str, Any]:
    """Medians over alternating rounds, and ratios to the bare parse of the same round."""
    from lxml import etree  # noqa: PLC0415  the processes for memory must not pay for it before they look

    from grid.iodef import check, load, parse  # noqa: PLC0415
    from grid.iodef.attributes import extract  # noqa: PLC0415

    tree = check(source)
    ours: dict[str, Callable[[], object]] = {
        "parse": lambda: parse(source),
        "check": lambda: check(source),
        "extract": lambda: [(found, found.attackers) for found in extract(tree)],
        "load": lambda: load(source),
        "whole": lambda: [(found, found.attackers) for found in extract(check(source))],
    }
    times = max(1, int(40_000 / per_call(lambda: etree.fromstring(source), 3)))
    taken: dict[str, list[float]] = {name: [] for name in ("bare", *ours)}
    for _ in range(rounds):
        gc.collect()
        taken["bare"].append(per_call(lambda: etree.fromstring(source), times))
        for name, call in ours.items():
            taken[name].append(per_call(call, times))
    validate = [one - other for one, other in zip(taken["check"], taken["parse"], strict=True)]
    added = [one - other for one, other in zip(taken["whole"], taken["parse"], strict=True)]
    ratios = {
        name: median_ratio(spent, taken["bare"])
        for name, spent in (*taken.items(), ("validate", validate), ("added", added))
    }
    medians = {f"{name}_us": statistics.median(spent) for name, spent in taken.items()}
    return {"bytes": len(source), "ratio": ratios, "documents_per_s": 1e6 / medians["whole_us"], **medians}


def median_ratio(spent: list[float], base: list[float]) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(one / other for one, other in zip(spent, base, strict=True))


def memory(way: str) -> dict[str, float]:
    """Memory of this process for the large document: what stays while the result is held, and the peak."""
    from lxml import etree  # noqa: PLC0415

    from grid.iodef import check, load  # noqa: PLC0415
    from grid.iodef.attributes import extract  # noqa: PLC0415

    small = document(1, 1)
    ways: dict[str, Callable[[bytes], object]] = {
        "bare": etree.fromstring,
        "check": lambda source: extract(check(source)),
        "load": load,
    }
    ways[way](small)  # imports and the schema are not the document's
    source = large()
    before = resident()
    kept = ways[way](source)
    return {"held_mb": resident() - before, "peak_mb": peak() - before, "kept": float(kept is not None)}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--memory", choices=("bare", "check", "load"), help="one figure (used internally)")
    options = parser.parse_args()
    if options.memory:
        print(json.dumps(memory(options.memory)))
        return 0
    found: dict[str, Any] = {
        "small": measure(EXAMPLE, options.rounds),
        "middle": measure(document(1, 6), options.rounds),
        "large": measure(large(), max(3, options.rounds // 3)),
    }
    for way in ("bare", "check", "load"):
        command = [sys.executable, "-m", "bench.iodef", "--memory", way]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found[f"memory_{way}"] = json.loads(done.stdout)
    print(json.dumps(found))
    print(table(found))
    return 0


def table(found: dict[str, Any]) -> str:
    """The figures for people."""
    lines = [
        f"IODEF on {machine()}",
        f"{'document':>12}{'bare parse':>14}{'validate':>10}{'extract':>10}{'both':>8}{'at most':>9}"
        f"{'whole way':>11}{'documents/s':>13}{'typed model':>13}",
    ]
    for name in ("small", "middle", "large"):
        row = found[name]
        ratio = row["ratio"]
        lines.append(
            f"{row['bytes']:>10,} B{row['bare_us']:>11,.1f} us{ratio['validate']:>10.2f}{ratio['extract']:>10.2f}"
            f"{ratio['added']:>8.2f}{2:>9.2f}{ratio['whole']:>11.2f}{row['documents_per_s']:>13,.0f}{ratio['load']:>13.2f}"
        )
    for way, words in (
        ("bare", "lxml's bare parse"),
        ("check", "parse, validate, extract"),
        ("load", "the typed model"),
    ):
        row = found[f"memory_{way}"]
        lines.append(f"memory for 10 MB, {words}: {row['held_mb']:.0f} MB held, {row['peak_mb']:.0f} MB at the peak")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
