"""Certificates of nodes on the real servers: from the first EXTERNAL to the revocation."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from stanzagate.pki import Authority
from stanzagate.sandbox.wire import StreamFailed
from tests.interop.cast import GRID
from tests.interop.conftest import Sandbox
from tests.interop.gridkit import Identity, account, fresh, grid, refused, texts
from tests.interop.puppet import PATIENCE, until
from tests.interop.shells import erlang, prosody


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
            assert shown["account_made"]
            (certificate,) = shown["certificates"]
            assert certificate["bound"] and shown["sessions"][0]["fingerprint"] == certificate["fingerprint"]
            assert shown["sessions"][0]["mechanism"] == "EXTERNAL"
            assert refused(await node.ask(account("register"), kind="set")) == ("cancel", "conflict")
            await world.call("POST", "ca/revocations", which=certificate["serial"])
            await until(lambda: node.ended)
        revoked = x509.load_pem_x509_crl((sandbox.folder / "node-crl.pem").read_bytes())
        assert revoked.get_revoked_certificate_by_serial_number(int(certificate["serial"], 16)) is not None
        with pytest.raises(StreamFailed):
            await world.stream(who, external=True)
        again = await world.issued(who.jid)  # a new one is bound beside the old one
        async with world.online(again, external=True) as node:
            assert refused(await node.ask(account("login"), kind="set")) == ("", "")


async def account_of(sandbox: Sandbox, who: Identity, function: str, *more: str) -> bool:
    """What the server's own store of accounts says of one, or does with it."""
    if sandbox.kind == "prosody":
        values = ", ".join(f"'{text}'" for text in (who.name, *more))
        line = f"> tostring((prosody.hosts['{GRID}'].users.{function}({values})))"
        return "true" in await asyncio.to_thread(prosody, sandbox, line)
    name = {"create_user": "try_register"}.get(function, function)
    values = ", ".join(f'<<"{text}">>' for text in (who.name, GRID, *more))
    return await asyncio.to_thread(erlang, sandbox, f"ejabberd_auth:{name}({values})") in ("true", "ok")


async def test_a_node_without_an_account_has_one_from_its_approval_to_its_deletion(sandbox: Sandbox) -> None:
    """What is published while it is away waits for it. Prosody takes whoever has a session for an account."""
    async with grid(sandbox) as world:
        who, publisher, topic = await world.issued(), await world.member(), await world.topic()
        await world.permit(who, "subscribe", topic)
        await world.permit(publisher, "publish", topic)
        async with world.online(who, external=True) as node:
            await node.ask(account("register"), kind="set")
            await world.call("POST", f"nodes/{who.jid}/approve", groups=[])
            assert (await world.node(who))["account_made"]
            assert refused(await node.ask(account("login"), kind="set")) == ("", "")
            assert refused(await node.subscribe(topic)) == ("", "")
        async with asyncio.timeout(PATIENCE):
            while (await world.node(who))["online"]:
                pass
        async with world.online(publisher) as client:
            assert refused(await client.publish(topic, "meanwhile")) == ("", "")
        async with world.online(who, external=True) as node:
            await until(lambda: node.items == ["meanwhile"])
        assert await account_of(sandbox, who, "user_exists")
        await world.call("DELETE", f"nodes/{who.jid}")
        assert not await account_of(sandbox, who, "user_exists")


async def test_an_account_that_was_there_outlives_its_node(sandbox: Sandbox) -> None:
    async with grid(sandbox) as world:
        who = await world.issued()
        await account_of(sandbox, who, "create_user", "sesam")
        async with world.online(who, external=True) as node:
            await node.ask(account("register"), kind="set")
            await world.call("POST", f"nodes/{who.jid}/approve", groups=[])
            assert not (await world.node(who))["account_made"]
        await world.call("DELETE", f"nodes/{who.jid}")
        assert await account_of(sandbox, who, "user_exists")


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
