"""The index: exact string tables, and decisions equal to those of a naive reading of the rules."""

from __future__ import annotations

import string
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from component.base.jid import Jid
from component.gate import impact
from component.gate.index import PolicyIndex
from component.gate.rules import Effect, Rule, Suspension, Target, TargetKind
from component.gate.scopes import held_rule, held_suspension
from component.gate.strings import StringTable
from component.gate.table import UNKNOWN, DeviceRow, TableBuilder, joined

TEXTS = st.text(st.sampled_from("abcé\U0001f600ß"), min_size=1, max_size=4)


class TableMachine(RuleBasedStateMachine):
    """A string table against a dict, through any sequence of changes."""

    def __init__(self) -> None:
        super().__init__()
        self.table = StringTable()
        self.model: list[tuple[str, str] | None] = []

    @initialize(texts=st.lists(TEXTS, unique=True, max_size=200))
    def build(self, texts: list[str]) -> None:
        self.table.place(self.table.extend(texts, [text[::-1] for text in texts]))
        self.model = [(text, text[::-1]) for text in texts]

    @rule(text=TEXTS, suffix=st.text(max_size=3), data=st.data())
    def put(self, text: str, suffix: str, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, len(self.model)))
        self.table.set(number, text, suffix)
        self.model = [None if entry is not None and entry[0] == text else entry for entry in self.model]
        if number == len(self.model):
            self.model.append(None)
        self.model[number] = (text, suffix)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, len(self.model) - 1))
        self.table.remove(number)
        self.model[number] = None

    @rule()
    def grow(self) -> None:
        self.table.adopt(self.table.grown())

    @rule()
    def compact(self) -> None:
        self.table.compact()

    @rule()
    def copy(self) -> None:
        old, self.table = self.table, self.table.copy()
        old.set(len(old), "only in the old one")

    @rule(text=TEXTS)
    def look(self, text: str) -> None:
        expected = next((number for number, entry in enumerate(self.model) if entry and entry[0] == text), -1)
        assert self.table.find(text) == expected

    @invariant()
    def equal(self) -> None:
        assert len(self.table) == len(self.model)
        for number, entry in enumerate(self.model):
            assert self.table.text(number) == (entry[0] if entry else "")
            if entry:
                assert self.table.find(entry[0]) == number
                assert self.table.suffix(number) == entry[1]


TestStringTable = TableMachine.TestCase
TestStringTable.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_a_table_grows_and_forgets_thousands_of_texts() -> None:
    table = StringTable()
    for number in range(5000):
        table.set(number, f"device-{number}")
    for number in range(0, 5000, 2):
        table.remove(number)
    for number in range(5000):
        assert table.find(f"device-{number}") == (-1 if number % 2 == 0 else number)
    assert table.find("device-5000") == -1
    for number in range(0, 5000, 2):
        table.set(number, f"again-{number}")
    assert all(table.find(f"again-{number}") == number for number in range(0, 5000, 2))


def test_texts_of_equal_hash_are_told_apart() -> None:
    table = StringTable()
    texts = ["one", "two", "three"]
    hashes = table.extend(texts, ["", "", ""])
    hashes[:] = 7  # as if all of them collided: they are placed side by side
    assert list(table.equal_pairs(hashes)) == []
    table.place(hashes)


def test_the_builder_takes_the_highest_generation_and_refuses_a_jid_twice() -> None:
    builder = TableBuilder()
    builder.add([("a", "A", "a@x", "r", "g", 3), ("b", "b", "b@x", "r", "", 1)])
    builder.add([("a", "A", "old@x", "r", "h", 1), ("b", "B", "new@x", "s", "g", 2), ("c", "c", "c@x", "r", "", 1)])
    table = builder.table()
    assert len(table) == 3
    assert table.ref(table.ids.find("b")).jid == Jid("new@x", "s")
    assert table.ref(table.ids.find("a")).id == "A"
    assert (table.jids.find("old@x"), table.jids.find("b@x")) == (-1, -1)
    assert [table.id(int(number)) for number in table.in_group("g")] == ["A", "B"]
    double = TableBuilder()
    double.add([("a", "a", "a@x", "r", "", 1), ("b", "b", "a@x", "r", "", 1)])
    with pytest.raises(ValueError, match="a@x is there twice"):
        double.table()


REQUESTERS = [Jid("a@x", ""), Jid("a@x", "r"), Jid("b@x", ""), Jid("x", "")]
DEVICES = ["d0", "d1", "d2"]
GROUPS = ["g", "h"]
TARGETS = [
    Target(TargetKind.ALL),
    *(Target(TargetKind.GROUP, group) for group in GROUPS),
    *(Target(TargetKind.DEVICE, device) for device in DEVICES),
]


@dataclass
class Naive:
    """The rules, read one after the other."""

    rules: dict[int, Rule] = field(default_factory=dict)
    suspensions: dict[int, Suspension] = field(default_factory=dict)
    devices: dict[str, frozenset[str]] = field(default_factory=dict)

    def decide(self, requester: Jid, device: str | None, now: float) -> tuple[bool, list[str], float | None]:
        """Whether it is allowed, which rules may be named, and until when it stays so."""
        suspended = [item for item in self.suspensions.values() if _about(item, requester, now)]
        if suspended:
            return False, *_longest([(f"suspended:{item.id}", item.expires) for item in suspended])
        matching = [item for item in self.rules.values() if _about(item, requester, now) and self._hits(item, device)]
        for effect in (Effect.DENY, Effect.ALLOW):
            deciding = [(str(item.id), item.expires) for item in matching if item.effect is effect]
            if deciding:
                return effect is Effect.ALLOW, *_longest(deciding)
        return False, ["none"], None

    def _hits(self, item: Rule, device: str | None) -> bool:
        if item.target.kind is TargetKind.ALL:
            return True
        if device is None:
            return False
        if item.target.kind is TargetKind.GROUP:
            return item.target.name in self.devices[device]
        return item.target.name == device


def _about(item: Rule | Suspension, requester: Jid, now: float) -> bool:
    if item.expires is not None and item.expires <= now:
        return False
    return item.requester == requester or item.requester == Jid(requester.bare, "")


def _longest(items: list[tuple[str, float | None]]) -> tuple[list[str], float | None]:
    last = max(float("inf") if expires is None else expires for _, expires in items)
    names = [name for name, expires in items if (float("inf") if expires is None else expires) == last]
    return names, None if last == float("inf") else last


class IndexMachine(RuleBasedStateMachine):
    """The index against the naive reading, through any sequence of changes, with time going on."""

    def __init__(self) -> None:
        super().__init__()
        self.index = PolicyIndex()
        self.naive = Naive()
        self.now = 0.0
        self.last = 0
        for device in DEVICES[:2]:
            self.put_device(device, frozenset({"g"}))

    @rule(device=st.sampled_from(DEVICES), groups=st.frozensets(st.sampled_from(GROUPS)))
    def put_device(self, device: str, groups: frozenset[str]) -> None:
        self.index.devices.put(DeviceRow(device, device.upper(), f"{device}@cpe", "r", joined(groups)))
        self.naive.devices[device] = groups

    @rule(device=st.sampled_from(DEVICES))
    def remove_device(self, device: str) -> None:
        if device not in self.naive.devices:
            return
        for item in [item for item in self.naive.rules.values() if item.target.name == device]:
            self.index.drop_rule(item.id)
            del self.naive.rules[item.id]
        self.index.devices.remove(device)
        del self.naive.devices[device]

    @rule(
        effect=st.sampled_from(Effect),
        requester=st.sampled_from(REQUESTERS),
        aim=st.sampled_from(TARGETS),
        ends=st.none() | st.integers(1, 4),
    )
    def add(self, effect: Effect, requester: Jid, aim: Target, ends: int | None) -> None:
        if aim.kind is TargetKind.DEVICE and aim.name not in self.naive.devices:
            return
        item = Rule(0, effect, requester, aim, None if ends is None else self.now + ends)
        self._end()
        found = self.index.find_rule(effect, requester, aim)
        same = [
            other.id
            for other in self.naive.rules.values()
            if (other.effect, other.requester, other.target) == (effect, requester, aim)
            and (other.expires is None or other.expires > self.now)
        ]
        assert ([] if found is None else [found.id]) == same
        if found is None:
            self.last += 1
            self._check_impact(item, self.last)
            self.index.put_rule(replace(item, id=self.last))
            self.naive.rules[self.last] = replace(item, id=self.last)

    def _end(self) -> None:
        """What has ended makes room for the same again, in memory as in the database."""
        self.index.expire(self.now)
        for held in (self.naive.rules, self.naive.suspensions):
            for item in list(held.values()):
                if item.expires is not None and item.expires <= self.now:
                    del held[item.id]

    def _check_impact(self, item: Rule, number: int) -> None:
        after = self.index.scope(item.requester.bare)
        key = self.index.target_key(item.target)
        after.within(item.requester).put(item.effect, key, held_rule(item, ""))
        loses, gains = impact.of_rules(self.index, item.requester.bare, after)
        before = self._access(item.requester)
        self.naive.rules[number] = replace(item, id=number)
        now = self._access(item.requester)
        del self.naive.rules[number]
        found = {loss.requester: sorted(loss.examples) for loss in loses}
        assert found.get(str(item.requester), []) == sorted(name.upper() for name in before - now)
        found = {gain.requester: sorted(gain.examples) for gain in gains}
        assert found.get(str(item.requester), []) == sorted(name.upper() for name in now - before)

    def _access(self, requester: Jid) -> set[str]:
        return {name for name in self.naive.devices if self.naive.decide(requester, name, self.now)[0]}

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.naive.rules:
            number = data.draw(st.sampled_from(sorted(self.naive.rules)))
            self.index.drop_rule(number)
            del self.naive.rules[number]

    @rule(requester=st.sampled_from(REQUESTERS), ends=st.none() | st.integers(1, 4))
    def suspend(self, requester: Jid, ends: int | None) -> None:
        self._end()
        if self.index.find_suspension(requester) is None:
            self.last += 1
            item = Suspension(self.last, requester, None if ends is None else self.now + ends)
            self.index.put_suspension(item)
            self.naive.suspensions[self.last] = item

    @rule(requester=st.sampled_from(REQUESTERS))
    def resume(self, requester: Jid) -> None:
        found = self.index.find_suspension(requester)
        if found is not None:
            self.index.drop_suspension(found.id)
            del self.naive.suspensions[found.id]

    @rule(seconds=st.integers(1, 3))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def swap(self) -> None:
        """As an import does: another table, with other numbers."""
        builder = TableBuilder()
        names = sorted(self.naive.devices, reverse=True)
        builder.add([(n, n.upper(), f"{n}@cpe", "r", joined(self.naive.devices[n]), 1) for n in names])
        self.index.use(builder.table())

    @rule()
    def fill(self) -> None:
        """As a restart does."""
        self.index.fill(self.naive.rules.values(), self.naive.suspensions.values())

    @rule()
    def compact(self) -> None:
        for strings in (self.index.devices.ids, self.index.devices.jids):
            strings.compact()
            strings.adopt(strings.grown())

    @invariant()
    def equal(self) -> None:
        for requester in [*REQUESTERS, Jid("a@x", "t"), Jid("a@xy", "")]:
            for device in [*DEVICES, None]:
                known = device if device in self.naive.devices else None
                number = UNKNOWN if device is None else self.index.by_jid(f"{device}@cpe")
                assert (number >= 0) == (known is not None)
                verdict = self.index.decide(requester, number, self.now)
                allowed, names, expires = self.naive.decide(requester, known, self.now)
                assert (verdict.allowed, verdict.expires) == (allowed, expires)
                assert verdict.rule in names


TestIndex = IndexMachine.TestCase
TestIndex.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def _index(count: int) -> PolicyIndex:
    builder = TableBuilder()
    builder.add([(f"d{i}", f"D{i}", f"d{i}@cpe", "r", "even" if i % 2 == 0 else "odd", 1) for i in range(count)])
    index = PolicyIndex()
    index.use(builder.table())
    return index


def test_strangers_leave_nothing_behind() -> None:
    index = _index(10)
    index.put_rule(Rule(1, Effect.ALLOW, Jid("a@x", ""), Target(TargetKind.ALL)))
    for number in range(1000):
        assert not index.decide(Jid(f"s{number}@x", "r"), 3, 0.0).allowed
        assert index.decide(Jid("a@x", f"r{number}"), 3, 0.0).allowed
    assert len(index._scopes) == 1
    assert len(index._scopes["a@x"].memo) == 1


def test_what_has_ended_stays_ended_when_the_clock_is_set_back() -> None:
    index = _index(1)
    index.put_rule(Rule(1, Effect.ALLOW, Jid("a@x", ""), Target(TargetKind.ALL), expires=10.0))
    assert index.decide(Jid("a@x", ""), 0, 9.9).expires == 10.0
    assert not index.decide(Jid("a@x", ""), 0, 10.0).allowed
    assert not index.decide(Jid("a@x", ""), 0, 5.0).allowed


def test_impact_counts_all_and_shows_ten() -> None:
    index = _index(100)
    index.put_rule(Rule(1, Effect.ALLOW, Jid("a@x", ""), Target(TargetKind.GROUP, "even")))
    index.put_rule(Rule(2, Effect.ALLOW, Jid("a@x", ""), Target(TargetKind.DEVICE, "d1")))
    after = index.scope("a@x")
    after.suspended = held_suspension(Suspension(1, Jid("a@x", "")))
    loses, gains = impact.of_rules(index, "a@x", after)
    assert gains == ()
    assert [(loss.requester, loss.devices, len(loss.examples)) for loss in loses] == [("a@x", 51, 10)]
    assert "D1" in loses[0].examples


@given(st.text(string.ascii_lowercase + "@./", max_size=12))
def test_only_the_very_same_jid_is_found(text: str) -> None:
    index = _index(3)
    assert (index.by_jid(text) >= 0) == (text in {"d0@cpe", "d1@cpe", "d2@cpe"})


def test_a_named_device_that_changes_its_groups_is_decided_anew() -> None:
    index = _index(2)
    index.put_rule(Rule(1, Effect.DENY, Jid("a@x", ""), Target(TargetKind.GROUP, "even")))
    index.put_rule(Rule(2, Effect.ALLOW, Jid("a@x", ""), Target(TargetKind.DEVICE, "d1")))
    assert index.decide(Jid("a@x", "r"), index.by_id("d1"), 0.0).allowed
    index.devices.put(DeviceRow("d1", "D1", "d1@cpe", "r", "even"))
    assert index.decide(Jid("a@x", "r"), index.by_id("d1"), 0.0).rule == "1"


PLACES = st.dictionaries(st.sampled_from(["d0", "d1", "d2", "d3", "d4"]), st.frozensets(st.sampled_from(GROUPS)))
RULES = st.lists(
    st.tuples(st.sampled_from(Effect), st.sampled_from(REQUESTERS), st.sampled_from(TARGETS)), unique=True, max_size=6
)


@settings(max_examples=300, deadline=None)
@given(before=PLACES, change=PLACES, rules=RULES)
def test_what_an_import_changes_is_what_asking_before_and_after_shows(
    before: dict[str, frozenset[str]],
    change: dict[str, frozenset[str]],
    rules: list[tuple[Effect, Jid, Target]],
) -> None:
    index = PolicyIndex()
    for device, groups in before.items():
        index.devices.put(DeviceRow(device, device, f"{device}@cpe", "r", joined(groups)))
    for number, (effect, requester, target) in enumerate(rules):
        if target.kind is not TargetKind.DEVICE or target.name in before:
            index.put_rule(Rule(number, effect, requester, target))
    table = index.devices.copy()
    common = len(table.ids)
    for device, groups in change.items():
        table.put(DeviceRow(device, device, f"{device}@cpe", "r", joined(groups)))

    could = _access_of_all(index)
    moves = impact.Moves(index.devices, table, common)
    told = [moves.of(index, bare) for bare in index.requesters()]
    index.use(table)
    can = _access_of_all(index)
    lost = {loss.requester: set(loss.examples) for loses, _ in told for loss in loses}
    gained = {gain.requester: set(gain.examples) for _, gains in told for gain in gains}
    for requester in {str(item[1]) for item in rules} & could.keys():
        assert lost.get(requester, set()) == could[requester] - can[requester]
        assert gained.get(requester, set()) == can[requester] - could[requester]


def _access_of_all(index: PolicyIndex) -> dict[str, set[str]]:
    numbers = [number for number in range(len(index.devices.ids)) if index.devices.ids.text(number)]
    return {
        str(item.requester): {
            index.devices.id(number) for number in numbers if index.decide(item.requester, number, 0.0).allowed
        }
        for item in index.rules.values()
    }
