"""What a reconciliation has found and put right."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

LINES = 200
"""So many repairs are named; all are counted."""


class RepairKind(StrEnum):
    """What was not as it should be at the server."""

    MISSING_NODE = "missing-node"
    FOREIGN_NODE = "foreign-node"
    CONFIGURATION = "configuration"
    AFFILIATION = "affiliation"
    SUBSCRIPTION = "subscription"
    ACCOUNT = "account"


@dataclass(frozen=True, slots=True)
class Repair:
    """One thing that was put right.

    :ivar subject: the topic or the account.
    :ivar what: one sentence.
    """

    kind: RepairKind
    subject: str
    what: str


@dataclass(frozen=True, slots=True)
class Report:
    """A reconciliation.

    :ivar counts: what was put right, by kind.
    :ivar lines: one sentence for each, at most `LINES`.
    :ivar made_good: changes that were owed since the server was away, and are made now; they are no drift.
    :ivar failed: what could not be put right, and why.
    :ivar topics: how many were looked at, those that should not be there, too.
    :ivar accounts: likewise; a large grid's accounts are looked at in turns.
    :ivar seconds: how long it took.
    :ivar complete: whether it came to its end.
    :ivar made: one sentence for each change that was made good, at most `LINES`.
    """

    counts: Counter[RepairKind] = field(default_factory=Counter)
    lines: tuple[str, ...] = ()
    made_good: int = 0
    failed: tuple[str, ...] = ()
    topics: int = 0
    accounts: int = 0
    seconds: float = 0.0
    complete: bool = False
    made: tuple[str, ...] = ()

    @property
    def drift(self) -> int:
        """How many things at the server were not as we had left them."""
        return self.counts.total()
