"""A local server that does what tests want of it, and an attachment that tells them what happens."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

from component.base.errors import StanzaErrorInfo
from component.relay.net.attachment import Attachment, Timing
from component.relay.net.outbox import BarrierTiming
from component.relay.net.rounds import Rounds
from component.relay.queues import Queued, QueueLimits
from component.relay.wire.component import ComponentStream
from component.relay.wire.stanza import Stanza
from tests.unit.fakeserver import FakeServer

DOMAIN = "partner.test"
QUICK = Timing(first_delay=0.001, longest_delay=0.004, connect=10.0, watch=60.0, barriers=BarrierTiming(0.0, 0.0))

LIMITS = QueueLimits()


class LocalServer(FakeServer):
    """Routes barriers back, unless it is told to hold them."""

    def __init__(self, secret: str = "s3cret", *, handshake: bool = True) -> None:
        super().__init__(secret, handshake=handshake)
        self.holds = False
        self.held: asyncio.Queue[ET.Element] = asyncio.Queue()
        self.barriers = 0

    def _stanza(self, element: ET.Element, writer: asyncio.StreamWriter) -> None:
        if element.get("to", "?") == element.get("from"):
            self.barriers += 1
            if self.holds:
                self.held.put_nowait(element)
                return
        super()._stanza(element, writer)

    async def let_go(self) -> None:
        """Route back the oldest barrier that is held."""
        self.send(ET.tostring(await self.held.get(), encoding="unicode"))

    def read(self, reads: bool) -> None:
        """Stop reading from the component, or go on."""
        assert self._writer is not None
        transport: Any = self._writer.transport
        if reads:
            transport.resume_reading()
        else:
            transport.pause_reading()

    async def ids(self, count: int) -> list[str]:
        """Ids of the next stanzas that arrive."""
        return [(await self.received.get()).get("id", "") for _ in range(count)]


class Recorder:
    """Listens to an attachment."""

    def __init__(self) -> None:
        self.stanzas: list[Stanza] = []
        self.lost: list[tuple[str, str, bool]] = []
        """Id, condition and whether it is uncertain, of each stanza that was handed back."""
        self.pressures: list[bool] = []
        self.attachments: list[bool] = []
        self._changed = asyncio.Event()

    def local_stanza(self, stanza: Stanza) -> None:
        self.stanzas.append(stanza)
        self._changed.set()

    def returned(self, returned: list[Queued], why: StanzaErrorInfo, uncertain: bool) -> None:
        self.lost += [(one.stanza.id if one.stanza else "", why.condition, uncertain) for one in returned]
        self._changed.set()

    def pressure(self, on: bool) -> None:
        self.pressures.append(on)
        self._changed.set()

    def attached(self, attached: bool) -> None:
        self.attachments.append(attached)
        self._changed.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds that the attachment tells of."""
        while not holds():
            self._changed.clear()
            await self._changed.wait()


def attachment(
    server: FakeServer,
    recorder: Recorder,
    *,
    secret: str = "s3cret",
    limits: QueueLimits = LIMITS,
    timing: Timing = QUICK,
    uniform: Callable[[float, float], float] = lambda low, _high: low,
) -> Attachment:
    """An attachment to the server, not started yet."""
    numbers = itertools.count(1)
    return Attachment(
        DOMAIN, "127.0.0.1", server.port,
        stream=lambda: ComponentStream(DOMAIN, secret), listener=recorder, uniform=uniform,
        new_id=lambda: f"n{next(numbers)}", clock=asyncio.get_running_loop().time, wall=time.time,
        limits=limits, timing=timing, rounds=Rounds(),
    )  # fmt: skip
