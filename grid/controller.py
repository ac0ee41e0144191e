"""The XMPP-Grid controller: its parts, and the order of things between them. Nothing else.

stanza → enforcement   what the in-server plugin of the grid host tells: sessions, status
       → desk          requests of the draft, sent to the controller (seed 004 §2.6)
       → broker        requests of RFC 8600, sent to the broker: the plugin on the pubsub host hands them on
       → incidents     XEP-0268

request → admission (who is it?) → judge (may he?) → registries (what is there, on disk)
        → effects (plugin, server) → answer
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from component.base.audit import Audit
from component.base.clientsessions import ClientSession
from component.base.enforcement import Decision, Enforcement, NoDecision
from component.base.errors import StanzagateError
from component.base.guardedhost import ModeListener
from component.base.jid import Jid
from component.base.link import Link, Spawn
from component.base.pluginstatus import Guard, PluginMode
from component.base.store import Store
from grid import ns
from grid.access import Access
from grid.accounts import Accounts
from grid.admission import Admission
from grid.alerts import Alert, AlertKind, Alerts
from grid.authority import NodeAuthority
from grid.broker import Broker
from grid.dataplane.debts import Debts
from grid.dataplane.host import Orders, PluginHost, disconnect_order, lost_order, node_order, revoked_order
from grid.dataplane.programmer import Programmer
from grid.dataplane.pubsub import PubSub
from grid.dataplane.report import Report
from grid.dataplane.users import Users
from grid.desired import Desired
from grid.desk import Desk
from grid.effects import STRANGER, Effects
from grid.entrance import Entrance
from grid.epochs import FLOOR, PROGRAMMED, Epochs
from grid.honey import Honey
from grid.incidents import TOPIC, Incidents
from grid.judge import Judge
from grid.limits import Limiter
from grid.losses import Losses
from grid.model import Clearance, NodeState, Right
from grid.payloads import Schemas
from grid.presence import Providers
from grid.queues import Queues
from grid.sessions import Sessions
from grid.settings import GridSettings
from grid.topics import Topics

log = logging.getLogger(__name__)

ACTOR = "stanzagate"
"""Who did it, in the record, when nobody asked for it."""

MARK_SECONDS = 1.0
"""So often it is kept how far the server has come; a change is at the server within less."""


class Grid:
    """One grid: all its parts, each made with what it needs.

    :param secret: of the component.
    :param server: address of the XMPP server.
    :param spawn: starts a background task.
    :param on_mode: told when the plugin on the grid host is in another mode.
    :param software: slixmpp plugins for service questions about the controller itself.
    """

    def __init__(
        self,
        settings: GridSettings,
        secret: str,
        server: str,
        store: Store,
        audit: Audit,
        *,
        spawn: Spawn,
        on_mode: ModeListener,
        software: dict[str, dict[str, Any]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self._spawn = spawn
        self._on_mode = on_mode
        self._audit = audit
        self.epochs = Epochs(store)
        self.alerts = Alerts(settings.alerts, note=audit.note, sender=settings.jid, now=clock)
        self.sessions = Sessions(clock)
        self.losses = Losses(store, self.epochs)
        self.debts = Debts(store)
        self.repairs: Counter[str] = Counter()
        self._registries(store, audit, clock)
        self.link = Link(
            settings.jid, secret, server, settings.component_port,
            on_stanza=self._received, spawn=spawn, name="grid", plugins=software,
        )  # fmt: skip
        self._data_plane(clock)
        self._front(audit)
        self.alerts.attach(self.link)
        self.sessions.on_up.append(self._session)
        self.sessions.on_found.append(self._found)

    def _registries(self, store: Store, audit: Audit, clock: Callable[[], float]) -> None:
        settings = self.settings
        self.accounts = Accounts(
            store, audit, self.epochs, settings=settings, alert=self.alerts.raise_, rights=self._rights,
            revoked=self._is_revoked, clock=clock,
        )  # fmt: skip
        self.authority = NodeAuthority(
            store, audit, self.epochs, settings=settings, bindings=self.accounts.bindings, node=self.accounts.get,
            sessions=self.sessions.all, clock=clock,
        )  # fmt: skip
        self.schemas = Schemas()
        self.topics = Topics(store, audit, self.epochs, schemas=self.schemas, clock=clock)
        self.access = Access(
            store, audit, self.epochs, node=self.accounts.get, members=self.accounts.members,
            topics=self.topics.all, topic=self.topics.get, roles=settings.roles, clock=clock,
        )  # fmt: skip

    def _rights(self, jid: str) -> Sequence[Right]:
        return self.access.rights(jid)

    def _is_revoked(self, fingerprint: str) -> bool:
        return self.authority.is_revoked(fingerprint)

    def _data_plane(self, clock: Callable[[], float]) -> None:
        settings = self.settings
        self.plugin = PluginHost(
            Orders(
                lambda: self.epochs.current,
                lambda: self.epochs.settled,
                (
                    lambda epoch: (
                        node_order(jid, state, n, bound)
                        for n, jid, state, bound in self.accounts.changes_since(epoch)
                    ),
                    lambda epoch: (revoked_order(print_, n) for n, print_ in self.authority.revocations_since(epoch)),
                    lambda epoch: (
                        lost_order(jid, topic, n, regained=back) for n, jid, topic, back in self.losses.since(epoch)
                    ),
                ),
            ),
            self._plugin_met,
        )
        self.enforcement = Enforcement(
            [settings.host], _nothing_to_check, self.sessions, guard=Guard.EVERYTHING, ttl=1.0, stale=1.0,
            on_mode=self._mode, catch_up=self.plugin.catch_up, clock=clock,
        )  # fmt: skip
        self.enforcement.attach(self.link)
        self.plugin.attach(self.enforcement.hosts[settings.host], self.link)
        self.pubsub = PubSub(self.link, settings.pubsub)
        self.users = Users(self.link, settings.host)
        desired = Desired(self.accounts, self.topics, self.access)
        self.programmer = Programmer(
            self.pubsub, self.users, desired, lost=self._lost, note_account=self.accounts.note_account,
            debts=self.debts, on_report=self._reconciled, interval=settings.reconcile,
        )  # fmt: skip

    def _front(self, audit: Audit) -> None:
        settings = self.settings
        self.honey = Honey(self.alerts.raise_, lambda: self.topics.honeytokens)
        self.judge = Judge(self.access, self.topics, audit, self.honey)
        self.limiter = Limiter(settings.limits, time.monotonic, alert=self.alerts.raise_, overrun=self._overrun)
        self.admission = Admission(
            settings, self.accounts, self.sessions, self.limiter, self.alerts.raise_, self._reported
        )
        self.providers = Providers(self.link, self.topics, self.judge, self.sessions)
        self.desk = Desk(
            admission=self.admission, accounts=self.accounts, topics=self.topics, judge=self.judge,
            sessions=self.sessions, programmer=self.programmer, plugin=self.plugin, providers=self.providers,
            link=self.link, audit=audit, epoch=lambda: self.epochs.current, limit=settings.limits.result,
        )  # fmt: skip
        self.broker = Broker(
            settings, self.admission, self.topics, self.judge, self.desk, self.pubsub, self.schemas, audit
        )
        self.incidents = Incidents(
            require=self.judge.require, publish=self.broker.publish, note=audit.note, clearance=self._clearance
        )
        self.queues = Queues(self._spawn)
        self.entrance = Entrance(
            settings, self.link, admission=self.admission, desk=self.desk, broker=self.broker,
            incidents=self.incidents, queues=self.queues,
        )  # fmt: skip

    def _clearance(self, jid: str) -> Clearance | None:
        """What a node may see of incidents; None while their topic does not enforce it."""
        topic, node = self.topics.get(TOPIC), self.accounts.get(jid)
        return (node.clearance if node else Clearance.WHITE) if topic is not None and topic.restricted else None

    def _listen(self) -> None:
        self.effects = effects = Effects(
            self.accounts, self.topics, self.access, self.sessions, self.programmer, self.plugin, self.limiter,
            self.entrance.tell, self.alerts.raise_,
        )  # fmt: skip
        self.accounts.listeners.append(effects.node_changed)
        self.topics.listeners.append(effects.topic_changed)
        self.access.listeners.append(effects.access_changed)
        self.authority.listeners.append(self._revoked)
        self.authority.bound.append(effects.bound)

    # What happens

    def _received(self, stanza: Any) -> bool:
        return self.enforcement.handle(stanza) or self.entrance.handle(stanza)

    def _reported(self) -> bool:
        return self.enforcement.hosts[self.settings.host].mode is not PluginMode.ABSENT

    def _reconciled(self, report: Report) -> None:
        """Record what was put right; what was done behind our back is an alert."""
        if self.effects.unsettled:
            self._spawn("grid.settle", self._quietly(self.effects.settle()))
        repairs = sum(report.counts.values())
        self.repairs.update({str(kind): count for kind, count in report.counts.items()})
        if not repairs and not report.failed and not report.made_good:
            return
        detail = {
            "repairs": {str(kind): count for kind, count in report.counts.items()}, "lines": list(report.lines[:50]),
            "made_good": report.made_good, "made": list(report.made[:50]), "failed": list(report.failed[:50]),
            "complete": report.complete,
        }  # fmt: skip
        self._audit.note(ACTOR, "reconcile.done", self.settings.pubsub, detail)
        if repairs:
            text = f"{repairs} things at the server were not as they should be, and were put right."
            self.alerts.raise_(Alert(AlertKind.DRIFT, self.settings.pubsub, text, {"repairs": repairs}))

    def _mode(self, host: str, mode: PluginMode, before: PluginMode) -> None:
        self._on_mode(host, mode, before)
        if mode not in (PluginMode.ENFORCE, PluginMode.UNKNOWN):
            text = f"The in-server plugin on {host} does not hold anything back: it is {mode}."
            self.alerts.raise_(Alert(AlertKind.PLUGIN, host, text))

    async def _plugin_met(self, foreign: bool) -> None:
        """What the plugin knows is of this database alone: always was, or is again."""
        if foreign:
            text = (
                "The in-server plugin knew of changes that this database has never had: is it an older one? "
                "What was changed since then, revocations too, is forgotten: look into it."
            )
            self.alerts.raise_(Alert(AlertKind.DRIFT, self.settings.host, text))
        try:
            await self.epochs.mark(FLOOR, None)
        except StanzagateError as error:
            log.warning("%s", error)

    async def _lost(self, jid: str, topic: str, regained: bool) -> None:
        if await self.losses.note(jid, topic, regained=regained):
            await self.plugin.obey()

    async def _revoked(self, _change: object) -> None:
        await self.plugin.obey()
        for session in list(self.sessions.all()):
            if session.fingerprint and self.authority.is_revoked(session.fingerprint):
                await self.plugin.tell(disconnect_order(session.jid.full, "The certificate was revoked."))

    def _session(self, session: ClientSession) -> None:
        """A certificate that was revoked, or is not the one that the name is bound to, must not be connected. A name
        that is not active is confined anyway, and hears by the answer to its requests what is wrong."""
        jid = session.jid
        node = self.accounts.get(jid.bare)
        if session.fingerprint and self.authority.is_revoked(session.fingerprint):
            self.alerts.raise_(Alert(AlertKind.REVOKED_CERTIFICATE, jid.bare, "A revoked certificate got in."))
            self._end(jid, "The certificate was revoked.")
        elif node is not None and node.state is NodeState.ACTIVE and not self.effects.is_own(session):
            self._end(jid, STRANGER)

    def _found(self, session: ClientSession) -> None:
        """Whoever was logged in before the controller has started is not any more, and can know it by this."""
        node = self.accounts.get(session.jid.bare)
        if node is not None and node.state is NodeState.ACTIVE:
            self.entrance.tell(session.jid.full, f"<node xmlns='{ns.GRID}' state='active'/>")

    def _end(self, jid: Jid, why: str) -> None:
        self._spawn("grid.disconnect", self._quietly(self.plugin.tell(disconnect_order(jid.full, why))))

    def _overrun(self, jid: str) -> None:
        self._spawn("grid.disable", self._quietly(self._disable(jid)))

    async def _disable(self, jid: str) -> None:
        await self.accounts.disable(ACTOR, jid, reason="It asked too often.")
        self.alerts.raise_(Alert(AlertKind.DISABLED, jid, "The node asked too often and was disabled."))

    async def _quietly(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        except StanzagateError as error:
            log.warning("%s", error)

    async def _mark(self) -> None:
        """Keep, now and then, up to which change the server has everything, so that what a kill leaves undone is told
        from what somebody else has done."""
        seen = self.epochs.current
        while True:
            await asyncio.sleep(MARK_SECONDS)
            if self.programmer.idle and not self.effects.unsettled:
                await self._quietly(self.epochs.mark(PROGRAMMED, seen))
                seen = self.epochs.current

    # Life

    async def load(self) -> None:
        """Read everything; nothing is served before."""
        await self.epochs.load()
        await self.epochs.mark(FLOOR, self.epochs.marks.get(FLOOR, self.epochs.current))
        self.plugin.begin(self.epochs.marks[FLOOR])
        await self.programmer.recover()
        self.programmer.uncertain = self.epochs.marks.get(PROGRAMMED, 0) < self.epochs.current
        fresh = self.epochs.current == 0
        for part in (self.accounts, self.authority, self.topics, self.access, self.losses):
            await part.load()
        self.topics.standing = self.access.standing
        if fresh:
            self.programmer.owed.update(topic.name for topic in self.topics.all())
        self._listen()  # not before: what is there already is for the reconciliation

    def background(self) -> tuple[tuple[str, Coroutine[Any, Any, None]], ...]:
        """What runs while the grid does: name and coroutine."""
        self.alerts.raise_(Alert(AlertKind.RESTART, self.settings.jid, "The controller has started."))
        return (
            ("grid.mark", self._mark()),
            ("grid.settle", self._quietly(self.effects.settle())),
            ("grid.alerts", self.alerts.run()),
            ("grid.link", self.link.run()),
            ("grid.plugin", self.enforcement.run()),
            ("grid.programmer", self.programmer.run()),
            ("grid.authority", self.authority.run()),
        )

    async def drain(self, timeout: float) -> None:
        """Answer what is outstanding and close the link."""
        self.entrance.draining = True
        if self.programmer.idle and not self.effects.unsettled:
            await self._quietly(self.epochs.mark(PROGRAMMED, self.epochs.current))
        await self.link.drain(timeout)
        await self.alerts.drain(timeout)


def _nothing_to_check(requester: Jid, device: Jid, mode: PluginMode) -> Decision:
    raise NoDecision("The grid host asks for no decisions.")
