"""The bad lines of a file from people: every one is named, in bounded memory.

The first ones are named one by one, with column, value and reason. Of those that follow, ranges of line numbers are
named, together with the reason that they share. Nothing else cuts what is told about bad lines.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

from component.base.errors import InputError
from component.gate.rules import shown

NAMED_LINES = 10_000
"""So many bad lines are named one by one, ..."""

NAMED_CHARACTERS = 4 * 1024 * 1024
"""... as long as what is told about them is not longer than this."""

REASONS = 1_000
"""So many different reasons are told of the others."""

RANGES = 500_000
"""So many ranges are kept, with 16 bytes each; what does not fit is counted between its first and its last line."""

RANGES_TOGETHER = 100
"""So many ranges stand in one detail."""

OTHER = "it is bad for one of many other reasons"
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*['…]|"(?:[^"\\]|\\.)*["…]""")
_LONGEST_REASON = 400


@dataclass(frozen=True, slots=True)
class BadLine:
    """What is wrong with a line.

    :ivar line: counted from 1, the header included.
    :ivar column: name of the column, or empty when it is about the line as a whole.
    :ivar value: the offending value; empty when it must not be shown.
    """

    line: int
    column: str
    value: str
    reason: str

    def __str__(self) -> str:
        column = f", {self.column}" if self.column else ""
        value = f" {shown(self.value)}" if self.value else ""
        return f"line {self.line}{column}{value}: {self.reason}"


@dataclass(slots=True)
class _Range:
    """Lines that are bad for one reason, as pairs of first and last line."""

    pairs: array[int] = field(default_factory=lambda: array("Q"))

    def add(self, line: int, room: bool) -> bool:
        """Take a line in; False when that needs a range of its own and there is no room."""
        pairs = self.pairs
        if pairs and pairs[-1] <= line <= pairs[-1] + 1:
            pairs[-1] = line
        elif room:
            pairs.extend((line, line))
        else:
            return False
        return True

    def __len__(self) -> int:
        return len(self.pairs) // 2


class BadLines:
    """The bad lines of a file. What is wrong with one line is added without another line in between."""

    def __init__(self) -> None:
        self.problems = 0
        """How often something was wrong; a line may be bad in several ways."""
        self.lines = 0
        """How many lines are bad."""
        self._named: list[BadLine] = []
        self._characters = 0
        self._last = 0
        self._name_it = False
        self._ranges: dict[tuple[str, str], _Range] = {}
        self._kept = 0
        self._crowded: list[int] = []  # first, last and number of the lines for which there was no range

    def __bool__(self) -> bool:
        return self.problems > 0

    def add(self, line: int, column: str, value: str, reason: str, general: str = "") -> None:
        """Note what is wrong with a line.

        :param general: the reason without what only this line has, for lines that are named together; without it
            whatever stands in quotation marks is left out.
        """
        self.problems += 1
        if line != self._last:
            self._last = line
            self.lines += 1
            self._name_it = self.lines <= NAMED_LINES and self._characters < NAMED_CHARACTERS
        if self._name_it:
            bad = BadLine(line, column, value, reason)
            self._characters += len(str(bad))
            self._named.append(bad)
        else:
            self._add_to_range(line, column, general or _QUOTED.sub("…", reason[:_LONGEST_REASON]))

    def _add_to_range(self, line: int, column: str, reason: str) -> None:
        key = (column, reason)
        if key not in self._ranges and len(self._ranges) >= REASONS:
            key = ("", OTHER)
        found = self._ranges.setdefault(key, _Range())
        before = len(found)
        if found.add(line, self._kept < RANGES):
            self._kept += len(found) - before
        elif not self._crowded:
            self._crowded = [line, line, 1]
        else:
            first, last, count = self._crowded
            self._crowded = [min(first, line), max(last, line), count + 1]

    def check(self, what: str) -> None:
        """Refuse the file if it has bad lines.

        :raises InputError: its details name every bad line.
        """
        if not self:
            return
        noun = "1 bad line" if self.lines == 1 else f"{self.lines} bad lines"
        raise InputError(
            f"{what}: {noun}; nothing was changed.", hint="Mend them and try again.", details=list(self._details())
        )

    def _details(self) -> Iterator[str]:
        self._named.sort(key=lambda bad: bad.line)
        yield from map(str, self._named)
        for (column, reason), found in sorted(self._ranges.items(), key=lambda item: item[1].pairs[:1]):
            place = f", {column}" if column else ""
            for start in range(0, len(found.pairs), 2 * RANGES_TOGETHER):
                yield f"{_written(found.pairs[start : start + 2 * RANGES_TOGETHER])}{place}: {reason}"
        if self._crowded:
            first, last, count = self._crowded
            yield f"lines {first} to {last}: {count} more problems in lines that are too scattered to name each"


def _written(pairs: array[int]) -> str:
    ranges = [
        str(first) if first == last else f"{first}-{last}"
        for first, last in zip(pairs[::2], pairs[1::2], strict=True)
    ]
    single = len(ranges) == 1 and "-" not in ranges[0]
    return f"{'line' if single else 'lines'} {', '.join(ranges)}"
