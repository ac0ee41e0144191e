"""What goes in and out of the admin API for topics and grid authorization, field by field."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field

from component.base.errors import InputError
from grid.model import AccessModel, Action, Flow, GridChange, Payload, Provider, Right, Rule, Topic, Verdict
from stanzagate.admin.models import Body, Name


class RightOut(BaseModel):
    """A node may do something with a topic."""

    jid: str
    action: Action
    topic: str

    @classmethod
    def of(cls, right: Right) -> Self:
        """A right."""
        return cls(jid=right.jid, action=right.action, topic=right.topic)


class GridChangeOut(BaseModel):
    """What a change of the grid did, or would do when `dry_run` is true.

    :ivar loses: some of the rights that somebody loses by it; `losses` of them in all.
    :ivar gains: likewise; `won` in all.
    :ivar id: number of the rule, name of the topic, or JID of the node that was asked for.
    """

    summary: str
    loses: list[RightOut]
    losses: int
    gains: list[RightOut]
    won: int
    id: int | str | None = None
    epoch: int
    dry_run: bool

    @classmethod
    def of(cls, change: GridChange, key: str) -> Self:
        """A change; `key` says under which name its data has the id."""
        found: Any = change.data.get(key)
        return cls(
            summary=change.summary, loses=[RightOut.of(each) for each in change.loses], losses=change.losses,
            gains=[RightOut.of(each) for each in change.gains], won=change.won, id=found, epoch=change.epoch,
            dry_run=change.dry_run,
        )  # fmt: skip


class NewAccessRule(Body):
    """A rule to be made.

    :ivar subject: bare JID or ``group:NAME``.
    :ivar action: an action or a role.
    :ivar topic: name or pattern.
    """

    effect: Literal["permit", "forbid"]
    subject: str
    action: str
    topic: str
    comment: str = ""
    dry_run: bool = False


class AccessRuleOut(BaseModel):
    """A rule.

    :ivar actions: what it is about, its role taken apart.
    :ivar created: Unix time in seconds.
    """

    id: int
    effect: Literal["permit", "forbid"]
    subject: str
    action: str
    actions: list[Action]
    topic: str
    comment: str
    by: str
    created: float

    @classmethod
    def of(cls, rule: Rule, actions: tuple[Action, ...]) -> Self:
        """A rule."""
        return cls(
            id=rule.id, effect=rule.effect.value, subject=rule.subject, action=rule.action, actions=list(actions),
            topic=rule.topic, comment=rule.comment, by=rule.by, created=rule.created,
        )  # fmt: skip


class ExplanationOut(BaseModel):
    """Whether a node may do something, and why.

    :ivar policies: the rules that decided; empty when none applies.
    """

    node: str
    action: Action
    topic: str
    decision: Literal["permit", "deny"]
    policies: list[str]
    reason: str

    @classmethod
    def of(cls, node: str, action: Action, topic: str, verdict: Verdict) -> Self:
        """A decision."""
        return cls(
            node=node, action=action, topic=topic, decision="permit" if verdict.permitted else "deny",
            policies=list(verdict.policies), reason=verdict.reason,
        )  # fmt: skip


class NewTopic(Body):
    """A topic to be made.

    :ivar capability: its name; with a version the topic's name becomes ``capability-version``.
    :ivar label: of a further topic of the same version, whose schema excludes the other's.
    :ivar type: namespace of the payload.
    :ivar schema_base64: XML Schema or JSON Schema, in base64.
    :ivar persist: how many items the server keeps.
    :ivar enforce_restriction: whether IODEF's restriction is enforced; this version cannot, and refuses it.
    """

    capability: Name
    version: str = ""
    label: str = ""
    type: str = ""
    title: str = ""
    payload: Payload = Payload.XML
    schema_base64: str | None = None
    flow: Flow = Flow.CENTRAL
    cacheable: bool = True
    persist: Annotated[int, Field(ge=0)] = 0
    access_model: AccessModel = AccessModel.WHITELIST
    enforce_restriction: bool = False
    honeytoken: bool = False
    dry_run: bool = False

    def schema_source(self) -> bytes | None:
        """The schema itself.

        :raises InputError: it is not base64.
        """
        return _decoded(self.schema_base64)


class TopicUpdate(Body):
    """What changes about a topic; what is left out stays."""

    enabled: bool | None = None
    type: str | None = None
    title: str | None = None
    payload: Payload | None = None
    schema_base64: str | None = None
    flow: Flow | None = None
    cacheable: bool | None = None
    persist: Annotated[int, Field(ge=0)] | None = None
    access_model: AccessModel | None = None
    enforce_restriction: bool | None = None
    honeytoken: bool | None = None
    dry_run: bool = False

    def schema_source(self) -> bytes | None:
        """The schema itself.

        :raises InputError: it is not base64.
        """
        return _decoded(self.schema_base64)

    def fields(self) -> dict[str, Any]:
        """What changes, by the names of `grid.model.Topic`; without the state and the schema."""
        given = self.model_dump(exclude_none=True, exclude={"enabled", "schema_base64", "dry_run"})
        if "enforce_restriction" in given:
            given["restricted"] = given.pop("enforce_restriction")
        return given


class TopicRow(BaseModel):
    """A topic in a list.

    :ivar providers: how many nodes have said that they provide it.
    :ivar subscribers: how many nodes have subscribed; `pending` wait for a decision.
    """

    name: str
    capability: str
    version: str
    type: str
    title: str
    enabled: bool
    honeytoken: bool
    access_model: AccessModel
    payload: Payload
    providers: int
    subscribers: int
    pending: int


class ProviderOut(BaseModel):
    """A node that has said that it provides a topic."""

    jid: str
    queries: list[str]
    notifications: list[str]

    @classmethod
    def of(cls, provider: Provider) -> Self:
        """A provider."""
        return cls(jid=provider.jid, queries=list(provider.queries), notifications=list(provider.notifications))


class TopicOut(BaseModel):
    """A topic.

    :ivar schema_digest: SHA-256 of its schema in hex, or empty.
    :ivar validated: how items are checked: ``iodef``, ``schema``, both, or nothing.
    :ivar publishers: bare JIDs of the nodes that may publish.
    :ivar subscribers: bare JIDs of those that have subscribed; those of `pending` wait for a decision.
    :ivar honeytokens: ids of items that nobody has a reason to touch.
    :ivar created: Unix time in seconds.
    """

    name: str
    capability: str
    version: str
    type: str
    title: str
    enabled: bool
    payload: Payload
    schema_digest: str
    validated: list[str]
    flow: Flow
    cacheable: bool
    persist: int
    access_model: AccessModel
    enforce_restriction: bool
    honeytoken: bool
    creator: str
    created: float
    epoch: int
    publishers: list[str]
    providers: list[ProviderOut]
    subscribers: list[str]
    pending: list[str]
    subtopics: list[str]
    honeytokens: list[str]


class Honeytoken(Body):
    """An item that nobody has a reason to touch."""

    item: Annotated[str, Field(min_length=1, max_length=256)]


def new_topic(body: NewTopic, name: str) -> Topic:
    """The topic that somebody wants."""
    return Topic(
        name=name, capability=body.capability, version=body.version, type=body.type, title=body.title,
        payload=body.payload, flow=body.flow, cacheable=body.cacheable, persist=body.persist,
        access_model=body.access_model, restricted=body.enforce_restriction, honeytoken=body.honeytoken,
    )  # fmt: skip


def _decoded(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InputError("The schema is not in base64.") from None
