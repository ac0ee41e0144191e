"""What text of a data type looks like that an attribute ``dtype`` names (RFC 7970 §2.16, RFC 5070 §3.6).

libxml2 checks the data types of elements; what an extension holds has the type that the value of an attribute names.
"""

from __future__ import annotations

import binascii
import re
from calendar import monthrange
from collections.abc import Callable
from urllib.parse import urlsplit

from grid.iodef.text import BLANKS, DATE_TIME

HEX = re.compile(r"(?:[0-9A-Fa-f]{2})*")
PORTS = re.compile(r"\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_REAL = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|-?INF|NaN", re.ASCII)


def _is(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.fullmatch(text.strip(BLANKS)) is not None


def _base64(text: str) -> bool:
    try:
        binascii.a2b_base64("".join(text.split()), strict_mode=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _date_time(text: str) -> bool:
    found = DATE_TIME.fullmatch(text.strip(BLANKS))
    if found is None:
        return False
    digits = found[1].lstrip("-")
    if len(digits) > 4 and digits[0] == "0":
        return False
    year = int(digits[-4:]) % 400 or 400  # those of four hundred years are alike, and Python's calendar ends
    month, day, hour, minute, second = (int(part) for part in found.groups()[1:6])
    if not (1 <= month <= 12 and 1 <= day <= monthrange(year, month)[1] and minute < 60 and second < 60):
        return False
    if hour > 23 and (hour > 24 or minute or second or (found[7] or "").strip("0")):
        return False
    zone = found[8] or "Z"
    return zone == "Z" or zone[1:] == "14:00" or (int(zone[1:3]) < 14 and int(zone[4:6]) < 60)


def _url(text: str) -> bool:
    try:
        urlsplit(text.strip(BLANKS))
    except ValueError:
        return False
    return not re.search(r"\s", text.strip(BLANKS))


FITS: dict[str, tuple[Callable[[str], bool], str]] = {
    "boolean": (lambda text: text.strip(BLANKS) in {"true", "false", "0", "1"}, "true or false"),
    "byte": (_base64, "base64"),
    "bytes": (_is(HEX), "pairs of hexadecimal digits"),
    "character": (lambda text: len(text) == 1 or len(text.strip(BLANKS)) == 1, "one character"),
    "date-time": (_date_time, "a date and time like 2026-11-21T09:00:00Z"),
    "ntpstamp": (_date_time, "a date and time like 2026-11-21T09:00:00Z"),
    "integer": (_is(_INTEGER), "a whole number"),
    "portlist": (_is(PORTS), "ports and ranges like 22,80,8000-8080"),
    "real": (_is(_REAL), "a number"),
    "file": (_base64, "base64"),
    "url": (_url, "a URL"),
    "frame": (_is(HEX), "pairs of hexadecimal digits"),
    "packet": (_is(HEX), "pairs of hexadecimal digits"),
    "ipv4-packet": (_is(HEX), "pairs of hexadecimal digits"),
    "ipv6-packet": (_is(HEX), "pairs of hexadecimal digits"),
}
"""What text of a dtype looks like; other texts are free."""
