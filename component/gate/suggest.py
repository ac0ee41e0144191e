"""Rules proposed from what was seen: who asked for which device and was refused for want of a rule."""

from __future__ import annotations

import asyncio
import logging
import shlex
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import Column, Connection, Float, Integer, String, Table, UniqueConstraint, delete, insert, select

from component.base.errors import StanzagateError
from component.base.jid import Jid
from component.base.store import Store, metadata
from component.gate.policy import Policy
from component.gate.rules import GROUP_PREFIX, device_key

log = logging.getLogger(__name__)

MOST_REQUESTERS = 5_000
MOST_PAIRS = 200_000
"""More is not remembered: a flood of strangers must fill neither memory nor disk."""

WRITTEN_TOGETHER = 1_000
WRITE_SECONDS = 30.0
SHARE = 0.8
FEWEST = 3

observation_table = Table(
    "observation",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("requester", String(2047), nullable=False),
    Column("device", String(1023), nullable=False),
    Column("seen", Float, nullable=False),
    UniqueConstraint("requester", "device"),
)


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A rule that would allow what was refused.

    :ivar target: a device's id or ``group:NAME``.
    :ivar seen: how many devices of the target the requester asked for.
    :ivar devices: how many devices the rule would let it wake.
    :ivar command: the command line that adds the rule.
    """

    requester: str
    target: str
    seen: int
    devices: int
    command: str


class Observations:
    """Remembers refusals for want of a rule, each pair of requester and device once.

    :param clock: Unix time in seconds.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self.ignored = 0
        """Observations that found no room."""
        self._store = store
        self._clock = clock
        self._seen: dict[str, set[str]] = {}
        self._pairs = 0
        self._new: list[tuple[str, str]] = []

    def observe(self, requester: str, device: str) -> None:
        """A requester was refused a device for want of a rule. Takes well under a microsecond.

        :param requester: its bare JID.
        :param device: the id of a registered device.
        """
        seen = self._seen.get(requester)
        if seen is None:
            if len(self._seen) >= MOST_REQUESTERS:
                self.ignored += 1
                return
            seen = self._seen[requester] = set()
        elif device in seen:
            return
        if self._pairs >= MOST_PAIRS:
            self.ignored += 1
            return
        seen.add(device)
        self._pairs += 1
        self._new.append((requester, device))

    async def load(self) -> None:
        """Remember what was written before."""
        for requester, device in await self._store.read(_read):
            self.observe(requester, device)
        self._new = []

    async def flush(self) -> None:
        """Write what is new, in short transactions."""
        while self._new:
            piece = self._new[:WRITTEN_TOGETHER]
            now = self._clock()
            values = [{"requester": requester, "device": device, "seen": now} for requester, device in piece]
            await self._store.write(lambda connection, values=values: _write(connection, values))  # type: ignore[misc]
            del self._new[: len(piece)]

    async def forget(self) -> None:
        """Begin anew."""
        self._seen, self._new, self._pairs, self.ignored = {}, [], 0, 0
        await self._store.write(lambda connection: connection.execute(delete(observation_table)) and None)

    async def run(self) -> None:
        """Write now and then, until cancelled."""
        await self.load()
        try:
            while True:
                await asyncio.sleep(WRITE_SECONDS)
                await self._try_to_flush()
        finally:
            await self._try_to_flush()

    async def _try_to_flush(self) -> None:
        try:
            await self.flush()
        except StanzagateError as error:
            log.warning("observations could not be written: %s", error)

    def suggest(self, policy: Policy) -> list[Suggestion]:
        """Rules for what was seen and is still not allowed: for a group where a requester asked for most of it,
        else for single devices."""
        suggestions: list[Suggestion] = []
        for requester in sorted(self._seen):
            numbers = _refused(policy, requester, self._seen[requester])
            suggestions += _for_requester(policy, requester, numbers)
        return suggestions


def _refused(policy: Policy, requester: str, devices: Iterable[str]) -> set[int]:
    now, who = policy.clock(), Jid(requester, "")
    index = policy.index
    numbers = (index.by_id(device_key(device)) for device in devices)
    return {
        number
        for number in numbers
        if number >= 0 and not (verdict := index.decide(who, number, now)).allowed and verdict.rule == "none"
    }


def _for_requester(policy: Policy, requester: str, numbers: set[int]) -> list[Suggestion]:
    table = policy.index.devices
    in_group: dict[str, set[int]] = {}
    for number in numbers:
        for group in table.groups(number):
            in_group.setdefault(group, set()).add(number)
    sizes = {group: len(table.in_group(group)) for group, seen in in_group.items() if len(seen) >= FEWEST}
    fitting = [group for group, size in sizes.items() if len(in_group[group]) >= SHARE * size]
    rest = set(numbers)
    suggestions = []
    # The group that explains most comes first; of equal ones the smaller, which allows less that nobody asked for.
    for group in sorted(fitting, key=lambda name: (-len(in_group[name]), sizes[name], name)):
        if in_group[group] & rest:
            rest -= in_group[group]
            target = f"{GROUP_PREFIX}{group}"
            suggestions.append(_suggestion(requester, target, len(in_group[group]), sizes[group]))
    return suggestions + [_suggestion(requester, name, 1, 1) for name in sorted(map(table.id, rest))]


def _suggestion(requester: str, target: str, seen: int, devices: int) -> Suggestion:
    command = f"stanzagate jid allow {shlex.quote(requester)} --to {shlex.quote(target)}"
    return Suggestion(requester, target, seen, devices, command)


def _read(connection: Connection) -> list[tuple[str, str]]:
    columns = observation_table.c
    return [(row.requester, row.device) for row in connection.execute(select(columns.requester, columns.device))]


def _write(connection: Connection, values: list[dict[str, object]]) -> None:
    connection.execute(insert(observation_table), values)
