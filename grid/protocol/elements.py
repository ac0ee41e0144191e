"""Looking at elements, and making text of them, in bounded time and without recursion.

Elements are those of `xml.etree` as a stream's parser makes them: tags are strings. What is not as it should be is
`grid.errors.bad_request`, with a text that says what and where. Such texts name elements, never their content.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from component.base.jid import Jid, JidError, prepare_often
from component.base.stanzas import quote as _quote
from grid.errors import bad_request

XML = "http://www.w3.org/XML/1998/namespace"
DEEPEST = 256
"""Levels of an element that is handed on, as many as of an incident."""
LONGEST_NAME = 1023
"""Characters of a topic's, a service's or a capability's name."""
LONGEST_CERTIFICATE = 16 * 1024
LONGEST_CHAIN = 10
LONGEST_SHOWN = 60

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)
_IMPOSSIBLE = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


def split(tag: str) -> tuple[str, str]:
    """Namespace and local name of a tag or an attribute."""
    namespace, brace, name = tag.rpartition("}")
    return (namespace[1:], name) if brace else ("", tag)


def shown(name: str) -> str:
    """A name for people, not too long."""
    return name if len(name) <= LONGEST_SHOWN else f"{name[:LONGEST_SHOWN]}…"


def called(element: Element) -> str:
    """How a message calls an element."""
    return f"<{shown(split(element.tag)[1])}/>"


def no_words(element: Element) -> None:
    """Refuse text between the children of an element."""
    if _words(element.text) or any(_words(child.tail) for child in element):
        raise bad_request(f"{called(element)} holds text where only elements belong.")


def only_child(element: Element) -> Element:
    """The one child of an element that must have exactly one."""
    if len(element) != 1:
        raise bad_request(f"{called(element)} must hold exactly one element; it holds {len(element)}.")
    no_words(element)
    return element[0]


def text_of(element: Element, *, longest: int = LONGEST_NAME) -> str:
    """The text of an element without children, without white space around it; it must not be empty."""
    if len(element):
        raise bad_request(f"{called(element)} must hold text only.")
    text = (element.text or "").strip()
    if not text:
        raise bad_request(f"{called(element)} must not be empty.")
    if len(text) > longest:
        raise bad_request(f"{called(element)} is too long; the limit is {longest} characters.")
    return text


def jid_of(text: str, where: str) -> Jid:
    """A JID, prepared."""
    try:
        return prepare_often(text)
    except JidError:
        raise bad_request(f"{where} is not a JID.") from None


def bytes_of(element: Element, *, longest: int = LONGEST_CERTIFICATE) -> bytes:
    """What an element holds in base64, which may be broken into lines."""
    text = text_of(element, longest=longest * 2)
    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise bad_request(f"{called(element)} must hold base64 (RFC 4648 §4).") from None
    if not data or len(data) > longest:
        raise bad_request(f"{called(element)} must hold 1 to {longest} bytes.")
    return data


def chain_of(elements: list[Element]) -> tuple[bytes, ...]:
    """Certificates in DER, the own one first."""
    if not 1 <= len(elements) <= LONGEST_CHAIN:
        raise bad_request(f"A chain has 1 to {LONGEST_CHAIN} certificates.")
    return tuple(map(bytes_of, elements))


def time_of(element: Element) -> float:
    """Unix time in seconds of a date and time as in XEP-0082."""
    text = text_of(element, longest=64)
    if _TIME.fullmatch(text):
        try:
            return datetime.fromisoformat(text).timestamp()
        except (ValueError, OverflowError):
            pass
    raise bad_request(f"{called(element)} must hold a date and time with a time zone (XEP-0082).")


def time_text(time: float) -> str:
    """The other way round, in UTC."""
    return datetime.fromtimestamp(time, UTC).isoformat().replace("+00:00", "Z")


def truth(value: str | None, where: str, *, default: bool) -> bool:
    """A boolean of XML Schema."""
    if value is None:
        return default
    known = _TRUTH.get(value.strip())
    if known is None:
        raise bad_request(f"{where} must be true or false.")
    return known


def number(value: str, where: str, *, least: int = 0, most: int = 2**31 - 1) -> int:
    """A whole number in decimal digits."""
    text = value.strip()
    if text.isascii() and text.isdigit() and len(text) <= 10 and least <= int(text) <= most:
        return int(text)
    raise bad_request(f"{where} must be a whole number from {least} to {most}.")


def attributes(**values: str | None) -> str:
    """Serialised attributes with a blank before each; those that are None are left out, ``_`` stands for ``-``."""
    given = ((name.replace("_", "-"), value) for name, value in values.items() if value is not None)
    return "".join(f" {name}='{quote(value)}'" for name, value in given)


def quote(value: str) -> str:
    """A value for an attribute in single quotes; what XML cannot carry becomes U+FFFD."""
    return _quote(_IMPOSSIBLE.sub("\ufffd", value))


def text(value: str) -> str:
    """A value as the text of an element; what XML cannot carry becomes U+FFFD."""
    return escape(_IMPOSSIBLE.sub("\ufffd", value), {"\r": "&#13;"})


def element(name: str, value: str) -> str:
    """An element in the namespace around it, with text."""
    return f"<{name}>{text(value)}</{name}>"


def serialise(element: Element) -> str:
    """The text of an element, complete with its namespaces; its tail is left out.

    Default namespaces are used for elements, so that nothing depends on what stands around it.

    :raises Refusal: bad_request; it is nested more deeply than `DEEPEST`.
    """
    parts: list[str] = []
    _open(parts, element, None)
    stack: list[tuple[Element, Iterator[Element], str]] = [(element, iter(element), split(element.tag)[0])]
    while stack:
        current, children, namespace = stack[-1]
        child = next(children, None)
        if child is not None:
            if len(stack) >= DEEPEST:
                raise bad_request(f"Elements are nested more than {DEEPEST} levels deep.")
            _open(parts, child, namespace)
            stack.append((child, iter(child), split(child.tag)[0]))
            continue
        stack.pop()
        if len(current) or current.text:
            parts.append(f"</{split(current.tag)[1]}>")
        else:
            parts[-1] = parts[-1][:-1] + "/>"
        if stack and current.tail:
            parts.append(text(current.tail))
    return "".join(parts)


def _open(parts: list[str], element: Element, around: str | None) -> None:
    namespace, name = split(element.tag)
    declared = "" if namespace == around else f" xmlns='{quote(namespace)}'"
    attributes = "".join(_attribute(index, key, value) for index, (key, value) in enumerate(element.items()))
    parts.append(f"<{name}{declared}{attributes}>")
    if element.text:
        parts.append(text(element.text))


def _attribute(index: int, key: str, value: str) -> str:
    namespace, name = split(key)
    if not namespace:
        return f" {name}='{quote(value)}'"
    if namespace == XML:
        return f" xml:{name}='{quote(value)}'"
    return f" xmlns:a{index}='{quote(namespace)}' a{index}:{name}='{quote(value)}'"


def _words(value: str | None) -> bool:
    return value is not None and bool(value.strip())
