"""What is decided before the server is asked: who should have what, what differs, and in which order it is done.

The service here is a stand-in that keeps a record, because the order of requests and the moments in between cannot be
had from a real one; what real ones do is in tests/interop/test_grid_dataplane*.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest

from component.base.enforcement import NotConfirmed
from component.base.errors import NotFound, Unreachable
from grid.dataplane.mirror import Known
from grid.dataplane.plan import Plan, Wanted, difference
from grid.dataplane.programmer import Programmer
from grid.dataplane.pubsub import FIRST_BATCH, LARGEST_BATCH, PubSub, Subscriber, configuration, differing
from grid.dataplane.report import RepairKind
from grid.dataplane.shaping import ONE_BY_ONE
from grid.desired import Desired
from grid.model import Action, Node, NodeState, Subscribed, Subscription, Topic, Verdict

OWNER = "controller.grid.test"
A, B, C = "a@grid.test", "b@grid.test", "c@grid.test"
T = Topic("T", "T", type="urn:x")


class Book:
    """Registries in memory."""

    def __init__(self) -> None:
        self.nodes = dict.fromkeys((A, B, C), NodeState.ACTIVE)
        self.topics = {"T": T}
        self.subscribed = {("T", B): Subscribed.SUBSCRIBED}
        self.may = {(A, Action.PUBLISH, "T"), (B, Action.SUBSCRIBE, "T")}

    def desired(self) -> Desired:
        accounts = SimpleNamespace(
            get=lambda jid: Node(jid, self.nodes[jid]) if jid in self.nodes else None,
            all=lambda state=None: [Node(jid, found) for jid, found in self.nodes.items() if found is state],
        )
        topics = SimpleNamespace(
            get=self.topics.get, all=lambda: list(self.topics.values()), subscriptions=self._subscriptions
        )
        access = SimpleNamespace(decide=self._decide, by_rules=self._by_rules, holders=self._holders)
        return Desired(accounts, topics, access)

    def _subscriptions(self, *, topic: str | None = None, jid: str | None = None) -> Iterable[Subscription]:
        for (name, who), state in self.subscribed.items():
            if topic in (None, name) and jid in (None, who):
                yield Subscription(who, name, state)

    def _by_rules(self, jid: str, action: Action, topic: str) -> Verdict:
        return Verdict((jid, action, topic) in self.may)

    def _decide(self, jid: str, action: Action, topic: str) -> Verdict:
        return Verdict(self.topics[topic].enabled and (jid, action, topic) in self.may)

    def _holders(self, action: Action, topic: str) -> list[str]:
        return [jid for jid, what, name in self.may if (what, name) == (action, topic)]


class Service:
    """A service that lists what was subscribed to a node that was deleted, as Prosody does."""

    def __init__(self) -> None:
        self.link: Any = SimpleNamespace(jid=OWNER, watchers=[], attached=asyncio.Event())
        self.service = "pubsub.grid.test"
        self.done: list[str] = []
        self.there: dict[str, Known] = {}
        self.listed: dict[str, set[str]] = {}
        self.away = False
        self.busy = self.busiest = 0

    async def _asked(self, what: str, name: str = "") -> Known:
        self.busy += 1
        self.busiest = max(self.busy, self.busiest)
        await asyncio.sleep(0)
        self.busy -= 1
        if self.away:
            raise Unreachable("The server is away.")
        self.done.append(what)
        if name and name not in self.there:
            raise NotFound("no node")
        return self.there.get(name, Known())

    async def nodes(self) -> set[str]:
        await self._asked("nodes")
        return set(self.there)

    async def create(self, name: str, config: dict[str, str]) -> None:
        await self._asked("create")
        self.there[name] = Known(dict(config), {OWNER: "owner"})

    async def configure(self, name: str, config: dict[str, str]) -> None:
        (await self._asked("configure", name)).config.update(config)

    async def delete(self, name: str) -> None:
        await self._asked("delete", name)
        del self.there[name]

    async def configuration(self, name: str) -> dict[str, str]:
        return dict((await self._asked("configuration", name)).config)

    async def affiliations(self, name: str) -> dict[str, str]:
        return dict((await self._asked("affiliations", name)).affiliations)

    async def set_affiliations(self, name: str, changes: dict[str, str]) -> None:
        known = await self._asked(f"affiliate {sorted(changes.items())}", name)
        known.affiliations |= changes
        known.affiliations = {jid: kind for jid, kind in known.affiliations.items() if kind != "none"}

    async def subscriptions(self, name: str) -> tuple[Subscriber, ...]:
        await self._asked("subscriptions", name)
        return tuple(Subscriber.of(jid) for jid in sorted(self.listed.get(name, ())))

    async def subscribe(self, name: str, jids: Iterable[str]) -> None:
        known = await self._asked(f"subscribe {sorted(jids)}", name)
        known.subscribers |= {jid: Subscriber.of(jid) for jid in jids}
        self.listed.setdefault(name, set()).update(jids)

    async def unsubscribe(self, name: str, subscribers: Iterable[Subscriber]) -> set[str]:
        jids = sorted(item.jid for item in subscribers)
        known = await self._asked(f"unsubscribe {jids}", name)
        absent = set(jids) - known.subscribers.keys()
        for jid in jids:
            known.subscribers.pop(jid, None)
        self.listed.get(name, set()).difference_update(set(jids) - absent)
        return absent

    async def items(self, _name: str) -> tuple[()]:
        return ()


class Users:
    """Accounts that are all there."""

    def covers(self, _jid: str) -> bool:
        return True

    async def add(self, _jid: str, _password: str = "") -> bool:
        return False

    async def end_sessions(self, _jid: str) -> None: ...


class Stage:
    """A programmer with its stand-ins."""

    def __init__(self) -> None:
        self.book = Book()
        self.service = Service()
        self.refused = False
        self.programmer = Programmer(self.service, Users(), self.book.desired(), lost=self.lost)  # type: ignore[arg-type]

    async def lost(self, jid: str, topic: str, regained: bool) -> None:
        self.service.done.append(f"{'regained' if regained else 'lost'} {jid}")
        if self.refused:
            raise NotConfirmed("The plugin is silent.")

    async def steps(self, *jids: str) -> list[str]:
        """What one more run does."""
        self.service.done.clear()
        await self.programmer.topic("T", jids or None)
        return list(self.service.done)


@pytest.fixture
async def stage() -> Stage:
    found = Stage()
    await found.programmer.topic("T")
    return found


def test_who_should_have_what() -> None:
    book = Book()
    desired = book.desired()
    assert (desired.publishers("T"), desired.subscribers("T")) == ({A}, {B})
    assert (desired.publishers("T", [B]), desired.subscribers("T", [A])) == (set(), set())
    assert desired.touched(A) == desired.touched(B) == {"T"} and desired.touched(C) == set()
    book.subscribed["T", C] = Subscribed.SUBSCRIBED  # without the right
    book.subscribed["T", A] = Subscribed.PENDING
    book.may |= {(A, Action.SUBSCRIBE, "T")}
    assert desired.subscribers("T") == {B}
    book.topics["T"] = Topic("T", "T", enabled=False)
    assert (desired.publishers("T"), desired.subscribers("T")) == (set(), {B})
    book.nodes = {A: NodeState.DISABLED, B: NodeState.PENDING}
    assert desired.subscribers("T") == set() and not desired.account(A) and list(desired.accounts()) == []
    book.topics.clear()
    assert (desired.publishers("T"), desired.subscribers("T"), desired.names()) == (set(), set(), set())


def test_what_differs() -> None:
    known = Known.of(
        configuration(T) | {"title": "old"},
        {OWNER: "owner", A: "member", C: "owner", B: "outcast"},
        [Subscriber.of(B), Subscriber.of(f"{B}/x"), Subscriber.of(C)],
    )
    plan = difference(known, Wanted(T, frozenset({A}), frozenset({B})), OWNER)
    assert plan.config == {"title": "T"}
    assert {item.jid for item in plan.leaving} == {f"{B}/x", C} and plan.losers == {C}
    assert (plan.demoted, plan.promoted, plan.joining) == ({C: "none"}, {A: "publisher", B: "member"}, ())
    only = difference(known, Wanted(T, frozenset(), frozenset(), frozenset({A})), OWNER)
    assert only == Plan({"title": "T"}, demoted={A: "none"})
    assert differing({"persist_items": "0", "unknown": "1"}, {"persist_items": "false"}) == {}


def test_batches_follow_the_time_that_they_take() -> None:
    now = 0.0
    link: Any = SimpleNamespace(watchers=[])
    pubsub = PubSub(link, "pubsub.grid.test", clock=lambda: now)
    sizes = []
    for batch in pubsub._batches(["x"] * 3000):
        sizes.append(len(batch))
        now += 0.01 if len(sizes) < 8 else 1.0
    assert sizes[:3] == [FIRST_BATCH, 2 * FIRST_BATCH, 4 * FIRST_BATCH] and max(sizes) == LARGEST_BATCH
    assert sizes[-2] < LARGEST_BATCH and sum(sizes) == 3000
    assert [len(batch) for batch in pubsub._batches(["x" * 150_000] * 3)] == [1, 1, 1]


async def test_a_second_run_asks_nothing(stage: Stage) -> None:
    assert await stage.steps() == []
    assert await stage.steps(B) == []


async def test_a_revocation_is_told_first_and_last_and_is_read_back(stage: Stage) -> None:
    stage.book.may.discard((B, Action.SUBSCRIBE, "T"))
    assert await stage.steps(B) == [
        f"lost {B}", f"unsubscribe ['{B}']", f"affiliate [('{B}', 'none')]", "affiliations", "subscriptions",
        f"lost {B}",
    ]  # fmt: skip
    stage.book.may.add((B, Action.SUBSCRIBE, "T"))
    assert await stage.steps(B) == [f"affiliate [('{B}', 'member')]", f"regained {B}", f"subscribe ['{B}']"]


async def test_a_plugin_that_is_silent_does_not_hold_up_the_server(stage: Stage) -> None:
    stage.book.may.discard((B, Action.SUBSCRIBE, "T"))
    stage.refused = True
    with pytest.raises(NotConfirmed, match="silent"):
        await stage.programmer.topic("T")
    assert stage.service.there["T"].subscribers == {}
    assert stage.programmer.owed == {"T"}


async def test_a_server_that_is_away_is_owed_and_losses_are_told_at_once(stage: Stage) -> None:
    stage.service.away = True
    stage.service.link.watchers[-1](False)
    stage.book.may.discard((B, Action.SUBSCRIBE, "T"))
    stage.service.done.clear()
    with pytest.raises(NotConfirmed, match="away"):
        await stage.programmer.topic("T")
    assert stage.service.done == [f"lost {B}"]
    assert not (await stage.programmer.reconcile()).complete
    stage.service.away = False
    report = await stage.programmer.reconcile()
    assert (report.complete, report.drift, report.made_good) == (True, 0, 2)
    assert stage.service.there["T"].affiliations == {OWNER: "owner", A: "publisher"}


async def test_a_call_that_is_cancelled_leaves_nothing_believed(stage: Stage) -> None:
    stage.book.may.discard((B, Action.SUBSCRIBE, "T"))
    running = asyncio.ensure_future(stage.programmer.topic("T"))  # noqa: TID251
    while not stage.service.done[-1].startswith("unsubscribe"):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert stage.programmer.owed == {"T"}
    assert "configuration" in await stage.steps()


async def test_what_is_listed_of_an_earlier_node_is_not_believed(stage: Stage) -> None:
    crowd = {f"n{number}@grid.test" for number in range(ONE_BY_ONE)}
    for jid in crowd:
        stage.book.nodes[jid] = NodeState.ACTIVE
        stage.book.subscribed["T", jid] = Subscribed.SUBSCRIBED
        stage.book.may.add((jid, Action.SUBSCRIBE, "T"))
    await stage.programmer.topic("T")
    topic = stage.book.topics.pop("T")
    assert not any(step.startswith("unsubscribe") for step in await stage.steps())
    stage.book.topics["T"] = topic
    stage.book.subscribed = {("T", B): Subscribed.SUBSCRIBED}
    await stage.programmer.topic("T")
    assert stage.service.there["T"].subscribers.keys() == {B}
    assert stage.service.listed["T"] == crowd | {B}
    assert (await stage.programmer.reconcile()).drift == 0
    stage.service.link.watchers[-1](False)
    late = min(crowd)
    stage.book.subscribed["T", late] = Subscribed.SUBSCRIBED
    await stage.programmer.topic("T", [late])
    assert stage.service.there["T"].subscribers.keys() == {B, late}


async def test_topics_side_by_side_are_bounded_and_one_topic_is_programmed_once_at_a_time() -> None:
    stage = Stage()
    for number in range(50):
        stage.book.topics[f"T{number}"] = Topic(f"T{number}", f"T{number}")
    await asyncio.gather(*(stage.programmer.topic(f"T{number}") for number in range(50) for _ in range(3)))
    assert stage.service.done.count("create") == 50
    assert stage.service.busiest <= 3 * 8  # three questions each, when a topic is read


async def test_somebody_who_undoes_what_is_done_is_named(stage: Stage) -> None:
    async def stubborn(_name: str, _changes: dict[str, str]) -> None: ...

    stage.service.set_affiliations = stubborn  # type: ignore[method-assign]
    stage.book.may.discard((A, Action.PUBLISH, "T"))
    with pytest.raises(NotConfirmed, match="does not stay as it is made"):
        await stage.programmer.topic("T")
    report = await stage.programmer.reconcile()
    assert report.complete and "T: " in report.failed[0]


async def test_a_deleted_node_has_nothing_left_anywhere(stage: Stage) -> None:
    stage.book.topics["U"] = Topic("U", "U")
    await stage.programmer.topic("U")
    await stage.service.subscribe("U", [f"{B}/x"])
    stage.service.link.watchers[-1](False)  # nothing is known, so every topic is looked at
    del stage.book.nodes[B]
    await stage.programmer.node(B)
    assert all(B not in known.affiliations and not known.subscribers for known in stage.service.there.values())
    assert stage.programmer.owed_nodes == {}


async def test_repairs_are_counted_by_kind(stage: Stage) -> None:
    stage.service.there["X"] = Known()
    stage.service.there["T"].config["access_model"] = "open"
    report = await stage.programmer.reconcile()
    assert report.counts == {RepairKind.CONFIGURATION: 1, RepairKind.FOREIGN_NODE: 1}
    assert stage.programmer.last is report
