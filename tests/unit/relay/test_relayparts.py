"""What a change of the configuration does to partners, attachments, streams, and what waits for them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from component.relay.counters import Role
from component.relay.net.certs import Trust
from component.relay.partner import Partner
from component.relay.relay import Relay
from component.relay.wire.pairs import Pair
from stanzagate import relayparts
from stanzagate.relaychanges import outdated
from stanzagate.relaymaterial import Material, load_material
from stanzagate.relayparts import Parts, assemble
from tests.unit.fakeserver import Tasks
from tests.unit.relay.borderkit import turn
from tests.unit.relay.certkit import dns, make
from tests.unit.relay.hubkit import PAIR, Line, Machine
from tests.unit.relay.stanzas import stanza

START, END = datetime.now(UTC) - timedelta(days=2), datetime.now(UTC) + timedelta(days=2)
ROOT, OTHER_ROOT = (make(name, ca=True, start=START, end=END) for name in ("Authority", "Another"))
LOCAL = make("local", dns("isp.test", "cpe.test"), by=ROOT, start=START, end=END)
PARTNER = make("partner", dns("partner.test"), by=ROOT, start=START, end=END)
CONFIG = """\
relay:
  listen: ["127.0.0.1:0"]
  domains:
    {domains}
  trust: ca.pem
  policy: {{socket: admin.sock}}
  partners:
    other.test: {{secret: {{file: secret}}, direction: inbound}}
    {partner}
"""
DOMAIN = "{}: {{certificate: isp.crt, key: isp.key}}"
PORT = 1  # nobody listens


class Installation:
    """A relay that is configured by a file, and never opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.spawn = Tasks()
        LOCAL.write(folder, "isp")
        self.trust(ROOT.pem)
        self.secret("s3cret")
        self.parts: Parts = assemble(self.read(), "relay", "0.1.0", self.spawn)
        self.parts.open()

    @property
    def relay(self) -> Relay:
        return self.parts._relay

    @property
    def partner(self) -> Partner:
        return self.relay.partners["partner.test"]

    def trust(self, pem: bytes) -> None:
        (self.folder / "ca.pem").write_bytes(pem)

    def secret(self, text: str) -> None:
        (self.folder / "secret").write_text(text)

    def read(self, *domains: str, **keys: object) -> Material:
        """A configuration with these local domains, and keys of the partner; without it when they say ``gone``."""
        wanted = {"component_port": PORT, "secret": "{file: secret}", "connect": f'"127.0.0.1:{PORT}"'} | keys
        partner = f"partner.test: {{{', '.join(f'{key}: {value}' for key, value in wanted.items())}}}"
        text = CONFIG.format(
            domains="\n    ".join(map(DOMAIN.format, domains or ("isp.test", "cpe.test"))),
            partner="" if "gone" in keys else partner,
        )
        (self.folder / "relay.yaml").write_text(text)
        return load_material(self.folder / "relay.yaml")

    async def reloads(self, *domains: str, **keys: object) -> None:
        await self.parts.reload(self.read(*domains, **keys))

    def connects(self, pair: Pair = PAIR) -> Line:
        """A connection on which a pair is authorized, and whose machine has seen the partner's certificate."""
        machine = Machine()
        machine.identity = self.parts._trust.identify(PARTNER.chain)  # type: ignore[attr-defined]
        machine.identity.refusal("partner.test")  # type: ignore[attr-defined]
        line = Line(self.relay, machine)
        self.relay.connected(cast(Any, line), Role.INCOMING)
        line.do([machine.authorizes(pair)])
        return line

    def hands_over(self, sender: str = "romeo@isp.test") -> None:
        """The local server has a stanza for the partner."""
        self.partner.local_stanza(stanza(sender=sender, recipient="acs@partner.test"))

    def handed_back(self) -> int:
        """How many stanzas wait for the local server, which are errors."""
        return self.partner.attachment.outbox.queued


@pytest.fixture
async def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Installation]:
    monkeypatch.setattr(relayparts, "DRAIN_SECONDS", 0.01)
    made = Installation(tmp_path)
    yield made
    await made.spawn.end()


async def test_a_partner_comes_with_its_attachment_and_is_shown(installation: Installation) -> None:
    await installation.reloads(gone=True)
    assert list(installation.relay.partners) == ["other.test"]
    await installation.reloads()
    await turn()
    assert [one.domain for one in installation.parts.status().partners] == ["other.test", "partner.test"]
    assert installation.partner.attachment.status().state != "stopped"


async def test_what_waits_for_a_partner_that_goes_is_handed_back_before_it_goes(installation: Installation) -> None:
    installation.hands_over()
    attachment = installation.partner.attachment
    returned: list[object] = []
    reload = asyncio.gather(installation.reloads(gone=True))
    await turn()
    returned += [attachment.outbox.queued]
    assert [one.domain for one in installation.parts.status().partners]  # while it goes on
    await reload
    assert returned == [1]
    assert "partner.test" not in installation.relay.partners
    assert list(installation.parts.counters.partners) == ["other.test"]


async def test_a_lane_that_is_busy_with_a_partner_that_goes_ends_alone(installation: Installation) -> None:
    installation.hands_over()  # it dials, in vain
    await installation.reloads(gone=True)
    await turn()
    with pytest.raises(Exception, match="is no partner any more"):
        await installation.parts._targets("partner.test")


async def test_streams_of_a_partner_that_did_not_change_stay(installation: Installation) -> None:
    line = installation.connects()
    federation = installation.relay.federation
    await installation.reloads(rate="10/s")
    assert line.machine.told == []
    assert line.machine.federation is installation.relay.federation is not federation  # type: ignore[attr-defined]


@pytest.mark.parametrize("keys", [{"bidi": "required"}, {"connect": '"127.0.0.1:2"'}, {"gone": True}])
async def test_streams_that_were_negotiated_otherwise_end_in_good_order(
    installation: Installation, keys: dict[str, object]
) -> None:
    line = installation.connects()
    reload = asyncio.gather(installation.reloads(**keys))
    await turn()
    assert line.machine.told == [("close", "The configuration has changed.")]
    installation.relay.closed(cast(Any, line))
    await reload


async def test_streams_end_when_whom_we_trust_does_not_vouch_any_more(installation: Installation) -> None:
    line = installation.connects()
    installation.trust(OTHER_ROOT.pem)
    reload = asyncio.gather(installation.reloads())
    await turn()
    assert line.machine.told == [("close", "The configuration has changed.")]
    installation.relay.closed(cast(Any, line))
    await reload


async def test_a_certificate_that_never_proved_anything_is_no_reason_to_end(installation: Installation) -> None:
    """With `certificate: ignore` dialback said who it is."""
    line = installation.connects()
    settings = installation.read().settings
    nobody = Trust(None, {}, lambda: datetime.now(UTC))
    line.machine.identity = nobody.identify(PARTNER.chain)  # type: ignore[attr-defined]
    assert not outdated(installation.relay.peers[cast(Any, line)], settings, settings, nobody)


async def test_a_local_domain_that_goes_takes_its_streams_and_what_waits(installation: Installation) -> None:
    installation.hands_over("gate@cpe.test")
    line = installation.connects()
    reload = asyncio.gather(installation.reloads("cpe.test"))
    await turn()
    assert line.machine.told == [("close", "The configuration has changed.")]
    assert installation.handed_back() == 0
    installation.relay.closed(cast(Any, line))
    await reload
    await installation.reloads("isp.test")
    assert installation.handed_back() == 1


async def test_another_port_moves_the_attachment_and_nothing_else(installation: Installation) -> None:
    line = installation.connects()
    line.congested = True
    installation.hands_over()
    partner, before = installation.partner, installation.partner.attachment
    await installation.reloads(component_port=2)
    assert installation.partner is partner
    assert partner.attachment is not before
    assert len(partner.lanes["isp.test"].queue) == 1
    assert partner.peers == {installation.relay.peers[cast(Any, line)]}
    installation.secret("an0ther")
    moved = partner.attachment
    await installation.reloads(component_port=2)
    assert partner.attachment is not moved


async def test_what_comes_while_an_attachment_moves_waits_for_the_next(installation: Installation) -> None:
    line = installation.connects()
    before = installation.partner.attachment
    reload = asyncio.gather(installation.reloads(component_port=2))
    await turn()
    installation.partner.attachment.send(b"<message/>")
    await reload
    assert (before.outbox.queued, installation.partner.attachment.outbox.queued) == (0, 1)
    assert line.machine.told == []


async def test_a_connection_that_is_made_while_the_configuration_changes_is_not_kept(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def connect(connection: Any, *_: object) -> None:
        installation.relay.connected(connection, Role.OUTGOING)
        await installation.reloads(rate="10/s")

    monkeypatch.setattr(relayparts, "connect", connect)
    installation.hands_over()
    with pytest.raises(ConnectionAbortedError):
        targets = await installation.parts._targets("partner.test")
        await installation.parts._open(targets[0], PAIR, installation.partner.policy, cast(Any, None))
