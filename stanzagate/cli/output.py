"""Showing things: text for people and pipes, one JSON document for programs, errors on stderr."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import json
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import typer

from component.base.errors import StanzagateError

GAP = 2
INDENT = 6
ROWS_TOGETHER = 5_000

_TRICKS = re.compile("[\x7f-\x9f\u200b\u200e\u200f\u2028-\u202f\u2060-\u206f]")
"""Control characters beyond ASCII's first, and those that reorder or hide text."""


def application(**settings: Any) -> typer.Typer:
    """A group of commands, with help in plain text, which can be read everywhere."""
    return typer.Typer(
        rich_markup_mode=None,
        add_completion=False,
        pretty_exceptions_enable=False,
        no_args_is_help=settings.pop("no_args_is_help", True),
        context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
        **settings,
    )


class Nowhere(io.TextIOWrapper):
    """What stands for a standard stream that was closed before we began: all that is written to it is lost."""

    def __init__(self) -> None:
        super().__init__(Path(os.devnull).open("wb"), "utf-8", "backslashreplace")  # noqa: SIM115


def prepare() -> None:
    """Make stdout and stderr fit to be written to, whatever they are.

    Python has None for a stream that is closed (``>&-``, and some services that start others). What is said there is
    not wanted, and no reason to fail: the exit code still tells how it went.
    """
    if sys.stdout is None:
        sys.stdout = Nowhere()
    if sys.stderr is None:
        sys.stderr = Nowhere()
    with contextlib.suppress(AttributeError, ValueError):
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def data() -> BinaryIO:
    """Standard output for a result that must not get lost unnoticed: a document, an export, an archive.

    :raises OSError: it was closed before we began.
    """
    if isinstance(sys.stdout, Nowhere):
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    return sys.stdout.buffer


def plain(text: object) -> str:
    """Text that cannot play tricks on a terminal: control characters are escaped."""
    raw = str(text)
    return raw if raw.isprintable() else "".join(char if char.isprintable() else _escaped(char) for char in raw)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def say(text: str = "") -> None:
    """A line on stdout."""
    sys.stdout.write(f"{plain(text)}\n")


def tell(text: str) -> None:
    """A line on stderr, for what is not the result."""
    sys.stderr.write(f"{plain(text)}\n")


def document(data: Any) -> None:
    """The one JSON document of a command."""
    sys.stdout.write(f"{as_json(data, indent=2 if sys.stdout.isatty() else None)}\n")


def as_json(data: Any, *, indent: int | None = None) -> str:
    """JSON that cannot play tricks on a terminal either: it means the same with ``\\u009b`` for the character."""
    raw = json.dumps(data, ensure_ascii=False, indent=indent)
    if raw.replace("\n", "").isprintable():
        return raw
    return "".join(char if char.isprintable() or char == "\n" else _in_json(char) for char in raw)


def _in_json(char: str) -> str:
    return json.dumps(char)[1:-1] if char > "\x7f" else f"\\u{ord(char):04x}"


def harmless(written: bytes) -> bytes:
    """XML or JSON in UTF-8 as a terminal can have it: what would control it, or turn lines over, is a reference.

    Names in XML cannot hold references; they cannot hold these characters either.
    """
    text = written.decode()
    in_json = not text.lstrip().startswith("<")
    return _TRICKS.sub(lambda found: _in_json(found[0]) if in_json else f"&#{ord(found[0])};", text).encode()


def error(failure: StanzagateError) -> None:
    """An expected error: what, what to do, and further lines."""
    tell(f"stanzagate: error: {failure.message}")
    if failure.hint:
        tell(f"  {failure.hint}")
    for detail in failure.details:
        tell(f"  - {detail}")


def when(seconds: float | None, none: str = "") -> str:
    """A point in time, in UTC."""
    if seconds is None:
        return none
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def listing(items: Iterable[Any]) -> None:
    """A list as the one JSON document of a command, written while it is read: it may be long."""
    start = "["
    for item in items:
        sys.stdout.write(start + as_json(item))
        start = ",\n"
    sys.stdout.write("[]\n" if start == "[" else "]\n")


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> bool:
    """Columns, written while they are read. Nothing is ever cut off: columns become wider on the way when they must.

    On a terminal that is too narrow, the last column has lines of its own.

    :returns: whether there was any row; without one nothing is written.
    """
    widths = [len(header) for header in headers]
    iterator = iter(rows)
    pending: list[list[str]] = [list(headers)]
    narrow: bool | None = None
    while block := [[plain(cell) for cell in row] for row in itertools.islice(iterator, ROWS_TOGETHER)]:
        widths = [max(width, *(len(row[place]) for row in block)) for place, width in enumerate(widths)]
        if narrow is None:
            narrow = _too_wide(sum(widths), len(widths))
        for texts in pending + block:
            _write_row(texts, widths, narrow=narrow)
        pending = []
    return not pending


def row(cells: Sequence[object]) -> None:
    """One row that others may follow at any time, so that there are no columns; else like a table."""
    texts = [plain(cell) for cell in cells]
    _write_row(texts, [len(text) for text in texts], narrow=_too_wide(sum(map(len, texts)), len(texts)))


def _too_wide(width: int, columns: int) -> bool:
    return sys.stdout.isatty() and width + GAP * (columns - 1) > shutil.get_terminal_size().columns


def _write_row(texts: Sequence[str], widths: Sequence[int], *, narrow: bool) -> None:
    padded = [text.ljust(width) for text, width in zip(texts, widths, strict=True)]
    sys.stdout.write(f"{(' ' * GAP).join(padded[:-1] if narrow else padded).rstrip()}\n")
    if narrow and texts[-1]:
        sys.stdout.write(f"{' ' * INDENT}{texts[-1]}\n")


def change(answer: dict[str, Any], *, as_json: bool) -> None:
    """What a change did, or would do."""
    if as_json:
        document(answer)
        return
    if answer["dry_run"]:
        say("Nothing was changed (--dry-run). It would be:")
    say(answer["summary"])
    for line in _effects("loses", answer["loses"]):
        say(line)
    for line in _effects("gains", answer["gains"]):
        say(line)


def _effects(verb: str, items: Sequence[dict[str, Any]]) -> Iterator[str]:
    for item in items:
        examples = ", ".join(item["examples"])
        more = "" if item["devices"] <= len(item["examples"]) else ", …"
        noun = "device" if item["devices"] == 1 else "devices"
        yield f"  {verb}  {item['requester']}  {item['devices']} {noun}: {examples}{more}"
