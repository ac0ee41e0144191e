"""Whether everything is up, and how it is doing."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from component.base.errors import StanzagateError
from component.base.link import LinkState
from component.base.metrics import CONTENT_TYPE
from component.gate.changes import current_epoch
from stanzagate.admin.models import HealthOut
from stanzagate.admin.routes import Asked, By
from stanzagate.admin.services import Services

router = APIRouter(tags=["health"])


@router.get("/healthz", responses={503: {"model": HealthOut, "description": "Something is not up."}})
async def healthz(services: Asked) -> JSONResponse:
    """200 when everything is up, else 503. Anybody may ask."""
    attached = services.link.state is LinkState.ATTACHED
    available = services.policy.available
    stored = await _stored(services)
    ok = attached and available and stored
    health = HealthOut(
        status="ok" if ok else "degraded",
        gate="attached" if attached else "detached",
        policy="available" if available else "unavailable",
        database="ok" if stored else "failing",
        epoch=services.policy.epoch,
        version=services.version,
    )
    return JSONResponse(health.model_dump(), status_code=200 if ok else 503)


async def _stored(services: Services) -> bool:
    try:
        await services.store.read(current_epoch)
    except StanzagateError:
        return False
    return True


@router.get("/metrics", response_class=Response, responses={200: {"content": {CONTENT_TYPE: {}}}})
async def metrics(services: Asked, by: By) -> Response:
    """Everything that is counted, in Prometheus' text format."""
    return Response(services.metrics.exposition(), media_type=CONTENT_TYPE)
