"""Between plugin and component, on both servers: what is asked when, who is believed, what becomes of those who wait.

The component is a puppet: each test says what it answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import xml.etree.ElementTree as ET

import pytest

from stanzagate.sandbox.wire import StreamFailed, attach
from tests.interop.conftest import Sandbox
from tests.interop.puppet import (
    GATE,
    HOST,
    Check,
    Puppet,
    allowed,
    condition,
    decision,
    denied,
    failure,
    puppet,
    until,
)
from tests.interop.rawclient import beside, online, request
from tests.interop.scene import (
    ACS1,
    ACS2,
    AWAY,
    CPE1,
    CPE2,
    FORBIDDEN,
    OVERLOAD,
    PASSED,
    TARGET,
    UNDECIDED,
    names,
    outcome,
    scene,
    server,
)
from tests.interop.shells import reload_plugin

__all__ = ["server"]  # the fixture


# --- asked once -----------------------------------------------------------------------------------------------------


async def test_a_pair_is_asked_once_and_its_requests_leave_in_order(server: Sandbox) -> None:
    async with scene(server) as s, online(server, "acs1", "other") as other:
        first, second, third = names("a", 50), names("b", 50), names("c", 50)
        for who, ids in ((s.acs1, first), (other, second), (s.acs1, third)):
            before = (await s.gate.status())["held"]
            await who.send_raw("".join(request(TARGET, id) for id in ids))
            await s.gate.until_held(before + len(ids))
        assert [(check.requester, check.device) for check in s.gate.checks] == [(f"{ACS1}/console", TARGET)]
        assert not s.cpe1.woken
        await s.gate.send(allowed(s.gate.checks[0]))
        for who, ids in ((s.acs1, first + third), (other, second)):
            assert {(await who.answer(id)).type for id in ids} == {"result"}
        assert [stanza.get("id") for stanza in s.cpe1.woken] == first + second + third
        assert await s.outcome() == PASSED
        status = await s.gate.status()
        assert (len(s.gate.checks), status["held"], status["checks"], status["cached"]) == (1, 0, 0, 1)


async def test_a_denial_is_cached_and_reaches_all_who_waited(server: Sandbox) -> None:
    async with scene(server) as s:
        await s.acs1.send_raw("".join(request(TARGET, id) for id in names("a", 20)))
        await s.gate.until_held(20)
        await s.gate.send(denied(s.gate.checks[0]))
        assert {outcome(await s.acs1.answer(id)) for id in names("a", 20)} == {FORBIDDEN}
        assert await s.outcome(CPE1) == FORBIDDEN
        assert (len(s.gate.checks), s.cpe1.woken) == (1, [])


async def test_a_decision_is_asked_for_again_when_its_time_is_over(server: Sandbox) -> None:
    async with scene(server) as s:
        s.gate.decide = lambda check: decision(check, "deny" if len(s.gate.checks) > 1 else "allow", ttl="0.5")
        outcomes = [await s.outcome()]
        while outcomes[-1] == PASSED:
            outcomes.append(await s.outcome())
        assert outcomes[-1] == FORBIDDEN
        assert len(s.cpe1.woken) == len(outcomes) - 1


async def test_a_decision_is_refreshed_before_its_time_is_over_and_nobody_waits_for_it(server: Sandbox) -> None:
    async with scene(server) as s:
        s.gate.decide = lambda check: decision(check, "allow", ttl=3) if len(s.gate.checks) == 1 else ""
        while len(s.gate.checks) < 2:
            assert await s.outcome() == PASSED
        assert await s.outcome() == PASSED
        assert (await s.gate.status())["checks"] == 1  # still out: the request before did not wait until it failed
        await s.gate.send(denied(s.gate.checks[1]))
        while await s.outcome() == PASSED:
            pass
        assert len(s.gate.checks) == 2


async def test_scope_full_is_one_resource_and_scope_bare_all(server: Sandbox) -> None:
    async with scene(server) as s, online(server, "acs1", "other") as other:

        def by_resource(check: Check) -> str:
            return decision(check, "allow" if check.requester.endswith("/console") else "deny", scope="full")

        s.gate.decide = by_resource
        for _ in range(2):
            assert await s.outcome() == PASSED
            assert outcome(await other.request(TARGET, "u", "p")) == FORBIDDEN
        assert [check.requester for check in s.gate.checks] == [f"{ACS1}/console", f"{ACS1}/other"]
        await s.gate.flush(2)
        s.gate.decide = lambda check: decision(check, "allow", epoch=2)
        assert await s.outcome() == PASSED
        assert outcome(await other.request(TARGET, "u", "p")) == PASSED
        assert len(s.gate.checks) == 3


async def test_scope_full_releases_those_who_wait_one_resource_after_the_other(server: Sandbox) -> None:
    async with scene(server) as s, online(server, "acs1", "other") as other:
        for count, (who, id) in enumerate(((s.acs1, "a1"), (s.acs1, "a2"), (other, "b1"), (s.acs1, "a3")), 1):
            await who.send_raw(request(TARGET, id))
            await s.gate.until_held(count)
        assert len(s.gate.checks) == 1
        await s.gate.send(decision(s.gate.checks[0], "allow", scope="full"))
        await until(lambda: len(s.gate.checks) == 2)
        assert s.gate.checks[1].requester == f"{ACS1}/other"
        assert [stanza.get("id") for stanza in s.cpe1.woken] == ["a1", "a2"]
        assert (await s.gate.status())["held"] == 2
        await s.gate.send(decision(s.gate.checks[1], "deny", scope="full"))
        assert outcome(await other.answer("b1")) == FORBIDDEN
        assert (await s.acs1.answer("a3")).type == "result"
        assert (len(s.gate.checks), len(s.cpe1.woken)) == (2, 3)


# --- flushes and epochs ---------------------------------------------------------------------------------------------

PAIRS = [(ACS1, CPE1), (ACS1, CPE2), (ACS2, CPE1), (ACS2, CPE2)]
FLUSHES: list[tuple[dict[str, object], list[tuple[str, str]]]] = [
    ({"requester": ACS1}, PAIRS[:2]),
    ({"device": CPE2}, [PAIRS[1], PAIRS[3]]),
    ({"requester": ACS2, "device": CPE1}, [PAIRS[2]]),
    ({"requester": "nobody@acs.test"}, []),
    ({}, PAIRS),
]


async def test_flushes_drop_what_they_name(server: Sandbox) -> None:
    async with scene(server) as s, online(server, "acs2") as acs2, online(server, "cpe2") as cpe2:
        s.gate.decide = lambda check: decision(check, "allow", epoch=epoch)

        async def everybody_asks() -> None:
            for who in (s.acs1, acs2):
                for to in (TARGET, cpe2.jid):
                    assert (await who.request(to, "u", "p")).type == "result"

        epoch = 1
        await everybody_asks()
        assert s.asked() == PAIRS
        for epoch, (which, dropped) in enumerate(FLUSHES, 2):
            s.gate.checks.clear()
            assert condition(await s.gate.flush(epoch, **which)) == PASSED
            await everybody_asks()
            assert s.asked() == dropped, which
            assert (await s.gate.status())["epoch"] == epoch


async def test_an_older_flush_drops_nothing_newer_and_lowers_nothing(server: Sandbox) -> None:
    async with scene(server) as s:
        s.gate.decide = lambda check: decision(check, "allow", epoch=7)
        assert await s.outcome() == PASSED
        for epoch in (6, 7, 0):
            assert condition(await s.gate.flush(epoch)) == PASSED
            assert await s.outcome() == PASSED
            assert (await s.gate.status())["epoch"] == 7
        assert len(s.gate.checks) == 1
        await s.gate.flush(8)
        s.gate.decide = lambda check: decision(check, "deny", epoch=8)
        assert await s.outcome() == FORBIDDEN


async def test_an_outdated_decision_is_asked_for_again_and_never_used(server: Sandbox) -> None:
    async with scene(server) as s:
        await s.acs1.send_raw(request(TARGET, "late"))
        await until(lambda: s.gate.checks)
        await s.gate.flush(5)
        s.gate.decide = lambda check: decision(check, "deny", epoch=5)
        await s.gate.send(decision(s.gate.checks[0], "allow", epoch=4))
        assert outcome(await s.acs1.answer("late")) == FORBIDDEN
        assert (len(s.gate.checks), s.cpe1.woken) == (2, [])
        await s.gate.flush(6)
        s.gate.checks.clear()
        s.gate.decide = lambda check: decision(check, "allow", epoch=5)  # a component that never comes up to date
        assert await s.outcome() == UNDECIDED
        assert (len(s.gate.checks), s.cpe1.woken) == (4, [])
        status = await s.gate.status()
        assert (status["discarded"] >= 5, status["epoch"], status["cached"]) == (True, 6, 0)


async def test_a_component_that_connects_anew_finds_an_empty_cache_and_says_what_the_epoch_is(
    server: Sandbox,
) -> None:
    async with online(server, "acs1") as acs1, online(server, "cpe1"):
        for epoch in (9, 3):
            async with puppet(server) as gate:
                status = await gate.status()
                assert (status["cached"], status["epoch"]) == (0, 0)
                sessions = {item.get("jid"): item.get("event") for item in gate.snapshots[0]}
                assert sessions == {TARGET: "up"}
                gate.decide = lambda check, epoch=epoch: decision(check, "allow", epoch=epoch)  # type: ignore[misc]
                assert (await acs1.request(TARGET, "u", "p")).type == "result"
                assert ((await gate.status())["epoch"], len(gate.checks)) == (epoch, 1)


# --- those who wait -------------------------------------------------------------------------------------------------


async def test_a_device_or_a_requester_that_leaves_while_its_request_is_held(server: Sandbox) -> None:
    async with puppet(server) as gate, online(server, "acs1") as acs1:
        async with online(server, "cpe1") as cpe1:
            await acs1.send_raw(request(cpe1.jid, "a"))
            await gate.until_held(1)
        await until(lambda: [item.get("event") for item in gate.events][-1:] == ["down"])
        await gate.send(allowed(gate.checks[0]))
        assert outcome(await acs1.answer("a")) == ("cancel", "service-unavailable")
        async with online(server, "cpe1") as cpe1:
            async with online(server, "acs2") as acs2:
                await acs2.send_raw(request(cpe1.jid, "b"))
                await gate.until_held(1)
            await gate.send(allowed(gate.checks[1]))
            await gate.until_held(0)
            async with online(server, "acs2") as acs2:
                assert outcome(await acs2.request(cpe1.jid, "u", "p")) == PASSED
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
        assert outcome(await acs2.request(TARGET, "u", "p")) == AWAY
        assert len(s.cpe1.woken) == 3


async def test_without_a_component_a_decision_is_used_until_it_is_stale(server: Sandbox) -> None:
    async with scene(server) as s:
        s.gate.decide = lambda check: decision(check, "allow", ttl="0.2", stale="1.5")
        assert await s.outcome() == PASSED
        await s.gate.detach()
        outcomes = []
        while (latest := await s.outcome()) == PASSED:
            outcomes.append(latest)
        assert latest == AWAY
        assert len(s.cpe1.woken) == 1 + len(outcomes) > 1


async def test_a_component_that_cannot_decide(server: Sandbox) -> None:
    async with scene(server) as s, online(server, "acs2") as acs2:
        s.gate.decide = lambda check: decision(check, "allow", ttl=0) if len(s.gate.checks) == 1 else failure(check)
        assert await s.outcome() == PASSED
        assert await s.outcome() == PASSED  # the entry is stale, but better than nothing
        assert outcome(await acs2.request(TARGET, "u", "p")) == UNDECIDED
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
        assert outcome(await acs2.request(TARGET, "u", "p")) == FORBIDDEN
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


async def test_more_than_the_bounds_is_refused_and_everything_is_answered(server: Sandbox) -> None:
    """256 waiting for a pair, 4,096 checks for a domain, 8,192 in all, 10,000 waiting in all."""
    for _ in range(5):
        with contextlib.suppress(TooSlow):
            return await fill_all_queues(server)
    pytest.fail("the queues cannot be filled in the time that a check may take")


class TooSlow(Exception):
    """Checks have timed out before there were as many as the test needs."""


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
        assert outcome(await acs1.request(CPE2, "u", "p")) == OVERLOAD
        await one.send(*strangers("spare1.test", range(10_000, 11_600)))
        await until_held(10_000)
        await until(lambda: len(one.answered) == 4 + 47)
        assert {condition(stanza) for stanza in one.answered.values()} == {OVERLOAD}
        assert len(gate.checks) == (await gate.status())["checks"] == 8192
        await gate.detach()
        assert {outcome(await acs1.answer(id)) for id in names("a", 256)} == {AWAY}
        await until(lambda: (len(one.answered), len(two.answered)) == (5700, 4095))
        assert {condition(stanza) for stanza in two.answered.values()} == {AWAY}


def strangers(domain: str, numbers: range) -> list[str]:
    """Requests of somebody of a domain for so many devices, 10,000 at most."""
    payload = request("x", "x").partition(">")[2]
    return [
        f"<iq type='get' id='f{number}' from='r@{domain}' to='d{number % 10_000}@{HOST}/x'>{payload}"
        for number in numbers
    ]


# --- what it tells --------------------------------------------------------------------------------------------------


async def test_the_status_counts_what_happened(server: Sandbox) -> None:
    async with scene(server) as s, online(server, "acs2") as acs2:
        before = await s.gate.status()
        assert before.words == {"version": "1", "mode": "enforce", "guard": "connection-requests"}
        s.gate.decide = lambda check: decision(
            check, "allow" if check.requester.startswith(ACS1) else "deny", epoch=4
        )
        for _ in range(3):
            assert await s.outcome() == PASSED
            assert outcome(await acs2.request(TARGET, "u", "p")) == FORBIDDEN
        await s.acs1.send_raw(
            f"<iq type='result' id='r' to='{TARGET}'>{ET.tostring(s.cpe1.woken[0][0]).decode()}</iq>"
        )
        malformed = request(TARGET, "m").replace("type='get'", "type='set'")
        assert outcome(await s.acs1.send_raw_iq(malformed)) == ("modify", "bad-request")
        status = await s.gate.status()
        changed = {name: value - before[name] for name, value in status.numbers.items() if value != before[name]}
        assert changed == {"epoch": 4, "cached": 2, "asked": 2, "allowed": 1, "denied": 1, "hits": 5, "passed": 3}
        assert set(status.refused) == {
            "forbidden", "bad-request", "not-attached", "no-decision", "overload", "crashed", "answer",
        }  # fmt: skip
        refused = {name: value - before.refused[name] for name, value in status.refused.items()}
        assert {name: value for name, value in refused.items() if value} == {
            "forbidden": 3, "bad-request": 1, "answer": 1,
        }  # fmt: skip


async def test_the_component_s_own_stanzas_pass_unasked(server: Sandbox) -> None:
    async with scene(server) as s:
        gate = f"gate@{GATE}/gate"
        await s.gate.send(request(TARGET, "own").replace("<iq ", f"<iq from='{gate}' "))
        await until(lambda: s.cpe1.woken)
        assert (s.cpe1.woken[0].get("from"), s.gate.checks) == (gate, [])
