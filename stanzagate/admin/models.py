"""What goes in and out of the admin API, field by field. docs/admin-api.md explains the routes."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from component.base.pluginstatus import PluginMode
from component.gate.changes import Change
from component.gate.devices_read import DeviceInfo
from component.gate.rules import Rule, Suspension
from component.gate.sessions import Reporting

Name = Annotated[str, Field(min_length=1, max_length=3071)]


class Body(BaseModel):
    """The body of a request. Unknown fields are errors."""

    model_config = ConfigDict(extra="forbid")


class NewRule(Body):
    """A rule to be made.

    :ivar expires: a duration (``30d``), a time of ISO 8601, or Unix time.
    """

    effect: Literal["allow", "deny"]
    requester: Name
    target: Name
    expires: str | float | None = None
    comment: str = ""
    dry_run: bool = False


class NewSuspension(Body):
    """A requester to be suspended."""

    requester: Name
    expires: str | float | None = None
    comment: str = ""
    dry_run: bool = False


class NewDevice(Body):
    """A device to be registered."""

    id: Name
    jid: Name
    groups: list[str] = []
    cr_username: SecretStr = SecretStr("")
    cr_password: SecretStr = SecretStr("")
    dry_run: bool = False


class DeviceChange(Body):
    """What changes about a device; what is left out stays. Credentials are given both or not at all."""

    jid: Name | None = None
    groups: list[str] | None = None
    cr_username: SecretStr | None = None
    cr_password: SecretStr | None = None
    dry_run: bool = False


class Wake(Body):
    """A device to be woken.

    :ivar requester: whose rights and limits apply; without it the operator's own.
    :ivar timeout: seconds to wait for the device.
    """

    device: Name
    requester: Name | None = None
    timeout: Annotated[float, Field(gt=0, le=600)] | None = None


class NewCampaign(Body):
    """A group to be woken.

    :ivar rate: ``N/s``, ``N/min`` or ``unlimited``.
    :ivar resume: go on with the latest campaign of the group that was interrupted.
    """

    group: Name
    rate: str = "50/s"
    resume: bool = False
    timeout: Annotated[float, Field(gt=0, le=600)] | None = None


class AccessOut(BaseModel):
    """Devices that a requester gains or loses.

    :ivar examples: ids of some of them.
    """

    requester: str
    devices: int
    examples: list[str]


class ChangeOut(BaseModel):
    """What a change did, or would do when `dry_run` is true.

    :ivar created: ids, as text, of what is new; empty when nothing was made.
    :ivar id: the id of the one thing that was asked for and made: a number for a rule or a suspension, text for a
        device; null for every other change, and when nothing was made.
    """

    summary: str
    loses: list[AccessOut]
    gains: list[AccessOut]
    created: list[str]
    id: int | str | None = None
    epoch: int
    dry_run: bool

    @classmethod
    def of(cls, change: Change, made: type[int] | type[str] | None = None) -> ChangeOut:
        """The same as JSON.

        :param made: what the id of the one thing is that the change makes; None when it makes none, or many.
        """
        return cls(
            summary=change.summary,
            loses=[AccessOut(**_plain(loss)) for loss in change.loses],
            gains=[AccessOut(**_plain(gain)) for gain in change.gains],
            created=list(change.created),
            id=made(change.created[0]) if made and change.created else None,
            epoch=change.epoch,
            dry_run=change.dry_run,
        )


def _plain(item: Any) -> dict[str, Any]:
    fields = asdict(item)
    return {**fields, "examples": list(fields["examples"])}


class RuleOut(BaseModel):
    """A rule. Times are Unix times in seconds."""

    id: int
    effect: Literal["allow", "deny"]
    requester: str
    target: str
    expires: float | None
    comment: str
    created: float
    actor: str

    @classmethod
    def of(cls, rule: Rule) -> RuleOut:
        """The same as JSON."""
        return cls(
            id=rule.id,
            effect=rule.effect.value,
            requester=rule.requester.full,
            target=str(rule.target),
            expires=rule.expires,
            comment=rule.comment,
            created=rule.created,
            actor=rule.actor,
        )


class SuspensionOut(BaseModel):
    """A suspension. Times are Unix times in seconds."""

    id: int
    requester: str
    expires: float | None
    comment: str
    created: float
    actor: str

    @classmethod
    def of(cls, suspension: Suspension) -> SuspensionOut:
        """The same as JSON."""
        fields = {name: getattr(suspension, name) for name in cls.model_fields if name != "requester"}
        return cls(requester=suspension.requester.full, **fields)


class PolicyRowOut(BaseModel):
    """A rule or a suspension. Times are Unix times in seconds.

    :ivar id: rules and suspensions are numbered separately.
    :ivar target: null for a suspension, which covers everything.
    :ivar by: who made it.
    """

    id: int
    effect: Literal["allow", "deny", "suspend"]
    requester: str
    target: str | None
    expires: float | None
    comment: str
    by: str
    created: float

    @classmethod
    def of(cls, item: Rule | Suspension) -> PolicyRowOut:
        """The same as JSON."""
        rule = item if isinstance(item, Rule) else None
        return cls(
            id=item.id,
            effect=rule.effect.value if rule else "suspend",
            requester=item.requester.full,
            target=str(rule.target) if rule else None,
            expires=item.expires,
            comment=item.comment,
            by=item.actor,
            created=item.created,
        )


class DeviceRowOut(BaseModel):
    """A device, as it stands in lists.

    :ivar since: Unix time in seconds at which its session began, or null when it is offline.
    :ivar sessions: whether anybody tells who is online; `online` says nothing when not.
    """

    id: str
    jid: str
    groups: list[str]
    online: bool
    since: float | None
    has_credentials: bool
    sessions: Reporting

    @classmethod
    def of(cls, device: DeviceInfo) -> Self:
        """The same as JSON."""
        return cls(**cls._fields(device))

    @classmethod
    def _fields(cls, device: DeviceInfo) -> dict[str, Any]:
        return {
            "id": device.id,
            "jid": device.jid.full,
            "groups": list(device.groups),
            "online": device.online,
            "since": device.since,
            "has_credentials": device.has_credentials,
            "sessions": device.sessions,
        }


class DeviceOut(DeviceRowOut):
    """A device by itself.

    :ivar rules: those that reach it.
    """

    rules: list[RuleOut]

    @classmethod
    def _fields(cls, device: DeviceInfo) -> dict[str, Any]:
        return {**super()._fields(device), "rules": [RuleOut.of(rule) for rule in device.rules]}


class DevicesOut(BaseModel):
    """Some devices.

    :ivar next: what to give as `after` for those that follow; empty at the end.
    :ivar sessions: whether anybody tells who is online.
    """

    devices: list[DeviceRowOut]
    next: str
    sessions: Reporting


class RulesOut(BaseModel):
    """The policy as people made it."""

    epoch: int
    rules: list[RuleOut]
    suspensions: list[SuspensionOut]


class DecisionOut(BaseModel):
    """What the policy says.

    :ivar rule: the id of the rule that decided, ``suspended:<id>`` or ``none``.
    """

    requester: str
    device: str
    effect: Literal["allow", "deny"]
    rule: str
    reason: str


class AllowedListOut(BaseModel):
    """What belongs into a device's own list of allowed JIDs, in this order."""

    device: str
    via: str
    entries: list[str]


class SuggestionOut(BaseModel):
    """A rule that would allow what was refused for want of one.

    :ivar seen: how many devices of the target the requester asked for.
    :ivar devices: how many devices the rule would let it wake.
    :ivar command: the command line that adds the rule.
    """

    requester: str
    target: str
    seen: int
    devices: int
    command: str


class WakeOut(BaseModel):
    """What became of a wake."""

    device: str
    outcome: str
    via: str
    elapsed_ms: int
    detail: str


class CampaignOut(BaseModel):
    """Where a campaign stands.

    :ivar outcomes: how many devices are done, by outcome.
    """

    id: int
    group: str
    state: str
    started: float
    total: int
    done: int
    left: int
    outcomes: dict[str, int]


class AuditRowOut(BaseModel):
    """A row of the audit record.

    :ivar time: Unix time in seconds.
    :ivar hash: hexadecimal.
    """

    seq: int
    time: float
    actor: str
    action: str
    subject: str
    detail: dict[str, Any]
    hash: str


class FindingOut(BaseModel):
    """A row that is not as it was written, or something about the record as a whole (seq 0)."""

    seq: int
    kind: str
    text: str


class VerificationOut(BaseModel):
    """What recomputing the hash chain found."""

    ok: bool
    rows: int
    seq: int
    hash: str
    problems: list[FindingOut]
    found: int


class HealthOut(BaseModel):
    """Whether everything is up.

    :ivar grid: the grid controller's attachment; null without a grid.
    :ivar database: ``failing`` when it cannot be read, or when the last change could not be written.
    :ivar plugins: the mode of the in-server plugin on each guarded host (``enforce``, ``log-only``, ``bypass``),
        ``absent`` when there is none, ``unknown`` while nobody can say.
    """

    status: Literal["ok", "degraded"]
    gate: Literal["attached", "detached"]
    grid: Literal["attached", "detached"] | None
    policy: Literal["available", "unavailable"]
    database: Literal["ok", "failing"]
    plugins: dict[str, PluginMode]
    epoch: int
    version: str


class RotatedOut(BaseModel):
    """How many stored credentials were sealed anew, or would be."""

    sealed: int
    dry_run: bool
