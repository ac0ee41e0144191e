"""What the relay costs: stanzas between components of two servers, through the relay and without it, in one run.

(a) Prosody ↔ relay ↔ server against Prosody ↔ Prosody, both with bidi (XEP-0288) over one TCP connection, TLS and
SASL EXTERNAL: stanzas a second each way, the round trip one at a time, the time to the first stanza of a pair of
domains (connection, TLS, authentication), and the processor time of the relay for each stanza against that of the
local server. Rounds alternate, so that a noisy machine hits all alike; ratios are the medians of the rounds' ratios.

The ends are components, which add next to nothing, so that what is compared is the servers and the relay alone. The
round trip that users have is measured beside it: an IQ and its answer between clients of both servers, over TLS.

(b) The relay with bidi against the relay without it (two TCP connections).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.gate import SERVERS
from bench.relayends import End, cpu, first, flow, round_trip
from stanzagate.pki import Authority
from stanzagate.sandbox.control import Parts
from stanzagate.sandbox.network import S2S_PORT, free_address
from tests.interop.conftest import Sandbox, bare_sandbox
from tests.interop.rawclient import RawClient, online
from tests.interop.relaykit import relay
from tests.interop.relaykit_partner import Host, partner

LOCAL, DIRECT = "spare1.test", "direct.test"
"""Our domain behind the relay, and that of the Prosody without one."""
BIDI, PLAIN = "bidi.test", "plain.test"
"""Of the partner."""
OURS, NEAR, PEOPLE = "acs.test", "near.test", "people.test"
"""Domains of clients: ours, those of the Prosody without a relay, and the partner's."""
ROUND_TRIPS = 300


@dataclass(frozen=True)
class Way:
    """A way from one end to the other.

    :ivar processes: whose processor time is looked at, by name.
    """

    name: str
    one: End
    other: End
    processes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Round:
    """What one round has shown: stanzas a second each way, seconds of a round trip, and of each process a stanza."""

    there: float
    back: float
    trip: float
    cost: dict[str, float]


async def measured(path: Way, count: int, window: int) -> Round:
    """One round."""
    for one, other in ((path.one, path.other), (path.other, path.one)):
        await flow(one, other, window, window)  # the code is warm, the streams are open
    before = {name: cpu(pid) for name, pid in path.processes.items()}
    there = await flow(path.one, path.other, count, window)
    back = await flow(path.other, path.one, count, window)
    cost = {name: (cpu(pid) - before[name]) / (2 * count) for name, pid in path.processes.items()}
    return Round(there, back, await round_trip(path.one, path.other, ROUND_TRIPS), cost)


async def asked(one: RawClient, other: RawClient) -> float:
    """Seconds for an IQ and its answer between two clients, one at a time: the median."""
    found = []
    for _ in range(ROUND_TRIPS):
        started = time.perf_counter()
        answer = await one.request(other.jid, "u", "p")
        assert answer.type == "result", answer
        found.append(time.perf_counter() - started)
    return statistics.median(found)


@contextlib.asynccontextmanager
async def scene(kind: str, folder: Path, firsts: Sequence[str]) -> AsyncIterator[tuple[dict[str, Way], Any, Any]]:
    """All servers and the ends: the paths by name, what makes the first stanza of a domain travel both ways, and
    clients by path.
    """
    domains = (BIDI, PLAIN, PEOPLE, *firsts)
    sandbox_folder = folder / "sandbox"
    parts = frozenset({Parts.SERVER, Parts.SERVE})
    with bare_sandbox(sandbox_folder, kind, parts=parts, partners=domains) as sandbox:
        ca = Path(sandbox.info["ca"])
        hosts = [Host(domain, attached=True, bidi=domain != PLAIN) for domain in domains if domain != PEOPLE]
        hosts.append(Host(PEOPLE, ("people",)))
        near = [Host(DIRECT, attached=True), Host(NEAR, ("near",))]
        address = free_address()
        certificate = folder / f"{LOCAL}.crt"
        Authority.load(ca, ca.with_suffix(".key")).server([LOCAL]).write(certificate, certificate.with_suffix(".key"))
        async with (
            partner(folder / "partner", ca, hosts, log="info") as remote,
            partner(folder / "direct", ca, near, log="info") as direct,
            relay(
                sandbox, folder / "relay", {domain: {"connect": remote.connect(domain)} for domain in domains},
                listen=[address], local={LOCAL: certificate, OURS: sandbox_folder / "certs" / f"{OURS}.crt"},
            ) as between,
            contextlib.AsyncExitStack() as stack,
        ):  # fmt: skip
            remote.reach(
                dict.fromkeys((LOCAL, OURS), (address, S2S_PORT))
                | {host.domain: (host.address, S2S_PORT) for host in near}
            )
            direct.reach({domain: (remote.host(domain).address, S2S_PORT) for domain in domains})

            async def end(server: Sandbox, domain: str) -> End:
                made = await End.attached(domain, server.components[domain])
                stack.callback(made.close)
                return made

            ours, theirs = await end(sandbox, LOCAL), await end(direct.sandbox, DIRECT)
            others = {domain: await end(remote.sandbox, domain) for domain in domains if domain != PEOPLE}
            people = await stack.enter_async_context(online(remote.sandbox, "people", "bench"))
            clients = {
                "relay": (await stack.enter_async_context(online(sandbox, "acs1", "bench")), people),
                "direct": (await stack.enter_async_context(online(direct.sandbox, "near", "bench")), people),
            }
            processes = {"relay": between.process.pid, "local": server_pid(sandbox), "partner": remote.process.pid}
            without = {"local": direct.process.pid, "partner": remote.process.pid}
            yield {
                "relay": Way("relay", ours, others[BIDI], processes),
                "relay-plain": Way("relay-plain", ours, others[PLAIN], processes),
                "direct": Way("direct", theirs, others[BIDI], without),
            }, (ours, theirs, [others[domain] for domain in firsts]), clients  # fmt: skip


def server_pid(sandbox: Sandbox) -> int:
    """The process of a sandbox's server: the child of its supervisor that is not ours."""
    supervisor = json.loads((sandbox.folder / "sandbox.pid").read_text())["pid"]
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text(encoding="ascii").split()
    names = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children}
    return int(next(pid for pid, name in names.items() if b"stanzagate\0serve" not in name))


async def on(kind: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure with a local server of a kind.

    ejabberd hands over faster than the partner's Prosody reads; more than 1,000 stanzas that wait would be bounced.
    """
    window = options.window or (900 if kind == "ejabberd" else 4000)
    firsts = [f"first{number}.test" for number in range(options.firsts)]
    with tempfile.TemporaryDirectory(prefix="stanzagate-bench-") as name:
        async with scene(kind, Path(name), firsts) as (paths, (ours, theirs, others), clients):
            waits = [(await first(ours, other), await first(theirs, other)) for other in others]
            rounds: dict[str, list[Round]] = {name: [] for name in paths}
            for number in range(options.rounds):
                for path in sorted(paths, reverse=bool(number % 2)):
                    rounds[path].append(await measured(paths[path], options.stanzas, window))
            users = [
                {path: await asked(*clients[path]) for path in sorted(clients, reverse=bool(number % 2))}
                for number in range(options.rounds + 1)
            ][1:]  # the first one opens the streams
    return [figures(kind, rounds, waits, users, options.stanzas, window), compared(kind, rounds)]


def figures(
    kind: str,
    rounds: dict[str, list[Round]],
    waits: list[tuple[float, float]],
    users: list[dict[str, float]],
    stanzas: int,
    window: int,
) -> dict[str, Any]:
    """Part (a)."""
    pairs = list(zip(rounds["relay"], rounds["direct"], strict=True))
    found: dict[str, Any] = {
        "bench": "relay", "server": kind, "stanzas": stanzas, "window": window,
        "rounds": len(pairs),
    }  # fmt: skip
    for name in ("there", "back"):
        found |= {
            f"{name}_per_s": per_s(rounds["relay"], name), f"{name}_direct_per_s": per_s(rounds["direct"], name),
            f"{name}_ratio": ratio(getattr(ours, name) / getattr(theirs, name) for ours, theirs in pairs),
        }  # fmt: skip
    cost = {name: [item.cost[name] for item in rounds["relay"]] for name in ("relay", "local", "partner")}
    return found | {
        "required": 0.6,
        "trip_ms": ms(item.trip for item in rounds["relay"]),
        "trip_direct_ms": ms(item.trip for item in rounds["direct"]),
        "trip_ratio": ratio(ours.trip / theirs.trip for ours, theirs in pairs), "trip_required": 1.6,
        "users_ms": ms(item["relay"] for item in users), "users_direct_ms": ms(item["direct"] for item in users),
        "users_ratio": ratio(item["relay"] / item["direct"] for item in users),
        "first_ms": ms(ours for ours, _ in waits), "first_direct_ms": ms(theirs for _, theirs in waits),
        "relay_cpu_us": us(cost["relay"]), "local_cpu_us": us(cost["local"]), "partner_cpu_us": us(cost["partner"]),
        "direct_cpu_us": us(item.cost["local"] for item in rounds["direct"]),
        "cpu_ratio": ratio(relay / local for relay, local in zip(cost["relay"], cost["local"], strict=True)),
        "cpu_required": 1.0,
    }  # fmt: skip


def compared(kind: str, rounds: dict[str, list[Round]]) -> dict[str, Any]:
    """Part (b)."""
    pairs = list(zip(rounds["relay"], rounds["relay-plain"], strict=True))
    return {
        "bench": "relay.plain", "server": kind,
        "there_per_s": per_s(rounds["relay-plain"], "there"), "back_per_s": per_s(rounds["relay-plain"], "back"),
        "there_ratio": ratio(ours.there / theirs.there for ours, theirs in pairs),
        "back_ratio": ratio(ours.back / theirs.back for ours, theirs in pairs),
        "trip_ms": ms(item.trip for item in rounds["relay-plain"]),
        "trip_ratio": ratio(ours.trip / theirs.trip for ours, theirs in pairs),
    }  # fmt: skip


def ratio(values: Iterable[float]) -> float:
    """The median."""
    return round(statistics.median(values), 3)


def per_s(rounds: list[Round], name: str) -> int:
    """The median of a rate."""
    return int(statistics.median(getattr(item, name) for item in rounds))


def ms(values: Iterable[float]) -> float:
    """The median, in milliseconds."""
    return round(1000 * statistics.median(values), 3)


def us(values: Iterable[float]) -> float:
    """The median, in microseconds."""
    return round(1e6 * statistics.median(values), 1)


SENTENCES = {
    "relay": (
        "{server}: through the relay {there_per_s}/s there and {back_per_s}/s back, Prosody to Prosody "
        "{there_direct_per_s}/s and {back_direct_per_s}/s: ratios {there_ratio} and {back_ratio} (at least "
        "{required}); round trip {trip_ms} ms to {trip_direct_ms} ms: ratio {trip_ratio}, "
        "between clients {users_ms} ms to {users_direct_ms} ms: {users_ratio} (at most {trip_required}); "
        "first stanza {first_ms} ms to {first_direct_ms} ms; processor time of a stanza {relay_cpu_us} µs "
        "in the relay, {local_cpu_us} µs in the local server: ratio {cpu_ratio} (at most {cpu_required})"
    ),
    "relay.plain": (
        "{server}: without bidi {there_per_s}/s there and {back_per_s}/s back, round trip {trip_ms} ms; with bidi to "
        "without: {there_ratio} and {back_ratio}, round trip {trip_ratio}"
    ),
}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=SERVERS, action="append", help="the local server; default: both")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--stanzas", type=int, default=20_000, help="of a round, each way")
    parser.add_argument("--window", type=int, help="stanzas on the way at once; default: 4000, and 900 with ejabberd")
    parser.add_argument("--firsts", type=int, default=9, help="pairs of domains whose first stanza is waited for")
    options = parser.parse_args()
    figures = [figure for kind in options.server or SERVERS for figure in await on(kind, options)]
    for figure in figures:
        print(json.dumps(figure))
    for figure in figures:
        print(SENTENCES[figure["bench"]].format(**figure))


if __name__ == "__main__":
    asyncio.run(main())
