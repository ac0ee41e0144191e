"""The in-server plugins under load and while the policy changes: nothing allowed is lost, no stranger gets in."""

from __future__ import annotations

import asyncio
import itertools
import re

import pytest

from tests.interop.cast import ACS2, CPE1, FORBIDDEN, PASSED, TARGET, outcome
from tests.interop.conftest import Sandbox
from tests.interop.floods import Streaming, asked, from_spare, kinds, streaming
from tests.interop.plugin import Policy, Recorder, Wire, component, raw, recorder, request

RESOURCES = 3_000
REQUESTERS = 1_000


async def test_a_flood_of_resources_asks_once(sandbox: Sandbox) -> None:
    policy = Policy(sandbox)
    with policy.holding(("allow", "acs@spare1.test", CPE1)):
        async with recorder(sandbox, 1) as cpe, component(sandbox) as spare:
            before = asked(policy, "allow")
            await spare.ask(from_spare("acs/first", "first"))
            ids = [f"r{number}" for number in range(RESOURCES)]
            await spare.send(*(from_spare(f"acs/{id}", id) for id in ids))
            assert kinds(await spare.answered(*ids)) == {PASSED: RESOURCES}
            assert [seen.id for seen in cpe.requests] == ["first", *ids]
            assert asked(policy, "allow") - before == 1
            with policy.holding(("deny", "acs@spare1.test/r7", CPE1)):
                again = [f"again-{id}" for id in ids[:200]]
                await spare.send(*(from_spare(f"acs/{id.partition('-')[2]}", id) for id in again))
                answers = await spare.answered(*again)
                refused = [id for id, answer in zip(again, answers, strict=True) if outcome(answer) != PASSED]
                assert (refused, outcome(answers[7])) == (["again-r7"], FORBIDDEN)
                assert [seen.id for seen in cpe.requests[RESOURCES + 1 :]] == [
                    id for id in again if id not in refused
                ]
            assert cpe.others == []


async def test_a_thousand_requesters_at_once(sandbox: Sandbox) -> None:
    names = [f"{kind}{number}" for number in range(REQUESTERS // 2) for kind in ("acs", "rogue")]
    sent = {name: [f"{name}-{number}" for number in range(2)] for name in names}
    allowed = {name: ids for name, ids in sent.items() if name.startswith("acs")}
    with Policy(sandbox).holding(*(("allow", f"{name}@spare1.test", CPE1) for name in allowed)):
        async with recorder(sandbox, 1) as cpe, component(sandbox) as spare:
            await spare.send(*(from_spare(name, sent[name][number]) for number in range(2) for name in names))
            assert kinds(await spare.answered(*itertools.chain(*allowed.values()))) == {PASSED: REQUESTERS}
            strangers = itertools.chain(*(sent[name] for name in names if name not in allowed))
            assert kinds(await spare.answered(*strangers)) == {FORBIDDEN: REQUESTERS}
            assert cpe.order() == {f"{name}@spare1.test": ids for name, ids in allowed.items()}
            assert cpe.others == []


async def changed(sandbox: Sandbox, *arguments: str) -> str:
    """Change the policy on the command line; the id of what was made, if anything was."""
    done = await asyncio.to_thread(sandbox.run, "jid", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found = re.search(r'"created": \[\s*"?(\d+)', done.stdout)
    return found[1] if found else ""


async def shut_out(sandbox: Sandbox, how: str) -> tuple[str, ...]:
    """Take the right to wake the device from acs2; the command that gives it back."""
    if how == "suspend":
        await changed(sandbox, "suspend", ACS2)
        return "resume", ACS2
    if how == "deny":
        return "remove", await changed(sandbox, "deny", ACS2, "--to", CPE1)
    rules = await asyncio.to_thread(sandbox.json, "jid", "list")
    await changed(sandbox, "remove", next(str(rule["id"]) for rule in rules if rule["requester"] == ACS2))
    return "allow", ACS2, "--to", CPE1


@pytest.mark.parametrize("how", ["suspend", "deny", "remove"])
async def test_the_policy_is_changed_in_mid_flood(sandbox: Sandbox, how: str) -> None:
    async with recorder(sandbox, 1) as cpe, raw(sandbox, "acs1") as acs1, raw(sandbox, "acs2") as acs2:
        async with streaming(acs2) as stream:
            await stream.until_allowed()
            back = await shut_out(sandbox, how)
            try:
                too_late = await after(stream, cpe, acs1)
            finally:
                await changed(sandbox, *back)
            assert kinds([acs2.answers[id][0] for id in too_late]) == {FORBIDDEN: len(too_late)}
            assert not set(too_late) & set(cpe.counted())
            await stream.until_allowed()
            await stream.pause()
        delivered = [id for id, answer in zip(stream.sent, stream.answers, strict=True) if outcome(answer) == PASSED]
        assert kinds(stream.answers).keys() == {PASSED, FORBIDDEN}
        assert cpe.order()[acs2.jid] == delivered
        assert cpe.others == []


async def after(stream: Streaming, cpe: Recorder, acs1: Wire) -> list[str]:
    """The ids of what is sent from now on and answered; once the marker is there nothing more reaches the device."""
    begin = len(stream.sent)
    await acs1.ask(request(TARGET, "marker"))
    arrived = len(cpe.requests)
    await stream.until(lambda: len(stream.answers) >= begin + 200)
    assert len(cpe.requests) == arrived
    return stream.sent[begin : len(stream.answers)]


async def test_a_requester_comes_back_with_another_resource(sandbox: Sandbox) -> None:
    policy = Policy(sandbox)
    questions: list[float] = []
    async with recorder(sandbox, 1) as cpe:
        for resource in ("one", "two", "one"):
            async with raw(sandbox, "acs2", resource) as acs2:
                assert outcome(await acs2.ask(request(TARGET, resource))) == PASSED
                assert cpe.requests[-1].sender == f"{ACS2}/{resource}"
            questions.append(asked(policy, "allow"))
    assert len(set(questions)) == 1
