"""The in-server plugins against what does not come one at a time, what looks alike, and what ends up in a file.

A component that comes, goes and contradicts itself; a reload under fire; every kind of change of the policy.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.interop.cast import ACS2, CPE2, FORBIDDEN, GATE, HOST, PASSED, ROGUE, TARGET, TARGET2, outcome
from tests.interop.clients import CONNECTION_REQUEST, payload_xml
from tests.interop.conftest import Sandbox
from tests.interop.plugin import Policy, Recorder, Wire, raw, recorder, request
from tests.interop.puppet import Check, Puppet, allowed, decision, denied, puppet, until
from tests.interop.shells import reconfigured, reload_plugin

STREAMS, ROUNDS, BURST = 4, 12, 20


@pytest.mark.parametrize("seed", [1, 2])
async def test_each_request_has_one_fate_whatever_the_component_does(server: Sandbox, seed: int) -> None:
    """It answers at random, late by an epoch, about one resource or all, flushes in between, and leaves every now and
    then. A request is answered once, it reaches the device once if its sender hears so, and otherwise never."""
    chance = random.Random(seed)  # the same every time
    async with contextlib.AsyncExitStack() as stack:
        devices = [await stack.enter_async_context(recorder(server, number)) for number in (1, 2)]
        wires = [await stack.enter_async_context(raw(server, "acs1", f"r{number}")) for number in range(STREAMS)]
        sent: dict[str, Wire] = {}
        for turn in range(ROUNDS):
            async with puppet(server) as gate:
                epochs = itertools.count(1)
                await _confused(gate, chance, next(epochs))
                for wire in wires:
                    ids = [f"{turn:02}.{number:02}.{wire.jid[-1]}" for number in range(BURST)]
                    sent |= dict.fromkeys(ids, wire)
                    await wire.send(*(request(chance.choice((TARGET, TARGET2)), id) for id in ids))
                await until(lambda gate=gate: gate.checks)  # type: ignore[misc]
                await gate.flush(
                    next(epochs), **chance.choice(({}, {"device": CPE2}, {"requester": "acs1@acs.test"}))
                )
        for wire in wires:
            await wire.answered(*(id for id, of in sent.items() if of is wire))
        assert [device.others for device in devices] == [[], []]
        arrived = devices[0].counted() + devices[1].counted()
        for id, wire in sent.items():
            assert [outcome(answer) == PASSED for answer in wire.answers[id]] == [bool(arrived[id])], id
        assert set(arrived.values()) == {1}
        for order in (*devices[0].order().values(), *devices[1].order().values()):
            assert order == sorted(order)
        async with puppet(server) as gate:
            status = await gate.status()
            assert (status["held"], status["checks"], status.refused["crashed"]) == (0, 0, 0)


async def _confused(gate: Puppet, chance: random.Random, epoch: int) -> None:
    def decide(check: Check) -> str:
        if chance.random() < 0.1:
            return ""
        effect, scope = chance.choice(("allow", "allow", "deny")), chance.choice(("bare", "full"))
        return decision(
            check, effect, scope=scope, ttl=chance.choice((0, 0.01, 300)), epoch=epoch - chance.choice((0, 1))
        )

    gate.decide = decide


async def test_a_reload_under_fire_lets_nothing_through(server: Sandbox) -> None:
    """The plugin is loaded anew on Prosody, the configuration of its host on ejabberd."""

    def reload() -> None:
        if server.kind == "prosody":
            reload_plugin(server, HOST)
        else:
            with reconfigured(server, ("cache_size: 100000", "cache_size: 99999")):
                pass

    async with puppet(server) as gate, recorder(server, 1) as cpe, raw(server, "acs1") as acs1:
        gate.decide = lambda check: (denied if check.requester.startswith(ROGUE) else allowed)(check)
        async with raw(server, "rogue") as rogue, asyncio.TaskGroup() as group:
            reloading = group.create_task(asyncio.to_thread(reload))
            good: list[str] = []
            bad: list[str] = []
            while not reloading.done():
                good.append(f"good{len(good)}")
                bad += [f"bad{len(bad) + number}" for number in range(50)]
                await rogue.send(*(request(TARGET, id) for id in bad[-50:]))
                await acs1.ask(request(TARGET, good[-1]))
                await rogue.answered(bad[-1])
        assert PASSED not in {outcome(answer[0]) for answer in rogue.answers.values()}
        passed = [id for id in good if outcome(acs1.answers[id][0]) == PASSED]
        assert [seen.id for seen in cpe.requests] == passed
        assert outcome(await acs1.ask(request(TARGET, "afterwards"))) == PASSED
        assert cpe.others == []


class Changes:
    """The admin API, and two resources of acs2 that ask device 4 after every change."""

    def __init__(self, sandbox: Sandbox, console: Wire, other: Wire) -> None:
        self._transport = httpx.AsyncHTTPTransport(uds=str(sandbox.folder / "admin.sock"))
        self._wires = console, other
        self._ids = itertools.count()

    async def make(self, method: str, path: str, **body: object) -> list[bool]:
        """Make a change; who passes now."""
        async with httpx.AsyncClient(transport=self._transport, base_url="http://stanzagate/v1") as http:
            response = await http.request(method, path, json=body or None)
            assert response.is_success, response.text
        ids = [f"change{next(self._ids)}" for _ in self._wires]
        answers = [
            await wire.ask(request(f"cpe4@{HOST}/tr069", id)) for wire, id in zip(self._wires, ids, strict=True)
        ]
        assert {outcome(answer) for answer in answers} <= {PASSED, FORBIDDEN}
        return [outcome(answer) == PASSED for answer in answers]


async def test_every_kind_of_change_is_in_force_when_it_returns(sandbox: Sandbox) -> None:
    """Whatever was cached before: about one resource or all, by the device's group or by its address."""
    device, one = "/devices/00256D-0004", f"{ACS2}/console"
    async with (
        recorder(sandbox, 4),
        raw(sandbox, "acs2", "console") as console,
        raw(sandbox, "acs2", "other") as other,
    ):
        changes = Changes(sandbox, console, other)
        with Policy(sandbox).holding(("allow", ACS2, "group:changing")):
            assert await changes.make("PATCH", device, groups=["lab"]) == [False, False]
            assert await changes.make("PATCH", device, groups=["lab", "changing"]) == [True, True]
            assert await changes.make("POST", "/suspensions", requester=one) == [False, True]
            assert await changes.make("POST", "/suspensions", requester=ACS2) == [False, False]
            assert await changes.make("DELETE", f"/suspensions/{quote(ACS2, safe='')}") == [False, True]
            assert await changes.make("DELETE", f"/suspensions/{quote(one, safe='')}") == [True, True]
            assert await changes.make("PATCH", device, jid=f"cpe99@{HOST}/tr069") == [False, False]
            assert await changes.make("PATCH", device, jid=f"cpe4@{HOST}/tr069") == [True, True]
            assert await changes.make("PATCH", device, groups=["lab"]) == [False, False]


SPELT = ("CPE1@cpe.test/tr069", "cpe1@CPE.test/tr069", "\uff43pe1@cpe.test/tr069", "cp\u00ade1@cpe.test/tr06\uff19")


async def test_a_device_is_known_however_its_name_is_written(sandbox: Sandbox) -> None:
    async with recorder(sandbox, 1) as cpe, raw(sandbox, "acs1") as acs1, raw(sandbox, "rogue") as rogue:
        for number, spelt in enumerate(SPELT):
            assert outcome(await rogue.ask(request(spelt, f"rogue{number}"))) == FORBIDDEN
            assert outcome(await acs1.ask(request(spelt, f"acs{number}"))) == PASSED
        assert [(seen.id, seen.to) for seen in cpe.requests] == [
            (f"acs{number}", TARGET) for number in range(len(SPELT))
        ]
        assert cpe.others == []


SECRET = "MARKEDcredential"
PAYLOAD = payload_xml(SECRET, SECRET)
REVEALING = (
    *(
        f"<iq type='{kind}' id='{kind}' to='{TARGET}'>{PAYLOAD}</iq>"
        for kind in ("get", "set", "result", "error", "odd")
    ),
    f"<iq type='get' id='deep' to='{TARGET}'>{'<x>' * 60}{PAYLOAD}{'</x>' * 60}</iq>",
    f"<message id='message' to='{TARGET}'><body>{SECRET}</body>{PAYLOAD}</message>",
    f"<presence id='presence' to='{TARGET}'>{PAYLOAD * 2}</presence>",
    f"<iq type='get' id='long' to='{TARGET}'>{payload_xml(SECRET * 40, SECRET)}</iq>",
    f"<iq type='get' id='odd' to='{TARGET}'><connectionRequest xmlns='{CONNECTION_REQUEST}' a='{SECRET}'>{SECRET}"
    "</connectionRequest></iq>",
    f"<iq type='get' to='{TARGET}'>{PAYLOAD}</iq>",
    f"<iq type='get' id='nobody' to='nobody@{HOST}/x'>{PAYLOAD}</iq>",
    f"<iq type='get' id='host' to='{HOST}'>{PAYLOAD}</iq>",
    f"<iq type='result' id='stanzagate-1' to='{HOST}'>{PAYLOAD}</iq>",
    f"<iq type='get' id='gateway' to='cpe1\\40cpe.test@{GATE}'>{PAYLOAD}</iq>",
    f"<message id='to-gateway' to='cpe1\\40cpe.test@{GATE}'>{PAYLOAD}</message>",
    f"<iq type='set' id='gate' to='{GATE}'>{PAYLOAD}</iq>",
)


async def test_credentials_are_written_to_no_file(sandbox: Sandbox) -> None:
    async with recorder(sandbox, 1) as cpe:
        for name in ("acs1", "rogue"):
            async with raw(sandbox, name) as wire:
                await wire.send(*REVEALING)
                await wire.ask(request(TARGET, "last"))
        assert {seen.password for seen in cpe.requests} == {SECRET, "p", *_of_gate(cpe)}
    assert [file for file in _files(sandbox.folder) if SECRET.encode() in file.read_bytes()] == []


def _of_gate(cpe: Recorder) -> set[str]:
    return {seen.password for seen in cpe.requests if seen.sender.endswith(f"@{GATE}/gate")}


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
