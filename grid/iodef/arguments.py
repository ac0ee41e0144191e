"""Arguments of `grid.iodef.build`, checked: what is wrong is said with the name of the argument and what to do."""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from component.base.errors import InputError
from grid.iodef.networks import network
from grid.iodef.protocols import NUMBERS
from grid.iodef.text import EXT_VALUE, FORBIDDEN
from grid.iodef.types import DateTime, Language

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?", re.ASCII)
_LANGUAGE = re.compile(r"[A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*", re.ASCII)
_EMAIL = re.compile(r'(?:"[^"\s]+"|[^@\s()<>\[\]:;,\\"]+)@[^@\s()<>;,\\"]+')
_PCHAR = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
_URI = re.compile(
    rf"[A-Za-z][A-Za-z0-9+.-]*://(?:[A-Za-z0-9._~-]+@)?(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::\d{{1,5}})?"
    rf"(?:/(?:{_PCHAR}|/)*)?(?:\?(?:{_PCHAR}|[/?])*)?(?:#(?:{_PCHAR}|[/?])*)?",
    re.ASCII,
)
"""RFC 3986 with a host; what else it allows is rare, and libraries differ on it."""

_MAC = re.compile(r"[0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){5}", re.ASCII)
_LIKE_ADDRESS = re.compile(r"[0-9./]+|[0-9A-Fa-f:./]*:[0-9A-Fa-f:./]*", re.ASCII)
_WIDEST_ZONE = timedelta(hours=14)
"""The largest offset that xs:dateTime knows."""

DOMAIN = "domain-name"
"""The kind of a domain name, as the other kinds are values of Address/@category."""


class Other(str):
    """A value that an enumeration of the standard does not have, on purpose (RFC 7970 §5.1.1)."""


def text(name: str, value: object) -> str:
    """A text that says something and that XML can carry."""
    if not isinstance(value, str):
        raise InputError(f"{name}: found {type(value).__name__}; expected a text.")
    bad = FORBIDDEN.search(value)
    if bad is not None:
        raise InputError(
            f"{name}: the character U+{ord(bad[0]):04X} at position {bad.start()} cannot be written in XML.",
            hint="Remove it, or send the octets as a file in AdditionalData.",
        )
    if not value.strip():
        raise InputError(f"{name}: the text is empty.", hint="Leave the argument out when there is nothing to say.")
    return value


def texts(name: str, values: str | Iterable[str]) -> tuple[str, ...]:
    """One text, or several."""
    if isinstance(values, str):
        return (text(name, values),)
    return tuple(text(f"{name}[{index}]", value) for index, value in enumerate(_several(name, values)))


def choice(name: str, value: str, values: Sequence[str]) -> tuple[str, str | None]:
    """A value of an enumeration as a pair: what the attribute says, and what its ``ext-`` partner says."""
    value = text(name, value)
    if isinstance(value, Other) and EXT_VALUE in values:
        return (EXT_VALUE, str(value)) if value not in values or value == EXT_VALUE else (str(value), None)
    known = [each for each in values if each != EXT_VALUE]
    if value in known:
        return value, None
    near = difflib.get_close_matches(value.lower(), known, n=2, cutoff=0.6)
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Write one of: {', '.join(known)}."
    if EXT_VALUE in values:
        hint += f" For a value of your own write Other({value!r})."
    raise InputError(f"{name}: {value!r} is not one of the values of the standard.", hint=hint)


def moment(name: str, value: datetime) -> DateTime:
    """An instant in the form of the standard; zones that it cannot express become UTC."""
    if not isinstance(value, datetime):
        raise InputError(f"{name}: found {type(value).__name__}; expected a datetime.")
    offset = value.utcoffset()
    if offset is None:
        raise InputError(
            f"{name}: {value.isoformat()} has no time zone, so that it names no instant.",
            hint="Write datetime(…, tzinfo=timezone.utc), or value.astimezone() for the zone of this computer.",
        )
    if abs(offset) > _WIDEST_ZONE or offset.total_seconds() % 60:
        try:
            value = value.astimezone(UTC)
        except OverflowError:
            raise InputError(f"{name}: {value.isoformat()} is outside of the calendar in UTC.") from None
    return DateTime.of(value)


def domain(name: str, value: str, *, qualified: bool = False) -> str:
    """A domain name; internationalized ones in their ASCII form.

    :param qualified: it must have more than one label.
    """
    value = text(name, value).strip()
    ascii_ = value
    if not value.isascii():
        try:
            ascii_ = value.encode("idna").decode()
        except UnicodeError:
            ascii_ = ""
    if (
        not _DOMAIN.fullmatch(ascii_)
        or (qualified and "." not in ascii_.strip("."))
        or ascii_.rstrip(".").rpartition(".")[2].isdigit()
    ):
        raise InputError(f"{name}: {value!r} is not a domain name.", hint="Write it like csirt.example.org.")
    return ascii_


def email(name: str, value: str) -> str:
    """An e-mail address, by its outer form."""
    value = text(name, value).strip()
    if not _EMAIL.fullmatch(value):
        raise InputError(f"{name}: {value!r} is not an e-mail address.", hint="Write it like soc@example.org.")
    return value


def language(name: str, value: str) -> Language:
    """A language tag, by its form (RFC 5646)."""
    value = text(name, value)
    if not _LANGUAGE.fullmatch(value):
        raise InputError(f"{name}: {value!r} is not a language tag.", hint="Write it like en or de-AT.")
    return Language(value)


def is_url(value: str) -> bool:
    """Whether a text is a URL with a host."""
    return _URI.fullmatch(value.strip()) is not None


def places(name: str, values: str | Iterable[object]) -> tuple[tuple[str, str], ...]:
    """Addresses, networks, domain names, URLs and e-mail addresses, each with its kind.

    :returns: pairs of kind and normal form; the kind is a value of Address/@category, or `DOMAIN`. What is there
        twice is there once.
    """
    if isinstance(values, str):
        return (_place(name, values),)
    found = [_place(f"{name}[{index}]", value) for index, value in enumerate(_several(name, values))]
    return tuple(dict.fromkeys(found))


_ADDRESSES = (ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network)


def _place(name: str, value: object) -> tuple[str, str]:
    if isinstance(value, _ADDRESSES):
        value = str(value)
    value = text(name, value).strip()
    if _URI.fullmatch(value):
        return "site-uri", value
    if _MAC.fullmatch(value):
        return "mac", value
    if "@" in value:
        return "e-mail", email(name, value)
    if _LIKE_ADDRESS.fullmatch(value) or "/" in value or ":" in value:
        return _internet(name, value)
    return DOMAIN, domain(name, value)


def _internet(name: str, value: str) -> tuple[str, str]:
    found = network(value)
    if found is None:
        raise InputError(
            f"{name}: {value!r} is not an Internet address or network.",
            hint="Write it like 192.0.2.7, 198.51.100.0/24, 2001:db8::1 or 2001:db8::/32.",
        )
    host = network(value.partition("/")[0])
    if "/" in value and host is not None and host.address != found.address:
        raise InputError(f"{name}: {value!r} has bits beyond its prefix.", hint=f"Did you mean {found}?")
    shown = str(found)
    return f"ipv{found.version}-{'net' if '/' in shown else 'addr'}", shown


def _several(name: str, values: object) -> Iterable[object]:
    if not isinstance(values, Iterable) or isinstance(values, bytes):
        raise InputError(f"{name}: found {type(values).__name__}; expected a list.")
    return values


Ports = int | str | Iterable[int | tuple[int, int]]
"""25, ``"25,8000-8080"`` or ``[25, (8000, 8080)]``."""

_RANGE = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?", re.ASCII)


def ports(values: Ports) -> Sequence[tuple[int, int]]:
    """Ports as ranges, first and last port of each; the argument is called like this."""
    if isinstance(values, int):
        parts: Iterable[object] = (values,)
    else:
        parts = values.split(",") if isinstance(values, str) else _several("ports", values)
    ranges = [_range(part) for part in parts]
    if not ranges:
        raise InputError("ports: the list is empty.", hint="Leave the argument out when no port is known.")
    return ranges


def _range(part: object) -> tuple[int, int]:
    found = _RANGE.fullmatch(part.strip()) if isinstance(part, str) else None
    if found is not None:
        part = (int(found[1]), int(found[2] or found[1]))
    match part:
        case bool() | (bool(), _) | (_, bool()):
            pass
        case int() if 0 <= part <= 65535:
            return part, part
        case (int(first), int(last)) if 0 <= first <= last <= 65535:
            return first, last
    raise InputError(f"ports: {part!r} is not a port or range of ports.", hint="Ports go from 0 to 65535.")


def protocol(value: str | int) -> int:
    """The number of a protocol, given by its name or as it is; the argument is called like this."""
    number = NUMBERS.get(value.lower()) if isinstance(value, str) else value
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= 255:
        known = ", ".join(NUMBERS)
        raise InputError(f"protocol: {value!r} is not known.", hint=f"Write one of {known}, or its number.")
    return number
