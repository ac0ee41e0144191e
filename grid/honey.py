"""Honeytokens: topics and items that nobody has a reason to touch (draft-ietf-mile-xmpp-grid-01 §5.3.2).

A honeytoken is found like anything else, or it would attract nobody; so looking at lists raises no alert.
Subscribing to one, reading from it, publishing to it, or asking for such an item by its id does, permitted or not.
Reading all items of an ordinary topic that has such an item among them does not: that is what nodes do.

An access is answered like any other, so that the answer does not give it away.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from enum import StrEnum

from grid.alerts import Alert, AlertKind, Raise
from grid.model import Topic

Items = Mapping[str, Collection[str]]
_NO_ITEMS: Items = {}


class Touch(StrEnum):
    """What somebody does with a topic."""

    DISCOVER = "discover"
    """Lists, service discovery, ``find``, the filter options."""
    SUBSCRIBE = "subscribe"
    READ = "read"
    """Retrieving items, history, an inquiry (XEP-0268)."""
    PUBLISH = "publish"
    """Publishing, or saying that one will; retracting."""
    QUERY = "query"
    """A directed query to its providers."""
    BULK = "bulk"
    CONFIGURE = "configure"
    """Configuring or deleting it, and its affiliations."""


class Honey:
    """Knows the honeytokens.

    :param alert: told of accesses.
    :param items: ids of the items that are honeytokens, by topic, or who gives them each time; that a topic is one
        stands in its record.
    """

    def __init__(self, alert: Raise, items: Items | Callable[[], Items] = _NO_ITEMS) -> None:
        self._alert = alert
        self._items = items if callable(items) else lambda: items

    def touched(
        self, jid: str, touch: Touch, topic: Topic, items: Iterable[str] = (), *, permitted: bool = True
    ) -> bool:
        """Somebody accesses a topic; call it after the decision, permitted or not.

        :param jid: bare JID of who does.
        :param topic: the topic; that of the record also when a subtopic was named.
        :param items: the ids of items that were named.
        :returns: whether an alert was raised.
        """
        if touch is Touch.DISCOVER:
            return False
        known = self._items().get(topic.name)
        named = sorted(set(known).intersection(items)) if known else []
        if not topic.honeytoken and not named:
            return False
        detail: dict[str, object] = {"topic": topic.name, "access": str(touch), "permitted": permitted}
        if named:
            detail["items"] = " ".join(named)
        what = f"the item {named[0]} of {topic.name}" if named else topic.name
        text = f"It touched a honeytoken: {touch} of {what}{'' if permitted else ', which was refused'}."
        self._alert(Alert(AlertKind.HONEYTOKEN, jid, text, detail))
        return True
