"""What can go wrong for a node, each with what to do about it.

::

    AgentError
    ├─ NotConnected         the server is away, or there is no answer in time      (exit code 3)
    │  └─ Unconfirmed       sent, but nobody said that it arrived: repeat it with the same item id
    ├─ UntrustedServer      the server's certificate is not trusted, or not the pinned one; nothing was sent
    ├─ LoginRefused         the server does not accept the certificate or the password
    ├─ InvalidPayload       not valid by the topic's schema; nothing was sent       (exit code 2)
    ├─ SubscriptionEnded    the topic is gone, or the subscription was taken away
    ├─ Overrun              a consumer was too slow, and its queue full
    └─ Refused              the controller, the broker or another node said no
       └─ NotRegistered, Pending, NotAuthorized, Forbidden, NoSuchTopic, Conflict, NotAcceptable, LimitReached,
          BadRequest
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from component.base.errors import StanzaErrorInfo, StanzagateError
from grid.protocol.errors import is_pending, read_refusal


class AgentError(StanzagateError):
    """Something that the agent was asked for did not happen."""


class NotConnected(AgentError):
    """The server cannot be reached, or did not answer in time."""

    exit_code = 3


class Unconfirmed(NotConnected):
    """What was sent may have arrived or not. A publish with the same item id is safe to repeat."""


class UntrustedServer(AgentError):
    """The server's certificate is not trusted; neither credentials nor data were sent."""


class LoginRefused(AgentError):
    """The server does not accept the credentials, or offers no mechanism that the agent would use."""


class InvalidPayload(AgentError):
    """The payload is not valid; nothing was sent. `details` name line and reason."""

    exit_code = 2


class SubscriptionEnded(AgentError):
    """The topic was deleted, or the subscription was taken away."""


class Overrun(AgentError):
    """A stream's queue was full: items that came after those in the queue were not kept for it."""


class Refused(AgentError):
    """A request was answered with an error.

    :ivar info: type, condition and text of the stanza error (RFC 6120 §8.3.2).
    """

    def __init__(self, message: str, info: StanzaErrorInfo, *, hint: str = "", details: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint, details=details)
        self.info = info


class NotRegistered(Refused):
    """The node is not known to the controller."""


class Pending(Refused):
    """The registration waits for an administrator."""


class NotAuthorized(Refused):
    """The node is not logged in."""


class Forbidden(Refused):
    """The node has not this right, or is disabled."""


class NoSuchTopic(Refused):
    """There is no such topic, capability or provider, or no right on it at all: nobody tells which."""


class Conflict(Refused):
    """The name is taken, or bound to another certificate."""


class NotAcceptable(Refused):
    """Understood, but not offered."""


class LimitReached(Refused):
    """A limit: try again later."""


class BadRequest(Refused):
    """The request, or the payload, is malformed."""


_KINDS: dict[str, tuple[type[Refused], str]] = {
    "registration-required": (NotRegistered, "Register it, or have it admitted: `stanzagate node add {jid}`."),
    "not-authorized": (NotAuthorized, "Log in first."),
    "forbidden": (Forbidden, "An administrator can say why: `stanzagate node show {jid}`."),
    "item-not-found": (NoSuchTopic, "Is the name right? Without any right on it, a topic does not exist for you."),
    "conflict": (Conflict, "Is another node registered under this name, or with another certificate?"),
    "not-acceptable": (NotAcceptable, ""),
    "resource-constraint": (LimitReached, "Try again later."),
    "policy-violation": (LimitReached, "Try again later."),
    "bad-request": (BadRequest, ""),
}
_APPROVE = "An administrator lets it in: `stanzagate node approve {jid}`."
_EXPLAIN = "An administrator can say why: `stanzagate access explain {jid} {right}`."


def refused(what: str, stanza: Element, *, jid: str, right: str = "") -> Refused:
    """The exception for an answer of type error.

    :param what: what was asked for, as the beginning of a sentence: ``publishing to X``.
    :param jid: bare JID of the node that asked.
    :param right: what it must be permitted, as `access explain` takes it: ``publish X``.
    """
    refusal = read_refusal(stanza)
    kind, hint = _KINDS.get(refusal.condition, (Refused, ""))
    said = refusal.text.rstrip(".")
    if is_pending(refusal):
        kind, hint, said = Pending, _APPROVE, f"{jid} waits for an administrator"
    elif kind is NotRegistered:
        said = said or f"{jid} is not registered"
    elif kind is Forbidden and right:
        hint = _EXPLAIN
    message = f"{what[:1].upper()}{what[1:]} was refused: {refusal.condition}{f' ({said})' if said else ''}."
    info = StanzaErrorInfo(refusal.kind, refusal.condition, refusal.text)
    return kind(message, info, hint=hint.replace("{jid}", jid).replace("{right}", right))
