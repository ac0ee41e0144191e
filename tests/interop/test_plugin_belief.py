"""Whom the plugin believes, on both servers: forged, malformed and repeated answers and orders."""

from __future__ import annotations

from component.base.ns import POLICY
from tests.interop.cast import ADDRESS, BAD_REQUEST, FORBIDDEN, GATE, HOST, PASSED, TARGET, UNDECIDED, outcome
from tests.interop.conftest import Sandbox
from tests.interop.puppet import (
    allowed,
    answer,
    condition,
    decision,
    denied,
    element,
    failure,
    puppet,
    until,
    withheld,
)
from tests.interop.rawclient import online, request
from tests.interop.scene import scene


async def test_only_the_component_itself_decides(server: Sandbox) -> None:
    async with (
        scene(server) as s,
        puppet(server, "spare1.test") as stranger,
        online(server, "rogue") as rogue,
        online(server, "cpe2") as cpe2,
    ):
        await s.acs1.send_raw(request(TARGET, "a"))
        await until(lambda: s.gate.checks)
        check = s.gate.checks[0]
        await stranger.send(
            decision(check, "allow", sender="spare1.test"), decision(check, "allow", sender="x@spare1.test")
        )
        await stranger.iq("get", "<ping xmlns='urn:xmpp:ping'/>", sender="spare1.test")  # it has been heard
        for sender in (f"x@{GATE}", ADDRESS, f"{GATE}/x"):
            await s.gate.send(decision(check, "allow", sender=sender))
        for client in (rogue, s.acs1, cpe2, s.cpe1):
            await client.send_raw(decision(check, "allow", sender=client.jid))
            await client.send_raw(f"<iq type='get' id='done' to='{HOST}'><ping xmlns='urn:xmpp:ping'/></iq>")
            await client.answer("done")
        assert ((await s.gate.status())["held"], s.cpe1.woken) == (1, [])
        assert {(again.requester, again.device) for again in s.gate.checks} == {(check.requester, check.device)}
        await s.gate.send(denied(s.gate.checks[-1]))  # it may have been asked again
        assert outcome(await s.acs1.answer("a")) == FORBIDDEN
        assert await s.outcome() == FORBIDDEN


async def test_only_the_component_itself_is_obeyed(server: Sandbox) -> None:
    async with (
        scene(server) as s,
        puppet(server, "spare1.test") as stranger,
        online(server, "rogue") as rogue,
    ):
        s.gate.decide = allowed
        assert await s.outcome() == PASSED
        before = await s.gate.status()
        for kind, content in (
            ("set", element("flush", epoch=50)),
            ("get", element("status")),
            ("get", element("sessions")),
        ):
            for sender in ("spare1.test", "x@spare1.test"):
                assert condition(await stranger.iq(kind, content, sender=sender)) == FORBIDDEN
            for sender in (f"x@{GATE}", ADDRESS):
                assert condition(await s.gate.iq(kind, content, sender=sender)) == FORBIDDEN
            for client in (rogue, s.acs1, s.cpe1):
                question = f"<iq type='{kind}' id='{kind}{len(content)}' to='{HOST}'>{content}</iq>"
                refused = await client.send_raw_iq(question)
                assert (outcome(refused), "session " in refused.payload) == (FORBIDDEN, False)
        after = await s.gate.status()
        assert after["discarded"] - before["discarded"] >= 7  # the flushes
        assert (after["epoch"], after["cached"]) == (before["epoch"], before["cached"]) == (1, 1)
        assert await s.outcome() == PASSED
        assert len(s.gate.checks) == 1


HUGE = "9" * 400
MALFORMED: dict[str, dict[str, object]] = {
    "no effect": {"effect": None},
    "unknown effect": {"effect": "maybe"},
    "another case": {"effect": "Allow"},
    "unknown scope": {"scope": "all"},
    **{
        f"{name} {value!r}": {name: value}
        for name in ("epoch", "ttl", "stale")
        for value in (None, "", "x", "-1", "NaN", "inf", "1e999", "0x10", "1 2", "\u0661", HUGE)
    },
    "broken epoch": {"epoch": "1.5"},
    "stale before ttl": {"ttl": 10, "stale": 5},
}


async def test_malformed_decisions_count_as_none(server: Sandbox) -> None:
    good: dict[str, object] = {"scope": "bare", "ttl": 300, "stale": 3600, "epoch": 1, "effect": "allow"}
    right = element("decision", **good)
    contents = {name: element("decision", **(good | change)) for name, change in MALFORMED.items()} | {
        "none": "",
        "two": right + right,
        "another namespace": right.replace(POLICY, "urn:other"),
        "nested": f"<x xmlns='{POLICY}'>{right}</x>",
    }
    async with scene(server) as s:
        s.gate.decide = lambda check: answer(check, content)
        for name in contents:
            content = contents[name]
            assert await s.outcome() == UNDECIDED, name
        assert s.cpe1.woken == []
        status = await s.gate.status()
        assert (status["cached"], status["epoch"]) == (0, 0)
        content = right
        assert await s.outcome() == PASSED


MALFORMED_FLUSHES = {
    "epoch": (None, "", "x", "-1", "NaN", "inf", "1.5", "1e999", "0x10", HUGE),
    "requester": ("", "@", "acs1@acs.test/x", "a b@acs.test", "@acs.test"),
    "device": ("", "cpe1@cpe.test/tr069", "a@b@c"),
}


async def test_malformed_flushes_change_nothing(server: Sandbox) -> None:
    async with scene(server) as s:
        s.gate.decide = allowed
        assert await s.outcome() == PASSED
        contents = [
            element("flush", **{"epoch": 2, name: value})
            for name, values in MALFORMED_FLUSHES.items()
            for value in values
        ]
        for content in (*contents, element("flush", epoch=2) * 2):
            assert condition(await s.gate.iq("set", content)) == BAD_REQUEST, content
        status = await s.gate.status()
        assert (status["cached"], status["epoch"]) == (1, 1)
        assert await s.outcome() == PASSED
        assert len(s.gate.checks) == 1


async def test_a_second_answer_changes_nothing(server: Sandbox) -> None:
    async with scene(server) as s:
        s.gate.decide = lambda check: denied(check) + decision(check, "allow", epoch=70)
        assert [await s.outcome() for _ in range(2)] == [FORBIDDEN] * 2
        await s.gate.send(decision(s.gate.checks[0], "allow"), failure(s.gate.checks[0]))
        assert await s.outcome() == FORBIDDEN
        assert ((await s.gate.status())["epoch"], len(s.gate.checks)) == (1, 1)
        s.gate.decide = withheld
        await s.gate.flush(2)
        await s.acs1.send_raw(request(TARGET, "again"))
        await until(lambda: len(s.gate.checks) == 2)
        await s.gate.send(decision(s.gate.checks[0], "allow", epoch=2))  # an id that was good once
        assert (await s.gate.status())["held"] == 1
        await s.gate.send(decision(s.gate.checks[1], "deny", epoch=2))
        assert outcome(await s.acs1.answer("again")) == FORBIDDEN
        assert s.cpe1.woken == []
