"""A lane: what leaves at once, what waits, what is done for a route, and what is handed back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from component.base.errors import StanzaErrorInfo
from component.relay import lanes as module
from component.relay.counters import RefusalKind
from component.relay.lanes import BARRED_SECONDS, GONE, LONGEST_DELAY, DialFailed, Lane, Tools
from component.relay.peers import Peer
from component.relay.queues import QueueLimits
from component.relay.wire.pairs import Pair
from component.relay.wire.policy import Authentication, Direction, PartnerPolicy
from tests.unit.fakeserver import Tasks
from tests.unit.relay.borderkit import turn
from tests.unit.relay.hubkit import OTHER, PAIR, Around, line_of, peer
from tests.unit.relay.stanzas import stanza

LATER = DialFailed(RefusalKind.UNREACHABLE, "nobody is there", permanent=False)
NEVER = DialFailed(RefusalKind.CERTIFICATE, "it is somebody else", permanent=True, error=StanzaErrorInfo("a", "b"))


class Way:
    """A lane, and the test's hands on all that it depends on."""

    def __init__(self, spawn: Tasks) -> None:
        self.now = 100.0
        self.delays: list[tuple[float, float]] = []
        self.delay = 0.0
        self.around = Around()
        tools = Tools(spawn, lambda: self.now, lambda: 5000.0, self._uniform)
        limits = QueueLimits(stanzas=3, bytes=1000, seconds=60.0)
        self.lane = Lane(PAIR, self.around, limits, self.around, tools)

    def sends(self, *texts: bytes) -> None:
        for text in texts:
            self.lane.send(text, stanza())

    def route(self, pair: Pair = PAIR) -> Peer:
        """A stream on which the pair is authorized; the lane is not told."""
        one = peer()
        line_of(one).machine.sends.add(pair)
        self.around.routes.add(PAIR, one)
        return one

    async def dialled(self) -> asyncio.Future[Peer]:
        return await self.around.dialled.get()

    def _uniform(self, low: float, high: float) -> float:
        self.delays.append((low, high))
        return self.delay


@pytest.fixture
async def way() -> AsyncIterator[Way]:
    tasks = Tasks()
    yield Way(tasks)
    await tasks.end()


def written(one: Peer) -> list[bytes]:
    return line_of(one).written


# With a route


async def test_with_a_route_a_stanza_leaves_at_once_and_is_counted(way: Way) -> None:
    one = way.route()
    way.sends(b"1", b"22")
    assert written(one) == [b"1", b"22"]
    assert (way.around.counters.sent, way.around.counters.sent_bytes) == (2, 3)


async def test_nothing_is_sent_into_a_stream_whose_end_is_not_told_yet(way: Way) -> None:
    """A chunk may hold stanzas, and the end behind them: the machine is closed before the hub hears of the first."""
    one = way.route()
    line_of(one).machine.ends()
    way.sends(b"1")
    assert (written(one), way.around.returned, way.around.counters.sent) == ([], [], 0)
    way.around.routes.remove_stream(one)
    other = way.route()
    way.lane.routed()
    assert written(other) == [b"1"]


async def test_what_waits_keeps_its_order_and_what_comes_queues_behind(way: Way) -> None:
    one = way.route()
    line_of(one).congested = True
    way.sends(b"1", b"2")
    line_of(one).congested = False
    way.sends(b"3")
    assert written(one) == []
    way.lane.flush()
    way.sends(b"4")
    assert written(one) == [b"1", b"2", b"3", b"4"]


async def test_unacknowledged_stanzas_stop_a_lane_as_a_slow_peer_does(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("component.relay.wire.acks.ROOM", 1)
    one = way.route()
    one.stream.acks.sent("token", 0.0)
    way.sends(b"1")
    assert written(one) == []


async def test_a_flush_stops_where_the_stream_is_congested(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 1)
    one = way.route()
    line = line_of(one)
    line.congested = True
    way.sends(b"1", b"2")
    line.congested = False
    line.do = lambda _: setattr(line, "congested", True)  # type: ignore[method-assign,assignment]
    way.lane.flush()
    assert len(way.lane.queue) == 1


async def test_what_does_not_fit_is_handed_back(way: Way) -> None:
    way.sends(b"1", b"2", b"3", b"4")
    assert way.around.returned == [(b"4", "resource-constraint")]


async def test_what_waits_too_long_is_handed_back(way: Way) -> None:
    way.sends(b"1")
    way.now += 59
    way.sends(b"2")
    way.lane.expire()
    assert way.around.returned == []
    way.now += 1
    way.lane.expire()
    assert way.around.returned == [(b"1", "remote-server-timeout")]


# Dialling


async def test_without_a_route_one_connection_is_opened_and_takes_what_waits(way: Way) -> None:
    way.sends(b"1", b"2")
    future = await way.dialled()
    one = way.route()
    way.lane.routed()
    future.set_result(one)
    await turn()
    assert written(one) == [b"1", b"2"]
    assert way.around.dialled.empty()


async def test_attempts_are_further_and_further_apart(way: Way) -> None:
    way.sends(b"1")
    for _ in range(10):
        (await way.dialled()).set_exception(LATER)
    await way.dialled()
    assert way.delays[:3] == [(0.125, 0.25), (0.25, 0.5), (0.5, 1.0)]
    assert way.delays[-1] == (LONGEST_DELAY / 2, LONGEST_DELAY)
    assert way.around.refusals == ["nobody is there"] * 10
    assert way.around.returned == []


async def test_the_next_attempt_is_told_while_it_is_waited_for(way: Way) -> None:
    way.delay = 3600.0
    way.sends(b"1")
    (await way.dialled()).set_exception(LATER)
    await turn()
    assert way.lane.next_attempt == 8600.0
    way.lane.forgive()
    await way.dialled()
    assert way.lane.next_attempt is None


async def test_a_stream_that_ends_as_soon_as_it_began_is_no_reason_to_hurry(way: Way) -> None:
    way.delay = 3600.0
    way.sends(b"1")
    future = await way.dialled()
    one = way.route()
    line_of(one).machine.ends()
    way.lane.routed()
    way.around.routes.remove_stream(one)
    way.lane.unrouted()
    future.set_result(one)
    await turn()
    assert way.delays == [(0.125, 0.25)]
    assert way.around.dialled.empty()


async def test_what_only_people_can_mend_is_handed_back_and_not_tried_for_a_while(way: Way) -> None:
    way.sends(b"1")
    (await way.dialled()).set_exception(NEVER)
    await turn()
    way.sends(b"2")
    assert way.around.returned == [(b"1", "b"), (b"2", "b")]
    way.now += BARRED_SECONDS
    way.sends(b"3")
    await way.dialled()
    assert len(way.around.returned) == 2


async def test_a_partner_that_comes_by_itself_ends_the_ban(way: Way) -> None:
    way.sends(b"1")
    (await way.dialled()).set_exception(NEVER)
    await turn()
    one = way.route()
    way.lane.routed()
    way.around.routes.remove_stream(one)
    way.sends(b"2")
    await way.dialled()
    assert way.around.returned == [(b"1", "b")]


async def test_our_failure_does_not_hand_back_what_waits_for_a_partner_that_came_meanwhile(way: Way) -> None:
    way.sends(b"1")
    future = await way.dialled()
    one = way.route()
    line_of(one).congested = True
    way.lane.routed()
    future.set_exception(NEVER)
    await turn()
    assert way.around.returned == []
    line_of(one).congested = False
    way.lane.flush()
    assert written(one) == [b"1"]


async def test_another_configuration_counts_for_an_attempt_that_is_under_way(way: Way) -> None:
    way.sends(b"1")
    future = await way.dialled()
    way.lane.forgive()
    future.set_exception(NEVER)
    await way.dialled()
    assert way.around.returned == []


async def test_a_lost_route_is_replaced_only_when_something_waits(way: Way) -> None:
    way.lane.unrouted()
    await turn()
    assert way.around.dialled.empty()
    way.sends(b"1")
    way.lane.unrouted()
    await way.dialled()
    await turn()
    assert way.around.dialled.empty()


async def test_a_lane_gives_up_when_nothing_waits_any_more(way: Way) -> None:
    way.sends(b"1")
    future = await way.dialled()
    way.now += 60
    way.lane.expire()
    future.set_exception(LATER)
    await turn()
    assert way.around.dialled.empty()
    way.sends(b"2")
    await way.dialled()


# When only the partner may connect, and over streams that are there


async def test_where_only_the_partner_may_connect_it_is_waited_for(way: Way) -> None:
    way.around.policy = PartnerPolicy("partner.test", direction=Direction.INBOUND)
    way.sends(b"1")
    await turn()
    assert way.lane.next_attempt is None
    one = way.route()
    way.lane.routed()
    await turn()
    assert written(one) == [b"1"]
    assert way.around.dialled.empty()


async def test_a_stream_that_leads_there_is_asked_first_and_once(way: Way) -> None:
    one = way.route(OTHER)
    way.around.routes.remove_stream(one)
    way.around.streams.append(one)
    way.sends(b"1")
    await turn()
    assert line_of(one).machine.told == [("authorize", PAIR)]
    assert way.around.dialled.empty()
    way.lane.stir()  # it was refused
    await way.dialled()
    assert line_of(one).machine.told == [("authorize", PAIR)]


async def test_an_answer_in_time_needs_no_connection(way: Way) -> None:
    one = way.route(OTHER)
    way.around.routes.remove_stream(one)
    way.around.streams.append(one)
    way.sends(b"1")
    await turn()
    line_of(one).machine.sends.add(PAIR)
    way.around.routes.add(PAIR, one)
    way.lane.routed()
    await turn()
    assert written(one) == [b"1"]
    assert way.around.dialled.empty()


async def test_a_stream_that_does_not_answer_is_not_waited_for_long(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.0)
    way.around.streams.append(way.route(OTHER))
    way.around.routes.remove_stream(way.around.streams[0])
    way.sends(b"1")
    await way.dialled()


async def test_without_dialback_nothing_is_asked_on_a_stream(way: Way) -> None:
    way.around.policy = PartnerPolicy("partner.test", authentication=(Authentication.EXTERNAL,))
    way.around.streams.append(peer())
    way.sends(b"1")
    await way.dialled()
    assert line_of(way.around.streams[0]).machine.told == []


# The end


async def test_a_lane_that_is_closed_hands_back_everything(way: Way) -> None:
    way.sends(b"1")
    future = await way.dialled()
    way.lane.close(GONE)
    way.sends(b"2")
    future.set_exception(NEVER)
    await turn()
    way.sends(b"3")
    assert way.around.returned == [(raw, "remote-server-not-found") for raw in (b"1", b"2", b"3")]
    assert way.around.dialled.empty()


async def test_answers_leave_a_closed_lane_while_there_is_a_route(way: Way) -> None:
    one = way.route()
    way.lane.close(GONE)
    way.lane.send(b"1", None)
    assert written(one) == [b"1"]
