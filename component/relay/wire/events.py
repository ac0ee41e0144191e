"""What the S2S machines give to whoever drives them: commands (imperative) to carry out, events (past tense) to know.

They come in order, and order matters: bytes before `StartTls` travel in the clear.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from component.relay.counters import RefusalKind
from component.relay.wire.pairs import Pair
from component.relay.wire.policy import Authentication
from component.relay.wire.stanza import Stanza


class Outcome(StrEnum):
    """How a dialback request ended (XEP-0220 §2.1)."""

    VALID = "valid"
    INVALID = "invalid"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class SendBytes:
    """Write to the peer."""

    data: bytes


@dataclass(frozen=True, slots=True)
class StartTls:
    """Negotiate TLS now, then call `tls_established`.

    :ivar local: whose certificate to show.
    :ivar partner: the name to ask for (SNI) when the stream is outgoing; empty when it is incoming.
    """

    local: str
    partner: str = ""


@dataclass(frozen=True, slots=True)
class CloseConnection:
    """End the TCP connection, once what was sent has left."""

    reason: str


@dataclass(frozen=True, slots=True)
class PassThrough:
    """Hand the connection to the server's own port, beginning with these bytes: the peer is not our partner."""

    received: bytes


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """Ask the authoritative server of a domain, over another connection, whether a key is its own (XEP-0220 §2.3).

    The answer goes to `verified` of the stream that said this.

    :ivar pair: local domain that was asked for, remote domain that claims to send.
    :ivar stream_id: of the stream on which the key arrived.
    """

    pair: Pair
    stream_id: str
    key: str


@dataclass(frozen=True, slots=True)
class KeyVerified:
    """The authoritative server has answered a `VerifyKey` (or could not be asked)."""

    pair: Pair
    stream_id: str
    outcome: Outcome
    condition: str = ""


@dataclass(frozen=True, slots=True)
class PairAuthorized:
    """Stanzas of a pair may travel.

    :ivar sends: we may send from local to remote on this stream.
    :ivar receives: we take stanzas from remote to local from this stream.
    """

    pair: Pair
    sends: bool
    receives: bool
    authentication: Authentication


@dataclass(frozen=True, slots=True)
class PairRefused:
    """A pair was not authorized.

    :ivar kind: why, in one word.
    :ivar reason: why, in one sentence for the administrator.
    :ivar by_us: whether we refused the peer; else the peer refused us.
    :ivar final: no other way of authentication on this stream is left for the pair.
    """

    pair: Pair
    kind: RefusalKind
    reason: str
    by_us: bool
    final: bool = True


@dataclass(frozen=True, slots=True)
class ReadyToAsk:
    """The stream has been opened to ask whether dialback keys are genuine, and is ready for `verify`."""


@dataclass(frozen=True, slots=True)
class StanzaReceived:
    """A stanza of an authorized pair has come."""

    stanza: Stanza


@dataclass(frozen=True, slots=True)
class Relieved:
    """So much was acknowledged that the stream is not congested any more."""


@dataclass(frozen=True, slots=True)
class Noticed:
    """Something that a peer should not have done, and that did no harm; counted and logged.

    :ivar kind: a short word for the counter, such as ``unsolicited-dialback``.
    """

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class StreamEnded:
    """Nothing can be sent any more; it comes once. After an orderly end of ours stanzas may still come in.

    :ivar condition: stream error (RFC 6120 §4.9.3), empty for an orderly end.
    :ivar by_us: whether we ended it.
    """

    condition: str
    text: str
    by_us: bool


@dataclass(frozen=True, slots=True)
class StreamGone:
    """Nothing will come any more either; the last event of a stream.

    :ivar unacknowledged: tokens of what was sent and not acknowledged, in order; only on streams that acknowledge
        (XEP-0198). It may have been delivered.
    """

    unacknowledged: tuple[object, ...] = ()


Output = (
    SendBytes | StartTls | CloseConnection | PassThrough | VerifyKey | KeyVerified | PairAuthorized | PairRefused
    | ReadyToAsk | StanzaReceived | Noticed | Relieved | StreamEnded | StreamGone
)  # fmt: skip
