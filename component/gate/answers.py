"""The stanzas with which the gate answers a requester (contract, section 4)."""

from __future__ import annotations

import re
from enum import Enum

from component.base import ns
from component.base.connreq import Credentials, serialise
from component.base.stanzas import quote
from component.gate.outcome import Outcome

_NEEDS_QUOTING = re.compile(r"[<>&\t\n\r]")


class Refusal(Enum):
    """Every answer but the empty result: error type, condition, and what else stands in the stanza."""

    FORBIDDEN = ("auth", "forbidden")
    BAD_REQUEST = ("modify", "bad-request")
    JID_MALFORMED = ("modify", "jid-malformed")
    LIMITED = ("wait", "resource-constraint")
    UNKNOWN_DEVICE = ("cancel", "item-not-found")
    REFUSED = ("cancel", "service-unavailable", " code='503'", f"<refused xmlns='{ns.POLICY}'/>", True)
    OFFLINE = ("cancel", "service-unavailable", "", f"<offline xmlns='{ns.POLICY}'/>")
    NOT_AUTHORIZED = ("cancel", "not-authorized", "", "", True)
    NO_ANSWER = ("wait", "remote-server-timeout")
    NO_POLICY = ("wait", "internal-server-error")
    NO_SERVICE = ("cancel", "service-unavailable")

    def __init__(self, kind: str, condition: str, code: str = "", more: str = "", echoes: bool = False) -> None:
        self.kind = kind
        self.condition = condition
        self.echoes = echoes
        self.start = f"<error type='{kind}'{code}><{condition} xmlns='{ns.STANZAS}'/>"
        self.end = f"{more}</error></iq>"


BY_OUTCOME = {
    Outcome.REFUSED: Refusal.REFUSED,
    Outcome.NOT_AUTHORIZED: Refusal.NOT_AUTHORIZED,
    Outcome.OFFLINE: Refusal.OFFLINE,
    Outcome.TIMEOUT: Refusal.NO_ANSWER,
    Outcome.DENIED: Refusal.FORBIDDEN,
    Outcome.UNKNOWN_DEVICE: Refusal.UNKNOWN_DEVICE,
}
"""The answer for each outcome but `Outcome.ACCEPTED`."""


def accepted(request_id: str, gate: str, requester: str) -> str:
    """The empty result.

    :param request_id: the id of the requester's stanza.
    :param gate: the address that the requester wrote to, prepared.
    :param requester: his address, as it stood in his stanza.
    """
    return f"<iq type='result' {_addresses(request_id, gate, requester)}/>"


def refused(
    refusal: Refusal, request_id: str, gate: str, requester: str, *, text: str = "", echo: Credentials | None = None
) -> str:
    """An error.

    :param text: a sentence for people; empty for none.
    :param echo: the credentials that the requester sent (never what the gate filled in), for answers that echo.
    """
    payload = serialise(echo) if echo is not None and refusal.echoes else ""
    words = f"<text xmlns='{ns.STANZAS}' xml:lang='en'>{quote(text)}</text>" if text else ""
    return f"<iq type='error' {_addresses(request_id, gate, requester)}>{payload}{refusal.start}{words}{refusal.end}"


def bounce(message_id: str, gate: str, sender: str) -> str:
    """The error to a message: nobody here reads messages (RFC 6121 §8.5.1)."""
    error = f"{Refusal.NO_SERVICE.start}</error>"
    return f"<message type='error' {_addresses(message_id, gate, sender)}>{error}</message>"


def _addresses(request_id: str, gate: str, requester: str) -> str:
    together = f"id='{request_id}' from='{gate}' to='{requester}'"
    if together.count("'") == 6 and not _NEEDS_QUOTING.search(together):
        return together
    return f"id='{quote(request_id)}' from='{quote(gate)}' to='{quote(requester)}'"
