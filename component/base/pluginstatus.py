"""What an in-server plugin says of itself: its mode, what it holds, what it has counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from xml.etree.ElementTree import Element

from component.base import ns


class PluginMode(StrEnum):
    """What the plugin on a host does: the first three it says of itself."""

    ENFORCE = "enforce"
    LOG_ONLY = "log-only"
    BYPASS = "bypass"
    ABSENT = "absent"
    """There is no plugin."""
    UNKNOWN = "unknown"
    """Nobody can say at the moment."""


_TOLD = frozenset({PluginMode.ENFORCE, PluginMode.LOG_ONLY, PluginMode.BYPASS})
GUARDS = frozenset({"connection-requests", "everything"})
REASONS = ("forbidden", "bad-request", "not-attached", "no-decision", "overload", "crashed", "answer")
"""Why plugins refuse a stanza; ``answer`` are results and errors that carry a connection request."""

_REFUSED = f"{{{ns.POLICY}}}refused"


@dataclass(frozen=True, slots=True)
class PluginStatus:
    """The figures of one plugin. The first five are those of the moment, the others count since it started.

    :ivar seq: the number of its last session event, or None when it does not say.
    :ivar checks: questions that wait for a decision.
    :ivar held: stanzas that wait for one.
    :ivar hits: requests that were decided from the cache.
    :ivar passed: requests that were delivered after a decision.
    :ivar bypassed: what was let through without one, or against it.
    :ivar refused: stanzas that were not delivered, by reason.
    """

    mode: PluginMode
    guard: str
    epoch: int
    seq: int | None = None
    cached: int = 0
    checks: int = 0
    held: int = 0
    sessions: int = 0
    hits: int = 0
    asked: int = 0
    allowed: int = 0
    denied: int = 0
    passed: int = 0
    bypassed: int = 0
    evicted: int = 0
    discarded: int = 0
    refused: dict[str, int] = field(default_factory=dict)


_NUMBERS = (
    "cached", "checks", "held", "sessions", "hits", "asked", "allowed", "denied", "passed", "bypassed", "evicted",
    "discarded",
)  # fmt: skip


def read_status(element: Element | None) -> PluginStatus | None:
    """Read ``<status/>``; None when it is not one that a plugin of ours would send."""
    if element is None or element.get("mode") not in _TOLD or element.get("guard") not in GUARDS:
        return None
    try:
        return PluginStatus(
            mode=PluginMode(element.get("mode", "")),
            guard=element.get("guard", ""),
            epoch=int(element.get("epoch", "0")),
            seq=int(element.get("seq", "0")) if element.get("seq") else None,
            **{name: int(element.get(name, "0")) for name in _NUMBERS},
            refused={
                child.get("reason", ""): int(child.get("count", "0"))
                for child in element.iterfind(_REFUSED)
                if child.get("reason") in REASONS
            },
        )
    except ValueError:
        return None
