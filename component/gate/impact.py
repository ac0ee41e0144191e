"""Who gains and who loses access through a change, worked out for a million devices in milliseconds.

What a requester may do is the same for all devices of a group set that no rule names; so a change is compared
group set by group set, as arrays, and only the named devices one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from component.gate.changes import Loss
from component.gate.index import PolicyIndex
from component.gate.scopes import ALL_DEVICES, Held, Scope, TargetKey
from component.gate.table import UNKNOWN, DeviceTable, Groups

EXAMPLES = 10

Mask = NDArray[np.bool_]
Losses = tuple[Loss, ...]


def of_rules(index: PolicyIndex, bare: str, after: Scope, census: Census | None = None) -> tuple[Losses, Losses]:
    """What a requester loses and gains when its scope becomes `after`.

    :param census: of the index's devices, when this is asked for many requesters.
    """
    before = index.live_scope(bare)
    census = census or Census(index.devices)
    loses: list[Loss] = []
    gains: list[Loss] = []
    for requester, old, new in _pairs(bare, before, after):
        lost, gained = _compared(census, requester, old, new)
        loses += lost
        gains += gained
    return tuple(loses), tuple(gains)


def of_device(index: PolicyIndex, number: int, after: Groups | None) -> tuple[Losses, Losses]:
    """Who loses and gains a device when its groups become `after`, or when it is removed (None).

    A removed device keeps what everybody may do to unknown devices; that is no access to it.
    """
    loses: list[Loss] = []
    gains: list[Loss] = []
    name = (index.devices.id(number),)
    for bare in list(index.requesters()):
        base = index.live_scope(bare)
        for requester, scope in _each(bare, base):
            had = scope.resolve(number, index.devices.groups(number)).allowed
            has = after is not None and scope.resolve(number, after).allowed
            if had and not has:
                loses.append(Loss(requester, 1, name))
            elif has and not had:
                gains.append(Loss(requester, 1, name))
    return tuple(loses), tuple(gains)


def of_new_device(index: PolicyIndex, device_id: str, groups: Groups) -> Losses:
    """Who may wake a device that is to be registered."""
    return tuple(
        Loss(requester, 1, (device_id,))
        for bare in list(index.requesters())
        for requester, scope in _each(bare, index.live_scope(bare))
        if scope.resolve(UNKNOWN, groups).allowed
    )


_Picked = tuple[int, list[int]]
"""How many devices, and the numbers of some of them."""


class _Classes:
    """Devices sorted by a class, so that those of some classes are counted without looking at each."""

    def __init__(self, numbers: NDArray[np.int64], classes: NDArray[Any], count: int) -> None:
        self._numbers = numbers[np.argsort(classes, kind="stable")]
        self._sizes = np.bincount(classes, minlength=count)
        self._ends = np.cumsum(self._sizes)

    def pick(self, wanted: Mask, without: dict[int, int]) -> _Picked:
        """The devices of some classes, except those of which number and class are given."""
        count = int(self._sizes[wanted].sum()) - sum(bool(wanted[kind]) for kind in without.values())
        found: list[int] = []
        if count:
            for kind in map(int, np.flatnonzero(wanted & (self._sizes > 0))):
                start, end = int(self._ends[kind] - self._sizes[kind]), int(self._ends[kind])
                some = self._numbers[start : min(end, start + EXAMPLES + len(without))]
                found += [number for number in map(int, some) if number not in without]
                if len(found) >= EXAMPLES:
                    break
        return count, found[:EXAMPLES]


class Moves:
    """What an import changes: devices that get other groups, and devices that are new.

    :param before: the table of now.
    :param after: a copy of it, with the import applied.
    :param common: so many numbers were in use when the copy was made: they mean the same devices in both.
    """

    def __init__(self, before: DeviceTable, after: DeviceTable, common: int) -> None:
        self._after = after
        translation = np.array(after.set_numbers_of(before.set_names()), np.int64)
        old, new = translation[before.set_numbers()[:common]], after.set_numbers()
        here = before.used()[:common]
        self._moved = np.flatnonzero(here & (new[:common] != old))
        pairs = old[self._moved] << 32 | new[self._moved]
        self._pairs, self._place = np.unique(pairs, return_inverse=True)
        self._by_pair = _Classes(self._moved, self._place, len(self._pairs))
        fresh = after.used()
        fresh[: len(here)] &= ~here
        numbers = np.flatnonzero(fresh)
        self._fresh = _Classes(numbers, new[numbers], len(after.group_sets))

    def of(self, index: PolicyIndex, bare: str) -> tuple[Losses, Losses]:
        """What a requester loses and gains."""
        loses: list[Loss] = []
        gains: list[Loss] = []
        for requester, scope in _each(bare, index.live_scope(bare)):
            mask = _allowed(self._after, scope)
            lost, gained = self._of(scope, mask)
            new = self._fresh.pick(mask, {})
            loses += self._loss(requester, lost)
            gains += self._loss(requester, (gained[0] + new[0], gained[1] + new[1]))
        return tuple(loses), tuple(gains)

    def _of(self, scope: Scope, mask: Mask) -> tuple[_Picked, _Picked]:
        had, has = mask[self._pairs >> 32], mask[self._pairs & 0xFFFFFFFF]
        # A device that a rule names moves as that rule and its groups say; it is asked for itself.
        named: dict[int, int] = {}
        lost: list[int] = []
        gained: list[int] = []
        for place in self._places(scope.named | (scope.parent.named if scope.parent else set())):
            number, kind = int(self._moved[place]), int(self._place[place])
            named[number] = kind
            pair = int(self._pairs[kind])
            old, new = (self._after.group_sets[part] for part in (pair >> 32, pair & 0xFFFFFFFF))
            could, can = scope.resolve(number, old).allowed, scope.resolve(number, new).allowed
            if could and not can:
                lost.append(number)
            elif can and not could:
                gained.append(number)
        less, more = self._by_pair.pick(had & ~has, named), self._by_pair.pick(has & ~had, named)
        return (less[0] + len(lost), lost + less[1]), (more[0] + len(gained), gained + more[1])

    def _loss(self, requester: str, picked: _Picked) -> list[Loss]:
        count, numbers = picked
        examples = tuple(self._after.id(number) for number in sorted(numbers)[:EXAMPLES])
        return [Loss(requester, count, examples)] if count else []

    def _places(self, numbers: set[int]) -> list[int]:
        """Where those of some devices that move stand among all that move."""
        wanted = np.array(sorted(numbers), np.int64)
        places = np.searchsorted(self._moved, wanted)
        inside = places < len(self._moved)
        places, wanted = places[inside], wanted[inside]
        return [int(place) for place in places[self._moved[places] == wanted]]


def _each(bare: str, scope: Scope) -> Iterator[tuple[str, Scope]]:
    yield bare, scope
    for resource, special in scope.resources.items():
        yield f"{bare}/{resource}", special


def _pairs(bare: str, before: Scope, after: Scope) -> Iterator[tuple[str, Scope, Scope]]:
    yield bare, before, after
    for resource in sorted(before.resources.keys() | after.resources.keys()):
        yield f"{bare}/{resource}", before.resources.get(resource, before), after.resources.get(resource, after)


def _allowed(table: DeviceTable, scope: Scope) -> Mask:
    """For each group set whether its devices may be woken, those that rules name aside."""
    count = len(table.group_sets)
    levels = [scope] if scope.parent is None else [scope, scope.parent]
    allowed = np.zeros(count, np.bool_)
    if any(level.suspended for level in levels):
        return allowed
    for level in levels:
        _mark(table, level.allow, allowed, True)
    for level in levels:
        _mark(table, level.deny, allowed, False)
    return allowed


def _mark(table: DeviceTable, rules: dict[TargetKey, Held], allowed: Mask, value: bool) -> None:
    if ALL_DEVICES in rules:
        allowed[:] = value
        return
    for key in rules:
        if isinstance(key, str):
            allowed[table.sets_with(key)] = value


class Census:
    """How many devices have which group set, and which: counted once, asked often."""

    def __init__(self, table: DeviceTable) -> None:
        self.table = table
        self._sizes = table.set_sizes()
        self._asked = 0
        self._order: NDArray[np.int64] | None = None
        self._ends = np.cumsum(self._sizes)

    def loss(self, requester: str, sets: Mask, named: list[int], hit: list[int]) -> list[Loss]:
        """The devices of some group sets, without those that are named, and with those of them that are hit."""
        members = self.table.members
        count = int(self._sizes[sets].sum()) - sum(bool(sets[members[number]]) for number in named) + len(hit)
        if not count:
            return []
        found = hit[:EXAMPLES]
        if len(found) < min(count, EXAMPLES):
            found += self._examples(sets, set(named), EXAMPLES - len(found))
        return [Loss(requester, count, tuple(self.table.id(number) for number in found))]

    def _examples(self, sets: Mask, without: set[int], wanted: int) -> list[int]:
        self._asked += 1
        numbers: NDArray[np.int64]
        if self._asked <= 4:  # looking through all devices is cheaper than sorting them, a few times
            mask = sets[self.table.set_numbers()] & self.table.used()
            candidates = iter([np.flatnonzero(mask)])
        else:
            candidates = self._sorted(np.flatnonzero(sets))
        found: list[int] = []
        for numbers in candidates:
            found += [number for number in map(int, numbers[: wanted + len(without)]) if number not in without]
            if len(found) >= wanted:
                break
        return sorted(found)[:wanted]

    def _sorted(self, sets: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        if self._order is None:
            used = np.flatnonzero(self.table.used())
            self._order = used[np.argsort(self.table.set_numbers()[used], kind="stable")]
        for number in map(int, sets):
            yield self._order[self._ends[number] - self._sizes[number] : self._ends[number]]


def _compared(census: Census, requester: str, old: Scope, new: Scope) -> tuple[list[Loss], list[Loss]]:
    table = census.table
    had, has = _allowed(table, old), _allowed(table, new)
    scopes = [scope for scope in (old, new, old.parent, new.parent) if scope is not None]
    named = sorted({number for scope in scopes for number in scope.named if number < len(table.ids)})
    lost: list[int] = []
    gained: list[int] = []
    for number in named:
        groups = table.groups(number)
        could, can = old.resolve(number, groups).allowed, new.resolve(number, groups).allowed
        if could and not can:
            lost.append(number)
        elif can and not could:
            gained.append(number)
    return census.loss(requester, had & ~has, named, lost), census.loss(requester, has & ~had, named, gained)
