"""The in-server plugin of the grid host, as the controller sees it: kept up to date, change by change.

Everything that the plugin must obey has a number (`grid.epochs`), and the plugin keeps what it was told, and the
highest number. So bringing it up to date is one thing, whether it has missed the last change or everything: it is
told what is newer than what it knows. A plugin that knows more than it can have been told from this database has seen
another one, which is gone: a backup was restored. It is made to forget all, and told everything.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

from component.base import ns
from component.base.enforcement import NotConfirmed
from component.base.errors import StanzagateError
from component.base.guardedhost import CONFIRM_SECONDS, GuardedHost
from component.base.link import Link
from component.base.pluginstatus import PluginMode
from component.base.stanzas import quote

log = logging.getLogger(__name__)

BATCH = 200
"""Changes in one stanza: about 40 kB, well below what servers take from a component."""

LARGEST = 200_000
"""Characters in one stanza, by which a batch may end earlier."""

CERTIFICATES = 1000
"""So many of a node are told, those that were bound last; more have no room in a stanza."""

Change = tuple[int, str]
"""Epoch, serialised order."""


class Orders:
    """Everything that the plugin must obey.

    :param current: the number of the last change.
    :param settled: the number up to which `sources` have everything; they may have some later changes.
    :param sources: each gives the changes that are newer than a number.
    """

    def __init__(
        self,
        current: Callable[[], int],
        settled: Callable[[], int],
        sources: Iterable[Callable[[int], Iterable[Change]]],
    ) -> None:
        self._current = current
        self._settled = settled
        self._sources = tuple(sources)

    @property
    def current(self) -> int:
        """The number of the last change."""
        return self._current()

    def since(self, epoch: int, *, anew: bool = False) -> Iterator[tuple[int, str]]:
        """What brings a plugin up to date that knows everything up to `epoch`: number and payload, in order.

        The number is what it knows everything up to afterwards: never one that a change may still come before.

        :param anew: it is to forget everything first, in the same stanza as the first changes.
        """
        last, epoch = self._settled(), 0 if anew else epoch
        changes = sorted(change for source in self._sources for change in source(epoch))
        batches = list(_batches(changes))
        if not changes and last <= epoch and not anew:
            return
        for place, batch in enumerate(batches):
            number = last if place + 1 == len(batches) else min(last, batch[-1][0])
            reset = " reset='true'" if anew and place == 0 else ""
            content = "".join(text for _, text in batch)
            yield number, f"<changes xmlns='{ns.POLICY}'{reset} epoch='{number}'>{content}</changes>"


def _batches(changes: Iterable[Change]) -> Iterator[list[Change]]:
    """Changes, parted as they fit into stanzas; at least one batch, which may be empty."""
    batch: list[Change] = []
    size = 0
    for change in changes:
        if batch and (len(batch) == BATCH or size + len(change[1]) > LARGEST):
            yield batch
            batch, size = [], 0
        batch.append(change)
        size += len(change[1])
    yield batch


class PluginHost:
    """The plugin on the grid host.

    :param orders: what it must obey.
    :param met: called when nothing that it knows is of another history (any more): whether something was.
    """

    def __init__(self, orders: Orders, met: Callable[[bool], Awaitable[None]]) -> None:
        self._orders = orders
        self._met = met
        self._told = 0
        self._foreign = False  # whether it must forget everything
        self._known: int | None = None  # what the plugin has confirmed; None until it has said so itself
        self._turn = asyncio.Lock()

    def attach(self, host: GuardedHost, link: Link) -> None:
        """Say which host it is, and which link leads there."""
        self._host = host
        self._link = link
        link.watchers.append(self._forget)

    def begin(self, told: int) -> None:
        """Say what it may have been told before this process, at most."""
        self._told = told

    async def catch_up(self, host: GuardedHost) -> None:
        """Tell it what it has missed; called whenever it was asked how it is (`component.base.guardedhost.CatchUp`).

        :raises StanzagateError: it did not confirm.
        """
        async with self._turn:
            if host.status is not None:
                self._known = host.status.epoch
            await self._send()

    async def obey(self) -> None:
        """Have it obey everything that has changed, and wait until it does.

        :raises NotConfirmed: it has not confirmed in time; it is told again until it does.
        """
        if self._absent:
            return
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                await self._link.attached.wait()
                async with self._turn:
                    if self._known is None:
                        await self._ask_what_it_knows()
                    await self._send()
        except TimeoutError:
            self._host.hurry()
            why = f"no answer within {CONFIRM_SECONDS:g} s" if self._link.attached.is_set() else "its link is down"
            raise self._silent(why) from None
        except StanzagateError as error:
            if self._absent:
                return
            self._host.hurry()
            raise self._silent(error.message.rstrip(".")) from None

    async def settle(self) -> None:
        """Have the server write to its disk what it was told, as far as the plugin can.

        ejabberd's database would keep it in memory for seconds, and lose it when it is killed.

        :raises StanzagateError: it did not confirm.
        """
        if self._known is not None:
            await self.tell(f"<changes xmlns='{ns.POLICY}' epoch='{self._known}'/>")

    async def tell(self, payload: str) -> None:
        """Tell it something that concerns sessions only, and is not kept.

        :raises StanzagateError: it did not confirm.
        """
        if not self._absent:
            await self._host.ask(payload, "set")

    @property
    def _absent(self) -> bool:
        return self._host.mode is PluginMode.ABSENT

    async def _ask_what_it_knows(self) -> None:
        answer = await self._host.ask(f"<status xmlns='{ns.POLICY}'/>")
        status = answer.find(f"{{{ns.POLICY}}}status")
        self._known = int(status.get("epoch", "0")) if status is not None else 0

    async def _send(self) -> None:
        if self._known is None:
            return
        self._foreign = self._foreign or self._known > self._told
        if not self._foreign:
            await self._met(False)
            if self._known is None or self._known == self._orders.current:
                return  # the link may have been lost meanwhile
        for number, payload in self._orders.since(self._known, anew=self._foreign):
            self._told = max(self._told, number)
            await self._host.ask(payload, "set")
            self._known = number
            if self._foreign:
                self._foreign = False
                await self._met(True)

    def _silent(self, why: str) -> NotConfirmed:
        return NotConfirmed(
            f"The in-server plugin on {self._host.host} has not confirmed it ({why}).",
            hint="It is told again until it confirms.",
        )

    def _forget(self, _attached: bool) -> None:
        self._known = None


def node_order(jid: str, state: str, epoch: int, certificates: Sequence[str] = ()) -> Change:
    """What a node is now: ``active``, ``disabled`` or ``unknown``.

    :param certificates: the fingerprints that it is bound to, the last one bound last; without any it is not bound.
    """
    named = "".join(f"<certificate fingerprint='{quote(item)}'/>" for item in certificates[-CERTIFICATES:])
    return epoch, f"<node xmlns='{ns.POLICY}' jid='{quote(jid)}' state='{state}' epoch='{epoch}'>{named}</node>"


def revoked_order(fingerprint: str, epoch: int, *, reinstated: bool = False) -> Change:
    """A certificate that gets in no more, or again."""
    again = " reinstated='true'" if reinstated else ""
    return epoch, f"<revoked xmlns='{ns.POLICY}' fingerprint='{quote(fingerprint)}' epoch='{epoch}'{again}/>"


def lost_order(jid: str, topic: str, epoch: int, *, regained: bool = False) -> Change:
    """A topic whose events a node gets no more, or again."""
    again = " regained='true'" if regained else ""
    return epoch, f"<lost xmlns='{ns.POLICY}' jid='{quote(jid)}' node='{quote(topic)}' epoch='{epoch}'{again}/>"


def quiet_order(jid: str, epoch: int, *, lifted: bool = False) -> str:
    """A session has logged out, or in again."""
    again = " lifted='true'" if lifted else ""
    return f"<quiet xmlns='{ns.POLICY}' jid='{quote(jid)}' epoch='{epoch}'{again}/>"


def disconnect_order(jid: str, reason: str) -> str:
    """End the sessions of a JID."""
    return f"<disconnect xmlns='{ns.POLICY}' jid='{quote(jid)}' reason='{quote(reason)}'/>"
