"""Reading CSV from people: every bad line is named, with its number, column, value and reason."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from component.base.errors import InputError
from component.gate.rules import shown

NAMED_LINES = 1_000
"""So many bad lines are explained; of the others only the numbers are told."""

LONGEST_LINE = 64 * 1024


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


class BadLines:
    """The bad lines of a file: what is wrong with the first ones, and the numbers of all others."""

    def __init__(self) -> None:
        self.named: list[BadLine] = []
        self.total = 0
        self._others = array("Q")

    def __bool__(self) -> bool:
        return self.total > 0

    def add(self, line: int, column: str, value: str, reason: str) -> None:
        """Note a bad line."""
        self.total += 1
        if len(self.named) < NAMED_LINES:
            self.named.append(BadLine(line, column, value, reason))
        else:
            self._others.append(line)

    def check(self, what: str) -> None:
        """Refuse the file if it has bad lines.

        :raises InputError: a detail for each bad line that is explained, and one with the numbers of the others.
        """
        if not self.total:
            return
        self.named.sort(key=lambda bad: bad.line)
        details = [str(bad) for bad in self.named]
        if self._others:
            details.append(f"and {self.total - len(details)} more: lines {_ranges(self._others)}")
        noun = "1 bad line" if self.total == 1 else f"{self.total} bad lines"
        raise InputError(f"{what}: {noun}; nothing was changed.", hint="Mend them and try again.", details=details)


def _ranges(numbers: Iterable[int]) -> str:
    """Numbers for people: ``3, 5-9, 12``."""
    ordered = sorted(set(numbers))
    runs = (list(run) for _, run in groupby(enumerate(ordered), lambda pair: pair[1] - pair[0]))
    ends = ((run[0][1], run[-1][1]) for run in runs)
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ends)


class CsvReader:
    """Reads records of the given columns from pieces of a file, of any size.

    A record is one line: a line break inside of a field would let one quotation mark swallow the file. Blank lines
    are skipped.
    """

    def __init__(self, columns: Sequence[str], bad: BadLines) -> None:
        self.line = 0
        """The number of the line that was read last."""
        self._columns = list(columns)
        self._bad = bad
        self._rest = b""
        self._header = False

    def feed(self, data: bytes, *, last: bool = False) -> Iterator[tuple[int, list[str]]]:
        """Line number and fields of each good record that is complete now.

        :param last: nothing follows.
        :raises InputError: when the file as a whole is not what it should be.
        """
        lines = (self._rest + data).split(b"\n")
        self._rest = b"" if last and lines[-1] else lines.pop()
        if len(self._rest) > LONGEST_LINE:  # it is bad however it ends, and need not be kept whole
            self._rest = self._rest[: LONGEST_LINE + 1]
        for line in lines:
            self.line += 1
            text = self._decoded(line)
            if text and (fields := self._fields(text)) is not None:
                yield self.line, fields
        if last and not self._header and not self._bad:
            raise InputError("The file is empty.", hint=f"The first line must be: {','.join(self._columns)}")

    def _decoded(self, line: bytes) -> str:
        if self.line == 1:
            if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise InputError("The file is UTF-16, not UTF-8; nothing was changed.", hint="Save it as UTF-8.")
            line = line.removeprefix(b"\xef\xbb\xbf")
        if line.endswith(b"\r"):
            line = line[:-1]
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            place = f"byte 0x{line[error.start]:02x} at position {error.start + 1}"
            return self._refused(f"it is not UTF-8 ({place}); save the file as UTF-8")
        if len(line) > LONGEST_LINE:
            return self._refused(f"it is longer than {LONGEST_LINE} bytes")
        if "\0" in text:
            return self._refused("it has a NUL character")
        if "\r" in text:
            return self._refused("it has a carriage return in the middle")
        return text

    def _fields(self, text: str) -> list[str] | None:
        try:
            fields = text.split(",") if '"' not in text else next(csv.reader([text], strict=True))
        except csv.Error:
            self._refused("a quotation mark is not closed, or stands inside of a field")
            return None
        if not self._header:
            if [field.strip() for field in fields] != self._columns:
                # Its content is not shown: where the header is missing, this may be a line with a password.
                raise InputError(
                    f"Line {self.line} is not the header; nothing was changed.",
                    hint=f"The first line must be: {','.join(self._columns)}",
                )
            self._header = True
            return None
        if len(fields) != len(self._columns):
            self._refused(f"it has {len(fields)} columns, not {len(self._columns)}")
            return None
        return fields

    def _refused(self, reason: str) -> str:
        self._bad.add(self.line, "", "", reason)
        return ""


def written(fields: Sequence[str]) -> str:
    """One record as a line, quoted where it must be."""
    return (
        ",".join(
            '"' + field.replace('"', '""') + '"' if any(char in field for char in ',"\r\n') else field
            for field in fields
        )
        + "\n"
    )
