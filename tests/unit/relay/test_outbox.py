"""When barriers are written to the local server."""

from __future__ import annotations

import itertools

import pytest

from component.relay.net.outbox import BarrierTiming, Outbox
from component.relay.net.rounds import Rounds
from component.relay.queues import QueueLimits
from tests.unit.relay.localserver import Recorder


class Server:
    """A connection that takes everything, and a clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.paused = False
        self.written = b""
        numbers = itertools.count(1)
        self.outbox = Outbox(
            "barrier@partner.test/x", Recorder(), new_id=lambda: f"b{next(numbers)}", clock=lambda: self.now,
            limits=QueueLimits(), timing=BarrierTiming(0.005, 0.05, 60.0), rounds=Rounds(),
        )  # fmt: skip
        self.outbox.connected(self)

    def write(self, data: bytes) -> None:
        self.written += data

    def abort(self, reason: str) -> None:
        raise AssertionError(reason)

    def sent_after(self, seconds: float) -> int:
        """Send a stanza so much later; returns how many barriers were sent by then."""
        self.now += seconds
        self.outbox.send(b"<message/>")
        self.outbox.pump()
        return self.outbox.barriers

    def answered_after(self, seconds: float) -> None:
        self.now += seconds
        self.outbox.answered(f"b{self.outbox.barriers}")


@pytest.fixture
async def server() -> Server:
    return Server()


async def test_the_first_stanza_is_followed_by_a_barrier_at_once(server: Server) -> None:
    assert server.sent_after(0) == 1
    assert server.written == (
        b"<message/><iq type='result' id='b1' from='barrier@partner.test/x' to='barrier@partner.test/x'/>"
    )
    assert server.outbox.unconfirmed == 1


async def test_a_barrier_under_way_is_waited_for(server: Server) -> None:
    assert [server.sent_after(0.1) for _ in range(3)] == [1, 1, 1]
    server.answered_after(0.0)
    assert server.outbox.barriers == 2
    assert server.outbox.unconfirmed == 2


@pytest.mark.parametrize(("took", "interval"), [(0.0001, 0.005), (0.004, 0.02), (1.0, 0.05)])
async def test_barriers_follow_as_fast_as_the_server_answers(server: Server, took: float, interval: float) -> None:
    server.sent_after(0)
    server.answered_after(took)
    if took < interval:
        assert server.sent_after((interval - took) / 2) == 1
    assert server.sent_after(interval) == 2


async def test_an_answer_counts_once(server: Server) -> None:
    server.sent_after(0)
    server.answered_after(0.001)
    assert server.sent_after(0.001) == 1
    server.outbox.answered("b1")
    assert server.outbox.unconfirmed == 1


async def test_nothing_is_written_while_the_server_does_not_read(server: Server) -> None:
    server.paused = True
    server.sent_after(0)
    assert (server.written, server.outbox.queued) == (b"", 1)
    server.paused = False
    server.outbox.pump()
    assert server.written.startswith(b"<message/>")
