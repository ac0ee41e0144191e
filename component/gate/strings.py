"""A million strings in a few flat arrays: which number belongs to this text, which text to this number.

A `dict` of as many `str` takes five times the memory. Here the UTF-8 bytes of all texts lie in one blob, and an
open-addressing table of 32-bit numbers, placed by Python's own keyed hash (so nobody can prepare collisions from
outside), finds them. A lookup compares the real bytes: it is exact, whatever the hashes do.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

_EMPTY = 0xFFFFFFFF
_REMOVED = 0xFFFFFFFE
_END = "\0"  # stands behind every text in the blob, so that no text is found that another one begins with
_CROWDED = 0.6  # at linear probing, a miss looks at about 3.6 slots then
_FULL = 0.7
_SMALLEST = 64


class StringTable:
    """Texts that are all different, each with a number that the owner chose, and a suffix that is only kept.

    Numbers are dense: entry `n` can be set when entries `0 … n-1` were set before (removed ones count). A text is
    at most 65,534 bytes long with its suffix, and neither has a NUL character.
    """

    __slots__ = ("_blob", "_filled", "_lengths", "_mask", "_slots", "_starts", "_wasted", "_wholes")

    def __init__(self) -> None:
        self._blob = bytearray()
        self._starts = array("I")  # where the text begins in the blob
        self._lengths = array("H")  # bytes of the text; 0 when the number is not in use
        self._wholes = array("H")  # bytes of text, end mark and suffix
        self._slots = array("I", [_EMPTY]) * _SMALLEST
        self._mask = _SMALLEST - 1
        self._filled = 0  # slots that are not empty
        self._wasted = 0  # bytes of the blob that nobody refers to

    def __len__(self) -> int:
        """How many numbers were ever set; removed ones count."""
        return len(self._starts)

    def find(self, text: str) -> int:
        """The number of `text`, or -1."""
        key = (text + _END).encode()
        slots = self._slots
        at = hash(text) & self._mask
        while (number := slots[at]) != _EMPTY:
            if number != _REMOVED and self._blob.startswith(key, self._starts[number]):
                return number
            at = (at + 1) & self._mask
        return -1

    def text(self, number: int) -> str:
        """The text of `number`; empty when it was removed."""
        start = self._starts[number]
        return self._blob[start : start + self._lengths[number]].decode()

    def suffix(self, number: int) -> str:
        """What was given as the suffix of `number`."""
        start = self._starts[number]
        return self._blob[start + self._lengths[number] + 1 : start + self._wholes[number]].decode()

    def set(self, number: int, text: str, suffix: str = "", *, holder: int | None = None) -> None:
        """Give `number` a text. Its former text is forgotten; a number that had this text loses it.

        :param number: at most ``len(self)``, which appends.
        :param text: not empty.
        :param holder: what `find` says of the text, if the caller knows.
        """
        if holder is None:
            holder = self.find(text)
        count = len(self._starts)
        if number < count and self._lengths[number]:
            if holder == number and self.suffix(number) == suffix:
                return
            self.remove(number)
        if holder not in (-1, number):
            self.remove(holder)
        key, tail = text.encode(), (_END + suffix).encode()
        if number == count:
            self._starts.append(0)
            self._lengths.append(0)
            self._wholes.append(0)
        self._starts[number] = len(self._blob)
        self._lengths[number] = len(key)
        self._wholes[number] = len(key) + len(tail)
        self._blob += key + tail
        if self._filled >= len(self._slots) * _FULL:
            self.adopt(self.grown())  # the new number is placed along with the others
        else:
            self._place(number, hash(text))

    def remove(self, number: int) -> None:
        """Forget the text of `number`; the number itself stays unused until it is set again."""
        if not self._lengths[number]:
            return
        slots = self._slots
        mask = self._mask
        at = hash(self.text(number)) & mask
        while slots[at] != number:
            at = (at + 1) & mask
        slots[at] = _REMOVED
        self._wasted += self._wholes[number]
        self._lengths[number] = self._wholes[number] = 0

    @property
    def crowded(self) -> bool:
        """Whether lookups would profit from `grown`; it is done by `set` itself only when it must be."""
        return self._filled >= len(self._slots) * _CROWDED and len(self._slots) > _SMALLEST

    def grown(self) -> array[int]:
        """Roomier slots for the texts of now, to be given to `adopt`. Changes nothing, so a thread may do it."""
        used = np.flatnonzero(self.used()).astype(np.uint32)
        hashes = np.fromiter((hash(self.text(number)) for number in used.tolist()), np.int64, len(used))
        return _placed(used, hashes)

    def adopt(self, slots: array[int]) -> None:
        """Use what `grown` made; nothing may have been set or removed in between."""
        self._slots, self._mask = slots, len(slots) - 1
        self._filled = len(slots) - slots.count(_EMPTY)

    @property
    def wasteful(self) -> bool:
        """Whether most of the blob belongs to texts that are gone."""
        return self._wasted > len(self._blob) // 2

    def compact(self) -> None:
        """Give back the room of texts that are gone. Takes a second for a million texts."""
        blob = bytearray()
        for number in range(len(self)):
            start = self._starts[number]
            self._starts[number] = len(blob)
            blob += self._blob[start : start + self._wholes[number]]
        self._blob, self._wasted = blob, 0

    def used(self) -> NDArray[np.bool_]:
        """For each number whether it has a text."""
        return np.array(memoryview(self._lengths), np.uint16) > 0

    def copy(self) -> StringTable:
        """An independent copy; costs a few milliseconds for a million texts."""
        other = StringTable()
        other._blob = self._blob[:]
        other._starts, other._lengths, other._wholes = self._starts[:], self._lengths[:], self._wholes[:]
        other._slots, other._mask = self._slots[:], self._mask
        other._filled, other._wasted = self._filled, self._wasted
        return other

    def extend(self, texts: Sequence[str], suffixes: Sequence[str]) -> NDArray[np.int64]:
        """Append texts without making them findable yet: `place` does that for all at once.

        :returns: the hashes that `place` wants.
        """
        keys = [text.encode() for text in texts]
        ends_ = [(_END + suffix).encode() for suffix in suffixes]
        whole = b"".join([part for pair in zip(keys, ends_, strict=True) for part in pair])
        lengths = np.fromiter(map(len, keys), np.int64, len(keys))
        tails = np.fromiter(map(len, ends_), np.int64, len(keys))
        ends = np.cumsum(lengths + tails)
        starts = len(self._blob) + ends - lengths - tails
        self._blob += whole
        self._starts.frombytes(starts.astype(np.uint32).tobytes())
        self._lengths.frombytes(lengths.astype(np.uint16).tobytes())
        self._wholes.frombytes((lengths + tails).astype(np.uint16).tobytes())
        return np.fromiter(map(hash, texts), np.int64, len(texts))

    def place(self, hashes: NDArray[np.int64]) -> None:
        """Make every text that was appended by `extend` findable.

        :param hashes: of all numbers, in their order.
        :raises ValueError: when two texts are equal; the message shows one of them.
        """
        self._refuse_equal(hashes)
        used = np.flatnonzero(self.used()).astype(np.uint32)
        self.adopt(_placed(used, hashes[used]))

    def equal_pairs(self, hashes: NDArray[np.int64]) -> Iterable[tuple[int, int]]:
        """Pairs of numbers with equal texts, found by their hashes and compared by their bytes."""
        used = np.flatnonzero(self.used())
        order = used[np.argsort(hashes[used], kind="stable")]
        same = np.flatnonzero(hashes[order[1:]] == hashes[order[:-1]])
        while len(same):  # texts of equal hash stand side by side; nearly always exactly two of them
            at = int(same[0])
            end = at + 1
            while end < len(order) and hashes[order[end]] == hashes[order[at]]:
                end += 1
            seen: dict[str, int] = {}
            for number in map(int, order[at:end]):
                other = seen.setdefault(self.text(number), number)
                if other != number:
                    yield other, number
            same = same[same >= end]

    def forget(self, number: int) -> None:
        """Forget an entry before `place` has made it findable."""
        self._wasted += self._wholes[number]
        self._lengths[number] = self._wholes[number] = 0

    def _refuse_equal(self, hashes: NDArray[np.int64]) -> None:
        for number, _ in self.equal_pairs(hashes):
            raise ValueError(f"{self.text(number)} is there twice")

    def _place(self, number: int, hashed: int) -> None:
        slots = self._slots
        mask = self._mask
        at = hashed & mask
        while slots[at] < _REMOVED:
            at = (at + 1) & mask
        self._filled += slots[at] == _EMPTY
        slots[at] = number


def _placed(numbers: NDArray[np.uint32], hashes: NDArray[np.int64]) -> array[int]:
    """Slots with every number placed as linear probing would do, one after the other, by its hash."""
    size = _SMALLEST
    while len(numbers) > size * _CROWDED * 0.85:
        size *= 2
    home = (hashes & (size - 1)).astype(np.int64)
    order = np.argsort(home, kind="stable")
    row = np.arange(len(order))
    # In the order of their homes, each stands at its home or right behind the one before it.
    stand = np.maximum.accumulate(home[order] - row) + row
    slots = np.full(size, _EMPTY, np.uint32)
    inside = stand < size
    slots[stand[inside]] = numbers[order[inside]]
    result = array("I")
    result.frombytes(slots.tobytes())
    at = 0
    for number in map(int, numbers[order[~inside]]):  # those that ran over the end go to the beginning
        while result[at] != _EMPTY:
            at += 1
        result[at] = number
    return result
