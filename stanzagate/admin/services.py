"""What the admin API needs of the rest of the program."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request

from component.base.audit import Audit
from component.base.enforcement import Enforcement
from component.base.errors import NotFound
from component.base.link import Link
from component.base.metrics import Metrics
from component.base.store import Store
from component.gate.campaign import Campaigns
from component.gate.devices import Devices
from component.gate.gateway import Gateway
from component.gate.policy import Policy
from component.gate.suggest import Observations
from grid.controller import Grid
from stanzagate.admin.relays import Relays
from stanzagate.backup import Deployment


@dataclass(frozen=True)
class Services:
    """The parts of one deployment.

    :ivar deployment: what a backup consists of.
    :ivar grid: the grid controller, or None when the configuration has no section of it.
    :ivar metrics: everything registered there is told at ``/metrics``.
    :ivar clock: Unix time in seconds.
    """

    policy: Policy
    devices: Devices
    observations: Observations
    gateway: Gateway
    link: Link
    enforcement: Enforcement
    relays: Relays
    campaigns: Campaigns
    audit: Audit
    store: Store
    deployment: Deployment
    metrics: Metrics
    version: str
    grid: Grid | None = None
    clock: Callable[[], float] = time.time


def services_of(request: Request) -> Services:
    """The services of the application that handles a request."""
    services: Services = request.app.state.services
    return services


def grid_of(request: Request) -> Grid:
    """The grid of the application that handles a request.

    :raises NotFound: the deployment has none.
    """
    grid = services_of(request).grid
    if grid is None:
        raise NotFound("This deployment has no grid.", hint="Add the section grid: to its configuration.")
    return grid
