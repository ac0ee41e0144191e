"""The component's side of the in-server plugins: decisions, and obedience to changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from component.base import ns
from component.base.enforcement import Decision, NoDecision, NotConfirmed
from component.base.jid import prepare
from component.base.pluginstatus import PluginMode
from component.gate.sessions import Reporting
from tests.unit.pluginkit import (
    DEVICE,
    GATE,
    HOST,
    NO_MEMORY,
    NO_PLUGIN,
    OTHER,
    POLICY,
    Scene,
    reached,
    scene,
    status,
    told,
)


@pytest.fixture
async def here(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    async with scene(monkeypatch) as running_scene:
        yield running_scene


async def test_a_check_is_answered_with_the_decision(here: Scene) -> None:
    answer = await here.check("requester='ACS1@acs.test/r' device='cpe1@cpe.test/tr069'")
    assert here.decided == [(prepare("acs1@acs.test/r"), DEVICE)]
    assert answer[0].attrib == {
        "effect": "allow", "scope": "bare", "ttl": "300.000", "stale": "3600.000", "epoch": "17", "rule": "3",
        "reason": "rule 3 allows it",
    }  # fmt: skip
    here.decision = Decision(False, False, "none", "it's <not> allowed", 18, 1000.5)
    answer = await here.check("requester='acs1@acs.test/r' device='cpe1@cpe.test'")
    assert (answer[0].get("effect"), answer[0].get("scope"), answer[0].get("reason")) == (
        "deny", "full", "it's <not> allowed",
    )  # fmt: skip
    assert (answer[0].get("ttl"), answer[0].get("stale")) == ("0.500", "0.500")  # it ends by itself
    assert here.enforcement.checks == {"allow": 1, "deny": 1}


@pytest.mark.parametrize(
    ("attributes", "condition"),
    [
        ("requester='' device='cpe1@cpe.test'", "bad-request"),
        ("device='cpe1@cpe.test'", "bad-request"),
        ("requester='a@b@c' device='cpe1@cpe.test'", "bad-request"),
        ("requester='a@b' device='/x'", "bad-request"),
        ("requester='a@b' device='cpe1@other.test'", "forbidden"),
        ("requester='a@b' device='cpe1@cpe.test.evil'", "forbidden"),
    ],
)
async def test_a_check_that_cannot_be_is_an_error(here: Scene, attributes: str, condition: str) -> None:
    answer = await here.check(attributes)
    assert answer.get("type") == "error" and answer.find(f".//{{{ns.STANZAS}}}{condition}") is not None
    assert here.decided == []


@pytest.mark.parametrize("failure", [NoDecision("away"), RuntimeError("defect")])
async def test_without_a_decision_nothing_is_allowed(here: Scene, failure: Exception) -> None:
    here.decision = failure
    answer = await here.check("requester='a@b' device='cpe1@cpe.test'")
    assert answer.get("type") == "error" and answer.find(f".//{{{ns.STANZAS}}}internal-server-error") is not None
    assert here.enforcement.checks == {"none": 1}


async def test_only_guarded_hosts_are_answered(here: Scene) -> None:
    check = f"<check {POLICY} requester='a@b' device='cpe1@cpe.test'/>"
    event = f"<sessions {POLICY} seq='1'><session sid='1' jid='cpe1@cpe.test/r' since='5'/></sessions>"
    await reached(lambda: here.sessions.reporting(HOST) is Reporting.REPORTED)
    for sender in ("acs.test", "x@cpe.test", "cpe.test/x", "cpe.test.evil"):
        here.server.send(f"<iq type='get' id='c1' from='{sender}' to='{GATE}'>{check}</iq>")
        here.server.send(f"<message from='{sender}' to='{GATE}'>{event}</message>")
    here.server.send(f"<iq type='set' id='c1' from='{HOST}' to='{GATE}'>{check}</iq>")
    here.server.send(f"<iq type='get' id='c1' from='{HOST}' to='x@{GATE}'>{check}</iq>")
    here.server.send(f"<iq type='get' id='c1' from='{HOST}' to='{GATE}'>{check}{check}</iq>")
    await reached(lambda: len(here.others) == 11)
    assert here.decided == [] and here.sessions.since(prepare("cpe1@cpe.test/r")) is None


async def test_a_flush_returns_when_the_plugin_has_confirmed(here: Scene) -> None:
    await told(here)
    here.answers["flush"] = None
    change = asyncio.get_running_loop().create_task(here.enforcement.flush(18, "acs1@acs.test", "cpe1@cpe.test"))
    await reached(lambda: here.questions("flush"))
    assert here.questions("flush") == [{"epoch": "18", "requester": "acs1@acs.test", "device": "cpe1@cpe.test"}]
    assert not change.done()
    with pytest.raises(NotConfirmed, match=r"cpe\.test \(no answer within 0\.2 s\) has not confirmed"):
        await change
    here.answers["flush"] = ""
    await here.enforcement.flush(19, "acs2@acs.test")
    assert {"epoch": "19", "requester": "acs2@acs.test"} in here.questions("flush")


async def test_what_is_not_confirmed_is_repeated_for_everybody_until_it_is(here: Scene) -> None:
    await told(here)
    here.answers["flush"] = None
    with pytest.raises(NotConfirmed):
        await here.enforcement.flush(18, "acs1@acs.test")
    await reached(lambda: {"epoch": "18"} in here.questions("flush"))
    here.answers["flush"] = ""
    await reached(lambda: not here.enforcement.hosts[HOST].owed)
    here.asked.clear()
    await reached(lambda: len(here.questions("status")) > 3)
    assert here.questions("flush") == []


async def test_a_later_debt_is_not_paid_by_an_earlier_confirmation(here: Scene) -> None:
    await told(here)
    host = here.enforcement.hosts[HOST]
    host.owed = 18
    here.answers["status"] = None  # the look after it waits there, when it has paid
    await reached(lambda: not host.owed)
    here.answers["flush"] = NO_MEMORY
    with pytest.raises(NotConfirmed):
        await here.enforcement.flush(19)
    assert host.owed == 19


async def test_a_link_that_comes_back_has_confirmed_everything(here: Scene) -> None:
    await told(here)
    here.answers["flush"] = None
    change = asyncio.get_running_loop().create_task(here.enforcement.flush(18))
    await reached(lambda: here.questions("flush"))
    here.server.drop()
    await reached(lambda: here.link.counters.attached == 2)
    await change
    assert here.enforcement.hosts[HOST].owed == 0


async def test_one_silent_host_is_named_and_holds_up_nobody(here: Scene) -> None:
    here.elsewhere = {"status": status(), "flush": None, "sessions": f"<sessions {POLICY} seq='0'/>"}
    await reached(lambda: here.enforcement.hosts[OTHER].mode is PluginMode.ENFORCE)
    with pytest.raises(NotConfirmed, match=r"^cpe2\.test \(no answer within 0\.2 s\) has not confirmed it"):
        await here.enforcement.flush(18)
    assert [here.enforcement.hosts[name].owed for name in (HOST, OTHER)] == [0, 18]
    here.answers["flush"] = None
    with pytest.raises(NotConfirmed, match=r"^cpe\.test .* and cpe2\.test .* have not confirmed it"):
        await here.enforcement.flush(19)
    here.elsewhere["status"] = None
    asked = len(here.questions("status"))
    here.answers["flush"] = ""
    await reached(lambda: len(here.questions("status")) > asked + 3)


async def test_a_plugin_that_refuses_a_flush_has_not_confirmed_it(here: Scene) -> None:
    here.answers["flush"] = f"<error type='modify'><bad-request xmlns='{ns.STANZAS}'/></error>"
    with pytest.raises(NotConfirmed, match="bad-request"):
        await here.enforcement.flush(18)


async def test_without_a_plugin_there_is_nothing_to_confirm(here: Scene) -> None:
    here.answers = {"status": NO_PLUGIN, "flush": NO_PLUGIN}
    await here.enforcement.flush(18)
    assert here.enforcement.hosts[HOST].mode is PluginMode.ABSENT
    here.answers = {"status": status("log-only"), "flush": "", "sessions": f"<sessions {POLICY} seq='0'/>"}
    await reached(lambda: here.enforcement.hosts[HOST].mode is PluginMode.LOG_ONLY)


async def test_a_change_while_the_server_is_away_is_not_confirmed(here: Scene) -> None:
    await here.server.stop()
    await reached(lambda: not here.link.attached.is_set())
    with pytest.raises(NotConfirmed, match="link to its server is down"):
        await here.enforcement.flush(18)
    assert here.enforcement.hosts[HOST].mode is PluginMode.UNKNOWN
