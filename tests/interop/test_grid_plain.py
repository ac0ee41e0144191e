"""RFC 8600 as two libraries speak it, against the broker of a real grid: every example of its sections 5 and 6."""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator

import pytest

from tests.interop.conftest import Sandbox
from tests.interop.plain import (
    EVENT,
    INCIDENT,
    INFO,
    IODEF,
    PUBSUB,
    Office,
    events,
    office,
    received,
    settled,
    states,
)
from tests.interop.plainclients import LIBRARIES, PlainNode, Refused, plain_client
from tests.interop.puppet import until

pytestmark = pytest.mark.timeout(60)

AUTHORIZE = {"access_model": "authorize", "persist_items": "1", "send_last_published_item": "never"}
"""The configuration of RFC 8600 §6."""

SCHEMA_LOCATION = "{http://www.w3.org/2001/XMLSchema-instance}schemaLocation"
"""Both libraries drop it when they write: its prefix is none that they know."""


@contextlib.asynccontextmanager
async def unknown(sandbox: Sandbox, desk: Office, name: str) -> AsyncIterator[tuple[str, str]]:
    """An account that the grid has never heard of, before and after; its bare JID and its password."""
    row = sandbox.account(name)
    if await desk.state(row["jid"]):
        await desk.forget(row["jid"])
    try:
        yield row["jid"], row["password"]
    finally:
        await desk.forget(row["jid"])


Tree = tuple[str, dict[str, str], str, list["Tree"]]


def tree(element: ET.Element, leave_out: str = "") -> Tree:
    """An element, whatever its prefixes and its white space."""
    attributes = {name: " ".join(value.split()) for name, value in element.attrib.items() if name != leave_out}
    return element.tag, attributes, (element.text or "").strip(), [tree(child) for child in element]


def payload(node: PlainNode, id: str) -> Tree:
    """What a node was told of that item."""
    (found,) = [
        item[0] for stanza in node.wire.stanzas for item in stanza.iter(f"{{{EVENT}}}item") if item.get("id") == id
    ]
    return tree(found)


@pytest.mark.parametrize("library", LIBRARIES)
async def test_the_examples_of_rfc_8600(sandbox: Sandbox, library: str) -> None:
    """From the first request of a node that nobody knows, to an incident that another one receives."""
    other = LIBRARIES[1 - LIBRARIES.index(library)]
    async with contextlib.AsyncExitStack() as stack:
        desk = await stack.enter_async_context(office(sandbox))
        name = desk.name()
        mine = await stack.enter_async_context(unknown(sandbox, desk, "soc4"))
        consumer = await desk.node()
        provider = await stack.enter_async_context(plain_client(library, sandbox, *mine))
        reader = await stack.enter_async_context(plain_client(other, sandbox, consumer, desk.passwords[consumer]))

        # its first request registers it
        with pytest.raises(Refused, match="auth/registration-required"):
            await provider.info()
        assert await desk.state(mine[0]) == "pending"
        await desk.decide(mine[0], "approve")
        assert name not in await provider.discover()

        # §6, create
        with pytest.raises(Refused, match="auth/forbidden"):
            await provider.create(name)
        await desk.permit(mine[0], "publish", name)
        await provider.create(name)
        with pytest.raises(Refused, match="cancel/conflict"):
            await provider.create(name)
        await provider.configure(name, {"type": IODEF, "title": "MILE Host Data"})

        # §5, discovery: nobody sees what he has no right on
        assert name not in await reader.discover()
        with pytest.raises(Refused, match="cancel/item-not-found"):
            await reader.subscribe(name)
        await desk.permit(consumer, "subscribe", name)
        assert (await reader.discover())[name] == "MILE Host Data"
        identities, features, kind = await reader.info(name)
        assert (identities, kind) == ({"pubsub/leaf"}, IODEF) and PUBSUB in features
        identities, features, _ = await reader.info()
        assert "pubsub/service" in identities and {PUBSUB, INFO, f"{PUBSUB}#access-authorize"} <= features

        # §6, subscribe, publish, receive
        assert await reader.subscribe(name) == "subscribed"
        assert await reader.subscriptions() == {name: "subscribed"}
        await provider.publish(name, "8bh1g27skbga47fh9wk7")
        await received(reader.wire, name, "8bh1g27skbga47fh9wk7")
        await until(lambda: reader.told == ["8bh1g27skbga47fh9wk7"])
        expected = tree(ET.fromstring(INCIDENT), leave_out=SCHEMA_LOCATION)
        assert payload(reader, "8bh1g27skbga47fh9wk7") == expected
        with pytest.raises(Refused, match="auth/forbidden"):
            await reader.publish(name, "mine")

        # the end
        await reader.unsubscribe(name)
        await provider.publish(name, "later")
        await settled(reader.wire)
        assert events(reader.wire, name) == ["8bh1g27skbga47fh9wk7"]
        with pytest.raises(Refused, match="forbidden"):
            await reader.delete(name)
        await provider.delete(name)
        assert name not in await provider.discover()


@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_topic_whose_subscribers_wait_for_a_decision(sandbox: Sandbox, library: str) -> None:
    """RFC 8600's configuration: authorize, kept items; and an incident that comes while the subscriber is away."""
    other = LIBRARIES[1 - LIBRARIES.index(library)]
    async with contextlib.AsyncExitStack() as stack:
        desk = await stack.enter_async_context(office(sandbox))
        name = desk.name()
        mine, theirs = await desk.node(), await desk.node()
        await desk.permit(mine, "publish", name)
        provider = await stack.enter_async_context(plain_client(other, sandbox, mine, desk.passwords[mine]))
        await provider.create(name, AUTHORIZE | {"type": IODEF})
        config = await provider.configuration(name)
        assert (config["access_model"], config["send_last_published_item"]) == ("authorize", "never")
        assert config["persist_items"] in ("1", "true", True)

        async with plain_client(library, sandbox, theirs, desk.passwords[theirs]) as reader:
            assert name in await reader.discover()
            assert await reader.subscribe(name) == "pending"
            assert await reader.subscribe(name) == "pending"
            assert await reader.subscriptions() == {name: "pending"}
            await provider.publish(name, "before")
            with pytest.raises(Refused, match="auth/"):
                await reader.items(name)
            await desk.permit(theirs, "subscribe", name)
            await until(lambda: states(reader.wire, name) == ["subscribed"])
            assert await reader.subscriptions() == {name: "subscribed"}
            assert await reader.subscribe(name) == "subscribed"
            await provider.publish(name, "after")
            await received(reader.wire, name, "after")

        await provider.publish(name, "away-1")
        await provider.publish(name, "away-2")
        async with plain_client(library, sandbox, theirs, desk.passwords[theirs]) as reader:
            await received(reader.wire, name, "away-1", "away-2")
            await until(lambda: reader.told == ["away-1", "away-2"])

            await desk.permit(theirs, "read", name)
            assert await reader.items(name) == ["before", "after", "away-1", "away-2"]
            await provider.retract(name, "after")
            assert await reader.items(name) == ["before", "away-1", "away-2"]
            assert await reader.items(name, 1) == ["away-2"]
        await provider.delete(name)
