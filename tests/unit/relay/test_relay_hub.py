"""The hub: what connections tell becomes routes, log lines, rows and stanzas; nothing is lost when they end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import pytest

from component.relay import relay as module
from component.relay.border import PartnerRules
from component.relay.counters import RefusalKind, Role
from component.relay.lanes import DialFailed
from component.relay.queues import QueueLimits
from component.relay.wire.events import (
    Noticed,
    Outcome,
    PairRefused,
    Relieved,
    StanzaReceived,
    StreamEnded,
    VerifyKey,
)
from component.relay.wire.pairs import Pair
from component.relay.wire.policy import Authentication, Direction
from tests.unit.relay.borderkit import turn
from tests.unit.relay.hubkit import OTHER, PAIR, POLICY, Line, Machine, Scene
from tests.unit.relay.stanzas import stanza

INBOUND = replace(POLICY, direction=Direction.INBOUND)


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene(INBOUND)
    yield made
    await made.spawn.end()


def outbound(scene: Scene, id: str = "o1", sender: str = "romeo@isp.test") -> None:
    one = stanza(id=id, sender=sender, recipient="acs@partner.test")
    scene.relay.outbound("partner.test", one)


def ids(line: Line) -> list[str]:
    return [raw.decode().partition('id="')[2].partition('"')[0] for raw in line.written]


# Pairs and routes


async def test_an_authorized_pair_gets_a_route_a_line_and_a_row(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    line = scene.connects(PAIR)
    outbound(scene)
    assert ids(line) == ["o1"]
    assert "partner.test: isp.test ⇄ partner.test authorized by external on the incoming stream" in caplog.text
    ((action, subject, detail),) = scene.reports.notes
    assert (action, subject) == ("relay.authorized", str(PAIR))
    assert (detail["sends"], detail["receives"], detail["bidi"]) == (True, True, True)
    assert scene.counters.of("partner.test").connections == {"incoming": 1}


async def test_what_waited_leaves_when_the_partner_comes(scene: Scene) -> None:
    outbound(scene, "o1")
    outbound(scene, "o2")
    assert ids(scene.connects(PAIR)) == ["o1", "o2"]


async def test_without_bidi_the_partners_stream_is_no_route(scene: Scene) -> None:
    line = scene.connects(PAIR, sends=False)
    outbound(scene)
    assert line.written == []
    assert scene.counters.of("partner.test").connections == {"incoming": 1}


async def test_a_route_stays_until_its_stream_ends_and_goes_to_the_next(scene: Scene) -> None:
    first, second = scene.connects(PAIR), scene.connects(PAIR)
    outbound(scene, "o1")
    scene.loses(first)
    outbound(scene, "o2")
    assert (ids(first), ids(second)) == (["o1"], ["o2"])
    scene.loses(second)
    outbound(scene, "o3")
    assert ids(scene.connects(PAIR)) == ["o3"]


async def test_a_route_goes_to_no_stream_that_only_leads_to_the_same_partner(scene: Scene) -> None:
    first, second = scene.connects(PAIR), scene.connects(OTHER)
    scene.loses(first)
    outbound(scene)
    assert second.written == []
    assert ids(scene.connects(PAIR)) == ["o1"]


async def test_the_end_of_a_stream_that_is_no_route_changes_nothing(scene: Scene) -> None:
    first, second = scene.connects(PAIR), scene.connects(PAIR)
    scene.loses(second)
    outbound(scene)
    assert ids(first) == ["o1"]


async def test_what_a_chunk_holds_before_the_end_is_judged_and_its_answer_waits(scene: Scene) -> None:
    """The machine has taken all of the chunk before the hub hears of its first stanza."""
    scene.relay.border.rules = {"partner.test": PartnerRules(frozenset({"isp.test"}))}
    line = scene.connects(PAIR, OTHER)
    refused, good = stanza(id="i1"), stanza(id="i2", recipient="romeo@isp.test")
    line.do([StanzaReceived(refused), StanzaReceived(good), *line.machine.ends()])
    assert [one and one.id for _, one in scene.attachment().sent] == ["i2"]
    assert b"<forbidden" in scene.connects(OTHER).written[0]


async def test_a_pair_that_is_authorized_on_a_stream_that_has_ended_is_no_loss(scene: Scene) -> None:
    outbound(scene)
    line = scene.connects()
    line.do([line.machine.authorizes(PAIR), *line.machine.ends()])
    assert line.written == []
    assert ids(scene.connects(PAIR)) == ["o1"]


async def test_a_new_stream_is_asked_for_the_pairs_that_wait(scene: Scene) -> None:
    """As receiver under bidi we ask for our other domains (XEP-0288 §2.2), and not after half a minute."""
    outbound(scene, sender="gate@cpe.test")
    await turn()
    line = scene.connects(PAIR)
    await turn()
    assert line.machine.told == [("authorize", OTHER)]


async def test_an_authorized_pair_of_nobody_is_nothing(scene: Scene) -> None:
    line = scene.connects()
    line.do([line.machine.authorizes(Pair("isp.test", "gone.test"))])
    assert (scene.reports.notes, scene.relay.streams_to("gone.test")) == ([], [scene.peer(line)])
    scene.loses(line)


# Refusals


def refusal(kind: RefusalKind = RefusalKind.CERTIFICATE, pair: Pair = PAIR, reason: str = "It has expired.") -> Any:
    return PairRefused(pair, kind, reason, by_us=True)


async def test_why_a_partner_is_not_connected_is_counted_shown_logged_and_on_record(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    line = scene.connects()
    line.do([refusal()])
    assert "partner.test: not connected: It has expired. (192.0.2.7:5269)" in caplog.text
    last = scene.partner().last_refusal
    assert last is not None
    assert (last.kind, last.by_us, last.address) == (RefusalKind.CERTIFICATE, True, "192.0.2.7:5269")
    assert scene.counters.of("partner.test").refusals == {"certificate": 1}
    assert scene.reports.refusals == [
        ("partner.test", str(PAIR), "certificate", "It has expired. (192.0.2.7:5269)")
    ]  # fmt: skip
    scene.connects(PAIR)
    assert scene.partner().last_refusal is None


async def test_the_same_reason_again_is_counted_and_not_logged(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        scene.connects().do([refusal()])
    assert len(caplog.records) == 1
    assert scene.counters.of("partner.test").refusals == {"certificate": 3}


async def test_strangers_do_not_crowd_the_reason_out_of_the_log(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stranger = Pair("", "nobody.test")
    for _ in range(50):
        scene.connects().do([refusal(RefusalKind.STRANGER, stranger, "nobody.test is not a partner.")])
    for number in range(50):
        scene.connects().do([Noticed("kind", f"something odd {number}")])
    scene.connects().do([refusal()])
    assert len(caplog.records) == 11
    assert "partner.test: not connected" in caplog.records[-1].getMessage()
    assert scene.counters.strangers == {"stranger": 50}
    assert scene.reports.refusals[0] == ("192.0.2.7", "stranger", "stranger", "nobody.test is not a partner.")


async def test_how_many_lines_were_left_out_is_said(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for minute in range(2):
        scene.now += 60.0 * minute
        for number in range(15):
            scene.connects().do([Noticed("kind", f"odd {number}")])
    assert [record.getMessage() for record in caplog.records][10] == (
        "5 more lines about what peers did were left out"
    )
    assert len(caplog.records) == 21


async def test_what_a_peer_says_forges_no_line(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    line = scene.connects()
    line.do([StreamEnded("policy-violation", "no\n12:00:00 all is well \x9b2J", by_us=False)])
    assert "\n" not in caplog.records[0].getMessage()
    assert "\x9b" not in scene.reports.refusals[0][3]


async def test_what_whoever_dials_will_tell_is_not_told_twice(scene: Scene) -> None:
    line = scene.connects(role=Role.OUTGOING)
    line.do([refusal(), *line.machine.ends("not-authorized", "It has expired.")])
    assert scene.reports.refusals == []
    assert scene.peer(line).settled.result() is False


async def test_a_way_that_failed_before_another_is_told(scene: Scene) -> None:
    line = scene.connects(role=Role.OUTGOING)
    line.do([replace(refusal(), final=False)])
    assert len(scene.reports.refusals) == 1


async def test_refusals_of_others_do_not_hurry_a_lane() -> None:
    scene = Scene()  # we may connect; and the partner refuses dialback each time
    scene.delay = 3600.0
    refused = refusal(RefusalKind.DIALBACK)
    for _ in range(5):
        scene.opens.append((Machine(), lambda machine: [refused, *machine.ends()]))
    outbound(scene)
    await turn()
    scene.connects().do([refused])  # somebody who says that he is the partner
    await turn()
    assert len(scene.opened) == 1
    await scene.spawn.end()


async def test_a_refused_request_on_a_stream_lets_the_lane_go_on() -> None:
    scene = Scene()
    line = scene.connects(PAIR)
    line.machine.answers = [refusal(RefusalKind.DIALBACK, OTHER)]
    outbound(scene, sender="gate@cpe.test")
    await turn()
    assert line.machine.told == [("authorize", OTHER)]
    assert [pair for _, pair, _ in scene.opened] == [OTHER]
    await scene.spawn.end()


async def test_a_stream_error_is_a_refusal_and_an_orderly_end_is_not(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    line = scene.connects(PAIR)
    line.machine.remote = "partner.test"
    line.do([*line.machine.ends("", "The stream was idle.")])
    assert "partner.test: stream 0 ended: The stream was idle." in caplog.text
    assert scene.reports.refusals == []
    other = scene.connects(PAIR)
    other.do(other.machine.ends("host-unknown", "Who?"))
    assert scene.reports.refusals[0][3].startswith("It ended the stream: host-unknown (Who?).")


async def test_what_was_noticed_is_counted_for_whom_it_is_proven(scene: Scene) -> None:
    scene.connects().do([Noticed("bidi-twice", "again")])
    scene.connects(PAIR).do([Noticed("bidi-twice", "again")])
    assert scene.counters.noticed == {"bidi-twice": 1}
    assert scene.counters.of("partner.test").noticed == {"bidi-twice": 1}


# Stanzas


async def test_a_stanza_from_the_partner_goes_to_its_attachment(scene: Scene) -> None:
    line = scene.connects(PAIR)
    line.do([StanzaReceived(stanza(recipient="romeo@isp.test"))])
    assert len(scene.attachment().sent) == 1
    assert scene.peer(line).received == 1


async def test_a_stanza_of_a_partner_that_was_removed_goes_nowhere(scene: Scene) -> None:
    line = scene.connects(PAIR)
    del scene.relay.partners["partner.test"]
    one = stanza(recipient="romeo@isp.test")
    line.do([StanzaReceived(one)])
    scene.relay.released(one, None)  # type: ignore[arg-type]
    scene.relay.outbound("partner.test", stanza(sender="romeo@isp.test", recipient="acs@partner.test"))
    line.do(line.machine.ends("", "", one))
    assert line.written == []


@pytest.mark.parametrize(
    ("sender", "recipient"), [("romeo@elsewhere.test", "acs@partner.test"), ("romeo@isp.test", "acs@other.test")]
)
async def test_only_our_domains_write_to_the_partner_and_to_nobody_else(
    scene: Scene, sender: str, recipient: str
) -> None:
    line = scene.connects(PAIR)
    scene.partner().local_stanza(stanza(sender=sender, recipient=recipient))
    assert (line.written, scene.attachment().sent) == ([], [])
    assert scene.counters.of("partner.test").dropped == {"foreign-sender": 1}


async def test_while_it_drains_nothing_new_is_taken(scene: Scene) -> None:
    line = scene.connects(PAIR)
    scene.relay.draining = True
    outbound(scene)
    assert line.written == []
    assert scene.attachment().conditions == ["remote-server-timeout"]


async def test_what_was_not_acknowledged_is_handed_back_by_its_own_partner(scene: Scene) -> None:
    line = scene.connects(PAIR)
    one = stanza(sender="romeo@isp.test", recipient="acs@partner.test")
    line.do(line.machine.ends("", "", one, None))
    assert scene.attachment().conditions == ["remote-server-timeout"]


async def test_when_a_stream_takes_more_the_longest_wait_ends_first(scene: Scene) -> None:
    line = scene.connects(PAIR, OTHER)
    line.congested = True
    outbound(scene, "o1", "gate@cpe.test")
    scene.now += 1
    outbound(scene, "o2")
    line.congested = False
    scene.relay.writable(cast(Any, line))
    assert ids(line) == ["o1", "o2"]
    line.congested = True
    outbound(scene, "o3")
    line.congested = False
    line.do([Relieved()])
    assert ids(line) == ["o1", "o2", "o3"]


async def test_what_waits_too_long_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK", 0.0)
    scene = Scene(INBOUND, limits=QueueLimits(seconds=10.0))
    outbound(scene)
    scene.now += 10
    scene.spawn("tick", scene.relay.run())
    while not scene.attachment().sent:
        await asyncio.sleep(0)
    assert scene.attachment().conditions == ["remote-server-timeout"]
    await scene.spawn.end()


# Dialling and call backs


async def test_nobody_dials_for_what_is_not_configured(scene: Scene) -> None:
    for pair in (Pair("isp.test", "gone.test"), Pair("gone.test", "partner.test")):
        with pytest.raises(DialFailed) as caught:
            await scene.relay.dial(pair)
        assert caught.value.permanent
    assert scene.opened == []


async def test_a_lane_whose_partner_goes_while_it_waits_ends_nothing_but_itself() -> None:
    scene = Scene()
    scene.opens.append(TimeoutError())
    outbound(scene)
    scene.relay.federation = replace(scene.relay.federation, partners={})
    await turn()
    await scene.spawn.done()
    assert scene.attachment().conditions == ["remote-server-not-found"]


async def test_a_key_of_a_partner_is_asked_about_and_that_of_others_is_not(scene: Scene) -> None:
    line = scene.connects()
    line.do([VerifyKey(Pair("isp.test", "gone.test"), "s1", "c0ffee")])
    (answer,) = line.machine.told
    assert (answer.outcome, answer.condition) == (Outcome.ERROR, "policy-violation")
    scene.opens.append(TimeoutError())
    line.do([VerifyKey(PAIR, "s1", "c0ffee")])
    await turn()
    assert line.machine.told[1].condition == "remote-connection-failed"


# Ends


async def test_a_connection_that_is_closed_leaves_nothing_open(scene: Scene) -> None:
    line = scene.connects(role=Role.OUTGOING)
    one = scene.peer(line)
    scene.relay.closed(cast(Any, line))
    assert one.settled.result() is False
    assert one.gone.is_set()
    assert scene.relay.peers == {}


async def test_what_comes_of_a_connection_that_nobody_knows_is_nothing(scene: Scene) -> None:
    line = scene.connects(PAIR)
    scene.loses(line)
    line.do([Noticed("kind", "late")])
    scene.relay.writable(cast(Any, line))
    scene.relay.closed(cast(Any, line))
    assert scene.counters.noticed == {}


async def test_the_ways_in_which_pairs_were_authorized_are_shown_once_each(scene: Scene) -> None:
    line = scene.connects(PAIR, OTHER)
    assert scene.peer(line).ways == [Authentication.EXTERNAL]
