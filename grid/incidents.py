"""XEP-0268 at the controller: what nodes tell and ask it about incidents, mapped to the topic of incidents.

======== ================= =========================================================================================
payload  right on IODEF    what becomes of it
======== ================= =========================================================================================
report   publish           an item of the topic
request  publish           an item: whoever subscribes is asked, and a person decides (XEP-0268 §9); nothing is done
                           by itself
response publish           an item
inquiry  read              the result, then what was told of this incident, each as a report of its own (XEP-0268 §4);
                           item-not-found when nothing was, or nothing that the node may see
======== ================= =========================================================================================

A request or response that is meant for one node is sent to that node, not here: the stanza of XEP-0268 names nobody
else. The topic's type is IODEF 2.0, so an incident is converted (`grid.iodef.upgrade`); one that cannot be is refused
with the reason. What was told in this way is remembered as it came, within bounds, to answer inquiries with: it is in
IODEF 1.0, and what was published in 2.0 in the first place may not fit into that.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from xml.etree.ElementTree import Element

from grid import errors
from grid.errors import Refusal
from grid.iodef import codec, incident, v1, v2
from grid.iodef.errors import Invalid
from grid.iodef.incident import Inquiry, Mention, Report, Request, Response
from grid.iodef.upgrade import upgrade
from grid.model import Action, Clearance

TOPIC: Final = "IODEF-1.0"
"""The built-in topic of incidents (contract, section 2)."""

REMEMBERED: Final = 1_000
REMEMBERED_BYTES: Final = 16 * 1024 * 1024
ANSWERS: Final = 10
"""So many reports follow an inquiry."""

_LEVELS: Final[Mapping[str | None, Clearance]] = {
    "public": Clearance.WHITE,
    "need-to-know": Clearance.AMBER,
    "private": Clearance.RED,
    "default": Clearance.RED,
    None: Clearance.RED,  # RFC 5070 §3.2: private is implied
}

Require = Callable[[str, Action, str], object]
"""Raises a `Refusal` unless a bare JID may do something with a topic."""

Publish = Callable[[str, str, str, str], Awaitable[object]]
"""Publish for a node: bare JID, topic, item id, payload as text. Raises a `Refusal` when it is not valid there."""

Note = Callable[[str, str, str, Mapping[str, Any]], None]
"""`component.base.audit.Audit.note`."""


@dataclass(frozen=True, slots=True)
class _Told:
    """Something that a node has told of an incident.

    :ivar payload: a report of it.
    """

    payload: str
    level: Clearance


@dataclass(frozen=True, slots=True)
class _Converted:
    """What a node tells, as it is published, and as it is told to those who inquire.

    :ivar lost: what the record says of it.
    """

    document: str
    report: str
    lost: Mapping[str, Any]


def is_incident(iq: Element) -> bool:
    """Whether a stanza's payload is one of XEP-0268."""
    return len(iq) == 1 and iq[0].tag in incident.KINDS


class Incidents:
    """Takes the payloads of XEP-0268.

    :param require: decides and records, as for every other request.
    :param publish: puts an item into the topic.
    :param note: writes into the audit record.
    :param clearance: what a bare JID may see, or None where the topic does not enforce ``restriction``.
    :ivar handled: by kind and outcome, for the metrics.
    """

    def __init__(
        self,
        *,
        require: Require,
        publish: Publish,
        note: Note,
        clearance: Callable[[str], Clearance | None],
        topic: str = TOPIC,
    ) -> None:
        self.handled: Counter[tuple[str, str]] = Counter()
        self._require = require
        self._publish = publish
        self._note = note
        self._clearance = clearance
        self._topic = topic
        self._told: OrderedDict[str, tuple[tuple[str, str], _Told]] = OrderedDict()  # by item id
        self._bytes = 0

    async def handle(self, jid: str, iq: Element) -> tuple[str, ...]:
        """Do what an IQ with such a payload asks; its answer is an empty result.

        :param jid: bare JID of an active node.
        :returns: payloads to be sent to the sender after the result, each in an IQ of type set.
        :raises Refusal: the answer.
        """
        kind = incident.KINDS[iq[0].tag].element
        try:
            followed = await self._handle(jid, iq)
        except Refusal as refusal:
            self.handled[kind, refusal.condition] += 1
            raise
        self.handled[kind, "done"] += 1
        return followed

    async def _handle(self, jid: str, iq: Element) -> tuple[str, ...]:
        wanted = incident.KINDS[iq[0].tag]
        self._require(jid, Action.READ if wanted is Inquiry else Action.PUBLISH, self._topic)
        if iq.get("type") != wanted.iq_type:
            raise errors.bad_request(f"<{wanted.element}/> comes in an IQ of type {wanted.iq_type}.")
        exchange = await asyncio.to_thread(_read, iq[0])  # a large one takes a third of a second
        if isinstance(exchange, Inquiry):
            return self._inquired(jid, exchange)
        made = await asyncio.to_thread(_converted, exchange)
        item = item_id(jid, exchange)
        await self._publish(jid, self._topic, item, made.document)
        self._remember(item, exchange, made.report)
        detail = {"incident": _shown(exchange.incident.incident_id), "item": item}
        self._note(jid, f"incident.{exchange.element}", self._topic, {**detail, **made.lost})
        return ()

    def _remember(self, item: str, exchange: Report | Request | Response, report: str) -> None:
        told = exchange.incident
        self._forget(item)
        number = (told.incident_id.name, told.incident_id.value)
        self._told[item] = number, _Told(report, _LEVELS.get(told.restriction, Clearance.RED))
        self._bytes += len(report)
        while len(self._told) > REMEMBERED or self._bytes > REMEMBERED_BYTES:
            self._forget(next(iter(self._told)))

    def _forget(self, item: str) -> None:
        _, told = self._told.pop(item, (None, None))
        self._bytes -= len(told.payload) if told is not None else 0

    def _inquired(self, jid: str, inquiry: Inquiry) -> tuple[str, ...]:
        asked = inquiry.incident.incident_id
        may = self._clearance(jid)
        known = [
            told.payload
            for number, told in self._told.values()
            if number == (asked.name, asked.value) and (may is None or told.level <= may)
        ]
        if not known:
            raise errors.item_not_found()
        name = "mention" if isinstance(inquiry.incident, Mention) else "incident"
        detail = {"incident": _shown(asked), "reports": len(known[-ANSWERS:]), "asked_by": name}
        self._note(jid, "item.read", self._topic, detail)
        return tuple(known[-ANSWERS:])


def item_id(jid: str, exchange: Report | Request | Response) -> str:
    """The id of the item for what a node tells: the same for news of the same incident, and never that of another
    node's."""
    number = exchange.incident.incident_id
    parts = (jid, exchange.element, number.name, number.value, number.instance or "")
    return "xep0268-" + hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def with_status(document: v2.Document, status: str | None) -> v2.Document:
    """The document with the status that a report flags; ``updated`` is none of RFC 7970's."""
    if status is None:
        return document
    known = status in ("new", "resolved")
    given: dict[str, Any] = {"status": status} if known else {"status": "ext-value", "ext_status": status}
    return replace(document, incident=tuple(replace(each, **given) for each in document.incident))


def _read(payload: Element) -> incident.Exchange:
    """:raises Refusal: it is not valid."""
    try:
        return incident.parse(payload)
    except Invalid as error:
        info = incident.refusal(error)
        raise Refusal(info.type, info.condition, info.text) from None


def _converted(exchange: Report | Request | Response) -> _Converted:
    """:raises Refusal: IODEF 2.0 cannot say it."""
    try:
        made = upgrade(exchange.incident)
    except Invalid as error:
        raise errors.bad_request(f"{error.message} {error.problems[0]}"[:500]) from None
    report = exchange if isinstance(exchange, Report) else Report(exchange.incident)
    document = codec.dump(with_status(made.document, report.status)).decode()
    lost = {"lost": [str(problem)[:200] for problem in made.losses[:20]]} if made.losses else {}
    return _Converted(document, incident.dump(report).decode(), lost)


def _shown(number: v1.IncidentID) -> str:
    return f"{number.name} {number.value}"[:200]
