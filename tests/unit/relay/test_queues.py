"""Queues: their bounds, and what is handed back."""

from __future__ import annotations

from component.relay.queues import Queued, QueueLimits, StanzaQueue, Unconfirmed, light
from tests.unit.relay.stanzas import stanza


def queued(raw: bytes, since: float = 0.0) -> Queued:
    return Queued(raw, None, since)


def test_first_in_first_out() -> None:
    queue = StanzaQueue(QueueLimits())
    for raw in (b"one", b"two", b"three"):
        assert queue.add(raw, None, 1.0)
    assert (len(queue), queue.size) == (3, 11)
    assert [one.raw for one in queue.take(4)] == [b"one", b"two"]
    assert [one.raw for one in queue.take(4)] == [b"three"]
    assert (len(queue), queue.size, queue.take(4)) == (0, 0, [])


def test_at_least_one_is_taken_however_large() -> None:
    queue = StanzaQueue(QueueLimits())
    queue.add(b"x" * 100, None, 0.0)
    assert len(queue.take(1)) == 1


def test_a_full_queue_says_no_and_keeps_what_it_has() -> None:
    queue = StanzaQueue(QueueLimits(stanzas=2))
    assert [queue.add(b"x", None, 0.0) for _ in range(3)] == [True, True, False]
    assert len(queue) == 2


def test_bytes_are_bounded_like_stanzas() -> None:
    queue = StanzaQueue(QueueLimits(bytes=10))
    assert queue.add(b"x" * 6, None, 0.0)
    assert not queue.add(b"x" * 6, None, 0.0)
    assert queue.add(b"x" * 4, None, 0.0)


def test_what_waits_too_long_is_handed_back() -> None:
    queue = StanzaQueue(QueueLimits(seconds=60))
    assert queue.deadline is None
    queue.add(b"old", None, 10.0)
    queue.add(b"new", None, 11.0)
    assert queue.deadline == 70.0
    assert queue.expired(69.9) == []
    assert [one.raw for one in queue.expired(70.0)] == [b"old"]
    assert (len(queue), queue.size, queue.deadline) == (1, 3, 71.0)


def test_everything_can_be_taken_out() -> None:
    queue = StanzaQueue(QueueLimits())
    queue.add(b"a", None, 0.0)
    queue.add(b"b", None, 0.0)
    assert [one.raw for one in queue.clear()] == [b"a", b"b"]
    assert (len(queue), queue.size) == (0, 0)


def test_a_barrier_confirms_what_was_written_before_it_and_nothing_else() -> None:
    written = Unconfirmed()
    written.add([queued(b"before")], 6)
    written.barrier()
    assert written.outstanding
    written.add([queued(b"be"), queued(b"hind")], 6)
    assert (written.count, written.size, written.behind) == (3, 12, 2)
    written.confirmed()
    assert not written.outstanding
    assert (written.count, written.size) == (2, 6)
    assert [one.raw for one in written.clear()] == [b"be", b"hind"]


def test_a_lost_connection_gives_back_both_sides_of_the_barrier_in_order() -> None:
    written = Unconfirmed()
    written.add([queued(b"1")], 1)
    written.barrier()
    written.add([queued(b"2")], 1)
    assert [one.raw for one in written.clear()] == [b"1", b"2"]
    assert (written.count, written.size, written.outstanding, written.behind) == (0, 0, False, 0)


def test_a_light_stanza_keeps_what_an_answer_needs() -> None:
    heavy = stanza("<query xmlns='urn:x'><a/></query>")
    kept = light(heavy)
    assert (kept.kind, kept.type, kept.id, kept.sender, kept.recipient) == (
        heavy.kind, heavy.type, heavy.id, heavy.sender, heavy.recipient
    )  # fmt: skip
    assert (kept.sender_domain, kept.recipient_domain) == (heavy.sender_domain, heavy.recipient_domain)
    assert len(kept.element) == 0
    assert kept.raw == b""
    assert len(heavy.element) == 1
