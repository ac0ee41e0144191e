"""Stanzas and their addresses."""

from __future__ import annotations

import dataclasses
from xml.etree.ElementTree import fromstring

import pytest

from component.relay import ns
from component.relay.wire.errors import WireError
from component.relay.wire.parser import Received
from component.relay.wire.stanza import Stanza, domain_of, read


def given(markup: str, content: str = ns.SERVER) -> Stanza:
    name = markup[1:].split(maxsplit=1)[0].rstrip("/>")
    element = fromstring(markup.replace(f"<{name}", f"<{name} xmlns='{content}'", 1))
    return read(Received(element, markup.encode()), content)


def refused(markup: str) -> str:
    with pytest.raises(WireError) as caught:
        given(markup)
    return caught.value.condition


@pytest.mark.parametrize("content", [ns.SERVER, ns.COMPONENT])
@pytest.mark.parametrize("kind", ["iq", "message", "presence"])
def test_a_stanza_is_read(kind: str, content: str) -> None:
    markup = f"<{kind} from='a@partner.test/r' to='isp.test' type='t' id='1'><x xmlns='y'/></{kind}>"
    stanza = given(markup, content)
    assert (stanza.kind, stanza.type, stanza.id) == (kind, "t", "1")
    assert (stanza.sender, stanza.sender_domain) == ("a@partner.test/r", "partner.test")
    assert (stanza.recipient, stanza.recipient_domain) == ("isp.test", "isp.test")
    assert stanza.raw == markup.encode()
    assert stanza.element[0].tag == "{y}x"


def test_what_is_absent_is_empty() -> None:
    stanza = given("<message from='a.test' to='b.test'/>")
    assert (stanza.type, stanza.id) == ("", "")


def test_a_stanza_does_not_change() -> None:
    stanza = given("<message from='a.test' to='b.test'/>")
    with pytest.raises(dataclasses.FrozenInstanceError):
        stanza.sender = "c.test"  # type: ignore[misc]


@pytest.mark.parametrize("name", ["body", "Iq", "result", "error"])
def test_anything_else_is_no_stanza(name: str) -> None:
    assert refused(f"<{name} from='a.test' to='b.test'/>") == "unsupported-stanza-type"


def test_a_stanza_of_another_namespace_is_none() -> None:
    element = fromstring("<iq xmlns='jabber:client' from='a.test' to='b.test'/>")
    with pytest.raises(WireError):
        read(Received(element, b""), ns.SERVER)


@pytest.mark.parametrize(
    "addresses",
    [
        "to='b.test'",
        "from='a.test'",
        "from='' to='b.test'",
        "from='@a.test' to='b.test'",
        "from='a.test/' to='b.test'",
        "from='a@b@c.test' to='b.test'",
        "from='a@' to='b.test'",
        "from='/r' to='b.test'",
        "from='a.test..' to='b.test'",
        "from='a..test' to='b.test'",
        "from='a\u3002test' to='b.test'",
        "from='a\uff0ftest' to='b.test'",
        "from='a b.test' to='b.test'",
        "from='a\u06dd.test' to='b.test'",
        f"from='{'a' * 1024}' to='b.test'",
        f"from='{'a' * 300}.test' to='b.test'",
    ],
)
def test_both_addresses_are_there_and_are_addresses(addresses: str) -> None:
    assert refused(f"<message {addresses}/>") == "improper-addressing"


def test_no_error_shows_an_address() -> None:
    with pytest.raises(WireError) as caught:
        given("<message from='secret@a..test' to='b.test'/>")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("jid", "domain"),
    [
        ("a.test", "a.test"),
        ("A.Test", "a.test"),
        ("x@a.test.", "a.test"),
        ("x@a.test/r@b.test/c", "a.test"),
        ("a.test/x@b.test", "a.test"),
        ("a-b.c1.test", "a-b.c1.test"),
        ("x@Stra\u00dfe.test", "strasse.test"),
        ("x@\uff41.test", "a.test"),
        ("x" * 500 + "@A.test", "a.test"),
    ],
)
def test_domains_are_prepared(jid: str, domain: str) -> None:
    assert domain_of(jid) == domain


def test_a_stanza_whose_domains_were_not_prepared_is_written_anew() -> None:
    """Prosody ends the stream of a component whose stanza is from another spelling of its domain."""
    stanza = given("<message from='A@Partner.TEST/R' to='X@isp.test' id='1'><body>&lt;</body></message>")
    assert stanza.sender == "A@partner.test/R"
    assert stanza.recipient == "X@isp.test"
    assert stanza.element.get("from") == "A@partner.test/R"
    assert stanza.raw == b"<message from='A@partner.test/R' to='X@isp.test' id='1'><body>&lt;</body></message>"
