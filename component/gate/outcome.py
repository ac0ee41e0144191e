"""What a device's answer, or its server's in its place, means.

A device that refuses and a server that does not find the device both say ``service-unavailable``. They are told
apart by what shipped devices and the two servers were seen to send:

========================================  ===========================================
answer                                    outcome
========================================  ===========================================
result                                    accepted
not-authorized, also misspelt             wrong credentials
code='503'                                refused by the device
service-unavailable with a text, or       offline: ejabberd adds a text (and echoes the payload),
without an echo of the payload            Prosody sends neither
any other error with an echo, no text     refused by the device
========================================  ===========================================

Where the in-server plugin tells who is connected, that settles a service-unavailable without a text.
"""

from __future__ import annotations

from enum import StrEnum
from xml.etree.ElementTree import Element

from component.base import ns
from component.base.connreq import PAYLOAD
from component.base.correlate import Answer
from component.base.stanzas import ERROR

_TEXT = f"{{{ns.STANZAS}}}text"
_NOT_AUTHORIZED = frozenset({"not-authorized", "not-autorized"})  # COMPAT: three versions of one firmware misspell it
_CONDITIONS = frozenset({  # RFC 6120 §8.3.3; of all others neither the number nor the length is bounded
    "bad-request", "conflict", "feature-not-implemented", "forbidden", "gone", "internal-server-error",
    "item-not-found", "jid-malformed", "not-acceptable", "not-allowed", "not-authorized", "policy-violation",
    "recipient-unavailable", "redirect", "registration-required", "remote-server-not-found",
    "remote-server-timeout", "resource-constraint", "service-unavailable", "subscription-required",
    "undefined-condition", "unexpected-request",
})  # fmt: skip
_NOT_THERE = frozenset({
    "recipient-unavailable",  # COMPAT: Prosody's stream management, when hibernation ends
    "item-not-found", "gone", "remote-server-not-found", "remote-server-timeout",
})  # fmt: skip


class Outcome(StrEnum):
    """What became of one connection request."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    NOT_AUTHORIZED = "not-authorized"
    OFFLINE = "offline"
    TIMEOUT = "timeout"
    DENIED = "denied"
    UNKNOWN_DEVICE = "unknown-device"


def classify(answer: Element | Answer, connected: bool | None = None) -> tuple[Outcome, str]:
    """The outcome of a request that was sent to a device, with a sentence for people.

    :param answer: the answering stanza (RFC 6120 §8.2.3), or why there is none.
    :param connected: whether the device is connected, or None when nobody tells.
    """
    if answer is Answer.TIMEOUT:
        return Outcome.TIMEOUT, "The device did not answer in time."
    if isinstance(answer, Answer):
        return Outcome.TIMEOUT, "The device could not be asked: the server is away, or too much is outstanding."
    if answer.get("type") == "result":
        return Outcome.ACCEPTED, "The device accepted the request."
    error = answer.find(ERROR)
    if error is None:
        return Outcome.REFUSED, "The device answered with an error that says nothing."
    # Misspelt conditions come in any namespace, so the local name decides.
    names = {child.tag.rpartition("}")[2] for child in error}
    if names & _NOT_AUTHORIZED:
        return Outcome.NOT_AUTHORIZED, "The device does not accept this user name and password."
    if error.get("code") == "503":
        return Outcome.REFUSED, "The device refused: busy, over its own limit, or the gate is not on its list."
    if names & _NOT_THERE:
        return Outcome.OFFLINE, "The device is not connected."
    if connected is None:
        connected = answer.find(PAYLOAD) is not None
    if "service-unavailable" in names and (error.find(_TEXT) is not None or not connected):
        return Outcome.OFFLINE, "The device is not connected."
    condition = min(names & _CONDITIONS, default="undefined-condition")
    return Outcome.REFUSED, f"The device refused with {condition}."
