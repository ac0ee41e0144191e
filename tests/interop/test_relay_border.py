"""Nothing goes around the relay: neither the local server nor a partner reaches the other without it."""

from __future__ import annotations

import contextlib

from stanzagate.sandbox.wire import StreamFailed

from .cast import OTHER, PARTNER, outcome
from .rawclient import RawClient, online
from .relaykit_peers import authenticated, peer
from .relaykit_scene import Federation
from .test_relay_attacks import ours_has

LOCAL = "acs.test"
STRANGER = "stranger.test"


def own_port(federation: Federation) -> str:
    """Where the local server itself takes streams of other servers."""
    return str(federation.sandbox.info["s2s"]["host"])


async def test_a_partner_cannot_use_the_servers_own_port(federation: Federation) -> None:
    """Although its certificate is good; other federation goes on there."""
    async with online(federation.sandbox, "acs3", "border") as ours:
        for domain in (PARTNER, OTHER):  # one attached, one not
            async with peer(own_port(federation), domain, LOCAL) as stream:
                with contextlib.suppress(StreamFailed):
                    await stream.begin()
                    await stream.secure(federation.tls.connecting(domain))
                    await stream.external()
                    await stream.write(f"<message from='eve@{domain}' to='{ours.jid}' id='around'/>")
                await stream.ended()
        await passes(federation, ours)
        assert not any(stanza.get("id") == "around" for stanza in ours.stanzas)


async def passes(federation: Federation, ours: RawClient) -> None:
    """A stranger's message arrives."""
    context = federation.tls.connecting(STRANGER)
    async with authenticated(own_port(federation), STRANGER, LOCAL, context) as stream:
        await stream.write(f"<iq type='get' from='eve@{STRANGER}' to='{ours.jid}' id='stranger'/>")
        await ours_has(ours, "stranger")


async def test_a_third_server_cannot_reach_a_partner_through_ours(federation: Federation) -> None:
    """Our server may take its stanzas for the attached domain; the relay does not."""
    before = federation.relay.partner(PARTNER)["counters"]["dropped"].get("foreign-sender", 0)
    async with (
        online(federation.partner.sandbox, "acs", "border") as theirs,
        online(federation.sandbox, "acs3", "border") as ours,
    ):
        assert outcome(await theirs.request(ours.jid, "u", "p")) == ("", "")
        async with peer(own_port(federation), STRANGER, PARTNER) as stream:
            with contextlib.suppress(StreamFailed):
                await stream.begin()
                await stream.secure(federation.tls.connecting(STRANGER))
                assert not await stream.external()
                await stream.write(f"<message from='eve@{STRANGER}' to='{theirs.jid}' id='third'/>")
                await federation.relay.until(
                    PARTNER, lambda row: row["counters"]["dropped"].get("foreign-sender", 0) > before
                )
        assert outcome(await ours.request(theirs.jid, "u", "p")) == ("", "")
        assert not any(stanza.get("id") == "third" for stanza in theirs.stanzas)


async def test_the_server_does_not_connect_to_a_partner_itself(federation: Federation) -> None:
    """While the relay is away its senders are told so; ejabberd would look for the domain's server otherwise."""
    away = {"prosody": ("wait", "remote-server-timeout"), "ejabberd": ("auth", "forbidden")}
    async with online(federation.sandbox, "acs3", "border") as ours:
        assert outcome(await ours.request(f"eve@{OTHER}", "u", "p")) == away[federation.sandbox.kind]
