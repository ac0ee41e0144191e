"""What must hold for a stream machine whatever happens to it; for the fuzzing."""

from __future__ import annotations

from component.relay.wire.events import (
    CloseConnection,
    Output,
    PairAuthorized,
    PassThrough,
    SendBytes,
    StanzaReceived,
    StartTls,
    StreamEnded,
    StreamGone,
    VerifyKey,
)
from component.relay.wire.pairs import Pair
from component.relay.wire.policy import Authentication, Limits
from component.relay.wire.s2s_in import IncomingStream
from component.relay.wire.stream import S2SStream
from tests.wire.relay.scenes import (
    CHAT,
    CPE,
    END,
    OURS,
    PARTNER,
    STRANGER,
)

LIMITS = Limits(unauthenticated_bytes=2048, stanza_bytes=4096)
DOMAINS = (OURS, CPE, PARTNER, CHAT, STRANGER)
REMOTE = (PARTNER, CHAT)
PAIRS = [Pair(local, remote) for local in (OURS, CPE) for remote in REMOTE]


class Watch:
    """What may never happen, whatever does."""

    def __init__(self, machine: S2SStream) -> None:
        self.machine = machine
        self.tls = self.silent = False
        self.ended = self.gone = 0
        self.asked: set[Pair] = set()
        self.by_certificate: set[str] = set()
        self.found_genuine: set[Pair] = set()
        self.key_asked: set[tuple[Pair, str]] = set()

    def take(self, outputs: list[Output], allowed: set[Pair]) -> None:
        """Look at what a call has returned.

        :param allowed: pairs whose stanzas may be among it; what a call authorizes is allowed from there on.
        """
        receives = set(allowed)
        for output in outputs:
            assert not self.gone, f"behind the end: {output}"
            match output:
                case StanzaReceived(stanza):
                    assert self.tls
                    assert Pair(stanza.recipient_domain, stanza.sender_domain) in receives
                case PairAuthorized(pair, _, takes):
                    assert self.tls and not self.ended
                    if takes:
                        receives.add(pair)
                case VerifyKey(pair, stream_id):
                    self.key_asked.add((pair, stream_id))
                case SendBytes(data):
                    self.said(data)
                case StreamEnded():
                    self.ended += 1
                case StreamGone():
                    self.gone += 1
                case PassThrough():
                    assert not self.tls and outputs[-1] is output
                case CloseConnection() | StartTls():
                    pass
        assert self.ended <= 1 and self.gone <= 1
        self.check()

    def said(self, data: bytes) -> None:
        """Remember for which pairs keys of ours were sent; behind the end of our side there is silence."""
        assert data
        assert not self.silent
        self.silent = data.endswith(END.encode())
        assert not self.ended or self.silent
        for pair in PAIRS:
            if f"<db:result from='{pair.local}' to='{pair.remote}'>".encode() in data:
                self.asked.add(pair)

    def check(self) -> None:
        """What holds at every moment."""
        machine = self.machine
        if not self.tls:
            assert not machine.sends and not machine.receives
        if not machine.bidi:
            assert not (machine.sends if isinstance(machine, IncomingStream) else machine.receives)
        for pair in machine.sends | machine.receives:
            assert pair.local in machine.federation.domains and pair.remote in machine.federation.partners
            external = machine.authentication is Authentication.EXTERNAL and pair == (machine.local, machine.remote)
            assert external or pair in self.asked | self.found_genuine or pair.remote in self.by_certificate
        if self.ended:
            assert not machine.sends
        if machine.over:
            assert not machine.receives and not len(machine.acks)
        assert len(machine.dialback._ledger) <= 100
        assert len(getattr(machine, "_seen", None) or b"") <= LIMITS.unauthenticated_bytes + 100_000
        assert len(machine._parser._partial) <= LIMITS.stanza_bytes + 100_000
