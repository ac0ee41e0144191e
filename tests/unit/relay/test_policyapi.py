"""The relay and the admin API, the real ones, over real sockets: killed, restarted, hanging, and one that lies."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from component.base.enforcement import NotConfirmed
from component.base.jid import prepare
from component.gate.rules import Effect
from component.relay.decisions import NoDecision
from component.relay.policyapi import ANSWER_BYTES, LINE_BYTES, Away, BadAnswer, NotAllowed, PolicyApi
from stanzagate.admin.app import create_app
from stanzagate.admin.server import AdminServer
from tests.unit.adminkit import Scene, registered, scene
from tests.unit.relay.policykit import Clock, Liar, Proxy, asking, begun, connected, decided, http, until

ACS = prepare("acs@partner.test/r")
ROGUE = prepare("rogue@partner.test/r")
DEVICE = prepare("cpe1@cpe.test/tr069")
DEVICE2 = prepare("cpe2@cpe.test/tr069")


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Scene]:
    async with scene(tmp_path) as running:
        await registered(running)
        await running.services.policy.add_rule("unix:test", Effect.ALLOW, "acs@partner.test", "all")
        yield running


@pytest.fixture
async def line(here: Scene) -> AsyncIterator[Proxy]:
    """The connection between the relay and the API."""
    proxy = Proxy(here.folder / "line.sock", here.socket)
    await proxy.start()
    yield proxy
    proxy.kill()


# -- the real one ----------------------------------------------------------------------------------------------------


async def test_a_change_is_in_force_at_the_relay_when_it_returns(here: Scene) -> None:
    policy = here.services.policy
    async with connected(here.socket) as decisions:
        await decisions.ready.wait()
        assert decisions.guarded_hosts == frozenset({"cpe.test"}) and decisions.gate == "gate.test"
        for number in range(10):
            assert (await decisions.ask(ACS, DEVICE)).allowed
            assert not (await decisions.ask(ROGUE, DEVICE)).allowed
            await policy.suspend("unix:test", "acs@partner.test")  # returns when the relay has confirmed it
            assert decisions.decide(ACS, DEVICE) is None and decisions.decide(ROGUE, DEVICE)
            found = await decisions.ask(ACS, DEVICE)
            assert not found.allowed and found.rule == f"suspended:{number + 1}"
            await policy.resume("unix:test", "acs@partner.test")
            assert decisions.epoch == policy.epoch
        await decisions.close()
        await policy.suspend("unix:test", "acs@partner.test")


async def test_changes_come_thick_and_fast_while_everybody_asks(here: Scene) -> None:
    policy, wrong = here.services.policy, list[str]()
    suspended = False

    async def ask() -> None:
        while not done.is_set():
            before = suspended
            found = await decisions.ask(ACS, DEVICE)
            if (
                before and suspended and found.allowed
            ):  # it was suspended from before the question to after the answer
                wrong.append(found.reason)
            await asyncio.sleep(0)

    done = asyncio.Event()
    async with connected(here.socket) as decisions:
        await decisions.ready.wait()
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(ask())
            for _ in range(15):
                await policy.suspend("unix:test", "acs@partner.test")
                suspended = True
                await asyncio.sleep(0.005)
                suspended = False
                await policy.resume("unix:test", "acs@partner.test")
            done.set()
        assert wrong == [] and decisions.counters["changes"] == 30


async def test_a_flood_of_resources_asks_once(here: Scene) -> None:
    async with connected(here.socket) as decisions:
        await decisions.ready.wait()
        found = await asyncio.gather(
            *(decisions.ask(prepare(f"rogue@partner.test/{number}"), DEVICE) for number in range(300))
        )
        assert not any(decision.allowed for decision in found)
        assert decisions.counters["asked"] == 1
    assert here.services.relays.decisions == {"deny": 1}


async def test_a_relay_whose_api_is_killed_goes_on_by_what_it_knows_and_forgets_it_when_the_api_is_back(
    here: Scene, line: Proxy
) -> None:
    clock, policy = Clock(), here.services.policy
    here.services.relays._patience = 0.05
    async with connected(line.path, now=clock) as decisions:
        await decisions.ready.wait()
        await decisions.ask(ACS, DEVICE)
        line.kill()
        await until(lambda: not decisions.following)
        clock.now += 400
        assert decisions.decide(ACS, DEVICE)  # its time is over, but nobody answers
        with pytest.raises(NoDecision):
            await decisions.ask(ROGUE, DEVICE)
        with pytest.raises(NotConfirmed, match="relay edge"):
            await policy.suspend("unix:test", "acs@partner.test")
        here.services.relays._patience = 10
        await line.start()
        await until(lambda: decisions.following)
        assert decisions.decide(ACS, DEVICE) is None
        assert not (await decisions.ask(ACS, DEVICE)).allowed
        await policy.resume("unix:test", "acs@partner.test")
        assert (await decisions.ask(ACS, DEVICE2)).allowed
        line.kill()
        await until(lambda: not decisions.following)
        assert decisions.decide(ACS, DEVICE2)
        clock.now += 3600
        assert decisions.decide(ACS, DEVICE) is None
        with pytest.raises(NoDecision, match="Nobody answers"):
            await decisions.ask(ACS, DEVICE2)


async def test_a_relay_follows_a_service_that_was_restarted(here: Scene) -> None:
    async with connected(here.socket) as decisions:
        await decisions.ready.wait()
        await decisions.ask(ACS, DEVICE)
        await here.admin.stop()
        await until(lambda: not decisions.following)
        assert decisions.decide(ACS, DEVICE)
        again = AdminServer(create_app(here.services), socket=here.socket)
        async with asyncio.TaskGroup() as group:
            group.create_task(again.run())
            await until(lambda: decisions.following)
            assert decisions.decide(ACS, DEVICE) is None and (await decisions.ask(ACS, DEVICE)).allowed
            await decisions.close()
            await again.stop()


async def test_a_relay_whose_api_hangs_is_named_and_fails_closed(here: Scene, line: Proxy) -> None:
    here.services.relays._patience = 0.05
    async with connected(line.path, patience=1.0, silence=0.3) as decisions:
        await decisions.ready.wait()
        await decisions.ask(ACS, DEVICE)
        line.hang()
        with pytest.raises(NoDecision):
            await decisions.ask(ROGUE, DEVICE)
        with pytest.raises(NotConfirmed, match="relay edge"):
            await here.services.policy.suspend("unix:test", "acs@partner.test")
        assert decisions.decide(ACS, DEVICE)  # it cannot know
        await until(lambda: not decisions.following)  # no sign of life
        assert decisions.decide(ACS, DEVICE)
        line.go_on()
        await until(lambda: decisions.following)
        await until(lambda: decisions.epoch == here.services.policy.epoch)
        assert not (await decisions.ask(ACS, DEVICE)).allowed


async def test_tcp_wants_the_token_of_a_relay(here: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for token, error in (("wrong", NotAllowed), ("dash-secret", NotAllowed), ("edge-secret", None)):
        api = PolicyApi("edge", url=here.url, token=token)
        async with asking(api, follow=error is None) as decisions:
            if error is None:
                await decisions.ready.wait()
                assert (await decisions.ask(ACS, DEVICE)).allowed
            else:
                with pytest.raises(NoDecision):
                    await decisions.ask(ACS, DEVICE)
                with pytest.raises(error):
                    await api.report("b1", b"[]")
        await api.close()
    assert "edge-secret" not in caplog.text
    assert [record for record in caplog.records if record.name == "httpx"] == []  # it would log every query


async def test_a_socket_may_have_a_path_that_is_longer_than_the_system_takes(here: Scene, tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    path = folder / "admin.sock"
    path.symlink_to(here.socket)
    api = PolicyApi("edge", socket=path)
    assert (await api.decision(ACS.full, DEVICE.bare, "partner.test"))["effect"] == "allow"
    await api.close()
    with pytest.raises(Exception, match="cannot be opened"):
        PolicyApi("edge", socket=tmp_path / ("y" * 120) / "admin.sock")


# -- one that lies ---------------------------------------------------------------------------------------------------

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: application/jsonl\r\n\r\n"
FIRST = json.dumps(begun()).encode() + b"\n"


@pytest.fixture
async def lying(tmp_path: Path) -> AsyncIterator[Callable[[bytes], Awaitable[Path]]]:
    """Start a server that follows like ours, and answers every question with the same bytes."""
    liars: list[Liar] = []

    async def start(answer: bytes) -> Path:
        path = tmp_path / f"liar{len(liars)}.sock"

        def script(asked: str) -> bytes:
            if asked.startswith("/v1/relay/changes"):
                return STREAM + FIRST
            return answer if asked.startswith("/v1/relay/decision") else http("", "204 No Content")

        liars.append(Liar(path, script))
        await liars[-1].start()
        return path

    yield start
    for liar in liars:
        liar.stop()


LIES = {
    "no JSON": http("allow"),
    "no text": http(b"\xff\xfe"),
    "no object": http("[]"),
    "nothing": http(""),
    "another effect": http(json.dumps(decided(effect="permit"))),
    "from before": http(json.dumps(decided(epoch=0))),
    "huge": http(b" " * (ANSWER_BYTES + 1) + json.dumps(decided()).encode()),
    "deep": http(b"[" * 50_000),
    "an error that allows": http(json.dumps(decided()), "403 Forbidden"),
    "a redirect": b"HTTP/1.1 302 Found\r\nLocation: http://stanzagate/v1/allow\r\nContent-Length: 0\r\n\r\n",
    "cut off": http(json.dumps(decided()))[:-5],
    "no HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "hung up": b"",
    "an empty error": http("", "500 Internal Server Error"),
    "an odd error": http("[1]", "404 Not Found"),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_a_lie_is_no_decision_and_is_logged(
    lying: Callable[[bytes], Awaitable[Path]], lie: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(await lying(lie)) as decisions:
        await decisions.ready.wait()
        with pytest.raises(NoDecision):
            await decisions.ask(ACS, DEVICE)
        assert decisions.decide(ACS, DEVICE) is None and len(decisions.cache) == 0
    assert [record for record in caplog.records if record.name == "component.relay.decisions"]


async def test_an_answer_that_trickles_is_given_up(tmp_path: Path) -> None:
    async def never() -> bytes:
        await asyncio.Event().wait()
        return b""

    liar = Liar(tmp_path / "liar.sock", lambda path: STREAM + FIRST if "changes" in path else never())
    await liar.start()
    async with connected(tmp_path / "liar.sock", patience=0.05) as decisions:
        await decisions.ready.wait()
        with pytest.raises(NoDecision):
            await decisions.ask(ACS, DEVICE)
    liar.stop()


@pytest.mark.parametrize(
    ("stream", "error", "patience"),
    [
        (STREAM + b"x" * (LINE_BYTES + 1), BadAnswer, 10),
        (STREAM + b"not json\n", BadAnswer, 10),
        (STREAM + FIRST + b"{}\n{\n", BadAnswer, 10),
        (http(FIRST), Away, 10),  # it ends
        (http('{"message": "No."}', "403 Forbidden"), NotAllowed, 10),
        (http("", "503 Service Unavailable"), Away, 10),
        (STREAM + FIRST, Away, 0.05),  # it says nothing any more
        (b"", Away, 0.05),
    ],
)
async def test_a_stream_that_is_none_is_an_error(
    tmp_path: Path, stream: bytes, error: type[Exception], patience: float
) -> None:
    liar = Liar(tmp_path / "liar.sock", lambda _: stream)
    await liar.start()
    api = PolicyApi("edge", socket=tmp_path / "liar.sock")

    with pytest.raises(error):
        _ = [line async for line in api.changes(patience)]
    await api.close()
    liar.stop()
