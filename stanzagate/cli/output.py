"""Showing things: text for people and pipes, one JSON document for programs, errors on stderr."""

from __future__ import annotations

import itertools
import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import typer

from component.base.errors import StanzagateError

GAP = 2
INDENT = 6
ROWS_TOGETHER = 5_000


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
    sys.stdout.write(json.dumps(data, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))
    sys.stdout.write("\n")


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
        sys.stdout.write(start + json.dumps(item, ensure_ascii=False))
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
