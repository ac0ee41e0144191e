"""The configuration section ``gate:``."""

from __future__ import annotations

from pydantic import Field

from component.base.pluginstatus import Guard
from component.base.settings import Domain, Duration, RateSetting, Secret, Section, parse_rate


class Limits(Section):
    """How often a requester may ask and a device may be woken."""

    requester: RateSetting = parse_rate("100/s")
    device: RateSetting = parse_rate("4/min")


class GateSettings(Section):
    """The gate: its attachment, what it guards, and how long it waits."""

    jid: Domain
    component_port: int = Field(default=5347, ge=1, le=65535)
    secret: Secret
    guarded_hosts: tuple[Domain, ...] = Field(min_length=1)
    guard: Guard = Guard.CONNECTION_REQUESTS
    decision_ttl: Duration = 300.0
    stale_limit: Duration = 3600.0
    answer_timeout: Duration = 10.0
    limits: Limits = Limits()
