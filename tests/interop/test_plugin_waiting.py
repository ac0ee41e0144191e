"""Those who wait for a decision, on both servers: the component hangs, fails, leaves or comes too late; the device
or the requester leaves; more wait than there is room for.

The component is a puppet: each test says what it answers.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from stanzagate.sandbox.wire import StreamFailed, attach
from tests.interop.cast import (
    ACS2,
    AWAY,
    CPE2,
    FORBIDDEN,
    GATE,
    HOST,
    OFFLINE,
    OVERLOAD,
    PASSED,
    TARGET,
    UNDECIDED,
    outcome,
)
from tests.interop.conftest import Sandbox
from tests.interop.puppet import Puppet, allowed, condition, decision, denied, failure, puppet, until
from tests.interop.rawclient import beside, online, request
from tests.interop.scene import asked, names, scene
from tests.interop.shells import reload_plugin


async def test_a_device_or_a_requester_that_leaves_while_its_request_is_held(server: Sandbox) -> None:
    async with puppet(server) as gate, online(server, "acs1") as acs1:
        async with online(server, "cpe1") as cpe1:
            await acs1.send_raw(request(cpe1.jid, "a"))
            await gate.until_held(1)
        await until(lambda: [item.get("event") for item in gate.events][-1:] == ["down"])
        await gate.send(allowed(gate.checks[0]))
        assert outcome(await acs1.answer("a")) == OFFLINE
        async with online(server, "cpe1") as cpe1:
            async with online(server, "acs2") as acs2:
                await acs2.send_raw(request(cpe1.jid, "b"))
                await gate.until_held(1)
            await gate.send(allowed(gate.checks[1]))
            await gate.until_held(0)
            async with online(server, "acs2") as acs2:
                assert await asked(acs2, cpe1.jid) == PASSED
            assert len(gate.checks) == 2


async def test_when_the_component_leaves_all_who_wait_are_settled(server: Sandbox) -> None:
    async with scene(server) as s, online(server, "acs2") as acs2:
        s.gate.decide = lambda check: decision(check, "allow", ttl=0) if len(s.gate.checks) == 1 else ""
        assert await s.outcome() == PASSED
        await s.acs1.send_raw(request(TARGET, "stale"))
        await acs2.send_raw(request(TARGET, "unknown"))
        await s.gate.until_held(2)
        await s.gate.detach()
        assert (await s.acs1.answer("stale")).type == "result"
        assert outcome(await acs2.answer("unknown")) == AWAY
        assert await s.outcome() == PASSED
        assert await asked(acs2) == AWAY
        assert len(s.cpe1.woken) == 3


async def test_without_a_component_a_decision_is_used_until_it_is_stale(server: Sandbox) -> None:
    for stale in (1, 4, 16):  # longer where the machine was too slow to see it
        async with scene(server) as s:
            s.gate.decide = lambda check, stale=stale: decision(check, "allow", ttl="0.2", stale=stale)  # type: ignore[misc]
            assert await s.outcome() == PASSED
            await s.gate.detach()
            while (latest := await s.outcome()) == PASSED:
                pass
            assert latest == AWAY
            if len(s.cpe1.woken) > 1:
                return
    pytest.fail("a decision is not used without the component")


async def test_a_component_that_cannot_decide(server: Sandbox) -> None:
    async with scene(server) as s, online(server, "acs2") as acs2:
        s.gate.decide = lambda check: decision(check, "allow", ttl=0) if len(s.gate.checks) == 1 else failure(check)
        assert await s.outcome() == PASSED
        assert await s.outcome() == PASSED  # the entry is stale, but better than nothing
        assert await asked(acs2) == UNDECIDED
        assert len(s.gate.checks) == 3


async def test_a_component_that_hangs_and_an_answer_that_comes_too_late(server: Sandbox) -> None:
    async with scene(server) as s, online(server, "acs2") as acs2:
        s.gate.decide = lambda check: decision(check, "allow", ttl=0) if len(s.gate.checks) == 1 else ""
        assert await s.outcome() == PASSED
        stale, unknown = await asyncio.gather(
            s.acs1.request(TARGET, "u", "p"), acs2.request(TARGET, "u", "p", id="unknown")
        )
        assert (outcome(stale), outcome(unknown)) == (PASSED, UNDECIDED)
        late = next(check for check in s.gate.checks if check.requester.startswith(ACS2))
        await s.gate.send(decision(late, "allow", epoch=99))
        assert (await s.gate.status())["epoch"] == 1
        s.gate.decide = denied
        assert await asked(acs2) == FORBIDDEN
        assert len(acs2.answers_to("unknown")) == 1
        assert len(s.cpe1.woken) == 2


async def test_a_plugin_that_is_loaded_anew_leaves_nobody_waiting(server: Sandbox) -> None:
    async with scene(server) as s:
        await s.acs1.send_raw("".join(request(TARGET, id) for id in names("a", 20)))
        await s.gate.until_held(20)
        await asyncio.to_thread(reload_plugin, server, HOST)
        assert {(await s.acs1.answer(id)).error_type for id in names("a", 20)} == {"wait"}
        await s.gate.send(allowed(s.gate.checks[0]))
        assert (await s.gate.status())["cached"] == 0
        s.gate.decide = denied
        assert await s.outcome() == FORBIDDEN
        assert s.cpe1.woken == []


async def test_a_connection_of_the_component_that_ends_late_takes_nothing_along(server: Sandbox) -> None:
    """ejabberd takes a second connection beside the first, Prosody refuses it."""
    where = server.components[GATE]
    async with scene(server) as s:
        s.gate.decide = allowed
        try:
            stream = await attach(where["host"], where["port"], GATE, where["secret"])
        except StreamFailed:
            assert server.kind == "prosody"
            assert await s.outcome() == PASSED
            return
        async with stream:
            second = Puppet(stream)
            second.decide = lambda check: decision(check, "deny")
            async with beside(second.read()):
                await until(lambda: second.snapshots + s.gate.snapshots[1:])  # by either of the two
                await s.gate.detach()
                while await s.outcome() != FORBIDDEN:  # what the first had allowed is forgotten at the latest now
                    pass
                assert (await second.status())["sessions"] == 1


async def test_a_requester_with_many_devices_has_a_bound_and_delays_nobody_else(server: Sandbox) -> None:
    for _ in range(5):
        with contextlib.suppress(TooSlow):
            return await crowd_out(server)
    pytest.fail("the queue cannot be filled in the time that a check may take")


class TooSlow(Exception):
    """Checks have timed out before there were as many as the test needs: the machine stood still."""


async def crowd_out(server: Sandbox) -> None:
    async with puppet(server) as gate, online(server, "acs1") as acs1, online(server, "acs2") as acs2:
        before = (await gate.status()).refused["no-decision"]
        many = names("m", 1100)
        await acs1.send_raw("".join(request(f"{name}@{HOST}/x", name) for name in many))
        await gate.until_held(1024)
        assert {outcome(await acs1.answer(name)) for name in many[1024:]} == {OVERLOAD}
        await acs2.send_raw(request(CPE2, "one"))
        await gate.until_held(1025)
        status = await gate.status()
        if status.refused["no-decision"] > before:
            raise TooSlow
        assert [len(gate.checks), status["checks"]] == [128, 1025]
        await gate.send(*map(denied, gate.checks[:2]))
        await until(lambda: len(gate.checks) == 130)
        assert ACS2 in {check.requester.partition("/")[0] for check in gate.checks[128:]}
        gate.decide = denied
        await gate.send(*map(denied, gate.checks[2:130]))
        assert {outcome(await acs1.answer(name)) for name in many[:1024]} == {FORBIDDEN}
        assert outcome(await acs2.answer("one")) == FORBIDDEN
        assert (await gate.status())["checks"] == 0


async def test_more_than_the_bounds_is_refused_and_everything_is_answered(server: Sandbox) -> None:
    """256 waiting for a pair, 4,096 checks for a domain, 8,192 in all and 128 of them sent, 10,000 waiting in all."""
    for _ in range(5):
        with contextlib.suppress(TooSlow):
            return await fill_all_queues(server)
    pytest.fail("the queues cannot be filled in the time that a check may take")


async def fill_all_queues(server: Sandbox) -> None:
    async with (
        puppet(server) as gate,
        puppet(server, "spare1.test") as one,
        puppet(server, "spare2.test") as two,
        online(server, "acs1") as acs1,
    ):
        before = (await gate.status()).refused["no-decision"]

        async def until_held(count: int) -> None:
            while (status := await gate.status())["held"] != count:
                if status.refused["no-decision"] > before:
                    raise TooSlow

        await acs1.send_raw("".join(request(TARGET, id) for id in names("a", 300)))
        await until_held(256)
        assert {outcome(await acs1.answer(id)) for id in names("a", 300)[256:]} == {OVERLOAD}
        await one.send(*strangers("spare1.test", range(4100)))
        await until_held(256 + 4096)
        await two.send(*strangers("spare2.test", range(4095)))
        await until_held(256 + 8191)
        assert await asked(acs1, CPE2) == OVERLOAD
        await one.send(*strangers("spare1.test", range(10_000, 11_600)))
        await until_held(10_000)
        await until(lambda: len(one.answered) == 4 + 47)
        assert {condition(stanza) for stanza in one.answered.values()} == {OVERLOAD}
        assert (len(gate.checks), (await gate.status())["checks"]) == (128, 8192)
        await gate.detach()
        assert {outcome(await acs1.answer(id)) for id in names("a", 256)} == {AWAY}
        await until(lambda: (len(one.answered), len(two.answered)) == (5700, 4095))
        assert {condition(stanza) for stanza in two.answered.values()} == {AWAY}


def strangers(domain: str, numbers: range) -> list[str]:
    """Requests of five accounts of a domain for so many devices, 10,000 at most."""
    payload = request("x", "x").partition(">")[2]
    return [
        f"<iq type='get' id='f{number}' from='r{number % 5}@{domain}' to='d{number % 10_000}@{HOST}/x'>{payload}"
        for number in numbers
    ]
