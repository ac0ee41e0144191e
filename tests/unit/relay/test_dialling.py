"""Opening connections: every target is tried, every failure has its reason, every question about a key its answer."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import AsyncIterator
from typing import cast

import pytest

from component.relay import dialling as module
from component.relay.counters import RefusalKind, Role
from component.relay.lanes import DialFailed
from component.relay.net.resolve import NoService, ResolutionFailed, Target
from component.relay.peers import Peer
from component.relay.wire.events import KeyVerified, Outcome, Output, PairRefused, ReadyToAsk, VerifyKey
from component.relay.wire.policy import PartnerPolicy
from component.relay.wire.s2s_out import Purpose
from tests.unit.relay.borderkit import turn
from tests.unit.relay.hubkit import PAIR, POLICY, Line, Machine, Scene

FIRST, SECOND = Target("192.0.2.7", 5269), Target("192.0.2.8", 5270, direct_tls=True)
QUESTION = VerifyKey(PAIR, "s1", "c0ffee")


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    yield made
    await made.spawn.end()


async def dialled(scene: Scene) -> Peer:
    return await scene.relay.dialler.dial(PAIR, POLICY)


async def failure(scene: Scene) -> DialFailed:
    with pytest.raises(DialFailed) as caught:
        await dialled(scene)
    return caught.value


def accepts(machine: Machine) -> list[Output]:
    return [machine.authorizes(PAIR)]


def refuses(kind: RefusalKind) -> PairRefused:
    return PairRefused(PAIR, kind, "That is not partner.test.", by_us=True)


# For stanzas


async def test_every_target_is_tried_until_one_accepts(scene: Scene) -> None:
    scene.targets = [FIRST, SECOND]
    scene.opens += [OSError(errno.ECONNREFUSED, "Connect call failed ('192.0.2.7', 5269)"), (Machine(), accepts)]
    found = await dialled(scene)
    assert found.connection.address == "192.0.2.8:5270"
    assert [target for target, _, _ in scene.opened] == [FIRST, SECOND]
    assert {purpose for _, _, purpose in scene.opened} == {Purpose.STANZAS}


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ECONNREFUSED, "Connect call failed"), "Connection refused"),
        (TimeoutError(), "no answer in time"),
        (ConnectionResetError("the connection was closed at once"), "the connection was closed at once"),
    ],
)
async def test_who_cannot_be_reached_is_named_with_the_reason(scene: Scene, error: OSError, words: str) -> None:
    scene.opens.append(error)
    failed = await failure(scene)
    assert failed.reason == f"partner.test cannot be reached at 192.0.2.7:5269: {words}."
    assert (failed.kind, failed.permanent) == (RefusalKind.UNREACHABLE, False)


@pytest.mark.parametrize(
    ("kind", "permanent"), [(RefusalKind.CERTIFICATE, True), (RefusalKind.BIDI, True), (RefusalKind.DIALBACK, False)]
)
async def test_a_refusal_says_why_and_where(scene: Scene, kind: RefusalKind, permanent: bool) -> None:
    scene.opens.append((Machine(), lambda machine: [refuses(kind), *machine.ends("not-authorized")]))
    failed = await failure(scene)
    assert failed.reason == "That is not partner.test. (at 192.0.2.7:5269)"
    assert (failed.kind, failed.permanent) == (kind, permanent)
    assert failed.error.condition == "remote-server-not-found"


async def test_a_stream_that_ends_without_a_word_is_tried_again_later(scene: Scene) -> None:
    scene.opens.append((Machine(), lambda machine: machine.ends("", "It was\nclosed.")))
    failed = await failure(scene)
    assert failed.reason.endswith("ended before anything was authorized: It was closed.")
    assert (failed.kind, failed.permanent) == (RefusalKind.PROTOCOL, False)


@pytest.mark.parametrize(
    ("targets", "permanent"),
    [(NoService("None."), True), (ResolutionFailed("Not now."), False), (ValueError("a defect"), False), ([], True)],
)
async def test_what_dns_says_can_be_anything(
    scene: Scene, targets: Exception | list[Target], permanent: bool, caplog: pytest.LogCaptureFixture
) -> None:
    scene.targets = targets
    failed = await failure(scene)
    assert (failed.kind, failed.permanent) == (RefusalKind.RESOLUTION, permanent)
    assert ("defect" in caplog.text) is isinstance(targets, ValueError)


# For keys


class Asking:
    """A stream on which a key has come, and the answer that it gets."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.line = scene.connects()

    @property
    def asker(self) -> Peer:
        return self.scene.peer(self.line)

    def asks(self, policy: PartnerPolicy = POLICY) -> None:
        self.scene.relay.dialler.ask_about(QUESTION, policy, self.asker)

    @property
    def learned(self) -> list[tuple[Outcome, str]]:
        return [(answer.outcome, answer.condition) for answer in cast(list[KeyVerified], self.line.machine.told)]


@pytest.fixture
async def asking(scene: Scene) -> Asking:
    return Asking(scene)


def ready(machine: Machine) -> list[Output]:
    return [ReadyToAsk()]


def other_line(scene: Scene, asking: Asking) -> Line:
    """The connection over which the key is asked about."""
    (one,) = [line for line in scene.relay.peers if cast(Line, line) is not asking.line]
    return cast(Line, one)


async def test_a_key_is_asked_about_on_a_connection_of_its_own(scene: Scene, asking: Asking) -> None:
    machine = Machine()
    machine.answers = [KeyVerified(PAIR, "s1", Outcome.VALID)]
    scene.opens.append((machine, ready))
    asking.asks()
    await turn()
    assert asking.learned == [(Outcome.VALID, "")]
    assert machine.told == [("verify", PAIR, "s1", "c0ffee"), ("close", "The key was asked about.")]
    assert scene.opened == [(FIRST, PAIR, Purpose.VERIFY)]


@pytest.mark.parametrize(
    ("targets", "opens", "condition"),
    [
        (NoService("None."), [], "remote-server-not-found"),
        ([FIRST], [TimeoutError()], "remote-connection-failed"),
    ],
)
async def test_who_cannot_be_asked_is_no_witness(
    scene: Scene,
    asking: Asking,
    targets: Exception | list[Target],
    opens: list[Exception],
    condition: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene.targets = targets
    scene.opens += opens
    asking.asks()
    await turn()
    assert asking.learned == [(Outcome.ERROR, condition)]
    assert "a key of partner.test could not be verified" in caplog.text


async def test_a_connection_that_ends_answers_the_question(scene: Scene, asking: Asking) -> None:
    scene.opens.append((Machine(), ready))
    asking.asks()
    await turn()
    assert asking.learned == []
    scene.relay.closed(cast(asyncio.Protocol, other_line(scene, asking)))  # type: ignore[arg-type]
    await turn()
    assert asking.learned == [(Outcome.ERROR, "remote-connection-failed")]


async def test_a_connection_that_ends_before_it_was_asked_answers_the_question(scene: Scene, asking: Asking) -> None:
    """There are some turns of the event loop between the features and the question; whoever is at the other end
    could use them to keep a call back for ever, and with enough of them, all of ours."""
    scene.opens.append((Machine(), lambda machine: []))
    asking.asks()
    await turn()
    line = other_line(scene, asking)
    line.do([ReadyToAsk()])
    scene.loses(line)
    await turn()
    assert asking.learned == [(Outcome.ERROR, "remote-connection-failed")]


async def test_nobody_is_asked_for_a_stream_that_has_ended(scene: Scene, asking: Asking) -> None:
    scene.relay.dialler.ask_about(QUESTION, POLICY, asking.asker)
    scene.loses(asking.line)
    await turn()
    assert (scene.opened, asking.learned) == ([], [])


async def test_questions_about_one_partner_keep_those_about_others_not_waiting(
    scene: Scene, asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CALL_BACKS", 2)
    for _ in range(5):
        asking.asks()  # and nobody answers
    await turn()
    assert len(scene.opened) == 2
    other = VerifyKey(PAIR._replace(remote="other.test"), "s2", "c0ffee")
    scene.relay.dialler.ask_about(other, PartnerPolicy("other.test"), asking.asker)
    await turn()
    assert len(scene.opened) == 3


async def test_an_answer_that_nobody_waits_for_is_passed_over(scene: Scene) -> None:
    line = scene.connects(role=Role.OUTGOING)
    line.do([KeyVerified(PAIR, "s1", Outcome.VALID)])
    assert line.written == []


async def test_keys_that_cannot_be_verified_fill_no_log(
    scene: Scene, asking: Asking, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    scene.targets = NoService("None.")
    for _ in range(30):
        asking.asks()
    await turn()
    assert len(caplog.records) == 10
