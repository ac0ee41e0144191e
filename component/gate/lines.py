"""Reading CSV from people, and writing it. What is wrong with a line is noted in `BadLines`."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence

from component.base.errors import InputError
from component.gate.badlines import BadLines

LONGEST_LINE = 64 * 1024


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
        if last and not self._header:
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
            general = "it is not UTF-8; save the file as UTF-8"
            return self._refused(f"it is not UTF-8 ({place}); save the file as UTF-8", general)
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
                raise self._no_header("")
            self._header = True
            return None
        if len(fields) != len(self._columns):
            wanted = len(self._columns)
            self._refused(f"it has {len(fields)} columns, not {wanted}", f"it has not {wanted} columns")
            return None
        return fields

    def _refused(self, reason: str, general: str = "") -> str:
        if not self._header:
            raise self._no_header(reason)
        self._bad.add(self.line, "", "", reason, general)
        return ""

    def _no_header(self, reason: str) -> InputError:
        # The line is not shown: where the header is missing, it may be one with a password.
        why = f": {reason}" if reason else ""
        return InputError(
            f"The file has no header in its first line{why}; nothing was changed.",
            hint=f"It must be a text file of CSV in UTF-8 whose first line is: {','.join(self._columns)}",
        )


def written(fields: Sequence[str]) -> str:
    """One record as a line, quoted where it must be."""
    return (
        ",".join(
            '"' + field.replace('"', '""') + '"' if any(char in field for char in ',"\r\n') else field
            for field in fields
        )
        + "\n"
    )
