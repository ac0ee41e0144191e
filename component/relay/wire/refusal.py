"""Why a pair is refused, for both sides."""

from __future__ import annotations

from typing import NamedTuple

from component.relay.counters import RefusalKind


class Refusal(NamedTuple):
    """What speaks against a pair.

    :ivar condition: what the peer is told.
    :ivar reason: what the administrator is told.
    """

    condition: str
    kind: RefusalKind
    reason: str
