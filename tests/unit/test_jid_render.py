"""The list for the device itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from component.base.errors import InputError, NotFound
from component.gate.render import render
from component.gate.rules import Effect

from .gatekit import Kit, csv_of, opened

GATE = "gate@cr.cpe.test/gate"


@pytest.fixture
async def kit(tmp_path: Path) -> AsyncIterator[Kit]:
    async with opened(tmp_path) as kit:
        await kit.import_text(csv_of([("D0", "cpe0@cpe.test/r", "lab"), ("D1", "cpe1@cpe.test/r", "")]))
        yield kit


async def _allow(kit: Kit, requester: str, target: str = "D0", expires: float | None = None) -> None:
    await kit.policy.add_rule("unix:test", Effect.ALLOW, requester, target, expires=expires)


async def test_the_gate_comes_first_and_requesters_follow_when_they_ask_directly(kit: Kit) -> None:
    await _allow(kit, "b@acs.test")
    await _allow(kit, "a@acs.test/x", "group:lab")
    await _allow(kit, "b@acs.test/covered")
    await _allow(kit, "elsewhere@acs.test", "D1")
    assert render(kit.policy, "D0", "cr.cpe.test") == [GATE]
    assert render(kit.policy, "cpe0@cpe.test", GATE, "gate") == [GATE]
    for via in ("both", "direct"):
        assert render(kit.policy, "D0", GATE, via) == [GATE, "a@acs.test/x", "b@acs.test"]


async def test_what_a_list_cannot_say_is_named(kit: Kit) -> None:
    await _allow(kit, "a@acs.test")
    await kit.policy.add_rule("unix:test", Effect.DENY, "b@acs.test", "group:lab")
    await _allow(kit, "c@acs.test", "all")
    await _allow(kit, "d@acs.test", "D0", expires=kit.clock.now + 60)
    await kit.policy.suspend("unix:test", "a@acs.test")
    await kit.policy.suspend("unix:test", "stranger@acs.test")
    with pytest.raises(InputError) as caught:
        render(kit.policy, "D0", GATE, "both")
    assert [detail.partition(":")[0] for detail in caught.value.details] == [
        "rule 2",
        "rule 3",
        "rule 4",
        "suspension 1",
    ]
    assert render(kit.policy, "D0", GATE) == [GATE]


@pytest.mark.parametrize(
    ("requesters", "message"),
    [
        ([f"acs{number}@acs.test" for number in range(32)], "33 entries"),
        (["a@acs.test/" + "x" * 300], "entries that a device cannot hold"),
        (["a@acs.test/x,y"], "entries that a device cannot hold"),
        ([], "No requester may wake D0"),
    ],
)
async def test_lists_that_no_device_could_hold(kit: Kit, requesters: list[str], message: str) -> None:
    for requester in requesters:
        await _allow(kit, requester)
    with pytest.raises(InputError, match=message):
        render(kit.policy, "D0", GATE, "direct")


async def test_31_requesters_fit(kit: Kit) -> None:
    for number in range(31):
        await _allow(kit, f"acs{number}@acs.test")
    assert len(render(kit.policy, "D0", GATE, "both")) == 32


async def test_unknown_devices_and_ways(kit: Kit) -> None:
    with pytest.raises(NotFound, match="no entry"):
        render(kit.policy, "nothing", GATE)
    with pytest.raises(InputError, match="no way"):
        render(kit.policy, "D0", GATE, "pigeon")
