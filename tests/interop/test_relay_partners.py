"""The relay connects to a partner, or asks it about a key, and the partner does what it must not do."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from component.relay import ns

from .rawclient import RawClient, online
from .relaykit_partner import Certificate
from .relaykit_peers import Fake, authenticated, fake, peer, secured
from .relaykit_raw import BIDI, DIALBACK, EXTERNAL, STARTTLS, Peer
from .relaykit_scene import Federation
from .test_relay_attacks import message, ours_has

pytestmark = pytest.mark.parametrize("sandbox", ["prosody"], indirect=True)

PROVEN, EITHER, UNPROVEN, OUTBOUND = (f"{name}.raw.test" for name in ("external", "dialback", "ignore", "outbound"))
LOCAL = "acs.test"
AWAY = {("wait", "remote-server-timeout"), ("cancel", "remote-server-not-found")}


@pytest.fixture
async def ours(federation: Federation) -> AsyncIterator[RawClient]:
    """Who sends to the partner."""
    async with online(federation.sandbox, "acs3", "sender") as client:
        yield client


async def sent(ours: RawClient, to: str, id: str) -> None:
    """Send an iq that nobody answers at once."""
    await ours.send_raw(f"<iq type='get' to='eve@{to}' id='{id}'><ping xmlns='urn:xmpp:ping'/></iq>")


async def quiet(federation: Federation, domain: str) -> None:
    """Wait until nothing of the partner is left."""
    await federation.relay.until(domain, lambda row: not row["streams"] and not row["queues"])


async def test_stanzas_on_a_stream_without_bidi(federation: Federation, ours: RawClient) -> None:
    """Who was connected to may send nothing but answers of the stream."""
    async with fake(federation.raw[PROVEN], PROVEN, federation.tls.accepting(PROVEN)) as partner:
        await sent(ours, PROVEN, "w1")
        stream = await partner.established(bidi=False)
        await stream.next("iq")
        await stream.write(message("reverse", ours.jid, f"eve@{PROVEN}"))
        assert await stream.ended() == "invalid-from"
    await quiet(federation, PROVEN)
    assert not any(stanza.get("id") == "reverse" for stanza in ours.stanzas)


@pytest.mark.parametrize("sender", ["eve@partner.test", f"eve@{LOCAL}", f"eve@{EITHER}"])
async def test_foreign_addresses_on_a_stream_with_bidi(federation: Federation, ours: RawClient, sender: str) -> None:
    async with fake(federation.raw[OUTBOUND], OUTBOUND, federation.tls.accepting(OUTBOUND)) as partner:
        await sent(ours, OUTBOUND, "b1")
        stream = await partner.established()
        assert [element.tag for element in stream.seen] == [f"{{{ns.BIDI}}}bidi"]
        await stream.next("iq")
        await stream.write(message("good", ours.jid, f"eve@{OUTBOUND}"))
        await ours_has(ours, "good")
        await stream.write(message("foreign", ours.jid, sender))
        assert await stream.ended() == "invalid-from"
    await quiet(federation, OUTBOUND)
    assert not any(stanza.get("id") == "foreign" for stanza in ours.stanzas)


@pytest.mark.parametrize("kind", [kind for kind in Certificate if kind.value not in ("good", "server-only")])
async def test_a_partner_whose_certificate_is_not_good(
    federation: Federation, ours: RawClient, kind: Certificate
) -> None:
    """Nothing is sent to it, and nothing is taken from it; the sender is told."""
    await federation.relay.reloaded()  # and so it forgets that this partner was refused a moment ago
    async with fake(federation.raw[OUTBOUND], OUTBOUND, federation.tls.accepting(OUTBOUND, kind)) as partner:
        await sent(ours, OUTBOUND, f"c-{kind}")
        stream = await partner.accepted()
        await stream.offer(STARTTLS, BIDI)
        await stream.take_starttls(partner.context)
        await stream.offer(EXTERNAL, BIDI, DIALBACK, id="stream-2")
        await stream.write(message("unproven", ours.jid, f"eve@{OUTBOUND}"))
        await stream.ended()
        answer = await ours.answer(f"c-{kind}", timeout=60)
        assert (answer.error_type, answer.condition) in AWAY
        assert not any(element.tag.endswith("}iq") for element in stream.seen)
    assert not any(stanza.get("id") == "unproven" for stanza in ours.stanzas)
    reason = federation.relay.partner(OUTBOUND)["last_refusal"]
    assert reason["kind"] == "certificate", reason


async def test_what_a_partner_offers_in_place_of_tls(federation: Federation, ours: RawClient) -> None:
    """No TLS, no stanza; a mechanism that is offered in the clear is not used."""
    async with fake(federation.raw[OUTBOUND], OUTBOUND, federation.tls.accepting(OUTBOUND)) as partner:
        await federation.relay.reloaded()
        await sent(ours, OUTBOUND, "clear")
        stream = await partner.accepted()
        await stream.offer(EXTERNAL, DIALBACK, BIDI)
        await stream.ended()
        assert not [element for element in stream.seen if element.tag.rpartition("}")[2] in ("auth", "result", "iq")]
        answer = await ours.answer("clear", timeout=60)
        assert (answer.error_type, answer.condition) in AWAY


async def test_a_key_is_verified_over_another_connection(federation: Federation, ours: RawClient) -> None:
    """The one who brings it cannot say that it is valid; the authoritative server can."""
    async with fake(federation.raw[UNPROVEN], UNPROVEN, federation.tls.accepting(UNPROVEN)) as partner:
        for outcome in ("invalid", "valid"):
            context = federation.tls.connecting(UNPROVEN, Certificate.SELF_SIGNED)
            async with secured(federation.address, UNPROVEN, LOCAL, context) as stream:
                await stream.result("a-key")
                await stream.verify(type="valid", id=stream.attributes["id"])
                await stream.result(type="valid", sender=LOCAL, to=UNPROVEN)
                authority = await asked(partner)
                question = await authority.next("verify")
                assert (question.get("from"), question.get("to"), question.text) == (LOCAL, UNPROVEN, "a-key")
                id = question.get("id", "")
                assert id == stream.attributes["id"]
                await authority.verify(type=outcome, sender=UNPROVEN, to=LOCAL, id=id)
                told = await stream.next("result")
                assert (told.get("type"), told.get("from"), told.get("to")) == (outcome, LOCAL, UNPROVEN)
                await stream.write(message(outcome, ours.jid, f"eve@{UNPROVEN}"))
                if outcome == "valid":
                    await ours_has(ours, "valid")
                else:
                    await stream.ended()
    assert not any(stanza.get("id") == "invalid" for stanza in ours.stanzas)


async def asked(partner: Fake) -> Peer:
    """The connection over which the relay asks about a key; it authenticates nobody."""
    stream = await partner.accepted()
    await stream.offer(STARTTLS)
    await stream.take_starttls(partner.context)
    await stream.offer(DIALBACK, id="stream-2")
    return stream


async def test_our_own_keys(federation: Federation, ours: RawClient) -> None:
    """The relay knows a key that it has given, for that stream and these domains; any other one is not its own."""
    async with fake(federation.raw[UNPROVEN], UNPROVEN, federation.tls.accepting(UNPROVEN)) as partner:
        await sent(ours, UNPROVEN, "key")
        stream = await asked(partner)
        given = await stream.next("result")
        key = given.text or ""
        assert (given.get("from"), given.get("to")) == (LOCAL, UNPROVEN)
        context = federation.tls.connecting(UNPROVEN, Certificate.SELF_SIGNED)
        async with secured(federation.address, UNPROVEN, LOCAL, context) as other:
            for id, text, outcome in (
                ("stream-2", key, "valid"), ("stream-1", key, "invalid"), ("stream-2", key[:-1] + "x", "invalid"),
                ("stream-2", "", "invalid"),
            ):  # fmt: skip
                await other.verify(text, id=id)
                answer = await other.next("verify")
                assert (answer.get("type"), answer.get("id")) == (outcome, id)
                assert (answer.get("from"), answer.get("to")) == (LOCAL, UNPROVEN)
        await stream.result(type="valid", sender=UNPROVEN, to=LOCAL)
        assert (await stream.next("iq")).get("id") == "key"


async def test_a_stranger_is_passed_on_to_the_server(federation: Federation, ours: RawClient) -> None:
    """Who is no partner talks to the server's own port; he cannot become a partner there."""
    stranger = "stranger.test"
    context = federation.tls.connecting(stranger)
    async with authenticated(federation.address, stranger, LOCAL, context) as stream:
        await stream.write(message("passed", ours.jid, f"somebody@{stranger}"))
        await ours_has(ours, "passed")
    async with peer(federation.address, stranger, LOCAL) as stream:
        await stream.begin()
        await stream.start_tls(LOCAL, federation.tls.connecting(PROVEN))
        await stream.write(stream.header(**{"from": PROVEN}))
        assert await stream.ended() != "" or not stream.seen
