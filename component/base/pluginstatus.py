"""What an in-server plugin says of itself: its mode, what it holds, what it has counted."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum
from xml.etree.ElementTree import Element

from component.base import ns
from component.base.clientsessions import natural


class Guard(StrEnum):
    """What a plugin holds back from a device."""

    CONNECTION_REQUESTS = "connection-requests"
    EVERYTHING = "everything"


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
REASONS = (
    "forbidden", "bad-request", "not-attached", "no-decision", "overload", "crashed", "answer",
    "quiet", "lost", "revoked", "heavy",
)  # fmt: skip
"""Why plugins refuse a stanza; ``answer`` is what is not answered: results and errors; of a grid host presence, too.
The second line is mostly of grid hosts; ``revoked`` are logins."""

_REFUSED = f"{{{ns.POLICY}}}refused"


@dataclass(frozen=True, slots=True)
class PluginStatus:
    """The figures of one plugin. Those down to `sessions` are of the moment, the others count since it started.

    :ivar epoch: the highest number of the policy that it has seen.
    :ivar seq: the number of its last session event.
    :ivar cached: decisions that it has.
    :ivar checks: questions that wait for a decision.
    :ivar held: stanzas that wait for one.
    :ivar sessions: clients that are connected.
    :ivar hits: requests that were decided from the cache.
    :ivar asked: questions that it has sent.
    :ivar allowed: decisions that it has received, with effect ``allow``.
    :ivar denied: likewise, with effect ``deny``.
    :ivar passed: requests that were delivered after a decision.
    :ivar bypassed: what was let through without one, or against it.
    :ivar evicted: decisions that went for want of room.
    :ivar discarded: decisions and orders that it did not believe, or that were outdated.
    :ivar refused: stanzas that were not delivered, by reason.
    """

    mode: PluginMode
    guard: Guard
    epoch: int = 0
    seq: int = 0
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


_NUMBERS = tuple(item.name for item in fields(PluginStatus) if item.type == "int")


def read_status(element: Element | None) -> PluginStatus | None:
    """Read ``<status/>``; None when it is not one that a plugin of ours would send. Figures may be missing."""
    if element is None:
        return None
    try:
        mode, guard = PluginMode(element.get("mode", "")), Guard(element.get("guard", ""))
    except ValueError:
        return None
    figures = {name: natural(element.get(name, "0")) for name in _NUMBERS}
    refused = {
        child.get("reason", ""): natural(child.get("count"))
        for child in element.iterfind(_REFUSED)
        if child.get("reason") in REASONS
    }
    if mode not in _TOLD or None in figures.values() or None in refused.values():
        return None
    return PluginStatus(
        mode, guard,
        **{name: number for name, number in figures.items() if number is not None},
        refused={reason: number for reason, number in refused.items() if number is not None},
    )  # fmt: skip
