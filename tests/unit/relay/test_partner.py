"""A partner: what becomes of its stanzas and of those for it, and what is shown of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from component.base.errors import StanzaErrorInfo
from component.relay.border import Drop, Forward, PartnerRules, Refuse
from component.relay.queues import Queued
from component.relay.status import PartnerState
from component.relay.wire.pairs import Pair
from component.relay.wire.policy import Direction, PartnerPolicy
from tests.unit.relay.borderkit import REQUEST, Said, turn
from tests.unit.relay.hubkit import OTHER, PAIR, POLICY, Scene
from tests.unit.relay.stanzas import stanza

LATE = StanzaErrorInfo("wait", "remote-server-timeout", "late")


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    yield made
    await made.spawn.end()


# From the partner


async def test_what_may_pass_goes_to_the_local_server(scene: Scene) -> None:
    one = stanza("hello", recipient="romeo@isp.test")
    scene.partner().inbound(one)
    assert scene.attachment().sent == [(one.raw, one)]
    assert (scene.partner().counters.received, scene.partner().counters.received_bytes) == (1, len(one.raw))


async def test_what_may_not_pass_is_answered_on_the_way_that_it_came(scene: Scene) -> None:
    scene.relay.border.rules = {"partner.test": PartnerRules(frozenset())}
    line = scene.connects(OTHER)
    scene.partner().inbound(stanza())
    assert scene.attachment().sent == []
    assert b"<forbidden" in line.written[0]
    assert scene.partner().counters.refused == {"forbidden": 1}
    assert scene.partner().counters.sent == 1


async def test_what_has_no_answer_is_refused_without_one(scene: Scene) -> None:
    scene.relay.border.rules = {"partner.test": PartnerRules(frozenset())}
    line = scene.connects(OTHER)
    scene.partner().inbound(stanza(type="result"))
    assert line.written == []


async def test_what_is_dropped_is_counted(scene: Scene) -> None:
    scene.partner().inbound(stanza(REQUEST, type="result"))
    assert scene.attachment().sent == []
    assert scene.partner().counters.dropped == {"answer": 1}


async def test_what_waits_for_a_decision_is_released_later(scene: Scene) -> None:
    scene.partner().inbound(stanza(REQUEST))
    await turn()
    assert scene.attachment().sent == []
    scene.policy.say("acs@partner.test/x", "cpe1@cpe.test/tr069", Said(True))
    await turn()
    assert len(scene.attachment().sent) == 1


async def test_what_is_released_is_delivered_answered_or_dropped(scene: Scene) -> None:
    line, partner = scene.connects(OTHER), scene.partner()
    partner.release(stanza(), Forward(b"<iq/>"))
    partner.release(stanza(), Refuse("auth", "forbidden"))
    partner.release(stanza(), Drop("answer"))
    assert scene.attachment().sent[0][0] == b"<iq/>"
    assert b"<forbidden" in line.written[0]
    assert partner.counters.dropped == {"answer": 1}


async def test_what_the_local_server_did_not_take_goes_back_to_its_sender(scene: Scene) -> None:
    line = scene.connects(OTHER)
    scene.partner().returned([Queued(b"1", stanza(), 0.0), Queued(b"2", None, 0.0)], LATE, False)
    assert b"<remote-server-timeout" in line.written[0]
    assert scene.partner().counters.bounced == {"partner": 1}
    assert scene.partner().counters.dropped == {"answer-not-delivered": 1}


async def test_an_answer_that_may_have_arrived_is_not_counted_as_lost(scene: Scene) -> None:
    scene.partner().returned([Queued(b"2", None, 0.0)], LATE, True)
    assert scene.partner().counters.dropped == {}


# Pressure


async def test_a_slow_local_server_slows_the_partner_also_on_new_streams(scene: Scene) -> None:
    first = scene.connects(PAIR)
    scene.partner().pressure(True)
    second = scene.connects(OTHER)
    assert (first.reading, second.reading) == (False, False)
    scene.partner().pressure(False)
    assert (first.reading, second.reading) == (True, True)


async def test_a_stream_of_two_partners_is_read_when_neither_is_pressed() -> None:
    scene = Scene(POLICY, PartnerPolicy("conference.partner.test"))
    line = scene.connects(PAIR, Pair("isp.test", "conference.partner.test"))
    scene.partner().pressure(True)
    scene.partner("conference.partner.test").pressure(True)
    scene.partner("conference.partner.test").pressure(False)
    assert not line.reading
    scene.partner().pressure(False)
    assert line.reading


async def test_what_still_comes_on_a_stream_that_ends_is_read_to_its_end(scene: Scene) -> None:
    line = scene.connects(PAIR)
    scene.partner().pressure(True)
    line.do(line.machine.ends())
    assert line.reading


# To the partner


async def test_what_the_rules_forbid_goes_back_to_the_local_sender(scene: Scene) -> None:
    scene.relay.border.rules = {"partner.test": PartnerRules(frozenset())}
    scene.partner().local_stanza(stanza(sender="romeo@isp.test", recipient="acs@partner.test"))
    assert scene.attachment().conditions == ["forbidden"]
    assert scene.partner().counters.refused == {"forbidden": 1}


async def test_what_was_not_sent_goes_back_and_was_never_counted_as_sent(scene: Scene) -> None:
    line = scene.connects(PAIR)
    line.congested = True
    one = stanza(sender="romeo@isp.test", recipient="acs@partner.test")
    scene.partner().local_stanza(one)
    scene.partner().answer(stanza(recipient="romeo@isp.test"), LATE)
    scene.partner().close()
    assert scene.attachment().conditions == ["remote-server-not-found"]
    assert scene.partner().counters.sent == 0
    assert scene.partner().counters.bounced == {"local": 1}
    assert scene.partner().counters.dropped == {"answer-not-delivered": 1}


async def test_the_sender_of_what_was_not_acknowledged_is_told(scene: Scene) -> None:
    one = stanza(sender="romeo@isp.test", recipient="acs@partner.test")
    scene.partner().unacknowledged([one, None])
    assert scene.attachment().conditions == ["remote-server-timeout"]
    assert scene.partner().counters.bounced == {"local": 1}


async def test_what_must_not_be_answered_is_not(scene: Scene) -> None:
    scene.partner().tell_local(stanza(type="error"), LATE)
    assert scene.attachment().sent == []


async def test_lost_attachments_are_counted(scene: Scene) -> None:
    scene.partner().attached(True)
    scene.partner().attached(False)
    assert scene.partner().counters.attachment_losses == 1


# Changes, and what is shown


async def test_a_local_domain_that_is_gone_takes_what_waits_with_it(scene: Scene) -> None:
    partner = scene.partner()
    partner.local_stanza(stanza(sender="romeo@isp.test", recipient="acs@partner.test"))
    partner.local_stanza(stanza(sender="gate@cpe.test", recipient="acs@partner.test"))
    changed = replace(POLICY, direction=Direction.INBOUND)
    partner.change(changed, {"isp.test"})
    assert scene.attachment().conditions == ["remote-server-not-found"]
    assert list(partner.lanes) == ["isp.test"]
    assert partner.policy is changed


async def test_the_status_has_streams_pairs_queues_and_the_next_attempt(scene: Scene) -> None:
    line = scene.connects(PAIR)
    scene.peer(line).status(scene.now)
    scene.partner().local_stanza(stanza(sender="gate@cpe.test", recipient="acs@partner.test"))
    scene.partner().lane("isp.test")  # nothing waits in it
    scene.now += 7.0
    scene.partner().lane("cpe.test").next_attempt = 1234.0
    status = scene.partner().status(scene.now)
    assert status.state is PartnerState.CONNECTED
    assert [(pair.local, pair.sends, pair.receives) for pair in status.pairs] == [("isp.test", True, True)]
    assert [(queue.local, queue.stanzas, queue.oldest_seconds) for queue in status.queues] == [("cpe.test", 1, 7.0)]
    assert status.next_attempt == 1234.0
    (stream,) = status.streams
    assert (stream.address, stream.idle_seconds, stream.bidi) == ("192.0.2.7:5269", 7.0, True)


async def test_the_status_of_a_partner_that_is_away(scene: Scene) -> None:
    status = scene.partner().status(scene.now)
    assert (status.state, status.queues, status.next_attempt) == (PartnerState.DISCONNECTED, (), None)
