"""What the admin API gives relays: over a real socket and real TCP, with the real policy behind it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from component.base.enforcement import NotConfirmed
from component.base.errors import Conflict
from component.base.pluginstatus import Guard, PluginMode
from component.gate.rules import Effect
from stanzagate.admin.following import MAX_WAITING, Following
from stanzagate.admin.relays import MAX_RELAYS, Guarded, Relays
from tests.unit.adminkit import Scene, registered, scene

ASK = {"requester": "acs@partner.test/r", "device": "cpe1@cpe.test/tr069", "partner": "partner.test"}
CHANGES = {"relay": "edge"}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path, patience=0.2) as running:
        await registered(running)
        yield running


@pytest.fixture
async def api(here: Scene) -> AsyncIterator[httpx.AsyncClient]:
    async with here.client() as client:
        yield client


class Follower:
    """A relay that follows the changes by hand."""

    def __init__(self, api: httpx.AsyncClient, lines: AsyncIterator[str], name: str) -> None:
        self._api = api
        self._lines = lines
        self._name = name
        self.first: dict[str, Any] = {}

    async def next(self) -> dict[str, Any]:
        """The next line that is not a sign of life."""
        while not (found := await self.line()):
            continue
        return found

    async def line(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await anext(self._lines))
        return found

    async def confirm(self, epoch: int, **fields: Any) -> httpx.Response:
        body = {"relay": self._name, "stream": self.first["stream"], "epoch": epoch, **fields}
        return await self._api.post("/v1/relay/confirmations", json=body)


@contextlib.asynccontextmanager
async def following(api: httpx.AsyncClient, name: str = "edge") -> AsyncIterator[Follower]:
    async with api.stream("GET", "/v1/relay/changes", params={"relay": name}) as response:
        assert response.status_code == 200
        follower = Follower(api, response.aiter_lines(), name)
        follower.first = await follower.next()
        yield follower


async def suspended(here: Scene, requester: str) -> int:
    return (await here.services.policy.suspend("unix:test", requester)).epoch


# -- questions -------------------------------------------------------------------------------------------------------


async def test_a_question_is_decided_and_recorded_as_a_plugins_is(here: Scene, api: httpx.AsyncClient) -> None:
    policy = here.services.policy
    denied = (await api.get("/v1/relay/decision", params=ASK)).json()
    assert (denied["effect"], denied["scope"], denied["rule"]) == ("deny", "bare", "none")
    await policy.add_rule("unix:test", Effect.ALLOW, "acs@partner.test", "d1")
    assert (await api.get("/v1/relay/decision", params=ASK)).json() == {
        "effect": "allow", "scope": "bare", "ttl": 300.0, "stale": 3600.0, "epoch": policy.epoch, "rule": "1",
        "reason": "rule 1 allows every resource of acs@partner.test to wake d1",
    }  # fmt: skip
    rows = await here.actions()
    assert ("acs@partner.test", "wake.denied", "d1") in rows
    assert ("acs@partner.test/r", "wake.permitted", "d1") in rows
    assert [item.requester for item in here.services.observations.suggest(policy)] == []  # the rule allows it by now
    assert here.services.relays.decisions == {"allow": 1, "deny": 1}


async def test_a_decision_that_will_change_by_itself_holds_no_longer(here: Scene, api: httpx.AsyncClient) -> None:
    end = here.services.clock() + 30
    await here.services.policy.add_rule("unix:test", Effect.ALLOW, "acs@partner.test/r", "all", expires=end)
    found = (await api.get("/v1/relay/decision", params=ASK)).json()
    assert (found["effect"], found["scope"]) == ("allow", "full")
    assert 0 < found["ttl"] == found["stale"] <= 30


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"device": "cpe1@other.test"}, "guarded host"),
        ({"partner": "other.test"}, "no address of the partner"),
        ({"requester": "a@b@c"}, "not a JID"),
        ({"device": "@"}, "not a JID"),
    ],
)
async def test_what_nobody_may_ask_is_an_error(api: httpx.AsyncClient, fields: dict[str, str], said: str) -> None:
    answer = await api.get("/v1/relay/decision", params={**ASK, **fields})
    assert answer.status_code == 400 and said in answer.json()["message"]


async def test_nothing_is_decided_while_the_policy_cannot_be_had(here: Scene, api: httpx.AsyncClient) -> None:
    here.services.policy.changes.available = False
    answer = await api.get("/v1/relay/decision", params=ASK)
    assert (answer.status_code, answer.json()["error"]) == (503, "unreachable")
    assert here.services.relays.decisions == {"none": 1}


# -- changes ---------------------------------------------------------------------------------------------------------


async def test_the_stream_says_where_the_policy_stands_and_then_every_change(
    here: Scene, api: httpx.AsyncClient
) -> None:
    async with following(api) as relay:
        epoch = here.services.policy.epoch
        assert relay.first == {
            "epoch": epoch, "guarded_hosts": ["cpe.test"], "guard": "connection-requests", "gate": "gate.test",
            "stale_limit": 3600.0, "stream": relay.first["stream"],
        }  # fmt: skip
        assert await relay.line() == {}  # a sign of life
        async with asyncio.TaskGroup() as group:
            change = group.create_task(suspended(here, "acs@partner.test"))
            line = await relay.next()
            assert line == {"epoch": epoch + 1, "requester": "acs@partner.test", "device": ""}
            assert not change.done()
            assert (await relay.confirm(epoch)).status_code == 204  # that is not enough
            assert (await relay.confirm(epoch + 1)).status_code == 204
        assert change.result() == epoch + 1
        assert here.services.relays.states() == {"following": 1, "lost": 0}


async def test_a_relay_that_does_not_confirm_is_named(
    here: Scene, api: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    async with following(api):
        assert await here.run("jid", "suspend", "acs@partner.test") == 1
        said = capsys.readouterr().err
        assert "acs@partner.test is suspended" in said and "relay edge (no answer within 0.2 s)" in said
        answer = await api.delete("/v1/suspensions/acs@partner.test")
        assert (answer.status_code, answer.json()["error"]) == (504, "not-confirmed")
        assert "relay edge" in answer.json()["message"]


async def test_a_relay_that_is_lost_is_waited_for_until_what_it_remembers_is_stale(
    here: Scene, api: httpx.AsyncClient
) -> None:
    relays, now = here.services.relays, 1000.0
    relays._now = lambda: now
    async with following(api):
        pass
    while relays.states()["lost"] != 1:
        await asyncio.sleep(0)
    with pytest.raises(NotConfirmed, match=r"relay edge \(its stream is lost\)"):
        await suspended(here, "a@partner.test")
    async with following(api) as relay:  # it has forgotten everything by then, and says so
        await relay.confirm(relay.first["epoch"])
        async with asyncio.TaskGroup() as group:
            group.create_task(suspended(here, "b@partner.test"))
            await relay.confirm((await relay.next())["epoch"])
    while relays.states()["lost"] != 1:
        await asyncio.sleep(0)
    now += 3600 + 1
    assert await suspended(here, "c@partner.test")
    assert relays.states() == {"following": 0, "lost": 0}


async def test_a_change_is_confirmed_by_a_relay_that_comes_back_while_it_waits(
    here: Scene, api: httpx.AsyncClient
) -> None:
    here.services.relays._patience = 60
    async with following(api):
        pass
    async with asyncio.TaskGroup() as group:
        epoch = here.services.policy.epoch
        group.create_task(suspended(here, "a@partner.test"))
        while here.services.policy.epoch == epoch:
            await asyncio.sleep(0)
        async with following(api) as relay:
            assert relay.first["epoch"] == epoch + 1
            await relay.confirm(epoch + 1)


async def test_nobody_waits_for_a_relay_that_has_said_goodbye(here: Scene, api: httpx.AsyncClient) -> None:
    async with following(api) as relay:
        parameters = {"relay": "edge", "stream": "another"}
        assert (await api.delete("/v1/relay/changes", params=parameters)).status_code == 409
        parameters["stream"] = relay.first["stream"]
        assert (await api.delete("/v1/relay/changes", params=parameters)).status_code == 204
        with pytest.raises(StopAsyncIteration):
            await relay.next()
        assert await suspended(here, "a@partner.test")
        assert (await relay.confirm(1)).status_code == 409


async def test_a_second_stream_of_a_name_takes_the_place_of_the_first(here: Scene, api: httpx.AsyncClient) -> None:
    async with following(api) as old, following(api) as new:
        problem = (await old.next())["problem"]
        assert problem["error"] == "conflict" and "edge" in problem["message"]
        assert (await old.confirm(0)).status_code == 409
        assert (await new.confirm(0)).status_code == 204
        assert here.services.relays.states() == {"following": 1, "lost": 0}


async def test_what_is_confirmed_must_have_happened(here: Scene, api: httpx.AsyncClient) -> None:
    async with following(api) as relay:
        assert (await relay.confirm(here.services.policy.epoch + 1)).status_code == 409
        assert (await relay.confirm(-1)).status_code == 422
        assert (await relay.confirm(0, relay="other")).status_code == 409
        assert (await relay.confirm(0, more=1)).status_code == 422


async def test_a_silent_plugin_keeps_no_relay_from_hearing_of_a_change(
    here: Scene, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("component.base.guardedhost.CONFIRM_SECONDS", 0.2)
    here.silent.add("cpe.test")
    here.services.enforcement.hosts["cpe.test"].mode = PluginMode.UNKNOWN
    async with following(api) as relay:
        async with asyncio.TaskGroup() as group:
            change = group.create_task(api.post("/v1/suspensions", json={"requester": "a@partner.test"}, timeout=30))
            line = await relay.next()
            assert line["requester"] == "a@partner.test" and not change.done()
        message = change.result().json()["message"]
        assert "cpe.test (" in message and "relay edge (" in message


async def test_the_end_of_the_service_ends_the_streams(here: Scene, api: httpx.AsyncClient) -> None:
    async with following(api) as relay, asyncio.TaskGroup() as group:
        group.create_task(here.admin.stop())
        assert (await relay.next())["problem"]["error"] == "unreachable"


async def test_whoever_is_too_slow_is_told_to_forget_everything() -> None:
    stream = Following("edge", "s1", {})
    for number in range(MAX_WAITING + 1):
        stream.tell(number, "a@partner.test", "cpe1@cpe.test")
    assert await stream.next(0) == {"epoch": MAX_WAITING, "requester": "", "device": ""}
    assert await stream.next(0) == {}


async def test_there_are_never_too_many_relays() -> None:
    guarded = Guarded(("cpe.test",), Guard.EVERYTHING, "gate.test", 300, 3600)
    relays = Relays(lambda *_: pytest.fail("nobody asks"), guarded, lambda: 7)
    for number in range(MAX_RELAYS):
        relays.leave(relays.follow(f"r{number}"))
    with pytest.raises(Conflict, match="follow already"):
        relays.follow("one-more")
    relays.leave(relays.follow("r0"))  # those that are known may come back


async def test_relays_are_waited_for_after_a_restart_until_what_they_remember_is_stale(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory, now = tmp_path / "relays.json", 1000.0

    def started() -> Relays:
        guarded = Guarded(("cpe.test",), Guard.EVERYTHING, "gate.test", 300, 3600)
        return Relays(
            lambda *_: pytest.fail("nobody asks"), guarded, lambda: 7, memory=memory, patience=0.01, now=lambda: now
        )

    before = started()
    before.follow("edge")
    before.goodbye("other", before.follow("other").id)
    after = started()
    assert after.states() == {"following": 0, "lost": 1}
    with pytest.raises(NotConfirmed, match="relay edge"):
        await after.flush(7)
    now += 3601
    await after.flush(7)
    assert started().states() == {"following": 0, "lost": 0}
    for nonsense in (b"{", b"[7, {}]", b"5"):
        memory.write_bytes(nonsense)
        assert started().states() == {"following": 0, "lost": 0}
    memory.unlink()
    memory.mkdir()
    started().follow("edge")  # it can do without
    assert "cannot be written" in caplog.text


# -- events ----------------------------------------------------------------------------------------------------------

EVENT = {"time": 1700000000.5, "action": "relay.authorized", "subject": "partner.test", "detail": {"by": "external"}}


async def test_events_become_rows_of_the_record_once(here: Scene, api: httpx.AsyncClient) -> None:
    for batch, recorded in (("b1", 1), ("b1", 0), ("b2", 1), ("", 1), ("", 1)):
        answer = await api.post("/v1/relay/events", params={"relay": "edge", "batch": batch}, json=[EVENT])
        assert answer.json() == {"recorded": recorded}
    assert [row for row in await here.actions() if row[0] == "relay:edge"] == [
        ("relay:edge", "relay.authorized", "partner.test")
    ] * 4
    row = (await here.services.audit.rows(newest=True, limit=1))[0]
    assert row.detail["time"] == EVENT["time"] and row.detail["by"] == "external"
    assert row.detail["told_by"].startswith("unix:")


@pytest.mark.parametrize(
    "wrong",
    [
        {"action": "rule.added"},
        {"action": "relay"},
        {"action": "relay."},
        {"subject": "x" * 5000},
        {"actor": "unix:root"},
    ],
)
async def test_a_relay_speaks_of_its_own_doings_only(here: Scene, api: httpx.AsyncClient, wrong: Any) -> None:
    before = await here.actions()
    answer = await api.post("/v1/relay/events", params=CHANGES, json=[EVENT, {**EVENT, **wrong}])
    assert answer.status_code == 422
    assert await here.actions() == before


async def test_what_is_not_json_is_not_recorded(here: Scene, api: httpx.AsyncClient) -> None:
    text = json.dumps([EVENT, {**EVENT, "detail": {"x": float("nan")}}])
    headers = {"Content-Type": "application/json"}
    answer = await api.post("/v1/relay/events", params=CHANGES, content=text, headers=headers)
    assert answer.status_code in (400, 422)
    assert not [row for row in await here.actions() if row[0] == "relay:edge"]


# -- who may ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "a b", "ä", "a/b", "x" * 65, "-a"])
async def test_names_of_relays_are_plain(api: httpx.AsyncClient, name: str) -> None:
    assert (await api.get("/v1/relay/changes", params={"relay": name})).status_code == 422


async def test_the_role_relay_may_this_and_nothing_else(here: Scene) -> None:
    async with here.client("edge-secret") as edge:
        assert (await edge.get("/v1/relay/decision", params=ASK)).is_success
        assert (await edge.post("/v1/relay/events", params=CHANGES, json=[EVENT])).is_success
        async with following(edge) as relay:
            assert (await relay.confirm(0)).is_success
            parameters = {"relay": "edge", "stream": relay.first["stream"]}
            assert (await edge.delete("/v1/relay/changes", params=parameters)).is_success
        for path in (
            "/v1/rules",
            "/v1/check",
            "/metrics",
            "/v1/audit",
            "/v1/relay",
            "/v1/relays/x",
            "/v1/devices.csv",
        ):
            assert (await edge.get(path)).status_code == 403, path
        for path in ("/v1/relay/../rules", "/v1/relay/%2e%2e/rules", "/v1/relay//v1/rules"):
            assert (await edge.get(path)).status_code in (403, 404), path
        assert (await edge.post("/v1/suspensions", json={"requester": "a@b.test"})).status_code == 403
        assert (await edge.get("/healthz")).is_success
    async with here.client("dash-secret") as reader:
        assert (await reader.get("/v1/relay/decision", params=ASK)).status_code == 403
        assert (await reader.get("/v1/relay/changes", params=CHANGES)).status_code == 403
    async with here.client("ops-secret") as admin:
        assert (await admin.get("/v1/relay/decision", params=ASK)).is_success
    detail = (await here.services.audit.rows(newest=True, limit=1))[0].detail if await here.actions() else {}
    assert detail.get("told_by", "token:edge") == "token:edge"


async def test_what_relays_do_all_the_time_does_not_fill_the_log(
    here: Scene, api: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "stanzagate")
    await api.post("/v1/relay/events", params=CHANGES, json=[EVENT])
    await api.get("/v1/relay/decision", params=ASK)
    assert [record for record in caplog.records if record.name.startswith("stanzagate.admin")] == []
