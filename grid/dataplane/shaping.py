"""One topic at the server: read, made, shaped, removed. It knows nothing of other topics, and of nobody who waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from component.base.errors import Conflict, NotFound, StanzagateError
from grid.dataplane.mirror import Known, Mirror
from grid.dataplane.plan import PUBLISHER, Plan, Wanted, difference
from grid.dataplane.pubsub import PubSub, Subscriber, configuration
from grid.dataplane.report import Repair, RepairKind
from grid.desired import Desired
from grid.model import Topic

ATTEMPTS = 5
"""So often what was done is compared with what should be; more than two means that somebody else is at work."""

ONE_BY_ONE = 300
"""A node with more subscriptions is deleted with them: Prosody takes a minute to end 4,000 one by one."""

SETTLING = 0.2
"""Seconds. ejabberd keeps the items, affiliation and subscriptions of a publisher in one record, reads it, and writes
it back without a lock: a publish that was under way may undo what was taken away meanwhile. By then it shows."""

UNDONE = 50
"""So often a demotion that is undone in that way is repeated; once it holds, the publisher is refused."""

MOMENT = 0.02
"""Seconds between these: a publish has usually been written by then."""

Lost = Callable[[str, str, bool], Awaitable[None]]
"""Tells the in-server plugin: bare JID, topic, whether it was regained."""

Only = frozenset[str] | None
"""The bare JIDs that a change is about; None for all."""


class Shaper:
    """Makes the node of a topic what it should be.

    :param lost: tells the in-server plugin.
    :ivar mirror: what is known to be at the server.
    """

    def __init__(self, pubsub: PubSub, desired: Desired, lost: Lost) -> None:
        self.mirror = Mirror()
        self._pubsub = pubsub
        self._desired = desired
        self._lost = lost
        self._phantoms: dict[str, set[str]] = {}  # by topic: bare JIDs that Prosody lists and that get nothing
        self._before: dict[str, frozenset[str]] = {}  # who had subscribed when a topic was last known

    def forget(self) -> None:
        """The link was lost: nothing is known any more."""
        for name in self.mirror.names():
            self._drop(name)

    async def foretell(self, name: str, only: Only = None) -> None:
        """Tell the plugin who has lost a topic while the server cannot be reached.

        It is kept, and so the plugin knows it before a node can fetch what is stored for it, whenever the server
        comes back.

        :param only: bare JIDs that may have lost it; None for all that are known to have subscribed.
        """
        known = self.mirror.get(name)
        before = self._before.get(name, frozenset()) if known is None else known.bare_subscribers()
        concerned = before if only is None else only
        await self._tell(concerned - self._desired.subscribers(name, concerned), name, regained=False)

    def _drop(self, name: str) -> None:
        if (known := self.mirror.get(name)) is not None:
            self._before[name] = known.bare_subscribers()
        self.mirror.drop(name)

    async def converge(self, name: str, only: Only = None, repairs: list[Repair] | None = None) -> None:
        """Make a topic's node what it should be; one at a time for a topic.

        :param repairs: with it the server is read first, and what had to be done is put into it.
        :raises StanzagateError: it is not so, or that is not certain.
        """
        notes: list[Repair] = [] if repairs is None else repairs
        try:
            for _ in range(ATTEMPTS):
                topic = self._desired.topic(name)
                if topic is None:
                    return await self._remove(name, notes)
                known = self.mirror.get(name) if repairs is None else None
                if known is None:
                    self.mirror.put(name, await self._read(name) or await self._create(topic, notes))
                    self._before.pop(name, None)
                    only, repairs = None, None
                    continue  # meanwhile the registries may have changed
                plan = difference(known, self._wanted(topic, only), self._pubsub.link.jid)
                if plan == Plan():
                    return None
                await self._carry_out(name, known, plan, notes)
            raise StanzagateError(f"The node {name!r} does not stay as it is made: does somebody else manage it?")
        except BaseException:
            self._drop(name)  # nobody knows how far it has come
            raise

    def _wanted(self, topic: Topic, only: Only) -> Wanted:
        publishers = self._desired.publishers(topic.name, only)
        subscribers = self._desired.subscribers(topic.name, only)
        return Wanted(topic, frozenset(publishers), frozenset(subscribers), only)

    async def _read(self, name: str) -> Known | None:
        """What the server has; None when there is no such node."""
        try:
            config, affiliations, subscribers = await asyncio.gather(
                self._pubsub.configuration(name), self._pubsub.affiliations(name), self._pubsub.subscriptions(name)
            )
        except NotFound:
            return None
        # One that was seen to be none is not believed: if it is wanted, it is made once more, else taken away.
        wanted = self._desired.subscribers(name, self._phantoms.get(name, ()))
        return Known.of(config, affiliations, (item for item in subscribers if item.jid not in wanted))

    async def _create(self, topic: Topic, notes: list[Repair]) -> Known:
        name, config = topic.name, configuration(topic)
        try:
            await self._pubsub.create(name, config)
        except Conflict:
            found = await self._read(name)
            if found is None:
                raise
            return found
        notes.append(Repair(RepairKind.MISSING_NODE, name, f"The node {name} was missing."))
        # Subscriptions are not read: Prosody may show those of an earlier node of that name, which are none.
        return Known(config=config)

    async def _carry_out(self, name: str, known: Known, plan: Plan, notes: list[Repair]) -> None:
        made = any(note.kind is RepairKind.MISSING_NODE for note in notes)
        if plan.config:
            if plan.config.get("persist_items") == "0":
                for item in await self._pubsub.items(name):  # ejabberd would go on showing what it has kept
                    await self._pubsub.retract(name, item.get("id", ""))
            await self._pubsub.configure(name, plan.config)
            notes.extend(_configured(name, known, plan))
            known.config.update(plan.config)
        failed = await self._revoke(name, known, plan, notes) if plan.revokes else []
        if plan.promoted:
            await self._pubsub.set_affiliations(name, plan.promoted)
            known.affiliations.update(plan.promoted)
        if plan.joining:
            # Told before, or the plugin would drop what is published right after the subscription.
            failed += await self._tell(plan.joining, name, regained=True)
            await self._pubsub.subscribe(name, plan.joining)
            known.subscribers.update((jid, Subscriber.of(jid)) for jid in plan.joining)
            self._phantoms.get(name, set()).difference_update(plan.joining)
        if not made:
            notes.extend(_granted(name, plan))
        if failed:
            raise failed[0]

    async def _revoke(self, name: str, known: Known, plan: Plan, notes: list[Repair]) -> list[StanzagateError]:
        """Take subscriptions and affiliations away, in an order in which nothing leaks.

        Neither server looks at affiliations when it delivers, and Prosody keeps the subscription of somebody who is
        none; so subscriptions go first, those of full JIDs, too, and what is left is read back.

        The plugin is told twice. First, before anything else: from then on nothing is delivered, neither what is on
        its way nor what is stored, even if the server cannot be reached any more. And again when the subscription has
        gone for certain: it drops what was stored before the moment of the loss also after the topic is regained, and
        until now something could still be stored.

        :returns: what the plugin has not confirmed; that is repeated by whoever tells it.
        """
        failed = await self._tell(plan.losers - self._phantoms.get(name, set()), name, regained=False)
        gone = await self._pubsub.unsubscribe(name, plan.leaving)
        if plan.demoted:
            await self._demote(name, known, plan.demoted)
        affiliations, subscribers = await asyncio.gather(
            self._pubsub.affiliations(name), self._pubsub.subscriptions(name)
        )
        notes.extend(_revoked(name, plan, gone))
        phantoms = {item.bare for item in subscribers if item.jid in gone}
        self._phantoms.setdefault(name, set()).update(phantoms)
        known.affiliations = affiliations
        # What the server lists and yet says is not there (Prosody, of an earlier node of that name) gets nothing.
        known.subscribers = {item.jid: item for item in subscribers if item.jid not in gone}
        return failed + await self._tell(plan.losers - phantoms, name, regained=False)

    async def _demote(self, name: str, known: Known, demoted: Mapping[str, str]) -> None:
        """Set affiliations until they hold, as far as can be told; whoever calls this reads them back."""
        publishers = [jid for jid in demoted if known.persists and known.affiliations.get(jid) == PUBLISHER]
        for _ in range(UNDONE):
            await self._pubsub.set_affiliations(name, demoted)
            if not publishers:
                return
            await asyncio.sleep(MOMENT)
            found = await self._pubsub.affiliations(name)
            if all(found.get(jid) != PUBLISHER for jid in publishers):
                break
        await asyncio.sleep(SETTLING)

    async def _remove(self, name: str, notes: list[Repair]) -> None:
        """Delete a node that should not be there.

        Subscriptions go first, or Prosody would show them again when a node of that name is created; of too many it
        is remembered.
        """
        self._drop(name)
        try:
            subscribers = await self._pubsub.subscriptions(name)
        except NotFound:
            self._before.pop(name, None)
            return
        losers = {item.bare for item in subscribers}
        failed = await self._tell(losers, name, regained=False)
        if len(subscribers) <= ONE_BY_ONE:
            await self._pubsub.unsubscribe(name, subscribers)
        else:
            self._phantoms.setdefault(name, set()).update(losers)
        try:
            await self._pubsub.delete(name)
            await self._pubsub.subscriptions(name)
        except NotFound:
            notes.append(Repair(RepairKind.FOREIGN_NODE, name, f"The node {name} should not have been there."))
        else:
            raise StanzagateError(f"The server has not deleted the node {name!r}.", hint="Look into its log.")
        self._before.pop(name, None)
        failed += await self._tell(losers, name, regained=False)
        if failed:
            raise failed[0]

    async def _tell(self, jids: Iterable[str], name: str, *, regained: bool) -> list[StanzagateError]:
        """Tell the plugin; what it has not confirmed comes back, for the server must be programmed all the same."""
        told = await asyncio.gather(*(self._lost(jid, name, regained) for jid in jids), return_exceptions=True)
        failed: list[StanzagateError] = []
        for error in told:
            if isinstance(error, StanzagateError):
                failed.append(error)
            elif error is not None:
                raise error
        return failed


def _configured(name: str, known: Known, plan: Plan) -> Iterable[Repair]:
    fields = ", ".join(f"{field} was {known.config.get(field, '')!r}" for field in sorted(plan.config))
    yield Repair(RepairKind.CONFIGURATION, name, f"The configuration of {name} was another: {fields}.")


def _revoked(name: str, plan: Plan, gone: set[str]) -> Iterable[Repair]:
    for item in plan.leaving:
        if item.jid not in gone:
            yield Repair(RepairKind.SUBSCRIPTION, name, f"{item.jid} was subscribed to {name}.")
    for jid, affiliation in plan.demoted.items():
        yield Repair(RepairKind.AFFILIATION, name, f"{jid} was more than {affiliation} of {name}.")


def _granted(name: str, plan: Plan) -> Iterable[Repair]:
    for jid, affiliation in plan.promoted.items():
        yield Repair(RepairKind.AFFILIATION, name, f"{jid} was not {affiliation} of {name}.")
    for jid in plan.joining:
        yield Repair(RepairKind.SUBSCRIPTION, name, f"{jid} was not subscribed to {name}.")
