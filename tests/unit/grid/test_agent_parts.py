"""The parts of the agent that need no server: SASL, stream management, what is published and what is received."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from lxml import etree

from component.base.errors import ConfigError, InputError
from grid.agent import (
    Agent,
    Forbidden,
    InvalidPayload,
    NotRegistered,
    Overflow,
    Overrun,
    Pending,
    Refused,
    Stream,
    SubscriptionEnded,
    trust,
)
from grid.agent.errors import refused
from grid.agent.items import Gone, Item, Seen, read
from grid.agent.management import TELL_AFTER, WINDOW, Management
from grid.agent.payloads import LARGEST, Schemas, written
from grid.agent.sasl import SaslError, Scram, choose
from grid.agent.strip import Path as StripPath
from grid.agent.strip import paths
from grid.agent.subscriptions import UNCLAIMED, Subscriptions
from stanzagate.pki import Authority

IODEF = "urn:ietf:params:xml:ns:iodef-2.0"
INCIDENT = (
    f"<IODEF-Document version='2.00' xml:lang='en' xmlns='{IODEF}'><Incident purpose='reporting' restriction='green'>"
    "<IncidentID name='csirt.example.com'>1</IncidentID>"
    "<GenerationTime>2015-07-18T09:00:00-05:00</GenerationTime><Contact type='organization' role='creator'>"
    "<Email><EmailTo>contact@csirt.example.com</EmailTo></Email></Contact></Incident></IODEF-Document>"
)

# SASL

EXCHANGES = {  # RFC 5802 §5, RFC 7677 §3
    "SCRAM-SHA-1": (
        "fyko+d2lbbFgONRv9qkxdawL",
        "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
    ),
    "SCRAM-SHA-256": (
        "rOprNGfwEbeRWgbNEkqO",
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
    ),
}


@pytest.mark.parametrize("mechanism", EXCHANGES)
def test_the_exchanges_of_the_standards(mechanism: str) -> None:
    nonce, challenge, proof, final = EXCHANGES[mechanism]
    scram = Scram(mechanism, "user", "pencil", nonce=nonce)
    assert scram.first() == f"n,,n=user,r={nonce}".encode()
    assert scram.respond(challenge.encode()).endswith(f",p={proof}".encode())
    scram.verify(final.encode())
    with pytest.raises(SaslError):
        scram.verify(b"v=AAAA")


@pytest.mark.parametrize(
    "challenge",
    [
        "r=other,s=QSXCR+Q6sek8bf92,i=4096", "r=mine,s=QSXCR+Q6sek8bf92,i=4096", "r=mine1,s=QSXC,i=1",
        "r=mine1,s=QSXC,i=99999999", "r=mine1,s=*,i=4096", "r=mine1,i=4096", "m=x,r=mine1,s=QSXC,i=4096", "\xff",
    ],
)  # fmt: skip
def test_a_challenge_that_is_not_believed(challenge: str) -> None:
    with pytest.raises(SaslError):
        Scram("SCRAM-SHA-256", "user", "pencil", nonce="mine").respond(challenge.encode("latin-1"))


def test_a_server_that_says_success_without_showing_anything() -> None:
    scram = Scram("SCRAM-SHA-256", "user", "pencil", nonce="mine")
    for final in (b"", b"v=", b"e=other-error"):
        with pytest.raises(SaslError):
            scram.verify(final)


@pytest.mark.parametrize(
    ("offered", "certificate", "password", "binding", "expected"),
    [
        ("PLAIN EXTERNAL SCRAM-SHA-1", True, True, False, "EXTERNAL"),
        ("PLAIN SCRAM-SHA-1 SCRAM-SHA-256 SCRAM-SHA-256-PLUS", True, True, False, "SCRAM-SHA-256"),
        ("SCRAM-SHA-256 SCRAM-SHA-256-PLUS", False, True, True, "SCRAM-SHA-256-PLUS"),
        ("EXTERNAL PLAIN", False, True, False, ""),
        ("PLAIN SCRAM-SHA-1", True, False, False, ""),
    ],
)
def test_the_mechanism_that_is_chosen(
    offered: str, certificate: bool, password: bool, binding: bool, expected: str
) -> None:
    assert choose(offered.split(), certificate=certificate, password=password, binding=binding) == expected


# Stream management


def test_a_stanza_is_acknowledged_when_it_and_all_before_are_handled() -> None:
    session = Management("s")
    first, second, third = (session.received() for _ in range(3))
    assert (first, second, third) == (1, 2, 3)
    assert session.h == 0
    session.handled(2)
    assert session.h == 0
    session.handled(1)
    assert session.tell() == 2
    session.handled(3)
    assert session.tell() == 3


def test_what_was_received_before_a_resumption_is_not_taken_twice() -> None:
    session = Management("s")
    for _ in range(5):
        session.received()
    session.handled(1)
    assert session.tell() == 1  # in <resume/>: the server repeats four
    assert session.resumed(0) == []
    assert [session.received() for _ in range(5)] == [None, None, None, None, 6]
    for number in (2, 3, 4, 5, 6):
        session.handled(number)
    assert session.h == 6


def test_what_was_not_acknowledged_is_sent_again() -> None:
    session = Management("s")
    for stanza in ("a", "b", "c"):
        session.sent(stanza)
    assert session.acknowledged(1)
    assert session.resumed(2) == ["c"]
    assert not session.acknowledged(9)
    assert session.resumed(9) is None


def test_a_consumer_that_is_far_behind_does_not_hold_up_the_acknowledgements_for_ever() -> None:
    session = Management("s")
    for _ in range(WINDOW + 100):
        session.received()
    assert session.h == 100
    assert session.handled(WINDOW + 1) is (TELL_AFTER <= 100)


# Stripping and writing


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("b", "<a x='1' xmlns='urn:n'>T<c><b y='2'/></c></a>"),
        ("//b", "<a x='1' xmlns='urn:n'>T<c/></a>"),
        ("c/b/@y", "<a x='1' xmlns='urn:n'><b/>T<c><b/></c></a>"),
        ("@x", "<a xmlns='urn:n'><b/>T<c><b y='2'/></c></a>"),
        ("//@*x", None),
        ("*/b", "<a x='1' xmlns='urn:n'><b/>T<c/></a>"),
        ("//@y", "<a x='1' xmlns='urn:n'><b/>T<c><b/></c></a>"),
        ("nothing/here", "<a x='1' xmlns='urn:n'><b/>T<c><b y='2'/></c></a>"),
        ("", None), ("a//b", None), ("a'b", None), ("//", None), ("@", None),
    ],
)  # fmt: skip
def test_a_path_to_strip(path: str, left: str | None) -> None:
    if left is None:
        with pytest.raises(InputError):
            StripPath(path)
        return
    tree = etree.fromstring("<a x='1' xmlns='urn:n'><b/>T<c><b y='2'/></c></a>")
    StripPath(path).of_tree(tree)
    assert etree.tostring(tree, method="c14n") == etree.tostring(etree.fromstring(left), method="c14n")


def test_a_path_to_strip_in_json() -> None:
    value = {"who": {"name": "x", "mail": "y"}, "list": [{"mail": "z"}, 1]}
    assert StripPath("//mail").of_json(value) == 2
    assert value == {"who": {"name": "x"}, "list": [{}, 1]}
    assert StripPath("who/name").of_json(value) == 1


def test_what_is_published() -> None:
    def text(payload: object, **more: object) -> str:
        return written("T", "", payload, strip=paths(more.get("strip", ())), schemas=Schemas())  # type: ignore[arg-type]

    assert text({"a": "<&"}) == '<json xmlns=\'urn:xmpp:json:0\'>{"a":"&lt;&amp;"}</json>'
    assert text("plain & simple") == "<text xmlns='urn:stanzagate:grid:1'>plain &amp; simple</text>"
    assert text(b"<!-- x --><a><?p?><b/></a>") == "<a xmlns=''><b></b></a>"  # not of XEP-0060's namespace
    assert text(ET.fromstring("<p:a xmlns:p='n' p:x='1'/>")) == '<a xmlns="n" xmlns:a1="n" a1:x="1"></a>'
    assert "green" not in text(INCIDENT, strip=["Incident/@restriction"])


@pytest.mark.parametrize(
    "payload",
    [
        INCIDENT.replace("reporting", "singing"), "<a", {"a": float("nan")},
        b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
        "x\0y", "x" * (LARGEST + 1), b"no markup", object(), {"a": {1, 2}},
    ],
)  # fmt: skip
def test_what_is_not_published(payload: object) -> None:
    with pytest.raises(InvalidPayload):
        written("T", "", payload, strip=(), schemas=Schemas())


def test_a_topic_of_incidents_takes_nothing_else() -> None:
    for payload in ("<a/>", {"a": 1}, "text"):
        with pytest.raises(InvalidPayload, match="carries"):
            written("IODEF-1.0", IODEF, payload, strip=(), schemas=Schemas())
    with pytest.raises(InvalidPayload, match="stripped"):
        written("IODEF-1.0", IODEF, INCIDENT, strip=paths(["//GenerationTime"]), schemas=Schemas())


def test_a_schema_of_the_node() -> None:
    schema = b"<s:schema xmlns:s='http://www.w3.org/2001/XMLSchema'><s:element name='a' type='s:int'/></s:schema>"
    schemas = Schemas({"T": schema})
    assert written("T", "", "<a>1</a>", strip=(), schemas=schemas)
    with pytest.raises(InvalidPayload, match="schema of T") as raised:
        written("T", "", "<a>\none</a>", strip=(), schemas=schemas)
    assert raised.value.details[0].startswith("line 1")
    schemas = Schemas({"J": b'{"type": "object", "required": ["a"]}'})
    assert written("J", "", {"a": 1}, strip=(), schemas=schemas)
    for wrong in ({"b": 1}, "text", "<a/>"):
        with pytest.raises(InvalidPayload, match="schema of J"):
            written("J", "", wrong, strip=(), schemas=schemas)
    with pytest.raises(InputError):
        Schemas({"T": b"<a/>"})


# Receiving

EVENT = "http://jabber.org/protocol/pubsub#event"


def message(*items: str, topic: str = "T", delayed: bool = False) -> ET.Element:
    """A notification; an item is its id and content."""
    entries = "".join(f"<item id='{item[0]}'><p:x xmlns:p='n'>{item[1:]}</p:x></item>" for item in items)
    delay = "<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>" if delayed else ""
    text = f"<message xmlns='jabber:client'><event xmlns='{EVENT}'><items node='{topic}'>{entries}</items></event>"
    return ET.fromstring(f"{text}{delay}</message>")


def test_an_item_that_comes_again_is_known_by_its_content() -> None:
    seen = Seen(limit=2)
    one, again = (next(iter(read(message("1a", delayed=delayed)))) for delayed in (False, True))
    changed = next(iter(read(message("1b"))))
    assert isinstance(one, Item) and isinstance(again, Item) and isinstance(changed, Item)
    assert (one.delayed, again.delayed) == ("", "2026-01-01T00:00:00Z")
    assert [seen.again(item) for item in (one, again, changed, changed, one)] == [False, True, False, True, False]
    other = Item("T", "1", ET.fromstring("<x xmlns='n'>a</x>"))
    assert seen.again(other)  # whatever prefixes the server writes
    assert not seen.again(Item("T", "2"))
    assert not seen.again(Item("T", "3"))
    assert not seen.again(one)  # forgotten
    assert not seen.again(Item("T", ""))
    assert not seen.again(Item("T", ""))


def stream(subscriptions: Subscriptions, topics: tuple[str, ...] = ("T",), **options: object) -> Stream:
    """A consumer of T, or of several topics."""

    async def opening(made: Stream) -> tuple[str, ...]:
        for topic in topics:
            subscriptions.add(topic, made)
        return topics

    async def leaving(made: Stream, for_good: bool) -> None:
        for topic in topics:
            subscriptions.remove(topic, made)

    known = {"queue": 10, "overflow": Overflow.FAIL} | options
    return Stream("T", opening=opening, leaving=leaving, **known)  # type: ignore[arg-type]


async def test_a_message_is_handled_when_all_consumers_are_done_with_all_of_its_items() -> None:
    subscriptions = Subscriptions(lambda topic: None)
    one, two = stream(subscriptions), stream(subscriptions)
    handled: list[int] = []
    subscriptions.take(message("1", "2"), lambda: handled.append(1))  # waits for a consumer
    await one.open()
    await two.open()
    subscriptions.take(message("3"), lambda: handled.append(2))
    subscriptions.take(message("3"), lambda: handled.append(3))  # again
    assert handled == [3]
    assert [(await anext(one)).id for _ in range(3)] == ["1", "2", "3"]
    assert handled == [3, 1]
    one.release()
    assert handled == [3, 1]
    assert (await anext(two)).id == "3"
    await two.close()
    assert handled == [3, 1, 2]
    assert subscriptions.repeated == 1


async def test_what_a_consumer_leaves_waits_for_the_next() -> None:
    subscriptions = Subscriptions(lambda topic: None)
    one = await stream(subscriptions).open()
    subscriptions.take(message("1", "2"), lambda: None)
    assert (await anext(one)).id == "1"
    await one.close()
    assert [item async for item in one] == []
    assert (await anext(stream(subscriptions))).id == "2"


async def test_a_consumer_of_several_topics() -> None:
    subscriptions = Subscriptions(lambda topic: None)
    both, one = stream(subscriptions, ("T", "U")), stream(subscriptions)
    await both.open()
    await one.open()
    subscriptions.take(message("1"), lambda: None)
    for id in ("2", "3"):
        subscriptions.take(message(id, topic="U"), lambda: None)
    assert [(await anext(both)).topic for _ in range(2)] == ["T", "U"]
    assert (await anext(one)).id == "1"
    await both.close()
    subscriptions.take(message("4"), lambda: None)
    assert (await anext(one)).id == "4"
    other = stream(subscriptions, ("U", "T"))
    assert (await anext(other)).id == "3"
    subscriptions.ended("U", SubscriptionEnded("over"))
    subscriptions.take(message("5"), lambda: None)
    assert (await anext(one)).id == "5"
    with pytest.raises(SubscriptionEnded):
        await anext(other)


async def test_a_slow_consumer_is_told_or_loses_the_oldest() -> None:
    subscriptions = Subscriptions(lambda topic: None)
    failing = await stream(subscriptions, queue=2).open()
    dropping = await stream(subscriptions, queue=2, overflow=Overflow.DROP_OLDEST).open()
    handled: list[int] = []
    for number in range(1, 5):
        subscriptions.take(message(str(number)), lambda number=number: handled.append(number))  # type: ignore[misc]
    assert [(await anext(failing)).id for _ in range(2)] == ["1", "2"]
    with pytest.raises(Overrun):
        await anext(failing)
    assert [(await anext(dropping)).id for _ in range(2)] == ["3", "4"]
    assert dropping.dropped == 2
    dropping.release()
    assert sorted(handled) == [1, 2, 3, 4]


async def test_a_topic_that_is_deleted_ends_its_streams() -> None:
    doubts: list[str] = []
    subscriptions = Subscriptions(doubts.append)
    one = await stream(subscriptions).open()
    gone = f"<message xmlns='jabber:client'><event xmlns='{EVENT}'><delete node='T'/></event>{{}}</message>"
    old = ET.fromstring(gone.format("<delay xmlns='urn:xmpp:delay' stamp='2026-01-01T00:00:00Z'/>"))
    assert list(read(old)) == [Gone("T", "the topic was deleted", True)]
    subscriptions.take(old, lambda: None)
    assert doubts == ["T"]  # it may be there again
    subscriptions.take(ET.fromstring(gone.format("")), lambda: None)
    with pytest.raises(SubscriptionEnded):
        await anext(one)


def test_items_that_nobody_wants_are_dropped_in_the_end() -> None:
    subscriptions = Subscriptions(lambda topic: None)
    handled: list[int] = []
    for number in range(UNCLAIMED + 2):
        item = ET.fromstring(
            f"<message xmlns='jabber:client'><event xmlns='{EVENT}'><items node='T'><item id='i{number}'/></items>"
            "</event></message>"
        )
        subscriptions.take(item, lambda: handled.append(1))
    assert (subscriptions.forgotten, len(handled)) == (2, 2)


# Trust


def test_a_fingerprint_in_any_spelling() -> None:
    plain = "ab" * 32
    assert trust.fingerprint(plain.upper()) == plain
    assert trust.fingerprint("SHA256:" + ":".join(["AB"] * 32)) == plain
    for wrong in ("", "ab", "zz" * 32, "ab" * 20):
        with pytest.raises(InputError, match="fingerprint"):
            trust.fingerprint(wrong)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_text("nothing")
    for options in ({"ca": bad}, {"ca": tmp_path / "none"}, {"crl": bad}):
        with pytest.raises(ConfigError, match=r"pem|none"):
            trust.context(**options)


# The node's own certificate


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with the certificates and keys of two nodes, and files that are of no use."""
    ca = Authority.create("nodes", nodes_of="grid.test")
    for name in ("soc1", "soc2"):
        ca.node(f"{name}@grid.test").write(tmp_path / f"{name}.crt", tmp_path / f"{name}.key")
    Authority.create("servers").server(["grid.test"]).write(tmp_path / "server.crt", tmp_path / "server.key")
    (tmp_path / "both.pem").write_bytes((tmp_path / "soc1.crt").read_bytes() + (tmp_path / "soc1.key").read_bytes())
    key = serialization.load_pem_private_key((tmp_path / "soc1.key").read_bytes(), None)
    (tmp_path / "secret.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    cut = (tmp_path / "soc1.key").read_text().splitlines()
    (tmp_path / "cut.key").write_text("\n".join([cut[0], cut[1][:20], cut[-1]]))
    (tmp_path / "text").write_text("nothing")
    return tmp_path


@pytest.mark.parametrize(("cert", "key"), [("soc1.crt", "soc1.key"), ("both.pem", None)])
def test_the_own_certificate(own: Path, cert: str, key: str | None) -> None:
    Agent("soc1@grid.test", cert=own / cert, key=own / key if key else None)
    Agent("SOC1@Grid.test/there", cert=str(own / cert), key=str(own / key) if key else None)


@pytest.mark.parametrize(
    ("cert", "key", "words"),
    [
        ("soc2.crt", "soc2.key", "soc2.crt: is the certificate of soc2@grid.test, not of soc1@grid.test"),
        ("server.crt", "server.key", "server.crt: does not name soc1@grid.test"),
        ("soc1.crt", "soc2.key", "soc1.crt: does not belong to the private key in .*soc2.key"),
        ("soc1.crt", None, "soc1.crt: holds no private key.*--key"),
        ("soc1.crt", "soc1.crt", "soc1.crt: holds no private key"),
        ("soc1.crt", "secret.key", "secret.key: .*pass phrase"),
        ("soc1.crt", "cut.key", "soc1.crt or .*cut.key cannot be read as PEM"),
        ("soc1.crt", "none", "none: cannot be read"),
        ("none", "soc1.key", "none: cannot be read"),
        ("text", "soc1.key", "text: holds no certificate"),
        ("soc1.key", "soc1.key", "soc1.key: holds no certificate"),
    ],
)
def test_a_certificate_that_cannot_be_used(own: Path, cert: str, key: str | None, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Agent("soc1@grid.test", cert=own / cert, key=own / key if key else None)


# What a node is told


def error(condition: str, *, text: str = "", extra: str = "") -> ET.Element:
    """An answer of type error."""
    stanzas = "urn:ietf:params:xml:ns:xmpp-stanzas"
    words = f"<text xmlns='{stanzas}'>{text}</text>" if text else ""
    return ET.fromstring(
        f"<iq xmlns='jabber:client' type='error'><error type='auth'><{condition} xmlns='{stanzas}'/>{words}{extra}"
        "</error></iq>"
    )


@pytest.mark.parametrize(
    ("answer", "right", "kind", "message", "hint"),
    [
        (
            error("registration-required", extra="<pending xmlns='urn:stanzagate:grid:1'/>"), "", Pending,
            "(a@b waits for an administrator).", "stanzagate node approve a@b",
        ),
        (error("registration-required"), "", NotRegistered, "(a@b is not registered).", "stanzagate node add a@b"),
        (error("forbidden", text="No."), "publish T", Forbidden, "(No).", "stanzagate access explain a@b publish T"),
        (error("forbidden", text="This node is disabled."), "", Forbidden, "disabled).", "stanzagate node show a@b"),
    ],
)  # fmt: skip
def test_a_refusal_says_who_and_what_to_do(
    answer: ET.Element, right: str, kind: type[Refused], message: str, hint: str
) -> None:
    told = refused("doing this", answer, jid="a@b", right=right)
    assert type(told) is kind
    assert told.message.startswith("Doing this was refused: ")
    assert told.message.endswith(message)
    assert f"`{hint}`" in told.hint
