"""Reference devices of a sandbox's own accounts, for as long as a test wants them."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any
from xml.etree.ElementTree import Element

from stanzagate.sandbox.device import Connection, DeviceSettings, Quirk, ReferenceDevice
from tests.interop.conftest import Sandbox


class Watched(ReferenceDevice):
    """A reference device that shows when it answered.

    :ivar answered: set once an answer was sent.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.answered = asyncio.Event()

    def _respond(self, stanza: Element, *arguments: Any) -> None:
        super()._respond(stanza, *arguments)
        self.answered.set()


@contextlib.asynccontextmanager
async def device(
    sandbox: Sandbox,
    number: int,
    *,
    allowed: list[str] | None = None,
    quirks: Quirk = Quirk.NONE,
    late: float = 15,
    acs: str = "",
) -> AsyncIterator[Watched]:
    """Device `number` of the sandbox, connected; its own list holds the gate's address unless `allowed` says more.

    :param late: seconds that an answer takes with `Quirk.LATE`.
    :param acs: URL of a CWMP endpoint; without one the device holds no sessions and is never busy.
    """
    gate = f"gate@{sandbox.info['domains']['gate']}/gate"
    watched = Watched(
        DeviceSettings(
            **sandbox.account(f"cpe{number}"),
            allowed=[gate] if allowed is None else allowed,
            quirks=quirks,
            late=late,
        ),
        address=sandbox.address,
        context=ssl.create_default_context(cafile=sandbox.info["ca"]),
        acs=acs,
        timers=Connection(initial=0.5, maximum=2),
    )
    async with asyncio.TaskGroup() as group:
        life = group.create_task(watched.run())
        try:
            await watched.wait_online()
            yield watched
        finally:
            life.cancel()
