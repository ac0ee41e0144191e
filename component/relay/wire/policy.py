"""What the machines must know of the configuration: who our partners are, and what is wanted of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Bidi(StrEnum):
    """Whether streams with a partner carry stanzas both ways (XEP-0288)."""

    REQUIRED = "required"
    PREFERRED = "preferred"
    OFF = "off"


class Authentication(StrEnum):
    """How one server proves to another who it is."""

    EXTERNAL = "external"
    DIALBACK = "dialback"


class Direction(StrEnum):
    """Who may open a connection: the partner (inbound), we (outbound), or both."""

    BOTH = "both"
    INBOUND = "inbound"
    OUTBOUND = "outbound"


class PeerIdentity(Protocol):
    """What TLS has shown of the peer: its certificate, judged."""

    def refusal(self, domain: str) -> str:
        """Why the certificate does not prove that the peer is `domain`, one sentence; empty when it does."""


@dataclass(frozen=True, slots=True)
class PartnerPolicy:
    """What is wanted of one partner.

    :ivar authentication: in order of preference.
    :ivar verify_certificate: a server that we connect to, also to ask about a key, must prove its domain by its
        certificate, whatever dialback says.
    :ivar early_bidi: bidi is offered before TLS, too (XEP-0288 §2.1).
    :ivar offer_legacy_bidi: the request's namespace is offered among the features, too.
        COMPAT: ejabberd 24.10 to 26.04 looks for it there.
    """

    domain: str
    bidi: Bidi = Bidi.PREFERRED
    authentication: tuple[Authentication, ...] = (Authentication.EXTERNAL,)
    direction: Direction = Direction.BOTH
    verify_certificate: bool = True
    early_bidi: bool = True
    offer_legacy_bidi: bool = False

    @property
    def inbound(self) -> bool:
        """Whether the partner may connect to us."""
        return self.direction is not Direction.OUTBOUND

    @property
    def outbound(self) -> bool:
        """Whether we may connect to the partner."""
        return self.direction is not Direction.INBOUND


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one stream.

    :ivar unauthenticated_bytes: of one element before the peer is authenticated.
    :ivar stanza_bytes: of one element afterwards.
    :ivar negotiation_timeout: seconds from the connection to the first authorized pair.
    :ivar idle: seconds without a stanza in either direction after which a stream is closed.
    :ivar keepalive: seconds of silence after which a space is sent.
    :ivar close_timeout: seconds that the peer has to close its side.
    :ivar dialback_timeout: seconds that a dialback request may take.
    """

    unauthenticated_bytes: int = 8 * 1024
    stanza_bytes: int = 512 * 1024
    negotiation_timeout: float = 60.0
    idle: float = 14 * 60.0
    keepalive: float = 5 * 60.0
    close_timeout: float = 5.0
    dialback_timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Federation:
    """The relay's side of all streams.

    :ivar domains: local domains, prepared.
    :ivar partners: by prepared domain.
    :ivar secret: of our dialback keys (XEP-0185); never shown.
    """

    domains: frozenset[str]
    partners: Mapping[str, PartnerPolicy]
    secret: str = field(repr=False)
    limits: Limits = Limits()
