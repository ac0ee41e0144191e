"""The reference device on both servers, asked by clients of two libraries, with no gate in between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from component.base.errors import Unreachable
from stanzagate.sandbox.device import Connection, DeviceSettings, Recorder, ReferenceDevice, Retry
from stanzagate.sandbox.device.sessions import State
from stanzagate.sandbox.device.stream import DeviceStream
from tests.interop.clients import KINDS, Answer, Requester, client, payload_xml
from tests.interop.servers import PlainServer, free_port, plain_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

ACS, OTHER, CPE = "acs1@acs.test", "acs2@acs.test", "cpe1@cpe.test"
TARGET = f"{CPE}/tr069"
ID = "00256D-0001"
USER, PASSWORD = "cr-user", "cr <pass> & 'word'"
QUICK = Connection(initial=0.05, maximum=0.2, keep_alive=0.1)
BOOT, CHANGE, REQUEST = "1 BOOT", "4 VALUE CHANGE", "6 CONNECTION REQUEST"


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["prosody", "ejabberd"])
async def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[PlainServer]:
    async with plain_server(request.param, tmp_path_factory.mktemp(request.param), (ACS, OTHER, CPE)) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", params=KINDS)
async def acs(request: pytest.FixtureRequest, server: PlainServer) -> AsyncIterator[Requester]:
    async with requester(server, request.param) as connected:
        yield connected


def requester(
    server: PlainServer, kind: str = "slixmpp", jid: str = ACS
) -> contextlib.AbstractAsyncContextManager[Requester]:
    return client(kind, jid, server.passwords[jid.partition("/")[0]], server.host, server.port, server.ca)


@dataclass
class Running:
    device: ReferenceDevice
    recorder: Recorder

    async def events(self, count: int) -> list[tuple[str, ...]]:
        async with asyncio.timeout(30):
            return [inform.events for inform in await self.recorder.wait(ID, count)]

    async def idle(self) -> None:
        async with asyncio.timeout(30):
            while self.device.sessions.state is not State.IDLE:
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def device(server: PlainServer, **options: Any) -> AsyncIterator[Running]:
    """A device that has booted and reported it."""
    settings = DeviceSettings.model_validate(
        {"id": ID, "jid": TARGET, "password": server.passwords[CPE], "cr_username": USER, "cr_password": PASSWORD}
        | {"connection": QUICK, "allowed": [ACS], "reported_jid": TARGET}
        | options
    )
    context = await asyncio.to_thread(ssl.create_default_context, cafile=str(server.ca))
    async with Recorder().listen() as recorder:
        made = ReferenceDevice(
            settings, address=(server.host, server.port), context=context, acs=recorder.url,
            session_retry=Retry(initial=0.05, maximum=0.2),
        )  # fmt: skip
        life = asyncio.get_running_loop().create_task(made.run())
        running = Running(made, recorder)
        try:
            await running.events(1)
            await running.idle()
            yield running
        finally:
            recorder.release()
            life.cancel()
            await asyncio.wait([life])


def raw(payload: str, *, id: str, type: str = "get") -> str:
    return f"<iq type='{type}' to='{TARGET}' id='{id}'>{payload}</iq>"


async def ask(acs: Requester, username: str = USER, password: str = PASSWORD, **options: Any) -> tuple[str, ...]:
    answer = await acs.request(TARGET, username, password, **options)
    return answer.type, answer.error_type, answer.condition, answer.code


RESULT = ("result", "", "", "")
REFUSED = ("error", "cancel", "service-unavailable", "503")
NOT_AUTHORIZED = ("error", "cancel", "not-authorized", "")
BAD_REQUEST = ("error", "modify", "bad-request", "")


async def test_a_valid_request_is_answered_and_leads_to_an_inform(server: PlainServer, acs: Requester) -> None:
    async with device(server) as cpe:
        answer = await acs.request(TARGET, USER, PASSWORD)
        assert answer == Answer(type="result", id=answer.id, sender=TARGET)
        assert await cpe.events(2) == [(BOOT,), (REQUEST,)]
        assert list(cpe.device.received) == [(acs.jid, True)]


async def test_wrong_credentials_are_refused_with_the_echo(server: PlainServer, acs: Requester) -> None:
    async with device(server) as cpe:
        for user, password in (
            (USER, "wrong"),
            ("wrong", PASSWORD),
            ("", ""),
            (USER, PASSWORD + "x"),
            (USER, "pässword"),
        ):
            answer = await acs.request(TARGET, user, password)
            assert (answer.type, answer.error_type, answer.condition, answer.code) == NOT_AUTHORIZED
            assert answer.payload_echoed
        assert await ask(acs) == RESULT
        assert await cpe.events(2) == [(BOOT,), (REQUEST,)]


async def test_malformed_requests_are_refused(server: PlainServer, acs: Requester) -> None:
    good = payload_xml("u", "p")
    async with device(server) as cpe:
        for extra in ("<more/>", "<username>u</username>", "text", good):
            assert await ask(acs, extra=extra) == BAD_REQUEST
        for number, payload in enumerate(
            [good.replace("1-0", "2-0"), good.replace("connectionRequest", "other"), f"<a xmlns='urn:x'>{good}</a>"]
        ):
            answer = await acs.send_raw_iq(raw(payload, id=f"other-{number}"))
            assert (answer.type, answer.error_type, answer.condition, answer.code) == REFUSED
        assert await ask(acs, type="set") == REFUSED
        assert await cpe.events(1) == [(BOOT,)]


async def test_white_space_is_no_matter(server: PlainServer, acs: Requester) -> None:
    spaced = payload_xml(USER, PASSWORD).replace("<password>", "\n <password>")
    async with device(server) as cpe:
        assert (await acs.send_raw_iq(raw(spaced, id="spaced"))).type == "result"
        assert list(cpe.device.received) == [(acs.jid, False)]


async def test_results_and_errors_that_carry_a_request_do_nothing(server: PlainServer, acs: Requester) -> None:
    error = "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    async with device(server) as cpe:
        await acs.send_raw(raw(payload_xml(USER, PASSWORD), id="quiet", type="result"))
        await acs.send_raw(raw(payload_xml(USER, PASSWORD) + error, id="quiet", type="error"))
        await acs.send_raw(f"<message to='{TARGET}'>{payload_xml(USER, PASSWORD)}</message>")
        assert await ask(acs, USER, "wrong") == NOT_AUTHORIZED  # stanzas of one sender arrive in order
        assert acs.answers_to("quiet") == []
        assert await cpe.events(1) == [(BOOT,)]


async def test_the_list_is_the_devices_own(server: PlainServer) -> None:
    async with device(server, allowed=[ACS, f"{OTHER}/only"]) as cpe:
        async with requester(server, jid=f"{ACS}/any") as acs1, requester(server, jid=f"{OTHER}/only") as acs2:
            assert await ask(acs1) == RESULT
            assert await ask(acs2) == RESULT
        async with requester(server, jid=f"{OTHER}/onlyX") as stranger:
            answer = await stranger.request(TARGET, USER, PASSWORD)
            assert (answer.type, answer.error_type, answer.condition, answer.code) == REFUSED
            assert answer.payload_echoed
        assert cpe.device.online
    async with device(server, allowed="") as cpe, requester(server, jid=OTHER) as anyone:
        assert await ask(anyone) == RESULT


async def test_a_limited_device_refuses(server: PlainServer, acs: Requester) -> None:
    async with device(server, limit="2/min"):
        assert [await ask(acs), await ask(acs, password="wrong")] == [RESULT, NOT_AUTHORIZED]
        assert await ask(acs) == REFUSED


async def test_in_session_a_device_refuses(server: PlainServer, acs: Requester) -> None:
    async with device(server, in_session="refuse") as cpe:
        cpe.recorder.hold()
        assert await ask(acs) == RESULT
        await cpe.events(2)
        assert await ask(acs) == REFUSED
        assert await ask(acs, password="wrong") == NOT_AUTHORIZED
        cpe.recorder.release()
        await cpe.idle()
        assert await ask(acs) == RESULT
        assert await cpe.events(3) == [(BOOT,), (REQUEST,), (REQUEST,)]


async def test_in_session_a_device_owes_exactly_one_later_session(server: PlainServer, acs: Requester) -> None:
    async with device(server, in_session="later") as cpe:
        cpe.recorder.hold()
        assert await ask(acs) == RESULT
        await cpe.events(2)
        assert [await ask(acs) for _ in range(3)] == [RESULT] * 3
        cpe.recorder.release()
        await cpe.events(3)
        await cpe.idle()
        assert await cpe.events(3) == [(BOOT,), (REQUEST,), (REQUEST,)]


async def test_a_changed_jid_is_reported_and_a_chosen_one_too(server: PlainServer) -> None:
    async with device(server, reported_jid="old@cpe.test/x") as cpe:
        assert (await cpe.recorder.wait(ID))[0].jid == TARGET
        assert await cpe.events(1) == [(BOOT, CHANGE)]
    async with device(server, jid=CPE, reported_jid="") as cpe:
        jid = cpe.device.conn_req_jabber_id
        assert jid.startswith(f"{CPE}/")
        assert (await cpe.recorder.wait(ID))[0].jid == jid
        async with requester(server) as acs:
            assert (await acs.request(jid, USER, PASSWORD)).type == "result"


async def test_white_space_keeps_the_connection_alive(server: PlainServer) -> None:
    async with device(server) as cpe:
        async with asyncio.timeout(20):
            while cpe.device.uplink.keep_alives < 2:
                await asyncio.sleep(0.02)
        async with requester(server) as acs:
            assert await ask(acs) == RESULT


# What shipped firmware does


async def test_misspelt(server: PlainServer, acs: Requester) -> None:
    async with device(server, quirks=["misspelt"]):
        assert await ask(acs, password="wrong") == ("error", "cancel", "not-autorized", "")


async def test_silent(server: PlainServer, acs: Requester) -> None:
    async with device(server, quirks=["silent"]) as cpe:
        await acs.send_raw(raw(payload_xml(USER, PASSWORD), id="silent"))
        async with asyncio.timeout(20):
            while not cpe.device.received:
                await asyncio.sleep(0.01)
        cpe.device.sessions.report()  # a session without a request: had there been one, it would be in it
        assert await cpe.events(2) == [(BOOT,), ()]
        assert acs.answers_to("silent") == []


async def test_twice_and_with_a_foreign_id(server: PlainServer, acs: Requester) -> None:
    async with device(server, quirks=["twice", "foreign-id"]):
        await acs.send_raw(raw(payload_xml(USER, PASSWORD), id="first"))
        await acs.answer("first-other", count=2)
        await acs.send_raw(raw(payload_xml(USER, PASSWORD), id="second"))
        await acs.answer("first", count=2)
        assert acs.answers_to("second") == []


async def test_late(server: PlainServer, acs: Requester) -> None:
    async with device(server, quirks=["late"], late=3600) as cpe:
        await acs.send_raw(raw(payload_xml(USER, PASSWORD), id="never"))
        async with asyncio.timeout(20):
            while not cpe.device.received:
                await asyncio.sleep(0.01)
        assert acs.answers_to("never") == []
    async with device(server, quirks=["late"], late=0.01) as cpe:
        assert await ask(acs) == RESULT
        assert await cpe.events(2) == [(BOOT,), (REQUEST,)]


async def test_prefix_match(server: PlainServer) -> None:
    stranger = requester(server, jid=f"{ACS}/onlyX")
    async with device(server, quirks=["prefix-match"], allowed=[f"{ACS}/only"]), stranger as acs:
        assert await ask(acs) == RESULT


async def test_any_type(server: PlainServer, acs: Requester) -> None:
    async with device(server, quirks=["any-type"]) as cpe:
        assert await ask(acs, type="set") == RESULT
        await acs.send_raw(raw(payload_xml(USER, PASSWORD), id="acted-upon", type="result"))
        assert (await acs.answer("acted-upon")).type == "result"
        assert await cpe.events(2)


async def test_crash_on_white_space_and_return(server: PlainServer, acs: Requester) -> None:
    turned = payload_xml("u", "p").replace("username", "x").replace("password", "username").replace("x>", "password>")
    async with device(server, quirks=["crash-on-whitespace"]) as cpe:
        for number, payload in enumerate([payload_xml(USER, PASSWORD, " "), turned]):
            await acs.send_raw(raw(payload, id=f"crash-{number}"))
            async with asyncio.timeout(20):
                while cpe.device.uplink.connections < number + 2:
                    await asyncio.sleep(0.01)
            assert not any(answer.code for answer in acs.answers_to(f"crash-{number}"))
        assert await ask(acs) == RESULT


# The process, and a server that restarts


@pytest.mark.parametrize("kind", ["prosody", "ejabberd"])
async def test_a_device_comes_back_after_the_server(kind: str, tmp_path: Path) -> None:
    port = free_port()
    life: asyncio.Task[None] | None = None
    async with Recorder().listen() as recorder:
        for round in range(2):
            async with plain_server(kind, tmp_path, (ACS, CPE), port=port) as server:
                if life is None:
                    context = await asyncio.to_thread(ssl.create_default_context, cafile=str(server.ca))
                    settings = DeviceSettings.model_validate(
                        {"id": ID, "jid": TARGET, "password": server.passwords[CPE], "connection": QUICK}
                        | {"cr_username": USER, "cr_password": PASSWORD, "reported_jid": TARGET}
                    )
                    made = ReferenceDevice(settings, address=("127.0.0.1", port), context=context, acs=recorder.url)
                    life = asyncio.get_running_loop().create_task(made.run())
                async with asyncio.timeout(30):
                    while not made.online:
                        await asyncio.sleep(0.02)
                async with requester(server) as acs:
                    assert await ask(acs) == RESULT
                async with asyncio.timeout(30):
                    await recorder.wait(ID, 2 + round)
            async with asyncio.timeout(30):
                while made.online:
                    await asyncio.sleep(0.02)
        assert life is not None
        life.cancel()
        await asyncio.wait([life])
        assert [inform.events for inform in recorder.informs()] == [(BOOT,), (REQUEST,), (REQUEST,)]


async def test_a_server_without_tls_is_not_logged_in_to(tmp_path: Path) -> None:
    async with plain_server("prosody", tmp_path, (CPE,), offer_tls=False) as server:
        context = await asyncio.to_thread(ssl.create_default_context, cafile=str(server.ca))
        stream = DeviceStream(TARGET, server.passwords[CPE], context=context, on_stanza=lambda stanza: None)
        with pytest.raises(Unreachable, match="it offers no TLS"):
            await stream.open(server.host, server.port, 20)


async def test_the_process_runs_devices_until_it_is_told_to_end(server: PlainServer, tmp_path: Path) -> None:
    config, ready, log = tmp_path / "devices.json", tmp_path / "ready.json", tmp_path / "log"
    devices = [
        {"id": ID, "jid": TARGET, "password": server.passwords[CPE], "cr_username": USER, "cr_password": PASSWORD},
        {"id": "00256D-0002", "jid": f"{OTHER}/r", "password": server.passwords[OTHER], "cr_username": USER,
         "cr_password": PASSWORD, "allowed": [ACS], "quirks": ["misspelt"]},
    ]  # fmt: skip
    content = {"ca": str(server.ca), "host": server.host, "port": server.port, "cwmp": "127.0.0.1:0"}
    config.write_text(json.dumps(content | {"ready_file": str(ready), "devices": devices}))
    config.chmod(0o600)
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "stanzagate.sandbox.device", "--config", str(config),
            stdout=output, stderr=output, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
    try:
        async with asyncio.timeout(30):
            while not ready.exists():
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.02)
        facts = json.loads(ready.read_text())
        assert facts["jids"] == {ID: TARGET, "00256D-0002": f"{OTHER}/r"}
        async with requester(server) as acs, httpx.AsyncClient(trust_env=False) as http:
            assert await ask(acs) == RESULT
            answer = await acs.request(f"{OTHER}/r", USER, "wrong")
            assert answer.condition == "not-autorized"
            found = (await http.get(facts["informs"], params={"device": ID, "count": 2})).json()
            assert [inform["events"] for inform in found] == [[BOOT, CHANGE], [REQUEST]]
            process.terminate()
            async with asyncio.timeout(30):
                assert await process.wait() == 0
            gone = await acs.request(TARGET, USER, PASSWORD)
            assert (gone.condition, gone.code) == ("service-unavailable", "")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert not any(secret in log.read_text() for secret in (*server.passwords.values(), PASSWORD, "cr <pass>"))
