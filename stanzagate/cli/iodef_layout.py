"""Text in columns of a terminal, where some characters take two and some none."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from stanzagate.cli.output import plain


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the page; `strong` ones may be emphasized."""

    text: str
    strong: bool = False


def cells(text: str) -> int:
    """Columns of a terminal that printable text takes."""
    return len(text) if text.isascii() else sum(map(_cell, text))


def _cell(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def wrap(text: str, width: int) -> Iterator[str]:
    """Text in lines of at most so many columns; newlines stay, longer words are broken."""
    for paragraph in text.split("\n"):
        line = ""
        for word in plain(paragraph).split(" "):
            rest = word
            if line and cells(line) + 1 + cells(rest) <= width:
                line += f" {rest}"
                continue
            if line:
                yield line
            while cells(rest) > width:
                cut = _fitting(rest, width)
                yield rest[:cut]
                rest = rest[cut:]
            line = rest
        if line or not paragraph:
            yield line


def _fitting(text: str, width: int) -> int:
    """How many characters have room; one at least."""
    used = 0
    for place, char in enumerate(text):
        used += _cell(char)
        if used > width:
            return max(place, 1)
    return len(text)


def begun(text: str, longest: int) -> str:
    """The beginning of a text that is long, and how much there is more."""
    left = len(text) - longest
    return text if left <= 0 else f"{text[:longest]} (and {left} more characters; --json shows all)"
