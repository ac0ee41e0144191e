"""What a topic, a provider and a subscription must be to be taken."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from component.base.errors import InputError
from component.base.jid import prepare
from grid.model import Payload, Provider, Topic
from grid.payloads import Schema
from grid.topics_names import name_of, shown, topic_name, type_name, version_name
from grid.topics_rows import LONGEST_ITEM, LONGEST_TITLE

MOST_PERSISTED = 256
"""Items that Prosody's service keeps at most."""

MOST_NAMES = 100
"""Query services, and notifications, of a provider."""

LONGEST_NAME = 200
"""Characters of the name of one."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def checked_topic(topic: Topic) -> Topic:
    """A topic whose every field is possible; its name is made of capability and version when it has none.

    :raises InputError: a field is not.
    """
    capability = topic_name(topic.capability or topic.name)
    name = topic_name(topic.name) if topic.name else name_of(capability, topic.version)
    if topic.version:
        version_name(topic.version)
    if len(topic.title) > LONGEST_TITLE or _CONTROL.search(topic.title):
        raise InputError(f"A title is one line of at most {LONGEST_TITLE} characters.")
    if not 0 <= topic.persist <= MOST_PERSISTED:
        raise InputError(
            f"A server can keep 0 to {MOST_PERSISTED} items of a topic, not {topic.persist}.",
            hint="What nodes want to read later is the history's; see grid.history.",
        )
    if topic.restricted:
        raise InputError(
            "This version cannot enforce IODEF's restriction: the server delivers every item to all subscribers.",
            hint="A later version will; until then let only those subscribe to the topic who may see all of it.",
        )
    creator = prepare(topic.creator).bare if topic.creator else ""
    return replace(topic, name=name, capability=capability, type=type_name(topic.type), creator=creator)


def check_schema(topic: Topic, schema: Schema) -> None:
    """Whether a schema can be that of a topic.

    :raises InputError: nothing that fits the one could fit the other.
    """
    if topic.payload is not schema.payload:
        kind = "a JSON Schema" if schema.payload is Payload.JSON else "an XML Schema"
        raise InputError(f"The schema is {kind}, but the items of {topic.name} are {topic.payload}.")
    if schema.namespace and topic.type and schema.namespace != topic.type:
        raise InputError(
            f"The schema is for the namespace {shown(schema.namespace)}, but the type of {topic.name} is "
            f"{shown(topic.type)}.",
            hint="Write the schema's target namespace as the type.",
        )


def checked_provider(provider: Provider) -> Provider:
    """A provider with a prepared JID and sorted names.

    :raises InputError: the JID or a name cannot be one.
    """
    return replace(
        provider,
        jid=node_jid(provider.jid),
        queries=_names(provider.queries, "query services"),
        notifications=_names(provider.notifications, "notifications"),
    )


def node_jid(text: str) -> str:
    """The bare JID of a node, prepared.

    :raises InputError: it is none.
    """
    jid = prepare(text)
    if jid.resource or not jid.local:
        raise InputError(f"{shown(text)} is not a node.", hint="A node is a bare JID, local@domain.")
    return jid.bare


def item_id(text: str) -> str:
    """The id of an item, checked.

    :raises InputError: it cannot be one.
    """
    if not 0 < len(text) <= LONGEST_ITEM or _CONTROL.search(text):
        raise InputError(f"{shown(text)} is not an item's id.", hint=f"It has 1 to {LONGEST_ITEM} characters.")
    return text


def _names(names: Sequence[str], what: str) -> tuple[str, ...]:
    if len(names) > MOST_NAMES:
        raise InputError(f"There are {len(names)} {what}.", hint=f"At most {MOST_NAMES} are taken.")
    for name in names:
        if not 0 < len(name) <= LONGEST_NAME or _CONTROL.search(name):
            raise InputError(f"{shown(name)} cannot be the name of one of the {what}.")
    return tuple(sorted(set(names)))
