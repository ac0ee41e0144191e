"""When something breaks, on both servers: the gate is killed, its link is cut, the guard itself fails."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.interop.cast import AWAY, FORBIDDEN, GATE, HOST, PASSED, TARGET, TARGET2, UNDECIDED, outcome
from tests.interop.conftest import Sandbox, stanzagate
from tests.interop.puppet import PATIENCE, allowed, decision, puppet, until
from tests.interop.rawclient import RawClient, beside, online, request
from tests.interop.realgate import Passage, real_gate
from tests.interop.scene import SECRET, asked
from tests.interop.shells import erlang, prosody, reload_plugin, server_log


async def becomes(client: RawClient, to: str, wanted: tuple[str, str], *meanwhile: tuple[str, str]) -> None:
    """Ask until the outcome is the wanted one; until then it may be one of some others."""
    async with asyncio.timeout(PATIENCE):
        while (found := await asked(client, to)) != wanted:
            assert found in meanwhile


# --- the real gate --------------------------------------------------------------------------------------------------


async def test_the_gate_is_killed_in_mid_traffic_and_comes_back(server: Sandbox, tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []

    async def stream(client: RawClient) -> None:
        while True:
            seen.append(await asked(client, TARGET))

    async with (
        real_gate(server, tmp_path) as gate,
        online(server, "cpe1") as cpe1,
        online(server, "cpe2") as cpe2,
        online(server, "acs1", "stream") as streaming,
        online(server, "acs1") as acs1,
        online(server, "acs2") as acs2,
        online(server, "rogue") as rogue,
        contextlib.AsyncExitStack() as stack,
    ):
        assert await asked(rogue, TARGET) == FORBIDDEN
        await stack.enter_async_context(beside(stream(streaming)))
        await until(lambda: len(seen) > 10)
        await gate.end(signal.SIGKILL)
        before = len(seen)
        assert await asked(acs1, TARGET2) == AWAY
        assert await asked(acs2, TARGET) == AWAY
        assert await asked(rogue, TARGET) == FORBIDDEN
        assert await asked(acs1, TARGET) == PASSED
        await until(lambda: len(seen) > before + 10)
        await gate.start()
        await becomes(acs1, TARGET2, PASSED, AWAY)
        assert await asked(acs2, TARGET) == await asked(rogue, TARGET) == FORBIDDEN
        before = len(seen)
        await until(lambda: len(seen) > before + 10)
        assert set(seen) == {PASSED}
        assert {stanza.get("from") for stanza in cpe1.woken} == {streaming.jid, acs1.jid}
        assert {stanza.get("from") for stanza in cpe2.woken} == {acs1.jid}


async def test_a_change_that_the_plugin_cannot_hear_of_is_not_said_to_be_in_force(
    server: Sandbox, tmp_path: Path
) -> None:
    where = server.components[GATE]
    async with (
        Passage(where["host"], where["port"]).listening() as passage,
        real_gate(server, tmp_path, port=passage.port) as gate,
        online(server, "cpe1"),
        online(server, "acs1") as acs1,
        online(server, "acs2") as acs2,
    ):
        assert await asked(acs1, TARGET) == PASSED
        assert await asked(acs2, TARGET) == FORBIDDEN
        passage.block()
        socket = str(tmp_path / "admin.sock")
        done = await asyncio.to_thread(stanzagate, "jid", "suspend", "acs1@acs.test", "--socket", socket)
        assert (done.returncode, HOST in done.stderr) == (1, True), done.stderr
        assert await asked(acs1, TARGET) == PASSED  # decided before; until the decision is stale
        passage.unblock()
        await gate.attached()
        await becomes(acs1, TARGET, FORBIDDEN, PASSED)
        await gate.api("DELETE", "/suspensions/acs1@acs.test")
        assert await asked(acs1, TARGET) == PASSED
        await gate.api("POST", "/suspensions", json={"requester": "acs1@acs.test"})
        assert await asked(acs1, TARGET) == FORBIDDEN


# --- the guard itself fails -----------------------------------------------------------------------------------------

BROKEN_CHILD = """
> prosody.broken = prosody.broken or function (event)
    local stanza = event.stanza; local real = stanza[1];
    if not real then return; end
    local function get(_, key)
        if debug.traceback():find("mod_stanzagate", 1, true) then error("injected"); end
        return real[key];
    end
    stanza[1] = setmetatable({}, { __index = get, __len = function () return #real; end });
end;
prosody.hosts["cpe.test"].events.add_handler("iq/full", prosody.broken, 1000000)
"""
MENDED_CHILD = '> prosody.hosts["cpe.test"].events.remove_handler("iq/full", prosody.broken)'
PROCESS = f'gen_mod:get_module_proc(<<"{HOST}">>, mod_stanzagate)'
NO_TABLES = (
    f"sys:replace_state({PROCESS}, fun(State) -> "
    "[ets:delete(Table) || Table <- ets:all(), ets:info(Table, owner) =:= self()], State end), ok"
)
NO_PROCESS = f"supervisor:terminate_child(ejabberd_gen_mod_sup, {PROCESS})"


def break_parser(server: Sandbox) -> None:
    """A stanza raises an error when the guard looks at it, and only then."""
    prosody(server, " ".join(BROKEN_CHILD.split()))


def lose_tables(server: Sandbox) -> None:
    """What the guard keeps in memory is gone."""
    erlang(server, NO_TABLES)


def end_process(server: Sandbox) -> None:
    """The guard's process has ended and does not come back."""
    erlang(server, NO_PROCESS)


WHAT_IT_LOGS = {"prosody": "injected", "ejabberd": "the guard failed"}
FAULTS = {"prosody": [break_parser], "ejabberd": [lose_tables, end_process]}


@contextlib.asynccontextmanager
async def mended(server: Sandbox) -> AsyncIterator[None]:
    """Whatever is broken in the block, the guard is whole again behind it."""
    try:
        yield
    finally:
        if server.kind == "prosody":
            await asyncio.to_thread(prosody, server, MENDED_CHILD)
        await asyncio.to_thread(reload_plugin, server, HOST)


async def test_a_guard_that_fails_lets_nothing_through(server: Sandbox) -> None:
    async with puppet(server) as gate, online(server, "cpe1") as cpe1, online(server, "acs1") as acs1:
        gate.decide = allowed
        for fault in FAULTS[server.kind]:
            assert await asked(acs1) == PASSED
            delivered = len(cpe1.woken)
            async with mended(server):
                for kind in ("get", "set"):
                    await asyncio.to_thread(fault, server)
                    id = f"{fault.__name__}-{kind}"
                    stanza = request(TARGET, id, "u", SECRET).replace("'get'", f"'{kind}'")
                    assert outcome(await acs1.send_raw_iq(stanza)) == UNDECIDED
                async with online(server, "acs2") as acs2:  # the server lives
                    ping = "<iq type='get' id='ping' to='acs.test'><ping xmlns='urn:xmpp:ping'/></iq>"
                    assert (await acs2.send_raw_iq(ping)).type == "result"
                assert len(cpe1.woken) == delivered
            await becomes(acs1, TARGET, PASSED, UNDECIDED, AWAY)
    assert WHAT_IT_LOGS[server.kind] in server_log(server)
    assert SECRET not in server_log(server)


async def test_a_process_of_the_guard_that_is_killed_is_there_again(server: Sandbox) -> None:
    if server.kind == "prosody":
        pytest.skip("Prosody is one process")
    async with puppet(server) as gate, online(server, "cpe1") as cpe1, online(server, "acs1") as acs1:
        await acs1.send_raw(request(TARGET, "held", "u", SECRET))
        await gate.until_held(1)
        await asyncio.to_thread(erlang, server, f"exit(whereis({PROCESS}), kill)")
        assert outcome(await acs1.answer("held")) == UNDECIDED
        gate.decide = allowed
        await becomes(acs1, TARGET, PASSED, UNDECIDED, AWAY)
        known = [(item.get("jid"), item.get("event")) for item in await gate.sessions()]
        assert known == [(cpe1.jid, "up")]
        gate.decide = lambda check: decision(check, "deny", epoch=2)
        await gate.flush(2)
        assert await asked(acs1, TARGET) == FORBIDDEN
    assert SECRET not in server_log(server)
