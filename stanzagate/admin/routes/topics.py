"""The topics of the grid."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter

from component.base.errors import InputError
from grid.controller import Grid
from grid.model import Action, Subscribed, Topic
from grid.payloads import IODEF
from grid.topics_names import name_of, topic_name
from stanzagate.admin.routes import By
from stanzagate.admin.routes.access import OfGrid
from stanzagate.admin.topic_models import (
    GridChangeOut,
    Honeytoken,
    NewTopic,
    ProviderOut,
    TopicOut,
    TopicRow,
    TopicUpdate,
    new_topic,
)

router = APIRouter(prefix="/v1", tags=["topics"])


@router.get("/topics")
async def list_topics(grid: OfGrid, by: By) -> list[TopicRow]:
    """All topics, by name."""
    return [_row(grid, topic) for topic in sorted(grid.topics.all(), key=_name)]


@router.post("/topics")
async def add_topic(grid: OfGrid, by: By, body: NewTopic) -> GridChangeOut:
    """Make a topic."""
    name = name_of(topic_name(body.capability), body.version, body.label)
    change = await grid.topics.add(by.actor, new_topic(body, name), schema=body.schema_source(), dry_run=body.dry_run)
    return GridChangeOut.of(change, "topic")


@router.post("/topics/{topic}/honeytokens")
async def plant(grid: OfGrid, by: By, topic: str, body: Honeytoken) -> list[str]:
    """Make an item one that nobody has a reason to touch; tells all of the topic."""
    await grid.topics.plant(by.actor, topic, body.item)
    return sorted(grid.topics.honeytokens.get(topic, ()))


@router.delete("/topics/{topic}/honeytokens/{item:path}")
async def unearth(grid: OfGrid, by: By, topic: str, item: str) -> list[str]:
    """Make an item an ordinary one again; tells all that are left."""
    await grid.topics.unearth(by.actor, topic, item)
    return sorted(grid.topics.honeytokens.get(topic, ()))


@router.get("/topics/{topic:path}")
async def show_topic(grid: OfGrid, by: By, topic: str) -> TopicOut:
    """What a topic is, and who publishes, has subscribed, waits."""
    return _whole(grid, grid.topics.known(topic))


@router.patch("/topics/{topic:path}")
async def change_topic(grid: OfGrid, by: By, topic: str, body: TopicUpdate) -> GridChangeOut:
    """Enable, disable, or configure a topic; what is left out stays."""
    fields, schema = body.fields(), body.schema_source()
    if body.enabled is not None:
        if fields or schema is not None:
            raise InputError("A topic is enabled or disabled, or configured; not both in one request.")
        switch = grid.topics.enable if body.enabled else grid.topics.disable
        change = await switch(by.actor, topic, dry_run=body.dry_run)
    else:
        wanted = replace(grid.topics.known(topic), **fields)
        change = await grid.topics.configure(by.actor, wanted, schema=schema, dry_run=body.dry_run)
    return GridChangeOut.of(change, "topic")


@router.delete("/topics/{topic:path}")
async def delete_topic(grid: OfGrid, by: By, topic: str, dry_run: bool = False) -> GridChangeOut:
    """Remove a topic; rules about it stay."""
    return GridChangeOut.of(await grid.topics.delete(by.actor, topic, dry_run=dry_run), "topic")


def _name(topic: Topic) -> str:
    return topic.name


def _members(grid: Grid, name: str) -> tuple[list[str], list[str]]:
    """Who has subscribed, and who waits."""
    subscribed: list[str] = []
    pending: list[str] = []
    for each in grid.topics.subscriptions(topic=name):
        (pending if each.state is Subscribed.PENDING else subscribed).append(each.jid)
    return subscribed, pending


def _row(grid: Grid, topic: Topic) -> TopicRow:
    subscribed, pending = _members(grid, topic.name)
    return TopicRow(
        name=topic.name, capability=topic.capability, version=topic.version, type=topic.type, title=topic.title,
        enabled=topic.enabled, honeytoken=topic.honeytoken, access_model=topic.access_model, payload=topic.payload,
        providers=len(grid.topics.providers(topic.name)), subscribers=len(subscribed), pending=len(pending),
    )  # fmt: skip


def _whole(grid: Grid, topic: Topic) -> TopicOut:
    subscribed, pending = _members(grid, topic.name)
    checks = [("iodef", topic.type in IODEF), ("schema", bool(topic.schema))]
    providers = grid.topics.providers(topic.name)
    return TopicOut(
        name=topic.name, capability=topic.capability, version=topic.version, type=topic.type, title=topic.title,
        enabled=topic.enabled, payload=topic.payload, schema_digest=topic.schema,
        validated=[name for name, done in checks if done], flow=topic.flow, cacheable=topic.cacheable,
        persist=topic.persist, access_model=topic.access_model, enforce_restriction=topic.restricted,
        honeytoken=topic.honeytoken, creator=topic.creator, created=topic.created, epoch=topic.epoch,
        publishers=grid.access.holders(Action.PUBLISH, topic.name),
        providers=[ProviderOut.of(providers[jid]) for jid in sorted(providers)],
        subscribers=subscribed, pending=pending, subtopics=grid.topics.subtopics(topic.name),
        honeytokens=sorted(grid.topics.honeytokens.get(topic.name, ())),
    )  # fmt: skip
