"""The admin API as its users see it: over a real socket and real TCP."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import re
import socket
import tarfile
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import OperationalError

from component.base.store import DatabaseError
from tests.unit.adminkit import Scene, registered, scene

DOCS = Path(__file__).parents[2] / "docs" / "admin-api.md"
ME = f"unix:{pwd.getpwuid(os.getuid()).pw_name}"
ALLOW = {"effect": "allow", "requester": "acs@acs.test", "target": "group:lab"}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as running:
        yield running


@pytest.fixture
async def api(here: Scene) -> AsyncIterator[httpx.AsyncClient]:
    async with here.client() as client:
        yield client


def problem(answer: httpx.Response, status: int, error: str, exit_code: int) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()
    assert (answer.status_code, found["error"], found["exit_code"]) == (status, error, exit_code), found
    assert set(found) == {"error", "message", "hint", "details", "exit_code"}
    return found


async def test_health_tells_what_is_not_up(here: Scene, api: httpx.AsyncClient) -> None:
    answer = await api.get("/healthz")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ok" and answer.json()["gate"] == "attached"
    await here.server.stop()
    while (answer := await api.get("/healthz")).status_code == 200:
        await asyncio.sleep(0.01)
    assert answer.status_code == 503
    assert answer.json()["status"] == "degraded" and answer.json()["gate"] == "detached"


async def test_health_tells_that_the_last_write_failed(here: Scene, api: httpx.AsyncClient) -> None:
    def full(_: object) -> None:
        raise OperationalError("insert", {}, Exception("database or disk is full"))

    with pytest.raises(DatabaseError):
        await here.services.store.write(full)
    answer = await api.get("/healthz")
    health = answer.json()
    assert (answer.status_code, health["status"], health["database"]) == (200, "degraded", "failing")
    assert (await api.post("/v1/suspensions", json={"requester": "acs@acs.test"})).is_success
    answer = await api.get("/healthz")
    assert (answer.status_code, answer.json()["status"], answer.json()["database"]) == (200, "ok", "ok")


async def test_a_rule_is_made_decides_and_goes_and_the_actor_is_the_peers_user(
    here: Scene, api: httpx.AsyncClient
) -> None:
    await registered(here)
    dry = (await api.post("/v1/rules", json={**ALLOW, "dry_run": True})).json()
    assert dry["dry_run"] and not dry["created"]
    assert dry["gains"] == [{"requester": "acs@acs.test", "devices": 3, "examples": ["d1", "d2", "d3"]}]
    made = (await api.post("/v1/rules", json={**ALLOW, "expires": "30d", "comment": "try"})).json()
    rule = made["created"][0]
    assert (dry["id"], made["id"]) == (None, int(rule))
    decision = (await api.get("/v1/check", params={"requester": "acs@acs.test/x", "device": "d1"})).json()
    assert (decision["effect"], decision["rule"], decision["device"]) == ("allow", rule, "d1")
    listed = (await api.get("/v1/rules")).json()["rules"]
    assert [(item["id"], item["comment"], item["actor"]) for item in listed] == [(int(rule), "try", ME)]
    assert listed[0]["expires"] - listed[0]["created"] == pytest.approx(30 * 86400, abs=5)
    gone = (await api.delete(f"/v1/rules/{rule}")).json()
    assert gone["loses"][0]["devices"] == 3 and gone["id"] is None
    assert (ME, "rule.added", rule) in await here.actions()


async def test_the_whole_policy_is_one_list(here: Scene, api: httpx.AsyncClient) -> None:
    await registered(here)
    assert (await api.get("/v1/policy")).json() == []
    await api.post("/v1/rules", json={**ALLOW, "target": "d1", "comment": "try", "expires": 4e9})
    made = (await api.post("/v1/suspensions", json={"requester": "rogue@acs.test"})).json()
    rule, suspension = (await api.get("/v1/policy")).json()
    assert rule.pop("created") <= suspension.pop("created")
    assert rule == {
        "id": 1, "effect": "allow", "requester": "acs@acs.test", "target": "d1", "expires": 4e9,
        "comment": "try", "by": ME,
    }  # fmt: skip
    assert suspension == {
        "id": made["id"], "effect": "suspend", "requester": "rogue@acs.test", "target": None, "expires": None,
        "comment": "", "by": ME,
    }  # fmt: skip


async def test_a_device_that_is_made_is_named_and_one_that_would_be_is_not(api: httpx.AsyncClient) -> None:
    body = {"id": "D1", "jid": "cpe1@cpe.test/x"}
    dry = (await api.post("/v1/devices", json={**body, "dry_run": True})).json()
    assert (dry["id"], dry["created"]) == (None, [])
    made = (await api.post("/v1/devices", json=body)).json()
    assert (made["id"], made["created"]) == ("D1", ["D1"])
    assert (await api.patch("/v1/devices/D1", json={"groups": ["lab"]})).json()["id"] is None


async def test_a_suspension_of_a_full_jid_comes_and_goes(api: httpx.AsyncClient) -> None:
    assert (await api.post("/v1/suspensions", json={"requester": "acs@acs.test/a b"})).is_success
    problem(await api.post("/v1/suspensions", json={"requester": "acs@acs.test/a b"}), 409, "conflict", 1)
    assert (await api.delete("/v1/suspensions/acs%40acs.test%2Fa%20b")).is_success
    problem(await api.delete("/v1/suspensions/acs%40acs.test%2Fa%20b"), 404, "not-found", 1)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "error", "exit_code"),
    [
        ("POST", "/v1/rules", {**ALLOW, "requester": "@@"}, 400, "jid", 2),
        ("POST", "/v1/rules", {**ALLOW, "target": "d9"}, 404, "not-found", 1),
        ("POST", "/v1/rules", {**ALLOW, "expires": "soon"}, 400, "input", 2),
        ("POST", "/v1/rules", {**ALLOW, "effect": "maybe"}, 422, "invalid-request", 2),
        ("POST", "/v1/rules", {**ALLOW, "unknown": 1}, 422, "invalid-request", 2),
        ("DELETE", "/v1/rules/99", None, 404, "not-found", 1),
        ("DELETE", "/v1/rules/x", None, 422, "invalid-request", 2),
        ("GET", "/v1/devices/d9", None, 404, "not-found", 1),
        ("GET", "/v1/nothing", None, 404, "not-found", 2),
        ("PUT", "/v1/rules", {}, 405, "method-not-allowed", 2),
        ("POST", "/v1/campaigns", {"group": "lab", "rate": "fast"}, 400, "input", 2),
        ("POST", "/v1/campaigns", {"group": "lab"}, 404, "not-found", 1),
        ("GET", "/v1/audit?limit=0", None, 422, "invalid-request", 2),
        ("GET", "/v1/render?device=d9", None, 404, "not-found", 1),
        ("GET", f"/v1/audit?after={10**30}", None, 422, "invalid-request", 2),
        ("DELETE", f"/v1/rules/{10**30}", None, 404, "not-found", 1),
        ("POST", "/v1/rules", {**ALLOW, "target": "all", "expires": "9" * 400 + "d"}, 400, "input", 2),
        ("POST", "/v1/rules", {**ALLOW, "target": "all", "expires": 1e300}, 400, "input", 2),
        ("POST", "/v1/rules", {**ALLOW, "target": "all", "expires": "2001-01-01T00:00:00Z"}, 400, "input", 2),
        ("POST", "/v1/suspensions", {"requester": "a@b.test", "comment": "two\nlines"}, 400, "input", 2),
        ("GET", "/v1/devices?after=%40", None, 400, "input", 2),
        ("GET", "/v1/devices?group=a%20b", None, 400, "input", 2),
        ("GET", "/v1/campaigns/%ff", None, 404, "not-found", 1),
        ("GET", "/v1/check?requester=%00&device=d1", None, 400, "jid", 2),
    ],
)
async def test_errors_have_one_form(
    api: httpx.AsyncClient, method: str, path: str, body: Any, status: int, error: str, exit_code: int
) -> None:
    problem(await api.request(method, path, json=body), status, error, exit_code)


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b'{"requester": "\\ud800@a.test"}', b"\xff", b"NaN"])
async def test_a_body_that_is_no_json_of_ours_is_refused(api: httpx.AsyncClient, body: bytes) -> None:
    answer = await api.post("/v1/suspensions", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422} and answer.json()["exit_code"] == 2


async def test_times_that_no_calendar_has_filter_nothing(here: Scene, api: httpx.AsyncClient) -> None:
    await registered(here, 1)
    answer = await api.get("/v1/audit", params={"since": "9" * 400 + "d"})
    assert len(answer.json()) == 1


async def test_an_invalid_body_is_never_echoed(api: httpx.AsyncClient) -> None:
    body = {"id": "d1", "jid": "cpe1@cpe.test/x", "cr_username": "u", "cr_password": ["topsecret"]}
    answer = await api.post("/v1/devices", json=body)
    problem(answer, 422, "invalid-request", 2)
    assert "topsecret" not in answer.text and "cr_password" in answer.text


async def test_devices_are_registered_changed_listed_and_removed(here: Scene, api: httpx.AsyncClient) -> None:
    await registered(here)
    assert (await api.patch("/v1/devices/d2", json={"groups": ["north"]})).is_success
    shown = (await api.get("/v1/devices/cpe2%40cpe.test")).json()
    assert (shown["id"], shown["groups"], shown["online"], shown["since"]) == ("d2", ["north"], False, None)
    assert shown["has_credentials"] and "hidden-2" not in json.dumps(shown)
    first = (await api.get("/v1/devices", params={"limit": 2})).json()
    assert [device["id"] for device in first["devices"]] == ["d1", "d2"]
    assert {"rules"} == set(shown) - set(first["devices"][0])
    second = (await api.get("/v1/devices", params={"limit": 2, "after": first["next"]})).json()
    assert [device["id"] for device in second["devices"]] == ["d3"] and not second["next"]
    assert (await api.delete("/v1/devices/d2")).is_success
    problem(await api.get("/v1/devices/d2"), 404, "not-found", 1)


async def test_an_import_is_streamed_and_names_bad_lines(here: Scene, api: httpx.AsyncClient) -> None:
    async def lines(bad: str = "") -> AsyncIterator[bytes]:
        yield b"id,jid,cr_username,cr_password,groups\n"
        for number in range(2000):
            yield f"n{number},n{number}@cpe.test/x,u,p,lab\n".encode()
        yield bad.encode()

    refused = problem(await api.post("/v1/devices.csv", content=lines("n1,,,,\n")), 400, "input", 2)
    assert any("2002" in line for line in refused["details"])
    assert (await api.get("/v1/devices")).json()["devices"] == []
    assert (await api.post("/v1/devices.csv", content=lines())).is_success
    exported = (await api.get("/v1/devices.csv")).text.splitlines()
    assert len(exported) == 2001 and exported[1].startswith("n0,n0@cpe.test/x,,,")


async def test_rules_are_exported_and_imported_again(here: Scene, api: httpx.AsyncClient) -> None:
    await registered(here)
    await api.post("/v1/rules", json=ALLOW)
    await api.post("/v1/suspensions", json={"requester": "bad@acs.test"})
    exported = (await api.get("/v1/rules.csv")).text
    await api.delete("/v1/rules/1")
    answer = await api.post("/v1/rules.csv", content=b"\xef\xbb\xbf" + exported.encode())
    assert answer.is_success, answer.text
    assert (await api.get("/v1/rules.csv")).text == exported
    problem(await api.post("/v1/rules.csv", content=b"\xff\xfe"), 400, "input", 2)


async def test_a_body_that_is_too_large_is_refused(here: Scene, api: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b"x" * 1024 * 1024

    problem(await api.post("/v1/rules.csv", content=b"x" * (17 * 1024 * 1024)), 413, "too-large", 2)
    assert (await api.post("/v1/rules.csv", content=endless())).status_code == 413


async def test_a_device_is_woken_on_the_operators_authority_or_as_a_requester(
    here: Scene, api: httpx.AsyncClient
) -> None:
    await registered(here)
    woken = (await api.post("/v1/wakes", json={"device": "d1"})).json()
    assert (woken["device"], woken["outcome"], set(woken)) == (
        "d1", "accepted", {"device", "outcome", "via", "elapsed_ms", "detail"},
    )  # fmt: skip
    denied = (await api.post("/v1/wakes", json={"device": "d1", "requester": "rogue@acs.test"})).json()
    assert denied["outcome"] == "denied"
    here.silent.add("cpe2@cpe.test")
    late = (await api.post("/v1/wakes", json={"device": "d2", "timeout": 0.1})).json()
    assert late["outcome"] == "timeout"
    assert (await api.post("/v1/wakes", json={"device": "d9"})).json()["outcome"] == "unknown-device"
    other = problem(await api.post("/v1/wakes", json={"device": "cpe1@cpe.test/other"}), 404, "not-found", 1)
    assert "cpe1@cpe.test/tr069" in other["message"]
    assert (ME, "wake.accepted", "d1") in await here.actions()


async def test_a_group_is_woken_line_by_line(here: Scene, api: httpx.AsyncClient) -> None:
    await registered(here)
    lines = []
    async with api.stream("POST", "/v1/campaigns", json={"group": "lab", "rate": "unlimited"}) as response:
        async for line in response.aiter_lines():
            lines.append(json.loads(line))
    assert lines[0]["campaign"]["total"] == 3 and lines[0]["campaign"]["done"] == 0
    assert sorted(line["result"]["device"] for line in lines[1:-1]) == ["d1", "d2", "d3"]
    assert lines[-1]["campaign"]["outcomes"] == {"accepted": 3} and lines[-1]["campaign"]["state"] == "finished"


async def test_a_client_that_goes_away_interrupts_a_campaign_which_can_be_resumed(
    here: Scene, api: httpx.AsyncClient
) -> None:
    await registered(here)
    async with api.stream("POST", "/v1/campaigns", json={"group": "lab", "rate": "1/min"}) as response:
        lines = response.aiter_lines()
        await anext(lines)
        first = json.loads(await anext(lines))["result"]["device"]
    while (now := (await api.get("/v1/campaigns/lab")).json())["state"] == "running":
        await asyncio.sleep(0.01)
    assert (now["state"], now["done"], now["left"]) == ("interrupted", 1, 2)
    body = {"group": "lab", "rate": "unlimited", "resume": True}
    rest: list[dict[str, Any]] = [{"error": "conflict"}]
    while rest[0].get("error") == "conflict":  # its last devices are just being recorded
        async with api.stream("POST", "/v1/campaigns", json=body) as response:
            rest = [json.loads(line) async for line in response.aiter_lines()]
    devices = [line["result"]["device"] for line in rest if "result" in line]
    assert sorted([first, *devices]) == ["d1", "d2", "d3"]


async def test_the_audit_record_is_read_followed_and_verified(here: Scene, api: httpx.AsyncClient) -> None:
    await registered(here)
    rows = (await api.get("/v1/audit", params={"action": "device.", "limit": 2})).json()
    assert [row["subject"] for row in rows] == ["d1", "d2"]
    newest = (await api.get("/v1/audit", params={"newest": True, "limit": 1, "since": "1h"})).json()
    assert newest[0]["subject"] == "d3"
    async with api.stream("GET", "/v1/audit/follow", params={"after": 3}) as response:
        await api.post("/v1/suspensions", json={"requester": "acs@acs.test"})
        row = json.loads(await anext(response.aiter_lines()))
    assert (row["actor"], row["action"]) == (ME, "requester.suspended")
    assert (await api.get("/v1/audit/verification")).json()["ok"]


async def test_a_backup_is_an_archive_and_is_on_record(here: Scene, api: httpx.AsyncClient) -> None:
    await registered(here)
    answer = await api.post("/v1/backups")
    assert answer.is_success
    with tarfile.open(fileobj=BytesIO(answer.content)) as archive:
        assert "stanzagate.db" in archive.getnames()
    assert not list(here.folder.glob(".backup*"))
    assert (ME, "backup.created", "backup") in await here.actions()


async def test_the_key_of_the_credentials_is_rotated(here: Scene, api: httpx.AsyncClient) -> None:
    await registered(here)
    before = (here.folder / "credentials.key").read_bytes()
    assert (await api.post("/v1/credentials/rotation?dry_run=true")).json() == {"sealed": 3, "dry_run": True}
    assert (here.folder / "credentials.key").read_bytes() == before
    assert (await api.post("/v1/credentials/rotation")).json() == {"sealed": 3, "dry_run": False}
    assert (here.folder / "credentials.key").read_bytes() != before
    assert await here.services.devices.credentials("d1") == ("u1", "hidden-1")


async def test_a_list_for_the_device_and_suggestions(here: Scene, api: httpx.AsyncClient) -> None:
    await registered(here)
    await api.post("/v1/rules", json={**ALLOW, "target": "d1"})
    answer = (await api.get("/v1/render", params={"device": "d1", "via": "both"})).json()
    assert answer["entries"] == ["gate@gate.test/gate", "acs@acs.test"]
    here.services.observations.observe("new@acs.test", "d2")
    assert [item["target"] for item in (await api.get("/v1/suggestions")).json()] == ["d2"]


async def test_metrics_never_name_a_jid(here: Scene, api: httpx.AsyncClient) -> None:
    await registered(here)
    await api.post("/v1/wakes", json={"device": "d1"})
    answer = await api.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'stanzagate_wake_seconds_count{outcome="accepted"} 1.0' in answer.text
    assert "stanzagate_devices 3.0" in answer.text
    assert "@" not in answer.text


async def test_every_route_and_metric_is_documented(here: Scene, api: httpx.AsyncClient) -> None:
    text = DOCS.read_text()
    described = (await api.get("/openapi.json")).json()["paths"]
    routes = {f"`{method.upper()} {path}`" for path, methods in described.items() for method in methods}
    assert routes == set(re.findall(r"`(?:GET|POST|PUT|PATCH|DELETE) [^`]+`", text)) - {"`GET /openapi.json`"}
    told = re.findall(r"^\| `(stanzagate_\w+?)(?:_total)?(?:\{[\w,]+\})?` \|", text, re.MULTILINE)
    # those of a grid have a test of their own, with a grid
    assert {name for name in told if not name.startswith("stanzagate_grid_")} == here.services.metrics.names


# -- TCP -------------------------------------------------------------------------------------------------------------


async def test_tcp_wants_a_token_and_reading_ones_only_read(here: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with httpx.AsyncClient(base_url=here.url) as stranger:
        assert (await stranger.get("/healthz")).status_code == 200
        assert "/v1/rules" in (await stranger.get("/openapi.json")).json()["paths"]
        for path in ("/v1/rules", "/metrics", "/v1/nothing"):
            answer = await stranger.get(path)
            problem(answer, 401, "unauthenticated", 1)
            assert answer.headers["www-authenticate"] == "Bearer"
        for header in ("Bearer wrong", "Basic ops-secret", "ops-secret", "Bearer", "Bearer ops-secre"):
            problem(await stranger.get("/v1/rules", headers={"Authorization": header}), 401, "unauthenticated", 1)
    async with here.client("dash-secret") as reader:
        assert (await reader.get("/v1/rules?x=queried")).is_success and (await reader.get("/metrics")).is_success
        problem(await reader.post("/v1/suspensions", json={"requester": "a@b.test"}), 403, "forbidden", 1)
        problem(await reader.post("/healthz"), 403, "forbidden", 1)
        problem(await reader.get("/v1/devices.csv?credentials=true"), 403, "forbidden", 1)
        assert (await reader.get("/v1/devices.csv")).is_success
    async with here.client("ops-secret") as admin:
        assert (await admin.post("/v1/suspensions", json={"requester": "a@b.test"})).is_success
    assert ("token:ops", "requester.suspended", "a@b.test") in await here.actions()
    ours = [record.getMessage() for record in caplog.records if record.name.startswith(("stanzagate", "uvicorn"))]
    assert any("POST /v1/suspensions" in line for line in ours)
    assert len([line for line in ours if "without a known token" in line]) == 1
    assert [line for line in ours if "secret" in line or "queried" in line] == []


async def test_clear_credentials_are_exported_for_administrators_and_on_record(here: Scene) -> None:
    await registered(here, 1)
    async with here.client("ops-secret") as admin:
        assert "hidden-1" in (await admin.get("/v1/devices.csv?credentials=true")).text
    assert ("token:ops", "credentials.exported", "devices") in await here.actions()


async def test_no_answer_invites_other_origins(here: Scene) -> None:
    async with here.client("ops-secret") as client:
        answer = await client.options("/v1/rules", headers={"Origin": "http://evil.test"})
        assert not any(name.startswith("access-control") for name in answer.headers)
        assert "set-cookie" not in answer.headers


# -- the end ---------------------------------------------------------------------------------------------------------


async def test_stopping_ends_endless_streams_and_removes_the_socket(here: Scene, api: httpx.AsyncClient) -> None:
    async with api.stream("GET", "/v1/audit/follow") as response:
        lines = response.aiter_lines()
        stopping = asyncio.get_running_loop().create_task(here.admin.stop())
        last = json.loads(await anext(lines))
        assert last["problem"]["error"] == "unreachable"
    await stopping
    assert not here.socket.exists()
    assert here.admin.address is not None
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(here.admin.address)
