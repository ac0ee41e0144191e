"""``script/bench gate``: what the gate costs, as ratios against a baseline measured in the same run.

(a) Refused requests a second through the gate, against a component of thirty lines on raw expat (`bench.raw`) that
answers every IQ on the same server. Rounds alternate, so that a noisy machine hits both alike; the figure is the
median of the rounds' ratios. Limits are off, refusals are audited.

(b) Accepted requests over 1,000 devices, none shared, requester → gate → device → gate → requester, against the same
requester asking the same devices directly: requests a second with many outstanding, and latency one at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import secrets
import statistics
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from bench.load import Load, Measured, connected
from stanzagate.sandbox.accounts import Account
from stanzagate.sandbox.seed import seed_accounts
from stanzagate.sandbox.wire import attach

SERVERS = ("prosody", "ejabberd")
LIMIT = 300.0
"""Seconds that anything may take at most."""

WARM_UP = 5_000
BASELINE, REQUESTER = "spare1.test", "spare2.test"


def cli(*arguments: str, text: str | None = None) -> str:
    """Run the command line; its standard output."""
    done = subprocess.run(
        [sys.executable, "-m", "stanzagate", *arguments], input=text, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"stanzagate {' '.join(arguments)} failed: {done.stderr}")
    return done.stdout


@contextlib.contextmanager
def sandbox(server: str) -> Iterator[tuple[Path, dict[str, Any], dict[str, Any]]]:
    """A sandbox on `server`: its folder, its sandbox.json, and its components by domain."""
    with tempfile.TemporaryDirectory(prefix="stanzagate-bench-") as name:
        folder = Path(name)
        cli("sandbox", "up", "--dir", name, "--server", server, "--detach")
        try:
            report = json.loads((folder / "sandbox.json").read_text())
            yield folder, report, json.loads((folder / "components.json").read_text())
        finally:
            cli("sandbox", "down", "--dir", name)


async def attached(component: dict[str, Any]) -> Load:
    """The load generator, attached as `component`."""
    return await connected(component["jid"], component["secret"], component["host"], component["port"])


async def ready(process: asyncio.subprocess.Process) -> None:
    """Wait for the line ``ready``."""
    assert process.stdout is not None
    async with asyncio.timeout(LIMIT):
        if await process.stdout.readline() != b"ready\n":
            raise SystemExit("a process of the benchmark did not get ready")


@contextlib.asynccontextmanager
async def baseline(component: dict[str, Any]) -> AsyncIterator[None]:
    """The thirty lines, attached as `component` in a process of their own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.raw", component["jid"], component["host"], str(component["port"]),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(component["secret"].encode() + b"\n")
    try:
        await ready(process)
        yield
    finally:
        process.terminate()
        await process.wait()


async def refused(server: str, rounds: int, seconds: float, window: int) -> dict[str, Any]:
    """Part (a) on one server. A round is as many requests as the baseline answers in about `seconds`."""
    with sandbox(server) as (_, report, components):
        async with baseline(components[BASELINE]):
            load = await attached(components[REQUESTER])
            sender = f"nobody@{REQUESTER}"
            gate = [(f"cpe1\\40cpe.test@{report['domains']['gate']}", "u", "p")]
            raw = [(f"cpe1\\40cpe.test@{BASELINE}", "u", "p")]
            await load.measure(sender, gate, WARM_UP, window, LIMIT)
            requests = int((await load.measure(sender, raw, WARM_UP, window, LIMIT)).rate * seconds)
            pairs: list[tuple[float, float]] = []
            for number in range(rounds):
                order = (gate, raw) if number % 2 else (raw, gate)
                rates = {
                    id(targets): await load.measure(sender, targets, requests, window, LIMIT) for targets in order
                }
                assert all(measured.errors == requests for measured in rates.values())
                pairs.append((rates[id(gate)].rate, rates[id(raw)].rate))
            ratios = [ours / theirs for ours, theirs in pairs]
            return {
                "bench": "gate.refused", "server": server, "requests": requests, "window": window,
                "gate_per_s": round(statistics.median(ours for ours, _ in pairs)),
                "raw_expat_per_s": round(statistics.median(theirs for _, theirs in pairs)),
                "ratio": round(statistics.median(ratios), 3),
                "ratios": [round(ratio, 3) for ratio in ratios],
                "required": 0.8, "aim": 0.95,
            }  # fmt: skip


@contextlib.asynccontextmanager
async def devices(
    folder: Path, report: dict[str, Any], components: dict[str, Any], count: int
) -> AsyncIterator[None]:
    """`count` devices: accounts on the server, rows in the registry, connected."""
    accounts = [Account(f"bench{number}@cpe.test", secrets.token_urlsafe(12)) for number in range(count)]
    seeder = components["seeder.test"]
    async with await attach(seeder["host"], seeder["port"], seeder["jid"], seeder["secret"]) as stream:
        await seed_accounts(stream, seeder["jid"], accounts)
    lines = "".join(f"bench-{number},{account.jid}/r,u,p,bench\n" for number, account in enumerate(accounts))
    cli("device", "import", "-", "--dir", str(folder), text=f"id,jid,cr_username,cr_password,groups\n{lines}")
    cli("jid", "allow", f"acs@{REQUESTER}", "--to", "group:bench", "--dir", str(folder))
    settings = {
        **report["c2s"], "ca": report["ca"],
        "devices": [{"jid": f"{account.jid}/r", "password": account.password} for account in accounts],
    }  # fmt: skip
    path = folder / "bench-devices.json"
    path.touch(0o600)
    path.write_text(json.dumps(settings))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.devices", str(path),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        await ready(process)
        yield
    finally:
        process.terminate()
        await process.wait()


async def accepted(server: str, rounds: int, requests: int, count: int) -> dict[str, Any]:
    """Part (b) on one server."""
    with sandbox(server) as (folder, report, components):
        async with devices(folder, report, components, count):
            load = await attached(components[REQUESTER])
            sender = f"acs@{REQUESTER}"
            gate = [(f"bench{n}\\40cpe.test@{report['domains']['gate']}", "u", "p") for n in range(count)]
            direct = [(f"bench{n}@cpe.test/r", "u", "p") for n in range(count)]
            window = min(200, count // 2)  # fewer than there are devices, so that no two share a request
            rates: list[tuple[Measured, Measured]] = []
            alone: list[tuple[Measured, Measured]] = []
            for targets in (gate, direct):
                await load.measure(sender, targets, count, window, LIMIT)
            for _ in range(rounds):
                rates.append((
                    await load.measure(sender, gate, requests, window, LIMIT),
                    await load.measure(sender, direct, requests, window, LIMIT),
                ))  # fmt: skip
                alone.append((
                    await load.measure(sender, gate, count, 1, LIMIT),
                    await load.measure(sender, direct, count, 1, LIMIT),
                ))  # fmt: skip
            assert all(m.results == requests for pair in rates for m in pair), "every device must accept"
            return {
                "bench": "gate.accepted", "server": server, "devices": count, "requests": requests, "window": window,
                "gate_per_s": round(statistics.median(ours.rate for ours, _ in rates)),
                "direct_per_s": round(statistics.median(theirs.rate for _, theirs in rates)),
                "ratio": round(statistics.median(ours.rate / theirs.rate for ours, theirs in rates), 3),
                **_latency("p50", 0.5, alone), **_latency("p99", 0.99, alone),
            }  # fmt: skip


def _latency(name: str, share: float, alone: list[tuple[Measured, Measured]]) -> dict[str, float]:
    ours = statistics.median(gate.percentile(share) for gate, _ in alone) * 1000
    theirs = statistics.median(direct.percentile(share) for _, direct in alone) * 1000
    return {
        f"gate_{name}_ms": round(ours, 3),
        f"direct_{name}_ms": round(theirs, 3),
        f"added_{name}_ms": round(ours - theirs, 3),
    }


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=SERVERS, action="append", help="default: both")
    parser.add_argument("--part", choices=("a", "b"), action="append", help="default: both")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a round in part (a)")
    parser.add_argument("--window", type=int, default=200, help="requests outstanding in part (a)")
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=5000, help="of a round in part (b)")
    options = parser.parse_args()
    figures: list[dict[str, Any]] = []
    for server in options.server or SERVERS:
        if "a" in (options.part or "ab"):
            figures.append(await refused(server, options.rounds, options.seconds, options.window))
            print(json.dumps(figures[-1]), flush=True)
        if "b" in (options.part or "ab"):
            rounds = max(1, options.rounds // 2)
            figures.append(await accepted(server, rounds, options.requests, options.devices))
            print(json.dumps(figures[-1]), flush=True)
    for figure in figures:
        print(sentence(figure))


def sentence(figure: dict[str, Any]) -> str:
    """A measurement for people."""
    if figure["bench"] == "gate.refused":
        text = (
            "{server}: refused through the gate {gate_per_s}/s, answered by thirty lines of raw expat "
            "{raw_expat_per_s}/s: ratio {ratio} (at least {required}, aim {aim})"
        )
    else:
        text = (
            "{server}: accepted over {devices} devices through the gate {gate_per_s}/s, directly {direct_per_s}/s: "
            "ratio {ratio}; added latency p50 {added_p50_ms} ms, p99 {added_p99_ms} ms"
        )
    return text.format(**figure)


if __name__ == "__main__":
    asyncio.run(main())
