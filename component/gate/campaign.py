"""Campaigns: waking every device of a group at a given rate, resumable after any interruption.

The list of devices is written down before the first is woken, and each outcome before it is reported, so that after
Ctrl-C, a lost server or ``kill -9`` it is known which devices are done. A device whose answer was not yet recorded is
woken again by a resumed campaign: at least once, not exactly once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy import (
    Column,
    Connection,
    Float,
    ForeignKey,
    Integer,
    String,
    Table,
    Text,
    bindparam,
    func,
    insert,
    select,
    update,
)  # fmt: skip

from component.base.audit import Audit
from component.base.errors import Conflict, NotFound, StanzagateError
from component.base.link import Spawn
from component.base.settings import Rate
from component.base.store import Store, metadata
from component.gate.gateway import Gateway
from component.gate.wakes import WakeResult

CONCURRENCY = 1000
"""Wakes of one campaign that may be outstanding at once."""

_CHUNK = 5000

campaigns = Table(
    "campaigns",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("group_name", String(255), nullable=False, index=True),
    Column("actor", String(255), nullable=False),
    Column("started", Float, nullable=False),
    Column("state", String(16), nullable=False),
    Column("total", Integer, nullable=False),
)
campaign_devices = Table(
    "campaign_devices",
    metadata,
    Column("campaign_id", Integer, ForeignKey("campaigns.id", ondelete="CASCADE"), primary_key=True),
    Column("device_id", String(1023), primary_key=True),
    Column("outcome", String(16)),
    Column("detail", Text),
)


class CampaignState(StrEnum):
    """Where a campaign stands."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Campaign:
    """One campaign.

    :ivar started: seconds since 1970.
    :ivar total: how many devices it has.
    :ivar outcomes: how many devices are done, by outcome.
    """

    id: int
    group: str
    state: CampaignState
    started: float
    total: int
    outcomes: dict[str, int] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """How many devices have an outcome."""
        return sum(self.outcomes.values())


class Campaigns:
    """Starts, runs and remembers campaigns.

    :param members: the ids of a group's devices; empty for a group that has none.
    :param spawn: starts a background task.
    """

    def __init__(
        self,
        store: Store,
        audit: Audit,
        gateway: Gateway,
        *,
        members: Callable[[str], Sequence[str]],
        spawn: Spawn,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._audit = audit
        self._gateway = gateway
        self._members = members
        self._spawn = spawn
        self._clock = clock
        self._running: set[str] = set()

    async def recover(self) -> None:
        """Mark what a crash left running as interrupted; called once, before anything starts."""
        table = campaigns.c
        await self._store.write(
            lambda connection: connection.execute(
                update(campaigns).where(table.state == CampaignState.RUNNING).values(state=CampaignState.INTERRUPTED)
            )
        )

    async def start(self, actor: str, group: str, *, resume: bool = False) -> Campaign:
        """Begin a campaign, or go on with the latest one of the group that was interrupted.

        :raises NotFound: the group has no devices, or there is nothing to resume.
        :raises Conflict: a campaign of this group is running.
        """
        if group in self._running:
            raise Conflict(f"A campaign of group {group} is running.", hint="Wait for it, or interrupt it.")
        self._running.add(group)
        try:
            return await (self._resumed(actor, group) if resume else self._created(actor, group))
        except BaseException:
            self._running.discard(group)
            raise

    async def _created(self, actor: str, group: str) -> Campaign:
        devices = self._members(group)
        if not devices:
            raise NotFound(f"No device is in group {group}.", hint="See `stanzagate device list`.")
        started = self._clock()

        def create(connection: Connection) -> int:
            row = connection.execute(
                insert(campaigns).values(
                    group_name=group, actor=actor, started=started, state=CampaignState.RUNNING, total=len(devices)
                )
            )
            campaign_id = int((row.inserted_primary_key or (0,))[0])
            for start in range(0, len(devices), _CHUNK):
                rows = [{"campaign_id": campaign_id, "device_id": name} for name in devices[start : start + _CHUNK]]
                connection.execute(insert(campaign_devices), rows)
            self._note(connection, actor, "campaign.started", campaign_id, group, {"devices": len(devices)})
            return campaign_id

        campaign_id = await self._store.write(create)
        return Campaign(campaign_id, group, CampaignState.RUNNING, started, len(devices))

    async def _resumed(self, actor: str, group: str) -> Campaign:
        latest = await self.latest(group)
        if latest is None or latest.state is CampaignState.FINISHED:
            raise NotFound(f"No campaign of group {group} was interrupted.", hint="Start one without --resume.")

        def resume(connection: Connection) -> None:
            _set_state(connection, latest.id, CampaignState.RUNNING)
            left = latest.total - latest.done
            self._note(connection, actor, "campaign.resumed", latest.id, group, {"devices": left})

        await self._store.write(resume)
        return latest

    def _note(
        self, connection: Connection, actor: str, action: str, campaign_id: int, group: str, detail: dict[str, int]
    ) -> None:
        subject = f"campaign:{campaign_id}"
        self._audit.append(connection, actor=actor, action=action, subject=subject, detail={"group": group, **detail})

    async def latest(self, group: str) -> Campaign | None:
        """The latest campaign of a group, or None."""

        def read(connection: Connection) -> Campaign | None:
            table, devices = campaigns.c, campaign_devices.c
            row = connection.execute(
                select(campaigns).where(table.group_name == group).order_by(table.id.desc()).limit(1)
            ).first()
            if row is None:
                return None
            counts = connection.execute(
                select(devices.outcome, func.count())
                .where(devices.campaign_id == row.id, devices.outcome.is_not(None))
                .group_by(devices.outcome)
            )
            outcomes = {str(outcome): int(count) for outcome, count in counts}
            return Campaign(row.id, group, CampaignState(row.state), row.started, row.total, outcomes)

        return await self._store.read(read)

    def run(
        self, campaign: Campaign, actor: str, rate: Rate, *, answer_timeout: float | None = None
    ) -> AsyncIterator[WakeResult]:
        """Wake what is left of a campaign; each result is on disk before it is yielded.

        Closing the iterator interrupts the campaign: nothing new is woken, and what is outstanding is still recorded.

        :param rate: wakes a second.
        :param answer_timeout: seconds for each device; None for the configured one.
        :raises Unreachable: (while iterating) the server went away; the campaign is interrupted and can be resumed.
        """
        run = _Run(self._store, self._audit, self._gateway, self._spawn, campaign, actor, rate, answer_timeout)
        self._spawn(f"campaign.{campaign.id}", self._drive(run))
        return _results(run)

    async def _drive(self, run: _Run) -> None:
        try:
            await run.go()
        except StanzagateError as error:
            run.failure = error
            run.stopped.set()  # nothing is woken that could not be recorded
        left = run.campaign.total - run.campaign.done - run.recorded
        state = CampaignState.INTERRUPTED if left else CampaignState.FINISHED

        def finish(connection: Connection) -> None:
            _set_state(connection, run.campaign.id, state)
            detail = {"done": run.campaign.total - left, "left": left}
            self._note(connection, run.actor, f"campaign.{state}", run.campaign.id, run.campaign.group, detail)

        try:
            await self._store.write(finish)
        except StanzagateError as error:  # it counts as interrupted all the same: it is not marked as finished
            run.failure = run.failure or error
        finally:
            self._running.discard(run.campaign.group)
            run.results.put_nowait(None)


async def _results(run: _Run) -> AsyncIterator[WakeResult]:
    try:
        while (result := await run.results.get()) is not None:
            yield result
        if run.failure is not None:
            raise run.failure
    finally:
        run.stopped.set()


class _Run:
    """One pass over the devices of a campaign that have no outcome yet."""

    def __init__(
        self,
        store: Store,
        audit: Audit,
        gateway: Gateway,
        spawn: Spawn,
        campaign: Campaign,
        actor: str,
        rate: Rate,
        answer_timeout: float | None,
    ) -> None:
        self.campaign = campaign
        self.actor = actor
        self.stopped = asyncio.Event()
        self.results: asyncio.Queue[WakeResult | None] = asyncio.Queue()
        self.failure: StanzagateError | None = None
        self.recorded = 0
        self._store = store
        self._audit = audit
        self._gateway = gateway
        self._spawn = spawn
        self._pause = 0.0 if rate.unlimited else 1 / rate.per_second
        self._timeout = answer_timeout
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._news = asyncio.Event()
        self._unrecorded: list[WakeResult] = []
        self._outstanding = 0

    async def go(self) -> None:
        """Wake, record, and return when everything that was woken is recorded."""
        devices = await self._store.read(self._left)
        self._spawn(f"campaign.{self.campaign.id}.pace", self._pace(devices))
        self._outstanding += 1  # the pacing itself
        while self._outstanding or self._unrecorded:
            await self._news.wait()
            self._news.clear()
            await self._record()

    def _left(self, connection: Connection) -> list[str]:
        table = campaign_devices.c
        rows = connection.execute(
            select(table.device_id)
            .where(table.campaign_id == self.campaign.id, table.outcome.is_(None))
            .order_by(table.device_id)
        )
        return list(rows.scalars())

    async def _pace(self, devices: list[str]) -> None:
        loop = asyncio.get_running_loop()
        following = loop.time()
        try:
            for device in devices:
                await self._until(following)
                following = max(following, loop.time() - self._pause) + self._pause
                await self._slots.acquire()
                if self.stopped.is_set():
                    break
                self._outstanding += 1
                self._spawn("campaign.wake", self._wake(device))
        finally:
            self._landed()

    async def _until(self, when: float) -> None:
        delay = when - asyncio.get_running_loop().time()
        if delay > 0:
            try:
                async with asyncio.timeout(delay):
                    await self.stopped.wait()
            except TimeoutError:
                pass
        else:
            await asyncio.sleep(0)

    async def _wake(self, device: str) -> None:
        try:
            result = await self._gateway.wake(device, actor=self.actor, timeout=self._timeout)
            self._unrecorded.append(result)
        except StanzagateError as error:
            self.failure = error
            self.stopped.set()
        finally:
            self._slots.release()
            self._landed()

    def _landed(self) -> None:
        self._outstanding -= 1
        self._news.set()

    async def _record(self) -> None:
        results, self._unrecorded = self._unrecorded, []
        if not results:
            return
        table = campaign_devices.c
        statement = (
            update(campaign_devices)
            .where(table.campaign_id == bindparam("campaign"), table.device_id == bindparam("device"))
            .values(outcome=bindparam("result"), detail=bindparam("text"))
        )
        rows = [
            {"campaign": self.campaign.id, "device": r.device, "result": r.outcome.value, "text": r.detail}
            for r in results
        ]
        await self._audit.settle()  # or a crash could leave a device that is done and a wake that nobody recorded
        await self._store.write(lambda connection: connection.execute(statement, rows))
        self.recorded += len(results)
        for result in results:
            self.results.put_nowait(result)


def _set_state(connection: Connection, campaign_id: int, state: CampaignState) -> None:
    connection.execute(update(campaigns).where(campaigns.c.id == campaign_id).values(state=state))
