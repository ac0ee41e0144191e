"""How a registry of the grid changes: planned in memory, written with its audit row and epoch, then applied.

Changes of a registry happen one after the other. What is applied to memory is applied as soon as the transaction is
on disk, even if whoever asked has gone meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

from component.base.errors import StanzagateError
from component.base.store import DatabaseError, Store
from grid.epochs import Epochs

T = TypeVar("T")
C = TypeVar("C")
log = logging.getLogger(__name__)


class Trail(Protocol):
    """The part of the audit record that changes need."""

    def append(
        self, connection: Connection, *, actor: str, action: str, subject: str, detail: Mapping[str, Any]
    ) -> object:
        """Record a change in the transaction that makes it."""


class Changes:
    """Makes the changes of one registry.

    :param reload: reads the registry anew; called when memory may not equal the database.
    :ivar lock: held while a change is planned and made.
    """

    def __init__(self, store: Store, epochs: Epochs, reload: Callable[[], Awaitable[None]]) -> None:
        self.lock = asyncio.Lock()
        self._store = store
        self._epochs = epochs
        self._reload = reload
        self._uncertain = False
        self._at_stake = 0

    async def ready(self) -> None:
        """Read everything again when memory may not equal the database; call with the lock held.

        :raises DatabaseError: it cannot be read.
        """
        if self._uncertain:
            await self._reload()
            self._uncertain = False
            self._epochs.applied(self._at_stake)

    async def commit(self, write: Callable[[Connection, int], T], apply: Callable[[T, int], None]) -> tuple[T, int]:
        """Make a change; call with the lock held.

        :param write: makes it in the database, under the epoch that it is given, and records it.
        :param apply: makes it in memory, on the event loop, with what `write` returned and the epoch; must not fail.
        :returns: what `write` returned, and the epoch.
        :raises Conflict: a constraint of the database was violated.
        :raises DatabaseError: it could not be written.
        """
        loop = asyncio.get_running_loop()

        def applied(result: T, epoch: int) -> None:
            apply(result, epoch)
            self._epochs.applied(epoch)

        def work(connection: Connection) -> tuple[T, int]:
            epoch = self._at_stake = self._epochs.next(connection)
            result = write(connection, epoch)
            self._store.after_commit(connection, lambda: _later(loop, applied, result, epoch))
            return result, epoch

        try:
            return await self._store.write(work)
        except DatabaseError:
            self._uncertain = True  # a commit that failed may have happened: the database must say
            with contextlib.suppress(StanzagateError):
                await self.ready()
            raise
        except asyncio.CancelledError:
            await self._store.write(lambda _: None)  # the transaction goes on; nobody plans before it has ended
            raise


def _later(loop: asyncio.AbstractEventLoop, apply: Callable[[T, int], None], result: T, epoch: int) -> None:
    loop.call_soon_threadsafe(apply, result, epoch)


async def tell(listeners: Sequence[Callable[[C], Awaitable[None]]], change: C) -> None:
    """Tell every listener of a change, one after the other.

    :raises Exception: what the first of those that failed raised, after all were told; the change stays made.
    """
    failed: Exception | None = None
    for listener in tuple(listeners):
        try:
            await listener(change)
        except Exception as error:  # whatever it is, the others must hear of the change
            if failed is not None:
                log.warning("A second listener failed, too: %s", error)
            failed = failed or error
    if failed is not None:
        raise failed
