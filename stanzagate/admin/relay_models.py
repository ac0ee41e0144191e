"""What relays send to the admin API and get from it, field by field."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from stanzagate.admin.models import Body

RelayName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
StreamId = Annotated[str, Field(min_length=1, max_length=64)]


class RelayDecisionOut(BaseModel):
    """A decision.

    :ivar scope: ``bare`` when it is the same for every resource of the requester.
    :ivar ttl: seconds for which it may be used.
    :ivar stale: seconds for which it may while the service is away.
    :ivar epoch: the number of the policy that it was taken from.
    """

    effect: Literal["allow", "deny"]
    scope: Literal["bare", "full"]
    ttl: float
    stale: float
    epoch: int
    rule: str
    reason: str


class Confirmation(Body):
    """A relay has forgotten whatever the changes up to an epoch touch.

    :ivar stream: as the first line of the stream said.
    """

    relay: RelayName
    stream: StreamId
    epoch: Annotated[int, Field(ge=0)]


class RelayEvent(Body):
    """Something that happened at a relay, for the audit record.

    :ivar time: Unix time in seconds.
    :ivar action: a word, or some, of the relay's own.
    """

    time: float
    action: Annotated[str, Field(pattern=r"^relay(\.[a-z][a-z-]*)+$", max_length=64)]
    subject: Annotated[str, Field(max_length=4096)]
    detail: dict[str, Any] = Field(default_factory=dict)


Events = Annotated[list[RelayEvent], Field(max_length=1000)]


class Reported(BaseModel):
    """What became of a batch of events.

    :ivar recorded: 0 when the batch was known already.
    """

    recorded: int
