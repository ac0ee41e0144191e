"""The real gate in its real place, `cr.cpe.test` of a sandbox that runs without one, so that a test may kill it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

from tests.interop.conftest import Sandbox
from tests.interop.puppet import GATE, HOST, PATIENCE
from tests.interop.shells import erlang, prosody
from tests.interop.test_serve import OwnGate


class RealGate(OwnGate):
    """A `serve` that the plugin believes."""

    async def api(self, method: str, path: str, **request: Any) -> Any:
        """Ask the admin API."""
        transport = httpx.AsyncHTTPTransport(uds=str(self.folder / "admin.sock"))
        async with httpx.AsyncClient(transport=transport, base_url="http://stanzagate/v1") as http:
            return (await http.request(method, path, **request)).raise_for_status().json()

    async def make_policy(self) -> None:
        """Register the five devices of the sandbox; acs1 may wake all of them."""
        for account in self.sandbox.info["cpes"]:
            row = {name: account[name] for name in ("id", "jid", "cr_username", "cr_password")}
            await self.api("POST", "/devices", json=row | {"groups": ["lab"]})
        rule = {"effect": "allow", "requester": "acs1@acs.test", "target": "group:lab"}
        await self.api("POST", "/rules", json=rule)

    async def online(self, *numbers: int) -> list[dict[str, Any]]:
        """Wait until these devices are online and no other one; how the registry shows them."""
        wanted = [f"00256D-000{number}" for number in numbers]
        async with asyncio.timeout(PATIENCE):
            while True:
                rows: list[dict[str, Any]] = (await self.api("GET", "/devices", params={"online": True}))["devices"]
                if [row["id"] for row in rows] == wanted:
                    return rows
                await asyncio.sleep(0.01)


class Passage:
    """What the gate's link goes through: it can be blocked.

    :ivar port: where the gate connects.
    """

    def __init__(self, host: str, port: int) -> None:
        self._where = host, port
        self._open = True
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[Passage]:
        """Take connections for as long as the block lasts."""
        async with await asyncio.start_server(self._taken, "127.0.0.1", 0) as server:
            self.port = server.sockets[0].getsockname()[1]
            try:
                yield self
            finally:
                self.block()

    def block(self) -> None:
        """Cut what is connected and refuse what comes."""
        self._open = False
        for writer in self._writers:
            writer.transport.abort()

    def unblock(self) -> None:
        """Let through what comes from now on."""
        self._open = True

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._open:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection(*self._where)
        self._writers |= {writer, far_writer}
        await asyncio.gather(_copied(reader, far_writer), _copied(far_reader, writer))
        self._writers -= {writer, far_writer}


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.asynccontextmanager
async def real_gate(sandbox: Sandbox, folder: Path, *, port: int = 0, **settings: object) -> AsyncIterator[RealGate]:
    """The gate, attached, with five devices that acs1 may wake.

    :param port: where its link goes, when not straight to the server.
    :param settings: of the section ``gate``.
    """
    where = sandbox.components[GATE]
    (folder / "gate.secret").write_text(where["secret"])
    section = {
        "jid": GATE, "component_port": port or where["port"], "guarded_hosts": [HOST],
        "secret": {"file": "gate.secret"}, "limits": {"requester": "unlimited", "device": "unlimited"},
    }  # fmt: skip
    server = {"kind": sandbox.kind, "host": where["host"]}
    (folder / "stanzagate.yaml").write_text(json.dumps({"server": server, "gate": section | settings}))
    gate = RealGate(sandbox, folder)
    try:
        await gate.start()
        await gate.make_policy()
        yield gate
    finally:
        if gate.process is not None and gate.process.returncode is None:
            await gate.end(signal.SIGKILL)


@contextlib.asynccontextmanager
async def events_lost(sandbox: Sandbox) -> AsyncIterator[None]:
    """The server loses the messages that go to the gate for as long as the block lasts."""
    await asyncio.to_thread(_lose, sandbox, True)
    try:
        yield
    finally:
        await asyncio.to_thread(_lose, sandbox, False)


def _lose(sandbox: Sandbox, lose: bool) -> None:
    if sandbox.kind == "prosody":
        change = (
            "s.kept = s.send; s.send = function (x) return x.name == 'message' or s.kept(x); end;"
            if lose
            else "s.send = s.kept;"
        )
        prosody(sandbox, f"> local s = prosody.hosts['{GATE}'].modules.component.session; {change}")
    elif lose:
        erlang(
            sandbox,
            'Lose = fun({message, _, _, _, {jid, _, <<"cpe.test">>, _, _, _, _}, _, _, _, _, _, _}) -> drop; '
            "(Packet) -> Packet end, persistent_term:put(lose, Lose), ejabberd_hooks:add(filter_packet, Lose, 1)",
        )
    else:
        erlang(sandbox, "ejabberd_hooks:delete(filter_packet, persistent_term:get(lose), 1)")
