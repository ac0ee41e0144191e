"""JSON text to plain Python values, strictly and within limits (RFC 8259; RFC 7493 for what it leaves open).

Refused is what Python's `json` would let pass: a key twice in one object, NaN and Infinity, half a surrogate pair,
encodings other than UTF-8, a byte order mark, numbers without bounds, nesting that exhausts the stack.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import accumulate
from math import isfinite
from typing import Any

from grid.iodef import parsing
from grid.iodef.errors import MOST, Invalid, Problem
from grid.iodef.json.places import Cell, Scan, pointer_of, scan
from grid.iodef.text import FORBIDDEN

WHAT = "This is not a valid incident document in JSON."

DIGITS = 300
"""Characters of one number."""

LARGEST = Decimal("3.4028235E+38")
"""The largest number of xs:float, which REAL is in XML (RFC 7970 §2.2), and of float32 (RFC 8727 §6)."""


@dataclass(frozen=True, slots=True)
class Limits(parsing.Limits):
    """What a source in JSON may have.

    :ivar size: bytes, or characters of a `str`.
    :ivar depth: lists and objects within each other. IODEF's own classes need some 20.
    :ivar values: members and items in all.
    """

    depth: int = 128
    values: int = 1_000_000


DEFAULT = Limits()


class _MinusZero(int):
    """What REAL can be and `int` cannot; as INTEGER it is 0."""

    def __str__(self) -> str:
        return "-0"


_MINUS_ZERO = _MinusZero()

_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
"""One string; one that nobody closes reaches to the end, so that no text is looked at twice."""

_NOT_BRACKETS = re.compile(r"[^\[\]{}]+")
_STEP = {"[": 1, "{": 1, "]": -1, "}": -1}
_SURROGATE = re.compile("[\ud800-\udfff]")

_OTHER_ENCODINGS = (
    (b"\xef\xbb\xbf", "a byte order mark stands at its beginning (RFC 8259, section 8.1, forbids it)"),
    (b"\xff\xfe", "it looks like UTF-16 or UTF-32"),
    (b"\xfe\xff", "it looks like UTF-16"),
    (b"\0\0\xfe\xff", "it looks like UTF-32"),
)


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a text holds.

    :ivar value: the plain values; REAL as `Decimal`.
    :ivar text: what it was parsed from.
    :ivar doubtful: it has what only a closer look can place: a key twice, NaN, a number beyond bounds.
    """

    value: Any
    text: str
    doubtful: bool

    def scan(self, wanted: set[str]) -> Scan:
        """The lines of places, and what is doubtful."""
        return scan(self.text, wanted, MOST + 1 if self.doubtful else 0)


def parse(source: str | bytes, limits: Limits) -> Parsed:
    """Parse a text.

    :raises Invalid: it is too large, too deep, in another encoding, or not JSON. What is only doubtful is told by
        `Parsed`, so that the rest of the document can be looked at too.
    """
    text = _decoded(source, limits)
    structure = _STRING.sub("", text)
    values = structure.count(",") + structure.count("[") + structure.count("{")
    if values > limits.values:
        raise _refused(0, f"it has about {values:,} values, more than the {limits.values:,} that are allowed")
    depth = max(accumulate(map(_STEP.__getitem__, _NOT_BRACKETS.sub("", structure))), default=0)
    if depth > limits.depth:
        raise _refused(0, f"lists and objects are nested {depth:,} deep; {limits.depth} are allowed")
    del structure
    return _loaded(text)


def _decoded(source: str | bytes, limits: Limits) -> str:
    size = len(source)
    if size > limits.size:
        raise _refused(0, f"{size:,} bytes are more than the {limits.size:,} that are allowed")
    if isinstance(source, bytes):
        for mark, told in _OTHER_ENCODINGS:
            if source.startswith(mark):
                raise _refused(1, f"this is not plain UTF-8: {told}")
        if b"\0" in source[:4]:
            raise _refused(1, "this is not UTF-8: it looks like UTF-16 or UTF-32")
        try:
            text = source.decode()
        except UnicodeDecodeError as error:
            line = source.count(b"\n", 0, error.start) + 1
            raise _refused(
                line, f"this is not UTF-8: the byte 0x{source[error.start]:02X} cannot stand here"
            ) from None
    else:
        text = source
        if text.startswith("\ufeff"):
            raise _refused(1, "a byte order mark stands at its beginning (RFC 8259, section 8.1, forbids it)")
        found = _SURROGATE.search(text)
        if found:
            line = text.count("\n", 0, found.start()) + 1
            raise _refused(line, f"U+{ord(found[0]):04X} is half of a character; it cannot be written in UTF-8")
    if not text.strip(" \t\r\n"):
        raise _refused(0, "the source is empty; a JSON object is expected")
    return text


def _loaded(text: str) -> Parsed:
    doubtful = False

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal doubtful
        made = dict(found)
        doubtful |= len(made) != len(found)
        return made

    def number(kind: Any) -> Any:
        def read(digits: str) -> Any:
            nonlocal doubtful
            if len(digits) <= DIGITS:
                try:
                    return _MINUS_ZERO if digits == "-0" else kind(digits)
                except ArithmeticError:  # an exponent that no Decimal holds
                    pass
            doubtful = True
            return kind(1)  # stands for it: the document is refused

        return read

    def constant(_name: str) -> Any:
        nonlocal doubtful
        doubtful = True
        return Decimal(1)

    try:
        value = json.loads(
            text,
            object_pairs_hook=pairs,
            parse_int=number(int),
            parse_float=number(Decimal),
            parse_constant=constant,
        )
    except json.JSONDecodeError as error:
        raise _refused(error.lineno, f"this is not well-formed JSON: {_reason(error)}") from None
    return Parsed(value, text, doubtful)


def _reason(error: json.JSONDecodeError) -> str:
    said = error.msg.removesuffix(" at").removesuffix(" starting at")
    return f"{said[:1].lower()}{said[1:]} (column {error.colno})"


def faults(value: Any, limits: Limits, most: float = MOST) -> list[Problem]:
    """What no document in JSON may have, wherever it stands: text that XML cannot carry, numbers beyond bounds.

    It also makes sure that the rest may follow the values by recursion, whatever they came from.

    :param most: of more than that only so many and one beyond are told.
    :raises Invalid: nested too deep.
    """
    found: list[Problem] = []
    open_: list[tuple[Any, Cell, int]] = [(value, None, 0)]
    while open_ and len(found) <= most:
        current, cell, depth = open_.pop()
        if isinstance(current, dict | list):
            if depth >= limits.depth:
                raise Invalid([Problem(0, "", f"lists and objects are nested more than {limits.depth} deep")], WHAT)
            members = current.items() if isinstance(current, dict) else enumerate(current)
            open_.extend((each, (cell, key), depth + 1) for key, each in members)
        else:
            found.extend(Problem(0, pointer_of(cell), message) for message in _leaf_faults(current))
    return found


def _leaf_faults(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        odd = FORBIDDEN.search(value)
        if odd:
            half = " (half of a character)" if _SURROGATE.match(odd[0]) else ""
            yield f"found U+{ord(odd[0]):04X}{half}; expected what XML can carry too (XML 1.0, section 2.2)"
    elif isinstance(value, int | float | Decimal) and _beyond(value):
        yield f"found a number beyond {LARGEST}, the largest that is read here"


def _beyond(value: int | float | Decimal) -> bool:
    """Whether a number is too large; what is none at all is left to the schema."""
    if isinstance(value, Decimal):
        return value.is_finite() and value.copy_abs() > LARGEST  # abs() would round, and fail at an exponent of 10^9
    return isfinite(value) and abs(value) > LARGEST if isinstance(value, float) else abs(value) > LARGEST


def _refused(line: int, message: str) -> Invalid:
    return Invalid([Problem(line, "", message)], WHAT)
