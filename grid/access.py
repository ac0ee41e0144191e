"""Grid authorization: who may do what with which topic, decided by Cedar, changed by administrators, explained.

Default deny; a rule that forbids wins over all that permit; only active nodes are permitted anything, and nobody
anything on a topic that is disabled. `Access.decide` is what is enforced, and what ``access explain`` shows.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from component.base.errors import NotFound
from component.base.store import Store
from grid.access_changes import Changes, Trail, tell
from grid.access_engine import Engine
from grid.access_impact import Impact, compare
from grid.access_rules import (
    GROUP,
    ROLES,
    all_roles,
    checked_action,
    checked_comment,
    checked_subject,
    delete_rule,
    detail_of,
    insert_rule,
    read_rules,
    sentence,
)
from grid.epochs import Epochs
from grid.model import SHOWN, Action, Effect, GridChange, Node, NodeState, Right, Rule, Topic, Verdict
from grid.topics_names import base_of, covers, topic_pattern

__all__ = ["ROLES", "Access", "AccessChange", "Listener"]


@dataclass(frozen=True, slots=True)
class AccessChange:
    """The rules have changed.

    :ivar subject: bare JID or ``group:NAME`` of the rule.
    :ivar action: an action or a role; `actions` are those that it stands for.
    :ivar topic: name or pattern; `grid.topics_names.covers` says what it is about.
    :ivar effect: of the rule.
    :ivar removed: whether the rule is gone, or else is new.
    """

    subject: str
    action: str
    topic: str
    effect: Effect
    epoch: int
    summary: str
    rule: int = 0
    removed: bool = False
    actions: tuple[Action, ...] = ()

    def covers(self, topic: str) -> bool:
        """Whether the rule is about a topic or subtopic."""
        return covers(self.topic, topic)


Listener = Callable[[AccessChange], Awaitable[None]]


class Access:
    """The rules. Call `load` before anything else.

    :param node: the registered node of a bare JID.
    :param members: the bare JIDs of a group.
    :param topics: all topics.
    :param topic: the topic of a name; with it, nobody has rights on topics that are disabled.
    :param roles: sets of actions beside those that are built in.
    :param clock: Unix time in seconds.
    :ivar listeners: awaited after each change, one after the other, before the change returns.
    :raises InputError: `roles` cannot be used.
    """

    def __init__(
        self,
        store: Store,
        audit: Trail,
        epochs: Epochs,
        *,
        node: Callable[[str], Node | None],
        members: Callable[[str], Iterable[str]],
        topics: Callable[[], Iterable[Topic]],
        topic: Callable[[str], Topic | None] = lambda _: None,
        roles: Mapping[str, tuple[Action, ...]] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.listeners: list[Listener] = []
        self.roles = all_roles(roles or {})
        self._engine = Engine.of((), self.roles)
        self._changes = Changes(store, epochs, self._read)
        self._store = store
        self._audit = audit
        self._epochs = epochs
        self._node = node
        self._members = members
        self._topics = topics
        self._topic = topic
        self._clock = clock

    async def load(self) -> None:
        """Read the rules.

        :raises DatabaseError: when that fails; then nobody has any rights.
        """
        async with self._changes.lock:
            await self._read()

    async def _read(self) -> None:
        self._engine = Engine.of(await self._store.read(read_rules), self.roles)

    # Questions

    def decide(self, jid: str, action: Action, topic: str) -> Verdict:
        """Whether a node may do something, and why.

        :param jid: bare, prepared.
        :param topic: the name of a topic or subtopic, which need not exist.
        """
        known = self._topic(base_of(topic))
        if known is not None and not known.enabled:
            return Verdict(False, (), f"{known.name} is disabled")
        return self.by_rules(jid, action, topic)

    def by_rules(self, jid: str, action: Action, topic: str) -> Verdict:
        """The same without regard to whether the topic is disabled: what it will be when it is enabled again."""
        node = self._node(jid)
        if node is None:
            return Verdict(False, (), f"{jid} is not registered" if jid else "nobody is named")
        if node.state is not NodeState.ACTIVE:
            return Verdict(False, (), f"{jid} is {node.state}")
        return self._engine.decide(jid, node.groups, action, topic)

    def deciding(self, jid: str, action: Action, topic: str) -> tuple[Rule, ...]:
        """The rules that decide, as `decide` names them; none when none applies, or the node may do nothing."""
        numbers = (int(name.removeprefix("rule ")) for name in self.decide(jid, action, topic).policies)
        return tuple(self._engine.rules[number] for number in numbers)

    def any_right(self, jid: str, topic: str) -> bool:
        """Whether a node may do anything at all with a topic."""
        return any(self.decide(jid, action, topic).permitted for action in Action)

    def rights(self, jid: str) -> list[Right]:
        """All rights of a node, over the topics that there are."""
        names = sorted(topic.name for topic in self._topics())
        return [
            Right(jid, action, name)
            for name in names
            for action in Action
            if self.decide(jid, action, name).permitted
        ]

    def holders(self, action: Action, topic: str) -> list[str]:
        """The nodes that may do something with a topic, in alphabetical order."""
        return [jid for jid in self._candidates(topic) if self.decide(jid, action, topic).permitted]

    def standing(self, topic: str, most: int = SHOWN) -> tuple[list[Right], int]:
        """Who has which rights on a topic by the rules, also while it is disabled.

        :returns: `most` of them, and how many there are. Nodes of which the rules say the same are asked about once.
        """
        asked: dict[tuple[tuple[str, ...], str], tuple[Action, ...]] = {}
        shown: list[Right] = []
        count = 0
        for jid in self._candidates(topic):
            node = self._active(jid)
            if node is None:
                continue
            key = (node.groups, jid if self._engine.has_own(jid) else "")
            actions = asked.get(key)
            if actions is None:
                actions = asked[key] = tuple(each for each in Action if self.by_rules(jid, each, topic).permitted)
            count += len(actions)
            shown += [Right(jid, action, topic) for action in actions[: most - len(shown)]]
        return shown, count

    def rules(self) -> list[Rule]:
        """All rules, by id."""
        return sorted(self._engine.rules.values(), key=lambda rule: rule.id)

    def actions(self, rule: Rule) -> tuple[Action, ...]:
        """What a rule is about, its role taken apart."""
        return self._engine.actions(rule)

    def _candidates(self, topic: str) -> list[str]:
        """Who could have a right on a topic: whom a rule that permits names, in alphabetical order."""
        subjects = {rule.subject for rule in self._engine.about(topic) if rule.effect is Effect.PERMIT}
        return sorted({jid for subject in subjects for jid in self._named(subject)})

    def _named(self, subject: str) -> Iterable[str]:
        return self._members(subject[len(GROUP) :]) if subject.startswith(GROUP) else (subject,)

    def _active(self, jid: str) -> Node | None:
        node = self._node(jid)
        return node if node is not None and node.state is NodeState.ACTIVE else None

    # Changes

    async def permit(
        self, actor: str, subject: str, action: str, topic: str, *, comment: str = "", dry_run: bool = False
    ) -> GridChange:
        """Permit something.

        :param subject: bare JID or ``group:NAME``; neither need exist.
        :param action: an action or a role.
        :param topic: name or pattern; need not exist, covers subtopics.
        :returns: with the rule's id as ``data["rule"]``; an equal rule is left as it is.
        :raises InputError: an argument is malformed.
        :raises NotConfirmed: the change is made, but a listener could not confirm it.
        """
        rule = self._checked(Effect.PERMIT, actor, subject, action, topic, comment)
        return await self._add(actor, rule, dry_run)

    async def forbid(
        self, actor: str, subject: str, action: str, topic: str, *, comment: str = "", dry_run: bool = False
    ) -> GridChange:
        """Forbid something, whatever else permits it; as `permit`."""
        rule = self._checked(Effect.FORBID, actor, subject, action, topic, comment)
        return await self._add(actor, rule, dry_run)

    def _checked(self, effect: Effect, actor: str, subject: str, action: str, topic: str, comment: str) -> Rule:
        return Rule(
            0, effect, checked_subject(subject), checked_action(action, self.roles), topic_pattern(topic),
            checked_comment(comment), actor, self._clock(),
        )  # fmt: skip

    async def _add(self, actor: str, rule: Rule, dry_run: bool) -> GridChange:
        async with self._changes.lock:
            await self._changes.ready()
            engine = self._engine
            same = engine.find(rule.effect, rule.subject, rule.action, rule.topic)
            if same is not None:
                summary = f"Rule {same.id} says that already: {sentence(same)}."
                return GridChange(summary, dry_run, self._epochs.current, data={"rule": same.id})
            impact = await self._impact(rule, engine, engine.added(rule))
            summary = f"{sentence(rule)}.{_notes(impact)}{_contradiction(rule, engine)}"
            if dry_run:
                return _told(f"A rule: {summary}", impact, GridChange("", True, self._epochs.current))

            def write(connection: Connection, epoch: int) -> int:
                number = insert_rule(connection, rule)
                detail = detail_of(rule) | {"losses": impact.losses, "gains": impact.won, "epoch": epoch}
                name = "permitted" if rule.effect is Effect.PERMIT else "forbidden"
                self._audit.append(
                    connection, actor=actor, action=f"access.{name}", subject=str(number), detail=detail
                )
                return number

            def apply(number: int, _epoch: int) -> None:
                self._engine = self._engine.added(replace(rule, id=number))

            number, epoch = await self._changes.commit(write, apply)
        summary = f"Rule {number}: {summary}"
        await tell(self.listeners, self._change(replace(rule, id=number), epoch, summary))
        return _told(summary, impact, GridChange("", False, epoch, data={"rule": number}))

    async def remove(self, actor: str, rule_id: int, *, dry_run: bool = False) -> GridChange:
        """Remove a rule.

        :raises NotFound: there is none of this id.
        :raises NotConfirmed: the change is made, but a listener could not confirm it.
        """
        async with self._changes.lock:
            await self._changes.ready()
            rule = self._engine.rules.get(rule_id)
            if rule is None:
                raise NotFound(f"There is no rule {rule_id}.", hint="`stanzagate access list` shows all rules.")
            impact = await self._impact(rule, self._engine, self._engine.removed(rule))
            summary = f"Rule {rule_id} is removed: {sentence(rule)}.{_notes(impact)}"
            if dry_run:
                return _told(summary, impact, GridChange("", True, self._epochs.current, data={"rule": rule_id}))

            def write(connection: Connection, epoch: int) -> None:
                delete_rule(connection, rule_id)
                detail = detail_of(rule) | {"losses": impact.losses, "gains": impact.won, "epoch": epoch}
                self._audit.append(
                    connection, actor=actor, action="access.removed", subject=str(rule_id), detail=detail
                )

            def apply(_: None, _epoch: int) -> None:
                self._engine = self._engine.removed(rule)

            _, epoch = await self._changes.commit(write, apply)
        await tell(self.listeners, self._change(rule, epoch, summary, removed=True))
        return _told(summary, impact, GridChange("", False, epoch, data={"rule": rule_id}))

    async def _impact(self, rule: Rule, before: Engine, after: Engine) -> Impact:
        nodes = [node for jid in self._named(rule.subject) if (node := self._active(jid)) is not None]
        topics = [topic.name for topic in self._topics() if topic.enabled and covers(rule.topic, topic.name)]
        return await compare(before, after, nodes, before.actions(rule), sorted(topics))

    def _change(self, rule: Rule, epoch: int, summary: str, *, removed: bool = False) -> AccessChange:
        return AccessChange(
            rule.subject, rule.action, rule.topic, rule.effect, epoch, summary, rule.id, removed, self.actions(rule)
        )


def _contradiction(rule: Rule, engine: Engine) -> str:
    """A word on a rule that says the opposite of a new one."""
    other = Effect.FORBID if rule.effect is Effect.PERMIT else Effect.PERMIT
    found = engine.find(other, rule.subject, rule.action, rule.topic)
    if found is None:
        return ""
    winner = "this one" if rule.effect is Effect.FORBID else "that one"
    return f" Rule {found.id} says the opposite; {winner} wins, since it forbids."


def _notes(impact: Impact) -> str:
    return "" if impact.complete else " There are so many nodes and topics that not all were looked at."


def _told(summary: str, impact: Impact, change: GridChange) -> GridChange:
    return replace(
        change, summary=summary, loses=tuple(impact.loses), losses=impact.losses, gains=tuple(impact.gains),
        won=impact.won,
    )  # fmt: skip
