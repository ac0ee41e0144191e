"""The listeners of the admin API: who may have which address, and what is said when it cannot be had."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, Request

from component.base.errors import ConfigError, Conflict, InputError
from stanzagate.admin.access import Tokens, caller_of
from stanzagate.admin.problems import install
from stanzagate.admin.server import AdminServer
from stanzagate.sockets import short_name

TOKENS = {"ops": ("one", "admin"), "dash": ("two", "read")}


def application() -> FastAPI:
    app = FastAPI()
    install(app)

    @app.get("/who")
    async def who(request: Request) -> str:
        return caller_of(request).actor

    @app.get("/defect")
    async def defect() -> None:
        raise ZeroDivisionError("a secret thing")

    return app


@contextlib.asynccontextmanager
async def running(server: AdminServer) -> AsyncIterator[AdminServer]:
    async with asyncio.TaskGroup() as group:
        group.create_task(server.run())
        await server.ready.wait()
        try:
            yield server
        finally:
            await server.stop()


def over(path: Path) -> httpx.AsyncClient:
    with short_name(path) as name:
        return httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=name), base_url="http://x")


async def test_the_socket_is_for_owner_and_group_and_goes_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    old = os.umask(0)
    try:
        async with running(AdminServer(application(), socket=path)):
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
    finally:
        os.umask(old)
    assert not path.exists()


async def test_a_socket_that_a_dead_service_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    async with running(AdminServer(application(), socket=path)), over(path) as client:
        assert (await client.get("/who")).json().startswith("unix:")


async def test_a_socket_that_answers_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    async with running(AdminServer(application(), socket=path)):
        with pytest.raises(Conflict, match="Another service answers"):
            AdminServer(application(), socket=path).open()
        async with over(path) as client:
            assert (await client.get("/who")).is_success


async def test_a_file_in_the_sockets_place_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    path.write_text("mine")
    with pytest.raises(InputError, match="something else"):
        AdminServer(application(), socket=path).open()
    assert path.read_text() == "mine"


def test_a_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    async def opened() -> None:
        AdminServer(application(), socket=tmp_path / "none" / "admin.sock").open()

    with pytest.raises(InputError, match=r"none/admin\.sock"):
        asyncio.run(opened())


async def test_a_path_longer_than_the_system_takes_works(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    path = folder / "admin.sock"
    async with running(AdminServer(application(), socket=path)):
        with short_name(path) as name:
            async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=name), base_url="http://x") as client:
                assert (await client.get("/who")).is_success


async def test_a_port_that_is_taken_is_said_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = AdminServer(application(), socket=tmp_path / "admin.sock", listen=f"127.0.0.1:{port}", tokens=TOKENS)
        with pytest.raises(Conflict) as failure:
            await server.run()
    assert f"127.0.0.1 port {port}" in failure.value.message and "admin.listen" in failure.value.hint
    assert not (tmp_path / "admin.sock").exists()


@pytest.mark.parametrize("address", ["203.0.113.77:0", "no-such-host.test:80", "127.0.0.1", "127.0.0.1:x", ":80"])
async def test_an_address_that_cannot_be_had_is_named(address: str) -> None:
    with pytest.raises(InputError):
        AdminServer(application(), listen=address, tokens=TOKENS).open()


async def test_tcp_without_tokens_and_equal_tokens_are_refused() -> None:
    with pytest.raises(ConfigError, match="tokens"):
        AdminServer(application(), listen="127.0.0.1:0")
    with pytest.raises(ConfigError, match="same secret") as failure:
        AdminServer(application(), listen="127.0.0.1:0", tokens={"a": ("pw", "read"), "b": ("pw", "admin")})
    assert "pw" not in str(failure.value)


def test_tokens_are_kept_as_hashes_only() -> None:
    tokens = Tokens(TOKENS)
    assert "one" not in repr(vars(tokens))
    found = tokens.caller("bearer one")
    assert found is not None and found.actor == "token:ops"
    assert Tokens({"u": ("ü", "read")}).caller("Bearer ü".encode().decode("latin-1")) is not None


async def test_a_tcp_client_cannot_say_that_it_is_a_local_user(tmp_path: Path) -> None:
    server = AdminServer(application(), socket=tmp_path / "s", listen="127.0.0.1:0", tokens=TOKENS)
    async with running(server):
        assert server.address is not None
        url = f"http://127.0.0.1:{server.address[1]}"
        forged = {"X-Forwarded-For": "unix:root", "Forwarded": "for=unix:root", "X-Real-IP": "unix:root"}
        async with httpx.AsyncClient(base_url=url, headers=forged) as client:
            assert (await client.get("/who")).status_code == 401


async def test_without_anybody_before_it_the_application_knows_nobody() -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(application()), base_url="http://x") as client:
        assert (await client.get("/who")).status_code == 401


async def test_a_defect_is_told_without_its_details(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "s"
    async with running(AdminServer(application(), socket=path)), over(path) as client:
        answer = await client.get("/defect")
    assert answer.status_code == 500 and answer.json()["error"] == "defect"
    assert "secret" not in answer.text
    assert any(record.exc_info for record in caplog.records)


async def test_what_is_not_http_is_answered_and_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "s"
    async with running(AdminServer(application(), socket=path)):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
        writer.close()
        async with over(path) as client:
            assert (await client.get("/who")).is_success


async def test_signals_stay_with_the_program(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    async with running(AdminServer(application(), socket=tmp_path / "s")):
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


async def test_listeners_that_were_opened_and_never_served_are_closed_too(tmp_path: Path) -> None:
    server = AdminServer(application(), socket=tmp_path / "s", listen="127.0.0.1:0", tokens=TOKENS)
    server.open()
    assert (tmp_path / "s").exists()
    await server.stop()
    assert not (tmp_path / "s").exists()


async def test_a_tcp_client_that_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stanzagate.admin.server.HEADER_SECONDS", 0.05)
    async with running(AdminServer(application(), listen="127.0.0.1:0", tokens=TOKENS)) as server:
        assert server.address is not None
        reader, writer = await asyncio.open_connection(*server.address)
        writer.write(b"GET / HTTP/1.1\r\nHost: ")
        assert await reader.read() == b""
        writer.close()
