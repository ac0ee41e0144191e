"""Many requests at once, and a requester that goes on asking while something else happens."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable

from tests.interop.cast import PASSED, TARGET, outcome
from tests.interop.clients import Answer
from tests.interop.plugin import Policy, Wire, addressed, request
from tests.interop.rawclient import beside


def from_spare(local: str, id: str) -> str:
    """A request of ``local@spare1.test``; a resource may follow the local part."""
    name, slash, resource = local.partition("/")
    return addressed(request(TARGET, id), f"{name}@spare1.test{slash}{resource}")


def kinds(answers: Iterable[Answer]) -> Counter[tuple[str, str]]:
    """How often each outcome stands among the answers."""
    return Counter(outcome(answer) for answer in answers)


def asked(policy: Policy, effect: str) -> float:
    """How often the gate has been asked, and has given such an answer."""
    return policy.metrics().get(f'stanzagate_plugin_decisions_total{{effect="{effect}"}}', 0)


class Streaming:
    """A requester that goes on asking, some requests at a time.

    :ivar sent: the ids of what it has sent.
    :ivar answers: what came back, in the order of `sent`.
    """

    def __init__(self, wire: Wire) -> None:
        self.sent: list[str] = []
        self.answers: list[Answer] = []
        self._wire = wire
        self._pausing = False
        self._paused = asyncio.Event()

    async def run(self) -> None:
        """Ask until `pause`."""
        while not self._pausing:
            ids = [f"q{len(self.sent) + number}" for number in range(8)]
            self.sent += ids
            await self._wire.send(*(request(TARGET, id) for id in ids))
            self.answers += await self._wire.answered(*ids)
        self._paused.set()

    async def pause(self) -> None:
        """Ask no more, and wait for what was asked."""
        self._pausing = True
        await self._paused.wait()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until what came makes `condition` true."""
        await self._wire.until(condition)

    async def until_allowed(self) -> None:
        """Wait until the newest answers are those of the device."""
        await self.until(lambda: kinds(self.answers[-50:]) == {PASSED: 50})


@contextlib.asynccontextmanager
async def streaming(wire: Wire) -> AsyncIterator[Streaming]:
    """Have a requester go on asking for as long as the block lasts."""
    stream = Streaming(wire)
    async with beside(stream.run()):
        yield stream
