"""Two guarded hosts, on both servers: each has decisions, a mode and sessions of its own. The second one asks its
clients for certificates. And what ``/metrics`` and ``/healthz`` tell of both."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import xml.etree.ElementTree as ET
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.interop.cast import AWAY, BAD_REQUEST, FORBIDDEN, GATE, GRID, HOST, PASSED, TARGET, outcome
from tests.interop.conftest import Sandbox
from tests.interop.puppet import CHAIN, PATIENCE, Puppet, allowed, condition, decision, element, puppet, until
from tests.interop.rawclient import RawClient, beside, online, request
from tests.interop.realgate import Passage, lost, real_gate
from tests.interop.scene import asked, scene
from tests.interop.shells import bypassed, load_plugin, reconfigured, unload_plugin

LOADED = (
    "mod_stanzagate_grid:    # nodes reach the controller and the broker alone until they are active\n"
    f'        component: "controller.{GRID}"\n        broker: "pubsub.{GRID}"\n'
)
OPTION = 'stanzagate_component = "%s"\n\tstanzagate_broker'
ADDED = {
    "prosody": (('"stanzagate_grid"', '"stanzagate"'), (OPTION % f"controller.{GRID}", OPTION % GATE)),
    "ejabberd": ((LOADED, f'mod_stanzagate:\n        component: "{GATE}"\n'),),
}
"""A host has one guard only: here that of devices, in the place of that of nodes."""
NODE = f"soc1@{GRID}/tr069"


@pytest.fixture(scope="module")
def both(server: Sandbox) -> Iterator[Sandbox]:
    """The server with the plugin on a second host, added as an administrator would."""
    if server.kind == "ejabberd":
        with reconfigured(server, *ADDED[server.kind]):  # it changes the modules by itself
            yield server
        return
    unload_plugin(server, GRID, "stanzagate_grid")
    try:
        with reconfigured(server, *ADDED[server.kind]):
            load_plugin(server, GRID)
            try:
                yield server
            finally:
                unload_plugin(server, GRID)
    finally:
        load_plugin(server, GRID, "stanzagate_grid")


@contextlib.asynccontextmanager
async def without_plugin(server: Sandbox) -> AsyncIterator[None]:
    """The second host has no plugin for as long as the block lasts."""
    await asyncio.to_thread(unload_plugin, server, GRID)
    try:
        yield
    finally:
        await asyncio.to_thread(load_plugin, server, GRID)


async def modes(gate: Puppet) -> list[str]:
    """What the plugins say they do."""
    return [(await gate.status(host)).words["mode"] for host in (HOST, GRID)]


async def test_each_host_has_its_own_decisions_mode_and_sessions(both: Sandbox) -> None:
    async with scene(both) as s, online(both, "soc1", "tr069"), online(both, "rogue") as rogue:
        s.gate.decide = allowed
        assert await s.outcome() == await s.outcome(NODE) == PASSED
        assert [(check.host, check.device) for check in s.gate.checks] == [(HOST, TARGET), (GRID, NODE)]
        for host, jid in ((HOST, TARGET), (GRID, NODE)):
            assert [session.get("jid") for session in await s.gate.sessions(host)] == [jid]
            assert (await s.gate.status(host))["sessions"] == 1
        s.gate.decide = lambda check: decision(check, "deny", epoch=2)
        await s.gate.flush(2, host=GRID)
        assert [(await s.gate.status(host))["epoch"] for host in (HOST, GRID)] == [1, 2]
        assert (await s.outcome(), await s.outcome(NODE)) == (PASSED, FORBIDDEN)
        async with bypassed(both, GRID):
            assert await modes(s.gate) == ["enforce", "bypass"]
            assert (await asked(rogue), await asked(rogue, NODE)) == (FORBIDDEN, PASSED)
        assert await modes(s.gate) == ["enforce", "enforce"]
        assert await asked(rogue, NODE) == FORBIDDEN


async def test_a_host_whose_plugin_is_gone_leaves_the_other_guarded(both: Sandbox) -> None:
    async with scene(both) as s, online(both, "soc1", "tr069"), online(both, "rogue") as rogue:
        s.gate.decide = lambda check: decision(check, "allow" if check.requester.startswith("acs1@") else "deny")
        assert await s.outcome() == await s.outcome(NODE) == PASSED
        async with without_plugin(both):
            assert condition(await s.gate.iq("get", element("status"), to=GRID)) != PASSED
            assert await asked(rogue, NODE) == PASSED
            assert (await asked(rogue), await s.outcome()) == (FORBIDDEN, PASSED)
            assert [check.host for check in s.gate.checks] == [HOST, GRID, HOST]
        assert await asked(rogue, NODE) == FORBIDDEN
        assert [session.get("jid") for session in await s.gate.sessions(GRID)] == [NODE]
        assert len(s.gate.checks) == 4


async def test_the_certificate_of_a_client_is_told(both: Sandbox) -> None:
    def told(jid: str) -> ET.Element | None:
        return next((event for event in gate.elsewhere if event.get("jid") == jid), None)

    async with puppet(both) as gate:
        await until(lambda: gate.elsewhere)  # the snapshot
        gate.elsewhere.clear()
        async with (
            online(both, "soc1", external=True) as one,
            online(both, "soc2", certificate=True) as two,
            online(both, "soc3") as three,
        ):
            await until(lambda: all(told(client.jid) is not None for client in (one, two, three)))
            events = [told(client.jid) for client in (one, two, three)]
            snapshot = await gate.sessions(GRID)
            for name, mechanism, event in zip(
                ("soc1", "soc2", ""), ("EXTERNAL", "SCRAM-SHA-256", "SCRAM-SHA-256"), events, strict=True
            ):
                assert event is not None
                same = next(item for item in snapshot if item.get("sid") == event.get("sid"))
                for item in (event, same):
                    assert item.get("mechanism") == mechanism
                    chain = [b64decode(leaf.text or "", validate=True) for leaf in item.iterfind(CHAIN)]
                    der = certificate(both, name) if name else b""
                    assert chain[:1] == ([der] if name else [])
                    assert item.get("fingerprint") == (hashlib.sha256(der).hexdigest() if name else None)


def certificate(sandbox: Sandbox, name: str) -> bytes:
    """The certificate of a node, in DER."""
    (found,) = x509.load_pem_x509_certificates(Path(sandbox.account(name)["cert"]).read_bytes())
    return found.public_bytes(serialization.Encoding.DER)


# --- what the gate tells of its plugins -----------------------------------------------------------------------------

HAPPENED = {
    "decisions allow": 2,
    "decisions deny": 2,
    "hits": 8,
    "passed": 6,
    "bypassed": 1,
    "refused forbidden": 5,
    "refused bad-request": 1,
    "refused answer": 1,
    "refused not-attached": 1,
}
"""How the counters grow by what the test does."""
GAUGES = ("enforcing", "sessions", "cached", "held")


async def something_happens(acs1: RawClient, rogue: RawClient, cpe1: RawClient) -> None:
    """Allowed, denied, malformed and forbidden kinds of requests, to both hosts."""
    assert [await asked(acs1) for _ in range(4)] == [PASSED] * 4
    assert [await asked(rogue) for _ in range(3)] == [FORBIDDEN] * 3
    assert [await asked(acs1, NODE) for _ in range(2)] == [PASSED] * 2
    assert [await asked(rogue, NODE) for _ in range(2)] == [FORBIDDEN] * 2
    payload = ET.tostring(cpe1.woken[0][0]).decode()
    await acs1.send_raw(f"<iq type='result' id='r' to='{TARGET}'>{payload}</iq>")
    malformed = request(TARGET, "m").replace("type='get'", "type='set'")
    assert outcome(await acs1.send_raw_iq(malformed)) == BAD_REQUEST


async def becomes(wanted: object, ask: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Ask until the answer is the wanted one; the plugins are asked every ten seconds."""
    found: object = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE):
            while (found := await ask()) != wanted:
                await asyncio.sleep(0.05)
    assert found == wanted


async def test_the_gate_tells_what_the_plugins_do(both: Sandbox, tmp_path: Path) -> None:
    where = both.components[GATE]
    async with (
        Passage(where["host"], where["port"]).listening() as passage,
        real_gate(both, tmp_path, port=passage.port, guarded_hosts=[HOST, GRID]) as gate,
        online(both, "cpe1") as cpe1,
        online(both, "soc1", "tr069"),
        online(both, "acs1") as acs1,
        online(both, "acs2") as acs2,
        online(both, "rogue") as rogue,
        contextlib.AsyncExitStack() as stack,
    ):
        node = {"id": "SOC-1", "jid": NODE, "cr_username": "u", "cr_password": "p", "groups": ["lab"]}
        await gate.api("POST", "/devices", json=node)

        async def plugins() -> object:
            return (await gate.health())["plugins"]

        async def devices() -> list[str]:
            found = await gate.api("GET", "/devices", params={"online": True})
            return [device["id"] for device in found["devices"]]

        async def grown() -> dict[str, int]:
            now = await gate.figures()
            return {name: count for name, count in (now - before).items() if name not in GAUGES}

        async def gauges() -> dict[str, int]:
            now = await gate.figures()
            return {name: now[name] for name in GAUGES}

        await becomes(["00256D-0001", "SOC-1"], devices)
        await becomes({HOST: "enforce", GRID: "enforce"}, plugins)
        before = await gate.figures()
        await something_happens(acs1, rogue, cpe1)
        async with bypassed(both, GRID):
            assert await asked(rogue, NODE) == PASSED
            passage.block()
            assert await asked(acs2) == AWAY
            passage.unblock()  # the gate asks how they are as soon as it is attached
            await becomes({HOST: "enforce", GRID: "bypass"}, plugins)
            await becomes(HAPPENED, grown)
            await becomes({"enforcing": 1, "sessions": 2, "cached": 0, "held": 0}, gauges)
        async with lost(both, "checks"), beside(keeps_asking(acs1)):
            async with lost(both, "events"):
                await stack.enter_async_context(online(both, "cpe2"))
            async with online(both, "cpe3"):  # by its number the gate sees that an event was lost, and asks
                await becomes({"enforcing": 2, "sessions": 4, "cached": 0, "held": 1}, gauges)
        async with without_plugin(both):
            await gate.api("POST", "/suspensions", json={"requester": "nobody@acs.test"})
            await becomes({HOST: "enforce", GRID: "absent"}, plugins)


async def keeps_asking(client: RawClient) -> None:
    """Ask one request after the other."""
    while True:
        await asked(client)
