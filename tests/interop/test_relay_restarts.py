"""Somebody is restarted in the middle of traffic: every stanza is delivered once or comes back, none is just lost.

A stanza of which nobody can know whether it arrived may both have arrived and come back.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stanzagate.sandbox.network import S2S_PORT, free_address

from .cast import OTHER
from .conftest import Sandbox
from .relaykit import LOCAL, Relay
from .relaykit_partner import Host, Partner
from .relaykit_traffic import counting, flowing, receiving

ACS = "acs2"


@dataclass
class Federation:
    """A partner, and a relay of these tests' own."""

    sandbox: Sandbox
    partner: Partner
    relay: Relay


@pytest.fixture(scope="module")
def own(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """Both run."""
    folder, address = tmp_path_factory.mktemp("restarts"), free_address()
    partner = Partner(folder / "partner", Path(sandbox.info["ca"]), [Host(OTHER, ("numbers",))], acknowledges=True)
    partner.reach(dict.fromkeys(LOCAL, (address, S2S_PORT)))
    relay = Relay(
        sandbox, folder / "relay", {OTHER: {"connect": partner.connect(OTHER)}}, listen=[address],
        limits={"queue_time": "20s"},
    )  # fmt: skip

    async def start() -> None:
        await asyncio.gather(partner.start(), relay.start())

    try:
        asyncio.run(start())
        yield Federation(sandbox, partner, relay)
    finally:
        relay.end()
        partner.close()


async def test_the_relay_is_restarted(own: Federation) -> None:
    """In both directions; what cannot travel meanwhile comes back.

    COMPAT: ejabberd (23.01) drops without a word what it has for a component between the end of its stream and
    taking its route away, some milliseconds later. Nothing that was sent before the relay was told to end is in that
    place, and nothing that was sent when it had ended.
    """
    async with counting(own.sandbox, ACS) as ours, counting(own.partner.sandbox, "numbers") as theirs:
        async with flowing(ours, theirs) as there, flowing(theirs, ours) as back:
            before = there.sent
            await asyncio.to_thread(own.relay.end, signal.SIGTERM)
            since = there.forget() if own.sandbox.kind == "ejabberd" else 0
            await own.relay.start()
        await there.settled(since, until_sent=before)
        await back.settled()


async def test_the_partner_is_restarted(own: Federation) -> None:
    """What waits for it is delivered when it is back."""
    async with counting(own.sandbox, ACS) as ours, receiving(own.partner.sandbox, "numbers") as theirs:
        async with flowing(ours, theirs) as there:
            await asyncio.to_thread(own.partner.end, signal.SIGTERM)
            await own.partner.start()
        await there.settled()


async def test_the_partner_is_killed(own: Federation) -> None:
    """What it had not acknowledged comes back; what it had is its own to lose."""
    async with counting(own.sandbox, ACS) as ours, receiving(own.partner.sandbox, "numbers") as theirs:
        async with flowing(ours, theirs) as there:
            await asyncio.to_thread(own.partner.end, signal.SIGKILL)
            await own.partner.start()
        await there.settled()


async def test_the_local_server_is_restarted(own: Federation) -> None:
    """What came for it meanwhile waits, up to the queue's limits; what it had taken is its own to lose.

    ejabberd closes its connections before its listeners, and loses what it takes in between, too.
    """
    async with counting(own.partner.sandbox, "numbers") as theirs, receiving(own.sandbox, ACS) as ours:
        async with flowing(theirs, ours) as back:
            own.sandbox.restart_server()
            await own.relay.until(OTHER, lambda row: row["attachment"]["state"] != "attached")
            since = back.forget()
            await own.relay.ready()
            since = back.forget() if own.sandbox.kind == "ejabberd" else since
        await back.settled(since)
