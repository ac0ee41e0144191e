"""Alerts: who is told, how often, and what stands in it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from component.base.errors import InputError
from grid import webhook as webhook_module
from grid.alerts import MANY, SUBJECTS, Alert, AlertKind, Alerts
from grid.settings import AlertSettings
from grid.webhook import QUEUE, Webhook
from tests.unit.grid.webkit import certificate, service

FAST = (0.001,)


class Link:
    """The sending half of a link; what it sends is what a test looks at."""

    def __init__(self) -> None:
        self.attached = asyncio.Event()
        self.watchers: list[Callable[[bool], None]] = []
        self.sent: list[str] = []

    def attach(self) -> None:
        self.attached.set()
        for watcher in self.watchers:
            watcher(True)

    def send(self, stanza: str) -> None:
        self.sent.append(stanza)


class Scene:
    def __init__(self, hook: Webhook | None = None, jids: tuple[str, ...] = ()) -> None:
        self.now = 1_000_000_000.0
        self.rows: list[tuple[str, str, str, dict[str, Any]]] = []
        self.link = Link()
        self.alerts = Alerts(
            AlertSettings(jids=jids),
            lambda *row: self.rows.append(row),  # type: ignore[arg-type]
            sender="controller.grid.test", now=lambda: self.now, clock=lambda: self.now,
            identify=lambda: f"id{len(self.rows)}", webhook=hook,
        )  # fmt: skip
        self.alerts.attach(self.link)

    def mismatch(self, subject: str = "soc1@grid.test", **detail: object) -> None:
        self.alerts.raise_(Alert(AlertKind.CERTIFICATE_MISMATCH, subject, "Another certificate.", detail))


@contextlib.asynccontextmanager
async def running(alerts: Alerts | Webhook) -> AsyncIterator[None]:
    task = asyncio.get_running_loop().create_task(alerts.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


# -- what is told, and how often -----------------------------------------------------------------------------------


def test_an_alert_is_recorded_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    scene = Scene()
    scene.mismatch(fingerprint="ab12")
    (row,) = scene.rows
    assert row[:3] == ("stanzagate", "alert.certificate-mismatch", "soc1@grid.test")
    assert row[3] == {"text": "Another certificate.", "count": 1, "since": 1e9, "fingerprint": "ab12"}
    assert scene.alerts.counts["certificate-mismatch"] == 1
    assert scene.alerts.counts["honeytoken"] == 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_the_same_again_is_told_once_a_minute_with_a_count() -> None:
    scene = Scene()
    for _ in range(5):
        scene.mismatch()
        scene.now += 1
    scene.alerts.repeat()
    assert len(scene.rows) == 1
    scene.now += 60
    scene.alerts.repeat()
    assert len(scene.rows) == 2
    assert (scene.rows[1][3]["count"], scene.rows[1][3]["since"]) == (4, 1e9 + 1)
    assert scene.alerts.counts["certificate-mismatch"] == 5
    scene.mismatch()
    assert len(scene.rows) == 2
    scene.now += 60
    scene.alerts.repeat()
    assert scene.rows[2][3]["count"] == 1
    scene.now += 60
    scene.alerts.repeat()  # a silent minute: forgotten
    scene.mismatch()
    assert len(scene.rows) == 4


def test_other_subjects_and_kinds_are_told_apart() -> None:
    scene = Scene()
    scene.mismatch("a@grid.test")
    scene.mismatch("b@grid.test")
    scene.alerts.raise_(Alert(AlertKind.LIMIT, "a@grid.test", "Too much."))
    assert [row[2] for row in scene.rows] == ["a@grid.test", "b@grid.test", "a@grid.test"]


def test_a_flood_of_subjects_is_told_as_one() -> None:
    scene = Scene()
    for number in range(10_000):
        scene.mismatch(f"n{number}@grid.test")
    assert len(scene.rows) == SUBJECTS + 1
    scene.alerts.raise_(Alert(AlertKind.HONEYTOKEN, "n5@grid.test", "Touched."))  # another kind has room
    assert scene.rows[-1][2] == "n5@grid.test"
    scene.now += 60
    scene.alerts.repeat()
    (row,) = [row for row in scene.rows if row[2] == MANY]
    assert (row[3]["count"], row[3]["latest"]) == (10_000 - SUBJECTS - 1, "n9999@grid.test")
    scene.now += 120
    scene.alerts.repeat()
    scene.mismatch("n200@grid.test")  # there is room again
    assert scene.rows[-1][2] == "n200@grid.test"


async def test_run_tells_what_is_due(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("grid.alerts.PERIOD", 0.01)
    rows: asyncio.Queue[Any] = asyncio.Queue()
    alerts = Alerts(AlertSettings(), lambda *row: rows.put_nowait(row), sender="controller.grid.test")
    async with running(alerts):
        for _ in range(3):
            alerts.raise_(Alert(AlertKind.LIMIT, "a@grid.test", "Too much."))
        assert (await rows.get())[3]["count"] == 1
        assert (await rows.get())[3]["count"] == 2


def test_what_strangers_write_stays_in_its_place() -> None:
    scene = Scene(jids=("admin@grid.test",))
    scene.link.attached.set()
    odd = "x\n<b/>\0\ud800\u202e'" + "y" * 5000
    scene.alerts.raise_(Alert(AlertKind.LIMIT, odd, odd, {odd: odd, "n": float("nan"), "list": [odd]}))
    (stanza,) = scene.link.sent
    message = ET.fromstring(stanza)
    assert message.findtext("body", "").count("\n") == 3  # our own lines: one for each detail
    assert all(len(str(value)) < 1100 for value in scene.rows[0][3].values())
    assert "\n" not in scene.rows[0][2]


# -- administrators ------------------------------------------------------------------------------------------------


def test_administrators_get_messages_while_the_link_is_attached() -> None:
    scene = Scene(jids=("Admin@Grid.Test", "ops@example.test/desk"))
    scene.link.attach()
    scene.mismatch("b@grid.test", fingerprint="ab12")
    first, second = (ET.fromstring(stanza) for stanza in scene.link.sent)
    assert (first.get("to"), second.get("to")) == ("admin@grid.test", "ops@example.test/desk")
    assert first.get("from") == "controller.grid.test"
    assert first.findtext("subject") == "Stanzagate: certificate-mismatch"
    assert first.findtext("body") == "b@grid.test: Another certificate.\nfingerprint: ab12"


def test_what_happens_before_the_link_is_attached_is_told_then() -> None:
    scene = Scene(jids=("admin@grid.test",))
    for number in range(30):
        scene.mismatch(f"n{number}@grid.test")
    assert scene.link.sent == []
    scene.link.attach()
    assert ["n0@" in scene.link.sent[0], "n19@" in scene.link.sent[-1], len(scene.link.sent)] == [True, True, 20]
    scene.now += 60
    scene.link.attach()
    scene.mismatch("last@grid.test")
    assert len(scene.link.sent) == 21
    assert "10 other alerts before this one" in scene.link.sent[-1]


def test_administrators_are_not_flooded() -> None:
    scene = Scene(jids=("admin@grid.test",))
    scene.link.attached.set()
    for number in range(SUBJECTS):
        scene.mismatch(f"n{number}@grid.test")
    assert len(scene.link.sent) == 20
    assert len(scene.rows) == SUBJECTS
    scene.now += 4
    scene.mismatch("last@grid.test")
    assert "80 other alerts before this one" in scene.link.sent[-1]


def test_an_administrator_who_is_no_jid_is_said() -> None:
    with pytest.raises(InputError, match="is not a JID"):
        Scene(jids=("a@@b",))


# -- the web service -----------------------------------------------------------------------------------------------


def hook(port: int, **more: Any) -> Webhook:
    return Webhook(f"http://127.0.0.1:{port}/hooks/s3cret?a=b", delays=FAST, **more)


async def test_the_web_service_gets_json(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with service() as web:
        scene = Scene(hook(web.port))
        async with running(scene.alerts):
            scene.mismatch(fingerprint="ab12")
            await web.count(1)
            await scene.alerts.drain(5)
    assert web.got == [
        {
            "id": "id1", "controller": "controller.grid.test", "time": "2001-09-09T01:46:40.000Z",
            "kind": "certificate-mismatch", "subject": "soc1@grid.test", "text": "Another certificate.", "count": 1,
            "since": "2001-09-09T01:46:40.000Z", "detail": {"fingerprint": "ab12"},
        }
    ]  # fmt: skip
    assert web.heads[0].startswith("POST /hooks/s3cret?a=b HTTP/1.1\r\n")
    assert "content-type: application/json" in web.heads[0].lower()
    assert scene.alerts.webhook is not None
    assert scene.alerts.webhook.delivered == 1
    assert "s3cret" not in caplog.text


async def test_drain_tells_what_was_only_counted() -> None:
    async with service() as web:
        scene = Scene(hook(web.port))
        async with running(scene.alerts):
            scene.mismatch()
            scene.mismatch()
            await scene.alerts.drain(5)
    assert [document["count"] for document in web.got] == [1, 1]


async def test_errors_that_may_pass_are_tried_again_in_order(caplog: pytest.LogCaptureFixture) -> None:
    async with service(503, 429, None) as web:
        sender = hook(web.port)
        async with running(sender):
            sender.put({"n": 1})
            sender.put({"n": 2})
            await sender.drain(5)
    assert [document["n"] for document in web.got] == [1, 1, 1, 1, 2]
    assert (sender.delivered, sender.refused, sender.waiting) == (2, 0, 0)
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


async def test_a_service_that_goes_on_failing_blocks_nothing() -> None:
    async with service(*[500] * webhook_module.ANSWERED_TRIES) as web:
        sender = hook(web.port)
        async with running(sender):
            sender.put({"n": 1})
            sender.put({"n": 2})
            await sender.drain(5)
    assert [document["n"] for document in web.got] == [1] * webhook_module.ANSWERED_TRIES + [2]
    assert (sender.delivered, sender.refused) == (1, 1)


async def test_a_service_that_is_away_is_tried_until_it_is_back() -> None:
    async with service() as web:
        port = web.port
    sender = hook(port)
    async with running(sender):
        sender.put({"n": 1})
        while not sender._failing:
            await asyncio.sleep(0)
        async with service(port=port) as web:
            await web.count(1)
            await sender.drain(5)
    assert sender.delivered == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_not_followed(status: int, caplog: pytest.LogCaptureFixture) -> None:
    async with service() as trap, service(status) as web:
        web.location = f"http://127.0.0.1:{trap.port}/"
        sender = hook(web.port)
        async with running(sender):
            sender.put({"n": 1})
            await sender.drain(5)
    assert (len(web.got), trap.got, sender.refused) == (1, [], 1)
    assert "it redirects" in caplog.text


@pytest.mark.parametrize("status", [400, 401, 404, 410, 501])
async def test_what_is_refused_for_good_is_not_tried_again(status: int) -> None:
    async with service(status) as web:
        sender = hook(web.port)
        async with running(sender):
            sender.put({"n": 1})
            await sender.drain(5)
    assert (len(web.got), sender.refused) == (1, 1)


async def test_a_service_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_module, "TIMEOUT", 0.02)
    connections = 0
    third = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        if connections == 3:
            third.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    sender = hook(server.sockets[0].getsockname()[1])
    async with running(sender):
        sender.put({"n": 1})
        await third.wait()
        await sender.drain(0.01)
    server.close()
    assert (sender.delivered, sender.waiting) == (0, 1)


async def test_the_queue_is_bounded() -> None:
    sender = Webhook("https://127.0.0.1/")
    for number in range(QUEUE + 7):
        sender.put({"n": number})
    assert (sender.waiting, sender.dropped) == (QUEUE, 7)


async def test_certificates_are_verified(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    serving, trusting = certificate(tmp_path)
    async with service(context=serving) as web:
        stranger = Webhook(f"https://127.0.0.1:{web.port}/", delays=FAST)
        async with running(stranger):
            stranger.put({"n": 1})
            while not stranger._failing:
                await asyncio.sleep(0)
        assert (web.got, stranger.delivered) == ([], 0)
        assert "CERTIFICATE_VERIFY_FAILED" in caplog.text
        friend = Webhook(f"https://127.0.0.1:{web.port}/", context=trusting, delays=FAST)
        async with running(friend):
            friend.put({"n": 2})
            await friend.drain(5)
        assert web.got == [{"n": 2}]


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://example.test/s3cret", "https://"),
        ("ftp://127.0.0.1/s3cret", "https://"),
        ("https:///s3cret", "name a host"),
        ("https://u:s3cret@example.test/", "user name"),
        ("https://a:s3cret/", "not a URL"),
        ("s3cret", "https://"),
    ],
)
def test_addresses_that_are_refused(address: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as refused:
        Webhook(address)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("address", ["http://localhost:8080/x", "http://[::1]/", "http://127.9.9.9/"])
def test_addresses_of_this_machine(address: str) -> None:
    assert Webhook(address).where in address
