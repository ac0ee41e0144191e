"""The control plane, for ``script/bench grid``.

On a server: registrations with the server's account creation, through the admin API as an administrator makes them,
several at once; logins of connected nodes.

By itself, each part in a fresh process: registrations in the controller alone, on disk; 100,000 registered nodes:
start-up time and resident memory; decisions of the rule engine, cached and not.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import Connection

from component.base.audit import Audit, AuditKey
from component.base.settings import Secret
from component.base.store import Store
from grid.access import Access
from grid.access_rules import insert_rule
from grid.accounts import Accounts
from grid.accounts_rows import write_node
from grid.epochs import Epochs
from grid.model import Action, Credential, Effect, Node, NodeState, Rule, Topic
from grid.settings import Approval, GridSettings
from stanzagate import migrations
from tests.interop.conftest import Sandbox
from tests.interop.rawclient import authenticated, bind, context

NODES = 100_000
REGISTRATIONS = 2_000
ADDED = 400
LOGINS = 2_000
AT_ONCE = 16
LOGIN = (
    "<iq type='get' id='{id}' to='controller.grid.test'><grid xmlns='gi' type='request'>"
    "<AccountQuery xmlns='com.domain.gi.gcl.Controller'><{what}/></AccountQuery></grid></iq>"
)


async def control(server: Sandbox) -> list[dict[str, Any]]:
    """What needs a server."""
    return [await accounts_made(server), await logins(server)]


async def accounts_made(server: Sandbox) -> dict[str, Any]:
    """Nodes admitted, each with its account on the server."""
    transport = httpx.AsyncHTTPTransport(uds=server.info["admin"]["socket"])
    async with httpx.AsyncClient(transport=transport, base_url="http://stanzagate", timeout=60) as client:
        numbers = iter(range(ADDED))

        async def worker() -> None:
            for number in numbers:
                answer = await client.post("/v1/nodes", json={"jid": f"added{number}@grid.test"})
                assert answer.is_success, answer.text

        started = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
        elapsed = time.perf_counter() - started
    return {"bench": "grid.accounts", "server": server.kind, "nodes": ADDED, "per_s": round(ADDED / elapsed)}


async def logins(server: Sandbox) -> dict[str, Any]:
    """Logins and logouts of eight nodes, one after the other on each; a login is counted when it is answered."""
    streams = [await _node(server, f"added{number}") for number in range(8)]
    each = LOGINS // len(streams)

    async def one(stream: Any) -> list[float]:
        found = []
        for number in range(each):
            for what in ("login", "logout"):
                begun = time.perf_counter()
                await stream.send(LOGIN.format(id=f"{what}{number}", what=what))
                while (await stream.element()).get("id") != f"{what}{number}":
                    pass
                if what == "login":
                    found.append(time.perf_counter() - begun)
        return found

    started = time.perf_counter()
    latencies = sorted(latency for found in await asyncio.gather(*map(one, streams)) for latency in found)
    elapsed = time.perf_counter() - started
    return {
        "bench": "grid.logins", "server": server.kind, "logins": len(latencies), "nodes": len(streams),
        "pairs_per_s": round(len(latencies) / elapsed), "p50_ms": round(1000 * statistics.median(latencies), 2),
        "p99_ms": round(1000 * latencies[int(0.99 * len(latencies))], 2),
    }  # fmt: skip


async def _node(server: Sandbox, name: str) -> Any:
    password = "bench-bench-bench"
    jid = f"{name}@grid.test"
    transport = httpx.AsyncHTTPTransport(uds=server.info["admin"]["socket"])
    async with httpx.AsyncClient(transport=transport, base_url="http://stanzagate", timeout=60) as client:
        assert (await client.delete(f"/v1/nodes/{jid}")).is_success
        assert (await client.post("/v1/nodes", json={"jid": jid, "password": password})).is_success
    stream = await authenticated(server, jid, password, context(server))
    await bind(stream, "bench")
    return stream


# By itself


def alone() -> list[dict[str, Any]]:
    """What needs no server."""
    found = []
    with tempfile.TemporaryDirectory(prefix="stanzagate-bench-") as folder:
        for part in PARTS:
            command = [sys.executable, "-m", "bench.gridcontrol", part, folder]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found += json.loads(done.stdout)
    return found


def settings() -> GridSettings:
    """A grid in which everybody is approved at once."""
    return GridSettings(
        jid="controller.grid.test", secret=Secret(env="NONE"), host="grid.test", pubsub="pubsub.grid.test",
        approval=Approval.AUTOMATIC,
    )  # fmt: skip


async def registry(folder: Path, name: str) -> tuple[Store, Accounts, Epochs]:
    """A registry on disk, with its audit record."""
    url = f"sqlite:///{folder / name}.db"
    migrations.upgrade(url)
    store = Store(url)
    audit = Audit(store, AuditKey.open(folder / "audit.key", create=True), folder / f"{name}.head")
    epochs = Epochs(store)
    await epochs.load()
    return store, Accounts(store, audit, epochs, settings=settings(), alert=lambda _alert: None), epochs


async def registrations(folder: Path) -> list[dict[str, Any]]:
    """Registrations in the controller alone: each is on disk, with its row in the audit record, before the next."""
    store, accounts, _ = await registry(folder, "registrations")
    await accounts.load()
    numbers = iter(range(REGISTRATIONS))

    async def worker() -> None:
        for number in numbers:
            await accounts.register(f"node{number}@grid.test", Credential())

    started = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
    elapsed = time.perf_counter() - started
    store.close()
    return [{"bench": "grid.registrations", "nodes": REGISTRATIONS, "per_s": round(REGISTRATIONS / elapsed)}]


async def start_up(folder: Path) -> list[dict[str, Any]]:
    """Loading 100,000 nodes from disk."""
    store, accounts, _ = await registry(folder, "nodes")
    node = Node("", NodeState.ACTIVE, ("sensors",), since=1.0, account=True)
    store.write_now(lambda connection: _write_nodes(connection, node))
    before = resident()
    started = time.perf_counter()
    await accounts.load()
    elapsed = time.perf_counter() - started
    store.close()
    return [
        {
            "bench": "grid.start",
            "nodes": NODES,
            "seconds": round(elapsed, 2),
            "megabytes": round(resident() - before, 1),
        }
    ]


def _write_nodes(connection: Connection, node: Node) -> None:
    for number in range(NODES):
        write_node(connection, replace(node, jid=f"node{number}@grid.test", epoch=number + 1), True)


async def decisions(folder: Path) -> list[dict[str, Any]]:
    """Decisions for 1,000 nodes and 50 topics, with few and with many rules."""
    return [await _decisions(folder, count) for count in (40, 10_000)]


async def _decisions(folder: Path, count: int) -> dict[str, Any]:
    store, _, epochs = await registry(folder, f"decisions{count}")
    audit = Audit(store, AuditKey.open(folder / "audit.key", create=True), folder / f"decisions{count}.head")
    nodes = {f"n{i}@grid.test": Node(f"n{i}@grid.test", NodeState.ACTIVE, (f"g{i % 20}",)) for i in range(1000)}
    topics = [Topic(f"topic{i}", f"topic{i}") for i in range(50)]
    access = Access(
        store, audit, epochs, node=nodes.get, topics=lambda: topics,
        members=lambda group: [jid for jid, node in nodes.items() if group in node.groups],
    )  # fmt: skip
    store.write_now(lambda connection: _rules(connection, count))
    await access.load()
    pairs = [(jid, topic.name) for jid in nodes for topic in topics]
    figures = {name: _timed(access, pairs) for name in ("uncached", "cached")}
    store.close()
    told = {f"{name}_{key}_us": value for name, values in figures.items() for key, value in values.items()}
    return {"bench": "grid.decisions", "rules": count, **told}


def _rules(connection: Connection, count: int) -> None:
    for number in range(count):
        subject = f"group:g{number % 20}" if number % 4 == 0 else f"n{number % 1000}@grid.test"
        insert_rule(connection, Rule(0, Effect.PERMIT, subject, "publish", f"topic{number % 50}-{number}"))


def _timed(access: Access, pairs: list[tuple[str, str]]) -> dict[str, float]:
    latencies = []
    for jid, topic in pairs:
        begun = time.perf_counter_ns()
        access.decide(jid, Action.PUBLISH, topic)
        latencies.append(time.perf_counter_ns() - begun)
    latencies.sort()
    return {
        name: round(latencies[int(share * len(latencies))] / 1000, 2) for name, share in (("p50", 0.5), ("p99", 0.99))
    }


def resident() -> float:
    """Megabytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


PARTS: dict[str, Callable[[Path], Coroutine[Any, Any, list[dict[str, Any]]]]] = {
    "registrations": registrations,
    "start": start_up,
    "decisions": decisions,
}

if __name__ == "__main__":
    print(json.dumps(asyncio.run(PARTS[sys.argv[1]](Path(sys.argv[2])))))
