"""Errors that the relay writes, and the rewriting of stanzas."""

from __future__ import annotations

from xml.etree.ElementTree import Element, fromstring

import pytest

from component.relay import ns
from component.relay.wire.anew import anew
from component.relay.wire.serial import bounce, instead, quote, stream_error, text
from component.relay.wire.stanza import Stanza

NASTY = "a'\"<>&\r\n\t]]>é"


def stanza(kind: str, type: str, *, id: str = "1") -> Stanza:
    element = fromstring(f"<{kind} xmlns='{ns.SERVER}'><secret xmlns='a'/></{kind}>")
    sender, recipient = "a'<&@partner.test/r\n", "cpe1@isp.test"
    return Stanza(kind, type, id, sender, recipient, "partner.test", "isp.test", element, b"")


def within(raw: bytes) -> Element:
    return fromstring(f"<stream:stream xmlns='c' xmlns:stream='{ns.STREAM}'>{raw.decode()}</stream:stream>")[0]


def test_what_is_escaped_comes_back() -> None:
    element = fromstring(f"<a b='{quote(NASTY)}'>{text(NASTY)}</a>")
    assert element.get("b") == NASTY
    assert element.text == NASTY


def test_a_stream_error_names_its_condition_and_says_why() -> None:
    error = within(stream_error("host-unknown", NASTY.replace("\r", "")))
    assert error.tag == f"{{{ns.STREAM}}}error"
    assert [child.tag for child in error] == [f"{{{ns.STREAM_ERRORS}}}{name}" for name in ("host-unknown", "text")]
    assert error[1].text == NASTY.replace("\r", "")
    assert len(within(stream_error("host-unknown"))) == 1


@pytest.mark.parametrize(
    ("kind", "type"),
    [
        ("iq", "get"),
        ("iq", "set"),
        ("message", ""),
        ("message", "chat"),
        ("message", "headline"),
        ("presence", "subscribe"),
        ("presence", "unsubscribed"),
    ],
)
def test_a_stanza_is_answered_to_its_sender_without_what_it_carried(kind: str, type: str) -> None:
    asked = stanza(kind, type)
    raw = bounce(asked, "wait", "remote-server-timeout", "The partner is away.")
    assert raw is not None
    assert b"secret" not in raw
    answer = within(raw)
    assert answer.tag == f"{{c}}{kind}"
    assert answer.attrib == {"type": "error", "id": "1", "from": asked.recipient, "to": asked.sender}
    (error,) = answer
    assert error.tag == "{c}error"
    assert error.attrib == {"type": "wait"}
    condition, said = error
    assert condition.tag == f"{{{ns.STANZA_ERRORS}}}remote-server-timeout"
    assert said.tag == f"{{{ns.STANZA_ERRORS}}}text"
    assert said.text == "The partner is away."


def test_a_stanza_without_id_is_answered_without_one() -> None:
    raw = bounce(stanza("message", "chat", id=""), "cancel", "service-unavailable")
    assert raw is not None
    answer = within(raw)
    assert "id" not in answer.attrib
    assert len(answer[0]) == 1


@pytest.mark.parametrize(
    ("kind", "type"),
    [
        ("iq", "result"),
        ("iq", "error"),
        ("iq", ""),
        ("iq", "nonsense"),
        ("message", "error"),
        ("presence", ""),
        ("presence", "unavailable"),
        ("presence", "probe"),
        ("presence", "error"),
    ],
)
def test_no_error_answers_what_nobody_waits_for(kind: str, type: str) -> None:
    assert bounce(stanza(kind, type), "wait", "remote-server-timeout") is None


def test_an_error_that_no_server_would_take_is_not_written() -> None:
    assert bounce(stanza("iq", "get", id="'" * 6000), "cancel", "service-unavailable") is None
    assert instead(stanza("iq", "result", id="'" * 6000), "modify", "policy-violation") is None
    assert bounce(stanza("iq", "get", id="'" * 1000), "cancel", "service-unavailable") is not None


@pytest.mark.parametrize(("kind", "type"), [("iq", "result"), ("iq", "error"), ("message", "error")])
def test_an_error_can_go_on_in_place_of_an_answer(kind: str, type: str) -> None:
    answer = instead(stanza(kind, type), "modify", "policy-violation", "Too long.")
    assert answer is not None
    element = within(answer.raw)
    assert element.get("type") == answer.type == "error"
    assert (element.get("from"), element.get("to"), element.get("id")) == (answer.sender, answer.recipient, "1")
    assert element[0][0].tag == f"{{{ns.STANZA_ERRORS}}}policy-violation"


def test_nothing_goes_on_in_place_of_what_is_no_answer() -> None:
    assert instead(stanza("message", "chat"), "modify", "policy-violation") is None
    assert instead(stanza("presence", ""), "modify", "policy-violation") is None
    assert instead(stanza("iq", "nonsense"), "modify", "policy-violation") is None


def test_prefixes_are_declared_once_where_one_may_stand_for_many() -> None:
    element = fromstring(
        "<iq xmlns='c'><x xmlns='a'><c xmlns='c'/><x/><y xmlns='a'><c xmlns='c'/></y></x><z xmlns='a'/></iq>"
    )
    assert anew(element, "c") == (
        b"<iq><n1:x xmlns:n1='a'><c/><x xmlns='a'/><n1:y><c/></n1:y></n1:x><z xmlns='a'/></iq>"
    )


def test_rewriting_keeps_text_and_order() -> None:
    raw = b"<message a='1' b='2'>x&amp;<y xmlns='n'>&#13;</y>&lt;&gt;<z/>end</message>"
    assert (
        anew(fromstring(raw.replace(b"<message", b"<message xmlns='c'", 1).replace(b"<z/>", b"<z xmlns='c'/>")), "c")
        == raw
    )
