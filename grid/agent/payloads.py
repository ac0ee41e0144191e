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
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias
from xml.sax.saxutils import escape

from lxml import etree

from grid import payloads
from grid.agent.errors import InvalidPayload
from grid.agent.strip import Path
from grid.errors import Refusal
from grid.iodef import Invalid, Limits, check, dump, parse, plainxml
from grid.iodef.names import V1, V2, split
from grid.model import Topic
from grid.ns import GRID, JSON

Payload: TypeAlias = Any
"""One of those of the table above."""

LARGEST = 240_000
"""Bytes of an item. Both servers refuse stanzas of about 256 KiB; more goes another way (`bulk`)."""

_LIMITS = Limits(size=4 * 1024 * 1024, elements=50_000)
_IODEF = frozenset({V1, V2})
_IMPOSSIBLE = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that are in no XML document (XML 1.0 §2.2)."""


class Schemas:
    """Schemas by which payloads are checked before they leave the node.

    :param sources: by topic: XML Schema, or JSON Schema in JSON.
    :raises InputError: one is no schema.
    """

    def __init__(self, sources: Mapping[str, bytes] | None = None) -> None:
        self._shared = payloads.Schemas()
        self._topics: dict[str, Topic] = {}
        for topic, source in (sources or {}).items():
            digest = self._shared.add(source)
            schema = self._shared.get(digest)
            if schema is not None:
                self._topics[topic] = Topic(topic, topic, schema=digest, payload=schema.payload)

    def check(self, topic: str, content: bytes) -> None:
        """:raises InvalidPayload: the topic has a schema here, and the payload is not valid."""
        known = self._topics.get(topic)
        if known is None:
            return
        try:
            self._shared.check(known, content)
        except Refusal as error:
            raise InvalidPayload(
                f"This is not valid by the schema of {topic}; nothing was sent.", details=[error.text]
            ) from None


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
        content = _json(payload, strip) if plain else _possible(payload)
        schemas.check(topic, content.encode())
        name, namespace = ("json", JSON) if plain else ("text", GRID)
        text = f"<{name} xmlns='{namespace}'>{escape(content)}</{name}>"
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
    return _possible(made)


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
    text = plainxml.text(root)
    schemas.check(topic, text.encode() if strip else source)
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
    bad = _IMPOSSIBLE.search(text)
    if bad is not None:
        raise InvalidPayload(f"XML, and so XMPP, cannot carry the character {bad[0]!a}; nothing was sent.")
    return text
