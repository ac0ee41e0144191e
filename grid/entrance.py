"""Where stanzas come in: from nodes straight to the controller, or by the plugin on the pubsub host.

Each request is answered exactly once, with what it asked for or with an error of the contract's table (section 5).
"""

from __future__ import annotations

import logging
from collections import Counter
from xml.etree.ElementTree import Element

from component.base.enforcement import NotConfirmed
from component.base.errors import Conflict, InputError, NotFound, StanzagateError
from component.base.jid import Jid, JidError, prepare_often
from component.base.link import Link
from component.base.stanzas import IQ, quote
from grid import errors
from grid.admission import Admission
from grid.broker import Broker
from grid.desk import Desk
from grid.errors import Refusal
from grid.incidents import Incidents, is_incident
from grid.protocol import delegation
from grid.protocol.draft import is_draft, read_draft
from grid.protocol.errors import refuse, result
from grid.protocol.requests import DirectedQuery
from grid.queues import Queues
from grid.settings import GridSettings

log = logging.getLogger(__name__)

FOLLOWING_SECONDS = 10.0
LARGEST_ANSWER = 450_000
"""Bytes of an answer's content; with what stands around it, below `component.base.link.LARGEST`."""


class Request:
    """An iq of a node, and the way back.

    :ivar iq: as the node wrote it.
    :ivar jid: its sender, prepared.
    :ivar broker: whether it was addressed to the broker.
    :ivar kind: what it asks, once that is known.
    """

    def __init__(self, link: Link, outer: Element, iq: Element, jid: Jid, *, broker: bool) -> None:
        self._link = link
        self._outer = outer
        self.iq = iq
        self.jid = jid
        self.broker = broker
        self.kind = "unread"

    def answer(self, content: str) -> None:
        """Answer with a result.

        :raises Refusal: resource-constraint: it is larger than a server takes from a component.
        """
        if len(content) > LARGEST_ANSWER // 4 and len(content.encode()) > LARGEST_ANSWER:
            raise errors.resource_constraint("The result is too large; ask for less of it (XEP-0059).")
        write = delegation.wrap_answer if self.broker else result
        self._link.send(write(self._outer, content))

    def refuse(self, refusal: Refusal) -> None:
        """Answer with an error."""
        write = delegation.wrap_refusal if self.broker else refuse
        self._link.send(write(self._outer, refusal))


class Entrance:
    """Takes requests, has them answered in order.

    :ivar draining: the service is stopping: nothing new is taken.
    :ivar outcomes: how many requests ended how, by kind of request and outcome.
    """

    def __init__(
        self,
        settings: GridSettings,
        link: Link,
        *,
        admission: Admission,
        desk: Desk,
        broker: Broker,
        incidents: Incidents,
        queues: Queues,
    ) -> None:
        self._settings = settings
        self._link = link
        self._admission = admission
        self._desk = desk
        self._broker = broker
        self._incidents = incidents
        self._queues = queues
        self.draining = False
        self.outcomes: Counter[tuple[str, str]] = Counter()

    def handle(self, stanza: Element) -> bool:
        """Take a stanza to the controller.

        :returns: whether it was taken; what is left are questions about the controller's software.
        """
        if stanza.tag != IQ:
            return True  # messages and presence to the controller mean nothing
        if stanza.get("type") not in ("get", "set"):
            return True
        try:
            request = self._read(stanza)
        except JidError:
            self._link.send(refuse(stanza, errors.bad_request("The sender's address is malformed.")))
            return True
        except Refusal as refusal:
            self._link.send(refuse(stanza, refusal))
            return True
        if request is None:
            return False
        self._take(request)
        return True

    def _read(self, stanza: Element) -> Request | None:
        """The request in a stanza; None when it is not for the grid.

        :raises JidError: its sender cannot be read.
        :raises Refusal: it is malformed.
        """
        if stanza.get("from") == self._settings.pubsub:
            if not delegation.is_delegated(stanza):
                return None
            inner = delegation.unwrap(stanza)
            return Request(self._link, stanza, inner, prepare_often(inner.get("from", "")), broker=True)
        if stanza.get("to") != self._link.jid or not _is_known(stanza):
            return None
        return Request(self._link, stanza, stanza, prepare_often(stanza.get("from", "")), broker=False)

    def _take(self, request: Request) -> None:
        try:
            if self.draining:
                raise errors.later("The controller is stopping.")
            self._admission.check(request.jid)
            if not self._queues.add(request.jid.bare, lambda: self._serve(request)):
                raise errors.resource_constraint("Too many requests wait for an answer.")
        except Refusal as refusal:
            self._refuse(request, refusal)

    async def _serve(self, request: Request) -> None:
        """Answer a request; one that a provider has to answer holds up nothing else of the same sender."""
        if not _is_query(request):
            await self._settle(request)
        elif not self._queues.aside(request.jid.bare, lambda: self._settle(request)):
            self._refuse(request, errors.resource_constraint("Too many queries wait for an answer."))

    async def _settle(self, request: Request) -> None:
        try:
            content, following = await self._content(request)
            request.answer(content)
        except Refusal as refusal:
            self._refuse(request, refusal)
        except NotConfirmed as error:
            log.warning("%s of %s is not carried out everywhere yet: %s", request.kind, request.jid, error)
            self._refuse(request, errors.later("It is not carried out everywhere yet."))
        except (InputError, Conflict, NotFound) as error:
            self._refuse(request, _refusal(error))
        except StanzagateError as error:
            log.warning("%s of %s failed: %s", request.kind, request.jid, error)
            self._refuse(request, errors.later())
        except Exception:  # a defect of ours must not leave a node without an answer
            log.exception("%s of %s failed.", request.kind, request.jid)
            self._refuse(request, errors.later())
        else:
            self.outcomes[request.kind, "result"] += 1
            for payload in following:
                self._follow(request.jid, payload)

    def _follow(self, jid: Jid, payload: str) -> None:
        """Send what belongs to an answer in a stanza of its own; whether it is taken is the node's affair."""
        timeout = FOLLOWING_SECONDS
        self._link.request(jid.full, payload, _nobody_waits, timeout=timeout, sender=self._link.jid, kind="set")

    async def _content(self, request: Request) -> tuple[str, tuple[str, ...]]:
        """The content of the answer, and of what follows it in stanzas of its own."""
        jid, iq = request.jid, request.iq
        if not request.broker and is_draft(iq):
            draft = read_draft(iq)
            request.kind = type(draft).__name__
            return await self._desk.answer(jid, draft), ()
        if not request.broker and is_incident(iq):
            request.kind = "Incident"
            await self._admission.active(jid)
            await self._desk.log_in(jid)
            return "", await self._incidents.handle(jid.bare, iq)
        request.kind = Broker.kind(iq)
        return await self._broker.answer(jid, iq), ()

    def _refuse(self, request: Request, refusal: Refusal) -> None:
        self.outcomes[request.kind, refusal.condition] += 1
        request.refuse(refusal)

    def tell(self, jid: str, content: str) -> None:
        """Send a node, or one session of it, a headline: nothing of it is stored for later (RFC 6121 §5.2.2)."""
        self._link.send(f"<message type='headline' from='{self._link.jid}' to='{quote(jid)}'>{content}</message>")


def _is_query(request: Request) -> bool:
    if request.broker or not is_draft(request.iq):
        return False
    try:
        return isinstance(read_draft(request.iq), DirectedQuery)
    except Refusal:
        return False


def _is_known(iq: Element) -> bool:
    return is_draft(iq) or Broker.knows(iq) or is_incident(iq)


def _refusal(error: StanzagateError) -> Refusal:
    """What a registry says of a request, as a stanza error."""
    if isinstance(error, NotFound):
        return errors.item_not_found()
    return errors.conflict(error.message) if isinstance(error, Conflict) else errors.bad_request(error.message)


def _nobody_waits(_answer: object) -> None:
    """What follows an answer is for the node to take or leave."""
