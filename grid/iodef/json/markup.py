"""XML inside of strings of JSON: extensions of the type xml, and what RFC 8727 §3.2 has as base64."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from xml.sax.saxutils import escape

from lxml import etree

from grid.iodef.errors import Invalid
from grid.iodef.names import PREFIXES
from grid.iodef.parsing import parse
from grid.iodef.text import FORBIDDEN
from grid.iodef.types import Base64, Foreign

Mixed = tuple[str | Foreign, ...]

_DS = PREFIXES["ds"]
_DECLARATION = re.compile(r"\s*<\?xml\s[^>]*\?>")
_URI = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")
_OCTETS = {"byte", "file"}
"""The types whose content is base64 (RFC 7970 §2.16)."""

_SEQUENCE = b"\x30"
"""How a certificate in DER begins (X.690, section 8.9)."""


def text_of(content: Mixed) -> str:
    """Mixed content as the text of XML: what stands between the tags."""
    return "".join(escape(each, {"\r": "&#13;"}) if isinstance(each, str) else each.xml.decode() for each in content)


def content_of(text: str) -> Mixed:
    """The mixed content that a text of XML stands for; an XML declaration before it is passed over.

    :raises ValueError: not well-formed, or with a DOCTYPE.
    """
    declared = _DECLARATION.match(text)
    if declared:
        text = text[declared.end() :].strip()
    try:
        root = parse(f"<x>{text}</x>".encode()).getroot()
    except Invalid as error:
        raise ValueError(error.problems[0].message) from None
    parts: list[str | Foreign] = [root.text] if root.text else []
    for element in root:
        parts.append(_kept(element))
        if element.tail:
            parts.append(element.tail)
    return tuple(parts)


def _kept(element: etree._Element) -> Foreign:
    try:
        return Foreign.of(element)
    except etree.C14NError:
        raise ValueError("a namespace is a relative URI, which has no canonical form (Canonical XML 1.0)") from None


def is_text(content: Mixed) -> bool:
    """Whether there is no element in it."""
    return all(isinstance(each, str) for each in content)


def plain(content: Sequence[str | Foreign]) -> str:
    """The text of content without elements; of an element, its XML."""
    return "".join(each if isinstance(each, str) else each.xml.decode() for each in content)


def encoded(octets: bytes) -> str:
    """BYTE (RFC 8727 §2.1): base64 without line breaks."""
    return base64.b64encode(octets).decode()


def raw(dtype: str | None, content: Mixed) -> str:
    """RawData as BYTE: base64 of the octets, the text or the XML that it holds.

    :raises ValueError: of a type whose content is base64, and it is not.
    """
    if is_text(content) and dtype in _OCTETS:
        return encoded(Base64(plain(content)).octets)
    return encoded((plain(content) if is_text(content) and dtype != "xml" else text_of(content)).encode())


def raw_data(value: str) -> tuple[str, Mixed]:
    """What BYTE is as RawData, type and content: XML if it is, else text if it is, else octets."""
    try:
        text = base64.b64decode(value).decode()
    except UnicodeDecodeError:
        return "file", (value,)
    try:
        content = content_of(text)
    except ValueError:
        content = ()
    if content and not is_text(content):
        return "xml", content
    if FORBIDDEN.search(text):
        return "file", (value,)
    return "string", (text,) if text else ()


def digest(element: Foreign) -> str | None:
    """The base64 of ds:DigestValue without white space; None when the element holds more than that."""
    node = element.element
    if len(node) or node.attrib:
        return None
    return "".join((node.text or "").split())


def digest_element(value: str) -> Foreign:
    """The ds:DigestValue of some base64."""
    return _ds("DigestValue", text=value)


def signature(name: str, value: str) -> Foreign:
    """An element of XML Signature from BYTE.

    The element itself is expected. Also taken is what others may mean: the URI of an algorithm for ds:DigestMethod
    and ds:CanonicalizationMethod, a certificate in DER for ds:X509Data.

    :param name: of the element, in Clark notation.
    :raises ValueError: something else.
    """
    octets = base64.b64decode(value)
    short = name.rpartition("}")[2]
    if short == "X509Data" and octets.startswith(_SEQUENCE):
        return _ds(short, inner=_ds("X509Certificate", text=value))
    if short.endswith("Method") and _URI.fullmatch(octets):
        return _ds(short, algorithm=octets.decode())
    try:
        element = parse(octets).getroot()
    except Invalid as error:
        raise ValueError(f"the octets are not the element ds:{short}: {error.problems[0].message}") from None
    if element.tag != name:
        raise ValueError(f"the octets are the element {str(element.tag).rpartition('}')[2]}; ds:{short} is expected")
    return _kept(element)


def _ds(name: str, *, text: str = "", algorithm: str = "", inner: Foreign | None = None) -> Foreign:
    made = etree.Element(f"{{{_DS}}}{name}", nsmap={"ds": _DS})
    if algorithm:
        made.set("Algorithm", algorithm)
    if text:
        made.text = text
    if inner is not None:
        made.append(inner.element)
    return Foreign.of(made)
