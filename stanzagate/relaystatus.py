"""What the relay answers to those who ask how it is: over HTTP on a unix socket, and what is for everybody on TCP.

On the socket the permissions of its file decide who may ask. On TCP (`relay.metrics`) there are figures alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from component.base.errors import InputError, StanzagateError
from component.base.metrics import CONTENT_TYPE, Metrics
from component.relay.status import AttachmentState, RelayCounters, RelayStatus, as_json
from stanzagate.admin.access import Caller, Role
from stanzagate.admin.listeners import Called
from stanzagate.admin.problems import problem_response
from stanzagate.admin.server import AdminServer
from stanzagate.admin.streams import JsonLines, line
from stanzagate.observe_relay import Observed, observe_relay

STATUS = Called("relay's status", "status socket", "relay.status", "relay.metrics")
EVERYBODY = Caller("everybody", Role.READ)
INTERVAL_SECONDS = 1.0
SHORTEST_SECONDS = 0.05
LONGEST_SECONDS = 60.0

Snapshot = Callable[[], RelayStatus]


def status_servers(
    status: Snapshot, counters: RelayCounters, *, socket: Path | None, metrics: str | None
) -> tuple[AdminServer, ...]:
    """The listeners that tell of the relay: one on the socket, one on TCP, each only where it is wanted.

    :param status: makes a snapshot.
    :param socket: path of the unix socket.
    :param metrics: ``HOST:PORT`` for ``/metrics`` and ``/healthz`` without any token.
    """
    figures = Metrics()
    observed = Observed(status, counters)
    observe_relay(figures, observed)
    servers = []
    if socket is not None:
        servers.append(AdminServer(_app(status, figures, observed, private=True), socket=socket, called=STATUS))
    if metrics is not None:
        app = _app(status, figures, observed, private=False)
        servers.append(AdminServer(app, listen=metrics, everybody=EVERYBODY, called=STATUS))
    return tuple(servers)


def _app(status: Snapshot, figures: Metrics, observed: Observed, *, private: bool) -> Starlette:
    async def healthz(_request: Request) -> Response:
        return _health(status())

    async def metrics(_request: Request) -> Response:
        observed.refresh()
        return Response(figures.exposition(), media_type=CONTENT_TYPE)

    async def whole(_request: Request) -> Response:
        return JSONResponse(as_json(status()))

    async def follow(request: Request) -> Response:
        return JsonLines(_snapshots(status, _interval(request)))

    routes = [Route("/healthz", healthz), Route("/metrics", metrics)]
    if private:
        routes += [Route("/v1/status", whole), Route("/v1/status/follow", follow)]
    return Starlette(routes=routes, exception_handlers={StanzagateError: _expected})


async def _expected(_request: Request, error: Exception) -> Response:
    assert isinstance(error, StanzagateError)  # noqa: S101
    return problem_response(error)


def _health(status: RelayStatus) -> Response:
    """200 while the relay does its work, else 503; a partner that is away is no fault of ours."""
    detached = [
        partner.domain for partner in status.partners if partner.attachment.state is not AttachmentState.ATTACHED
    ]
    working = status.policy.reachable and not detached and not status.draining
    health = {
        "status": "ok" if working else "draining" if status.draining else "degraded",
        "policy": "reachable" if status.policy.reachable else "unreachable",
        "detached": detached,
        "version": status.version,
    }
    return JSONResponse(health, status_code=200 if working else 503)


def _interval(request: Request) -> float:
    text = request.query_params.get("interval", "")
    try:
        seconds = float(text) if text else INTERVAL_SECONDS
    except ValueError:
        seconds = 0.0
    if not SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS:
        raise InputError(
            "interval is not a number of seconds that can be used.",
            hint=f"Write one from {SHORTEST_SECONDS:g} to {LONGEST_SECONDS:g}.",
        )
    return seconds


async def _snapshots(status: Snapshot, interval: float) -> AsyncIterator[bytes]:
    while True:
        yield line(as_json(status()))
        await asyncio.sleep(interval)
