"""What an administrator does to the plugin, on both servers: wrong options, log-only, the emergency bypass."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.interop.cast import AWAY, FORBIDDEN, GATE, HOST, PASSED, TARGET, outcome
from tests.interop.clients import CONNECTION_REQUEST, payload_xml
from tests.interop.conftest import Sandbox
from tests.interop.puppet import PATIENCE, Puppet, denied, puppet, until
from tests.interop.rawclient import RawClient, online
from tests.interop.realgate import real_gate
from tests.interop.scene import SECRET, asked
from tests.interop.shells import bypass, bypassed, plugin_status, reconfigured, reload_plugin, server_log

MESSY = f"<message to='{TARGET}' type='chat'>{payload_xml('u', SECRET, '<x/>')}</message>"

OPTIONS = {
    "prosody": {
        "mode": ('stanzagate_mode = "enforce"', 'stanzagate_mode = "off"'),
        "guard": ('stanzagate_guard = "connection-requests"', 'stanzagate_guard = "nothing"'),
        "cache_size": ("stanzagate_cache_size = 100000", "stanzagate_cache_size = -1"),
        "component": (f'stanzagate_component = "{GATE}"', 'stanzagate_component = ""'),
    },
    "ejabberd": {
        "mode": ('mode: "enforce"', 'mode: "off"'),
        "guard": ('guard: "connection-requests"', 'guard: "nothing"'),
        "cache_size": ("cache_size: 100000", "cache_size: 0"),
        "component": (f'component: "{GATE}"', 'component: "gate@"'),
    },
}
"""Each as it stands, and as nobody may have it."""


async def test_wrong_options_do_not_open_the_guard(server: Sandbox) -> None:
    async with puppet(server) as gate, online(server, "cpe1") as cpe1, online(server, "acs1") as acs1:
        gate.decide = denied
        await {"prosody": the_strictest_is_used, "ejabberd": the_file_is_refused}[server.kind](server, gate, acs1)
        assert (await gate.status()).words == {"version": "1", "mode": "enforce", "guard": "connection-requests"}
        assert await asked(acs1) == FORBIDDEN
        assert cpe1.woken == []


async def the_file_is_refused(server: Sandbox, gate: Puppet, acs1: RawClient) -> None:
    """ejabberd goes on with the options that it has."""
    for name, change in OPTIONS["ejabberd"].items():
        with pytest.raises(AssertionError, match=name), reconfigured(server, change):
            pass
        assert await asked(acs1) == FORBIDDEN
    assert len(gate.checks) == 1


async def the_strictest_is_used(server: Sandbox, gate: Puppet, acs1: RawClient) -> None:
    """Prosody starts the plugin whatever its options are; its log names those that are wrong."""
    *others, component = OPTIONS["prosody"].values()
    ping = f"<iq type='get' id='ping' to='{TARGET}'><ping xmlns='urn:xmpp:ping'/></iq>"
    logged = len(server_log(server))
    try:
        with reconfigured(server, *others):
            await asyncio.to_thread(reload_plugin, server, HOST)
            assert await asked(acs1) == outcome(await acs1.send_raw_iq(ping)) == FORBIDDEN
            status = await gate.status()
            assert (status.words["mode"], status.words["guard"], status["cached"]) == ("enforce", "everything", 1)
        with reconfigured(server, component):
            await asyncio.to_thread(reload_plugin, server, HOST)
            assert await asked(acs1) == AWAY
    finally:
        await asyncio.to_thread(reload_plugin, server, HOST)
    errors = [line for line in server_log(server)[logged:].splitlines() if "error" in line]
    for name in OPTIONS["prosody"]:
        assert any(f"stanzagate_{name}" in line for line in errors), name


async def test_the_emergency_bypass(server: Sandbox) -> None:
    async with puppet(server) as gate, online(server, "cpe1") as cpe1, online(server, "acs1") as acs1:
        gate.decide = denied
        assert await asked(acs1) == FORBIDDEN
        logged = len(server_log(server))
        async with bypassed(server, HOST):
            assert (await gate.status()).words["mode"] == "bypass"
            assert "bypass" in await asyncio.to_thread(plugin_status, server, HOST)
            assert await asked(acs1) == PASSED
            async with online(server, "rogue") as rogue:
                assert await asked(rogue) == PASSED
            await acs1.send_raw(MESSY)
            await until(lambda: len(cpe1.woken) == 3)
            assert [child.tag for child in cpe1.woken[2][0]][2:] == [f"{{{CONNECTION_REQUEST}}}x"]
            assert ((await gate.status())["bypassed"] >= 3, len(gate.checks)) == (True, 1)
        assert (await gate.status()).words["mode"] == "enforce"
        assert await asked(acs1) == FORBIDDEN
        await until(lambda: server_log(server)[logged:].lower().count("bypass") >= 2)  # its begin and its end
        async with bypassed(server, HOST):
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
    """The server with a plugin that only logs, set up as an administrator does."""
    option = {"prosody": 'stanzagate_mode = "{}"', "ejabberd": 'mode: "{}"'}[server.kind]
    try:
        with reconfigured(server, (option.format("enforce"), option.format("log-only"))):
            if server.kind == "prosody":
                reload_plugin(server, HOST)
            yield server
    finally:
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
        assert await asked(acs1) == await asked(rogue) == PASSED
        assert len(cpe1.woken) == 2
        await rogue.send_raw(MESSY)
        await until(lambda: len(cpe1.woken) == 3)
        assert [child.tag for child in cpe1.woken[2][0]][2:] == [f"{{{CONNECTION_REQUEST}}}x"]
        async with asyncio.timeout(PATIENCE):
            while "rogue@acs.test" not in refusals():  # the first may pass before there is a decision
                assert await asked(rogue) == PASSED
        assert "acs1@acs.test" not in refusals()
        async with asyncio.timeout(PATIENCE):
            while not (proposed := json.loads(await gate.cli("jid", "suggest", "--json"))):
                pass
        assert [(item["requester"], item["target"]) for item in proposed] == [("rogue@acs.test", "00256D-0001")]
        await gate.end(signal.SIGKILL)
        assert await asked(rogue) == PASSED
        async with online(lenient, "acs2") as acs2:
            assert await asked(acs2) == PASSED
    assert SECRET not in server_log(lenient)
