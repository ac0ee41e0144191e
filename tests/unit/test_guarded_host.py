"""What the component knows of the plugin on a guarded host: its mode, its figures, who is connected."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from xml.etree.ElementTree import Element

import pytest

from component.base import ns
from component.base.jid import prepare
from component.base.metrics import Metrics
from component.base.pluginstatus import Guard, PluginMode, PluginStatus, read_status
from component.gate.sessions import Reporting
from stanzagate.observe import observe_plugins
from tests.unit.pluginkit import DEVICE, HOST, NO_PLUGIN, OTHER, POLICY, Scene, reached, scene, status, told


@pytest.fixture
async def here(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    async with scene(monkeypatch) as running_scene:
        yield running_scene


async def test_modes_are_told_when_they_change(here: Scene) -> None:
    await told(here)
    here.tell(status("bypass"))  # said at once, so that a short one is not missed
    here.answers["status"] = status("bypass")
    await reached(lambda: here.enforcement.hosts[HOST].mode is PluginMode.BYPASS)
    here.answers["status"] = NO_PLUGIN
    await reached(lambda: here.enforcement.hosts[HOST].mode is PluginMode.ABSENT)
    assert here.sessions.reporting(HOST) is Reporting.NOT_REPORTED
    here.answers["status"] = status()
    here.tell(f"<sessions {POLICY} seq='0'/>")  # it has been loaded
    await reached(lambda: here.enforcement.hosts[HOST].mode is PluginMode.ENFORCE)
    assert [(new, before) for host, new, before in here.modes if host == HOST] == [
        (PluginMode.ENFORCE, PluginMode.UNKNOWN), (PluginMode.BYPASS, PluginMode.ENFORCE),
        (PluginMode.ABSENT, PluginMode.BYPASS), (PluginMode.ENFORCE, PluginMode.ABSENT),
    ]  # fmt: skip
    assert [new for host, new, _ in here.modes if host == OTHER] == [PluginMode.ABSENT]


@pytest.mark.parametrize("answer", [None, f"<error type='auth'><forbidden xmlns='{ns.STANZAS}'/></error>"])
async def test_of_a_plugin_that_cannot_be_asked_nothing_is_taken_for_known(
    here: Scene, answer: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    await told(here)
    here.tell(up(1, "s1", DEVICE.full))
    await reached(lambda: here.sessions.since(DEVICE))
    here.answers["status"] = answer
    await reached(lambda: here.enforcement.hosts[HOST].mode is PluginMode.UNKNOWN)
    assert here.enforcement.hosts[HOST].status is None
    assert here.sessions.reporting(HOST) is Reporting.NOT_REPORTED
    assert [record.message for record in caplog.records if "cannot be asked" in record.message]
    here.answers = {"status": status(seq=1, sessions=1), "flush": "", "sessions": f"<sessions {POLICY} seq='1'/>"}
    await told(here)
    assert [new for host, new, _ in here.modes if host == HOST] == [PluginMode.ENFORCE]  # it was that all the time


async def test_a_plugin_that_guards_something_else_is_named_in_the_log(
    here: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    await told(here)
    here.answers["status"] = status().replace("connection-requests", "everything")

    def warnings() -> list[str]:
        return [
            record.message
            for record in caplog.records
            if record.levelno >= logging.WARNING and HOST in record.message
        ]

    await reached(lambda: any("guards everything" in text for text in warnings()))
    here.asked.clear()
    await reached(lambda: len(here.questions("status")) > 3)
    assert len([text for text in warnings() if "guards everything" in text]) == 1


async def test_every_figure_is_told_under_its_own_name(here: Scene) -> None:
    figures = {
        name: number
        for number, name in enumerate(
            (
                "cached",
                "checks",
                "held",
                "hits",
                "asked",
                "allowed",
                "denied",
                "passed",
                "bypassed",
                "evicted",
                "discarded",
            ),
            start=11,
        )
    }
    metrics = Metrics()
    observe_plugins(metrics, here.enforcement)
    here.answers["status"] = status(**figures)
    await reached(lambda: (found := here.enforcement.hosts[HOST].status) is not None and found.discarded == 21)
    text = metrics.exposition().decode()
    for name in ("hits", "passed", "bypassed", "evicted", "discarded"):
        assert f'stanzagate_plugin_{name}_total{{host="cpe.test"}} {figures[name]}.0\n' in text
    for name in ("cached", "held"):
        assert f'stanzagate_plugin_{name}{{host="cpe.test"}} {figures[name]}.0\n' in text
    assert 'stanzagate_plugin_refused_total{host="cpe.test",reason="forbidden"} 7.0\n' in text
    assert 'stanzagate_plugin_enforcing{host="cpe.test"} 1.0\n' in text
    assert 'stanzagate_plugin_enforcing{host="cpe2.test"} 0.0\n' in text
    assert "made-up" not in text and 'hits_total{host="cpe2.test"}' not in text


async def test_hosts_speak_for_themselves_alone(here: Scene) -> None:
    here.elsewhere = {"status": status(), "flush": "", "sessions": f"<sessions {POLICY} seq='0'/>"}
    await told(here)
    await reached(lambda: here.sessions.reporting(OTHER) is Reporting.REPORTED)
    here.tell(up(1, "s1", DEVICE.full), OTHER)  # of another's device
    here.tell(up(2, "s2", f"cpe1@{OTHER}/r"), OTHER)
    await reached(lambda: here.sessions.since(prepare(f"cpe1@{OTHER}/r")))
    assert here.sessions.since(DEVICE) is None
    here.elsewhere = {"status": NO_PLUGIN}
    await reached(lambda: here.sessions.reporting(OTHER) is Reporting.NOT_REPORTED)
    assert here.sessions.reporting(HOST) is Reporting.REPORTED


@pytest.mark.parametrize(
    "element",
    [
        None,
        Element("status", mode="open", guard="everything"),
        Element("status", mode="enforce", guard="nothing"),
        Element("status", mode="enforce", guard="everything", hits="many"),
        Element("status", mode="enforce", guard="everything", hits="-5"),
        Element("status", mode="enforce", guard="everything", epoch="1_000"),
        Element("status", mode="absent", guard="everything"),
    ],
)
def test_a_status_that_cannot_be_is_none(element: Element | None) -> None:
    assert read_status(element) is None


def test_figures_may_be_missing() -> None:
    found = read_status(Element("status", mode="enforce", guard="everything", hits="2"))
    assert found == PluginStatus(PluginMode.ENFORCE, Guard.EVERYTHING, hits=2)


def up(seq: int, sid: str, jid: str, since: float = 5.0, more: str = "") -> str:
    return f"<session {POLICY} sid='{sid}' seq='{seq}' jid='{jid}' event='up' since='{since}'>{more}</session>"


def down(seq: int, sid: str, jid: str) -> str:
    return f"<session {POLICY} sid='{sid}' seq='{seq}' jid='{jid}' event='down'/>"


async def test_sessions_come_and_go(here: Scene) -> None:
    await told(here)
    here.tell(up(1, "s1", DEVICE.full))
    await reached(lambda: here.sessions.since(DEVICE) == 5.0)
    here.tell(up(2, "s2", DEVICE.full, 9.0))
    here.tell(down(3, "s1", DEVICE.full))  # a resource conflict: the old one goes after the new one has come
    here.tell(up(4, "s3", "cpe2@cpe.test/tr069"))
    await reached(lambda: here.sessions.since(prepare("cpe2@cpe.test/tr069")))
    assert here.sessions.since(DEVICE) == 9.0
    here.tell(down(5, "s2", DEVICE.full))
    await reached(lambda: here.sessions.since(DEVICE) is None)


async def test_a_lost_event_is_noticed_and_mended(here: Scene) -> None:
    await told(here)
    both = f"<session {POLICY} sid='s2' jid='cpe2@cpe.test/r' since='7' event='up'/>"
    here.answers["sessions"] = f"<sessions {POLICY} seq='3'>{both}</sessions>"
    here.answers["status"] = status(seq=3, sessions=1)
    here.tell(up(1, "s1", DEVICE.full))
    here.tell(up(3, "s2", "cpe2@cpe.test/r"))  # 2, the end of s1, was lost
    await reached(lambda: here.sessions.since(prepare("cpe2@cpe.test/r")) == 7.0)
    assert here.sessions.since(DEVICE) is None
    here.tell(up(2, "s9", DEVICE.full))  # late: what it says was in the snapshot
    here.tell(up(4, "s4", "cpe4@cpe.test/r"))
    await reached(lambda: here.sessions.since(prepare("cpe4@cpe.test/r")))
    assert here.sessions.since(DEVICE) is None


@pytest.mark.parametrize("figures", [{"seq": 2, "sessions": 0}, {"seq": 1, "sessions": 0}])
async def test_a_lost_last_event_is_noticed(here: Scene, figures: dict[str, int]) -> None:
    await told(here)
    here.tell(up(1, "s1", DEVICE.full))
    await reached(lambda: here.sessions.since(DEVICE))
    here.answers["sessions"] = f"<sessions {POLICY} seq='{figures['seq']}'/>"
    here.answers["status"] = status(seq=figures["seq"], sessions=figures["sessions"])
    await reached(lambda: here.sessions.since(DEVICE) is None)
    assert here.sessions.reporting(HOST) is Reporting.REPORTED


async def test_nobody_knows_who_is_there_while_the_link_is_down(here: Scene) -> None:
    await told(here)
    here.tell(up(1, "s1", DEVICE.full))
    await reached(lambda: here.sessions.since(DEVICE))
    here.answers = {"status": None}
    here.server.drop()
    await reached(lambda: here.sessions.reporting(HOST) is Reporting.NOT_REPORTED)
    assert here.sessions.since(DEVICE) is None


async def test_a_status_from_before_the_last_events_loses_nothing(here: Scene) -> None:
    await told(here)
    here.tell(up(1, "s1", DEVICE.full))
    await reached(lambda: here.sessions.since(DEVICE))
    here.asked.clear()  # the status goes on saying seq 0
    await reached(lambda: len(here.questions("status")) > 3)
    assert here.questions("sessions") == [] and here.sessions.since(DEVICE)
