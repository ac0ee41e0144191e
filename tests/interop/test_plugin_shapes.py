"""The in-server plugins against every shape of a payload, from everybody who can reach a device, on both servers.

The real gate decides. The device is a `Recorder`: what it got is compared byte by byte, so "it never sees anything
but the normal form" is said of the wire. Every requester sends all shapes in one piece; what follows in the order of
the pair says when all of them are settled, so nothing here waits for time to pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from component.base.jid import prepare
from tests.interop.cast import CPE1, FORBIDDEN, OFFLINE, TARGET, outcome
from tests.interop.conftest import Sandbox
from tests.interop.plugin import Policy, Wire, addressed, raw, recorder, request
from tests.interop.remote import REMOTE, sender
from tests.interop.shapes import SHAPES, Outcome, Shape

ALLOWED = {
    "acs1": "",  # a user of another host of the server
    "acs3": "",
    "cpe3": "",  # another device, a user of the device's own host
    "component": "acs@spare1.test/<&>\"' \u00e9",
    "remote": f"acs@{REMOTE}/r",
}
DENIED = {
    "rogue": "",
    "cpe2": "",
    "cpe1": "",  # the device's own account
    "component": "rogue@spare1.test/r",
    "domain": "spare1.test",
    "remote": f"rogue@{REMOTE}/r",
}
"""Who sends, by account or kind, and the address that those write who must write one themselves."""


@pytest.fixture(scope="module", autouse=True)
def rules(sandbox: Sandbox) -> Iterator[None]:
    requesters = ("acs3@acs.test", "cpe3@cpe.test", "acs@spare1.test", f"acs@{REMOTE}")
    with Policy(sandbox).holding(*(("allow", requester, CPE1) for requester in requesters)):
        yield


def acceptable(shape: Shape, name: str, *, allowed: bool) -> set[Outcome]:
    """What `name` may hear of a shape; None is nothing."""
    found = set(shape.fate.value) if allowed else {None if told is None else FORBIDDEN for told in shape.fate.value}
    by_server = {OFFLINE, shape.own} if allowed else {shape.own}
    if shape.own:
        found.add(shape.own)
    if name.startswith("cpe") and found & by_server:
        found.add(None)  # ejabberd's own errors echo the payload, so they do not reach a guarded host
    return found


async def sent_and_settled(wire: Wire, address: str, name: str, acs1: Wire, *, allowed: bool) -> None:
    """Send all shapes and wait until all are decided and, if allowed, delivered; each has an acceptable answer."""
    last = request(TARGET, f"{name}.last")
    await wire.send(*(shape.written(name, address) for shape in SHAPES))
    await wire.ask(addressed(last, address) if address else last)
    await acs1.ask(request(TARGET, f"{name}.marker"))
    hoped_for = {shape: acceptable(shape, name, allowed=allowed) for shape in SHAPES}
    await wire.answered(*(f"{name}.{shape.name}" for shape, outcomes in hoped_for.items() if None not in outcomes))
    wrong: dict[str, object] = {}
    for shape, outcomes in hoped_for.items():
        answers = wire.answers.get(f"{name}.{shape.name}", [])
        told: Outcome = outcome(answers[0]) if answers else None
        places = {prepare(answer.sender) for answer in answers} - {prepare(shape.to)}
        echoed = any(answer.payload_echoed for answer in answers) and told not in (OFFLINE, shape.own)
        if told not in outcomes or places or echoed or len(answers) > 1:
            wrong[shape.name] = answers
    assert wrong == {}


@pytest.mark.parametrize("name", ALLOWED)
async def test_an_allowed_requester_is_heard_in_normal_form_or_not_at_all(
    sandbox: Sandbox, tmp_path: Path, name: str
) -> None:
    address = ALLOWED[name]
    async with recorder(sandbox, 1) as cpe, raw(sandbox, "acs1") as acs1, sender(sandbox, name, tmp_path) as wire:
        await sent_and_settled(wire, address, name, acs1, allowed=True)
        passed = [shape for shape in SHAPES if f"{name}.{shape.name}" in accepted(wire)]
        *requests, last, marker = cpe.requests
        assert {(asked.sender, asked.to) for asked in requests} == {(address or wire.jid, TARGET)}
        assert [asked[2:] for asked in requests] == [(f"{name}.{shape.name}", *shape.seen) for shape in passed]
        assert (last.id, marker.id) == (f"{name}.last", f"{name}.marker")
        assert cpe.others == []


def accepted(wire: Wire) -> set[str]:
    """The ids of what the device says it got."""
    return {id for id, answers in wire.answers.items() if answers and answers[0].type == "result"}


@pytest.mark.parametrize("name", DENIED)
async def test_nothing_of_a_stranger_reaches_a_device(sandbox: Sandbox, tmp_path: Path, name: str) -> None:
    async with recorder(sandbox, 1) as cpe, raw(sandbox, "acs1") as acs1, sender(sandbox, name, tmp_path) as wire:
        await sent_and_settled(wire, DENIED[name], name, acs1, allowed=False)
        assert [asked.id for asked in cpe.requests] == [f"{name}.marker"]
        assert cpe.payloads() == []
        assert cpe.others == [] or name == "cpe1"  # its other session sees what its server answers the account
