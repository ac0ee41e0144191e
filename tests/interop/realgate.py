"""A `serve` of a test alone, so that it may be killed; and the real gate in its real place, `cr.cpe.test`, of a
sandbox that runs without one."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.interop.cast import GATE, HOST
from tests.interop.conftest import Sandbox, stanzagate
from tests.interop.puppet import PATIENCE
from tests.interop.shells import erlang, prosody


@dataclass
class OwnGate:
    """A `serve` of this test alone.

    :ivar folder: its configuration, database and keys.
    """

    sandbox: Sandbox
    folder: Path
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start and wait until it is attached."""
        log = (self.folder / "serve.log").open("ab")
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "stanzagate", "serve", "-c", str(self.folder / "stanzagate.yaml"),
            stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        log.close()
        await self.attached()

    async def attached(self) -> None:
        """Wait until the gate is attached to the server."""
        while True:
            assert self.process is not None and self.process.returncode is None, self.log()
            with contextlib.suppress(httpx.TransportError):
                if (await self.health())["gate"] == "attached":
                    return
            await asyncio.sleep(0.02)

    async def health(self) -> dict[str, Any]:
        """What ``/healthz`` says."""
        found: dict[str, Any] = (await self._asked("GET", "/healthz")).json()
        return found

    async def figures(self) -> Counter[str]:
        """What ``/metrics`` says of the plugins, all hosts together; a reason or effect stands behind the name."""
        found: Counter[str] = Counter()
        text = (await self._asked("GET", "/metrics")).text
        measured = r"^stanzagate_plugin_(\w+?)(?:_total)?({.*})? ([\d.]+)$"
        for name, labels, value in re.findall(measured, text, re.MULTILINE):
            words = re.findall(r'(?:reason|effect)="([^"]*)"', labels)
            found[" ".join([name, *words])] += int(float(value))
        return found

    async def end(self, number: int) -> int:
        """Send a signal and wait for the end."""
        assert self.process is not None
        self.process.send_signal(number)
        return await self.process.wait()

    async def cli(self, *arguments: str, code: int = 0) -> str:
        """The command line against this gate."""
        done = await asyncio.to_thread(stanzagate, *arguments, "--socket", str(self.folder / "admin.sock"))
        assert done.returncode == code, done.stderr
        return done.stdout

    async def _asked(self, method: str, path: str, **request: Any) -> httpx.Response:
        transport = httpx.AsyncHTTPTransport(uds=str(self.folder / "admin.sock"))
        async with httpx.AsyncClient(transport=transport, base_url="http://stanzagate") as http:
            return await http.request(method, path, **request)

    def log(self) -> str:
        """What it has logged."""
        return (self.folder / "serve.log").read_text()


class RealGate(OwnGate):
    """A `serve` that the plugin believes."""

    async def api(self, method: str, path: str, **request: Any) -> Any:
        """Ask the admin API."""
        return (await self._asked(method, f"/v1{path}", **request)).raise_for_status().json()

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


LOST = {
    "events": ("x.name == 'message'", '{message, _, _, _, {jid, _, <<"cpe.test">>, _, _, _, _}, _, _, _, _, _, _}'),
    "checks": (
        "x.name == 'iq' and x.attr.type == 'get'",
        '{iq, _, get, _, {jid, <<>>, <<"cpe.test">>, _, _, _, _}, {jid, _, <<"cr.cpe.test">>, _, _, _, _}, _, _}',
    ),
}
"""What the server can lose on the way to the gate, as a condition in Lua and as a pattern in Erlang."""


@contextlib.asynccontextmanager
async def lost(sandbox: Sandbox, what: str) -> AsyncIterator[None]:
    """The server loses what goes to the gate, ``events`` or ``checks``, for as long as the block lasts."""
    await asyncio.to_thread(_lose, sandbox, what)
    try:
        yield
    finally:
        await asyncio.to_thread(_find, sandbox, what)


def _lose(sandbox: Sandbox, what: str) -> None:
    lua, pattern = LOST[what]
    if sandbox.kind == "prosody":
        change = f"local kept = s.send; s.{what} = kept; s.send = function (x) return {lua} or kept(x); end;"
        prosody(sandbox, f"> local s = prosody.hosts['{GATE}'].modules.component.session; {change}")
    else:
        erlang(
            sandbox,
            f"Lose = fun({pattern}) -> drop; (Packet) -> Packet end, "
            f"persistent_term:put({what}, Lose), ejabberd_hooks:add(filter_packet, Lose, 1)",
        )


def _find(sandbox: Sandbox, what: str) -> None:
    if sandbox.kind == "prosody":
        prosody(sandbox, f"> local s = prosody.hosts['{GATE}'].modules.component.session; s.send = s.{what};")
    else:
        erlang(sandbox, f"ejabberd_hooks:delete(filter_packet, persistent_term:get({what}), 1)")
