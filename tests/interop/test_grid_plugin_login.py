"""Who gets into the grid host, and who has to leave, on both servers: revoked certificates, orders to disconnect."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

import pytest

from stanzagate.sandbox.wire import StreamFailed
from tests.interop.conftest import Sandbox
from tests.interop.gridpuppet import account, caught_up, controller
from tests.interop.puppet import CHAIN, until
from tests.interop.rawclient import MANAGEMENT, RawClient, authenticated, bind, context, online


def fingerprint(server: Sandbox, name: str) -> str:
    """SHA-256 of a node's certificate."""
    text = Path(server.account(name)["cert"]).read_text()
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(text[: text.index("-----END") + 25])).hexdigest()


async def test_sessions_are_told_with_mechanism_and_certificate(server: Sandbox) -> None:
    async with (
        controller(server) as grid,
        online(server, "soc1", external=True) as one,
        online(server, "soc2", certificate=True) as two,
        online(server, "soc3") as three,
    ):
        await until(lambda: len(grid.events) == 3)
        told = {event.get("jid"): event for event in grid.events}
        assert set(told) == {one.jid, two.jid, three.jid}
        assert told[one.jid].get("mechanism") == "EXTERNAL"
        assert (told[two.jid].get("mechanism") or "").startswith("SCRAM")
        for name, client in (("soc1", one), ("soc2", two)):
            assert told[client.jid].get("fingerprint") == fingerprint(server, name)
            assert told[client.jid].find(CHAIN) is not None
        assert told[three.jid].get("fingerprint") is None
        assert {item.get("jid") for item in await grid.sessions()} == set(told)
    async with controller(server) as grid:
        assert list(grid.snapshots[0]) == []


@pytest.mark.parametrize("external", [True, False], ids=["external", "scram"])
async def test_a_revoked_certificate_does_not_get_in(server: Sandbox, external: bool) -> None:
    async with controller(server) as grid:
        await grid.node("soc1", "active")
        await grid.order("revoked", fingerprint=fingerprint(server, "soc1").upper())
        with pytest.raises(StreamFailed):
            async with online(server, "soc1", certificate=True, external=external):
                pass
        async with online(server, "soc1"), online(server, "soc2", external=True):
            pass  # the account without it, and other certificates
        assert [event.get("jid", "").partition("@")[0] for event in grid.events if event.get("event") == "up"] in (
            ["soc1", "soc2"],
            ["soc2", "soc1"],
        )
        assert (await grid.status()).refused["revoked"] >= 1
        await grid.order("revoked", fingerprint=fingerprint(server, "soc1"), reinstated="true", epoch=1)  # stale
        with pytest.raises(StreamFailed):
            async with online(server, "soc1", certificate=True, external=external):
                pass
        await grid.order("revoked", fingerprint=fingerprint(server, "soc1"), reinstated="true")
        async with online(server, "soc1", certificate=True, external=external):
            pass


async def test_a_revocation_ends_open_sessions_at_once(server: Sandbox) -> None:
    row = server.account("soc1")
    tls = context(server, Path(row["cert"]), Path(row["key"]))
    async with (
        controller(server) as grid,
        online(server, "soc1", external=True) as one,
        online(server, "soc1", certificate=True) as two,
        online(server, "soc1") as three,
        online(server, "soc2", external=True) as other,
    ):
        unbound = await authenticated(server, row["jid"], "", tls)
        await grid.order("revoked", fingerprint=fingerprint(server, "soc1"))
        await until(lambda: one.ended and two.ended)
        assert "not-authorized" in one.ended
        assert "not-authorized" in two.ended
        with pytest.raises(StreamFailed):
            await bind(unbound, "late")
        await unbound.close()
        await caught_up(three, "end")
        await caught_up(other, "end")
        assert {item.get("jid") for item in await grid.sessions()} == {three.jid, other.jid}


async def test_a_session_that_waits_for_its_resumption_is_ended_by_a_revocation(server: Sandbox) -> None:
    row = server.account("soc1")
    tls = context(server, Path(row["cert"]), Path(row["key"]))
    async with controller(server) as grid:
        stream = await authenticated(server, row["jid"], "", tls)
        client = RawClient(await bind(stream, "app"), stream)
        await stream.send(f"<enable xmlns='{MANAGEMENT}' resume='true'/>")
        id = (await stream.element()).get("id")
        await until(lambda: grid.events)
        client.cut()
        await grid.order("revoked", fingerprint=fingerprint(server, "soc1"))
        await until(lambda: [event.get("event") for event in grid.events] == ["up", "down"])
        again = await authenticated(server, row["jid"], row["password"], context(server))
        await again.send(f"<resume xmlns='{MANAGEMENT}' previd='{id}' h='0'/>")
        assert (await again.element()).tag == f"{{{MANAGEMENT}}}failed"
        await again.close()


async def test_the_controller_ends_sessions(server: Sandbox) -> None:
    async with (
        controller(server) as grid,
        online(server, "soc1", "a") as one,
        online(server, "soc1", "b") as two,
        online(server, "soc1", "c") as three,
        online(server, "soc2") as other,
    ):
        await grid.order("disconnect", jid=two.jid, reason="because")
        await until(lambda: two.ended)
        assert "policy-violation" in two.ended
        await caught_up(one, "end")
        await grid.order("disconnect", jid=account("soc1"))
        await until(lambda: one.ended and three.ended)
        await caught_up(other, "end")
        await grid.order("disconnect", jid=account("nobody"))
        await until(lambda: sum(event.get("event") == "down" for event in grid.events) == 3)
    async with online(server, "soc1"):  # it may come back
        pass


async def test_a_node_that_has_to_leave_may_be_gone_for_its_contacts(server: Sandbox) -> None:
    async with controller(server) as grid, online(server, "soc1") as soc1, online(server, "soc2") as soc2:
        for name in ("soc1", "soc2"):
            await grid.node(name, "active")
        await soc1.send_raw(f"<presence id='here' to='{soc2.jid}'/>")
        await until(lambda: any(one.get("from") == soc1.jid for one in soc2.stanzas))
        await grid.node("soc1", "disabled")
        await grid.order("disconnect", jid=account("soc1"))
        await until(lambda: soc1.ended)
        await caught_up(soc2, "end")
        known = [one.get("type") for one in soc2.stanzas if one.get("from") == soc1.jid]
        assert known[:1] == [None]
        assert set(known[1:]) <= {"unavailable"}
