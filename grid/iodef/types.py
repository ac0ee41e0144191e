"""The data types of IODEF (RFC 7970 §2, RFC 5070 §2) as Python sees them.

STRING is `str`, INTEGER `int`, REAL `decimal.Decimal` (so that ``10000.00`` stays what it is), BOOLEAN `bool`. The
others are strings that keep the form in which they were written and know what it means. Making one checks nothing:
`grid.iodef.validate` does, for a whole document and with the place.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any

from lxml import etree

from grid.iodef.text import BLANKS, DATE_TIME

_OFFSET = re.compile(r"Z|([+-])(\d\d):([0-5]\d)", re.ASCII)
_PORTS = re.compile(r"(\d+)(?:-(\d+))?", re.ASCII)


class DateTime(str):
    """DATETIME: an instant, or a local time when it names no zone (RFC 7970 §2.7)."""

    @classmethod
    def of(cls, moment: datetime) -> DateTime:
        """The written form of a `datetime`."""
        return cls(moment.isoformat())

    @property
    def moment(self) -> datetime:
        """What Python makes of it; without time zone when none is written. Beyond microseconds it is cut.

        :raises ValueError: not a date that Python's calendar has (it ends with the year 9999).
        """
        found = DATE_TIME.fullmatch(self.strip(BLANKS))
        if found is None:
            raise ValueError(f"{self[:40]!r} is not an xs:dateTime")
        year, month, day, hour, minute, second, fraction, zone = found.groups()
        if len(year) > 4:
            raise ValueError(f"{self[:40]!r} is not of Python's calendar")
        if hour == "24" and (minute, second, (fraction or "").strip("0")) != ("00", "00", ""):
            raise ValueError(f"{self[:40]!r} is not an xs:dateTime: the day ends with 24:00:00")
        text = f"{year}-{month}-{day}T{'00' if hour == '24' else hour}:{minute}:{second}"
        text += f".{(fraction or '0')[:6]:0<6}{zone or ''}"
        moment = datetime.fromisoformat(text)
        try:
            return moment + timedelta(days=1) if hour == "24" else moment
        except OverflowError:
            raise ValueError(f"{self[:40]!r} is after the end of Python's calendar") from None


class Timezone(str):
    """TIMEZONE: ``Z`` or an offset from UTC like ``+01:00`` (RFC 7970 §2.8)."""

    @property
    def offset(self) -> timedelta:
        """The distance from UTC.

        :raises ValueError: not in that form.
        """
        found = _OFFSET.fullmatch(self.strip(BLANKS))
        if found is None:
            raise ValueError(f"{self[:40]!r} is not an offset from UTC")
        sign, hours, minutes = found.groups(default="0")
        distance = timedelta(hours=int(hours), minutes=int(minutes))
        return -distance if sign == "-" else distance


class PortList(str):
    """PORTLIST: ports and ranges of ports, like ``2,5-15,30`` (RFC 7970 §2.9)."""

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """First and last port of each part, both included.

        :raises ValueError: not in that form.
        """
        parts = [_PORTS.fullmatch(part) for part in self.strip(BLANKS).split(",")]
        found = [part for part in parts if part is not None]
        if len(found) < len(parts):
            raise ValueError(f"{self[:40]!r} is not a list of ports")
        return tuple((int(part[1]), int(part[2] or part[1])) for part in found)


class URL(str):
    """URL (RFC 7970 §2.13)."""


class ID(str):
    """ID: unique within the document (RFC 7970 §2.14)."""


class IDRef(str):
    """IDREF: names an `ID` of the same document (RFC 7970 §2.14)."""


class Language(str):
    """A language tag (RFC 5646), as ``xml:lang`` has it."""


class NMToken(str):
    """A token without white space, for enumerations that are kept open."""


class NCName(str):
    """A name without colon."""


class Base64(str):
    """BYTE and BYTE[] (RFC 7970 §2.5.1)."""

    @classmethod
    def of(cls, octets: bytes) -> Base64:
        """The written form of some octets."""
        return cls(base64.b64encode(octets).decode())

    @property
    def octets(self) -> bytes:
        """:raises ValueError: not base64."""
        return base64.b64decode("".join(self.split()), validate=True)


class HexBinary(str):
    """HEXBIN and HEXBIN[] (RFC 7970 §2.5.2)."""

    @classmethod
    def of(cls, octets: bytes) -> HexBinary:
        """The written form of some octets."""
        return cls(octets.hex().upper())

    @property
    def octets(self) -> bytes:
        """:raises ValueError: not pairs of hexadecimal digits."""
        return binascii.unhexlify(self)


@dataclass(frozen=True)
class Foreign:
    """An element that the model does not know, kept whole.

    :ivar xml: the element in canonical form (Canonical XML 1.0) with every namespace declaration that was in force
        at its place, so that prefixes in its content keep their meaning.
    """

    xml: bytes

    @classmethod
    def of(cls, element: etree._Element) -> Foreign:
        """Keep an element; what follows it (its tail) does not belong to it."""
        # a copy of its own first: canonical form of a part would take over xml:* attributes of its ancestors
        alone = etree.fromstring(_octets(element), PLAIN)
        try:
            return cls(etree.tostring(alone, method="c14n"))
        except etree.C14NError:  # a namespace that is a relative URI, as RFC 7970 §5.2 itself has one
            return cls(_octets(alone))

    @property
    def element(self) -> etree._Element:
        """The element, made anew each time: a change to it changes nothing here."""
        return etree.fromstring(self.xml, PLAIN)

    @cached_property
    def tag(self) -> str:
        """Its name in Clark notation."""
        return str(self.element.tag)

    def __reduce__(self) -> tuple[type[Foreign], tuple[bytes]]:
        return type(self), (self.xml,)

    def __copy__(self) -> Foreign:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Foreign:
        return self


def _octets(element: etree._Element) -> bytes:
    return etree.tostring(element, encoding="utf-8", with_tail=False)  # names cannot be escaped as text can


PLAIN = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True)
"""For what has been parsed within limits before."""

LEXICAL: tuple[type[str], ...] = (
    DateTime, Timezone, PortList, URL, ID, IDRef, Language, NMToken, NCName, Base64, HexBinary,
)  # fmt: skip
"""The types whose white space at both ends means nothing."""


_SPECIAL = {"INF": Decimal("Infinity"), "-INF": Decimal("-Infinity"), "NaN": Decimal("NaN")}
"""One object each: what is not a number would not even equal itself."""


def real(text: str) -> Decimal:
    """What xs:float writes, as a number; ``INF`` included."""
    text = text.strip()
    return _SPECIAL.get(text) or Decimal(text)


def real_text(value: Decimal) -> str:
    """The form of a number that xs:float accepts."""
    if value.is_infinite():
        return "INF" if value > 0 else "-INF"
    return "NaN" if value.is_nan() else str(value)
