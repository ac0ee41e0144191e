"""The errors of XEP-0060 (§4 to §8): each of its own conditions with the stanza error that it comes with."""

from __future__ import annotations

from enum import StrEnum

from grid.errors import Refusal, pubsub_error


class Condition(StrEnum):
    """``http://jabber.org/protocol/pubsub#errors``; `grid.errors.unsupported` is the one that names a feature."""

    CLOSED_NODE = "closed-node"
    CONFIGURATION_REQUIRED = "configuration-required"
    INVALID_JID = "invalid-jid"
    INVALID_OPTIONS = "invalid-options"
    INVALID_PAYLOAD = "invalid-payload"
    INVALID_SUBID = "invalid-subid"
    ITEM_FORBIDDEN = "item-forbidden"
    ITEM_REQUIRED = "item-required"
    JID_REQUIRED = "jid-required"
    MAX_ITEMS_EXCEEDED = "max-items-exceeded"
    MAX_NODES_EXCEEDED = "max-nodes-exceeded"
    NODE_FULL = "node-full"
    NODEID_REQUIRED = "nodeid-required"
    NOT_SUBSCRIBED = "not-subscribed"
    PAYLOAD_REQUIRED = "payload-required"
    PAYLOAD_TOO_BIG = "payload-too-big"
    PENDING_SUBSCRIPTION = "pending-subscription"
    PRECONDITION_NOT_MET = "precondition-not-met"
    SUBID_REQUIRED = "subid-required"
    TOO_MANY_SUBSCRIPTIONS = "too-many-subscriptions"
    UNSUPPORTED_ACCESS_MODEL = "unsupported-access-model"


_ERRORS = {
    Condition.CLOSED_NODE: ("cancel", "not-allowed"),
    Condition.CONFIGURATION_REQUIRED: ("modify", "not-acceptable"),
    Condition.INVALID_JID: ("modify", "bad-request"),
    Condition.INVALID_OPTIONS: ("modify", "bad-request"),
    Condition.INVALID_PAYLOAD: ("modify", "bad-request"),
    Condition.INVALID_SUBID: ("modify", "not-acceptable"),
    Condition.ITEM_FORBIDDEN: ("modify", "bad-request"),
    Condition.ITEM_REQUIRED: ("modify", "bad-request"),
    Condition.JID_REQUIRED: ("modify", "bad-request"),
    Condition.MAX_ITEMS_EXCEEDED: ("modify", "not-acceptable"),
    Condition.MAX_NODES_EXCEEDED: ("wait", "resource-constraint"),
    Condition.NODE_FULL: ("cancel", "conflict"),
    Condition.NODEID_REQUIRED: ("modify", "bad-request"),
    Condition.NOT_SUBSCRIBED: ("cancel", "unexpected-request"),
    Condition.PAYLOAD_REQUIRED: ("modify", "bad-request"),
    Condition.PAYLOAD_TOO_BIG: ("modify", "not-acceptable"),
    Condition.PENDING_SUBSCRIPTION: ("auth", "not-authorized"),
    Condition.PRECONDITION_NOT_MET: ("cancel", "conflict"),
    Condition.SUBID_REQUIRED: ("modify", "bad-request"),
    Condition.TOO_MANY_SUBSCRIPTIONS: ("wait", "policy-violation"),
    Condition.UNSUPPORTED_ACCESS_MODEL: ("modify", "not-acceptable"),
}


def refusal(condition: Condition, text: str = "") -> Refusal:
    """The refusal with a condition of XEP-0060.

    Mind that most of them tell that the node exists: where that is not to be known it is `item_not_found`.
    """
    kind, general = _ERRORS[condition]
    return Refusal(kind, general, text, extra=pubsub_error(condition))


def instant_nodes() -> Refusal:
    """A node without a name is to be created, which is not offered (§8.1.1)."""
    return Refusal("modify", "not-acceptable", "Name the node.", extra=pubsub_error(Condition.NODEID_REQUIRED))
