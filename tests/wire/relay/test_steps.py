"""The machines do what their tables say, in every state and for every input, and nothing else."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from component.relay import ns
from component.relay.counters import RefusalKind
from component.relay.wire.elements import input_of
from component.relay.wire.states import PEER, VIOLATIONS, Input, State, violation
from tests.wire.relay.play import Play
from tests.wire.relay.scenes import (
    BIDI,
    END,
    MACHINES,
    PAIR,
    PROCEED,
    RESTING,
    STARTTLS,
    SUCCESS,
    auth,
    features,
    header,
    message,
    result,
    sasl_failure,
    stream_error,
    stream_in,
)

SAID = {
    Input.HEADER: "<stream:stream/>",
    Input.FEATURES: features(),
    Input.STARTTLS: STARTTLS,
    Input.PROCEED: PROCEED,
    Input.TLS_FAILURE: f"<failure xmlns='{ns.TLS}'/>",
    Input.BIDI: BIDI,
    Input.AUTH: auth(),
    Input.SUCCESS: SUCCESS,
    Input.FAILURE: sasl_failure("not-authorized"),
    Input.DIALBACK: result(),
    Input.ACKNOWLEDGEMENT: f"<r xmlns='{ns.SM}'/>",
    Input.STANZA: message(),
    Input.UNKNOWN: "<query xmlns='urn:example:unknown'/>",
}
"""How a peer gives an input behind a header."""

WAITING = (State.HEADER, State.TLS_HEADER, State.SASL_HEADER)
"""Whatever comes is taken for a header."""

MUTE = (State.TLS, State.CLOSING)
"""States in which we cannot say anything any more, or not yet."""

EVERY_STATE = pytest.mark.parametrize(
    ("role", "state"), RESTING, ids=lambda value: str(getattr(value, "name", value))
)
LIVE = [(role, state) for role, state in RESTING if state is not State.CLOSED]
EVERY_LIVE_STATE = pytest.mark.parametrize(
    ("role", "state"), LIVE, ids=lambda value: str(getattr(value, "name", value))
)


def failed(play: Play, state: State, condition: str) -> None:
    """The stream has ended with this error, as far as something could be said in this state."""
    if state is State.CLOSING:
        play.says_nothing().gone()
    elif state in MUTE:
        play.fails_in_silence(condition)
    else:
        play.fails(condition)


def closing(play: Play, state: State) -> Play:
    """What was still asked when the stream ended has come to nothing."""
    return play.refuses(PAIR, RefusalKind.TIMEOUT, by_us=False) if state is State.DIALBACK else play


def test_a_peer_can_give_every_input_that_is_its_own() -> None:
    assert set(SAID) == PEER
    root = f"<stream xmlns:stream='{ns.STREAM}' xmlns:db='{ns.DIALBACK}' xmlns='{ns.SERVER}'>%s</stream>"
    for happened, said in SAID.items():
        assert input_of(ET.fromstring(root % said)[0].tag) is happened
    assert set(VIOLATIONS) <= PEER


@EVERY_LIVE_STATE
@pytest.mark.parametrize("happened", Input, ids=lambda value: value.name)
def test_what_has_no_step_ends_the_stream_with_the_declared_error(role: str, state: State, happened: Input) -> None:
    play = stream_in(role, state)
    if (state, happened) in MACHINES[role]:
        assert play.machine.step(happened)
        assert play.machine.state is MACHINES[role][state, happened]
        return
    assert not play.machine.step(happened)
    play.take(play.machine.tick(play.now))
    failed(play, state, violation(happened))


@EVERY_LIVE_STATE
@pytest.mark.parametrize("happened", SAID, ids=lambda value: value.name)
def test_what_a_peer_says_out_of_turn_ends_the_stream_with_the_declared_error(
    role: str, state: State, happened: Input
) -> None:
    play = stream_in(role, state)
    if state in WAITING:
        root = SAID[happened].replace("<stream:stream/>", "<stream:features/>")
        root = root.replace("<stream:", f"<stream:x xmlns:stream='{ns.STREAM}'><stream:", 1)
        root = root.replace("<db:", f"<db:x xmlns:db='{ns.DIALBACK}'><db:", 1)
        failed(play.hears(root), state, "bad-format" if "<stream:x" in root else "invalid-namespace")
        return
    if state is State.TLS:
        failed(play.hears(header() + SAID[happened]), state, violation(Input.HEADER))
        return
    play.hears(SAID[happened])
    if (state, happened) not in MACHINES[role]:
        failed(play, state, violation(happened))
    elif state is State.CLOSING:
        if happened is Input.STANZA:
            play.receives("hello") if role == "incoming" else play.notices("stanza-after-end")
        elif happened is Input.ACKNOWLEDGEMENT:
            play.notices("stream-management")
        play.nothing_more()
        assert play.machine.state is State.CLOSING


@EVERY_STATE
def test_after_the_end_a_machine_is_silent(role: str, state: State) -> None:
    play = stream_in(role, state)
    while play.machine.state is not State.CLOSED:
        play.loses()
    play = Play(play.machine, now=1000.0)
    for said in (header(), message(), result(), stream_error("reset"), END, " ", "&", "<"):
        play.hears(said).nothing_more()
    play.closes().closes("reset").loses().at(10_000.0).nothing_more()


@EVERY_LIVE_STATE
def test_a_connection_that_is_lost_ends_the_stream_once(role: str, state: State) -> None:
    play = closing(stream_in(role, state).loses(), state)
    (play if state is State.CLOSING else play.ended(by_us=False)).gone(closed=False)
    play.loses().nothing_more()


@EVERY_LIVE_STATE
@pytest.mark.parametrize("condition", ["", "system-shutdown"])
def test_we_can_end_a_stream_in_every_state(role: str, state: State, condition: str) -> None:
    play = stream_in(role, state).closes(condition)
    unsaid = role == "incoming" and state in WAITING
    if condition:
        failed(play, state, condition)
    elif state is State.CLOSING:
        play.nothing_more()
    elif state is State.TLS or unsaid:
        play.fails_in_silence("")
    else:
        closing(play.says(END), state).ended(by_us=True).nothing_more()
        assert play.machine.state is State.CLOSING
        play.hears(header() + END if state in WAITING else END).gone()


@EVERY_LIVE_STATE
def test_a_peer_can_end_a_stream_in_every_state(role: str, state: State) -> None:
    play = stream_in(role, state)
    if state is State.TLS:
        return  # what comes is TLS, and not for the machine
    play.hears(header(id="x") + END if state in WAITING else END)
    if state is State.CLOSING:
        play.gone()
        return
    said = play.said()
    assert said.endswith(END) and said.count(END) == 1
    if role == "incoming" and state is State.SASL_HEADER:
        play = Play(play.machine)  # it was open for a moment
    else:
        closing(play, state).ended(by_us=False).gone()
    assert play.machine.over


@EVERY_LIVE_STATE
def test_a_stream_error_ends_the_stream_in_every_state(role: str, state: State) -> None:
    play = stream_in(role, state)
    if state is State.TLS:
        return
    end = stream_error("system-shutdown", "Good bye.")
    play.hears(header(id="x") + end if state in WAITING else end)
    if state is State.CLOSING:
        play.gone()
        return
    said = play.said()
    assert said.endswith(END) and said.count(END) == 1 and "stream:error" not in said
    if not (role == "incoming" and state is State.SASL_HEADER):
        closing(play, state).ended("system-shutdown", by_us=False).gone()
    assert play.machine.over
