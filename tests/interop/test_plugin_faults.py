"""When something breaks, on both servers: the gate is killed, its link is cut, the guard itself fails; and when an
administrator opens it: log-only and the emergency bypass."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.clients import CONNECTION_REQUEST, payload_xml
from tests.interop.conftest import Sandbox, stanzagate
from tests.interop.puppet import GATE, HOST, PATIENCE, allowed, decision, denied, puppet, until
from tests.interop.rawclient import RawClient, beside, online, request
from tests.interop.realgate import Passage, real_gate
from tests.interop.scene import AWAY, FORBIDDEN, PASSED, UNDECIDED, outcome, server
from tests.interop.shells import bypass, erlang, plugin_status, prosody, reconfigure, reload_plugin, server_log

__all__ = ["server"]  # the fixture

SECRET = "typed-by-the-requester"
CPE1, CPE2 = "cpe1@cpe.test/tr069", "cpe2@cpe.test/tr069"
MESSY = f"<message to='{CPE1}' type='chat'>{payload_xml('u', SECRET, '<x/>')}</message>"


async def asked(client: RawClient, to: str) -> tuple[str, str]:
    """What a request comes to."""
    return outcome(await client.request(to, "u", SECRET))


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
            seen.append(await asked(client, CPE1))

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
        assert await asked(rogue, CPE1) == FORBIDDEN
        await stack.enter_async_context(beside(stream(streaming)))
        await until(lambda: len(seen) > 10)
        await gate.end(signal.SIGKILL)
        before = len(seen)
        assert await asked(acs1, CPE2) == AWAY
        assert await asked(acs2, CPE1) == AWAY
        assert await asked(rogue, CPE1) == FORBIDDEN
        assert await asked(acs1, CPE1) == PASSED
        await until(lambda: len(seen) > before + 10)
        await gate.start()
        await becomes(acs1, CPE2, PASSED, AWAY)
        assert await asked(acs2, CPE1) == await asked(rogue, CPE1) == FORBIDDEN
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
        assert await asked(acs1, CPE1) == PASSED
        assert await asked(acs2, CPE1) == FORBIDDEN
        passage.block()
        socket = str(tmp_path / "admin.sock")
        done = await asyncio.to_thread(stanzagate, "jid", "suspend", "acs1@acs.test", "--socket", socket)
        assert (done.returncode, HOST in done.stderr) == (1, True), done.stderr
        assert await asked(acs1, CPE1) == PASSED  # decided before; until the decision is stale
        passage.unblock()
        await gate.attached()
        await becomes(acs1, CPE1, FORBIDDEN, PASSED)
        await gate.api("DELETE", "/suspensions/acs1@acs.test")
        assert await asked(acs1, CPE1) == PASSED
        await gate.api("POST", "/suspensions", json={"requester": "acs1@acs.test"})
        assert await asked(acs1, CPE1) == FORBIDDEN


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


async def test_a_guard_that_fails_lets_nothing_through(server: Sandbox) -> None:
    async with puppet(server) as gate, online(server, "cpe1") as cpe1, online(server, "acs1") as acs1:
        gate.decide = allowed
        for fault in FAULTS[server.kind]:
            assert await asked(acs1, CPE1) == PASSED
            delivered = len(cpe1.woken)
            for kind in ("get", "set"):
                await asyncio.to_thread(fault, server)
                id = f"{fault.__name__}-{kind}"
                stanza = request(CPE1, id, "u", SECRET).replace("'get'", f"'{kind}'")
                assert outcome(await acs1.send_raw_iq(stanza)) == UNDECIDED
            async with online(server, "acs2") as acs2:  # the server lives
                ping = "<iq type='get' id='ping' to='acs.test'><ping xmlns='urn:xmpp:ping'/></iq>"
                assert (await acs2.send_raw_iq(ping)).type == "result"
            assert len(cpe1.woken) == delivered
            if server.kind == "prosody":
                await asyncio.to_thread(prosody, server, MENDED_CHILD)
            await asyncio.to_thread(reload_plugin, server, HOST)
            await becomes(acs1, CPE1, PASSED, UNDECIDED, AWAY)
    assert WHAT_IT_LOGS[server.kind] in server_log(server)
    assert SECRET not in server_log(server)


async def test_a_process_of_the_guard_that_is_killed_is_there_again(server: Sandbox) -> None:
    if server.kind == "prosody":
        pytest.skip("Prosody is one process")
    async with puppet(server) as gate, online(server, "cpe1") as cpe1, online(server, "acs1") as acs1:
        await acs1.send_raw(request(CPE1, "held", "u", SECRET))
        await gate.until_held(1)
        await asyncio.to_thread(erlang, server, f"exit(whereis({PROCESS}), kill)")
        assert outcome(await acs1.answer("held")) == UNDECIDED
        gate.decide = allowed
        await becomes(acs1, CPE1, PASSED, UNDECIDED, AWAY)
        known = [(item.get("jid"), item.get("event")) for item in await gate.sessions()]
        assert known == [(cpe1.jid, "up")]
        gate.decide = lambda check: decision(check, "deny", epoch=2)
        await gate.flush(2)
        assert await asked(acs1, CPE1) == FORBIDDEN
    assert SECRET not in server_log(server)


WRONG = {
    "prosody": {
        'stanzagate_mode = "enforce"': 'stanzagate_mode = "off"',
        'stanzagate_guard = "connection-requests"': 'stanzagate_guard = "nothing"',
        f'stanzagate_component = "{GATE}"': 'stanzagate_component = ""',
    },
    "ejabberd": {'mode: "enforce"': 'mode: "off"'},
}


async def test_a_wrong_configuration_does_not_open_the_guard(server: Sandbox) -> None:
    """Prosody takes what it does not understand for the strictest; ejabberd does not take such a file at all."""
    async with puppet(server) as gate, online(server, "cpe1") as cpe1, online(server, "acs1") as acs1:
        gate.decide = denied
        for right, wrong in WRONG[server.kind].items():
            with contextlib.nullcontext() if server.kind == "prosody" else pytest.raises(AssertionError):
                reconfigure(server, right, wrong)
        if server.kind == "prosody":
            await asyncio.to_thread(reload_plugin, server, HOST)
            ping = f"<iq type='get' id='ping' to='{CPE1}'><ping xmlns='urn:xmpp:ping'/></iq>"
            assert outcome(await acs1.send_raw_iq(ping)) == AWAY
        assert await asked(acs1, CPE1) == {"prosody": AWAY, "ejabberd": FORBIDDEN}[server.kind]
        for right, wrong in WRONG[server.kind].items():
            reconfigure(server, wrong, right)
        if server.kind == "prosody":
            await asyncio.to_thread(reload_plugin, server, HOST)
        assert await asked(acs1, CPE1) == FORBIDDEN
        assert cpe1.woken == []


# --- open on purpose ------------------------------------------------------------------------------------------------


async def test_the_emergency_bypass(server: Sandbox) -> None:
    async with puppet(server) as gate, online(server, "cpe1") as cpe1, online(server, "acs1") as acs1:
        gate.decide = denied
        assert await asked(acs1, CPE1) == FORBIDDEN
        logged = len(server_log(server))
        await asyncio.to_thread(bypass, server, HOST, 5)
        assert (await gate.status()).words["mode"] == "bypass"
        assert "bypass" in await asyncio.to_thread(plugin_status, server, HOST)
        assert await asked(acs1, CPE1) == PASSED
        async with online(server, "rogue") as rogue:
            assert await asked(rogue, CPE1) == PASSED
        await acs1.send_raw(MESSY)
        await until(lambda: len(cpe1.woken) == 3)
        assert [child.tag for child in cpe1.woken[2][0]][2:] == [f"{{{CONNECTION_REQUEST}}}x"]
        assert ((await gate.status())["bypassed"] >= 3, len(gate.checks)) == (True, 1)
        await asyncio.to_thread(bypass, server, HOST, 0)
        assert (await gate.status()).words["mode"] == "enforce"
        assert await asked(acs1, CPE1) == FORBIDDEN
        await until(lambda: server_log(server)[logged:].lower().count("bypass") >= 2)  # its begin and its end
        await asyncio.to_thread(bypass, server, HOST, 5)
        await asyncio.to_thread(reload_plugin, server, HOST)
        assert (await gate.status()).words["mode"] == "enforce"
        for minutes in (-1, 1441):
            with contextlib.suppress(AssertionError):  # whether the shell fails is the server's affair
                await asyncio.to_thread(bypass, server, HOST, minutes)
            assert (await gate.status()).words["mode"] == "enforce"
        assert len(cpe1.woken) == 3
    assert SECRET not in server_log(server)


@pytest.fixture
def lenient(server: Sandbox) -> Iterator[Sandbox]:
    """The sandbox with a plugin that only logs."""
    switch_mode(server, "enforce", "log-only")
    try:
        yield server
    finally:
        switch_mode(server, "log-only", "enforce")


def switch_mode(server: Sandbox, before: str, after: str) -> None:
    """Change the plugin's mode as an administrator does."""
    option = {"prosody": 'stanzagate_mode = "{}"', "ejabberd": 'mode: "{}"'}[server.kind]
    reconfigure(server, option.format(before), option.format(after))
    if server.kind == "prosody":
        reload_plugin(server, HOST)


async def test_log_only_lets_everything_through_and_says_what_it_would_refuse(
    lenient: Sandbox, tmp_path: Path
) -> None:
    logged = len(server_log(lenient))

    def refusals() -> str:
        """What is logged about what would be refused."""
        return "\n".join(line for line in server_log(lenient)[logged:].splitlines() if "refuse" in line)

    async with (
        real_gate(lenient, tmp_path) as gate,
        online(lenient, "cpe1") as cpe1,
        online(lenient, "rogue") as rogue,
        online(lenient, "acs1") as acs1,
    ):
        assert await asked(acs1, CPE1) == await asked(rogue, CPE1) == PASSED
        assert len(cpe1.woken) == 2
        await rogue.send_raw(MESSY)
        await until(lambda: len(cpe1.woken) == 3)
        assert [child.tag for child in cpe1.woken[2][0]][2:] == [f"{{{CONNECTION_REQUEST}}}x"]
        async with asyncio.timeout(PATIENCE):
            while "rogue@acs.test" not in refusals():  # the first may pass before there is a decision
                assert await asked(rogue, CPE1) == PASSED
        assert "acs1@acs.test" not in refusals()
        async with asyncio.timeout(PATIENCE):
            while not (proposed := json.loads(await gate.cli("jid", "suggest", "--json"))):
                pass
        assert [(item["requester"], item["target"]) for item in proposed] == [("rogue@acs.test", "00256D-0001")]
        await gate.end(signal.SIGKILL)
        assert await asked(rogue, CPE1) == PASSED
        async with online(lenient, "acs2") as acs2:
            assert await asked(acs2, CPE1) == PASSED
    assert SECRET not in server_log(lenient)
