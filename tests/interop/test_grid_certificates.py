"""Certificates of nodes on the real servers: from the first EXTERNAL to the revocation."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from stanzagate.pki import Authority
from stanzagate.sandbox.wire import StreamFailed
from tests.interop.conftest import Sandbox
from tests.interop.gridkit import Identity, account, fresh, grid, refused, texts
from tests.interop.puppet import until


async def test_a_node_that_nobody_has_seen_comes_with_its_certificate_alone(sandbox: Sandbox) -> None:
    """No account, no password, nothing seeded: `ca issue`, EXTERNAL, register, approval, login, revocation."""
    async with grid(sandbox) as world:
        who = await world.issued()
        async with world.online(who, external=True) as node:
            assert texts(await node.ask(account("register"), kind="set"), "value") == ["pending"]
            assert refused(await node.ask(account("login"), kind="set")) == ("auth", "registration-required")
            approved = await world.call("POST", f"nodes/{who.jid}/approve", groups=["lab"])
            assert approved["data"]["state"] == "active"
            assert refused(await node.ask(account("login"), kind="set")) == ("", "")
            shown = await world.node(who)
            assert (shown["state"], shown["online"], shown["logged_in"]) == ("active", True, True)
            # COMPAT: Prosody 0.12 takes whoever has a session for an account that exists, and makes none for it.
            assert shown["account"] or sandbox.kind == "prosody"
            (certificate,) = shown["certificates"]
            assert certificate["bound"] and shown["sessions"][0]["fingerprint"] == certificate["fingerprint"]
            assert shown["sessions"][0]["mechanism"] == "EXTERNAL"
            assert refused(await node.ask(account("register"), kind="set")) == ("cancel", "conflict")
            await world.call("POST", "ca/revocations", which=certificate["serial"])
            await until(lambda: node.ended)
        with pytest.raises(StreamFailed):
            await world.stream(who, external=True)
        again = await world.issued(who.jid)  # a new one is bound beside the old one
        async with world.online(again, external=True) as node:
            assert refused(await node.ask(account("login"), kind="set")) == ("", "")


async def test_another_certificate_of_the_same_name_is_refused_and_told(sandbox: Sandbox, tmp_path: Path) -> None:
    async with grid(sandbox) as world:
        who = await world.issued()
        async with world.online(who, external=True) as node:
            await node.ask(account("register"), kind="set")
        cert, key = tmp_path / "other.crt", tmp_path / "other.key"
        authority = Authority.load(Path(sandbox.info["node_ca"]), sandbox.folder / "node-ca.key")
        authority.node(who.jid).write(cert, key)
        async with world.online(Identity(who.jid, cert=cert, key=key), external=True) as node:
            for word in ("register", "login"):
                assert refused(await node.ask(account(word), kind="set")) == ("cancel", "conflict")
        async with asyncio.timeout(10):
            while not await world.audited("alert.certificate-mismatch", who.jid):
                await asyncio.sleep(0.02)


async def test_the_node_ca_cannot_sign_for_another_grid(sandbox: Sandbox, tmp_path: Path) -> None:
    """Its name constraints are obeyed by the server's TLS, and its own certificates are accepted with them."""
    cert, key = tmp_path / "x.crt", tmp_path / "x.key"
    authority = Authority.load(Path(sandbox.info["node_ca"]), sandbox.folder / "node-ca.key")
    authority.node(f"{fresh('node')}@elsewhere.test").write(cert, key)
    async with grid(sandbox) as world:
        with pytest.raises((StreamFailed, ssl.SSLError, OSError)):
            await world.stream(Identity(f"{fresh('node')}@grid.test", cert=cert, key=key), external=True)
