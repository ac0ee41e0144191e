"""The policy service: who may wake which device, changed in the database and in memory as one.

Reading is from memory. Every change is a transaction with its audit row (`component.gate.changes`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sqlalchemy import Connection

from component.base.errors import Conflict, NotFound, StanzagateError
from component.base.jid import Jid, prepare
from component.base.store import Store
from component.gate import impact, rows, rules_bulk
from component.gate.changes import Change, Changes, Listener, Plan, Trail
from component.gate.index import PolicyIndex
from component.gate.registry import ensured_state, read_table
from component.gate.rules import (
    EVERYTHING,
    GROUP_PREFIX,
    Effect,
    Rule,
    Suspension,
    Target,
    TargetKind,
    checked_comment,
    device_key,
    group_name,
    requester_from,
    shown,
)
from component.gate.rules_csv import checked_expiry, format_time, written_rules
from component.gate.scopes import Scope, held_rule, held_suspension
from component.gate.table import DeviceTable, give_memory_back

if TYPE_CHECKING:
    from component.base.link import Spawn

log = logging.getLogger(__name__)

EXPIRY_PIECE = 500
"""So many ended rules are cleaned up in one transaction."""

RETRY_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Decision:
    """What `Policy.check` found out.

    :ivar effect: ``allow`` or ``deny``.
    :ivar rule: the id of the rule that decided, ``suspended:<id>`` or ``none``.
    """

    requester: str
    device: str
    effect: Effect
    rule: str
    reason: str


class Policy:
    """Rules and suspensions.

    :param store: the database; `load` must have been awaited before anything else.
    :param audit: where changes are recorded.
    :param spawn: starts background tasks: a change that has begun is finished even if its caller goes away.
    :param clock: Unix time in seconds.
    """

    def __init__(self, store: Store, audit: Trail, *, spawn: Spawn, clock: Callable[[], float] = time.time) -> None:
        self.index = PolicyIndex()
        self._wake = asyncio.Event()
        self.changes = Changes(store, self._read_all, spawn, wake=self._wake)
        self.chores: list[Callable[[], Awaitable[None]]] = []
        """What `run_expiry` does once when it begins: others of the package put their cleaning up here."""
        self.audit = audit
        self.clock = clock
        self._store = store

    @property
    def epoch(self) -> int:
        """The number of the policy: it grows with every change."""
        return self.changes.epoch

    @property
    def available(self) -> bool:
        """Whether memory equals the database; if not, nothing may be decided."""
        return self.changes.available

    @property
    def listeners(self) -> list[Listener]:
        """Awaited after each change, one after the other, before the change returns."""
        return self.changes.listeners

    async def load(self) -> None:
        """Read everything from the database.

        :raises DatabaseError: when that fails; nothing can be decided then.
        """
        async with self.changes.lock:
            self.changes.available = False
            await self._read_all()

    async def _read_all(self) -> None:
        await self._store.write(ensured_state)
        epoch, generation, table, rules, suspensions = await self._store.read(_read)
        self.index.fill(rules, suspensions)
        self.index.use(table)
        await asyncio.to_thread(give_memory_back)
        self.changes.epoch, self.changes.generation = epoch, generation
        self.changes.available = True
        self._wake.set()

    async def add_rule(
        self,
        actor: str,
        effect: Effect,
        requester: str,
        target: str,
        *,
        expires: float | None = None,
        comment: str = "",
        dry_run: bool = False,
    ) -> Change:
        """Let somebody wake something, or not.

        :param requester: a bare JID, which matches every resource, or a full JID, which matches exactly.
        :param target: the id or the JID of a device, ``group:NAME`` or ``all``.
        :param expires: Unix time in seconds, or None.
        :raises InputError: when an argument is malformed.
        :raises NotFound: when there is no such device.
        :raises Conflict: when there is such a rule.
        """
        who = requester_from(requester)
        note = checked_comment(comment.strip())

        async def plan() -> Plan:
            now = self.clock()
            self.index.expire(now)
            aim = self.find_target(target)
            existing = self.index.find_rule(effect, who, aim)
            if existing is not None:
                raise Conflict(
                    f"Rule {existing.id} says that already{_until(existing.expires)}: {self._sentence(existing)}.",
                    hint=f"To change it, remove rule {existing.id} first.",
                )
            rule = Rule(0, effect, who, aim, checked_expiry(expires, now), note, now, actor)
            return self._adding(actor, rule)

        return await self.changes.make(plan, dry_run=dry_run)

    def _adding(self, actor: str, rule: Rule) -> Plan:
        after = self.index.scope(rule.requester.bare)
        after.within(rule.requester).put(rule.effect, self.index.target_key(rule.target), held_rule(rule, ""))
        summary = f"{self._sentence(rule)}{_until(rule.expires)}.{self._notes(rule)}"
        change = self._change(rule.requester, after, summary)
        change = replace(change, device=self._only_device(rule.target))

        def write(connection: Connection) -> int:
            return rows.insert_rule(connection, self.audit, actor, rule, self.shown_target)

        def apply(number: int) -> Change:
            self.index.put_rule(replace(rule, id=number))
            self._wake.set()
            return replace(change, created=(str(number),), summary=f"Rule {number}: {change.summary}")

        return Plan(change, write, apply)

    async def remove_rule(self, actor: str, rule_id: int, *, dry_run: bool = False) -> Change:
        """Remove a rule.

        :raises NotFound: when there is none of this id.
        """

        async def plan() -> Plan:
            self.index.expire(self.clock())
            rule = self.index.rules.get(rule_id)
            if rule is None:
                raise NotFound(f"There is no rule {rule_id}.", hint="`stanzagate jid list` shows all rules.")
            after = self.index.scope(rule.requester.bare)
            after.within(rule.requester).drop(rule.effect, self.index.target_key(rule.target))
            change = self._change(rule.requester, after, f"Rule {rule_id} is removed: {self._sentence(rule)}.")
            change = replace(change, device=self._only_device(rule.target))

            def apply(_: bool) -> Change:
                self.index.drop_rule(rule_id)
                return change

            return Plan(
                change,
                lambda connection: _there(
                    rows.delete_rule(connection, self.audit, actor, rule_id, self.shown_target)
                ),
                apply,
            )

        return await self.changes.make(plan, dry_run=dry_run)

    async def suspend(
        self, actor: str, requester: str, *, expires: float | None = None, comment: str = "", dry_run: bool = False
    ) -> Change:
        """Let a requester wake nothing, whatever the rules say.

        :param expires: Unix time in seconds at which the suspension ends by itself, or None.
        :raises Conflict: when it is suspended already.
        """
        who = requester_from(requester)
        note = checked_comment(comment.strip())

        async def plan() -> Plan:
            now = self.clock()
            self.index.expire(now)
            existing = self.index.find_suspension(who)
            if existing is not None:
                raise Conflict(
                    f"{who} is suspended already{_until(existing.expires)} (suspension {existing.id}).",
                    hint=f"To change that, run `stanzagate jid resume {who}` first.",
                )
            suspension = Suspension(0, who, checked_expiry(expires, now), note, now, actor)
            after = self.index.scope(who.bare)
            after.within(who).suspended = held_suspension(suspension)
            summary = f"{who} is suspended{_until(suspension.expires)}.{_server_only(who)}"
            change = self._change(who, after, summary)

            def apply(number: int) -> Change:
                self.index.put_suspension(replace(suspension, id=number))
                self._wake.set()
                return replace(change, created=(str(number),))

            return Plan(
                change, lambda connection: rows.insert_suspension(connection, self.audit, actor, suspension), apply
            )

        return await self.changes.make(plan, dry_run=dry_run)

    async def resume(self, actor: str, requester: str, *, dry_run: bool = False) -> Change:
        """End a suspension.

        :raises NotFound: when just this requester is not suspended.
        """
        who = requester_from(requester)

        async def plan() -> Plan:
            self.index.expire(self.clock())
            suspension = self.index.find_suspension(who)
            if suspension is None:
                raise NotFound(f"{who} is not suspended.", hint="`stanzagate jid list` shows all suspensions.")
            number = suspension.id
            after = self.index.scope(who.bare)
            after.within(who).suspended = None
            change = self._change(who, after, f"{who} is not suspended any more.")

            def apply(_: bool) -> Change:
                self.index.drop_suspension(number)
                return change

            return Plan(
                change,
                lambda connection: _there(rows.delete_suspension(connection, self.audit, actor, number)),
                apply,
            )

        return await self.changes.make(plan, dry_run=dry_run)

    async def rules(self) -> list[Rule]:
        """All rules that count, by id; targets are shown as the devices were registered."""
        self.index.expire(self.clock())
        return [self.shown_rule(rule) for _, rule in sorted(self.index.rules.items())]

    async def suspensions(self) -> list[Suspension]:
        """All suspensions that count, by id."""
        self.index.expire(self.clock())
        return [suspension for _, suspension in sorted(self.index.suspensions.items())]

    def check(self, requester: str, device: str) -> Decision:
        """What the policy says about a requester and a device, which need not be registered.

        :param device: id or JID.
        :raises InputError: when one of them is malformed.
        :raises NotFound: when the device is registered with another resource.
        """
        who = requester_from(requester)
        number = self.find_device(device)
        verdict = self.index.decide(who, number, self.clock())
        name = self.index.devices.id(number) if number >= 0 else device
        effect = Effect.ALLOW if verdict.allowed else Effect.DENY
        return Decision(who.full, name, effect, verdict.rule, verdict.reason)

    async def import_rules(self, actor: str, text: str, *, dry_run: bool = False) -> Change:
        """Add the rules and suspensions of a CSV file: all or none. Those that are there already are skipped.

        :raises InputError: names every bad line.
        """
        return await rules_bulk.import_rules(self, actor, text, dry_run=dry_run)

    async def export_rules(self) -> str:
        """All rules and suspensions as CSV, which `import_rules` reads."""
        self.index.expire(self.clock())
        ordered = [rule for _, rule in sorted(self.index.rules.items())]
        return written_rules(ordered, await self.suspensions(), self.shown_target)

    async def run_expiry(self) -> None:
        """Remove what has ended from the database, and read everything again after trouble. Runs until cancelled."""
        waiting = list(self.chores)
        while True:
            self._wake.clear()
            try:
                async with self.changes.lock:
                    await self.changes.ready()
                while await self.clean_expired():
                    pass
                while waiting:
                    await waiting[0]()
                    waiting.pop(0)
                wait = min(LONGEST_WAIT_SECONDS, max(self.index.next_end - self.clock(), 0.01))
            except StanzagateError as error:
                log.error("the policy could not be tidied up: %s", error)
                wait = RETRY_SECONDS
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()

    async def clean_expired(self) -> int:
        """Remove up to `EXPIRY_PIECE` rules and suspensions that have ended; returns how many there were."""
        now = self.clock()
        self.index.expire(now)
        ended, over = await self._store.read(lambda connection: rows.ended(connection, now, EXPIRY_PIECE))
        if not ended and not over:
            return 0
        count = len(ended) + len(over)

        async def plan() -> Plan:
            def write(connection: Connection) -> None:
                for number in ended:
                    rows.delete_rule(connection, self.audit, rows.EXPIRY, number, self.shown_target, rows.EXPIRED)
                for number in over:
                    rows.delete_suspension(connection, self.audit, rows.EXPIRY, number)

            # Every decision knows when it ends, so nobody needs to be told, and the policy is the same as before.
            change = Change(f"{count} ended rules and suspensions were removed.")
            return Plan(change, write, lambda _: change, advances=False)

        await self.changes.make(plan)
        return count

    def find_target(self, text: str) -> Target:
        """A target from what people write.

        :raises InputError: when it is malformed.
        :raises NotFound: when there is no such device.
        """
        text = text.strip()
        if text == EVERYTHING:
            return Target(TargetKind.ALL)
        if text.startswith(GROUP_PREFIX):
            return Target(TargetKind.GROUP, group_name(text[len(GROUP_PREFIX) :]))
        number = self.find_device(text)
        if number < 0:
            raise NotFound(
                f"There is no device {shown(text)}.",
                hint="Name a registered device by id or JID, or write group:NAME or all.",
            )
        return Target(TargetKind.DEVICE, self.index.devices.ids.text(number))

    def find_device(self, text: str) -> int:
        """The number of a device by id or JID, or -1 when there is none.

        :param text: an id, the bare JID, or the full JID with which the device is registered.
        :raises InputError: when it can be neither.
        :raises NotFound: when the device is registered with another resource: that is another session.
        """
        if "@" not in text:
            return self.index.by_id(device_key(text))
        jid = prepare(text)
        number = self.index.by_jid(jid.bare)
        if jid.resource and number >= 0 and (known := self.index.device(number)).jid != jid:
            raise NotFound(
                f"There is no device {shown(text)}: {shown(known.id)} is registered as {shown(known.jid.full)}.",
                hint="Name it by its id, its bare JID or that full JID.",
            )
        return number

    def members(self, group: str) -> list[str]:
        """The ids of the devices in a group, sorted.

        :raises InputError: when it cannot be the name of a group.
        """
        devices = self.index.devices
        return sorted(devices.id(int(number)) for number in devices.in_group(group_name(group)))

    def shown_target(self, target: Target) -> str:
        """A target as people write it: devices by the id with which they were registered."""
        return self.index.shown_target(target)

    def shown_rule(self, rule: Rule) -> Rule:
        """A rule whose target is shown as the device was registered."""
        if rule.target.kind is not TargetKind.DEVICE:
            return rule
        return replace(rule, target=Target(TargetKind.DEVICE, self.shown_target(rule.target)))

    def _sentence(self, rule: Rule) -> str:
        return f"{rule.effect} {rule.requester} to {self.shown_target(rule.target)}"

    def _only_device(self, target: Target) -> str:
        if target.kind is not TargetKind.DEVICE:
            return ""
        return self.index.devices.jids.text(self.index.by_id(target.name))

    def _notes(self, rule: Rule) -> str:
        notes = _server_only(rule.requester)
        if rule.target.kind is TargetKind.GROUP and not len(self.index.devices.in_group(rule.target.name)):
            notes += f" No device is in group {rule.target.name} yet."
        return notes

    def _change(self, who: Jid, after: Scope, summary: str) -> Change:
        loses, gains = impact.of_rules(self.index, who.bare, after)
        return Change(summary, loses, gains, requester=who.bare)


def _read(connection: Connection) -> tuple[int, int, DeviceTable, list[Rule], list[Suspension]]:
    epoch, generation = ensured_state(connection)
    return epoch, generation, read_table(connection, generation), *rows.read_rules(connection)


def _there(removed: bool) -> bool:
    if not removed:  # memory has it and the database has not: somebody else wrote to the database
        raise Conflict("The database was changed by another program.", hint="Restart the service.")
    return removed


def _until(expires: float | None) -> str:
    return "" if expires is None else f" until {format_time(expires)}"


def _server_only(who: Jid) -> str:
    if who.local:
        return ""
    return f" Note: {who} without a local part means only the server itself, not its users."
