"""Accounts of the grid host by XEP-0133, and what the servers say when something is not configured."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from component.base.errors import Conflict, NotFound, StanzaError
from grid.dataplane.pubsub import Misconfigured, PubSub, Subscriber
from grid.dataplane.users import Users
from stanzagate.sandbox.wire import Stream, StreamFailed
from tests.interop.conftest import Sandbox
from tests.interop.dataplane import dataplane, hanging_up, jid
from tests.interop.rawclient import RawClient, authenticated, beside, bind, context, reading

WORD = "sesam-öffne-dich"


async def test_an_account_is_made_once_and_goes_for_certain(
    server: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with dataplane(server, tmp_path) as plane:
        users, bare = plane.users, jid("fresh")
        assert await users.add(bare, WORD) is True
        assert await users.add(bare, "another") is False
        client = await _logged_in(server, bare, WORD)
        async with reading(*client):
            assert await users.sessions(bare) == {"a"}
            async with beside(hanging_up(client[0])):
                await users.end_sessions(bare)
            assert client[0].ended
            assert await users.sessions(bare) == set()
        await users.set_password(bare)
        with pytest.raises(StreamFailed):
            await _logged_in(server, bare, WORD)
        await users.delete(bare)
        await users.delete(bare)
        with pytest.raises(NotFound):
            await users.set_password(bare, WORD)
        await users.end_sessions(bare)
        assert WORD not in caplog.text
        assert not users.covers("somebody@elsewhere.test") and not users.covers("grid.test")


async def _logged_in(server: Sandbox, bare: str, password: str) -> tuple[RawClient, Stream]:
    stream = await authenticated(server, bare, password, context(server))
    return RawClient(await bind(stream, "a"), stream), stream


async def test_errors_say_what_is_the_matter(server: Sandbox, tmp_path: Path) -> None:
    async with dataplane(server, tmp_path) as plane:
        pubsub = plane.pubsub
        await pubsub.create("E1", {})
        with pytest.raises(Conflict):
            await pubsub.create("E1", {})
        for missing in (
            pubsub.configuration("none"), pubsub.affiliations("none"), pubsub.subscriptions("none"),
            pubsub.delete("none"), pubsub.configure("none", {"title": "x"}), pubsub.items("none"),
            pubsub.set_affiliations("none", {jid("soc1"): "member"}), pubsub.subscribe("none", [jid("soc1")]),
            pubsub.unsubscribe("none", [Subscriber.of(jid("soc1"))]),
        ):  # fmt: skip
            with pytest.raises(NotFound):
                await missing
        nowhere = PubSub(plane.link, "nowhere.grid.test", timeout=5)
        with pytest.raises((Misconfigured, StanzaError)):
            await nowhere.nodes()
        with pytest.raises((Misconfigured, StanzaError)):
            await Users(plane.link, "nowhere.grid.test", timeout=5).add("somebody@nowhere.grid.test")


async def test_many_changes_go_in_batches_and_stop_at_nobody(server: Sandbox, tmp_path: Path) -> None:
    async with dataplane(server, tmp_path) as plane:
        many = [f"n{number}@elsewhere.test" for number in range(300)]
        await plane.pubsub.create("E2", {"access_model": "whitelist"})
        await plane.pubsub.set_affiliations("E2", dict.fromkeys(many, "member"))
        await plane.pubsub.subscribe("E2", many)
        there = await plane.pubsub.subscriptions("E2")
        assert {item.jid for item in there} == set(many)
        await plane.pubsub.unsubscribe("E2", there[:20])
        absent = await plane.pubsub.unsubscribe("E2", there)
        assert absent == {item.jid for item in there[:20]}
        assert await plane.pubsub.subscriptions("E2") == ()
        assert plane.pubsub.requests < 100
