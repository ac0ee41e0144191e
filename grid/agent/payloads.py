"""What may be published, as the text of the one element of an item.

========================================== ==============================================================
bytes, or str that begins with ``<``        XML
an element of lxml or the standard library  XML
a document of `grid.iodef`                  IODEF
dict, list, int, float, bool, None          JSON, in XEP-0335's ``<json/>``
any other str                               text, in our ``<text/>``
========================================== ==============================================================

XML is written anew: one spelling, without comments and processing instructions, which XMPP forbids (RFC 6120 §11.1).
"""

from __future__ import annotations

import copy
import json
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias
from xml.sax.saxutils import escape

from lxml import etree

from component.base.errors import StanzagateError
from grid.agent.errors import InvalidPayload
from grid.agent.strip import Path
from grid.iodef import Invalid, Limits, check, dump, parse, plainxml
from grid.iodef.names import V1, V2, split
from grid.ns import GRID, JSON

Payload: TypeAlias = Any
"""One of those of the table above."""

LARGEST = 240_000
"""Bytes of an item. Both servers refuse stanzas of about 256 KiB; more goes another way (`bulk`)."""

_LIMITS = Limits(size=4 * 1024 * 1024, elements=50_000)
_IODEF = frozenset({V1, V2})


class Schemas:
    """Schemas by which payloads are checked before they leave the node."""

    def __init__(self, sources: Mapping[str, bytes] | None = None) -> None:
        self._compiled = {topic: _compiled(topic, source) for topic, source in (sources or {}).items()}

    def check(self, topic: str, root: etree._Element) -> None:
        """:raises InvalidPayload: the topic has a schema here, and the element is not valid."""
        schema = self._compiled.get(topic)
        if schema is not None and not schema.validate(root):
            lines = [f"line {entry.line}: {entry.message}" for entry in list(schema.error_log)[:20]]
            raise InvalidPayload(f"This is not valid by the schema of {topic}; nothing was sent.", details=lines)


def written(topic: str, kind: str, payload: Payload, *, strip: Sequence[Path], schemas: Schemas) -> str:
    """The payload as the text of one element.

    :param kind: namespace of the topic's payloads (``pubsub#type``), or empty when it is not known.
    :raises InvalidPayload: it is not valid, or too large.
    """
    plain = isinstance(payload, (dict, list, int, float, bool, type(None)))
    if plain or (isinstance(payload, str) and not payload.lstrip().startswith("<")):
        if kind in _IODEF:
            raise InvalidPayload(
                f"{topic} carries IODEF in XML; this is {'JSON' if plain else 'text'}.",
                hint="`stanzagate iodef convert` makes XML of IODEF in JSON (RFC 8727).",
            )
        text = _json(payload, strip) if plain else f"<text xmlns='{GRID}'>{escape(_possible(payload))}</text>"
    else:
        text = _xml(topic, kind, payload, strip, schemas)
    size = len(text.encode())
    if size > LARGEST:
        raise InvalidPayload(
            f"The item has {size} bytes, an item may have {LARGEST}; nothing was sent.",
            hint="Servers refuse larger stanzas. Publish where it can be had instead.",
        )
    return text


def _json(value: Any, strip: Sequence[Path]) -> str:
    if strip:
        value = copy.deepcopy(value)
        for path in strip:
            path.of_json(value)
    try:
        made = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidPayload(f"This cannot be written as JSON: {error}.") from None
    return f"<json xmlns='{JSON}'>{escape(_possible(made))}</json>"


def _xml(topic: str, kind: str, payload: Payload, strip: Sequence[Path], schemas: Schemas) -> str:
    try:
        source = _source(payload)
        root = parse(source, limits=_LIMITS).getroot()
        for path in strip:
            path.of_tree(root)
        namespace = split(str(root.tag))[0]
        if kind in _IODEF and namespace != kind:
            raise InvalidPayload(
                f"{topic} carries {kind}; this is {split(str(root.tag))[1]} of the namespace {namespace or '(none)'}."
            )
        if kind in _IODEF or namespace in _IODEF:
            check(plainxml.text(root).encode() if strip else source, limits=_LIMITS)
    except Invalid as error:
        stripped = " after what is stripped was taken out" if strip else ""
        raise InvalidPayload(
            f"{error.message.rstrip('.')}{stripped}; nothing was sent.", details=error.details
        ) from None
    schemas.check(topic, root)
    text = plainxml.text(root)
    if not namespace:  # else it would be taken for an element of XEP-0060 within the item
        name = split(str(root.tag))[1]
        text = f"<{name} xmlns=''{text[len(name) + 1 :]}"
    return text


def _source(payload: Payload) -> bytes:
    if isinstance(payload, (bytes, bytearray)):
        return bytes(payload)
    if isinstance(payload, str):
        return payload.encode()
    if isinstance(payload, etree._ElementTree):
        payload = payload.getroot()
    if isinstance(payload, etree._Element):
        return etree.tostring(payload, encoding="utf-8", with_tail=False)
    if isinstance(payload, ET.Element):
        return bytes(ET.tostring(payload, encoding="utf-8"))
    if hasattr(payload, "incident"):
        return dump(payload)
    raise InvalidPayload(f"{type(payload).__name__} is nothing that can be published.")


def _possible(text: str) -> str:
    bad = next((char for char in text if (char < " " and char not in "\t\n\r") or "\ud800" <= char <= "\udfff"), "")
    if bad or "\ufffe" in text or "\uffff" in text:
        raise InvalidPayload(f"XML, and so XMPP, cannot carry the character {bad or '?'!a}; nothing was sent.")
    return text


def _compiled(topic: str, source: bytes) -> etree.XMLSchema:
    try:
        return etree.XMLSchema(parse(source, limits=_LIMITS))
    except (etree.LxmlError, StanzagateError) as error:
        raise InvalidPayload(f"The schema of {topic} cannot be used: {str(error)[:300]}.") from None
