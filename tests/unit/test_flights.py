"""Turns at a device: sharing, queueing, bounds, deadlines."""

from __future__ import annotations

from collections.abc import AsyncIterator
from xml.etree.ElementTree import Element

import pytest

from component.base import ns
from component.base.connreq import PAYLOAD, Credentials
from component.base.jid import prepare
from component.base.link import Link
from component.gate import flights as flights_module
from component.gate.flights import Flights
from component.gate.outcome import Outcome
from tests.unit.fakeserver import FakeServer, running
from tests.unit.test_link import attach, reached

TARGET = prepare("cpe1@cpe.test/tr069")
GATE = "gate@gate.test/gate"
ALICE, BOB = Credentials("alice", "a"), Credentials("bob", "b")


class Scene:
    """A gate's turns at the devices behind a fake server."""

    def __init__(self, server: FakeServer, link: Link) -> None:
        self.server = server
        self.flights = Flights(link, GATE)
        self.outcomes: list[tuple[str, Outcome]] = []

    def ask(self, name: str, credentials: Credentials, timeout: float = 60, device: str = "d1") -> bool:
        return self.flights.join(
            device, TARGET, credentials, timeout, lambda outcome, _detail: self.outcomes.append((name, outcome))
        )

    async def asked(self) -> tuple[Element, str]:
        """The next request that reaches the device, and whose it is."""
        request = await self.server.received.get()
        payload = request.find(PAYLOAD)
        assert payload is not None
        return request, payload[0].text or ""

    def accept(self, request: Element) -> None:
        self.server.send(f"<iq type='result' id='{request.get('id')}' from='{request.get('to')}'/>")

    async def told(self, count: int) -> list[tuple[str, Outcome]]:
        await reached(lambda: len(self.outcomes) >= count)
        return self.outcomes


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with running(FakeServer()) as (server, tasks):
        link = attach(server, tasks)
        await link.attached.wait()
        yield Scene(server, link)


async def test_equal_requests_share_one_outcome(scene: Scene) -> None:
    for number in range(5):
        assert scene.ask(str(number), ALICE)
    request, whose = await scene.asked()
    assert whose == "alice"
    assert scene.flights.shared == 4
    scene.accept(request)
    assert await scene.told(5) == [(str(number), Outcome.ACCEPTED) for number in range(5)]
    assert scene.server.received.empty()
    assert len(scene.flights) == 0


async def test_different_credentials_wait_their_turn(scene: Scene) -> None:
    assert scene.ask("first", ALICE)
    assert scene.ask("second", BOB)
    assert scene.ask("third", BOB)  # shares the queued one
    assert scene.ask("fourth", ALICE)  # shares the outstanding one
    request, whose = await scene.asked()
    assert whose == "alice"
    assert scene.server.received.empty()
    scene.server.send(
        f"<iq type='error' id='{request.get('id')}' from='{request.get('to')}'><error type='cancel' code='503'>"
        f"<service-unavailable xmlns='{ns.STANZAS}'/></error></iq>"
    )
    request, whose = await scene.asked()
    assert whose == "bob"
    assert scene.outcomes == [("first", Outcome.REFUSED), ("fourth", Outcome.REFUSED)]
    scene.accept(request)
    assert (await scene.told(4))[2:] == [("second", Outcome.ACCEPTED), ("third", Outcome.ACCEPTED)]


async def test_devices_do_not_wait_for_each_other(scene: Scene) -> None:
    scene.ask("one", ALICE, device="d1")
    scene.ask("two", ALICE, device="d2")
    first, _ = await scene.asked()
    second, _ = await scene.asked()
    scene.accept(second)
    scene.accept(first)
    assert [name for name, _ in await scene.told(2)] == ["two", "one"]


async def test_the_queue_and_the_sharing_are_bounded(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flights_module, "QUEUE_LIMIT", 2)
    monkeypatch.setattr(flights_module, "SHARE_LIMIT", 3)
    assert [scene.ask("a", ALICE) for _ in range(4)] == [True, True, True, False]
    others = [Credentials(str(number), "p") for number in range(3)]
    assert [scene.ask(f"q{number}", other) for number, other in enumerate(others)] == [True, True, False]


async def test_who_waits_too_long_is_told_and_does_not_disturb_the_device(scene: Scene) -> None:
    scene.ask("first", ALICE)
    request, _ = await scene.asked()
    scene.ask("impatient", BOB, timeout=0.01)
    scene.ask("patient", Credentials("carol", "c"))
    assert await scene.told(1) == [("impatient", Outcome.TIMEOUT)]
    scene.accept(request)
    request, whose = await scene.asked()
    assert whose == "carol"
    scene.accept(request)
    assert len(await scene.told(3)) == 3


async def test_a_silent_device_ends_in_a_timeout_and_the_next_has_its_turn(scene: Scene) -> None:
    scene.ask("first", ALICE, timeout=0.05)
    scene.ask("second", BOB, timeout=60)
    await scene.asked()
    request, whose = await scene.asked()
    assert (whose, scene.outcomes) == ("bob", [("first", Outcome.TIMEOUT)])
    scene.accept(request)
    assert (await scene.told(2))[1] == ("second", Outcome.ACCEPTED)
