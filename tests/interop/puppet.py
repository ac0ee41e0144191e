"""A component under the test's control, in the place of the gate: what the plugin asks and tells, answered at will.

::

    async with puppet(sandbox) as gate:
        gate.decide = lambda check: decision(check, "allow", ttl=1)
        gate.decide = withheld            # says nothing; later: await gate.send(decision(gate.checks[0], "deny"))
        await gate.flush(2, requester="acs1@acs.test")

The sandbox runs without ``serve``. Attaching anew drops the plugin's cache, so every test begins with an empty one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

from component.base.ns import POLICY, STANZAS
from stanzagate.sandbox.wire import COMPONENT, Stream, StreamFailed, attach
from tests.interop.cast import GATE, HOST
from tests.interop.conftest import Sandbox
from tests.interop.rawclient import beside

PATIENCE = 30.0
IQ = f"{{{COMPONENT}}}iq"
SESSION = f"{{{POLICY}}}session"
CHAIN = f"{{{POLICY}}}certificateChain/{{{POLICY}}}certificate"


@dataclass(frozen=True)
class Check:
    """A question of the plugin.

    :ivar host: the guarded host that asks.
    """

    id: str
    host: str
    requester: str
    device: str


@dataclass(frozen=True)
class Status:
    """What the plugin says of itself.

    :ivar words: ``version``, ``mode``, ``guard``.
    :ivar refused: count by reason.
    """

    words: dict[str, str]
    numbers: dict[str, int]
    refused: dict[str, int]

    def __getitem__(self, name: str) -> int:
        return self.numbers[name]


async def until(condition: Callable[[], object]) -> None:
    """Wait until `condition` is true."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.002)


def decision(check: Check, effect: str, *, sender: str = GATE, **attributes: object) -> str:
    """The answer to a check: scope bare, valid for long, epoch 1, unless told otherwise; None leaves one out."""
    values: dict[str, object] = {
        "scope": "bare",
        "ttl": 300,
        "stale": 3600,
        "epoch": 1,
        "rule": "3",
        "reason": "test",
    }
    return answer(check, element("decision", effect=effect, **(values | attributes)), sender=sender)


def answer(check: Check, content: str, *, sender: str = GATE, kind: str = "result") -> str:
    """Any answer to a check."""
    names = f"from={quoteattr(sender)} to={quoteattr(check.host)} id={quoteattr(check.id)}"
    return f"<iq type='{kind}' {names}>{content}</iq>"


def failure(check: Check) -> str:
    """The component says that it cannot decide."""
    error = f"<error type='wait'><internal-server-error xmlns='{STANZAS}'/></error>"
    return answer(check, error, kind="error")


def element(name: str, **attributes: object) -> str:
    """An empty element of the policy namespace; attributes that are None are left out."""
    written = "".join(f" {key}={quoteattr(str(value))}" for key, value in attributes.items() if value is not None)
    return f"<{name} xmlns='{POLICY}'{written}/>"


def allowed(check: Check) -> str:
    """Allow, for long."""
    return decision(check, "allow")


def denied(check: Check) -> str:
    """Deny, for long."""
    return decision(check, "deny")


def withheld(_check: Check) -> str:
    """Say nothing."""
    return ""


class Puppet:
    """The component, attached.

    :ivar decide: called with every check; what it returns is sent as it stands.
    :ivar answered: answers to what it asked, by id.
    :ivar events: ``<session/>`` elements of `HOST` as they came.
    :ivar recent: those since the last snapshot.
    :ivar snapshots: ``<sessions/>`` elements of `HOST` that came by themselves.
    :ivar elsewhere: what other hosts told of sessions.
    """

    def __init__(self, stream: Stream) -> None:
        self.decide: Callable[[Check], str] = withheld
        self.checks: list[Check] = []
        self.events: list[ET.Element] = []
        self.recent: list[ET.Element] = []
        self.snapshots: list[ET.Element] = []
        self.elsewhere: list[ET.Element] = []
        self.answered: dict[str, ET.Element] = {}
        self._ids = itertools.count(1)
        self._stream = stream

    async def read(self) -> None:
        """Take what comes until the stream ends."""
        with contextlib.suppress(StreamFailed):
            while True:
                await self._take(await self._stream.element())

    async def _take(self, stanza: ET.Element) -> None:
        content = stanza[0] if len(stanza) else None
        if stanza.tag == IQ and stanza.get("type") in ("result", "error"):
            self.answered[stanza.get("id", "")] = stanza
        elif content is None:
            return
        elif content.tag == f"{{{POLICY}}}check":
            names = {name: content.get(name, "") for name in ("requester", "device")}
            check = Check(stanza.get("id", ""), stanza.get("from", ""), **names)
            self.checks.append(check)
            await self.send(self.decide(check))
        elif stanza.get("from") != HOST:
            self.elsewhere.append(content)
        elif content.tag == SESSION:
            self.events.append(content)
            self.recent.append(content)
        elif content.tag == f"{{{POLICY}}}sessions":
            self.snapshots.append(content)
            self.recent.clear()

    async def send(self, *stanzas: str) -> None:
        """Send stanzas as they stand."""
        if text := "".join(stanzas):
            await self._stream.send(text)

    async def iq(self, kind: str, content: str, *, sender: str = GATE, to: str = HOST) -> ET.Element:
        """Ask something; the answer."""
        id = f"p{next(self._ids)}"
        names = f"from={quoteattr(sender)} to={quoteattr(to)} id='{id}'"
        await self.send(f"<iq type='{kind}' {names}>{content}</iq>")
        await until(lambda: id in self.answered)
        return self.answered.pop(id)

    async def flush(self, epoch: object, *, host: str = HOST, **which: object) -> ET.Element:
        """Have entries dropped: those of a requester, of a device, of both, or all; the answer."""
        return await self.iq("set", element("flush", epoch=epoch, **which), to=host)

    async def status(self, host: str = HOST) -> Status:
        """What the plugin says of itself."""
        told = (await self.iq("get", element("status"), to=host)).find(f"{{{POLICY}}}status")
        assert told is not None
        words = {name: value for name, value in told.items() if name in ("version", "mode", "guard")}
        numbers = {name: int(value) for name, value in told.items() if name not in words}
        refused = {item.get("reason", ""): int(item.get("count", "")) for item in told}
        return Status(words, numbers, refused)

    async def until_held(self, count: int) -> None:
        """Wait until so many requests wait in the plugin."""
        async with asyncio.timeout(PATIENCE):
            while (await self.status())["held"] != count:
                pass

    async def sessions(self, host: str = HOST) -> ET.Element:
        """The snapshot, asked for."""
        found = (await self.iq("get", element("sessions"), to=host)).find(f"{{{POLICY}}}sessions")
        assert found is not None
        return found

    async def detach(self) -> None:
        """End the stream."""
        await self._stream.close()


def condition(stanza: ET.Element) -> tuple[str, str]:
    """Type and condition of an error; two empty strings for a result."""
    error: Any = stanza.find(f"{{{COMPONENT}}}error")
    if error is None:
        return "", ""
    return error.get("type", ""), next(child.tag for child in error).rpartition("}")[2]


@contextlib.asynccontextmanager
async def puppet(sandbox: Sandbox, jid: str = GATE) -> AsyncIterator[Puppet]:
    """A component, attached; in the gate's place the plugin has seen it and sent its first snapshot."""
    where = sandbox.components[jid]
    async with await attached(jid, where) as stream:
        gate = Puppet(stream)
        async with beside(gate.read()):
            if jid == GATE:
                await until(lambda: gate.snapshots)
            try:
                yield gate
            finally:
                await stream.close()


async def attached(jid: str, where: dict[str, Any]) -> Stream:
    """Attach, as soon as the server has let go of the one before."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await attach(where["host"], where["port"], jid, where["secret"])
            except StreamFailed:
                await asyncio.sleep(0.005)
