"""How topics, capabilities and what rules say about them may be named.

A name must do as text in XML, as a segment of a URL, as a node of both servers' publish-subscribe service, and in a
rule. Prosody keeps a node in a file of its name, in which every byte but ASCII letters and digits becomes three: with
255 bytes for a file's name and room for a subtopic, `ENCODED` is what is left. ``/`` separates a topic and its
subtopics, ``*`` stands for anything in rules; neither can be part of a topic's own name.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from component.base.errors import InputError

LONGEST = 128
"""Characters of a topic's name."""

ENCODED = 200
"""Bytes of a topic's name as Prosody writes it."""

DEEPEST = 1024
"""Characters of the name of a subtopic, and of a pattern."""

SEPARATOR = "/"
ANYTHING = "*"
_SIGNS = "._-:+~=@"
_ALLOWED = f"letters, digits and {' '.join(_SIGNS)}"
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z._+~-]{0,31}", re.ASCII)
_TYPE = re.compile(r"[^\s<>\"'&\x00-\x1f\x7f-\x9f]{1,1024}")


def topic_name(text: str) -> str:
    """A topic's name, checked.

    :raises InputError: it cannot be one; the message says why.
    """
    if not text:
        raise InputError("A topic needs a name.")
    if SEPARATOR in text:
        raise InputError(f"{shown(text)} cannot name a topic: '/' is for subtopics.", hint=f"Use {_ALLOWED}.")
    _check_characters(text, _SIGNS, "name a topic")
    encoded = sum(1 if char.isalnum() and char.isascii() else 3 * len(char.encode()) for char in text)
    if len(text) > LONGEST or encoded > ENCODED:
        raise InputError(
            f"{shown(text)} is too long for a topic's name.",
            hint=f"Use at most {LONGEST} characters; each that is no ASCII letter or digit takes three bytes or more "
            f"of the {ENCODED} that a server's file names leave.",
        )
    return text


def topic_or_subtopic(text: str) -> str:
    """The name of a topic or of a subtopic, ``TOPIC/…``, checked.

    :raises InputError: it cannot be one.
    """
    parts = text.split(SEPARATOR)
    topic_name(parts[0])
    if len(text) > DEEPEST:
        raise InputError(
            f"{shown(text)} is too long for a subtopic's name.", hint=f"Use at most {DEEPEST} characters."
        )
    for part in parts[1:]:
        _check_characters(part, _SIGNS, "name a subtopic")
    return text


def topic_pattern(text: str) -> str:
    """What a rule is about, checked: a topic or subtopic, or a pattern in which ``*`` stands for any characters.

    :raises InputError: no topic could have such a name.
    """
    try:
        return _pattern(text)
    except InputError as error:
        raise InputError(error.message, hint=f"{error.hint} * stands for any characters.".strip()) from None


def _pattern(text: str) -> str:
    if ANYTHING not in text:
        return topic_or_subtopic(text)
    if len(text) > DEEPEST:
        raise InputError(f"{shown(text)} is too long for a pattern.", hint=f"Use at most {DEEPEST} characters.")
    parts = text.split(SEPARATOR)
    for part in parts:
        _check_characters(part, _SIGNS + ANYTHING, "be a pattern of topics")
    return re.sub(r"\*+", ANYTHING, text)


def version_name(text: str) -> str:
    """A capability's version, checked.

    :raises InputError: it cannot be one.
    """
    if not _VERSION.fullmatch(text):
        raise InputError(
            f"{shown(text)} is not a version.", hint="Use up to 32 of A-Z a-z 0-9 . _ + ~ - like 1.0 or 2.1-beta."
        )
    return text


def type_name(text: str) -> str:
    """The namespace of a topic's payload, checked; empty for none.

    :raises InputError: no namespace could be that.
    """
    if text and not _TYPE.fullmatch(text):
        raise InputError(f"{shown(text)} is not a namespace.", hint="Write a URI, for example urn:example:alerts:1.")
    return text


def name_of(capability: str, version: str, label: str = "") -> str:
    """The topic of a capability's version: ``Name-Version``; further ones have a label, ``Name-Version-LABEL``.

    :raises InputError: that cannot be a topic's name.
    """
    name = f"{capability}-{version_name(version)}" if version else capability
    return topic_name(f"{name}-{label}" if label else name)


def base_of(name: str) -> str:
    """The topic of a topic or subtopic."""
    return name.partition(SEPARATOR)[0]


def covers(pattern: str, name: str) -> bool:
    """Whether a rule's pattern is about a topic or subtopic.

    This is for those who list and search; what counts for a decision is said by Cedar.
    """
    if ANYTHING not in pattern:
        return name == pattern or name.startswith(pattern + SEPARATOR)
    return _compiled(pattern).fullmatch(name) is not None


@lru_cache(maxsize=4096)
def _compiled(pattern: str) -> re.Pattern[str]:
    parts = ".*".join(re.escape(part) for part in pattern.split(ANYTHING))
    return re.compile(f"(?:{parts})(?:/.*)?", re.DOTALL)


def sort_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """Sorts versions as people do: 1.10 after 1.9."""
    parts = re.findall(r"[0-9]+|[^0-9]+", version)
    return tuple((1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts)


def shown(text: str) -> str:
    """Foreign text for an error message: control characters escaped, not too long."""
    quoted = ascii(text)
    return quoted if len(quoted) <= 80 else f"{quoted[:77]}…"


def _check_characters(text: str, signs: str, purpose: str) -> None:
    bad = next((char for char in text if not (char.isalnum() or char in signs)), "")
    if bad or not text:
        what = f"it has {shown(bad)}" if bad else "a part is empty"
        raise InputError(f"{shown(text)} cannot {purpose}: {what}.", hint=f"Use {_ALLOWED}.")
    if not text.strip("."):
        raise InputError(
            f"{shown(text)} cannot {purpose}: in the path of a URL it would mean another place.",
            hint=f"Use {_ALLOWED}.",
        )
    if not text.isascii() and unicodedata.normalize("NFKC", text) != text:
        raise InputError(
            f"{shown(text)} cannot {purpose}: it can be written in several ways that look the same.",
            hint="Write it in Unicode's normalization form NFKC.",
        )
