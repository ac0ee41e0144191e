"""All devices in memory: their ids, JIDs and groups, by number.

A number is valid until control goes back to the event loop: an import puts a whole new table in place.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from component.base.jid import Jid
from component.gate.strings import StringTable

Groups = tuple[str, ...]
"""Sorted names, each once; far smaller than a set, and there may be tens of thousands of them."""

NO_GROUPS: Groups = ()
UNKNOWN = -1
GROUP_SEPARATOR = ";"


@dataclass(frozen=True, slots=True)
class DeviceRef:
    """A registered device.

    :ivar id: the id as it was registered; ids that differ only in preparation are equal.
    :ivar jid: its full JID.
    """

    id: str
    jid: Jid


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """What the table wants to know of a device.

    :ivar key: the id in prepared form, which is what identifies the device.
    :ivar groups: names joined by ``;``, as `joined` makes them.
    """

    key: str
    id: str
    bare: str
    resource: str
    groups: str


def joined(groups: Iterable[str]) -> str:
    """Group names in the one form in which they are stored."""
    return GROUP_SEPARATOR.join(sorted(set(groups)))


def split(groups: str) -> Groups:
    """The opposite of `joined`."""
    return tuple(map(sys.intern, groups.split(GROUP_SEPARATOR))) if groups else NO_GROUPS


class DeviceTable:
    """Devices by number, id and bare JID. Groups are kept as the number of a set of groups, which many share."""

    __slots__ = ("_group_sets", "_members", "_removed", "_set_numbers", "_sets_with", "ids", "jids")

    def __init__(self) -> None:
        self.ids = StringTable()
        self.jids = StringTable()
        # One element more than there are devices: [-1], the unknown device, is in no group.
        self._members = array("I", [0])
        self._group_sets: list[Groups] = [NO_GROUPS]
        self._set_numbers: dict[str, int] = {"": 0}
        self._sets_with: dict[str, array[int]] = {}
        self._removed = 0

    def __len__(self) -> int:
        """How many devices there are."""
        return len(self.ids) - self._removed

    @property
    def members(self) -> array[int]:
        """For each number the number of its group set; ``[-1]``, the unknown device, has 0, no groups."""
        return self._members

    @property
    def group_sets(self) -> Sequence[Groups]:
        """Every group set, by number; 0 is the empty one."""
        return self._group_sets

    def groups(self, number: int) -> Groups:
        """The groups of a device."""
        return self._group_sets[self._members[number]]

    def ref(self, number: int) -> DeviceRef:
        """Id and full JID of a device."""
        return DeviceRef(self.id(number), Jid(self.jids.text(number), self.jids.suffix(number)))

    def id(self, number: int) -> str:
        """The id of a device as it was registered."""
        return self.ids.suffix(number) or self.ids.text(number)

    def used(self) -> NDArray[np.bool_]:
        """For each number whether there is a device."""
        return self.ids.used()

    def set_numbers(self) -> NDArray[np.uint32]:
        """For each number the number of its group set, as of now."""
        return np.array(memoryview(self._members)[:-1], np.uint32)

    def sets_with(self, group: str) -> NDArray[np.uint32]:
        """The numbers of the group sets that have a group."""
        return np.array(self._sets_with.get(group, array("I")), np.uint32)

    def set_sizes(self) -> NDArray[np.int64]:
        """For each group set how many devices have it."""
        return np.bincount(self.set_numbers()[self.used()], minlength=len(self._group_sets))

    def in_group(self, group: str) -> NDArray[np.int64]:
        """The numbers of the devices that are in a group."""
        wanted = np.zeros(len(self._group_sets), np.bool_)
        wanted[self.sets_with(group)] = True
        return np.flatnonzero(wanted[self.set_numbers()] & self.used())

    def set_names(self) -> list[str]:
        """For each group set the form in which it is stored."""
        return list(self._set_numbers)

    def set_numbers_of(self, names: Iterable[str]) -> list[int]:
        """The numbers of group sets by their stored form; new ones get a number."""
        return [self._set_number(name) for name in names]

    def put(self, row: DeviceRow, found: tuple[int, int] | None = None) -> int:
        """Add a device, or replace the one with the same key; returns its number.

        A device that had the same bare JID loses it: whoever calls has made sure that this is wanted.

        :param found: what `find` says of key and bare JID, if the caller knows.
        """
        known, holder = found or (self.ids.find(row.key), self.jids.find(row.bare))
        number = known
        if number < 0:
            number = len(self.ids)
            self._members.append(0)
        self.ids.set(number, row.key, "" if row.id == row.key else row.id, holder=known)
        self.jids.set(number, row.bare, row.resource, holder=holder)
        self._members[number] = self._set_number(row.groups)
        return number

    def remove(self, key: str) -> None:
        """Remove the device with this key, if there is one. Its number is not used again."""
        number = self.ids.find(key)
        if number < 0:
            return
        self.ids.remove(number)
        self.jids.remove(number)
        self._members[number] = 0
        self._removed += 1

    def copy(self) -> DeviceTable:
        """An independent copy."""
        other = DeviceTable()
        other.ids, other.jids = self.ids.copy(), self.jids.copy()
        other._members = self._members[:]
        other._group_sets = self._group_sets[:]
        other._set_numbers = self._set_numbers.copy()
        other._sets_with = {group: numbers[:] for group, numbers in self._sets_with.items()}
        other._removed = self._removed
        return other

    def _set_number(self, groups: str) -> int:
        number = self._set_numbers.get(groups)
        if number is None:
            number = self._set_numbers[groups] = len(self._group_sets)
            members = split(groups)
            self._group_sets.append(members)
            for group in members:
                self._sets_with.setdefault(group, array("I")).append(number)
        return number


def give_memory_back() -> None:
    """Return what big temporary arrays have used to the system, where the C library keeps it otherwise (glibc)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class TableBuilder:
    """Builds a `DeviceTable` from many rows at once, several times faster than `DeviceTable.put`.

    Rows may repeat a key with another generation: the highest one counts.
    """

    def __init__(self) -> None:
        self._table = DeviceTable()
        self._table._members.pop()
        self._id_hashes: list[NDArray[np.int64]] = []
        self._jid_hashes: list[NDArray[np.int64]] = []
        self._generations = array("I")

    def add(self, rows: Sequence[Sequence[str | int]]) -> None:
        """Add rows of (key, id, bare, resource, groups, generation)."""
        if not rows:
            return
        keys, ids, bares, resources, groups, generations = zip(*rows, strict=True)
        table = self._table
        names = ["" if shown == key else shown for shown, key in zip(ids, keys, strict=True)]
        self._id_hashes.append(table.ids.extend(keys, names))
        self._jid_hashes.append(table.jids.extend(bares, resources))
        try:
            table._members.extend(map(table._set_numbers.__getitem__, groups))
        except KeyError:
            del table._members[len(table.ids) - len(rows) :]
            table._members.extend(map(table._set_number, groups))
        self._generations.extend(generations)

    def table(self) -> DeviceTable:
        """The finished table; the builder is of no use afterwards.

        :raises ValueError: when two devices have the same bare JID.
        """
        table = self._table
        nothing = np.empty(0, np.int64)
        id_hashes = np.concatenate([nothing, *self._id_hashes])
        jid_hashes = np.concatenate([nothing, *self._jid_hashes])
        newest: dict[int, int] = {}
        for first, other in table.ids.equal_pairs(id_hashes):
            best = newest.get(first, first)
            old, new = (best, other) if self._generations[other] > self._generations[best] else (other, best)
            newest[first] = new
            table.ids.forget(old)
            table.jids.forget(old)
            table._members[old] = 0
            table._removed += 1
        table.ids.place(id_hashes)
        table.jids.place(jid_hashes)
        table._members.append(0)
        return table
