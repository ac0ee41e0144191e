"""The configuration section ``grid:``."""

from __future__ import annotations

import fnmatch
import re
from enum import StrEnum
from typing import Annotated

from cryptography import x509
from pydantic import AfterValidator, Field, field_validator, model_validator

from component.base.errors import InputError
from component.base.settings import Domain, Duration, PathSetting, RateSetting, Secret, Section, parse_rate
from grid.access_rules import all_roles
from grid.model import Action

_FINGERPRINT = re.compile(r"[0-9a-fA-F]{64}")


class Approval(StrEnum):
    """What becomes of a node that registers."""

    MANUAL = "manual"
    """It waits for an administrator, unless one of `auto_approve` covers it."""
    AUTOMATIC = "automatic"
    """It is active at once."""


class AutoApproval(Section):
    """Nodes that are approved at once. What is left out matches everything; at least one must be given.

    :ivar issuer: SHA-256 of the certificate of the issuing authority, in hex, or its subject (RFC 4514).
    :ivar pattern: of the bare JID, with ``*``.
    :ivar group: put into this group.
    """

    issuer: str = ""
    pattern: str = ""
    group: str = ""

    @model_validator(mode="after")
    def _something(self) -> AutoApproval:
        if not (self.issuer or self.pattern):
            raise ValueError("name an issuer or a pattern; approval: automatic approves everybody")
        return self

    @field_validator("issuer")
    @classmethod
    def _authority(cls, value: str) -> str:
        if value and not _FINGERPRINT.fullmatch(value.replace(":", "")):
            try:
                x509.Name.from_rfc4514_string(value)
            except ValueError:
                hint = "write 64 hex digits, or something like CN=SOC CA,O=SOC"
                raise ValueError(f"{value!r} is neither a SHA-256 in hex nor a subject; {hint}") from None
        return value

    def covers(self, jid: str) -> bool:
        """Whether `pattern` covers a bare JID."""
        return not self.pattern or fnmatch.fnmatchcase(jid, self.pattern)


class HistorySettings(Section):
    """The controller's store of items."""

    enabled: bool = False
    retention: Duration = 30 * 86400.0


class GridLimits(Section):
    """What a node may use.

    :ivar requests: control requests of a node.
    :ivar pending: how many nodes may wait for approval.
    :ivar result: how many entries one answer has at most; more with XEP-0059.
    :ivar disable_after: a node that was refused for its rate so often within a minute is disabled; 0 for never.
    """

    requests: RateSetting = parse_rate("50/s")
    pending: int = Field(default=10_000, ge=1)
    result: int = Field(default=1000, ge=1, le=10_000)
    disable_after: int = Field(default=0, ge=0)


class AlertSettings(Section):
    """Who is told of alerts, beside the audit record and the metrics."""

    webhook: str = ""
    jids: tuple[str, ...] = ()


def _role(name: str) -> str:
    try:
        all_roles({name: tuple(Action)})
    except InputError as error:
        raise ValueError(f"{error.message} {error.hint}") from None
    return name


Roles = dict[Annotated[str, AfterValidator(_role)], Annotated[tuple[Action, ...], Field(min_length=1)]]
"""Names of roles, and what they may do."""


class GridSettings(Section):
    """The XMPP-Grid controller.

    :ivar node_ca: certificates of the authorities whose nodes are accepted, PEM; `ca init` makes the file.
    :ivar node_ca_key: the key of the first of them; without it nothing can be issued here.
    :ivar crl: where the list of revoked certificates is published.
    """

    jid: Domain
    component_port: int = Field(default=5347, ge=1, le=65535)
    secret: Secret
    host: Domain
    pubsub: Domain
    federated: tuple[Domain, ...] = ()
    approval: Approval = Approval.MANUAL
    auto_approve: tuple[AutoApproval, ...] = ()
    node_ca: PathSetting | None = None
    node_ca_key: PathSetting | None = None
    crl: PathSetting | None = None
    crl_lifetime: Duration = 7 * 86400.0
    roles: Roles = Field(default_factory=dict)
    limits: GridLimits = GridLimits()
    alerts: AlertSettings = AlertSettings()
    history: HistorySettings = HistorySettings()
    reconcile: Duration = 300.0

    @model_validator(mode="after")
    def _different(self) -> GridSettings:
        names = (self.jid, self.host, self.pubsub, *self.federated)
        if len(set(names)) < len(names):
            raise ValueError("jid, host, pubsub and the federated domains must be different domains")
        return self

    @model_validator(mode="after")
    def _whole_authority(self) -> GridSettings:
        if self.node_ca_key is not None and self.node_ca is None:
            raise ValueError("node_ca_key needs node_ca, the certificate that it belongs to")
        if self.crl is not None and self.node_ca_key is None:
            raise ValueError("crl needs node_ca_key, which signs it")
        return self
