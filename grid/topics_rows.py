"""Topics, schemas, providers, subscriptions and honeytokens as rows of the database."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    Row,
    String,
    Table,
    Text,
    delete,
    insert,
    select,
    update,
)

from component.base.store import metadata
from grid.model import AccessModel, Flow, Payload, Provider, Subscribed, Subscription, Topic
from grid.topics_names import LONGEST

LONGEST_TYPE = 1024
LONGEST_TITLE = 200
LONGEST_ITEM = 256

topic_table = Table(
    "grid_topic",
    metadata,
    Column("name", String(LONGEST), primary_key=True),
    Column("capability", String(LONGEST), nullable=False),
    Column("version", String(32), nullable=False),
    Column("type", String(LONGEST_TYPE), nullable=False),
    Column("title", String(LONGEST_TITLE), nullable=False),
    Column("payload", String(8), nullable=False),
    Column("schema", String(64), nullable=False),
    Column("flow", String(16), nullable=False),
    Column("cacheable", Boolean, nullable=False),
    Column("persist", Integer, nullable=False),
    Column("access_model", String(16), nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("restricted", Boolean, nullable=False),
    Column("honeytoken", Boolean, nullable=False),
    Column("creator", String(2047), nullable=False),
    Column("created", Float, nullable=False),
    Column("epoch", BigInteger, nullable=False),
)

schema_table = Table(
    "grid_schema",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("source", LargeBinary, nullable=False),
)

provider_table = Table(
    "grid_provider",
    metadata,
    Column("topic", String(LONGEST), primary_key=True),
    Column("jid", String(2047), primary_key=True),
    Column("queries", Text, nullable=False),  # names, as JSON
    Column("notifications", Text, nullable=False),
    Column("schema", String(1024), nullable=False),
)

subscription_table = Table(
    "grid_subscription",
    metadata,
    Column("topic", String(LONGEST), primary_key=True),
    Column("jid", String(2047), primary_key=True),
    Column("state", String(16), nullable=False),
    Column("since", Float, nullable=False),
)

honeytoken_table = Table(
    "grid_honeytoken",
    metadata,
    Column("topic", String(LONGEST), primary_key=True),
    Column("item", String(LONGEST_ITEM), primary_key=True),
)


@dataclass(frozen=True)
class Stored:
    """Everything that is in the tables."""

    topics: list[Topic]
    schemas: list[bytes]
    providers: list[Provider]
    subscriptions: list[Subscription]
    honeytokens: list[tuple[str, str]]


def read_all(connection: Connection) -> Stored:
    """Everything."""
    return Stored(
        topics=[_topic(row) for row in connection.execute(select(topic_table))],
        schemas=[bytes(source) for source in connection.scalars(select(schema_table.c.source))],
        providers=[_provider(row) for row in connection.execute(select(provider_table))],
        subscriptions=[_subscription(row) for row in connection.execute(select(subscription_table))],
        honeytokens=[(row.topic, row.item) for row in connection.execute(select(honeytoken_table))],
    )


def insert_topic(connection: Connection, topic: Topic) -> None:
    """Store a new topic."""
    connection.execute(insert(topic_table).values(_values(topic)))


def update_topic(connection: Connection, topic: Topic) -> None:
    """Store what has become of a topic."""
    connection.execute(update(topic_table).where(topic_table.c.name == topic.name).values(_values(topic)))


def delete_topic(connection: Connection, name: str) -> None:
    """Remove a topic and all that belongs to it."""
    for table in (provider_table, subscription_table, honeytoken_table):
        connection.execute(delete(table).where(table.c.topic == name))
    connection.execute(delete(topic_table).where(topic_table.c.name == name))


def keep_schema(connection: Connection, digest: str, source: bytes) -> None:
    """Store a schema, unless it is there."""
    if connection.execute(select(schema_table.c.digest).where(schema_table.c.digest == digest)).first() is None:
        connection.execute(insert(schema_table).values(digest=digest, source=source))


def sweep_schemas(connection: Connection) -> list[str]:
    """Remove the schemas that no topic has; returns their digests."""
    used = select(topic_table.c.schema)
    unused = list(connection.scalars(select(schema_table.c.digest).where(schema_table.c.digest.not_in(used))))
    if unused:
        connection.execute(delete(schema_table).where(schema_table.c.digest.in_(unused)))
    return unused


def put_provider(connection: Connection, provider: Provider) -> None:
    """Store a provider, new or changed."""
    drop_provider(connection, provider.jid, provider.topic)
    values = {
        "topic": provider.topic, "jid": provider.jid, "queries": json.dumps(provider.queries),
        "notifications": json.dumps(provider.notifications), "schema": provider.schema[:1024],
    }  # fmt: skip
    connection.execute(insert(provider_table).values(values))


def drop_provider(connection: Connection, jid: str, topic: str) -> None:
    """Remove a provider."""
    columns = provider_table.c
    connection.execute(delete(provider_table).where(columns.topic == topic, columns.jid == jid))


def put_subscription(connection: Connection, subscription: Subscription) -> None:
    """Store a subscription, new or changed."""
    drop_subscription(connection, subscription.jid, subscription.topic)
    values = {
        "topic": subscription.topic, "jid": subscription.jid, "state": subscription.state.value,
        "since": subscription.since,
    }  # fmt: skip
    connection.execute(insert(subscription_table).values(values))


def drop_subscription(connection: Connection, jid: str, topic: str) -> None:
    """Remove a subscription."""
    columns = subscription_table.c
    connection.execute(delete(subscription_table).where(columns.topic == topic, columns.jid == jid))


def drop_node(connection: Connection, jid: str) -> None:
    """Remove whatever a node provides and has subscribed to."""
    for table in (provider_table, subscription_table):
        connection.execute(delete(table).where(table.c.jid == jid))


def put_honeytoken(connection: Connection, topic: str, item: str) -> None:
    """Store a honeytoken that is not there."""
    connection.execute(insert(honeytoken_table).values(topic=topic, item=item))


def drop_honeytoken(connection: Connection, topic: str, item: str) -> None:
    """Remove a honeytoken."""
    columns = honeytoken_table.c
    connection.execute(delete(honeytoken_table).where(columns.topic == topic, columns.item == item))


def detail_of(topic: Topic) -> dict[str, Any]:
    """A topic for the audit record and the admin API, without its name."""
    detail = _values(topic)
    del detail["name"]
    return detail


def _values(topic: Topic) -> dict[str, Any]:
    return {
        "name": topic.name,
        "capability": topic.capability,
        "version": topic.version,
        "type": topic.type,
        "title": topic.title,
        "payload": topic.payload.value,
        "schema": topic.schema,
        "flow": topic.flow.value,
        "cacheable": topic.cacheable,
        "persist": topic.persist,
        "access_model": topic.access_model.value,
        "enabled": topic.enabled,
        "restricted": topic.restricted,
        "honeytoken": topic.honeytoken,
        "creator": topic.creator,
        "created": topic.created,
        "epoch": topic.epoch,
    }


def _topic(row: Row[Any]) -> Topic:
    values = dict(row._mapping)
    values["payload"] = Payload(values["payload"])
    values["flow"] = Flow(values["flow"])
    values["access_model"] = AccessModel(values["access_model"])
    return Topic(**values)


def _provider(row: Row[Any]) -> Provider:
    queries, notifications = (tuple(json.loads(names)) for names in (row.queries, row.notifications))
    return Provider(row.jid, row.topic, queries, notifications, row.schema)


def _subscription(row: Row[Any]) -> Subscription:
    return Subscription(row.jid, row.topic, Subscribed(row.state), row.since)
