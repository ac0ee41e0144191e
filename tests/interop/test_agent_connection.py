"""The agent on both servers: how it logs in, and whom it does not trust."""

from __future__ import annotations

import hashlib
import ssl

import pytest

from grid import errors
from grid.agent import LoginRefused, NotAuthorized, NotConnected, UntrustedServer, identity, trust
from grid.agent.stream import AgentStream, Login
from grid.protocol import requests
from tests.interop.agentkit import admit, agent, puppet, wire
from tests.interop.conftest import Sandbox
from tests.interop.gridpuppet import CONTROLLER
from tests.interop.puppet import until


def pin(server: Sandbox) -> str:
    """The fingerprint of the grid host's certificate."""
    return hashlib.sha256(shown(server)).hexdigest()


def shown(server: Sandbox) -> bytes:
    """The grid host's certificate."""
    from pathlib import Path

    folder = Path(server.info["ca"]).parent
    for file in sorted(folder.rglob("*grid.test*")):
        if file.suffix in (".crt", ".pem") and "soc" not in file.name and "pubsub" not in file.name:
            text = file.read_text()
            begin = text.index("-----BEGIN CERTIFICATE")
            return ssl.PEM_cert_to_DER_cert(text[begin : text.index("-----END CERTIFICATE-----", begin) + 26])
    raise AssertionError("no certificate")


@pytest.mark.parametrize("way", ["external", "scram"])
async def test_a_node_logs_in_by_certificate_and_by_password(server: Sandbox, way: str) -> None:
    password = {"password": server.account("soc1")["password"]} if way == "scram" else {}
    async with puppet(server, "soc1") as grid, agent(server, "soc1", **password) as node:
        assert node.connected
        assert node.jid == "soc1@grid.test/agent"
        mechanism = node._uplink.stream.mechanism
        assert mechanism.startswith("SCRAM-") if way == "scram" else mechanism == "EXTERNAL"
        assert [type(request).__name__ for _, request in grid.asked] == ["Login"]


async def test_a_controller_that_was_started_anew(server: Sandbox) -> None:
    """It has forgotten who had logged in: the node logs in again when it says so, or when it refuses a request."""
    async with puppet(server, "soc1") as grid, agent(server, "soc1") as node:
        node._membership._uniform = lambda low, high: low  # type: ignore[union-attr]
        known = {"soc1@grid.test/agent"}

        def forgetful(request: requests.DraftRequest, sender: str) -> str:
            if isinstance(request, requests.Login):
                known.add(sender)
            elif isinstance(request, requests.Logout):
                known.discard(sender)
            elif sender not in known:
                raise errors.not_authorized()
            return admit(request, sender)

        grid.decide = forgetful
        known.clear()
        assert await node.provide("Session", "1.0") == ("Session-1.0",)
        known.clear()
        told = "<node xmlns='urn:stanzagate:grid:1' state='active'/>"
        await grid.send(f"<message type='headline' from='{CONTROLLER}' to='{node.jid}'>{told}</message>")
        await until(lambda: known)
        await node.logout()  # stays so
        await grid.send(f"<message type='headline' from='{CONTROLLER}' to='{node.jid}'>{told}</message>")
        with pytest.raises(NotAuthorized):
            await node.provide("Session", "1.0")
        assert not known


async def test_a_server_that_takes_a_node_for_somebody_else(server: Sandbox) -> None:
    """Servers bind whomever the certificate names; the agent is not somebody else without knowing it."""
    row, tls = server.account("soc2"), trust.context(ca=server.info["ca"])
    identity.show(tls, row["jid"], row["cert"], row["key"])
    stream = AgentStream(Login("soc1@grid.test/agent", tls, *server.address, True), on_stanza=lambda *_: None)
    with pytest.raises(LoginRefused, match=r"for soc2@grid\.test, not for soc1"):
        await stream.open(10)
    assert not stream.online


async def test_a_wrong_password_is_refused(server: Sandbox) -> None:
    with pytest.raises(LoginRefused, match="not-authorized"):
        async with agent(server, "soc1", password="wrong", controller=None):
            pass


async def test_nothing_listens_there(server: Sandbox) -> None:
    async with wire(server) as gone:
        gone.closed = True
        with pytest.raises(NotConnected):
            async with agent(server, "soc1", controller=None, **gone.end):
                pass


async def test_a_server_of_another_authority_is_refused_before_anything_is_sent(server: Sandbox) -> None:
    async with wire(server) as way:
        with pytest.raises(UntrustedServer, match="certificate") as raised:
            async with agent(server, "soc1", controller=None, ca=server.info["node_ca"], **way.end):
                pass
        assert "Nothing was sent" in raised.value.hint
        assert said_nothing(bytes(way.sent))


async def test_a_certificate_that_is_not_pinned_is_refused_before_anything_is_sent(server: Sandbox) -> None:
    async with wire(server) as way:
        with pytest.raises(UntrustedServer, match=f"not pinned.*{pin(server)}"):
            async with agent(server, "soc1", controller=None, pin="ab" * 32, **way.end):
                pass
        assert said_nothing(bytes(way.sent))


async def test_a_pinned_certificate_is_accepted(server: Sandbox) -> None:
    colons = ":".join(pin(server)[place : place + 2] for place in range(0, 64, 2)).upper()
    async with agent(server, "soc1", controller=None, pin=["00" * 32, f"SHA256:{colons}"]) as node:
        assert node.connected


def said_nothing(sent: bytes) -> bool:
    """Whether a client said no more than STARTTLS, and its part of a TLS handshake that it then gave up."""
    _, starttls, tls = sent.partition(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    assert starttls
    records = []
    while tls:
        kind, length = tls[0], int.from_bytes(tls[3:5], "big")
        records.append((kind, length))
        tls = tls[5 + length :]
    handshake, alert, change_cipher_spec, encrypted = 22, 21, 20, 23
    assert records[0][0] == handshake, "the greeting"
    # an encrypted alert has the type of data in TLS 1.3: 2 bytes, the true type and the seal
    return all(
        kind in (alert, change_cipher_spec) or (kind == encrypted and length == 2 + 1 + 16)
        for kind, length in records[1:]
    )
