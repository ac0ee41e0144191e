"""Directed queries (§2.6 of the draft) and XEP-0268: what other nodes ask this one, and whether they may.

Whoever answers is responsible for enforcing the authorization (§2.4.3): the controller is asked first, and its
decision kept for a moment. When it cannot be had, nothing is answered.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeAlias
from xml.etree.ElementTree import Element

from grid import ns
from grid.agent import stanzas
from grid.agent.errors import AgentError
from grid.errors import Refusal
from grid.iodef import Invalid, incident
from grid.model import Action
from grid.protocol import errors as stanza_errors
from grid.protocol.answers import wrap
from grid.protocol.elements import serialise
from grid.protocol.requests import CAPABILITY

log = logging.getLogger(__name__)

REMEMBERED_SECONDS = 5.0
REMEMBERED = 10_000
AT_ONCE = 100
INCIDENTS = "IODEF-1.0"
"""Whoever sends an incident must have the right to write to this."""

_GRID = f"{{{ns.XGRID}}}grid"


@dataclass(frozen=True, slots=True)
class Question:
    """A directed query.

    :ivar sender: full JID of who asks.
    :ivar name: local name of the request.
    :ivar element: the request.
    :ivar changes: it came as an IQ of type set.
    """

    sender: str
    name: str
    element: Element
    changes: bool


Reply: TypeAlias = Element | str
Handler = Callable[[Question], Awaitable[Reply]]
IncidentHandler = Callable[[incident.Exchange, str], Awaitable[None]]
Decide = Callable[[str, Action, str], Awaitable[bool]]
"""Whether a full JID may do something with a service."""


class Decisions:
    """What the controller has said a moment ago.

    :param decide: asks it.
    """

    def __init__(self, decide: Decide, clock: Callable[[], float] = time.monotonic) -> None:
        self._decide = decide
        self._clock = clock
        self._known: OrderedDict[tuple[str, Action, str], tuple[float, bool]] = OrderedDict()

    async def permitted(self, jid: str, action: Action, service: str) -> bool:
        """Whether a node may do something.

        :raises AgentError: nobody could say.
        """
        key = (stanzas.bare(jid), action, service)
        known = self._known.get(key)
        if known is not None and known[0] > self._clock():
            return known[1]
        permitted = await self._decide(*key)
        self._known[key] = (self._clock() + REMEMBERED_SECONDS, permitted)
        self._known.move_to_end(key)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return permitted

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()


class Questions:
    """
    :param send: sends a stanza.
    :param spawn: starts a task.
    :param controller: its JID, if there is one: it hands on only what others may tell.
    """

    def __init__(
        self,
        decisions: Decisions,
        send: Callable[[str], None],
        spawn: Callable[[str, Coroutine[Any, Any, None]], object],
        controller: str | None = None,
    ) -> None:
        self._controller = controller
        self._decisions = decisions
        self._send = send
        self._spawn = spawn
        self._handlers: dict[str, tuple[Handler, str]] = {}
        self._incidents: IncidentHandler | None = None
        self._running = 0

    def answer(self, name: str, handler: Handler, service: str) -> None:
        """Have `handler` answer queries of this name, for those who may read (or write) `service`."""
        self._handlers[name] = (handler, service or name)

    def incidents(self, handler: IncidentHandler) -> None:
        """Have `handler` take what XEP-0268 sends."""
        self._incidents = handler

    def take(self, iq: Element, handled: Callable[[], None]) -> None:
        """Answer an IQ of type get or set."""
        if self._running >= AT_ONCE:
            handled()
            self._error(iq, Refusal("wait", "resource-constraint", "Too many questions at once."))
            return
        self._running += 1
        self._spawn("question", self._answered(iq, handled))

    async def _answered(self, iq: Element, handled: Callable[[], None]) -> None:
        try:
            content = await self._content(iq)
        except Refusal as error:
            self._error(iq, error)
        except AgentError as error:
            log.warning("A question of %s is not answered: %s", iq.get("from"), error)
            self._error(iq, Refusal("wait", "remote-server-timeout", "The controller does not say whether you may."))
        except Exception:
            log.exception("A question of %s could not be answered.", iq.get("from"))
            self._error(iq, Refusal("wait", "internal-server-error"))
        else:
            self._send(stanza_errors.result(iq, content))
        finally:
            self._running -= 1
            handled()

    async def _content(self, iq: Element) -> str:
        payload = next(iter(iq), None)
        unknown = Refusal("cancel", "service-unavailable")
        if payload is None:
            raise unknown
        if payload.tag == f"{{{ns.PING}}}ping":
            return ""
        if payload.tag in incident.KINDS and self._incidents is not None:
            return await self._incident(iq, payload, self._incidents)
        asked = payload[0] if payload.tag == _GRID and len(payload) == 1 else None
        handler, service = self._handlers.get("" if asked is None else asked.tag.rpartition("}")[2], (None, ""))
        if asked is None or handler is None:
            raise unknown
        changes = iq.get("type") == "set"
        sender = iq.get("from", "")
        await self._check(sender, Action.WRITE if changes else Action.READ, service)
        reply = await handler(Question(sender, asked.tag.rpartition("}")[2], asked, changes))
        return wrap(CAPABILITY, reply if isinstance(reply, str) else serialise(reply))

    async def _incident(self, iq: Element, payload: Element, handler: IncidentHandler) -> str:
        sender = iq.get("from", "")
        if self._controller is None or not stanzas.same(sender, self._controller):
            await self._check(sender, Action.WRITE, INCIDENTS)
        try:
            exchange = incident.parse(payload)
        except Invalid as error:
            info = incident.refusal(error)
            raise Refusal(info.type, info.condition, info.text) from None
        if iq.get("type") != exchange.iq_type:
            raise Refusal("modify", "bad-request", f"<{exchange.element}/> comes as {exchange.iq_type}.")
        await handler(exchange, sender)
        return ""

    async def _check(self, sender: str, action: Action, service: str) -> None:
        if not await self._decisions.permitted(sender, action, service):
            raise Refusal("auth", "forbidden")

    def _error(self, iq: Element, refusal: Refusal) -> None:
        self._send(stanza_errors.refuse(iq, refusal))
