"""From bytes to a tree, safely: no DTD, no entities, no network, bounded size and depth (RFC 7970 §9, RFC 7590 in
spirit). libxml2 does the parsing; what it would allow and we do not is refused here, before or right after."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Any

from lxml import etree

from grid.iodef.errors import Invalid, Problem
from grid.iodef.text import shortened

DEPTH = 256
"""Elements within elements; the limit of libxml2 itself. IODEF's own classes reach a dozen; only EventData, Contact,
Incident in Observable and extensions nest at will."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a source may have.

    :ivar size: bytes.
    :ivar elements: and attributes: each takes 100 to 200 bytes of memory, however small it is in the source.
    """

    size: int = 64 * 1024 * 1024
    elements: int = 1_000_000


DEFAULT = Limits()

SAFELY: dict[str, Any] = {
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "dtd_validation": False,
    "huge_tree": False,  # also bounds the length of one text, of names, and of what entities may grow to
    "remove_comments": True,
    "remove_pis": True,
}
"""How a parser for documents of others is made."""

_PARSER = etree.XMLParser(**SAFELY)

_WIDE = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, b"<\0", b"\0")
"""How a source in UTF-16 or UTF-32 begins."""

_ENCODING = re.compile(rb"""\s*<\?xml[^>]{0,200}?\sencoding\s*=\s*["']([^"']*)""")
_ENCODINGS = re.compile(
    rb"utf-?8|utf-?16(le|be)?|(us-)?ascii|iso-8859-\d+|latin-?\d|windows-125\d|cp125\d|koi8-[ru]|shift_jis|euc-(jp|kr)"
    rb"|gb(2312|k|18030)|big5|tis-620",
    re.IGNORECASE,
)
"""Encodings in which tags can be counted: a < is one byte, the same everywhere."""

_EBCDIC = b"\x4c\x6f\xa7\x94"
_ATTRIBUTE = re.compile(rb"""=\s*["']""")

_SMALLEST = len(b"<a/>")
"""Bytes of the smallest element."""

_BEFORE = (b"<?", b"<!--")
"""How that begins which may stand before a DOCTYPE."""


def parse(source: bytes, *, limits: Limits = DEFAULT) -> etree._ElementTree:
    """Parse a document; whether it is an incident is not looked at.

    :param source: XML in an encoding that it declares, or UTF-8 or UTF-16.
    :returns: the tree, without comments and processing instructions.
    :raises Invalid: not well-formed, too large, too deep, a DOCTYPE, or an encoding that does not fit.
    :raises TypeError: `source` is a `str`: its encoding is part of what is parsed.
    """
    refuse_early(source, limits)
    try:
        root = etree.fromstring(source, _PARSER)
    except etree.XMLSyntaxError as error:
        raise _refused(error.lineno or 0, _reason(source, error)) from None
    except (LookupError, ValueError) as error:
        raise _refused(1, f"the encoding cannot be read: {error}") from None
    tree: etree._ElementTree = root.getroottree()
    if tree.docinfo.internalDTD is not None:  # in an encoding that hides it, UTF-7 for example
        raise _refused(1, "a DOCTYPE is not allowed: neither entities nor DTDs are used (restricted XML)")
    return tree


def refuse_early(source: bytes, limits: Limits) -> None:
    """Refuse what need not be parsed for it: too large, or with a DOCTYPE; raises as `parse` does."""
    if isinstance(source, str):
        raise TypeError("the source must be bytes, as they were received; a str can be given as source.encode()")
    if len(source) > limits.size:
        raise _refused(0, f"{len(source):,} bytes are more than the {limits.size:,} that are allowed")
    wide = source.startswith(_WIDE)
    if not wide:
        _refuse_encoding(source)
    plain = source.replace(b"\0", b"") if wide else source
    if len(plain) > limits.elements * _SMALLEST and _elements(plain, limits) > limits.elements:
        raise _refused(0, f"more than the {limits.elements:,} elements and attributes that are allowed")
    if _has_doctype(plain):
        raise _refused(1, "a DOCTYPE is not allowed: neither entities nor DTDs are used (restricted XML)")


def _refuse_encoding(source: bytes) -> None:
    if source.startswith(b"<?xml"):
        if source.startswith(_ORDINARY):
            return
        found = _ENCODING.match(source)
        if found is None or _ENCODINGS.fullmatch(found[1]):
            return
        name = shortened(found[1].decode("ascii", "replace"), 40)
        raise _refused(1, f"the encoding {name!r} is not used for incidents; expected UTF-8 or UTF-16")
    if source.startswith(_EBCDIC):
        raise _refused(1, "the encoding is EBCDIC; expected UTF-8 or UTF-16")


_ORDINARY = (
    b'<?xml version="1.0" encoding="UTF-8"',
    b"<?xml version='1.0' encoding='UTF-8'",
    b'<?xml version="1.0"?>',
)


def _elements(source: bytes, limits: Limits) -> int:
    """How many elements and attributes there are at most; texts may hold what looks like some."""
    signs = source.count(b"<") + source.count(b"=")  # single bytes are counted fast, and mostly that is enough
    if signs <= limits.elements:
        return signs
    return source.count(b"<") - source.count(b"</") + sum(1 for _ in _ATTRIBUTE.finditer(source))


def _has_doctype(source: bytes) -> bool:
    """Whether there is a DOCTYPE before the first tag; comments and texts may hold what looks like one."""
    at = source.find(b"<")
    while source.startswith(_BEFORE, at) and at >= 0:
        after = source.find(b"-->" if source.startswith(b"<!--", at) else b"?>", at)
        at = source.find(b"<", after) if after >= 0 else -1
    return source.startswith(b"<!", at) and at >= 0


_TOO_LONG = re.compile(r"huge text|too long|too big|resource limit|maximum .*size", re.IGNORECASE)


def _reason(source: bytes, error: etree.XMLSyntaxError) -> str:
    if not source.strip():
        return "the source is empty; an XML document is expected"
    text = re.sub(r",? ?line \d+, column \d+.*$", "", error.msg or "not XML", flags=re.DOTALL)
    text = re.sub(r"^xml\w+ ?: ", "", text.partition("\n")[0]).strip(" !")
    if "xcessive depth" in text:
        return f"elements are nested more than {DEPTH} deep"
    if _TOO_LONG.search(text):
        return "one text, attribute, comment or name is longer than 10,000,000 bytes"
    if text[1:2].islower() and not text.startswith("xML"):
        text = text[:1].lower() + text[1:]
    return f"this is not well-formed XML: {shortened(text, 200)}"


def _refused(line: int, message: str) -> Invalid:
    return Invalid([Problem(line, "", message)])
