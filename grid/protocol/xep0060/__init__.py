"""Publish-subscribe (XEP-0060) as plain clients of RFC 8600 speak it: requests, answers and errors, both ways.

`read_pubsub` gives a record for every request; `answers` writes what is said to it, `conditions.refusal` the errors
of XEP-0060; `asking` is the side of a node.
"""

from grid.protocol.xep0060.asking import kind_of, read_event, write_pubsub
from grid.protocol.xep0060.conditions import Condition, refusal
from grid.protocol.xep0060.reading import is_pubsub, read_pubsub
from grid.protocol.xep0060.requests import (
    Affiliation,
    Affiliations,
    Configure,
    Create,
    DefaultConfig,
    DefaultOptions,
    Delete,
    Items,
    OptionsRequest,
    OwnerAffiliations,
    OwnerSubscriptions,
    Publish,
    PublishItem,
    PubsubRequest,
    Purge,
    Retract,
    Subscribe,
    Subscriptions,
    SubscriptionState,
    Unsubscribe,
)

__all__ = [
    "Affiliation",
    "Affiliations",
    "Condition",
    "Configure",
    "Create",
    "DefaultConfig",
    "DefaultOptions",
    "Delete",
    "Items",
    "OptionsRequest",
    "OwnerAffiliations",
    "OwnerSubscriptions",
    "Publish",
    "PublishItem",
    "PubsubRequest",
    "Purge",
    "Retract",
    "Subscribe",
    "SubscriptionState",
    "Subscriptions",
    "Unsubscribe",
    "is_pubsub",
    "kind_of",
    "read_event",
    "read_pubsub",
    "refusal",
    "write_pubsub",
]
