"""What the grid costs: the data plane on both servers, and the controller by itself (`bench.gridcontrol`).

(a) Publish → notify, one publisher and 1, 10 and 100 subscribers, over TLS: through the grid (a topic that the
controller has programmed, with the plugins on the grid host and the pubsub host) against the same server's bare
XEP-0060 service: the same node with the same publishers and subscribers, with both plugins unloaded. Items are
RFC 8600's incident, not persisted; history is off. Rounds alternate in one run, so that a noisy machine hits both
alike; the figures are the medians of the rounds' ratios. Latency is that of one item at a time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from bench.gate import LIMIT, SERVERS, cli, sandbox
from bench.gridcontrol import alone, control
from stanzagate.sandbox.wire import Stream
from tests.interop import shells
from tests.interop.conftest import Sandbox
from tests.interop.rawclient import authenticated, bind, context

TOPIC = "IODEF-1.0"
HOST, BROKER = "grid.test", "pubsub.grid.test"
PASSWORD = "bench-bench-bench"
INCIDENT = (
    "<IODEF-Document version='2.00' xml:lang='en' xmlns='urn:ietf:params:xml:ns:iodef-2.0'>"
    "<Incident purpose='reporting' restriction='private'><IncidentID name='csirt.example.com'>492382</IncidentID>"
    "<GenerationTime>2015-07-18T09:00:00-05:00</GenerationTime><Contact type='organization' role='creator'>"
    "<Email><EmailTo>contact@csirt.example.com</EmailTo></Email></Contact></Incident></IODEF-Document>"
)
PUBLISH = (
    "<iq type='set' id='{id}' to='" + BROKER + "'><pubsub xmlns='http://jabber.org/protocol/pubsub'>"
    "<publish node='" + TOPIC + "'><item id='{id}'>" + INCIDENT + "</item></publish></pubsub></iq>"
)
_ANSWER = re.compile(rb"<iq\b[^>]*?>")
_ITEM = re.compile(rb"<item\b[^>]*?\bid=['\"]b(\d+)['\"]")


class Node:
    """A client that counts what it is sent. It parses nothing: what is looked for are opening tags."""

    def __init__(self, stream: Stream, what: re.Pattern[bytes]) -> None:
        self.stream = stream
        self.seen = 0
        self.errors = 0
        self.last = 0.0
        self._what = what
        self._buffer = b""
        self._wanted = 0
        self._reached: asyncio.Future[None] | None = None

    async def read(self) -> None:
        """Count until the stream ends."""
        while data := await self.stream._reader.read(1 << 16):
            self._buffer += data
            end = 0
            for match in self._what.finditer(self._buffer):
                end = match.end()
                self.seen += 1
                self.errors += b"type='error'" in match[0] or b'type="error"' in match[0]
            self._buffer = self._buffer[end:] if end else self._buffer[-65536:]
            self.last = time.perf_counter()
            if self._reached is not None and self.seen >= self._wanted and not self._reached.done():
                self._reached.set_result(None)

    async def until(self, count: int) -> float:
        """Wait until so many were seen; when that was."""
        if self.seen < count:
            self._wanted, self._reached = count, asyncio.get_running_loop().create_future()
            async with asyncio.timeout(LIMIT):
                await self._reached
        return self.last


@dataclass(frozen=True)
class Round:
    """One measurement: items a second that every subscriber has, and seconds of single items, sorted."""

    rate: float
    latencies: list[float]

    def percentile(self, share: float) -> float:
        """Seconds."""
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * share))]


async def connect(server: Sandbox, name: str, what: re.Pattern[bytes]) -> Node:
    """An account of the benchmark, online."""
    stream = await authenticated(server, f"{name}@{HOST}", PASSWORD, context(server))
    await bind(stream, "bench")
    await stream.send("<presence/>")
    return Node(stream, what)


async def prepare(server: Sandbox, count: int) -> None:
    """Nodes, rules and subscriptions, made as an administrator and the nodes make them."""
    folder = str(server.folder)

    async def run(*arguments: str, text: str | None = None) -> None:
        await asyncio.to_thread(cli, *arguments, "--dir", folder, text=text)

    for name in ("pub", *(f"sub{number}" for number in range(count))):
        await run("node", "add", f"{name}@{HOST}", "--group", name[:3], "--password-file", "-", text=PASSWORD)
    await run("access", "permit", "group:pub", "publish", TOPIC)
    await run("access", "permit", "group:sub", "subscribe", TOPIC)


async def subscribe(server: Sandbox, node: Node, name: str, kind: str = "subscribe") -> None:
    """Subscribe a node, or end its subscription."""
    request = f"<{kind} node='{TOPIC}' jid='{name}@{HOST}'/>"
    await node.stream.send(
        f"<iq type='set' id='{kind}' to='{BROKER}'><pubsub xmlns='http://jabber.org/protocol/pubsub'>{request}</pubsub></iq>"
    )


async def measure(publisher: Node, subscribers: list[Node], items: int, window: int, singles: int) -> Round:
    """Publish `items` with `window` outstanding, then `singles` one at a time."""
    first = [node.seen for node in subscribers]
    answered = publisher.seen
    started = time.perf_counter()
    for start in range(0, items, window):
        part = range(start, min(start + window, items))
        await publisher.stream.send("".join(PUBLISH.format(id=f"b{number}") for number in part))
        await publisher.until(answered + part.stop - window // 2)
    everybody = list(zip(subscribers, first, strict=True))
    ended = [await node.until(seen + items) for node, seen in everybody]
    await publisher.until(answered + items)
    assert publisher.errors == 0, "every publish must be accepted"
    latencies = []
    for number in range(singles):
        begun = time.perf_counter()
        await publisher.stream.send(PUBLISH.format(id=f"b{items + number}"))
        latest = [
            await node.until(before + items + number + 1) for node, before in zip(subscribers, first, strict=True)
        ]
        latencies.append(max(latest) - begun)
        await publisher.until(answered + items + number + 1)
    return Round(items / (max(ended) - started), sorted(latencies))


def plugins(server: Sandbox, there: bool) -> None:
    """Load or unload what is ours in the way of an item."""
    act = shells.load_plugin if there else shells.unload_plugin
    act(server, HOST, "stanzagate_grid")
    if server.kind == "prosody":
        act(server, BROKER, "stanzagate_broker")


@contextlib.asynccontextmanager
async def reading(nodes: list[Node]) -> AsyncIterator[None]:
    """All nodes take what comes for as long as the block lasts."""
    tasks = [asyncio.ensure_future(node.read()) for node in nodes]  # noqa: TID251
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def data_plane(server: Sandbox, count: int, rounds: int, items: int, singles: int) -> dict[str, Any]:
    """Part (a) with so many subscribers, who are connected already."""
    publisher = await connect(server, "pub", _ANSWER)
    subscribers = [await connect(server, f"sub{number}", _ITEM) for number in range(count)]
    window = 50
    with_it: list[Round] = []
    without: list[Round] = []
    async with reading([publisher, *subscribers]):
        for number, node in enumerate(subscribers):
            await subscribe(server, node, f"sub{number}")
        await _subscribed(server, count)
        for number in range(-1, rounds):  # the first one warms up
            for ours in (number % 2 == 0, number % 2 != 0):
                await asyncio.to_thread(plugins, server, ours)
                found = await measure(publisher, subscribers, items, window, singles)
                if number >= 0:
                    (with_it if ours else without).append(found)
        await asyncio.to_thread(plugins, server, True)
    for node in (publisher, *subscribers):
        node.stream.abort()
    pairs = list(zip(with_it, without, strict=True))
    ratios = [ours.rate / theirs.rate for ours, theirs in pairs]
    return {
        "bench": "grid.publish", "server": server.kind, "subscribers": count, "items": items, "rounds": rounds,
        "storage": "items not persisted, history off",
        "grid_per_s": round(statistics.median(item.rate for item in with_it)),
        "bare_per_s": round(statistics.median(item.rate for item in without)),
        "ratio": round(statistics.median(ratios), 3), "ratios": [round(ratio, 3) for ratio in ratios],
        "required": 0.95, "aim": 0.98, "required_per_s": 500 if count == 1 else None,
        **{
            f"{name}_{what}_ms": round(1000 * statistics.median(item.percentile(share) for item in found), 3)
            for name, share in (("p50", 0.5), ("p99", 0.99))
            for what, found in (("grid", with_it), ("bare", without))
        },
    }  # fmt: skip


async def _subscribed(server: Sandbox, count: int) -> None:
    async with asyncio.timeout(LIMIT):
        while True:
            shown = json.loads(
                await asyncio.to_thread(cli, "topic", "show", TOPIC, "--json", "--dir", str(server.folder))
            )
            if len(shown["subscribers"]) == count:
                return


async def on(kind: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    """All parts on one server."""
    found = []
    with sandbox(kind) as (folder, report, components):
        server = Sandbox(folder, report, components)
        await prepare(server, max(options.subscribers))
        for count in options.subscribers:
            items = max(300, options.items // max(1, count // 5))
            found.append(await data_plane(server, count, options.rounds, items, options.singles))
        found += await control(server)
    return found


SENTENCES = {
    "grid.accounts": "{server}: {per_s} nodes/s admitted, each with its account on the server",
    "grid.logins": "{server}: {pairs_per_s} logins (and as many logouts) a second; p50 {p50_ms} ms, p99 {p99_ms} ms",
    "grid.registrations": "{per_s} registrations/s in the controller alone, each on disk",
    "grid.start": "{nodes} registered nodes: loaded in {seconds} s, {megabytes} MB",
    "grid.decisions": (
        "{rules} rules: a decision takes p50 {cached_p50_us} µs, p99 {cached_p99_us} µs; the first of its kind p50 "
        "{uncached_p50_us} µs, p99 {uncached_p99_us} µs"
    ),
    "grid.publish": (
        "{server}: {subscribers} subscriber(s): {grid_per_s} items/s, bare {bare_per_s}/s: ratio {ratio} (at least "
        "{required}, aim {aim}); one at a time p50 {p50_grid_ms} ms to {p50_bare_ms} ms, p99 {p99_grid_ms} ms to "
        "{p99_bare_ms} ms ({storage})"
    ),
}


def main() -> None:
    """Run on the servers that are asked for; one JSON document a line, then a sentence each."""
    parser = argparse.ArgumentParser(prog="script/bench grid", description=__doc__)
    parser.add_argument("--server", choices=SERVERS, action="append")
    parser.add_argument("--subscribers", type=int, action="append")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--items", type=int, default=6000)
    parser.add_argument("--singles", type=int, default=200)
    options = parser.parse_args()
    options.subscribers = options.subscribers or [1, 10, 100]
    for kind in [*(options.server or SERVERS), ""]:
        for line in asyncio.run(on(kind, options)) if kind else alone():
            print(json.dumps(line), flush=True)
            if line["bench"] in SENTENCES:
                print(SENTENCES[line["bench"]].format(**line), flush=True)


if __name__ == "__main__":
    main()
