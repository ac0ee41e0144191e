"""``stanzagate topic`` and ``stanzagate access`` against a running service."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from component.base.enforcement import NotConfirmed
from grid.access import Access, AccessChange
from grid.epochs import Epochs
from grid.model import Node, NodeState, Provider, Subscribed
from grid.topics import Topics
from tests.unit.adminkit import Scene, scene

XSD = """<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:x">
<xs:element name="a" type="xs:int"/></xs:schema>"""
NODES = {
    "soc1@grid.test": Node("soc1@grid.test", NodeState.ACTIVE, ("lab",)),
    "soc2@grid.test": Node("soc2@grid.test", NodeState.ACTIVE),
    "soc3@grid.test": Node("soc3@grid.test", NodeState.PENDING, ("lab",)),
}


@dataclass
class Parts:
    """The two registries of a grid that these commands are about; nodes are given, there is no XMPP server."""

    topics: Topics
    access: Access


@dataclass
class Place:
    scene: Scene
    grid: Parts
    said: Any

    async def run(self, *arguments: str) -> int:
        return await self.scene.run(*arguments)

    async def told(self, *arguments: str, code: int = 0) -> Any:
        """The JSON document of a command."""
        self.said()
        assert await self.run(*arguments, "--json") == code
        return json.loads(self.said().out)


@pytest.fixture
async def here(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> AsyncIterator[Place]:
    async with contextlib.AsyncExitStack() as stack:
        running = await stack.enter_async_context(scene(tmp_path))
        services = running.services
        epochs = Epochs(services.store)
        await epochs.load()
        topics = Topics(services.store, services.audit, epochs)
        access = Access(
            services.store, services.audit, epochs, node=NODES.get,
            members=lambda group: [jid for jid, node in NODES.items() if group in node.groups],
            topics=topics.all, topic=topics.get,
        )  # fmt: skip
        topics.standing = access.standing
        await topics.load()
        await access.load()
        object.__setattr__(services, "grid", Parts(topics, access))
        yield Place(running, services.grid, capfd.readouterr)  # type: ignore[arg-type]


async def test_a_topic_from_the_beginning_to_the_end(here: Place, tmp_path: Path) -> None:
    (tmp_path / "a.xsd").write_text(XSD)
    add = ("topic", "add", "Host", "1.0", "--type", "urn:x", "--schema", str(tmp_path / "a.xsd"), "--persist", "3")
    tried = await here.told(*add, "--dry-run")
    assert (tried["id"], tried["dry_run"]) == ("Host-1.0", True) and here.grid.topics.get("Host-1.0") is None
    made = await here.told(*add, "--access-model", "authorize", "--honeytoken")
    assert made["id"] == "Host-1.0" and not made["dry_run"]
    assert await here.run(*add) == 1
    await here.grid.topics.enroll(Provider("soc1@grid.test", "Host-1.0", ("whois",)))
    await here.grid.topics.subscribe("soc1@grid.test", "Host-1.0", Subscribed.SUBSCRIBED)
    await here.grid.topics.subscribe("soc2@grid.test", "Host-1.0", Subscribed.PENDING)
    await here.run("access", "permit", "soc2@grid.test", "publish", "Host-*")
    shown = await here.told("topic", "show", "Host-1.0")
    wanted = {
        "capability": "Host", "version": "1.0", "type": "urn:x", "persist": 3, "access_model": "authorize",
        "validated": ["schema"],
    }  # fmt: skip
    assert {name: shown[name] for name in wanted} == wanted
    assert (shown["publishers"], shown["subscribers"], shown["pending"], shown["subtopics"]) == (
        ["soc2@grid.test"], ["soc1@grid.test"], ["soc2@grid.test"], [],
    )  # fmt: skip
    assert shown["providers"] == [{"jid": "soc1@grid.test", "queries": ["whois"], "notifications": []}]
    assert shown["honeytoken"] and not shown["enforce_restriction"] and len(shown["schema_digest"]) == 64
    here.said()
    assert await here.run("topic", "show", "Host-1.0") == 0
    assert "subscribers:    soc1@grid.test" in here.said().out
    listed = await here.told("topic", "list")
    assert [(row["name"], row["enabled"], row["subscribers"], row["pending"]) for row in listed] == [
        ("Host-1.0", True, 1, 1), ("IODEF-1.0", True, 0, 0),
    ]  # fmt: skip
    lost = await here.told("topic", "disable", "Host-1.0", "--dry-run")
    assert lost["loses"] == [{"jid": "soc2@grid.test", "action": "publish", "topic": "Host-1.0"}]
    assert await here.run("topic", "disable", "Host-1.0") == 0
    assert await here.run("topic", "enable", "Host-1.0") == 0
    assert await here.run("topic", "configure", "Host-1.0", "--title", "Hosts", "--no-honeytoken") == 0
    assert (await here.told("topic", "show", "Host-1.0"))["title"] == "Hosts"
    assert await here.told("topic", "honeytoken", "Host-1.0", "a/b") == ["a/b"]
    assert await here.told("topic", "honeytoken", "Host-1.0", "a/b", "--remove") == []
    assert await here.run("topic", "delete", "Host-1.0") == 0
    assert await here.run("topic", "delete", "Host-1.0") == 1
    rows = [row for row in await here.scene.actions() if row[2] == "Host-1.0" and row[0].startswith("unix:")]
    assert [action for _, action, _ in rows] == [
        "topic.added", "topic.disabled", "topic.enabled", "topic.configured", "topic.honeytoken_added",
        "topic.honeytoken_removed", "topic.deleted",
    ]  # fmt: skip


WRONG = [
    (("topic", "add", "Host", "1.0"), 2),
    (("topic", "add", "Host/x", "1.0", "--type", "urn:x"), 2),
    (("topic", "add", "Host", "1.0", "--type", "a b"), 2),
    (("topic", "add", "Host", "1.0", "--type", "urn:x", "--payload", "yaml"), 2),
    (("topic", "add", "Host", "1.0", "--type", "urn:x", "--persist", "999"), 2),
    (("topic", "add", "Host", "1.0", "--type", "urn:x", "--enforce-restriction"), 2),
    (("topic", "add", "Host", "1.0", "--type", "urn:x", "--schema", "/dev/null"), 2),
    (("topic", "add", "Host", "1.0", "--type", "urn:x", "--schema", "/nowhere/x.xsd"), 2),
    (("topic", "show", "Nothing"), 1),
    (("topic", "show", "a/../b"), 1),
    (("topic", "enable", "Nothing"), 1),
    (("topic", "delete", "IODEF-1.0"), 1),
    (("access", "permit", "soc1", "publish", "T"), 2),
    (("access", "permit", "soc1@grid.test", "sing", "T"), 2),
    (("access", "permit", "soc1@grid.test", "publish", "a b"), 2),
    (("access", "remove", "77"), 1),
    (("access", "explain", "soc1@grid.test", "sing", "T"), 2),
    (("access", "explain", "soc1@grid.test", "read", "T*"), 2),
    (("access", "explain", "a@@b", "read", "T"), 2),
]


async def test_what_goes_wrong_says_so(here: Place) -> None:
    for arguments, code in WRONG:
        here.said()
        assert await here.run(*arguments) == code, arguments
        out, err = here.said()
        assert not out and "stanzagate: error: " in err and "Traceback" not in err and "defect" not in err


async def test_explaining_is_what_is_enforced(here: Place) -> None:
    explain = ("access", "explain", "soc1@grid.test", "publish", "IODEF-1.0")
    assert await here.told(*explain, code=1) == {
        "node": "soc1@grid.test", "action": "publish", "topic": "IODEF-1.0", "decision": "deny", "policies": [],
        "reason": "no rule permits it",
    }  # fmt: skip
    tried = await here.told("access", "permit", "group:lab", "sensor", "IODEF-*", "--dry-run")
    assert (tried["won"], tried["id"]) == (1, None)
    assert tried["gains"] == [{"jid": "soc1@grid.test", "action": "publish", "topic": "IODEF-1.0"}]
    assert (await here.told("access", "permit", "group:lab", "sensor", "IODEF-*", "--comment", "try"))["id"] == 1
    assert (await here.told("access", "permit", "group:lab", "sensor", "IODEF-*"))["id"] == 1
    assert await here.told(*explain) == {
        "node": "soc1@grid.test", "action": "publish", "topic": "IODEF-1.0", "decision": "permit",
        "policies": ["rule 1"], "reason": "rule 1 permits group:lab (sensor) to publish to IODEF-*",
    }  # fmt: skip
    await here.run("access", "forbid", "soc1@grid.test", "publish", "*")
    here.said()
    assert await here.run(*explain) == 1
    assert here.said().out == (
        "deny: soc1@grid.test publish IODEF-1.0: rule 2 forbids soc1@grid.test to publish to *\n"
    )
    pending = await here.told("access", "explain", "soc3@grid.test/x", "publish", "IODEF-1.0", code=1)
    assert pending["reason"] == "soc3@grid.test is pending"
    listed = await here.told("access", "list")
    assert [(row["id"], row["effect"], row["subject"], row["action"], row["topic"]) for row in listed] == [
        (1, "permit", "group:lab", "sensor", "IODEF-*"), (2, "forbid", "soc1@grid.test", "publish", "*"),
    ]  # fmt: skip
    assert (await here.told("access", "list", "--roles"))["sensor"] == ["publish"]
    assert await here.run("access", "remove", "2") == 0 and await here.run(*explain) == 0
    assert await here.run("access", "list") == 0
    assert "try (unix:" in here.said().out
    async with here.scene.client() as client:
        rights = (await client.get("/v1/access/rights/soc1@grid.test")).json()
    assert rights == [{"jid": "soc1@grid.test", "action": "publish", "topic": "IODEF-1.0"}]


async def test_a_change_that_is_not_confirmed_fails_and_stays(here: Place) -> None:
    async def deaf(_change: AccessChange) -> None:
        raise NotConfirmed("The plugin on grid.test has not confirmed it.")

    here.grid.access.listeners.append(deaf)
    assert await here.run("access", "permit", "soc1@grid.test", "read", "*") == 1
    assert "grid.test has not confirmed" in here.said().err
    assert len(here.grid.access.rules()) == 1


async def test_reading_is_not_changing(here: Place) -> None:
    async with here.scene.client("dash-secret") as client:
        assert (await client.get("/v1/topics")).status_code == 200
        assert (await client.get("/v1/access")).status_code == 200
        body = {"effect": "permit", "subject": "soc1@grid.test", "action": "member", "topic": "*"}
        assert (await client.post("/v1/access", json=body)).status_code == 403
        assert (await client.patch("/v1/topics/IODEF-1.0", json={"enabled": False})).status_code == 403
    async with here.scene.client() as client:
        both = await client.patch("/v1/topics/IODEF-1.0", json={"enabled": False, "title": "x"})
        assert both.status_code == 400
        assert (await client.post("/v1/topics", json={"capability": "A", "schema_base64": "§"})).status_code == 400
        assert (await client.post("/v1/topics", json={"capability": "A", "nonsense": 1})).status_code == 422


async def test_without_a_grid(here: Place) -> None:
    object.__setattr__(here.scene.services, "grid", None)
    assert await here.run("topic", "list") == 1
    assert "no grid" in here.said().err
    assert await here.run("access", "explain", "soc1@grid.test", "read", "T") == 1
