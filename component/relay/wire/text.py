"""Escaping."""

from __future__ import annotations

import re

_IN_ATTRIBUTES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;", "\n": "&#10;", "\t": "&#9;", "\r": "&#13;"}
_IN_TEXT = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}
_ATTRIBUTE_CHARACTER = re.compile("[&<>'\n\t\r]")
_TEXT_CHARACTER = re.compile("[&<>\r]")


def quote(value: str) -> str:
    """Escape for an attribute value in single quotes."""
    return _ATTRIBUTE_CHARACTER.sub(lambda found: _IN_ATTRIBUTES[found.group()], value)


def text(value: str) -> str:
    """Escape for the text of an element."""
    return _TEXT_CHARACTER.sub(lambda found: _IN_TEXT[found.group()], value)
