"""Keeps a stream up: connects, keeps alive, reconnects (RFC 6120 §3.3, the timers of ``XMPP.Connection``)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from enum import StrEnum

from component.base.errors import Unreachable
from stanzagate.sandbox.device.settings import Connection
from stanzagate.sandbox.device.stream import DeviceStream

log = logging.getLogger(__name__)

OWN_KEEP_ALIVE = 60.0
"""Seconds between keep-alives when the data model leaves them to the device (KeepAliveInterval -1)."""


class Status(StrEnum):
    """``XMPP.Connection.{i}.Status``, as far as this device has it."""

    CONNECTING = "Connecting"
    ENABLED = "Enabled"
    DORMANT = "Dormant"
    DISABLED = "Disabled"


class Uplink:
    """
    :param on_up: called whenever the stream is up, with the JID as bound.
    :param uniform: like `random.uniform`.
    :param slots: held while connecting, so that a thousand devices do not do it at once.
    :ivar connections: how often the stream has come up.
    :ivar keep_alives: how many were sent.
    """

    def __init__(
        self,
        stream: DeviceStream,
        address: tuple[str, int],
        timers: Connection,
        *,
        on_up: Callable[[str], None],
        uniform: Callable[[float, float], float],
        slots: contextlib.AbstractAsyncContextManager[object],
    ) -> None:
        self._stream = stream
        self._address = address
        self._timers = timers
        self._on_up = on_up
        self._uniform = uniform
        self._slots = slots
        self.status = Status.DISABLED
        self.connections = 0
        self.keep_alives = 0

    async def run(self) -> None:
        """Stay connected until cancelled, then close the stream."""
        failures = 0
        try:
            while True:
                self.status = Status.CONNECTING
                try:
                    async with self._slots:
                        await self._stream.open(*self._address, self._timers.timeout)
                except Unreachable as error:
                    failures += 1
                    self._stream.abort()
                    log.log(logging.WARNING if failures == 1 else logging.DEBUG, "%s", error)
                else:
                    failures = 1
                    self.status = Status.ENABLED
                    self.connections += 1
                    self._on_up(self._stream.boundjid.full)
                    log.warning("%s lost its connection: %s", self._stream.boundjid, await self._stay())
                self.status = Status.DORMANT
                await asyncio.sleep(self._timers.wait(failures, self._uniform))
        finally:
            self.status = Status.DISABLED
            await self._stream.close()

    async def _stay(self) -> str:
        set_to = self._timers.keep_alive
        interval = OWN_KEEP_ALIVE if set_to < 0 else set_to or None
        while True:
            reason = await self._stream.lost(interval)
            if reason is not None:
                return reason
            if self._stream.write(" "):
                self.keep_alives += 1
