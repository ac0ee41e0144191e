"""A relay under attack: it stands beside a real server, and everybody else is the test.

One partner does what a case says; another one, `TWO`, does nothing wrong and must notice nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stanzagate.sandbox.network import S2S_PORT, free_address
from tests.interop.cast import BRIEF, LEFT, ONE, RIGHT, STILL, TWO
from tests.interop.clients import Requester
from tests.interop.conftest import Sandbox
from tests.interop.relaykit import ACS, Relay
from tests.interop.relaykit_peers import Certificates, secured
from tests.interop.relaykit_raw import PATIENCE, Peer

_IDS = itertools.count(1)

CALM, HASTY, STEERED = (ONE, TWO), (BRIEF, STILL), (LEFT, RIGHT)
"""The partners of three relays: one as it is by default, one that waits for nobody and keeps little, one that is
told to change.
"""

QUICK = {
    "limits": {
        "negotiation_timeout": "1s",
        "close_timeout": "1s",
        "queue_bytes": "1 MiB",
        "queue_stanzas": 200,
        "stanza_bytes": "256 KiB",
    }
}


@dataclass
class Siege:
    """A relay and what stands around it.

    :ivar address: where it listens.
    :ivar outside: where a test may listen as each partner.
    :ivar tls: certificates for a test's own servers.
    """

    sandbox: Sandbox
    relay: Relay
    address: str
    outside: dict[str, str]
    tls: Certificates

    @contextlib.asynccontextmanager
    async def behind_tls(self, domain: str, local: str = ACS) -> AsyncIterator[Peer]:
        """A partner that has come as far as TLS."""
        async with secured(self.address, domain, local, self.tls.connecting(domain)) as peer:
            yield peer

    @contextlib.asynccontextmanager
    async def partner(self, domain: str = ONE, local: str = ACS, *, bidi: bool = True) -> AsyncIterator[Peer]:
        """A partner that was authenticated by its certificate."""
        async with self.behind_tls(domain, local) as peer:
            if bidi:
                await peer.ask_bidi()
            assert await peer.external() == ""
            yield peer

    def memory(self) -> int:
        """KiB of memory that the relay's process has."""
        status = Path(f"/proc/{self.relay.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def files(self) -> int:
        """Files and sockets that it has open."""
        return len(list(Path(f"/proc/{self.relay.process.pid}/fd").iterdir()))

    def attachments(self) -> dict[str, tuple[str, int]]:
        """Of each partner, how its attachment stands, and how often it was lost."""
        return {
            row["domain"]: (row["attachment"]["state"], row["counters"]["attachment_losses"])
            for row in self.relay.status()["partners"]
        }

    def unhurt(self) -> None:
        """The relay runs, has come upon no defect, and its attachments have never been lost."""
        assert self.relay.process.alive(), self.relay.log()[-3000:]
        lost = {name: found for name, found in self.attachments().items() if found != ("attached", 0)}
        assert not lost, (lost, self.relay.log()[-3000:])
        assert "defect" not in self.relay.log(), self.relay.log()[-3000:]


async def answered(peer: Peer, to: str = "", sender: str = "") -> ET.Element:
    """A question of a partner comes through to a local server, and an answer back; what came before is in `seen`."""
    id = f"question-{next(_IDS)}"
    await peer.write(
        f"<iq type='get' id='{id}' from='{sender or f'somebody@{peer.domain}/x'}' to='{to or peer.other}'>"
        "<query xmlns='urn:test:question'/></iq>"
    )
    return await with_id(peer, id)


async def with_id(peer: Peer, id: str) -> ET.Element:
    """Wait for a stanza on a stream; what came before is in `seen`."""
    return await peer.next(lambda element: element.get("id") == id)


async def has(client: Requester, id: str) -> ET.Element:
    """Wait for a stanza that a client gets."""
    async with asyncio.timeout(PATIENCE):
        while not (found := [stanza for stanza in client.stanzas if stanza.get("id") == id]):
            await asyncio.sleep(0.005)
    return found[0]


@contextmanager
def besieged(sandbox: Sandbox, folder: Path, partners: tuple[str, ...], **options: Any) -> Iterator[Siege]:
    """A relay that attackers can reach.

    :param options: of its configuration.
    """
    address = free_address()
    outside = {domain: free_address() for domain in partners}
    given = {domain: {"connect": f"{outside[domain]}:{S2S_PORT}"} for domain in partners}
    folder.mkdir(exist_ok=True)
    relay = Relay(sandbox, folder / "relay", given, listen=[address], **options)
    made = Siege(sandbox, relay, address, outside, Certificates(Path(sandbox.info["ca"]), folder))
    try:
        asyncio.run(relay.start())
        yield made
    finally:
        relay.end()


def stanza(kind: str, domain: str, to: str, content: str = "", **attributes: str) -> str:
    """A stanza of a partner, as it is written."""
    names = {"from": f"somebody@{domain}/x", "to": to} | {name.rstrip("_"): text for name, text in attributes.items()}
    written = "".join(f' {name}="{text}"' for name, text in names.items())
    return f"<{kind}{written}>{content}</{kind}>"
