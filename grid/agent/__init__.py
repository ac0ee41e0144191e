"""The connection agent: what a security system embeds to be a node of the grid (draft-ietf-mile-xmpp-grid-01 §1.3).

::

    async with Agent("soc1@grid.test", ca="ca.pem", cert="soc1.pem", key="soc1.key") as agent:
        await agent.publish("IODEF-1.0", document)
        async for item in agent.subscribe("IODEF-1.0"):
            print(item.id, item.iodef)

It verifies the server, registers, waits for approval, logs in, and stays connected. What was published has arrived
when `publish` returns; what is received comes once. `docs/agent.md` says what is guaranteed, and where it ends.
"""

from __future__ import annotations

from grid.agent.agent import Agent
from grid.agent.errors import (
    AgentError,
    BadRequest,
    Conflict,
    Forbidden,
    InvalidPayload,
    LimitReached,
    LoginRefused,
    NoSuchTopic,
    NotAcceptable,
    NotAuthorized,
    NotConnected,
    NotRegistered,
    Overrun,
    Pending,
    Refused,
    SubscriptionEnded,
    Unconfirmed,
    UntrustedServer,
)
from grid.agent.items import Item
from grid.agent.questions import Question
from grid.agent.subscriptions import Overflow, Stream

__all__ = [
    "Agent",
    "AgentError",
    "BadRequest",
    "Conflict",
    "Forbidden",
    "InvalidPayload",
    "Item",
    "LimitReached",
    "LoginRefused",
    "NoSuchTopic",
    "NotAcceptable",
    "NotAuthorized",
    "NotConnected",
    "NotRegistered",
    "Overflow",
    "Overrun",
    "Pending",
    "Question",
    "Refused",
    "Stream",
    "SubscriptionEnded",
    "Unconfirmed",
    "UntrustedServer",
]
