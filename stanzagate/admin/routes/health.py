"""Whether everything is up, and how it is doing."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from component.base.errors import StanzagateError
from component.base.link import Link, LinkState
from component.base.metrics import CONTENT_TYPE
from component.gate.changes import current_epoch
from stanzagate.admin.models import HealthOut
from stanzagate.admin.routes import Asked, By
from stanzagate.admin.services import Services

router = APIRouter(tags=["health"])


@router.get("/healthz", responses={503: {"model": HealthOut, "description": "The gate cannot do its work."}})
async def healthz(services: Asked) -> JSONResponse:
    """200 while the gate does its work, else 503; also 200 when only writing fails. Anybody may ask."""
    attached = services.link.state is LinkState.ATTACHED
    available = services.policy.available
    readable = await _readable(services)
    working = attached and available and readable  # without stored credentials nothing can be woken
    hosts = services.enforcement.hosts | (services.grid.enforcement.hosts if services.grid is not None else {})
    stored = readable and not services.store.failing
    health = HealthOut(
        status="ok" if working and stored else "degraded",
        gate=_attachment(services.link),
        grid=None if services.grid is None else _attachment(services.grid.link),
        policy="available" if available else "unavailable",
        database="ok" if stored else "failing",
        plugins={name: host.mode for name, host in hosts.items()},
        epoch=services.policy.epoch,
        version=services.version,
    )
    return JSONResponse(health.model_dump(), status_code=200 if working else 503)


def _attachment(link: Link) -> Literal["attached", "detached"]:
    return "attached" if link.state is LinkState.ATTACHED else "detached"


async def _readable(services: Services) -> bool:
    try:
        await services.store.read(current_epoch)
    except StanzagateError:
        return False
    return True


@router.get("/metrics", response_class=Response, responses={200: {"content": {CONTENT_TYPE: {}}}})
async def metrics(services: Asked, by: By) -> Response:
    """Everything that is counted, in Prometheus' text format."""
    return Response(services.metrics.exposition(), media_type=CONTENT_TYPE)
