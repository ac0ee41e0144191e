"""The configuration section ``gate:``."""

from __future__ import annotations

from pydantic import Field, field_validator

from component.base.jid import JidError, prepare
from component.base.pluginstatus import Guard
from component.base.settings import Duration, RateSetting, Secret, Section, parse_rate


class Limits(Section):
    """How often a requester may ask and a device may be woken."""

    requester: RateSetting = parse_rate("100/s")
    device: RateSetting = parse_rate("4/min")


class GateSettings(Section):
    """The gate: its attachment, what it guards, and how long it waits."""

    jid: str
    component_port: int = Field(default=5347, ge=1, le=65535)
    secret: Secret
    guarded_hosts: tuple[str, ...] = Field(min_length=1)
    guard: Guard = Guard.CONNECTION_REQUESTS
    decision_ttl: Duration = 300.0
    stale_limit: Duration = 3600.0
    answer_timeout: Duration = 10.0
    limits: Limits = Limits()

    @field_validator("jid", "guarded_hosts", mode="after")
    @classmethod
    def _domain(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        domains = [_domain(item) for item in ([value] if isinstance(value, str) else value)]
        return domains[0] if isinstance(value, str) else tuple(domains)


def _domain(text: str) -> str:
    try:
        jid = prepare(text)
    except JidError as error:
        raise ValueError(error.message) from None
    if jid.full != jid.domain:
        raise ValueError(f"{text!r} is not a domain; write it without '@' and '/'")
    return jid.domain
