"""What relays need: decisions, the stream of changes and its confirmations, and a way into the audit record."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from component.base.audit_chain import canonical_detail
from component.base.errors import InputError, Unreachable
from stanzagate.admin.access import CLOSING
from stanzagate.admin.following import Following
from stanzagate.admin.relay_models import Confirmation, Events, RelayDecisionOut, RelayName, Reported, StreamId
from stanzagate.admin.relays import Relays
from stanzagate.admin.routes import Asked, By
from stanzagate.admin.streams import JSON_LINES, STOPPING, JsonLines, line

router = APIRouter(prefix="/v1/relay", tags=["relay"])

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {JSON_LINES: {}}, "description": "Lines: where we stand, then changes."}
}


@router.get("/decision", response_model=RelayDecisionOut)
async def decision(services: Asked, by: By, requester: str, device: str, partner: str = "") -> JSONResponse:
    """May a requester of a partner reach a device? Decided and recorded as for an in-server plugin."""
    return JSONResponse(asdict(services.relays.decide(requester, device, partner)))  # as it is: this is asked often


@router.get("/changes", responses=_STREAM, response_class=JsonLines)
async def changes(services: Asked, by: By, request: Request, relay: Annotated[RelayName, Query()]) -> JsonLines:
    """Follow the policy. Every change waits until this relay has confirmed it."""
    if request.scope[CLOSING].is_set():  # it would forget everything for a stream that ends at once
        raise Unreachable(STOPPING.message, hint=STOPPING.hint)
    return _Stream(services.relays, services.relays.follow(relay))


@router.delete("/changes", status_code=204)
async def goodbye(
    services: Asked, by: By, relay: Annotated[RelayName, Query()], stream: Annotated[StreamId, Query()]
) -> None:
    """A relay remembers no decision any more: no change waits for it."""
    services.relays.goodbye(relay, stream)


@router.post("/confirmations", status_code=204)
async def confirm(services: Asked, by: By, body: Confirmation) -> None:
    """A relay has forgotten what the changes up to an epoch touch."""
    services.relays.confirm(body.relay, body.stream, body.epoch)


@router.post("/events")
async def report(
    services: Asked,
    by: By,
    body: Events,
    relay: Annotated[RelayName, Query()],
    batch: Annotated[str, Query(max_length=64)] = "",
) -> Reported:
    """Put on record what happened at a relay; a batch that was reported already is not recorded again."""
    details = [{**event.detail, "time": event.time, "told_by": by.actor} for event in body]
    try:
        for detail in details:
            canonical_detail(detail)
    except ValueError:
        raise InputError("The detail of an event is not JSON.") from None
    if not services.relays.is_news(relay, batch):
        return Reported(recorded=0)
    for event, detail in zip(body, details, strict=True):
        services.audit.note(f"relay:{relay}", event.action, event.subject, detail)
    services.relays.reported += len(body)
    return Reported(recorded=len(body))


class _Stream(JsonLines):
    """Leaves when the response is over, whatever ended it."""

    def __init__(self, relays: Relays, following: Following) -> None:
        super().__init__(_lines(following, relays.heartbeat))
        self._relays = relays
        self._following = following

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response (ASGI)."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._relays.leave(self._following)


async def _lines(following: Following, heartbeat: float) -> AsyncIterator[bytes]:
    yield line(following.first)
    while (item := await following.next(heartbeat)) is not None:
        yield line(item)
