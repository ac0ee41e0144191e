"""The messages of libxml2's schema validation in our words: what was found, what was expected, where."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from lxml import etree

from grid.iodef.errors import Problem, path_of
from grid.iodef.names import PREFIXES, V1, V2, local, split

_LONGEST = 80
"""Characters of a value that a message shows."""

_TYPES = {
    "dateTime": "a date and time like 2026-11-21T09:00:00Z",
    "Moment": "a date and time like 2026-11-21T09:00:00Z",
    "TimezoneType": "Z or an offset like +01:00, at most 14 hours",
    "PortlistType": "ports and ranges like 22,80,8000-8080",
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
    "ID": "an identifier: a letter or _, then letters, digits, . - _; each only once in a document",
    "IDREF": "the identifier of another element",
    "NCName": "a name without colon",
    "NMTOKEN": "one word",
}
"""What a data type accepts, for people."""

_EXPECTED = re.compile(r"Expected is (?:one of )?\( (.*?) \)\.", re.DOTALL)
_FACET = re.compile(r"\[facet '(\w+)'\] The value '(.*?)' (.*)", re.DOTALL)
_SET = re.compile(r"is not an element of the set \{(.*)\}", re.DOTALL)
_ATOMIC = re.compile(r"'(.*)' is not a valid value of the (?:\w+ )?(?:atomic|union|list) type '(.*?)'", re.DOTALL)
_FIXED = re.compile(r"The value '(.*)' does not match the fixed value constraint '(.*)'", re.DOTALL)
_OTHERS_TYPE = re.compile(
    r"The QName value '.*' of the xsi:type attribute does not resolve|The type definition is absent", re.DOTALL
)
_SUBJECT = re.compile(r"Element '(?:[^']*)'(?:, attribute '([^']*)')?: ", re.DOTALL)


def element(found: etree._Element) -> str:
    """An element by its name; with its namespace, when that is none that IODEF uses."""
    namespace, name = split(str(found.tag))
    return f"{name} of the namespace {namespace}" if namespace else f"{name} without namespace"


def shown(value: str) -> str:
    """A value between quotes, cut when it is long; control characters made visible."""
    text = " ".join(value.split()) if value.strip() else value
    return repr(text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…")


def problems(log: Iterable[Any], root: etree._Element) -> list[Problem]:
    """The problems that lxml's log tells of.

    :param log: its entries, in the order of the document.
    :param root: of the document; the paths of the entries start there.
    """
    found: list[Problem] = []
    explained: set[str] = set()
    prefixes: dict[str, str] = {}
    for entry in log:
        if _OTHERS_TYPE.search(entry.message) and not _of_iodef(entry.message):
            continue  # the type of an element that we do not know: XML Schema takes it as it is, libxml2 does not
        subject = _SUBJECT.match(entry.message)
        attribute = subject[1] or "" if subject else ""
        text = entry.message[subject.end() :] if subject else entry.message
        if entry.path and ":" in entry.path and not prefixes:
            prefixes = _prefixes(root)
        place = _at(entry.path, root, prefixes)
        path = path_of(place, attribute) if place is not None else ""
        missing = re.match(r"The attribute '(.*?)' (is required but missing|is not allowed)", text)
        if missing and place is not None:
            path = path_of(place, missing[1]) if "allowed" in missing[2] else path_of(place)
        if path in explained and _ATOMIC.match(text):
            continue  # libxml2 says a second time that the value of a facet does not fit
        explained.add(path)
        line = (place.sourceline if place is not None else 0) or entry.line or 0
        found.append(Problem(line, path, _message(text, place)))
    return found


def _prefixes(root: etree._Element) -> dict[str, str]:
    """The prefixes that libxml2's paths use: those of the document."""
    return {prefix: uri for element in root.iter() for prefix, uri in element.nsmap.items() if prefix}


def _at(path: str | None, root: etree._Element, prefixes: dict[str, str]) -> etree._Element:
    if not path:
        return root
    try:
        found = root.getroottree().xpath(path, namespaces=prefixes or None)
    except etree.XPathError:
        return root
    return found[0] if isinstance(found, list) and found and isinstance(found[0], etree._Element) else root


def _of_iodef(message: str) -> bool:
    return any(f"Element '{{{uri}}}" in message for uri in (V1, V2, *PREFIXES.values()))


def _message(text: str, place: etree._Element | None) -> str:
    for told in (_structure, _value):
        message = told(text, place)
        if message:
            return message
    return _plain(text)


def _structure(text: str, place: etree._Element | None) -> str:
    expected = _EXPECTED.search(text)
    wanted = f"; expected {_names(expected[1], place)}" if expected else ""
    name = local(str(place.tag)) if place is not None else "this"
    attribute = re.match(r"The attribute '(.*?)' (is required|is not allowed)", text)
    if attribute and "required" in attribute[2]:
        return f"{name} has no attribute {local(attribute[1])}; it is required"
    if attribute:
        return f"found the attribute {local(attribute[1])}; {name} has none of that name"
    if text.startswith("This element is not expected"):
        what = element(place) if place is not None and _foreign(place) else name
        return f"found {what}{wanted or '; expected nothing more here'}"
    if text.startswith("Missing child element"):
        return f"{name} is not complete{wanted}"
    if "No matching global" in text:
        return f"found {name}; it is not one of the classes of IODEF"
    if _INSIDE.search(text):
        return f"found text or elements in {name}; expected {_allowed(text)}"
    return ""


_INSIDE = re.compile(r"(?:character|element) content .*?not allowed", re.IGNORECASE)


def _allowed(text: str) -> str:
    if "empty" in text:
        return "nothing: it has attributes only"
    return "child elements only" if "element-only" in text else "text only"


def _value(text: str, _place: etree._Element | None) -> str:
    facet = _FACET.match(text)
    if facet and (values := _SET.search(facet[3])):
        return f"found {shown(facet[2])}; expected one of: {', '.join(_quoted(values[1]))}"
    if facet:
        return f"found {shown(facet[2])}; expected {_within(facet[1], facet[3])}"
    length = re.match(r"\[facet '(?:min)?[lL]ength'\]", text)
    if length:
        return "found no text; expected some"
    fixed = _FIXED.match(text)
    if fixed:
        return f"found {shown(fixed[1])}; expected {fixed[2]!r}"
    atomic = _ATOMIC.match(text)
    if atomic:
        kind_name = local(atomic[2]).rpartition(":")[2]
        return f"found {shown(atomic[1])}; expected {_TYPES.get(kind_name, 'a value of the type ' + kind_name)}"
    return ""


_PATTERNS = {
    "[0-5][0-9]": _TYPES["TimezoneType"],
    "\\d+(\\-\\d+)?(,": _TYPES["PortlistType"],
    "INF": _TYPES["float"],
}
"""How the forms are called that a pattern with these characters describes."""


def _within(facet: str, told: str) -> str:
    """What a facet of a data type accepts."""
    bound = re.search(r"'([^']*)'", told)
    limit = bound[1] if bound else ""
    if facet == "minLength":
        return "text that is not empty"
    if facet in {"minExclusive", "maxExclusive"}:
        return f"{'more' if facet.startswith('min') else 'less'} than {limit}"
    if facet in {"minInclusive", "maxInclusive"}:
        return f"{limit} or {'more' if facet.startswith('min') else 'less'}"
    return next((name for mark, name in _PATTERNS.items() if mark in told), f"the form {limit}")


def _quoted(values: str) -> Iterator[str]:
    return (found[1] for found in re.finditer(r"'([^']*)'", values))


def _foreign(place: etree._Element) -> bool:
    parent = place.getparent()
    return parent is not None and split(str(parent.tag))[0] != split(str(place.tag))[0]


def _names(names: str, place: etree._Element | None) -> str:
    """The names of a list of expected elements, with prefix where they are of another standard."""
    parts = [name.strip() for name in names.split(", ")]
    readable = [_readable(name) for name in parts if name]
    return readable[0] if len(readable) == 1 else f"one of: {', '.join(readable)}"


def _readable(name: str) -> str:
    namespace, short = split(name)
    prefix = next((prefix for prefix, uri in PREFIXES.items() if uri == namespace and prefix != "iodef"), "")
    if short.startswith("##") or short.endswith("*"):
        return "an element of an extension"
    return f"{prefix}:{short}" if prefix else short


def _plain(text: str) -> str:
    return re.sub(r"\{[^}]*\}", "", text).strip()
