"""The in-server plugins under load and while the policy changes: nothing allowed is lost, no stranger gets in."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest

from tests.interop.clients import Answer
from tests.interop.conftest import Sandbox
from tests.interop.plugin import Policy, Recorder, Wire, addressed, component, raw, recorder, request
from tests.interop.test_plugin_shapes import FORBIDDEN, LOCAL, TARGET, condition

DONE = ("", "")
RESOURCES = 5_000
REQUESTERS = 1_000
ACS2 = "acs2@acs.test"


def from_spare(local: str, id: str) -> str:
    """A request of ``local@spare1.test``; a resource may follow the local part."""
    name, slash, resource = local.partition("/")
    return addressed(request(TARGET, id), f"{name}@spare1.test{slash}{resource}")


def kinds(answers: list[Answer]) -> Counter[tuple[str, str]]:
    return Counter(condition(answer) for answer in answers)


def asked(policy: Policy, effect: str) -> float:
    """How often the gate has been asked, and has given such an answer."""
    return policy.metrics().get(f'stanzagate_plugin_decisions_total{{effect="{effect}"}}', 0)


async def test_a_flood_of_resources_asks_once(sandbox: Sandbox) -> None:
    policy = Policy(sandbox)
    with policy.holding(("allow", "acs@spare1.test", LOCAL)):
        async with recorder(sandbox, 1) as cpe, component(sandbox) as spare:
            before = asked(policy, "allow")
            await spare.ask(from_spare("acs/first", "first"))
            ids = [f"r{number}" for number in range(RESOURCES)]
            await spare.send(*(from_spare(f"acs/{id}", id) for id in ids))
            assert kinds(await spare.answered(*ids)) == {DONE: RESOURCES}
            assert [seen.id for seen in cpe.requests] == ["first", *ids]
            assert asked(policy, "allow") - before == 1
            with policy.holding(("deny", "acs@spare1.test/r7", LOCAL)):
                again = [f"again-{id}" for id in ids[:200]]
                await spare.send(*(from_spare(f"acs/{id.partition('-')[2]}", id) for id in again))
                answers = await spare.answered(*again)
                refused = [id for id, answer in zip(again, answers, strict=True) if condition(answer) != DONE]
                assert (refused, condition(answers[7])) == (["again-r7"], FORBIDDEN)
                assert [seen.id for seen in cpe.requests[RESOURCES + 1 :]] == [
                    id for id in again if id not in refused
                ]
            assert cpe.others == []


async def test_a_thousand_requesters_at_once(sandbox: Sandbox) -> None:
    names = [f"{kind}{number}" for number in range(REQUESTERS // 2) for kind in ("acs", "rogue")]
    sent = {name: [f"{name}-{number}" for number in range(3)] for name in names}
    allowed = {name: ids for name, ids in sent.items() if name.startswith("acs")}
    with Policy(sandbox).holding(*(("allow", f"{name}@spare1.test", LOCAL) for name in allowed)):
        async with recorder(sandbox, 1) as cpe, component(sandbox) as spare:
            await spare.send(*(from_spare(name, sent[name][number]) for number in range(3) for name in names))
            assert kinds(await spare.answered(*itertools.chain(*allowed.values()))) == {DONE: 1500}
            strangers = itertools.chain(*(sent[name] for name in names if name not in allowed))
            assert kinds(await spare.answered(*strangers)) == {FORBIDDEN: 1500}
            assert cpe.order() == {f"{name}@spare1.test": ids for name, ids in allowed.items()}
            assert cpe.others == []


class Streaming:
    """A requester that goes on asking, some requests at a time.

    :ivar sent: the ids of what it has sent.
    :ivar answers: what came back, in the order of `sent`.
    """

    def __init__(self, wire: Wire) -> None:
        self.sent: list[str] = []
        self.answers: list[Answer] = []
        self._wire = wire
        self._pausing = False
        self._paused = asyncio.Event()

    async def run(self) -> None:
        while not self._pausing:
            ids = [f"q{len(self.sent) + number}" for number in range(8)]
            self.sent += ids
            await self._wire.send(*(request(TARGET, id) for id in ids))
            self.answers += await self._wire.answered(*ids)
        self._paused.set()

    async def pause(self) -> None:
        """Ask no more, and wait for what was asked."""
        self._pausing = True
        await self._paused.wait()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until what came makes `condition` true."""
        await self._wire.until(condition)

    async def until_allowed(self) -> None:
        """Wait until the newest answers are those of the device."""
        await self.until(lambda: kinds(self.answers[-50:]) == {DONE: 50})


@contextlib.asynccontextmanager
async def streaming(wire: Wire) -> AsyncIterator[Streaming]:
    stream = Streaming(wire)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(stream.run())
        try:
            yield stream
        finally:
            task.cancel()


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
        return "remove", await changed(sandbox, "deny", ACS2, "--to", LOCAL)
    rules = await asyncio.to_thread(sandbox.json, "jid", "list")
    await changed(sandbox, "remove", next(str(rule["id"]) for rule in rules if rule["requester"] == ACS2))
    return "allow", ACS2, "--to", LOCAL


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
        delivered = [id for id, answer in zip(stream.sent, stream.answers, strict=True) if condition(answer) == DONE]
        assert kinds(stream.answers).keys() == {DONE, FORBIDDEN}
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
                assert condition(await acs2.ask(request(TARGET, resource))) == DONE
                assert cpe.requests[-1].sender == f"{ACS2}/{resource}"
            questions.append(asked(policy, "allow"))
    assert len(set(questions)) == 1
