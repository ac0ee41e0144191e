"""Reading CSV from people: every bad line is named, with its number, column, value and reason."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from component.base.errors import InputError
from component.gate.rules import shown

NAMED_LINES = 100
"""So many bad lines are named; of the others only the number is told."""

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
    """The bad lines of a file: the first ones, and how many there are."""

    def __init__(self) -> None:
        self.named: list[BadLine] = []
        self.total = 0

    def __bool__(self) -> bool:
        return self.total > 0

    def add(self, line: int, column: str, value: str, reason: str) -> None:
        """Note a bad line."""
        self.total += 1
        if len(self.named) < NAMED_LINES:
            self.named.append(BadLine(line, column, value, reason))

    def check(self, what: str) -> None:
        """Refuse the file if it has bad lines.

        :raises InputError: with one detail for each bad line that is named.
        """
        if not self.total:
            return
        self.named.sort(key=lambda bad: bad.line)
        details = [str(bad) for bad in self.named]
        if self.total > len(details):
            details.append(f"and {self.total - len(details)} more")
        noun = "1 bad line" if self.total == 1 else f"{self.total} bad lines"
        raise InputError(f"{what}: {noun}; nothing was changed.", hint="Mend them and try again.", details=details)


def decoded_lines(raw: Iterable[bytes], bad: BadLines) -> Iterator[tuple[int, str]]:
    """Number and text of each line that is UTF-8; a byte order mark at the beginning is skipped.

    :raises InputError: when it is another Unicode encoding, which no line-wise reading can make sense of.
    """
    for number, found in enumerate(raw, 1):
        if number == 1 and found.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise InputError("The file is UTF-16, not UTF-8; nothing was changed.", hint="Save it as UTF-8.")
        line = found.removeprefix(b"\xef\xbb\xbf") if number == 1 else found
        if b"\0" in line:
            bad.add(number, "", "", "it has a NUL character")
            continue
        if len(line) > LONGEST_LINE:
            bad.add(number, "", "", f"it is longer than {LONGEST_LINE} bytes")
            continue
        try:
            yield number, line.decode()
        except UnicodeDecodeError as error:
            place = f"byte 0x{line[error.start]:02x} at position {error.start + 1}"
            bad.add(number, "", "", f"it is not UTF-8 ({place}); save the file as UTF-8")


def records(
    lines: Iterable[tuple[int, str]], columns: Sequence[str], bad: BadLines
) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each record after the header; blank lines are skipped.

    A record is one line: a line break inside of a field would let one quotation mark swallow the file.

    :raises InputError: when the header is missing or another one.
    """
    header = False
    for number, text in lines:
        stripped = text.rstrip("\r\n")
        if not stripped:
            continue
        try:
            fields = stripped.split(",") if '"' not in stripped else next(csv.reader([stripped], strict=True))
        except csv.Error:
            bad.add(number, "", "", "a quotation mark is not closed, or stands inside of a field")
            continue
        if "\r" in stripped:
            bad.add(number, "", "", "it has a carriage return in the middle")
        elif not header:
            header = True
            if [field.strip() for field in fields] != list(columns):
                # Its content is not shown: where the header is missing, this may be a line with a password.
                raise InputError(
                    f"Line {number} is not the header; nothing was changed.",
                    hint=f"The first line must be: {','.join(columns)}",
                )
        elif len(fields) != len(columns):
            bad.add(number, "", "", f"it has {len(fields)} columns, not {len(columns)}")
        else:
            yield number, fields
    if not header and not bad:
        raise InputError("The file is empty.", hint=f"The first line must be: {','.join(columns)}")


def split_lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Lines with their ends from pieces of any size; a line that never ends is cut, which makes it a bad one."""
    rest = b""
    for chunk in chunks:
        lines = (rest + chunk).splitlines(keepends=True) if b"\r" not in chunk else _at_newlines(rest + chunk)
        rest = lines.pop() if lines and not lines[-1].endswith(b"\n") else b""
        yield from lines
        if len(rest) > LONGEST_LINE:
            rest = rest[: LONGEST_LINE + 1]
    if rest:
        yield rest


def _at_newlines(data: bytes) -> list[bytes]:
    lines = [line + b"\n" for line in data.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


def written(fields: Sequence[str]) -> str:
    """One record as a line, quoted where it must be."""
    return (
        ",".join(
            '"' + field.replace('"', '""') + '"' if any(char in field for char in ',"\r\n') else field
            for field in fields
        )
        + "\n"
    )
