"""Between plugin and component, on both servers: what is asked when, what a flush drops, what the status counts.

The component is a puppet: each test says what it answers.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from tests.interop.cast import (
    ACS1,
    ACS2,
    ADDRESS,
    BAD_REQUEST,
    CPE1,
    CPE2,
    FORBIDDEN,
    PASSED,
    TARGET,
    UNDECIDED,
    outcome,
)
from tests.interop.conftest import Sandbox
from tests.interop.plugin import addressed
from tests.interop.puppet import Check, allowed, condition, decision, denied, puppet, until
from tests.interop.rawclient import online, request
from tests.interop.scene import asked, names, scene

PATIENT = (1, 4, 16)
"""How long decisions are good, in seconds: longer where the machine was too slow to see it."""


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
    for ttl in PATIENT:
        async with scene(server) as s:
            s.gate.decide = lambda check, ttl=ttl, s=s: (  # type: ignore[misc]
                decision(check, "allow", ttl=ttl) if len(s.gate.checks) == 1 else ""
            )
            while len(s.gate.checks) < 2:
                assert await s.outcome() == PASSED
            assert await s.outcome() == PASSED
            if (await s.gate.status())["checks"] != 1:  # not out any more: the request before may have waited for it
                continue
            await s.gate.send(denied(s.gate.checks[1]))
            while await s.outcome() == PASSED:
                pass
            assert len(s.gate.checks) == 2
            return
    pytest.fail("requests wait for a check in the background")


async def test_scope_full_is_one_resource_and_scope_bare_all(server: Sandbox) -> None:
    async with scene(server) as s, online(server, "acs1", "other") as other:

        def by_resource(check: Check) -> str:
            return decision(check, "allow" if check.requester.endswith("/console") else "deny", scope="full")

        s.gate.decide = by_resource
        for _ in range(2):
            assert await s.outcome() == PASSED
            assert await asked(other) == FORBIDDEN
        assert [check.requester for check in s.gate.checks] == [f"{ACS1}/console", f"{ACS1}/other"]
        await s.gate.flush(2)
        s.gate.decide = lambda check: decision(check, "allow", epoch=2)
        assert await s.outcome() == PASSED
        assert await asked(other) == PASSED
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
            assert await asked(acs2) == FORBIDDEN
        await s.acs1.send_raw(
            f"<iq type='result' id='r' to='{TARGET}'>{ET.tostring(s.cpe1.woken[0][0]).decode()}</iq>"
        )
        malformed = request(TARGET, "m").replace("type='get'", "type='set'")
        assert outcome(await s.acs1.send_raw_iq(malformed)) == BAD_REQUEST
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
        await s.gate.send(addressed(request(TARGET, "own"), ADDRESS))
        await until(lambda: s.cpe1.woken)
        assert (s.cpe1.woken[0].get("from"), s.gate.checks) == (ADDRESS, [])
