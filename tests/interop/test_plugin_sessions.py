"""What the plugin tells of sessions, on both servers: events that are numbered, snapshots; and what the
registry of a real gate makes of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
import xml.etree.ElementTree as ET
from pathlib import Path

from stanzagate.sandbox.wire import Stream
from tests.interop.cast import HOST
from tests.interop.conftest import Sandbox
from tests.interop.puppet import CHAIN, SESSION, Puppet, allowed, puppet, until
from tests.interop.rawclient import MANAGEMENT, RawClient, authenticated, bind, context, online, reading
from tests.interop.realgate import lost, real_gate
from tests.interop.shells import reload_plugin


def book(snapshot: ET.Element, events: list[ET.Element]) -> dict[str, str]:
    """Which sessions there are, sid to JID, by a snapshot and what came after it; numbers without gaps."""
    first = int(snapshot.get("seq", "")) + 1
    found = {item.get("sid", ""): item.get("jid", "") for item in snapshot}
    for number, event in enumerate(events, first):
        assert event.get("seq") == str(number)
        sid, jid = event.get("sid", ""), event.get("jid", "")
        if event.get("event") == "up":
            assert found.setdefault(sid, jid) == jid  # twice when more has become known of it
        else:
            assert found.pop(sid) == jid
    return found


async def settled(gate: Puppet, *jids: str) -> dict[str, str]:
    """Wait until these are the sessions by the book; what the plugin says when it is asked must be the same."""
    await until(lambda: sorted(book(gate.snapshots[-1], gate.recent).values()) == sorted(jids))
    found = book(gate.snapshots[-1], gate.recent)
    assert book(await gate.sessions(), []) == found
    assert (await gate.status())["sessions"] == len(jids)
    return found


async def test_clients_that_come_and_go_are_told(server: Sandbox) -> None:
    async with puppet(server) as gate:
        assert gate.snapshots[0].findall(SESSION) == []
        begun = time.time()
        async with online(server, "cpe1") as one, online(server, "cpe2", "\u00e9 & <x>") as two:
            await settled(gate, one.jid, two.jid)
            first, second = gate.events
            assert [event.get("event") for event in gate.events] == ["up", "up"]
            assert first.get("mechanism") == "SCRAM-SHA-1"
            assert int(begun) <= float(first.get("since", "")) <= time.time()
            assert first.get("fingerprint") is None
            assert first.find(CHAIN) is None
            assert first.get("sid") != second.get("sid")
        await settled(gate)
        assert [event.get("event") for event in gate.events] == ["up", "up", "down", "down"]
        assert {event.get("sid") for event in gate.events[2:]} == {first.get("sid"), second.get("sid")}


async def test_clients_of_other_hosts_are_nobody_s_business(server: Sandbox) -> None:
    async with puppet(server) as gate, online(server, "acs1"), online(server, "soc1"), online(server, "cpe1") as one:
        await settled(gate, one.jid)
        assert gate.elsewhere == []


async def test_a_snapshot_comes_with_every_connect(server: Sandbox) -> None:
    async with online(server, "cpe1") as one:
        sids = []
        for _ in range(2):
            async with puppet(server) as gate:
                sids.append(await settled(gate, one.jid))
                snapshot = gate.snapshots[0].find(SESSION)
                assert snapshot is not None
                assert (snapshot.get("event"), snapshot.get("mechanism")) == ("up", "SCRAM-SHA-1")
        assert sids[0] == sids[1]
    async with puppet(server) as gate:  # it left while nobody listened
        await settled(gate)


async def test_a_resource_conflict_leaves_the_right_one(server: Sandbox) -> None:
    async with puppet(server) as gate, online(server, "cpe1") as first:
        (before,) = await settled(gate, first.jid)
        async with online(server, "cpe1") as second:
            assert second.jid == first.jid
            await until(lambda: first.ended)
            await until(lambda: len(gate.events) == 3)
            (after,) = await settled(gate, second.jid)
            assert after != before
            assert {(event.get("event"), event.get("sid")) for event in gate.events} == {
                ("up", before), ("down", before), ("up", after),
            }  # fmt: skip
            gate.decide = allowed
            async with online(server, "acs1") as acs1:
                assert (await acs1.request(second.jid, "u", "p")).type == "result"
            assert (len(first.woken), len(second.woken)) == (0, 1)
        await settled(gate)


async def test_a_client_whose_connection_breaks_has_left(server: Sandbox) -> None:
    async with puppet(server) as gate, online(server, "cpe1") as one, online(server, "cpe2") as two:
        await settled(gate, one.jid, two.jid)
        one.cut()
        await settled(gate, two.jid)


async def test_a_client_that_resumes_its_stream_was_never_away(server: Sandbox) -> None:
    row = server.account("cpe1")
    bare = row["jid"].partition("/")[0]

    async def logged_in() -> tuple[RawClient, Stream]:
        stream = await authenticated(server, bare, row["password"], context(server))
        return RawClient(row["jid"], stream), stream

    async with puppet(server) as gate:
        first, stream = await logged_in()
        await bind(stream, "tr069")
        await stream.send(f"<enable xmlns='{MANAGEMENT}' resume='true'/>")
        enabled = await stream.element()
        await settled(gate, row["jid"])
        first.cut()
        second, again = await logged_in()
        await again.send(f"<resume xmlns='{MANAGEMENT}' previd='{enabled.get('id')}' h='0'/>")
        assert (await again.element()).tag == f"{{{MANAGEMENT}}}resumed"
        gate.decide = allowed
        async with reading(second, again), online(server, "acs1") as acs1:
            assert (await acs1.request(row["jid"], "u", "p")).type == "result"
            await settled(gate, row["jid"])
        await settled(gate)


async def test_the_plugin_loaded_anew_knows_who_was_there(server: Sandbox) -> None:
    async with puppet(server) as gate, online(server, "cpe1") as one:
        (sid,) = await settled(gate, one.jid)
        since = gate.events[0].get("since")
        await asyncio.to_thread(reload_plugin, server, HOST)
        await until(lambda: len(gate.snapshots) == 2)
        await settled(gate, one.jid)
        snapshot = gate.snapshots[1].find(SESSION)
        assert snapshot is not None
        assert snapshot.get("since") == since
        async with online(server, "cpe2") as two:
            known = await settled(gate, one.jid, two.jid)
            assert sid not in {name for name, jid in known.items() if jid == two.jid}
        await settled(gate, one.jid)
    async with puppet(server) as gate:
        await settled(gate)


async def test_the_registry_tells_the_truth(server: Sandbox, tmp_path: Path) -> None:
    async with real_gate(server, tmp_path) as gate:
        begun = time.time()
        async with online(server, "cpe1"), online(server, "cpe1", "another"), online(server, "acs1"):
            (row,) = await gate.online(1)
            assert int(begun) <= row["since"] <= time.time()
            shown = json.loads(await gate.cli("device", "show", "00256D-0001", "--json"))
            assert (shown["online"], shown["since"]) == (True, row["since"])
            listed = json.loads(await gate.cli("device", "list", "--online", "--json"))
            assert [device["id"] for device in listed] == ["00256D-0001"]
            await gate.end(signal.SIGKILL)
        async with online(server, "cpe2"):  # who came and went while it was dead
            await gate.start()
            await gate.online(2)
            async with contextlib.AsyncExitStack() as stack:
                async with lost(server, "events"):
                    await stack.enter_async_context(online(server, "cpe3"))
                async with online(server, "cpe4"):  # the number of its event shows that one was lost
                    await gate.online(2, 3, 4)
                await gate.online(2, 3)
                server.restart_server()
                await gate.online()
        await gate.attached()
        async with online(server, "cpe5"):
            await gate.online(5)
