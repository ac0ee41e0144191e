"""The link, where it meets what a healthy server never does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from xml.etree.ElementTree import Element

import pytest

from component.base import link as link_module
from component.base import ns
from component.base.correlate import Answer
from component.base.errors import StanzaError, Unreachable
from component.base.link import Link, LinkState, NoAnswer
from component.base.stream import ComponentStream
from tests.unit.fakeserver import FakeServer, Tasks, running

PING = "<ping xmlns='urn:xmpp:ping'/>"


@pytest.fixture
async def served() -> AsyncIterator[tuple[FakeServer, Tasks]]:
    async with running(FakeServer()) as both:
        yield both


def attach(server: FakeServer, tasks: Tasks, stanzas: list[Element] | None = None, secret: str = "s3cret") -> Link:
    def on_stanza(element: Element) -> bool:
        if stanzas is not None:
            stanzas.append(element)
        return True

    link = Link("gate.test", secret, "127.0.0.1", server.port, on_stanza=on_stanza, spawn=tasks, name="gate")
    tasks("link", link.run())
    return link


async def reached(condition: object) -> None:
    """Wait until a callable is true; the test's own time limit is the deadline."""
    assert callable(condition)
    while not condition():
        await asyncio.sleep(0.005)


async def test_an_answer_counts_only_from_the_address_that_was_asked(served: tuple[FakeServer, Tasks]) -> None:
    server, tasks = served
    link = attach(server, tasks)
    await link.attached.wait()
    answers: list[object] = []
    link.request("cpe1@cpe.test/tr069", PING, answers.append, timeout=30, sender="gate@gate.test/gate")
    request = await server.received.get()
    forged = f"<iq type='result' id='{request.get('id')}' to='gate@gate.test/gate' from='%s'/>"
    for stranger in ("cpe2@cpe.test/tr069", "cpe1@cpe.test", "cpe1@cpe.test/tr069x", "cpe1@cpe.test.evil/tr069"):
        server.send(forged % stranger)
    server.send("<iq type='result' id='guess' to='gate@gate.test/gate' from='cpe1@cpe.test/tr069'/>")
    await reached(lambda: link.requests.foreign == 4 and link.requests.late == 1)
    assert answers == []
    server.send(forged % "cpe1@cpe.test/tr069")
    server.send(forged % "cpe1@cpe.test/tr069")  # a device that answers twice
    await reached(lambda: link.requests.late == 2)
    assert len(answers) == 1


async def test_request_ids_are_long_and_all_different(served: tuple[FakeServer, Tasks]) -> None:
    server, tasks = served
    link = attach(server, tasks)
    await link.attached.wait()
    for _ in range(200):
        link.request("a@b/c", PING, lambda _answer: None, timeout=30, sender="gate.test")
    ids = [(await server.received.get()).get("id") or "" for _ in range(200)]
    assert len(set(ids)) == 200
    assert all(len(bytes.fromhex(value)) * 8 >= 128 for value in ids)


async def test_iq_returns_raises_and_times_out(served: tuple[FakeServer, Tasks]) -> None:
    server, tasks = served
    link = attach(server, tasks)
    await link.attached.wait()

    async def answer(kind: str, content: str) -> None:
        request = await server.received.get()
        server.send(f"<iq type='{kind}' id='{request.get('id')}' from='{request.get('to')}'>{content}</iq>")

    tasks("answer", answer("result", ""))
    assert (await link.iq("a@b/c", PING, timeout=30)).get("type") == "result"
    condition = f"<error type='auth'><forbidden xmlns='{ns.STANZAS}'/></error>"
    tasks("answer", answer("error", condition))
    with pytest.raises(StanzaError) as caught:
        await link.iq("a@b/c", PING, timeout=30)
    assert (caught.value.info.type, caught.value.info.condition) == ("auth", "forbidden")
    with pytest.raises(NoAnswer):
        await link.iq("a@b/c", PING, timeout=0.01)


async def test_a_wrong_secret_is_said_once_and_retried(
    served: tuple[FakeServer, Tasks], caplog: pytest.LogCaptureFixture
) -> None:
    server, tasks = served
    with caplog.at_level(logging.INFO):
        link = attach(server, tasks, secret="wrong-secret")
        await reached(lambda: server.connections >= 3)
        server.secret = "wrong-secret"
        await link.attached.wait()
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len([text for text in warnings if "not-authorized" in text and "secret" in text]) == 1
    assert "wrong-secret" not in caplog.text


async def test_a_server_that_is_not_running_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    server, tasks = FakeServer(), Tasks()
    await server.start()
    await server.stop()
    with caplog.at_level(logging.INFO):
        link = attach(server, tasks)
        with pytest.raises(Unreachable):
            await link.iq("a@b/c", PING, timeout=1)
        await reached(lambda: any("not attached" in record.getMessage() for record in caplog.records))
        await server.start()
        await link.attached.wait()
    assert sum("not attached" in record.getMessage() for record in caplog.records) == 1
    await tasks.end()
    await server.stop()


async def test_what_is_sent_while_the_server_is_away_is_kept_in_order_and_bounded(
    served: tuple[FakeServer, Tasks], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "QUEUE_LIMIT", 3)
    server, tasks = served
    link = attach(server, tasks)
    await link.attached.wait()
    await server.stop()
    await reached(lambda: not link.attached.is_set())
    for number in range(5):
        link.send(f"<message id='{number}'/>")
    assert link.counters.queued_dropped == 2
    await server.start()
    assert [(await server.received.get()).get("id") for _ in range(3)] == ["2", "3", "4"]


@pytest.mark.parametrize("poison", ["<a><b></a>", "\x00>", "<!-- --><!DOCTYPE x>", "</stream:stream>"])
async def test_broken_xml_ends_the_connection_and_the_link_comes_back(
    served: tuple[FakeServer, Tasks], poison: str, caplog: pytest.LogCaptureFixture
) -> None:
    server, tasks = served
    stanzas: list[Element] = []
    link = attach(server, tasks, stanzas)
    await link.attached.wait()
    server.send(f"<message id='before'><password>hunter2</password></message>{poison}")
    await reached(lambda: server.connections == 2 and link.attached.is_set())
    assert [stanza.get("id") for stanza in stanzas] in (["before"], [])
    assert "hunter2" not in caplog.text


async def test_a_doctype_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tests.unit.fakeserver.HEADER",
        "<!DOCTYPE s [<!ENTITY e 'x'>]><stream:stream xmlns:stream='http://etherx.jabber.org/streams' id='s1'>",
    )
    async with running(FakeServer()) as (server, tasks):
        link = attach(server, tasks)
        await reached(lambda: server.connections >= 2)
        assert not link.attached.is_set()


async def test_a_doctype_is_refused_however_it_was_cut() -> None:
    text = b"<?xml version='1.0'?><!DOCTYPE s [<!ENTITY e 'x'>]><stream:stream xmlns:stream='urn:s' id='&e;'>"
    start = text.index(b"<!")
    for cut in range(start - 1, start + 12):
        async with running(FakeServer(handshake=False)) as (server, tasks):
            link = Link("gate.test", "s", "127.0.0.1", server.port, on_stanza=lambda _: True, spawn=tasks)
            _, stream = await asyncio.get_running_loop().create_connection(
                lambda link=link: link.stream, "127.0.0.1", server.port
            )
            stream.data_received(text[:cut])
            stream.data_received(text[cut:])
            assert stream.xml_root is None, text[:cut]
            assert stream.parser is None
            stream.abort()


async def test_a_stanza_is_handed_over_however_it_was_cut(served: tuple[FakeServer, Tasks]) -> None:
    server, tasks = served
    stanzas: list[Element] = []
    link = attach(server, tasks, stanzas)
    await link.attached.wait()
    stanza = "<iq type='get' id='é%d'><x a='>' b=\">\">t&gt;</x></iq> "
    for number, cut in enumerate(range(1, len(stanza) - 1)):
        data = (stanza % number).encode()
        link.stream.data_received(data[:cut])
        link.stream.data_received(data[cut:])
        assert len(stanzas) == number + 1, data[:cut]
        assert stanzas[-1].get("id") == f"é{number}"


async def test_a_stanza_nested_thousands_deep_is_handed_over_whole(served: tuple[FakeServer, Tasks]) -> None:
    server, tasks = served
    stanzas: list[Element] = []
    link = attach(server, tasks, stanzas)
    await link.attached.wait()
    depth = 50_000
    server.send(f"<iq type='get' id='deep'>{'<x>' * depth}{'</x>' * depth}</iq><message id='after'/>")
    await reached(lambda: len(stanzas) == 2)
    assert [stanza.get("id") for stanza in stanzas] == ["deep", "after"]
    stanzas.clear()  # taking it apart again must not exhaust the stack either


async def test_a_handler_that_fails_does_not_end_the_connection(served: tuple[FakeServer, Tasks]) -> None:
    server, tasks = served
    seen: list[str] = []

    def on_stanza(element: Element) -> bool:
        seen.append(element.get("id", ""))
        raise RuntimeError("a defect")

    link = Link("gate.test", "s3cret", "127.0.0.1", server.port, on_stanza=on_stanza, spawn=tasks)
    tasks("link", link.run())
    await link.attached.wait()
    server.send("<message id='1'/><message id='2'/>")
    await reached(lambda: seen == ["1", "2"])
    assert server.connections == 1


async def test_drain_waits_for_answers_then_closes(served: tuple[FakeServer, Tasks]) -> None:
    server, tasks = served
    link = attach(server, tasks)
    await link.attached.wait()
    answers: list[object] = []
    link.request("a@b/c", PING, answers.append, timeout=30, sender="gate.test")
    request = await server.received.get()
    draining = tasks("drain", link.drain(30))
    await reached(lambda: link.state is LinkState.DRAINING)
    assert not draining.done()
    server.send(f"<iq type='result' id='{request.get('id')}' from='a@b/c'/>")
    await draining
    assert len(answers) == 1
    assert link.closed
    assert server.connections == 1


async def test_what_crosses_the_end_of_the_stream_is_answered_on_another(served: tuple[FakeServer, Tasks]) -> None:
    server, tasks = served
    link: Link

    def on_stanza(element: Element) -> bool:
        link.send(f"<message id='{element.get('id')}'/>")
        return True

    link = Link("gate.test", "s3cret", "127.0.0.1", server.port, on_stanza=on_stanza, spawn=tasks)
    tasks("link", link.run())
    await link.attached.wait()
    server.last_words = "<message id='crossed'/>"
    await link.drain(30)
    assert (await server.received.get()).get("id") == "crossed"
    assert server.connections == 2


async def test_a_request_never_waits_for_the_server(served: tuple[FakeServer, Tasks]) -> None:
    server, tasks = served
    link = attach(server, tasks)
    await link.attached.wait()
    await server.stop()
    await reached(lambda: not link.attached.is_set())
    answers: list[object] = []
    link.request("a@b/c", PING, answers.append, timeout=30, sender="gate.test")
    assert answers == [Answer.UNREACHABLE]
    link.send("<message id='later'/>")
    await server.start()
    assert (await server.received.get()).get("id") == "later"  # and nothing before it
    assert link.pending == 0


async def test_a_server_that_is_there_but_dead_is_noticed(
    served: tuple[FakeServer, Tasks], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(link_module, "WATCH", 0.01)
    monkeypatch.setattr(link_module, "CONNECT_TIMEOUT", 0.2)
    server, tasks = served
    link = attach(server, tasks)
    await link.attached.wait()
    server.deaf = True
    await reached(lambda: server.connections >= 2)
    assert "did not answer within 0.2 s" in caplog.text
    server.deaf = False
    await reached(link.attached.is_set)


async def test_the_queue_is_bounded_in_bytes_too(served: tuple[FakeServer, Tasks]) -> None:
    server, tasks = served
    await server.stop()
    link = attach(server, tasks)
    for _ in range(80):
        link.send(f"<message>{'x' * 450_000}</message>")
    assert link.queued <= 37
    assert link.counters.queued_dropped == 80 - link.queued


async def test_too_many_requests_at_once_are_refused(
    served: tuple[FakeServer, Tasks], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "PENDING_LIMIT", 2)
    server, tasks = served
    link = attach(server, tasks)
    await link.attached.wait()
    answers: list[object] = []
    for _ in range(3):
        link.request("a@b/c", PING, answers.append, timeout=30, sender="gate.test")
    assert answers == [Answer.OVERLOAD]


async def test_a_server_that_does_not_read_cannot_fill_the_memory(
    served: tuple[FakeServer, Tasks], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("component.base.stream.WRITE_LIMIT", 1_000_000)
    server, tasks = served
    link = attach(server, tasks)
    await link.attached.wait()
    stream: ComponentStream = link.stream
    server._writer.transport.pause_reading()  # type: ignore[union-attr]
    for _ in range(400):
        link.send(f"<message>{'x' * 100_000}</message>")
        stream.flush()
    assert stream.dropped > 0
    assert stream.transport is not None
    assert stream.transport.get_write_buffer_size() < 2_000_000
