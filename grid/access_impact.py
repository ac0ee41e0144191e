"""Who gains and who loses what when the rules change: the same question asked of two engines.

Nodes of which all rules say the same are asked about once. However many there are, only so many questions are asked;
the event loop goes on meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from grid.access_engine import Engine
from grid.model import SHOWN, Action, Node, NodeState, Right

QUESTIONS = 2_000
"""So many pairs of decisions are made for one change."""

TOGETHER = 32
"""So many of them without letting others go on."""


@dataclass
class Impact:
    """What a change of the rules makes different for nodes and topics that are there.

    :ivar loses: at most `SHOWN` rights, of `losses`.
    :ivar gains: likewise, of `won`.
    :ivar complete: whether everything was looked at.
    """

    loses: list[Right] = field(default_factory=list)
    losses: int = 0
    gains: list[Right] = field(default_factory=list)
    won: int = 0
    complete: bool = True

    def note(self, jids: Sequence[str], action: Action, topic: str, *, gained: bool) -> None:
        """Some nodes gain or lose a right."""
        shown = self.gains if gained else self.loses
        shown += [Right(jid, action, topic) for jid in jids[: SHOWN - len(shown)]]
        if gained:
            self.won += len(jids)
        else:
            self.losses += len(jids)


async def compare(
    before: Engine, after: Engine, nodes: Iterable[Node], actions: Sequence[Action], topics: Sequence[str]
) -> Impact:
    """What two engines say differently.

    :param nodes: those that may be concerned; who is not active has no rights before or after.
    """
    impact = Impact()
    alike = _alike(before, after, nodes)
    asked = 0
    for topic in topics:
        for (groups, _), jids in alike.items():
            for action in actions:
                if asked >= QUESTIONS:
                    impact.complete = False
                    return impact
                asked += 1
                if asked % TOGETHER == 0:
                    await asyncio.sleep(0)
                had = before.decide(jids[0], groups, action, topic).permitted
                has = after.decide(jids[0], groups, action, topic).permitted
                if had != has:
                    impact.note(jids, action, topic, gained=has)
    return impact


def _alike(before: Engine, after: Engine, nodes: Iterable[Node]) -> dict[tuple[tuple[str, ...], str], list[str]]:
    found: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for node in nodes:
        if node.state is NodeState.ACTIVE:
            own = node.jid if before.has_own(node.jid) or after.has_own(node.jid) else ""
            found.setdefault((node.groups, own), []).append(node.jid)
    return found
