"""Both machines under random treatment: what a peer says, well, badly or as noise, in chunks of any size; time, ends,
and everything that their owner may call, at any moment.

What must hold whatever happens is checked after every step, by `Watch`. ``FUZZ_EXAMPLES=100000`` looks for longer.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from component.relay import ns
from component.relay.wire.events import (
    KeyVerified,
    Outcome,
    Output,
    SendBytes,
)
from component.relay.wire.pairs import Pair
from component.relay.wire.policy import Authentication, Bidi, Direction, PartnerPolicy
from component.relay.wire.s2s_in import IncomingStream
from component.relay.wire.s2s_out import OutgoingStream, Purpose
from component.relay.wire.states import State
from component.relay.wire.stream import S2SStream
from tests.wire.relay.fuzzwatch import DOMAINS, LIMITS, PAIRS, Watch
from tests.wire.relay.play import Certificate, federation, our_key
from tests.wire.relay.scenes import (
    BIDI,
    BIDI_FEATURE,
    CHAT,
    CPE,
    DIALBACK_FEATURE,
    END,
    EXTERNAL_FEATURE,
    OURS,
    PARTNER,
    PROCEED,
    SM_FEATURE,
    STARTTLS,
    STARTTLS_FEATURE,
    SUCCESS,
    auth,
    error,
    features,
    header,
    message,
    result,
    sasl_failure,
    stream_error,
    verify,
)

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "300"))
domains = st.sampled_from(DOMAINS)
pairs = st.sampled_from(PAIRS)
stream_ids = st.sampled_from(["id0", "id1", "id2", "id3", "x1", "x2", ""])
types = st.sampled_from(["", "", "valid", "valid", "invalid", "error", "VALID"])
senders = st.sampled_from([PARTNER, PARTNER, PARTNER, *DOMAINS, ""])
targets = st.sampled_from([OURS, OURS, OURS, *DOMAINS, ""])
headers = st.builds(header, senders, targets, id=st.sampled_from(["x1", "x2", ""]))
acks = ("r", "a", "enable", "enabled", "failed")
management = [f"<{name} xmlns='{ns.SM}' h='{h}'/>" for name in acks for h in "01x"]
offers = st.lists(
    st.sampled_from([STARTTLS_FEATURE, BIDI_FEATURE, EXTERNAL_FEATURE, DIALBACK_FEATURE, SM_FEATURE]), max_size=5
).map(lambda chosen: features(*chosen))
keys = st.one_of(st.just("k"), st.builds(our_key, domains, domains, stream_ids))
stanzas = st.builds(message, domains, domains)
elements = st.one_of(
    st.sampled_from([BIDI, STARTTLS, PROCEED, SUCCESS, END, auth(), auth(""), auth("a"), auth(mechanism="X")]),
    st.sampled_from([sasl_failure("not-authorized"), stream_error("reset"), f"<failure xmlns='{ns.TLS}'/>", " "]),
    st.sampled_from(management),
    headers,
    offers,
    stanzas,
    st.builds(result, domains, domains, keys, type=types),
    st.builds(verify, domains, domains, stream_ids, keys, type=types),
    st.builds(error, st.sampled_from(["result", "verify"]), domains, domains, st.just("item-not-found"), stream_ids),
)
easy = st.builds(
    PartnerPolicy, st.just(PARTNER), bidi=st.sampled_from([Bidi.PREFERRED, Bidi.OFF]),
    authentication=st.just(tuple(Authentication)), verify_certificate=st.just(False),
)  # fmt: skip
policies = easy | st.builds(
    PartnerPolicy,
    st.just(PARTNER),
    bidi=st.sampled_from(Bidi),
    authentication=st.sampled_from(
        [(Authentication.EXTERNAL,), (Authentication.DIALBACK,), tuple(Authentication), tuple(Authentication)[::-1]]
    ),
    direction=st.sampled_from(Direction),
    verify_certificate=st.booleans(),
)


class Fuzz(RuleBasedStateMachine):
    """One stream; which one, is drawn at the beginning."""

    machine: S2SStream
    watch: Watch

    @initialize(
        policy=policies,
        chat=policies,
        proven=st.one_of(st.sampled_from([{PARTNER}, {PARTNER}, {PARTNER, CHAT}, set()]), st.sets(domains)),
        role=st.sampled_from(["in", "in through", "in direct", "out", "out", "out direct", "ask"]),
        far=st.sampled_from([0, 2, 4, 6, 6, 6]),
        way=st.sampled_from([auth(""), BIDI + auth(""), result(), BIDI + result()]),
        wild=st.booleans(),
    )
    def begin(
        self, policy: PartnerPolicy, chat: PartnerPolicy, proven: set[str], role: str, far: int, way: str, wild: bool
    ) -> None:
        """Begin a stream, and let a good peer lead it on.

        :param wild: it will be ended, too, and fed with what can only end it.
        """
        self.way, self.wild = way, wild
        ours = federation(policy, replace(chat, domain=CHAT), domains=(OURS, CPE), limits=LIMITS)
        numbers = itertools.count()
        self.now = 0.0
        self.certificate = Certificate(*proven)
        direct = role.endswith("direct")

        def new_id() -> str:
            return f"id{next(numbers)}"

        if role.startswith("in"):
            self.machine = IncomingStream(ours, new_id, 0.0, pass_through=role == "in through", tls=direct)
        else:
            purpose = Purpose.VERIFY if role == "ask" else Purpose.STANZAS
            self.machine = OutgoingStream(ours, OURS, policy, new_id, 0.0, purpose=purpose, tls=direct)
        self.watch = Watch(self.machine)
        if isinstance(self.machine, OutgoingStream) and not direct:
            self.do(self.machine.open(0.0))
        for _ in range(far):
            self.go_on()

    def do(self, outputs: list[Output]) -> None:
        self.watch.take(outputs, set())

    def hear(self, data: bytes) -> None:
        allowed = set(self.machine.receives)
        self.watch.take(self.machine.receive(data, self.now), allowed)

    def go_on(self) -> None:
        """Say what a good peer would say next."""
        incoming = isinstance(self.machine, IncomingStream)
        match self.machine.state:
            case State.HEADER | State.TLS_HEADER | State.SASL_HEADER:
                self.hear((header() if incoming else header(PARTNER, OURS, id="x1")).encode())
            case State.PLAIN if incoming:
                self.hear(STARTTLS.encode())
            case State.PLAIN:
                self.hear(features(STARTTLS_FEATURE).encode())
            case State.PROCEED:
                self.hear(PROCEED.encode())
            case State.TLS:
                self.establish()
            case State.NEGOTIATING:
                self.hear(self.way.encode())
            case State.TLS_FEATURES:
                offered = [EXTERNAL_FEATURE] * ("auth" in self.way) + [BIDI_FEATURE] * ("bidi" in self.way)
                self.hear(features(*offered, DIALBACK_FEATURE).encode())
            case State.SASL:
                self.hear(SUCCESS.encode())
            case State.DIALBACK:
                self.hear(result(PARTNER, OURS, type="valid").encode())
            case State.SASL_FEATURES:
                self.hear(features(SM_FEATURE).encode())
            case State.OPEN if self.machine.receives:
                pair = min(self.machine.receives)
                self.hear(message(pair.remote, pair.local).encode())
            case _:
                pass

    def establish(self) -> None:
        self.watch.tls = True
        self.watch.by_certificate = set(self.certificate.domains)
        self.do(self.machine.tls_established(self.certificate, self.now))

    @rule()
    def a_good_peer(self) -> None:
        self.go_on()

    @rule(pair=pairs, kind=types, key=keys)
    def a_peer_that_asks_or_answers(self, pair: Pair, kind: str, key: str) -> None:
        self.hear(result(pair.remote, pair.local, key, type=kind).encode())

    @rule(pair=pairs, kind=types, key=keys, stream_id=stream_ids)
    def a_peer_with_keys(self, pair: Pair, kind: str, key: str, stream_id: str) -> None:
        self.hear(verify(pair.remote, pair.local, stream_id, key, type=kind).encode())

    @rule(said=st.sampled_from([BIDI, *management]))
    def a_peer_that_comes_late(self, said: str) -> None:
        self.hear(said.encode())

    @rule(pair=pairs)
    def a_peer_that_sends(self, pair: Pair) -> None:
        if self.wild or pair in self.machine.receives:
            self.hear(message(pair.remote, pair.local).encode())

    @precondition(lambda self: self.wild)
    @rule(said=st.lists(elements, min_size=1, max_size=4), chunk=st.sampled_from([1, 3, 50, 10_000]))
    def any_peer(self, said: list[str], chunk: int) -> None:
        data = "".join(said).encode()
        for start in range(0, len(data), chunk):
            self.hear(data[start : start + chunk])

    @precondition(lambda self: self.wild)
    @rule(said=elements, data=st.data())
    def a_broken_peer(self, said: str, data: Any) -> None:
        raw = bytearray(said.encode())
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(raw)))
            match data.draw(st.integers(0, 2)):
                case 0:
                    raw[at : at + 1] = data.draw(st.binary(min_size=1, max_size=4))
                case 1:
                    del raw[at : at + data.draw(st.integers(1, 20))]
                case _:
                    raw[at:at] = raw[: data.draw(st.integers(1, 30))]
        self.hear(bytes(raw))

    @precondition(lambda self: self.wild)
    @rule(noise=st.binary(max_size=60))
    def a_noisy_peer(self, noise: bytes) -> None:
        self.hear(noise)

    @precondition(lambda self: self.wild)
    @rule(size=st.sampled_from([3000, 90_000]), what=st.sampled_from([b" ", b"<a>", b"<a b='", b"&", b"x"]))
    def a_large_peer(self, size: int, what: bytes) -> None:
        self.hear((what * size)[:size])

    @precondition(lambda self: self.machine.state is State.TLS)
    @rule()
    def tls(self) -> None:
        self.establish()

    @rule(seconds=st.sampled_from([0.0, 0.05, 1.0, 7.0, 31.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.do(self.machine.tick(self.now))

    @rule()
    def it_is_time(self) -> None:
        if self.machine.deadline < 1e9:
            self.now = max(self.now, self.machine.deadline)
            self.do(self.machine.tick(self.now))
            assert self.machine.deadline > self.now, "it would be woken for ever"

    @precondition(lambda self: self.wild)
    @rule(condition=st.sampled_from(["", "", "reset"]))
    def we_close(self, condition: str) -> None:
        self.do(self.machine.close(condition, "Enough.", self.now))

    @precondition(lambda self: self.wild)
    @rule()
    def it_breaks(self) -> None:
        self.do(self.machine.lost("It broke.", self.now))
        assert self.machine.over

    @rule(pair=pairs, token=st.integers(0, 9))
    def we_send(self, pair: Pair, token: int) -> None:
        if pair in self.machine.sends:
            outputs = self.machine.send(pair, message(*pair).encode(), token, self.now)
            assert len(outputs) == 1 and isinstance(outputs[0], SendBytes)
            self.do(outputs)
        else:
            try:
                self.machine.send(pair, b"<message/>", token, self.now)
            except LookupError:
                return
            raise AssertionError("sent without being authorized")

    @rule(pair=pairs)
    def we_ask(self, pair: Pair) -> None:
        if not self.machine.over:
            self.do(self.machine.authorize(pair, self.now))

    @rule(pair=pairs, stream_id=stream_ids)
    def we_ask_about_a_key(self, pair: Pair, stream_id: str) -> None:
        outputs = self.machine.verify(pair, stream_id, "k", self.now)
        if self.machine.over:
            assert [type(output) for output in outputs] == [KeyVerified]
        else:
            self.do(outputs)

    @rule(pair=pairs, stream_id=stream_ids, outcome=st.sampled_from(Outcome))
    def somebody_has_answered(self, pair: Pair, stream_id: str, outcome: Outcome) -> None:
        if outcome is Outcome.VALID and (pair, stream_id) in self.watch.key_asked:
            self.watch.found_genuine.add(pair)
        self.do(self.machine.verified(KeyVerified(pair, stream_id, outcome), self.now))

    @precondition(lambda self: self.watch.key_asked)
    @rule(outcome=st.sampled_from(Outcome))
    def whom_we_asked_has_answered(self, outcome: Outcome) -> None:
        self.somebody_has_answered(*max(self.watch.key_asked), outcome)

    @invariant()
    def all_is_well(self) -> None:
        if hasattr(self, "watch"):
            self.watch.check()


TestMachines = Fuzz.TestCase
TestMachines.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
