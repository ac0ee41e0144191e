"""A peer connects to the relay and does what it must not do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from component.relay import ns
from stanzagate.sandbox.wire import StreamFailed

from .rawclient import RawClient, online
from .relaykit_partner import Certificate
from .relaykit_peers import authenticated, fake, peer, secured
from .relaykit_raw import Peer
from .relaykit_scene import Federation

pytestmark = pytest.mark.parametrize("sandbox", ["prosody"], indirect=True)

EXTERNAL, DIALBACK, IGNORE, OUTBOUND = (f"{name}.raw.test" for name in ("external", "dialback", "ignore", "outbound"))
LOCAL = "acs.test"
STARTTLS = f"<starttls xmlns='{ns.TLS}'/>"


@pytest.fixture
async def ours(federation: Federation) -> AsyncIterator[RawClient]:
    """Whom the attacker would like to reach."""
    async with online(federation.sandbox, "acs3", "target") as client:
        yield client


def message(id: str, to: str, sender: str = f"eve@{EXTERNAL}") -> str:
    """A message."""
    return f"<message from='{sender}' to='{to}' id='{id}'><body>x</body></message>"


async def reached(ours: RawClient, federation: Federation, domain: str = EXTERNAL) -> list[str]:
    """The ids of all that has come, once something good has come by another stream."""
    context = federation.tls.connecting(domain)
    async with authenticated(federation.address, domain, LOCAL, context) as stream:
        await stream.write(message("last", ours.jid, f"eve@{domain}"))
        await ours_has(ours, "last")
    return [id for stanza in ours.stanzas if (id := stanza.get("id", "")) not in ("last", "bind")]


async def ours_has(ours: RawClient, id: str) -> None:
    """Wait for a stanza."""
    async with asyncio.timeout(20):
        while not any(stanza.get("id") == id for stanza in ours.stanzas):
            await asyncio.sleep(0.005)


async def test_stanzas_before_authentication(federation: Federation, ours: RawClient) -> None:
    """In the clear, and under TLS."""
    async with peer(federation.address, EXTERNAL, LOCAL) as clear:
        await clear.begin()
        await clear.write(message("early", ours.jid))
        assert await clear.ended() == "not-authorized"
    async with secured(federation.address, EXTERNAL, LOCAL, federation.tls.connecting(EXTERNAL)) as stream:
        await stream.write(message("early", ours.jid))
        assert await stream.ended() == "not-authorized"
    assert await reached(ours, federation) == []


@pytest.mark.parametrize(
    ("sender", "to", "condition"),
    [
        ("eve@partner.test", "", "invalid-from"),
        ("eve@sub.external.raw.test", "", "invalid-from"),
        (f"eve@{LOCAL}", "", "invalid-from"),
        ("", "cpe1@cpe.test", ""),
        ("", "somebody@nowhere.test", "host-unknown"),
        ("eve@", "", "improper-addressing"),
    ],
)  # fmt: skip
async def test_foreign_addresses(
    federation: Federation, ours: RawClient, sender: str, to: str, condition: str
) -> None:
    """Every stanza is looked at: the pair of the stream, and no other, may use it."""
    context = federation.tls.connecting(EXTERNAL)
    async with authenticated(federation.address, EXTERNAL, LOCAL, context) as stream:
        await stream.write(message("bad", to or ours.jid, sender or f"eve@{EXTERNAL}"))
        ended = await stream.ended()
        assert ended == condition if condition else ended in ("host-unknown", "invalid-from", "policy-violation")
    assert await reached(ours, federation) == []


@pytest.mark.parametrize("authenticate", [False, True])
async def test_nobody_is_authorized_by_an_answer_that_was_not_asked_for(
    federation: Federation, ours: RawClient, authenticate: bool
) -> None:
    """A forged ``db:result`` and ``db:verify``, before and after authentication."""
    async with secured(federation.address, EXTERNAL, LOCAL, federation.tls.connecting(EXTERNAL)) as stream:
        if authenticate:
            assert not await stream.external()
        with contextlib.suppress(StreamFailed):
            for sender, to in ((DIALBACK, LOCAL), (LOCAL, DIALBACK), (EXTERNAL, LOCAL), (LOCAL, EXTERNAL)):
                await stream.result(type="valid", sender=sender, to=to)
                await stream.verify(type="valid", sender=sender, to=to, id="stream-1")
            await stream.write(message("forged", ours.jid, f"eve@{DIALBACK}"))
        assert await stream.ended() == ("invalid-from" if authenticate else "not-authorized")
    assert await reached(ours, federation) == []


async def test_a_partner_without_dialback_cannot_use_it(federation: Federation, ours: RawClient) -> None:
    """It is not offered, and what is asked all the same comes to nothing."""
    context = federation.tls.connecting(EXTERNAL, None)
    async with peer(federation.address, EXTERNAL, LOCAL) as stream:
        await stream.begin()
        await stream.start_tls(LOCAL, context)
        await stream.write(stream.header(), stream._dialback("result", "0123", "", "", "", ""))
        await stream.write(message("unproven", ours.jid))
        await stream._read_header()
        assert await stream.ended() in ("policy-violation", "not-authorized")
        assert not [element for element in stream.seen if "dialback" in element.tag]
    assert await reached(ours, federation) == []


@pytest.mark.parametrize("kind", [*Certificate, None])
async def test_certificates(federation: Federation, ours: RawClient, kind: Certificate | None) -> None:
    """EXTERNAL is offered to those alone whose certificate is good; one for servers alone is."""
    good = kind in (Certificate.GOOD, Certificate.SERVER_ONLY)
    refused = federation.relay.partner(EXTERNAL)["counters"]["refusals"]
    context = federation.tls.connecting(EXTERNAL, kind)
    async with peer(federation.address, EXTERNAL, LOCAL) as stream:
        await stream.begin()
        try:
            await stream.secure(context)
            offered = stream.offered.find(f"{{{ns.SASL}}}mechanisms") is not None
        except StreamFailed:
            offered = False
        assert offered is good
        if good:
            assert not await stream.external()
            return
        with contextlib.suppress(StreamFailed):
            assert await stream.external() != ""
            await stream.write(message("unproven", ours.jid))
        await stream.ended()
    assert await reached(ours, federation) == []
    after = federation.relay.partner(EXTERNAL)["counters"]["refusals"]
    assert sum(after.values()) > sum(refused.values())


async def test_bytes_behind_starttls(federation: Federation, ours: RawClient) -> None:
    """What comes in the clear behind ``<starttls/>`` is never taken for what TLS protects."""
    for injected in (message("injected", ours.jid), "<stream:stream>", " x"):
        async with peer(federation.address, EXTERNAL, LOCAL) as stream:
            await stream.begin()
            await stream.write(STARTTLS, injected)
            with contextlib.suppress(StreamFailed):
                answer = await stream.element()
                assert answer.tag != f"{{{ns.TLS}}}proceed"
            await stream.ended()
    assert await reached(ours, federation) == []


async def test_a_stream_that_begins_anew_under_another_name(federation: Federation, ours: RawClient) -> None:
    """After TLS and after SASL; the certificate would be good for both names."""
    context = federation.tls.connecting(EXTERNAL)
    for changed in ({"from": DIALBACK}, {"to": "cpe.test"}):
        async with peer(federation.address, EXTERNAL, LOCAL) as stream:
            await stream.begin()
            await stream.start_tls(LOCAL, context)
            await stream.write(stream.header(**changed))
            await stream._read_header()
            assert await stream.ended() in ("invalid-from", "policy-violation", "host-unknown")
    assert await reached(ours, federation) == []


@pytest.mark.parametrize(
    ("data", "condition"),
    [
        ("<!DOCTYPE message [<!ENTITY x 'y'>]><message/>", "restricted-xml"),
        ("<!-- a comment -->", "restricted-xml"),
        ("<?instruction x?>", "restricted-xml"),
        ("<message><body>&unknown;</body></message>", "restricted-xml"),
        ("<message></presence>", "not-well-formed"),
        ("<a:message/>", "bad-namespace-prefix"),
        ("some text", "bad-format"),
        ("<message>" * 200, "policy-violation"),
        ("<strange xmlns='urn:strange'/>", "unsupported-stanza-type"),
    ],
)
@pytest.mark.parametrize("authenticate", [False, True])
async def test_xml_that_is_not_allowed(
    federation: Federation, ours: RawClient, data: str, condition: str, authenticate: bool
) -> None:
    async with secured(federation.address, EXTERNAL, LOCAL, federation.tls.connecting(EXTERNAL)) as stream:
        if authenticate:
            assert not await stream.external()
        await stream.write(data)
        ended = await stream.ended()
        assert ended == condition or (not authenticate and ended == "not-authorized")


async def test_what_is_too_large(federation: Federation, ours: RawClient) -> None:
    """8 KiB before authentication, 512 KiB afterwards, and what fits passes; a tag that never ends does not."""
    context = federation.tls.connecting(EXTERNAL)
    for text in (f"<message id='{'x' * 9000}", f"<message><body>{'x' * 9000}"):
        async with secured(federation.address, EXTERNAL, LOCAL, context) as stream:
            await stream.write(text)
            assert await stream.ended() == "policy-violation"
    async with authenticated(federation.address, EXTERNAL, LOCAL, context) as stream:
        head, tail = message("large", ours.jid).split("x</body>")
        await stream.write(head, "x" * 200_000, "</body>", tail)
        await ours_has(ours, "large")
        await stream.write(head.replace("large", "huge"), "x" * 600_000, "</body>", tail)
        assert await stream.ended() == "policy-violation"
    assert await reached(ours, federation) == ["large"]


async def test_one_byte_at_a_time(federation: Federation, ours: RawClient) -> None:
    """Everything, from the first header to a stanza."""
    async with peer(federation.address, EXTERNAL, LOCAL) as stream:
        await stream.slowly(stream.header())
        await stream._read_header()
        await stream.element()
        await stream.slowly(STARTTLS[:-2])
        await stream.start_tls_as_asked("/>", federation.tls.connecting(EXTERNAL))
        await stream.slowly(stream.header())
        await stream._read_header()
        await stream.element()
        assert not await stream.external()
        await stream.slowly(message("slow", ours.jid))
        await ours_has(ours, "slow")


async def test_half_closed(federation: Federation, ours: RawClient) -> None:
    """A connection that one side has closed is closed by the other, at any point."""
    async with peer(federation.address, EXTERNAL, LOCAL) as stream:
        stream.half_close()
        assert await stream.ended() == ""
    async with peer(federation.address, EXTERNAL, LOCAL) as stream:
        await stream.begin()
        stream.half_close()
        await stream.ended()
    async with authenticated(federation.address, EXTERNAL, LOCAL, federation.tls.connecting(EXTERNAL)) as stream:
        stream.half_close()
        await stream.ended()
    await federation.relay.until(EXTERNAL, lambda row: not row["streams"])


async def test_bidi_asked_at_the_wrong_time(federation: Federation, ours: RawClient) -> None:
    """Before TLS it counts for nothing, after SASL it is too late; twice is once."""
    there = federation.raw[EXTERNAL]
    context = federation.tls.connecting(EXTERNAL)
    async with fake(there, EXTERNAL, federation.tls.accepting(EXTERNAL)) as partner:
        async with peer(federation.address, EXTERNAL, LOCAL) as stream:
            await stream.begin()
            await stream.ask_bidi()
            await stream.secure(context)
            assert not await stream.external()
            await ours.send_raw(f"<message to='eve@{EXTERNAL}' id='one'/>")
            own = await partner.established(bidi=False)
            assert (await own.next("message")).get("id") == "one"
            assert not stream.seen
        own.abort()
        await federation.relay.until(EXTERNAL, lambda row: not row["streams"])
        async with secured(federation.address, EXTERNAL, LOCAL, context) as stream:
            assert stream.offered.find(f"{{{ns.BIDI_FEATURE}}}bidi") is not None
            await stream.ask_bidi()
            await stream.ask_bidi()
            if not await stream.external():
                await ours.send_raw(f"<message to='eve@{EXTERNAL}' id='two'/>")
                assert (await stream.next("message")).get("id") == "two"
        await federation.relay.until(EXTERNAL, lambda row: not row["streams"])
        async with authenticated(federation.address, EXTERNAL, LOCAL, context) as stream:
            await stream.ask_bidi()
            await ours.send_raw(f"<message to='eve@{EXTERNAL}' id='three'/>")
            own = await partner.established(bidi=False)
            assert (await own.next("message")).get("id") == "three"


async def test_a_partner_that_comes_again_while_its_old_stream_lives(federation: Federation, ours: RawClient) -> None:
    """Both take stanzas; the route stays with the first and goes to the second when the first has gone."""
    context = federation.tls.connecting(EXTERNAL)
    async with (
        authenticated(federation.address, EXTERNAL, LOCAL, context, bidi=True) as first,
        authenticated(federation.address, EXTERNAL, LOCAL, context, bidi=True) as second,
    ):
        for number, stream in enumerate((first, second)):
            await stream.write(message(f"both{number}", ours.jid))
            await ours_has(ours, f"both{number}")
        await ours.send_raw(f"<message to='eve@{EXTERNAL}' id='old'/>")
        assert (await first.next("message")).get("id") == "old"
        await first.write("</stream:stream>")
        await first.ended()
        await ours.send_raw(f"<message to='eve@{EXTERNAL}' id='new'/>")
        assert (await second.next("message")).get("id") == "new"


async def test_connections_that_say_nothing(federation: Federation, ours: RawClient) -> None:
    """A crowd of them, from one address, keeps no partner out."""
    crowd: list[Peer] = []
    try:
        for _ in range(120):
            crowd.append(await Peer.to(federation.address, EXTERNAL, LOCAL, "127.66.66.66"))
        assert await reached(ours, federation) == []
        assert federation.relay.status()["unauthenticated"] <= 60
    finally:
        for silent in crowd:
            silent.abort()


async def test_who_may_only_be_connected_to(federation: Federation) -> None:
    """With ``direction: outbound`` a partner that connects is told so."""
    async with peer(federation.address, OUTBOUND, LOCAL) as stream:
        await stream.write(stream.header())
        await stream._read_header()
        assert await stream.ended() == "policy-violation"
