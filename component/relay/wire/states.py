"""The states of a server-to-server stream, and every step between them.

Theory of operation
===================

A TCP connection between two servers is one *stream* here, whatever restarts it goes through. Whoever opened the
connection is the initiator; the other one is the receiver. We are either: `OUTGOING` is the table of the initiator,
`INCOMING` that of the receiver. A machine looks up (state, input) in its table and nowhere else. What is not in the
table must not happen at that moment: the stream ends with the stream error that `VIOLATIONS` names for the input, and
nothing more is taken from the peer. Where a header is due, whatever comes first is taken for one, and judged as such.

**Three questions, three answers.** The state says only how far the *negotiation* has come. Whose stanzas may travel
is said by two sets of pairs that every stream has, `sends` and `receives`, and by nothing else: no route follows from
a stream header. A pair gets into the sets by exactly one of these steps:

* SASL EXTERNAL (XEP-0178) authorizes (the stream's `to`, the stream's `from`) from the initiator to the receiver.
* A dialback request (XEP-0220) that was verified authorizes its own pair, in its own direction. There may be many on
  one stream, for other domains of either side ("piggybacking").
* With bidi (XEP-0288) either of them authorizes the same pair in the inverse direction, too. The flag is set by the
  initiator's `<bidi/>`, which counts between TLS and authentication; before TLS it is ignored, and afterwards it is
  too late.

And whether the peer's certificate proves a domain is asked of the `PeerIdentity` that TLS left behind, once for every
domain: EXTERNAL is offered only when it does; a dialback request whose sender it proves needs no call back
(XEP-0344); and an initiator goes on only when it proves the target, unless the configuration says otherwise.

**The receiver** reads a header, answers with its own and with features. In the clear it offers STARTTLS alone, and
takes nothing else. Behind TLS it takes `<bidi/>`, SASL and dialback, and is `OPEN` with the first authorized pair.
Before that it sends no stanza and takes none.

**The initiator** sends its header, insists on STARTTLS, then on the certificate, asks for bidi when it is offered,
and then authenticates in the order of preference that the configuration gives. A stream that only asks whether
dialback keys are genuine (it carries `db:verify`, and never a stanza) stays in `VERIFYING`: a key is never asked
about on the stream on which it came.

Under bidi the receiver may send from its `<success/>` on; what comes before the stream has begun anew (Prosody does
so) is taken as a part of the stream before it.

**Dialback answers** count only when they were asked for: a ledger holds what is outstanding, and an answer takes its
entry out. Under bidi requests and answers flow both ways, so both machines share that part (`dialback_part.py`).

**Ending.** An orderly end is one `</stream:stream>` from each side. `CLOSING` is the time between ours and theirs:
stanzas and acknowledgements that still come count, everything else is passed over, and nothing is said any more
(RFC 6120 §4.4). After a stream error nothing is read any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class State(StrEnum):
    """Where a stream stands."""

    HEADER = "waits for the first header"
    PLAIN = "in the clear"
    PROCEED = "waits for permission to begin TLS"
    TLS = "TLS handshake"
    TLS_HEADER = "waits for the header behind TLS"
    TLS_FEATURES = "waits for the features behind TLS"
    NEGOTIATING = "not authenticated yet"
    SASL = "waits for the outcome of SASL"
    DIALBACK = "waits for the outcome of dialback"
    SASL_HEADER = "waits for the header after SASL"
    SASL_FEATURES = "waits for the features after SASL"
    VERIFYING = "asks about keys"
    OPEN = "open"
    CLOSING = "waits for the peer's end"
    CLOSED = "closed"


class Input(StrEnum):
    """What happens to a stream."""

    HEADER = "stream header"
    FEATURES = "features"
    STARTTLS = "starttls"
    PROCEED = "proceed"
    TLS_FAILURE = "TLS failure"
    ESTABLISHED = "TLS established"
    BIDI = "bidi"
    AUTH = "auth"
    SUCCESS = "success"
    FAILURE = "failure"
    ACCEPTED = "we accept SASL"
    DIALBACK = "dialback element"
    VERIFIED = "dialback succeeded"
    REFUSED = "dialback refused"
    TRY_SASL = "we try SASL"
    TRY_DIALBACK = "we try dialback"
    ASK_ONLY = "we only ask about keys"
    ACKNOWLEDGEMENT = "stream management"
    STANZA = "stanza"
    UNKNOWN = "unknown element"
    CLOSE = "we close"
    END = "end of stream"
    ERROR = "stream error"
    LOST = "connection lost"


Table = Mapping[tuple[State, Input], State]

_LIVE = tuple(state for state in State if state is not State.CLOSED)


def _ends(states: tuple[State, ...]) -> dict[tuple[State, Input], State]:
    """The steps by which every stream ends."""
    steps: dict[tuple[State, Input], State] = {}
    for state in states:
        steps[state, Input.CLOSE] = State.CLOSING
        steps[state, Input.END] = State.CLOSED
        steps[state, Input.ERROR] = State.CLOSED
        steps[state, Input.LOST] = State.CLOSED
    return steps


PEER = frozenset(
    {
        Input.HEADER, Input.FEATURES, Input.STARTTLS, Input.PROCEED, Input.TLS_FAILURE, Input.BIDI, Input.AUTH,
        Input.SUCCESS, Input.FAILURE, Input.DIALBACK, Input.ACKNOWLEDGEMENT, Input.STANZA, Input.UNKNOWN,
    }
)  # fmt: skip
"""What a peer says, but for the end. Other inputs are our own doing; nothing that a peer says is taken for them."""

_CLOSING = {(State.CLOSING, each): State.CLOSING for each in PEER}

INCOMING: Table = {
    (State.HEADER, Input.HEADER): State.PLAIN,
    (State.PLAIN, Input.BIDI): State.PLAIN,
    (State.PLAIN, Input.STARTTLS): State.TLS,
    (State.TLS, Input.ESTABLISHED): State.TLS_HEADER,
    (State.TLS_HEADER, Input.HEADER): State.NEGOTIATING,
    (State.NEGOTIATING, Input.BIDI): State.NEGOTIATING,
    (State.NEGOTIATING, Input.AUTH): State.NEGOTIATING,
    (State.NEGOTIATING, Input.DIALBACK): State.NEGOTIATING,
    (State.NEGOTIATING, Input.ACKNOWLEDGEMENT): State.NEGOTIATING,
    (State.NEGOTIATING, Input.ACCEPTED): State.SASL_HEADER,
    (State.NEGOTIATING, Input.VERIFIED): State.OPEN,
    (State.SASL_HEADER, Input.HEADER): State.OPEN,
    (State.OPEN, Input.BIDI): State.OPEN,
    (State.OPEN, Input.DIALBACK): State.OPEN,
    (State.OPEN, Input.VERIFIED): State.OPEN,
    (State.OPEN, Input.ACKNOWLEDGEMENT): State.OPEN,
    (State.OPEN, Input.STANZA): State.OPEN,
    **_CLOSING,
    **_ends(_LIVE),
}
"""The receiver."""

OUTGOING: Table = {
    (State.HEADER, Input.HEADER): State.PLAIN,
    (State.PLAIN, Input.FEATURES): State.PROCEED,
    (State.PROCEED, Input.PROCEED): State.TLS,
    (State.PROCEED, Input.TLS_FAILURE): State.PROCEED,
    (State.TLS, Input.ESTABLISHED): State.TLS_HEADER,
    (State.TLS_HEADER, Input.HEADER): State.TLS_FEATURES,
    (State.TLS_FEATURES, Input.FEATURES): State.NEGOTIATING,
    (State.NEGOTIATING, Input.TRY_SASL): State.SASL,
    (State.NEGOTIATING, Input.TRY_DIALBACK): State.DIALBACK,
    (State.NEGOTIATING, Input.ASK_ONLY): State.VERIFYING,
    (State.SASL, Input.SUCCESS): State.SASL_HEADER,
    (State.SASL, Input.FAILURE): State.NEGOTIATING,
    (State.DIALBACK, Input.DIALBACK): State.DIALBACK,
    (State.DIALBACK, Input.REFUSED): State.NEGOTIATING,
    (State.DIALBACK, Input.VERIFIED): State.OPEN,
    (State.SASL_HEADER, Input.HEADER): State.SASL_FEATURES,
    (State.SASL_HEADER, Input.STANZA): State.SASL_HEADER,
    (State.SASL_FEATURES, Input.FEATURES): State.OPEN,
    (State.VERIFYING, Input.DIALBACK): State.VERIFYING,
    (State.OPEN, Input.BIDI): State.OPEN,
    (State.OPEN, Input.DIALBACK): State.OPEN,
    (State.OPEN, Input.VERIFIED): State.OPEN,
    (State.OPEN, Input.ACKNOWLEDGEMENT): State.OPEN,
    (State.OPEN, Input.STANZA): State.OPEN,
    **_CLOSING,
    **_ends(_LIVE),
}
"""The initiator. `REFUSED` is any answer to our dialback request but ``valid``, and none."""

VIOLATIONS: Mapping[Input, str] = {
    Input.STANZA: "not-authorized",
    Input.DIALBACK: "not-authorized",
    Input.AUTH: "policy-violation",
    Input.STARTTLS: "policy-violation",
    Input.BIDI: "policy-violation",
    Input.HEADER: "bad-format",
}
"""The stream error (RFC 6120 §4.9.3) for an input that has no step; for others, ``unsupported-stanza-type``."""


def violation(happened: Input) -> str:
    """The stream error for an input that has no step."""
    return VIOLATIONS.get(happened, "unsupported-stanza-type")
