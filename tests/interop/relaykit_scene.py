"""A sandbox that federates: one relay, and partners of every kind, all started once for the tests of a session."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from stanzagate.sandbox.network import S2S_PORT, free_address
from tests.interop.cast import ERLANG, PARTNER, RAW, ROOMS, UNSIGNED, WAYS
from tests.interop.conftest import Sandbox
from tests.interop.relaykit import LOCAL, Relay
from tests.interop.relaykit_partner import Certificate, Host, Partner
from tests.interop.relaykit_peers import Certificates
from tests.interop.relaykit_tcp import established


class Way(NamedTuple):
    """How a stream comes about.

    :ivar opener: ``relay`` or ``partner``.
    :ivar authentication: ``external`` or ``dialback``.
    """

    opener: str
    authentication: str
    bidi: bool

    @classmethod
    def of(cls, domain: str) -> Way:
        """The way for which a partner's domain stands."""
        opener, authentication, bidi = domain.removesuffix(".test").split("-")
        return cls(opener, authentication, bidi == "bidi")


@dataclass
class Federation:
    """Who federates.

    :ivar partner: Prosody. Its accounts are ``acs`` and ``node`` of PARTNER, ``guest`` of ROOMS, ``unsigned`` of
        UNSIGNED (whose certificate is its own), and one for each way, called as the domain without ``.test``. It
        opens the streams of PARTNER and ROOMS, and nobody can connect to these.
    :ivar erlang: ejabberd, with the accounts ``external`` and ``dialback``; `start_erlang` starts it.
    :ivar raw: where a test may listen as each domain of RAW.
    :ivar places: where the relay listens for each partner.
    :ivar tls: certificates for a test's own servers.
    """

    sandbox: Sandbox
    partner: Partner
    erlang: Partner
    raw: dict[str, str]
    places: dict[str, str]
    tls: Certificates
    relay: Relay

    @property
    def address(self) -> str:
        """Where the relay listens for whoever it is."""
        return self.places[PARTNER]

    def connections(self, domain: str) -> list[tuple[str, str]]:
        """The TCP connections between the relay and one domain of a partner."""
        server = self.erlang if domain in ERLANG else self.partner
        return established([self.places[domain], server.host(domain).address])

    async def start_erlang(self) -> Partner:
        """ejabberd, once it runs."""
        if not self.erlang.process.alive():
            await self.erlang.start()
        return self.erlang


@contextmanager
def federated(sandbox: Sandbox, folder: Path) -> Iterator[Federation]:
    """Everything but ejabberd runs."""
    ca = Path(sandbox.info["ca"])
    ways = [(domain, Way.of(domain)) for domain in WAYS]
    hosts = [
        Host(PARTNER, ("acs", "node"), closed=True),
        Host(ROOMS, ("guest",), closed=True),
        Host(UNSIGNED, ("unsigned",), certificate=Certificate.SELF_SIGNED),
        *(_host(domain, way) for domain, way in ways),
    ]
    partner = Partner(folder / "partner", ca, hosts)
    erlang_hosts = [Host(domain, (domain.partition(".")[0],), dialback=domain == ERLANG[1]) for domain in ERLANG]
    erlang = Partner(folder / "erlang", ca, erlang_hosts, kind="ejabberd")
    raw = {domain: free_address() for domain in RAW}
    common = free_address()
    places = {PARTNER: common, ROOMS: common, UNSIGNED: free_address()} | {domain: free_address() for domain in WAYS}
    places |= dict.fromkeys(ERLANG, free_address()) | dict.fromkeys(RAW, common)
    partner.reach({f"{domain}>{local}": (places[domain], S2S_PORT) for domain in places for local in LOCAL})
    erlang.reach(dict.fromkeys(LOCAL, (places[ERLANG[0]], S2S_PORT)))
    options: dict[str, dict[str, Any]] = {PARTNER: _inbound(), ROOMS: _inbound()}
    options[UNSIGNED] = {
        "connect": partner.connect(UNSIGNED), "authentication": ["dialback"], "certificate": "ignore",
    }  # fmt: skip
    options |= {domain: _options(partner, domain, way) for domain, way in ways}
    options |= {
        domain: {"connect": erlang.connect(domain), "authentication": [domain.partition(".")[0]]} for domain in ERLANG
    }
    options |= {domain: {"connect": f"{raw[domain]}:{S2S_PORT}"} | _RAW[domain] for domain in RAW}
    server = sandbox.info["s2s"]
    relay = Relay(
        sandbox, folder / "relay", options, listen=sorted(set(places.values())),
        pass_through=f"{server['host']}:{server['port']}",
    )  # fmt: skip
    made = Federation(sandbox, partner, erlang, raw, places, Certificates(ca, folder), relay)
    try:
        asyncio.run(_start(made))
        yield made
    finally:
        relay.end()
        partner.close()
        erlang.close()


async def _start(federation: Federation) -> None:
    await asyncio.gather(federation.partner.start(), federation.relay.start())


def _host(domain: str, way: Way) -> Host:
    """A domain of the partner. Without bidi once because it has none, and once because the relay wants none."""
    only_opens = way.opener == "partner" and way.bidi
    return Host(domain, (domain.removesuffix(".test"),), bidi=way.bidi or way.opener == "partner", closed=only_opens)


def _inbound() -> dict[str, Any]:
    return {"direction": "inbound", "bidi": "required"}


def _options(partner: Partner, domain: str, way: Way) -> dict[str, Any]:
    """How the relay is told to go that way; both sides open a stream when there is no bidi."""
    given: dict[str, Any] = {"authentication": [way.authentication]}
    if not way.bidi:
        return given | {"connect": partner.connect(domain), "bidi": "off" if way.opener == "partner" else "preferred"}
    if way.opener == "partner":
        return given | _inbound()
    # Prosody asks back over a stream of its own, which has to be authenticated before it asks.
    direction = "outbound" if way.authentication == "external" else "both"
    return given | {"connect": partner.connect(domain), "bidi": "required", "direction": direction}


_RAW: dict[str, dict[str, Any]] = {
    "external.raw.test": {},
    "dialback.raw.test": {"authentication": ["external", "dialback"]},
    "ignore.raw.test": {"authentication": ["dialback"], "certificate": "ignore"},
    "outbound.raw.test": {"direction": "outbound"},
}
