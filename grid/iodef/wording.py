"""The messages of libxml2's schema validation in our words: what was found, what was expected, where."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from lxml import etree

from grid.iodef.errors import MOST, Problem
from grid.iodef.names import PREFIXES, V1, V2, local, split
from grid.iodef.places import Places
from grid.iodef.text import shortened

_LONGEST = 80
"""Characters of a value that a message shows."""

_TYPES = {
    "dateTime": "a date and time like 2026-11-21T09:00:00Z",
    "Moment": "a date and time like 2026-11-21T09:00:00Z",
    "TimezoneType": "Z or an offset like +01:00, at most 14 hours",
    "PortlistType": "ports and ranges like 22,80,8000-8080",
    "RealType": "a number",
    "PositiveRealType": "a number above 0",
    "PositiveFloatType": "a number above 0",
    "ConfidenceContentType": "a number, or nothing",
    "ConfidenceValueType": "a number, or nothing",
    "integer": "a whole number",
    "float": "a number",
    "double": "a number",
    "positiveInteger": "a whole number above 0",
    "nonNegativeInteger": "a whole number, 0 or more",
    "unsignedShort": "a port from 0 to 65535",
    "boolean": "true or false",
    "anyURI": "a URL",
    "base64Binary": "base64",
    "hexBinary": "pairs of hexadecimal digits",
    "language": "a language tag like en or de-CH",
    "lang": "a language tag like en or de-CH",
    "lang-type": "a language tag like en or de-CH",
    "ID": "an identifier: a letter or _, then letters, digits, . - _; each only once in a document",
    "IDREF": "the identifier of another element",
    "NCName": "a name without colon",
    "NMTOKEN": "one word",
}
"""What a data type accepts, for people."""

_EXPECTED = re.compile(r"Expected is (?:one of )?\( (.*?) \)\.", re.DOTALL)
_SUBJECT = re.compile(r"Element '[^']*'(?:, attribute '([^']*)')?: ", re.DOTALL)
_OTHERS_TYPE = re.compile(
    r"The QName value '.*' of the xsi:type attribute does not resolve|The type definition is absent", re.DOTALL
)
_ENDS = {
    "set": re.compile(r"is not an element of the set \{([^{}]*)\}\.?\s*$", re.DOTALL),
    "pattern": re.compile(r"is not accepted by the pattern '([^']*)'\.?\s*$", re.DOTALL),
    "least": re.compile(r"is less than the minimum value allowed \('([^']*)'\)\.?\s*$", re.DOTALL),
    "most": re.compile(r"is greater than the maximum value allowed \('([^']*)'\)\.?\s*$", re.DOTALL),
    "above": re.compile(r"must be greater than '([^']*)'\.?\s*$", re.DOTALL),
    "below": re.compile(r"must be less than '([^']*)'\.?\s*$", re.DOTALL),
    "length": re.compile(r"(?:minimum|maximum)? ?length of '(\d+)'\.?\s*$", re.DOTALL),
    "fixed": re.compile(r"does not match the fixed value constraint '([^']*)'\.?\s*$", re.DOTALL),
    "type": re.compile(
        r"is not a valid value of the (?:local )?(?:atomic|union|list) type(?: '([^']*)')?\.?\s*$", re.DOTALL
    ),
}
"""How messages on values end. Their beginning repeats the value, which may look like anything."""


def element(found: etree._Element) -> str:
    """An element by its name; with its namespace, when that is none that IODEF uses."""
    namespace, name = (shortened(part, _LONGEST) for part in split(str(found.tag)))
    return f"{name} of the namespace {namespace}" if namespace else f"{name} without namespace"


def shown(value: str) -> str:
    """A value between quotes, cut when it is long; control characters made visible."""
    start = value[: _LONGEST * 4]  # of megabytes nobody needs the rest
    return repr(shortened(" ".join(start.split()) if start.strip() else start, _LONGEST))


def problems(log: Iterable[Any], root: etree._Element) -> list[Problem]:
    """The problems that lxml's log tells of; of more than `MOST` one more.

    :param log: its entries, in the order of the document.
    :param root: of the document; the paths of the entries start there.
    """
    found: list[Problem] = []
    explained: set[str] = set()
    places = Places()
    for entry in log:
        if len(found) > MOST:
            break
        if others_type(entry):
            continue
        subject = _SUBJECT.match(entry.message)
        attribute = (subject[1] or "") if subject else ""
        text = entry.message[subject.end() :] if subject else entry.message
        place = places.find(root, entry.path)
        missing = re.match(r"The attribute '([^']*)' is (required but missing|not allowed)", text)
        named = missing[1] if missing and "allowed" in missing[2] else "" if missing else attribute
        path = places.path(place, named) if place is not None else ""
        if path in explained and _ENDS["type"].search(text):
            continue  # libxml2 says a second time that the value of a facet does not fit
        explained.add(path)
        line = (place.sourceline if place is not None else 0) or entry.line or 0
        found.append(Problem(line, path, _message(text, place, attribute)))
    return found


def others_type(entry: Any) -> bool:
    """Whether libxml2 complains of the ``xsi:type`` of an element that we do not know.

    XML Schema takes such an element as it is, where the content may be anything (part 1, §3.3.4); libxml2 does not,
    and does not look at what is inside.
    """
    return bool(_OTHERS_TYPE.search(entry.message)) and not of_iodef(_tag(entry.message))


def of_iodef(tag: str) -> bool:
    """Whether an element of this Clark name belongs to IODEF or to a standard that it takes in."""
    return split(tag)[0] in {V1, V2, *PREFIXES.values()}


def _tag(message: str) -> str:
    found = re.match(r"Element '([^']*)'", message)
    return found[1] if found else ""


def _message(text: str, place: etree._Element | None, attribute: str) -> str:
    message = _structure(text, place)
    if not message and place is not None:
        value = place.get(attribute, "") if attribute else place.text or ""
        message = _value(text, value)
    return message or shortened(_plain(text), _LONGEST * 4)


_ATTRIBUTE = re.compile(r"The attribute '([^']*)' is (required|not allowed)")
_INSIDE = re.compile(r"(?:Character|Element) content .*?not allowed", re.DOTALL)
_NOT_NIL = re.compile(r"The element is not 'nillable'")


def _structure(text: str, place: etree._Element | None) -> str:
    """What a message on elements and attributes says.

    :param text: only its beginning is libxml2's own for sure: what follows may be a value that looks like anything.
    """
    name = shortened(local(str(place.tag)), _LONGEST) if place is not None else "this"
    attribute = _ATTRIBUTE.match(text)
    if attribute:
        which = shortened(local(attribute[1]), _LONGEST)
        if attribute[2] == "required":
            return f"{name} has no attribute {which}; it is required"
        return f"found the attribute {which}; {name} has none of that name"
    if text.startswith("This element is not expected"):
        what = element(place) if place is not None and _foreign(place) else name
        return f"found {what}; expected {_expected(text) or 'nothing more here'}"
    if text.startswith("Missing child element"):
        return f"{name} is not complete; expected {_expected(text) or 'more'}"
    if text.startswith("No matching global"):
        return f"found {name}; it is not one of the classes of IODEF"
    if _INSIDE.match(text):
        return f"found text or elements in {name}; expected {_allowed(text)}"
    if _NOT_NIL.match(text):
        return f"found xsi:nil; {name} must not be nil"
    return ""


def _allowed(text: str) -> str:
    if "empty" in text:
        return "nothing: it has attributes only"
    return "child elements only" if "element-only" in text else "text only"


_NAMED = 10
"""So many expected elements are named by libxml2 at most."""


def _expected(text: str) -> str:
    """The elements of a message, with prefix where they are of another standard."""
    found = _EXPECTED.search(text)
    names = [_readable(name.strip()) for name in found[1].split(", ") if name.strip()] if found else []
    if len(names) < 2:
        return "".join(names)
    return f"one of: {', '.join(names)}{', …' if len(names) == _NAMED else ''}"


def _value(text: str, value: str) -> str:
    """What a message on a value says.

    :param value: as it stands in the document.
    """
    for kind, end in _ENDS.items():
        told = end.search(text)
        if told:
            return f"found {shown(value)}; expected {_within(kind, told[1] or '')}"
    return ""


_PATTERNS = {
    "[0-5][0-9]": _TYPES["TimezoneType"],
    "\\d+(\\-\\d+)?(,": _TYPES["PortlistType"],
    "INF": _TYPES["float"],
    "[A-Za-z0-9+/=": _TYPES["base64Binary"],
}
"""How the forms are called that a pattern with these characters describes."""


def _within(kind: str, limit: str) -> str:
    """What a data type or one of its facets accepts."""
    if kind == "set":
        values = list(_quoted(limit))
        return f"one of: {', '.join(values)}" if len(values) > 1 else repr(values[0] if values else "")
    if kind == "pattern":
        return next((name for mark, name in _PATTERNS.items() if mark in limit), f"the form {limit}")
    if kind == "type":
        name = local(limit).rpartition(":")[2]
        return _TYPES.get(name, f"a value of the type {name}" if name else "another value")
    bounds = {"least": "{} or more", "most": "{} or less", "above": "more than {}", "below": "less than {}"}
    return (
        bounds[kind].format(limit)
        if kind in bounds
        else "text that is not empty"
        if kind == "length"
        else repr(limit)
    )


def _quoted(values: str) -> Iterator[str]:
    return (found[1] for found in re.finditer(r"'([^']*)'", values))


def _foreign(place: etree._Element) -> bool:
    parent = place.getparent()
    return parent is not None and split(str(parent.tag))[0] != split(str(place.tag))[0]


def _readable(name: str) -> str:
    namespace, short = split(name)
    prefix = next((prefix for prefix, uri in PREFIXES.items() if uri == namespace and prefix != "iodef"), "")
    if short.startswith("##") or short.endswith("*"):
        return "an element of an extension"
    return f"{prefix}:{short}" if prefix else short


def _plain(text: str) -> str:
    return re.sub(r"\{[^}]*\}", "", text).strip()
