"""The attachment to the local server: what it carries is delivered once or handed back."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import socket
from collections.abc import AsyncIterator

import pytest

from component.base import ns
from component.relay.net.attachment import Attachment
from component.relay.net.localconnection import LocalConnection
from component.relay.net.outbox import LARGEST, BarrierTiming
from component.relay.net.rounds import Rounds
from component.relay.queues import QueueLimits
from component.relay.status import AttachmentState
from component.relay.wire.component import ComponentStream
from tests.unit.fakeserver import HEADER, Tasks
from tests.unit.relay.localserver import DOMAIN, QUICK, LocalServer, Recorder, attachment
from tests.unit.relay.stanzas import stanza


@pytest.fixture
async def server() -> AsyncIterator[LocalServer]:
    server = LocalServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def spawn() -> AsyncIterator[Tasks]:
    tasks = Tasks()
    yield tasks
    await tasks.end()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def send(link: Attachment, *ids: str, size: int = 0) -> None:
    for name in ids:
        one = stanza(
            "x" * size, kind="message", type="chat", id=name, sender=f"romeo@{DOMAIN}", recipient="a@isp.test"
        )
        link.send(one.raw, one)


async def attached(server: LocalServer, recorder: Recorder, spawn: Tasks, **options: object) -> Attachment:
    link = attachment(server, recorder, **options)  # type: ignore[arg-type]
    spawn("attachment", link.run())
    await recorder.until(lambda: recorder.attachments == [True])
    return link


async def confirmed(link: Attachment) -> None:
    """Wait until nothing is uncertain."""
    await link.outbox.settle()


async def test_stanzas_go_both_ways(server: LocalServer, recorder: Recorder, spawn: Tasks) -> None:
    link = await attached(server, recorder, spawn)
    assert link.status().state is AttachmentState.ATTACHED
    send(link, "1", "2")
    assert await server.ids(2) == ["1", "2"]
    server.send(f"<message from='a@isp.test/x' to='romeo@{DOMAIN}' id='back'><body>hi</body></message>")
    await recorder.until(lambda: bool(recorder.stanzas))
    (back,) = recorder.stanzas
    assert (back.id, back.sender_domain, back.recipient_domain) == ("back", "isp.test", DOMAIN)


async def test_what_waits_for_the_server_is_delivered_in_order(
    server: LocalServer, recorder: Recorder, spawn: Tasks
) -> None:
    link = attachment(server, recorder)
    send(link, "1", "2", "3")
    assert link.status().queued == 3
    spawn("attachment", link.run())
    assert await server.ids(3) == ["1", "2", "3"]
    await confirmed(link)
    assert recorder.lost == []


async def test_barriers_are_not_handed_on(server: LocalServer, recorder: Recorder, spawn: Tasks) -> None:
    link = await attached(server, recorder, spawn)
    send(link, "1")
    await confirmed(link)
    assert server.barriers > 0
    assert link.outbox.unconfirmed == 0
    assert recorder.stanzas == []


async def test_what_a_dying_server_may_not_have_taken_is_handed_back_and_not_sent_again(
    server: LocalServer, recorder: Recorder, spawn: Tasks
) -> None:
    link = await attached(server, recorder, spawn)
    send(link, "taken")
    await server.ids(1)
    await confirmed(link)
    server.holds = True
    send(link, "1", "2")
    await server.held.get()
    send(link, "3")
    assert await server.ids(3) == ["1", "2", "3"]
    server.drop()
    await recorder.until(lambda: len(recorder.lost) == 3)
    assert recorder.lost == [(name, "remote-server-timeout", True) for name in ("1", "2", "3")]
    server.holds = False
    send(link, "4")
    await recorder.until(lambda: recorder.attachments == [True, False, True])
    assert await server.ids(1) == ["4"]
    assert link.losses == 1
    assert len(recorder.lost) == 3


async def test_a_barrier_confirms_what_was_written_before_it(
    server: LocalServer, recorder: Recorder, spawn: Tasks
) -> None:
    server.holds = True
    link = await attached(server, recorder, spawn)
    send(link, "1")
    await server.ids(1)
    first = await server.held.get()
    send(link, "2")
    await server.ids(1)
    server.held.put_nowait(first)
    await server.let_go()
    await server.held.get()  # the next barrier is sent when the first one has come back
    server.drop()
    await recorder.until(lambda: bool(recorder.lost))
    assert recorder.lost == [("2", "remote-server-timeout", True)]


async def test_one_barrier_is_under_way_at_a_time(server: LocalServer, recorder: Recorder, spawn: Tasks) -> None:
    server.holds = True
    link = await attached(server, recorder, spawn)
    for number in range(20):
        send(link, str(number))
        await server.ids(1)
    assert server.barriers == 1


async def test_barriers_keep_their_distance(server: LocalServer, recorder: Recorder, spawn: Tasks) -> None:
    seldom = dataclasses.replace(QUICK, barriers=BarrierTiming(3600.0, 3600.0))
    link = await attached(server, recorder, spawn, timing=seldom, limits=QueueLimits(stanzas=40))
    send(link, "0")
    await server.ids(1)
    await asyncio.wait_for(link.outbox.settle(), 10)  # its own barrier does not wait
    before = server.barriers
    for number in range(10):
        send(link, str(number))
        await server.ids(1)
    assert server.barriers == before
    send(link, *(str(number) for number in range(10, 20)))  # half of the bound: no time to lose
    await server.ids(10)
    await recorder.until(lambda: recorder.pressures[-2:] == [True, False])
    assert server.barriers == before + 1


async def test_an_answer_from_elsewhere_confirms_nothing(
    server: LocalServer, recorder: Recorder, spawn: Tasks
) -> None:
    server.holds = True
    link = await attached(server, recorder, spawn)
    send(link, "1")
    barrier = await server.held.get()
    server.send(f"<iq type='result' id='{barrier.get('id')}' from='eve@isp.test' to='{barrier.get('to')}'/>")
    server.send(f"<iq type='result' id='guessed' from='{barrier.get('to')}' to='{barrier.get('to')}'/>")
    server.send(f"<message from='a@isp.test' to='romeo@{DOMAIN}' id='end'/>")
    await recorder.until(lambda: bool(recorder.stanzas) and recorder.stanzas[-1].id == "end")
    assert link.outbox.unconfirmed == 1


async def test_another_relay_of_the_same_name_is_named(
    server: LocalServer, recorder: Recorder, spawn: Tasks, caplog: pytest.LogCaptureFixture
) -> None:
    await attached(server, recorder, spawn)
    for _ in range(2):
        server.send(f"<iq type='result' id='n9' from='barrier@{DOMAIN}/other' to='barrier@{DOMAIN}/other'/>")
    server.send(f"<message from='a@isp.test' to='romeo@{DOMAIN}' id='end'/>")
    await recorder.until(lambda: bool(recorder.stanzas))
    assert caplog.text.count("another relay is attached") == 1
    assert [one.id for one in recorder.stanzas] == ["end"]


# Bounds


async def test_what_does_not_fit_is_handed_back(server: LocalServer, recorder: Recorder) -> None:
    link = attachment(server, recorder, limits=QueueLimits(stanzas=2))
    send(link, "1", "2", "3")
    assert recorder.lost == [("3", "resource-constraint", False)]
    assert recorder.pressures == []


async def test_what_comes_at_once_may_be_written_before_it_has_to_wait(
    server: LocalServer, recorder: Recorder, spawn: Tasks
) -> None:
    server.holds = True
    link = await attached(server, recorder, spawn, limits=QueueLimits(stanzas=10))
    send(link, *map(str, range(21)))
    assert recorder.lost == [("20", "resource-constraint", False)]
    assert await server.ids(10) == [str(number) for number in range(10)]


async def test_bytes_are_bounded(server: LocalServer, recorder: Recorder) -> None:
    link = attachment(server, recorder, limits=QueueLimits(bytes=1000))
    send(link, "1", "2", size=600)
    assert recorder.lost == [("2", "resource-constraint", False)]


async def test_what_waits_too_long_is_handed_back(server: LocalServer, recorder: Recorder) -> None:
    link = attachment(server, recorder, limits=QueueLimits(seconds=0.01))
    send(link, "1", "2")
    await recorder.until(lambda: len(recorder.lost) == 2)
    assert recorder.lost == [("1", "remote-server-timeout", False), ("2", "remote-server-timeout", False)]
    assert link.status().queued == 0


async def test_a_stanza_that_would_end_the_stream_is_not_sent(
    server: LocalServer, recorder: Recorder, spawn: Tasks
) -> None:
    link = await attached(server, recorder, spawn)
    send(link, "huge", size=LARGEST)
    send(link, "next")
    assert await server.ids(1) == ["next"]
    assert recorder.lost == [("huge", "policy-violation", False)]


async def test_a_stanza_of_the_server_that_is_too_long_is_answered_and_others_travel_on(
    server: LocalServer, recorder: Recorder, spawn: Tasks
) -> None:
    """Whoever sent it, or waits for it, is told; nothing else notices."""
    await attached(server, recorder, spawn)
    long = "x" * LARGEST
    names = f"from='a@isp.test' to='romeo@{DOMAIN}'"
    server.send(f"<message {names} id='m'><body>{long}</body></message>")
    server.send(f"<message {names} id='e' type='error'><body>{long}</body></message>")
    server.send(f"<iq {names} id='r' type='result'><x xmlns='y'>{long}</x></iq>")
    server.send(f"<presence {names} id='p'><status>{long}</status></presence>")
    server.send(f"<iq {names} id='{long}' type='get'/>")
    server.send(f"<iq {names} id='after' type='get'/>")
    await recorder.until(lambda: len(recorder.stanzas) == 3)
    assert [(one.id, one.type) for one in recorder.stanzas] == [("e", "error"), ("r", "error"), ("after", "get")]
    for one in recorder.stanzas[:2]:
        assert b"policy-violation" in one.raw and len(one.raw) < 1000
    assert await server.ids(1) == ["m"]
    assert recorder.attachments == [True]


async def test_what_is_never_answered_is_sent_all_the_same(
    server: LocalServer, recorder: Recorder, spawn: Tasks
) -> None:
    link = await attached(server, recorder, spawn)
    link.send(f"<message type='error' id='e' from='x@{DOMAIN}' to='a@isp.test'/>".encode())
    assert await server.ids(1) == ["e"]
    await confirmed(link)
    assert link.outbox.unconfirmed == 0


async def test_a_server_that_does_not_confirm_presses_and_loses_nothing(
    server: LocalServer, recorder: Recorder, spawn: Tasks
) -> None:
    server.holds = True
    link = await attached(server, recorder, spawn, limits=QueueLimits(stanzas=10))
    send(link, *map(str, range(15)))
    assert await server.ids(10) == [str(number) for number in range(10)]
    assert recorder.pressures == [True]
    assert (link.outbox.unconfirmed, link.outbox.queued) == (10, 5)
    server.holds = False
    await server.let_go()
    assert await server.ids(5) == [str(number) for number in range(10, 15)]
    await recorder.until(lambda: recorder.pressures == [True, False])
    assert recorder.lost == []


async def test_a_server_that_does_not_read_presses_and_what_was_not_written_is_certain(
    server: LocalServer, recorder: Recorder, spawn: Tasks
) -> None:
    link = await attached(server, recorder, spawn)
    server.read(False)
    count = 0
    while not link.outbox.queued and count < 900:
        send(link, str(count), size=100_000)
        count += 1
        await asyncio.sleep(0)
    assert recorder.pressures == [True]
    waiting, written = link.outbox.queued, link.outbox.unconfirmed
    assert waiting > 0
    server.drop()
    await recorder.until(lambda: len(recorder.lost) == written)
    assert {uncertain for _, _, uncertain in recorder.lost} == {True}
    assert recorder.pressures == [True, False]
    received = await server.ids(waiting)
    assert received == [str(number) for number in range(count - waiting, count)]


async def test_a_server_that_answers_no_barrier_is_given_up(
    server: LocalServer, recorder: Recorder, spawn: Tasks, caplog: pytest.LogCaptureFixture
) -> None:
    server.holds = True
    deaf = dataclasses.replace(QUICK, barriers=BarrierTiming(0.0, 0.0, 0.01))
    link = await attached(server, recorder, spawn, timing=deaf)
    send(link, "1")
    await recorder.until(lambda: recorder.attachments == [True, False, True])
    assert recorder.lost == [("1", "remote-server-timeout", True)]
    assert "has taken nothing for 0.01 s" in caplog.text


async def test_an_idle_server_is_looked_after(server: LocalServer, recorder: Recorder, spawn: Tasks) -> None:
    server.holds = True
    await attached(server, recorder, spawn, timing=dataclasses.replace(QUICK, watch=0.01))
    await server.held.get()


# Connecting


async def test_it_comes_back_again_and_again(server: LocalServer, recorder: Recorder, spawn: Tasks) -> None:
    link = await attached(server, recorder, spawn)
    for _ in range(3):
        seen = len(recorder.attachments)
        server.drop()
        await recorder.until(lambda seen=seen: len(recorder.attachments) == seen + 2)  # type: ignore[misc]
    assert link.losses == 3
    assert recorder.attachments == [True, False] * 3 + [True]


async def test_delays_grow_and_are_drawn(recorder: Recorder, spawn: Tasks, server: LocalServer) -> None:
    await server.stop()
    drawn: list[tuple[float, float]] = []
    enough = asyncio.Event()

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        if len(drawn) == 5:
            enough.set()
        return 0.0

    timing = dataclasses.replace(QUICK, first_delay=0.1, longest_delay=0.5)
    link = attachment(server, recorder, timing=timing, uniform=uniform)
    spawn("attachment", link.run())
    await enough.wait()
    assert drawn[:5] == [(0.05, 0.1), (0.1, 0.2), (0.2, 0.4), (0.25, 0.5), (0.25, 0.5)]
    assert link.status().state is AttachmentState.WAITING
    assert link.status().reason


async def test_a_server_that_is_away_is_named_once(
    server: LocalServer, recorder: Recorder, spawn: Tasks, caplog: pytest.LogCaptureFixture
) -> None:
    await server.stop()
    link = attachment(server, recorder)
    spawn("attachment", link.run())
    send(link, "1")
    await server.start()
    assert await server.ids(1) == ["1"]
    assert caplog.text.count("Is the server running") <= 1


@pytest.mark.parametrize(
    ("condition", "stream_id", "advice"),
    [
        ("not-authorized", "s1", "secret"),
        ("conflict", "s1", "another relay"),
        ("host-unknown", "", "Add the component"),
    ],
)
async def test_a_refusal_says_what_to_do_and_shows_no_secret(
    recorder: Recorder, spawn: Tasks, caplog: pytest.LogCaptureFixture, condition: str, stream_id: str, advice: str
) -> None:
    class Refusing(LocalServer):
        async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(HEADER.replace("id='s1'", f"id='{stream_id}'").encode())
            writer.write(f"<stream:error><{condition} xmlns='{ns.STREAMS}'/></stream:error></stream:stream>".encode())
            writer.close()

    server = Refusing()
    await server.start()
    link = attachment(server, recorder, secret="hush-hush")
    spawn("attachment", link.run())
    said = asyncio.Event()

    class Waiting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.set()

    logger = logging.getLogger("component.relay.net.attachment")
    logger.addHandler(handler := Waiting(logging.WARNING))
    try:
        await said.wait()
    finally:
        logger.removeHandler(handler)
    assert condition in caplog.text
    assert advice in caplog.text
    assert "hush" not in caplog.text
    assert link.status().state is AttachmentState.REFUSED
    await spawn.end()
    await server.stop()


async def test_a_handshake_without_an_answer_is_tried_again(recorder: Recorder, spawn: Tasks) -> None:
    server = LocalServer(handshake=False)
    await server.start()
    link = attachment(server, recorder, timing=dataclasses.replace(QUICK, connect=0.01))
    spawn("attachment", link.run())
    send(link, "1")
    while server.connections < 2:
        await asyncio.sleep(0)
    server.handshake = True
    assert await server.ids(1) == ["1"]
    await spawn.end()
    await server.stop()


@pytest.mark.parametrize("words", ["</stream:stream>", "<a><b></a>", "<!DOCTYPE x>"])
async def test_a_server_that_ends_the_stream_is_joined_again(
    server: LocalServer, recorder: Recorder, spawn: Tasks, words: str
) -> None:
    await attached(server, recorder, spawn)
    server.send(words)
    await recorder.until(lambda: recorder.attachments == [True, False, True])


async def test_a_defect_of_the_listener_costs_the_connection_and_nothing_else(
    server: LocalServer, recorder: Recorder, spawn: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = await attached(server, recorder, spawn)
    monkeypatch.setattr(recorder, "local_stanza", lambda _stanza: 1 / 0)
    server.send(f"<message from='a@isp.test' to='romeo@{DOMAIN}' id='end'/>")
    await recorder.until(lambda: recorder.attachments == [True, False, True])
    send(link, "1")
    assert await server.ids(1) == ["1"]


async def test_what_the_server_said_before_the_connection_broke_is_taken(
    server: LocalServer, recorder: Recorder
) -> None:
    ours, theirs = socket.socketpair()
    owner = attachment(server, recorder)
    stream = ComponentStream(DOMAIN, "s3cret")
    stream.receive(f"{HEADER}<handshake/>".encode())
    connection = LocalConnection(stream, owner, Rounds())
    await asyncio.get_running_loop().create_connection(lambda: connection, sock=ours)
    theirs.send(f"<message from='a@isp.test' to='romeo@{DOMAIN}' id='last'/>".encode())
    theirs.close()
    connection.write(b"<message/>")  # fails, before the loop has had a chance to read
    await recorder.until(lambda: bool(recorder.stanzas))
    assert [one.id for one in recorder.stanzas] == ["last"]


# Ending


async def test_draining_delivers_everything_and_closes_the_stream(
    server: LocalServer, recorder: Recorder, spawn: Tasks
) -> None:
    link = await attached(server, recorder, spawn)
    send(link, *map(str, range(100)))
    await link.drain(10.0)
    await spawn.done()
    assert await server.ids(100) == [str(number) for number in range(100)]
    assert recorder.lost == []
    assert link.status().state is AttachmentState.STOPPED


async def test_draining_takes_what_the_server_still_has_for_us(
    server: LocalServer, recorder: Recorder, spawn: Tasks
) -> None:
    server.holds = True
    link = await attached(server, recorder, spawn)
    drained = spawn("drain", link.drain(10.0))
    barrier = await server.held.get()
    server.send(f"<message from='a@isp.test' to='romeo@{DOMAIN}' id='late'/>")
    server.held.put_nowait(barrier)
    await server.let_go()
    await drained
    assert [one.id for one in recorder.stanzas] == ["late"]


async def test_what_cannot_be_drained_in_time_is_handed_back(
    server: LocalServer, recorder: Recorder, spawn: Tasks
) -> None:
    server.holds = True
    link = await attached(server, recorder, spawn, limits=QueueLimits(stanzas=2))
    send(link, "1", "2", "3")
    await server.ids(2)
    await link.drain(0.01)
    await spawn.done()
    assert sorted(recorder.lost) == [
        ("1", "remote-server-timeout", True),
        ("2", "remote-server-timeout", True),
        ("3", "remote-server-timeout", False),
    ]


async def test_what_waits_without_a_server_is_handed_back_at_the_end(
    server: LocalServer, recorder: Recorder, spawn: Tasks
) -> None:
    await server.stop()
    link = attachment(server, recorder)
    spawn("attachment", link.run())
    send(link, "1")
    await link.drain(0.01)
    await spawn.done()
    assert recorder.lost == [("1", "remote-server-timeout", False)]
    send(link, "2")
    assert recorder.lost[1:] == [("2", "remote-server-timeout", False)]


async def test_it_can_be_ended_while_it_connects(recorder: Recorder, spawn: Tasks) -> None:
    server = LocalServer(handshake=False)
    await server.start()
    link = attachment(server, recorder)
    spawn("attachment", link.run())
    while not server.connections:
        await asyncio.sleep(0)
    await link.drain(10.0)
    await spawn.done()
    assert recorder.attachments == []
    assert link.status().state is AttachmentState.STOPPED
    await server.stop()


async def test_cancelling_hands_everything_back(server: LocalServer, recorder: Recorder, spawn: Tasks) -> None:
    server.holds = True
    link = await attached(server, recorder, spawn, limits=QueueLimits(stanzas=1))
    send(link, "1", "2")
    await spawn.end()
    assert sorted(recorder.lost) == [("1", "remote-server-timeout", True), ("2", "remote-server-timeout", False)]
    assert link.status().state is AttachmentState.STOPPED
