"""What waits at the border for decisions: its order, its bounds, its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from component.relay.border import Forward, Hold, PartnerRules, Refuse
from component.relay.counters import DecisionOutcome
from tests.unit.relay.borderkit import PARTNER, REQUEST, Away, Said, Scene, turn
from tests.unit.relay.stanzas import stanza

ACS, CPE = "acs@partner.test/x", "cpe1@cpe.test/tr069"
MESSAGE = "<body>hello</body>"


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene(of_partner=5)
    yield scene
    await scene.spawn.end()


async def test_a_request_is_released_with_its_decision(scene: Scene) -> None:
    scene.inbound(stanza(REQUEST))
    await turn()
    assert scene.released == []
    scene.policy.say(ACS, CPE, Said(True))
    await turn()
    ((which, verdict),) = scene.released
    assert which == "i1"
    assert isinstance(verdict, Forward)
    assert b"<username>u</username><password>p</password>" in verdict.raw
    assert len(scene.room) == 0


async def test_a_denial_is_reported(scene: Scene) -> None:
    scene.inbound(stanza(REQUEST))
    await turn()
    scene.policy.say(ACS, CPE, Said(False, "r3", "no"))
    await turn()
    assert scene.released == [("i1", Refuse("auth", "forbidden"))]
    assert scene.refused == [(PARTNER, "acs@partner.test", CPE, "r3", "no")]


async def test_without_a_decision_nothing_passes(scene: Scene) -> None:
    scene.inbound(stanza(REQUEST))
    await turn()
    scene.policy.say(ACS, CPE, Away("The admin API is away."))
    await turn()
    assert scene.released == [("i1", Refuse("wait", "internal-server-error"))]
    assert scene.decided == [(PARTNER, DecisionOutcome.NONE)]


async def test_a_defect_of_the_policy_opens_nothing(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.inbound(stanza(REQUEST))
    await turn()
    scene.policy.say(ACS, CPE, ValueError("a defect"))
    await turn()
    assert scene.released == [("i1", Refuse("wait", "internal-server-error"))]
    assert "came to nothing" in caplog.text


async def test_whatever_follows_in_a_pair_waits_behind_it_and_keeps_its_order(scene: Scene) -> None:
    assert isinstance(scene.inbound(stanza(REQUEST, id="1")), Hold)
    assert isinstance(scene.inbound(stanza(MESSAGE, id="2", kind="message", type="")), Hold)
    assert isinstance(scene.inbound(stanza(REQUEST, id="3")), Hold)
    assert isinstance(scene.inbound(stanza(MESSAGE, id="4", kind="message", type="")), Hold)
    await turn()
    scene.policy.say(ACS, CPE, Said(False))
    await turn()
    assert [which for which, _ in scene.released] == ["1", "2"]
    scene.policy.say(ACS, CPE, Said(True))
    await turn()
    assert [(which, type(verdict)) for which, verdict in scene.released] == [
        ("1", Refuse), ("2", Forward), ("3", Forward), ("4", Forward),
    ]  # fmt: skip


async def test_a_decision_that_is_known_meanwhile_does_not_overtake(scene: Scene) -> None:
    scene.inbound(stanza(REQUEST, id="1"))
    await turn()
    scene.policy.known["acs@partner.test", "cpe1@cpe.test"] = Said(True)
    assert isinstance(scene.inbound(stanza(REQUEST, id="2")), Hold)
    scene.policy.say(ACS, CPE, Said(True))
    await turn()
    assert [which for which, _ in scene.released] == ["1", "2"]
    assert isinstance(scene.inbound(stanza(REQUEST, id="3")), Forward)


@pytest.mark.parametrize(
    "other",
    [
        stanza(MESSAGE, kind="message", type="", sender="acs@partner.test/y"),
        stanza(MESSAGE, kind="message", type="", recipient="cpe2@cpe.test/tr069"),
        stanza(MESSAGE, kind="message", type="", recipient="juliet@isp.test"),
    ],
)
async def test_other_pairs_overtake(scene: Scene, other: object) -> None:
    scene.inbound(stanza(REQUEST))
    assert isinstance(scene.inbound(other), Forward)  # type: ignore[arg-type]


async def test_the_same_pair_in_another_spelling_waits_too(scene: Scene) -> None:
    scene.inbound(stanza(REQUEST))
    shouting = stanza(MESSAGE, kind="message", type="", sender="ACS@PARTNER.test/x")
    assert isinstance(scene.inbound(shouting), Hold)


async def test_pairs_are_asked_about_side_by_side(scene: Scene) -> None:
    scene.inbound(stanza(REQUEST, id="1"))
    scene.inbound(stanza(REQUEST, id="2", recipient="cpe2@cpe.test/tr069"))
    await turn()
    scene.policy.say(ACS, "cpe2@cpe.test/tr069", Said(True))
    await turn()
    assert [which for which, _ in scene.released] == ["2"]


async def test_what_a_partner_can_let_wait_is_bounded(scene: Scene) -> None:
    verdicts = [scene.inbound(stanza(REQUEST, sender=f"acs@partner.test/{number}")) for number in range(6)]
    assert [type(verdict) for verdict in verdicts] == [Hold] * 5 + [Refuse]
    assert verdicts[5] == Refuse("wait", "resource-constraint")
    assert len(scene.room) == 5


SIZE = len(stanza(REQUEST).raw)


@pytest.mark.parametrize("limits", [{"stanzas": 2}, {"bytes": 2 * SIZE}, {"share": 2 * SIZE}])
async def test_what_waits_in_all_is_bounded(limits: dict[str, int]) -> None:
    scene = Scene(**limits)
    verdicts = [scene.inbound(stanza(REQUEST)) for _ in range(3)]
    assert [type(verdict) for verdict in verdicts] == [Hold, Hold, Refuse]
    await scene.spawn.end()


async def test_rules_that_changed_meanwhile_hold_for_what_waited(scene: Scene) -> None:
    scene.inbound(stanza(REQUEST))
    await turn()
    scene.border.rules = {PARTNER: PartnerRules(frozenset({"isp.test"}))}
    scene.policy.say(ACS, CPE, Said(True))
    await turn()
    ((_, verdict),) = scene.released
    assert isinstance(verdict, Refuse)
    assert (verdict.type, verdict.condition) == ("auth", "forbidden")


async def test_room_is_free_again_behind_a_decision(scene: Scene) -> None:
    for number in range(5):
        scene.inbound(stanza(REQUEST, sender=f"acs@partner.test/{number}"))
    await turn()
    scene.policy.say("acs@partner.test/3", CPE, Said(True))
    await turn()
    assert isinstance(scene.inbound(stanza(REQUEST)), Hold)


async def test_nothing_waits_for_longer_than_the_limit() -> None:
    scene = Scene(clock=asyncio.get_running_loop().time, seconds=0.01)
    scene.inbound(stanza(REQUEST, id="1"))
    scene.inbound(stanza(REQUEST, id="2"))
    scene.inbound(stanza(MESSAGE, id="3", kind="message", type=""))
    await scene.room.settled()
    assert [(which, type(verdict)) for which, verdict in scene.released] == [
        ("1", Refuse), ("2", Refuse), ("3", Forward),
    ]  # fmt: skip
    await scene.spawn.end()


async def test_all_that_waits_is_refused_when_the_relay_ends() -> None:
    scene = Scene()
    for number in range(3):
        scene.inbound(stanza(REQUEST, id=str(number)))
    await turn()
    await scene.spawn.end()
    assert scene.released == [(str(number), Refuse("wait", "internal-server-error")) for number in range(3)]
    assert len(scene.room) == 0


async def test_guard_everything_keeps_the_order_of_all_that_goes_to_a_device(scene: Scene) -> None:
    scene.policy.guard = "everything"
    assert isinstance(scene.inbound(stanza(MESSAGE, id="1", kind="message", type="")), Hold)
    assert isinstance(scene.inbound(stanza(REQUEST, id="2")), Hold)
    await turn()
    scene.policy.known["acs@partner.test", "cpe1@cpe.test"] = Said(True)
    scene.policy.say(ACS, CPE, Said(True))
    await turn()
    assert [which for which, _ in scene.released] == ["1", "2"]
