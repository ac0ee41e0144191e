"""What the in-server plugin costs on both servers, against the same server without it, measured in the same run.

(a) Allowed requests, decisions cached, requester → device and back: requests a second with many outstanding, and
latency one at a time. The plugin is loaded and unloaded in the running server; rounds alternate, so that a noisy
machine hits both alike; the figures are the medians of the rounds' ratios.

(b) An uncached decision: the latency of the first request of a pair, against that of the second.

(c) Memory for 100,000 cached decisions, as the server's own memory management counts it after a collection.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import statistics
from typing import Any

from bench.gate import LIMIT, REQUESTER, SERVERS, attached, devices, sandbox
from bench.load import Load, Measured
from tests.interop import shells
from tests.interop.conftest import Sandbox

HOST = "cpe.test"
DECISIONS = 100_000
Targets = list[tuple[str, str, str]]


def memory(server: Sandbox) -> int:
    """Bytes that the server uses, after a collection."""
    if server.kind == "prosody":
        code = "> (function () collectgarbage(); collectgarbage(); return collectgarbage('count') * 1024; end)()"
        return int(float(re.findall(r"[\d.]+", shells.prosody(server, code))[-1]))
    collected = "[garbage_collect(P) || P <- processes()], erlang:memory(total)"
    return int(shells.erlang(server, collected).strip())


async def cached(server: Sandbox, load: Load, targets: Targets, rounds: int, requests: int) -> dict[str, Any]:
    """Part (a)."""
    window = min(100, len(targets) // 2)
    sender = f"acs@{REQUESTER}"

    async def measured(guarded: bool) -> tuple[Measured, Measured]:
        await asyncio.to_thread(shells.load_plugin if guarded else shells.unload_plugin, server, HOST)
        await load.measure(sender, targets, len(targets), window, LIMIT)  # decisions are cached, code is warm
        flood = await load.measure(sender, targets, requests, window, LIMIT)
        alone = await load.measure(sender, targets, len(targets), 1, LIMIT)
        assert flood.errors == alone.errors == 0, "every device must accept"
        return flood, alone

    with_it, without = [], []
    for number in range(rounds):
        for guarded in (number % 2 == 0, number % 2 == 1):
            (with_it if guarded else without).append(await measured(guarded))
    pairs = list(zip(with_it, without, strict=True))
    return {
        "bench": "plugin.cached", "server": server.kind, "devices": len(targets), "requests": requests,
        "window": window, "rounds": rounds,
        "with_per_s": round(statistics.median(flood.rate for flood, _ in with_it)),
        "without_per_s": round(statistics.median(flood.rate for flood, _ in without)),
        "throughput_ratio": ratio(ours[0].rate / theirs[0].rate for ours, theirs in pairs),
        "throughput_ratios": [round(ours[0].rate / theirs[0].rate, 3) for ours, theirs in pairs],
        "required": 0.9, "aim": 0.95,
        **{
            f"{name}_{what}_ms": round(1000 * statistics.median(alone.percentile(share) for _, alone in found), 3)
            for name, share in (("p50", 0.5), ("p99", 0.99))
            for what, found in (("with", with_it), ("without", without))
        },
        "p50_ratio": ratio(ours[1].percentile(0.5) / theirs[1].percentile(0.5) for ours, theirs in pairs),
        "p99_ratio": ratio(ours[1].percentile(0.99) / theirs[1].percentile(0.99) for ours, theirs in pairs),
        "p50_required": 1.1, "p50_aim": 1.05,
    }  # fmt: skip


def ratio(values: Any) -> float:
    """The median."""
    return round(statistics.median(values), 3)


async def uncached(server: Sandbox, load: Load, targets: Targets, rounds: int) -> dict[str, Any]:
    """Part (b)."""
    first, second = [], []
    for _ in range(rounds):
        await asyncio.to_thread(shells.unload_plugin, server, HOST)
        await asyncio.to_thread(shells.load_plugin, server, HOST)
        for found in (first, second):
            found.append(await load.measure(f"acs@{REQUESTER}", targets, len(targets), 1, LIMIT))
    medians = {
        name: 1000 * statistics.median(measured.percentile(0.5) for measured in found)
        for name, found in (("first", first), ("second", second))
    }
    return {
        "bench": "plugin.uncached", "server": server.kind,
        "first_p50_ms": round(medians["first"], 3), "second_p50_ms": round(medians["second"], 3),
        "decision_ms": round(medians["first"] - medians["second"], 3),
        "first_p99_ms": round(1000 * statistics.median(measured.percentile(0.99) for measured in first), 3),
    }  # fmt: skip


async def remembered(server: Sandbox, load: Load, targets: Targets) -> dict[str, Any]:
    """Part (c): strangers, each of whom asks for every device."""
    await asyncio.to_thread(shells.unload_plugin, server, HOST)
    await asyncio.to_thread(shells.load_plugin, server, HOST)
    before = await asyncio.to_thread(memory, server)
    for number in range(-(-DECISIONS // len(targets))):
        await load.measure(f"stranger{number}@{REQUESTER}", targets, len(targets), 100, LIMIT)
    after = await asyncio.to_thread(memory, server)
    cached_now = int(re.findall(r"cached\D*(\d+)", shells.plugin_status(server, HOST))[0])
    return {
        "bench": "plugin.memory", "server": server.kind, "decisions": cached_now,
        "megabytes": round((after - before) / 1e6, 1), "bytes_each": round((after - before) / max(1, cached_now)),
    }  # fmt: skip


async def on(kind: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """All parts on one server."""
    with sandbox(kind) as (folder, report, components):
        server = Sandbox(folder, report, components)
        async with devices(folder, report, components, options.devices):
            load = await attached(components[REQUESTER])
            targets = [(f"bench{number}@{HOST}/r", "u", "p") for number in range(options.devices)]
            return [
                await cached(server, load, targets, options.rounds, options.requests),
                await uncached(server, load, targets, max(1, options.rounds // 2)),
                await remembered(server, load, targets),
            ]


SENTENCES = {
    "plugin.cached": (
        "{server}: allowed requests with the plugin {with_per_s}/s, without it {without_per_s}/s: ratio "
        "{throughput_ratio} (at least {required}, aim {aim}); one at a time p50 {p50_with_ms} ms to "
        "{p50_without_ms} ms: ratio {p50_ratio} (at most {p50_required}, aim {p50_aim}), p99 {p99_with_ms} ms to "
        "{p99_without_ms} ms"
    ),
    "plugin.uncached": (
        "{server}: an uncached decision adds {decision_ms} ms to a request (p50 {first_p50_ms} ms to "
        "{second_p50_ms} ms; p99 {first_p99_ms} ms)"
    ),
    "plugin.memory": "{server}: {decisions} cached decisions take {megabytes} MB, {bytes_each} bytes each",
}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=SERVERS, action="append", help="default: both")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--devices", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=10_000, help="of a round in part (a)")
    options = parser.parse_args()
    figures = [figure for kind in options.server or SERVERS for figure in await on(kind, options)]
    for figure in figures:
        print(json.dumps(figure))
    for figure in figures:
        print(SENTENCES[figure["bench"]].format(**figure))


if __name__ == "__main__":
    asyncio.run(main())
