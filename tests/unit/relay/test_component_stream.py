"""XEP-0114 as a component's side sees it."""

from __future__ import annotations

import hashlib

import pytest

from component.relay import ns
from component.relay.wire.component import (
    AttachmentFailed,
    AttachmentReady,
    ComponentStream,
    LocalOutput,
    LocalStanza,
    UnfitStanza,
)
from component.relay.wire.events import Noticed, SendBytes
from component.relay.wire.parser import Opened, StreamParser

SECRET = "s3cret & <more>"
HEADER = (
    f"<?xml version='1.0'?><stream:stream xmlns='{ns.COMPONENT}' xmlns:stream='{ns.STREAM}'"
    " from='partner.test' id='3BF96D32'>"
).encode()
STANZA = b"<message from='cpe1@isp.test' to='a@partner.test'><body/></message>"


def ready() -> ComponentStream:
    stream = ComponentStream("partner.test", SECRET)
    stream.receive(HEADER)
    assert stream.receive(b"<handshake/>") == [AttachmentReady()]
    return stream


def failed(outputs: list[LocalOutput]) -> str:
    assert isinstance(outputs[-1], AttachmentFailed), outputs
    return outputs[-1].condition


def test_it_opens_a_stream_to_its_domain() -> None:
    (event,) = StreamParser(ns.COMPONENT, limit=1000).feed(ComponentStream("partner.test", SECRET).open())
    assert isinstance(event, Opened)
    assert (event.tag, event.content) == (f"{{{ns.STREAM}}}stream", ns.COMPONENT)
    assert event.attributes == {"to": "partner.test"}


def test_it_proves_that_it_knows_the_secret() -> None:
    (output,) = ComponentStream("partner.test", SECRET).receive(HEADER)
    digest = hashlib.sha1(("3BF96D32" + SECRET).encode()).hexdigest()
    assert output == SendBytes(f"<handshake>{digest}</handshake>".encode())


def test_the_digest_is_the_one_that_sha1sum_computes() -> None:
    (output,) = ComponentStream("plays.shakespeare.lit", "test").receive(HEADER)
    assert output == SendBytes(b"<handshake>aaee83c26aeeafcbabeabfcbcd50df997e0a2a1e</handshake>")


def test_it_is_ready_when_the_handshake_is_accepted() -> None:
    stream = ComponentStream("partner.test", SECRET)
    assert not stream.ready
    first, second, third = stream.receive(HEADER + b"<handshake></handshake>" + STANZA)
    assert isinstance(first, SendBytes)
    assert second == AttachmentReady()
    assert isinstance(third, LocalStanza)
    assert stream.ready


def test_stanzas_come_as_they_are() -> None:
    (output,) = ready().receive(STANZA)
    assert isinstance(output, LocalStanza)
    assert output.stanza.raw == STANZA
    assert (output.stanza.sender_domain, output.stanza.recipient_domain) == ("isp.test", "partner.test")


def test_a_stanza_with_the_namespace_of_the_component_loses_it() -> None:
    (output,) = ready().receive(STANZA.replace(b"<message", f"<message xmlns='{ns.COMPONENT}'".encode(), 1))
    assert isinstance(output, LocalStanza)
    assert output.stanza.raw == STANZA


@pytest.mark.parametrize("odd", [b"<message to='a@partner.test'/>", b"<message from='@' to='b'/>", b"<x/>"])
def test_what_is_no_stanza_is_noticed_and_dropped(odd: bytes) -> None:
    stream = ready()
    noticed, stanza = stream.receive(odd + STANZA)
    assert isinstance(noticed, Noticed)
    assert isinstance(stanza, LocalStanza)


@pytest.mark.parametrize("accepted", [False, True])
def test_the_server_may_end_the_stream_with_an_error(accepted: bool) -> None:
    stream = ready() if accepted else ComponentStream("partner.test", SECRET)
    header = b"" if accepted else HEADER
    error = f"<stream:error><conflict xmlns='{ns.STREAM_ERRORS}'/><text xmlns='{ns.STREAM_ERRORS}'>two</text>"
    outputs = stream.receive(header + error.encode() + b"</stream:error></stream:stream>")
    assert outputs[-1] == AttachmentFailed("conflict", "two")
    assert not stream.ready
    assert stream.receive(STANZA) == []


def test_an_error_without_condition_has_the_undefined_one() -> None:
    assert failed(ready().receive(b"<stream:error/>")) == "undefined-condition"


def test_a_header_without_an_id_is_followed_by_its_reason() -> None:
    stream = ComponentStream("partner.test", SECRET)
    assert stream.receive(HEADER.replace(b" id='3BF96D32'", b"")) == []
    error = f"<stream:error><host-unknown xmlns='{ns.STREAM_ERRORS}'/></stream:error>"
    assert failed(stream.receive(error.encode())) == "host-unknown"


def test_the_server_may_close_the_stream() -> None:
    stream = ready()
    assert stream.receive(b"</stream:stream>") == [AttachmentFailed("", "")]
    assert not stream.ready


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        (HEADER.replace(b"component:accept", b"client"), "invalid-namespace"),
        (HEADER.replace(b"/streams", b"/"), "invalid-namespace"),
        (HEADER + STANZA, "not-authorized"),
        (HEADER + b"<!-- -->", "restricted-xml"),
        (b"HTTP/1.1 400 Bad Request\r\n", "not-well-formed"),
    ],
)
def test_what_is_no_server_of_components_is_told_so(data: bytes, condition: str) -> None:
    *_, sent, last = ComponentStream("partner.test", SECRET).receive(data)
    assert isinstance(sent, SendBytes)
    assert condition.encode() in sent.data
    assert sent.data.endswith(b"</stream:stream>")
    assert failed([last]) == condition


def test_a_stanza_may_have_so_many_bytes() -> None:
    stream = ComponentStream("partner.test", SECRET, limit=1000)
    stream.receive(HEADER + b"<handshake/>")
    assert len(stream.receive(STANZA)) == 1
    long = STANZA.replace(b"<body/>", b"<body>" + b"a" * 1000 + b"</body>")
    unfit, fit = stream.receive(long + STANZA)
    assert isinstance(unfit, UnfitStanza) and isinstance(fit, LocalStanza)
    assert (unfit.stanza.sender, unfit.stanza.recipient) == (fit.stanza.sender, fit.stanza.recipient)
    assert (unfit.stanza.raw, len(unfit.stanza.element)) == (b"", 0)


def test_a_stanza_that_is_too_long_for_its_own_tag_is_only_noticed() -> None:
    stream = ComponentStream("partner.test", SECRET, limit=1000)
    stream.receive(HEADER + b"<handshake/>")
    noticed, fit = stream.receive(b"<message id='" + b"a" * 1000 + b"'/>" + STANZA)
    assert isinstance(noticed, Noticed) and isinstance(fit, LocalStanza)


def test_what_is_too_long_before_the_handshake_ends_the_stream() -> None:
    stream = ComponentStream("partner.test", SECRET, limit=1000)
    stream.receive(HEADER)
    assert failed(stream.receive(b"<handshake>" + b"a" * 1000 + b"</handshake>")) == "policy-violation"


def test_the_secret_is_shown_nowhere() -> None:
    stream = ComponentStream("partner.test", SECRET)
    assert SECRET not in repr(stream.receive(HEADER)) + repr(stream) + str(stream.receive(b"<handshake"))
