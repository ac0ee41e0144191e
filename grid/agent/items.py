"""What a subscriber gets: items, read from pubsub events (XEP-0060 §7.1.2), each once."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element, tostring

from grid.ns import DELAY, GRID, JSON, PUBSUB_EVENT

if TYPE_CHECKING:
    from grid.iodef import v1, v2

_EVENT = f"{{{PUBSUB_EVENT}}}event"
_ITEM = f"{{{PUBSUB_EVENT}}}item"
_RETRACT = f"{{{PUBSUB_EVENT}}}retract"

REMEMBERED = 50_000
"""Items that are recognised when they come again; an entry takes about 200 bytes."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a topic.

    :ivar topic: name of the topic, or of its subtopic.
    :ivar id: the item's id; empty when the broker gives none.
    :ivar payload: its content; None for a retraction or an empty item.
    :ivar publisher: JID of the publisher when the broker tells it, else empty.
    :ivar delayed: when it was published (XEP-0203), if it waited at the server; else empty.
    :ivar retracted: the item was withdrawn.
    """

    topic: str
    id: str
    payload: Element | None = None
    publisher: str = ""
    delayed: str = ""
    retracted: bool = False

    @property
    def xml(self) -> bytes:
        """The payload as XML in UTF-8; empty when there is none."""
        return b"" if self.payload is None else bytes(tostring(self.payload, encoding="utf-8", xml_declaration=False))

    @property
    def json(self) -> Any:
        """The value of an XEP-0335 ``<json/>`` payload.

        :raises ValueError: it is none.
        """
        if self.payload is None or self.payload.tag != f"{{{JSON}}}json":
            raise ValueError(f"Item {self.id} of {self.topic} is not JSON.")
        return json.loads(self.payload.text or "")

    @property
    def is_text(self) -> bool:
        """Whether the payload is text, as the agent publishes it."""
        return self.payload is not None and self.payload.tag == f"{{{GRID}}}text"

    @property
    def text(self) -> str:
        """All text of the payload."""
        return "" if self.payload is None else "".join(self.payload.itertext())

    @property
    def iodef(self) -> v2.Document | v1.Document:
        """The incident document that it holds.

        :raises grid.iodef.Invalid: it holds none, or one that is not valid.
        """
        from grid import iodef  # noqa: PLC0415  large; most topics carry something else

        return iodef.load(self.xml)


@dataclass(frozen=True, slots=True)
class Gone:
    """A topic, or the subscription of it, is no more.

    :ivar reason: for people.
    :ivar delayed: it was so when the node was away; the topic may be there again.
    """

    topic: str
    reason: str
    delayed: bool = False


def read(message: Element) -> Iterator[Item | Gone]:
    """What a message of the broker says."""
    event = message.find(_EVENT)
    if event is None:
        return
    delayed = next((found.get("stamp", "") for found in message.iter(f"{{{DELAY}}}delay")), "")
    for part in event:
        kind, topic = part.tag.rpartition("}")[2], part.get("node", "")
        if kind == "items":
            for entry in part:
                if entry.tag == _ITEM:
                    payload = next(iter(entry), None)
                    yield Item(topic, entry.get("id", ""), payload, entry.get("publisher", ""), delayed)
                elif entry.tag == _RETRACT:
                    yield Item(topic, entry.get("id", ""), delayed=delayed, retracted=True)
        elif kind == "delete":
            yield Gone(topic, "the topic was deleted", bool(delayed))
        elif kind == "subscription" and part.get("subscription") == "none":
            yield Gone(topic, "the subscription was taken away", bool(delayed))


class Seen:
    """Recognises items that come again. An item that was published anew with other content is not one.

    :param limit: how many are remembered, the latest.
    """

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        self._known: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def again(self, item: Item) -> bool:
        """Whether this item was here before; it is remembered."""
        if not item.id:
            return False
        key, digest = (item.topic, item.id), _digest(item)
        if self._known.get(key) == digest:
            self._known.move_to_end(key)
            return True
        self._known[key] = digest
        self._known.move_to_end(key)
        if len(self._known) > self._limit:
            self._known.popitem(last=False)
        return False


def _digest(item: Item) -> bytes:
    """Equal for equal content, whatever prefixes and declarations the server writes."""
    if item.payload is None:
        return b"retracted" if item.retracted else b""
    made = hashlib.blake2b(digest_size=16)
    for element in item.payload.iter():
        parts = (element.tag, *(f"{name}={value}" for name, value in sorted(element.items())))
        made.update(
            repr((parts, element.text or "", len(element), element.tail or "")).encode("utf-8", "surrogatepass")
        )
    return made.digest()


@dataclass(slots=True)
class Delivery:
    """An item on its way to its consumers: the server is told once all of them are done with it."""

    item: Item
    handled: Callable[[], None]
    consumers: int = field(default=0)

    def done(self) -> None:
        """A consumer is done."""
        self.consumers -= 1
        if self.consumers <= 0:
            self.handled()
