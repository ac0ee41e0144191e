"""Passwords of nodes: SCRAM-SHA-256 is offered on the grid host (RFC 8600 §8.1), and what becomes of older hashes."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator

import pytest

from stanzagate.sandbox.wire import CLIENT, SASL, Stream, StreamFailed
from tests.interop.agentkit import agent, puppet
from tests.interop.cast import GRID
from tests.interop.clients import KINDS as LIBRARIES
from tests.interop.clients import client
from tests.interop.conftest import Sandbox
from tests.interop.puppet import until
from tests.interop.rawclient import authenticated, context, online
from tests.interop.shells import erlang, prosody, reload_plugin, server_log

OLD, PASSWORD = "hashed-before", "sesam"


async def offered(server: Sandbox, version: ssl.TLSVersion) -> set[str]:
    """The mechanisms on the grid host, for a client without a certificate."""
    tls = context(server)
    tls.minimum_version = tls.maximum_version = version
    async with await Stream.connect(*server.address) as stream:
        await stream.open(GRID, CLIENT)
        assert (await stream.element()).find(f"{{{SASL}}}mechanisms") is None
        await stream.start_tls(GRID, tls)
        await stream.open(GRID, CLIENT)
        return {item.text or "" for item in (await stream.element()).iter(f"{{{SASL}}}mechanism")}


async def test_sha_256_is_offered_and_bound_to_the_channel_where_that_is_possible(server: Sandbox) -> None:
    new, old = await offered(server, ssl.TLSVersion.TLSv1_3), await offered(server, ssl.TLSVersion.TLSv1_2)
    assert old - {"EXTERNAL"} == {"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"}
    assert new - {"EXTERNAL", "SCRAM-SHA-256-PLUS"} == {"SCRAM-SHA-256"}


@pytest.mark.parametrize("library", [*LIBRARIES, "raw", "agent"])
async def test_every_client_logs_in_by_it(server: Sandbox, library: str) -> None:
    account = server.account("soc1")
    if library == "raw":
        async with online(server, "soc1") as one:
            assert one.jid.startswith(account["jid"])
    elif library == "agent":
        async with puppet(server, "soc1"), agent(server, "soc1", password=account["password"]) as node:
            assert node._uplink.stream.mechanism.startswith("SCRAM-SHA-256")
    else:
        async with client(library, account["jid"], account["password"], *server.address, server.info["ca"]) as other:
            assert other.jid.startswith(account["jid"])


async def log_in(server: Sandbox) -> None:
    """Log in as the account that is older than the host's hash.

    :raises StreamFailed: it is not let in.
    """
    await (await authenticated(server, f"{OLD}@{GRID}", PASSWORD, context(server))).close()


@contextlib.contextmanager
def hashed_before(server: Sandbox) -> Iterator[None]:
    """There is an account whose password was hashed by SHA-1, for as long as the block lasts."""
    users = f'prosody.hosts["{GRID}"].users'
    if server.kind == "prosody":
        hashed = 'require "util.sasl.scram".hashers["SHA-1"]("sesam", "salt", 10000)'
        accounts = f'require "core.storagemanager".open("{GRID}", "accounts")'
        hexed = 'local hex = require "util.hex".to'
        fields = 'stored_key = hex(s), server_key = hex(k), salt = "salt", iteration_count = 10000'
        prosody(server, f'> {hexed} local _, s, k = {hashed} return {accounts}:set("{OLD}", {{ {fields} }})')
    else:
        key, iterations = 'base64:encode(<<"key">>)', "4096"
        scram = f"{{scram, {key}, {key}, {key}, sha, {iterations}}}"
        erlang(server, f'mnesia:dirty_write({{passwd, {{<<"{OLD}">>, <<"{GRID}">>}}, {scram}}})')
    try:
        yield
    finally:
        if server.kind == "prosody":
            prosody(server, f'> return {users}.delete_user("{OLD}")')
        else:
            erlang(server, f'ejabberd_auth:remove_user(<<"{OLD}">>, <<"{GRID}">>)')


def set_password(server: Sandbox) -> None:
    """As an administrator does."""
    if server.kind == "prosody":
        prosody(server, f'user:password("{OLD}@{GRID}", "{PASSWORD}")')
    else:
        erlang(server, f'ejabberd_auth:set_password(<<"{OLD}">>, <<"{GRID}">>, <<"{PASSWORD}">>)')


async def test_whose_password_was_hashed_before_is_named_and_gets_it_set_again(server: Sandbox) -> None:
    with hashed_before(server):
        begin = len(server_log(server))
        await asyncio.to_thread(reload_plugin, server, GRID, "stanzagate_grid")
        await until(lambda: "cannot log in by password" in server_log(server)[begin:])
        line = next(line for line in server_log(server)[begin:].splitlines() if "cannot log in by password" in line)
        assert "(1)" in line and OLD in line and "soc1" not in line
        with pytest.raises(StreamFailed, match="not let in"):
            await log_in(server)
        await asyncio.to_thread(set_password, server)
        await log_in(server)
