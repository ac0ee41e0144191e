"""Every way in which a stream with a partner can come about, between real servers."""

from __future__ import annotations

import pytest

from .cast import ERLANG, UNSIGNED, WAYS
from .rawclient import RawClient, online
from .relaykit_scene import Federation, Way


@pytest.mark.parametrize("domain", WAYS)
async def test_stanzas_travel_both_ways(federation: Federation, domain: str) -> None:
    """Whoever opens the stream, however servers are authenticated, with bidi and without."""
    way = Way.of(domain)
    async with (
        online(federation.sandbox, "acs1", "ways") as ours,
        online(federation.partner.sandbox, domain.removesuffix(".test"), "ways") as theirs,
    ):
        both = [ours, theirs] if way.opener == "relay" else [theirs, ours]
        for asker, asked in (both, both[::-1], both):
            await answered(asker, asked)
        row = federation.relay.partner(domain)
        assert row["state"] == "connected", row
        assert {name for stream in row["streams"] for name in stream["authentication"]} == {way.authentication}
        assert row["streams"][0]["bidi"] is way.bidi
        assert way.authentication == how(federation, domain), domain
        connections = federation.connections(domain)
        if way == Way("relay", "dialback", True):
            # Prosody asks about our key over a stream of its own, which it keeps.
            assert len(connections) == 2, connections
        else:
            assert len(connections) == (1 if way.bidi else 2), connections


@pytest.mark.parametrize("domain", ERLANG)
@pytest.mark.parametrize("opener", ["relay", "partner"])
async def test_stanzas_travel_both_ways_with_ejabberd(federation: Federation, domain: str, opener: str) -> None:
    """It has no bidi in this version, so there is a connection for each direction."""
    erlang = await federation.start_erlang()
    name = domain.partition(".")[0]
    async with (
        online(federation.sandbox, "acs1", "ways") as ours,
        online(erlang.sandbox, name, "ways") as theirs,
    ):
        both = [ours, theirs] if opener == "relay" else [theirs, ours]
        for asker, asked in (both, both[::-1]):
            await answered(asker, asked)
    row = federation.relay.partner(domain)
    assert row["state"] == "connected", row
    assert {way for stream in row["streams"] for way in stream["authentication"]} == {name}
    assert not any(stream["bidi"] for stream in row["streams"])
    assert {stream["role"] for stream in row["streams"]} == {"incoming", "outgoing"}


@pytest.mark.parametrize("opener", ["relay", "partner"])
async def test_keys_are_verified_when_certificates_prove_nothing(federation: Federation, opener: str) -> None:
    """Each side asks the other about its key, over further connections."""
    async with (
        online(federation.sandbox, "acs1", "ways") as ours,
        online(federation.partner.sandbox, "unsigned", "ways") as theirs,
    ):
        both = [ours, theirs] if opener == "relay" else [theirs, ours]
        for asker, asked in (both, both[::-1]):
            await answered(asker, asked)
    row = federation.relay.partner(UNSIGNED)
    assert {way for stream in row["streams"] for way in stream["authentication"]} == {"dialback"}
    log = [line for line in federation.partner.log().splitlines() if UNSIGNED in line or "dialback" in line]
    assert any("verified dialback key... it is valid" in line for line in log), log[-20:]


async def answered(asker: RawClient, asked: RawClient) -> None:
    """A question and its answer travel."""
    answer = await asker.request(asked.jid, "u", "p")
    assert answer.type == "result", answer
    assert answer.sender == asked.jid


def how(federation: Federation, domain: str) -> str:
    """How the partner says that the domain and ours were authenticated."""
    log = [line for line in federation.partner.log().splitlines() if f"\t{domain}:" in line or f"{domain}:" in line]
    external = any("SASL EXTERNAL identity from acs.test" in line for line in log)
    external |= any("SASL EXTERNAL with acs.test succeeded" in line for line in log)
    dialback = any("nitiating dialback" in line or "dialback key" in line for line in log)
    assert external != dialback, log[-20:]
    return "external" if external else "dialback"
