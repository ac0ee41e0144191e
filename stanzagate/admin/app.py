"""The application behind the admin API: the routes, and nothing else. `Access` stands before it and says who asks."""

from __future__ import annotations

from fastapi import FastAPI

from stanzagate.admin import problems
from stanzagate.admin.problems import Problem
from stanzagate.admin.routes import access, audit, ca, devices, health, nodes, relay, rules, topics, upkeep, wakes
from stanzagate.admin.services import Services

__all__ = ["Services", "create_app"]


def create_app(services: Services) -> FastAPI:
    """The application for one deployment."""
    app = FastAPI(
        title="Stanzagate admin API",
        version=services.version,
        description="Who may wake which TR-069 device, and who may do what in an XMPP-Grid.",
        docs_url=None,  # those pages load scripts from the network
        redoc_url=None,
        responses={"4XX": {"model": Problem}, "5XX": {"model": Problem}},
    )
    app.state.services = services
    problems.install(app)
    for part in (health, rules, devices, wakes, audit, upkeep, nodes, ca, topics, access, relay):
        app.include_router(part.router)
    return app
