"""The stringprep profiles of JIDs (RFC 6122 appendices A and B, RFC 3491), with Unicode 3.2 as RFC 3454 has it.

Code points that Unicode 3.2 does not know are left as they are, as Prosody does for addresses of others; ejabberd
refuses them. Whoever maps them by a newer Unicode, as libraries do, takes ``\u1d43cs@acs.test`` for ``acs@acs.test``,
which the servers keep apart.
"""

from __future__ import annotations

import stringprep
from collections.abc import Callable, Iterable
from unicodedata import ucd_3_2_0

LONGEST_PART = 1023
"""Bytes of UTF-8 (RFC 6122 §2.1)."""

_DISAGREED = "\u33c6"
"""ejabberd prepares it to ``C\u2215kg``, which it would prepare to something else again."""

_Table = Callable[[str], bool]
_EVERYWHERE: tuple[_Table, ...] = (
    stringprep.in_table_c12, stringprep.in_table_c22, stringprep.in_table_c3, stringprep.in_table_c4,
    stringprep.in_table_c5, stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8,
    stringprep.in_table_c9,
)  # fmt: skip
_IN_RESOURCES = (*_EVERYWHERE, stringprep.in_table_c21)
_IN_LOCAL_PARTS = (*_IN_RESOURCES, stringprep.in_table_c11, frozenset("\"&'/:<>@").__contains__)
_IN_DOMAINS = (*_EVERYWHERE, frozenset("/@").__contains__)  # full-width ones would split the address anew


class ProfileError(ValueError):
    """A part of an address is not possible."""


def nodeprep(text: str) -> str:
    """Prepare a local part (RFC 6122 appendix A).

    :raises ProfileError: it holds what is prohibited, or is empty or too long.
    """
    return _checked(_folded(text), _IN_LOCAL_PARTS)


def nameprep(text: str) -> str:
    """Prepare a domain (RFC 3491).

    :raises ProfileError: as `nodeprep`.
    """
    return _checked(_folded(text), _IN_DOMAINS)


def resourceprep(text: str) -> str:
    """Prepare a resource (RFC 6122 appendix B), which keeps its case.

    :raises ProfileError: as `nodeprep`.
    """
    return _checked(_kept(text), _IN_RESOURCES)


def _kept(text: str) -> Iterable[str]:
    return (char for char in text if not stringprep.in_table_b1(char))


def _folded(text: str) -> Iterable[str]:
    if _DISAGREED in text:
        raise ProfileError("it has a character that the servers disagree about")
    return map(_fold, _kept(text))


def _fold(char: str) -> str:
    """Table B.2; the standard library falls back to today's lower case where the table has nothing."""
    folded = char if stringprep.in_table_a1(char) else stringprep.map_table_b2(char)
    return char if any(map(stringprep.in_table_a1, folded)) else folded


def _checked(mapped: Iterable[str], prohibited: tuple[_Table, ...]) -> str:
    text = ucd_3_2_0.normalize("NFKC", "".join(mapped))
    if any(table(char) for char in text for table in prohibited):
        raise ProfileError("it has a character that is not possible there")
    if any(map(stringprep.in_table_d1, text)) and (
        any(map(stringprep.in_table_d2, text))
        or not (stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1]))
    ):
        raise ProfileError("it mixes directions of writing")  # RFC 3454 §6
    if not 0 < len(text.encode()) <= LONGEST_PART:
        raise ProfileError(f"a part is empty or longer than {LONGEST_PART} bytes")
    return text
