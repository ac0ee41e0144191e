"""The component's side of the in-server plugins (contract, section 4, "Between plugin and component").

A plugin in the XMPP server holds what nobody may send unasked, and believes one component. This is what that
component says to the plugins of its guarded hosts, and hears from them:

    plugin → component    check      may this requester reach this device?        the decider answers
                          session    a client has come or gone; or all there are  the session sink is told
    component → plugin    flush      the policy has changed                       awaited, repeated until confirmed
                          status     how are you?                                 asked now and then, for the metrics
                          sessions   who is there?                                asked when an event was lost

Who decides, and what becomes of the sessions, is handed in, so that the gate and the grid both use it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from xml.etree.ElementTree import Element

from component.base import ns
from component.base.clientsessions import SessionBook, SessionSink
from component.base.errors import StanzaError, StanzagateError
from component.base.jid import Jid, JidError, prepare_often
from component.base.link import Link, LinkState
from component.base.pluginstatus import PluginMode, PluginStatus, read_status
from component.base.stanzas import IQ, MESSAGE, quote

log = logging.getLogger(__name__)

_CHECK = f"{{{ns.POLICY}}}check"
_SESSION = f"{{{ns.POLICY}}}session"
_SESSIONS = f"{{{ns.POLICY}}}sessions"
_STATUS = f"{{{ns.POLICY}}}status"

CONFIRM_SECONDS = 3.0
"""So long a change waits for the plugins; one that is there confirms within milliseconds."""

RETRY_SECONDS = 1.0
POLL_SECONDS = 10.0

_NOBODY_THERE = frozenset({"service-unavailable", "feature-not-implemented", "item-not-found"})
"""What a server without the plugin answers to its namespace."""


class NoDecision(StanzagateError):
    """Nothing can be decided at the moment."""


class NotConfirmed(StanzagateError):
    """A change has been made, but not every plugin has confirmed that it obeys it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """May a requester reach a device?

    :ivar every_resource: whether it is the same for all resources of the requester.
    :ivar epoch: the number of the policy that it was taken from.
    :ivar expires: Unix time in seconds at which it may change by itself, or None.
    """

    allowed: bool
    every_resource: bool
    rule: str
    reason: str
    epoch: int
    expires: float | None


class Decider(Protocol):
    """Decides, and records what it decided."""

    def __call__(self, requester: Jid, device: Jid, mode: PluginMode) -> Decision:
        """May `requester` reach `device`?

        :param mode: of the plugin that asks; in log-only mode it lets through what is denied.
        :raises NoDecision: when that cannot be said at the moment.
        """


ModeListener = Callable[[str, PluginMode, PluginMode], None]
"""Told when a plugin is in another mode than before: host, new mode, mode before."""


class Guard:
    """What is known of the plugin on one guarded host.

    :ivar installed: whether there is a plugin; None when that has not been found out since the link was attached.
    :ivar owed: whether a change has not been confirmed yet.
    """

    def __init__(self, host: str, sink: SessionSink) -> None:
        self.host = host
        self.installed: bool | None = None
        self.status: PluginStatus | None = None
        self.owed = False
        self.sessions = SessionBook(host, sink)

    @property
    def mode(self) -> PluginMode:
        """What the plugin was doing when it was last heard."""
        if self.installed is False:
            return PluginMode.ABSENT
        return self.status.mode if self.installed and self.status is not None else PluginMode.UNKNOWN


class Enforcement:
    """Answers the plugins of the guarded hosts and keeps them up to date.

    :param hosts: the guarded hosts, prepared domains.
    :param guard: what the plugins should guard, as configured here; a plugin that differs is named in the log.
    :param ttl: seconds for which a plugin may use a decision.
    :param stale: seconds for which it may while this component is away.
    :param clock: Unix time in seconds.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        decide: Decider,
        sink: SessionSink,
        *,
        guard: str,
        ttl: float,
        stale: float,
        on_mode: ModeListener = lambda _host, _mode, _before: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.guards = {host: Guard(host, sink) for host in hosts}
        self.checks: Counter[str] = Counter()
        """Checks answered, by effect; ``none`` when nothing could be decided, ``malformed``."""
        self._decide = decide
        self._guarding = guard
        self._ttl = ttl
        self._stale = max(ttl, stale)
        self._on_mode = on_mode
        self._clock = clock
        self._epoch = 0
        self._wake = asyncio.Event()

    def attach(self, link: Link) -> None:
        """Say which link carries the stanzas; what it receives goes to `handle` first."""
        self._link = link
        link.watchers.append(self._attached_or_lost)

    # From the plugins

    def handle(self, stanza: Element) -> bool:
        """Take a stanza if it comes from a plugin.

        :returns: whether it did; all others are somebody else's business.
        """
        guard = self.guards.get(stanza.get("from", ""))
        if guard is None or len(stanza) != 1 or stanza.get("to") != self._link.jid:
            return False
        payload = stanza[0]
        if stanza.tag == IQ and payload.tag == _CHECK and stanza.get("type") == "get":
            self._link.send(self._answered(stanza.get("id", ""), guard, payload))
        elif stanza.tag == MESSAGE and payload.tag in (_SESSION, _SESSIONS) and stanza.get("type") != "error":
            guard.installed = True
            if not guard.sessions.take(payload):
                self._ask_for_sessions(guard)
        else:
            return False
        return True

    def _answered(self, request_id: str, guard: Guard, check: Element) -> str:
        host = guard.host
        try:
            requester, device = prepare_often(check.get("requester", "")), prepare_often(check.get("device", ""))
        except JidError:
            return self._error(request_id, host, "malformed", "modify", "bad-request")
        if device.domain != host:  # a plugin speaks for its own host
            return self._error(request_id, host, "malformed", "auth", "forbidden")
        try:
            decision = self._decide(requester, device, guard.mode)
        except NoDecision:
            return self._error(request_id, host, "none", "wait", "internal-server-error")
        except Exception:  # a defect of ours must not open the guard, nor leave it without an answer
            log.exception("A check failed.")
            return self._error(request_id, host, "none", "wait", "internal-server-error")
        effect = "allow" if decision.allowed else "deny"
        self.checks[effect] += 1
        ttl, stale = self._lifetime(decision.expires)
        return (
            f"<iq type='result' id='{quote(request_id)}' from='{self._link.jid}' to='{host}'>"
            f"<decision xmlns='{ns.POLICY}' effect='{effect}' scope='{'bare' if decision.every_resource else 'full'}'"
            f" ttl='{ttl:.3f}' stale='{stale:.3f}' epoch='{decision.epoch}' rule='{quote(decision.rule)}'"
            f" reason='{quote(decision.reason)}'/></iq>"
        )

    def _lifetime(self, expires: float | None) -> tuple[float, float]:
        if expires is None:
            return self._ttl, self._stale
        left = max(0.0, expires - self._clock())
        return min(self._ttl, left), min(self._stale, left)

    def _error(self, request_id: str, host: str, effect: str, kind: str, condition: str) -> str:
        self.checks[effect] += 1
        return (
            f"<iq type='error' id='{quote(request_id)}' from='{self._link.jid}' to='{host}'>"
            f"<error type='{kind}'><{condition} xmlns='{ns.STANZAS}'/></error></iq>"
        )

    # To the plugins

    async def flush(self, epoch: int, requester: str = "", device: str = "") -> None:
        """Have every plugin forget what it has cached, and wait until they have.

        :param epoch: the number of the policy that is in force now.
        :param requester: bare JID; only decisions about it are concerned. Empty for all.
        :param device: bare JID; likewise.
        :raises NotConfirmed: not every plugin has confirmed it in time; it is told again until it does.
        """
        self._epoch = max(self._epoch, epoch)
        payload = _flush(epoch, requester, device)
        found = await asyncio.gather(*(self._flushed(guard, payload) for guard in self.guards.values()))
        open_ = [f"{guard.host} ({why})" for guard, why in zip(self.guards.values(), found, strict=True) if why]
        if open_:
            self._wake.set()
            raise NotConfirmed(
                f"{' and '.join(open_)} has not confirmed it: it may use the policy from before.",
                hint="It is told again until it confirms; a plugin forgets everything when the link comes back.",
            )

    async def _flushed(self, guard: Guard, payload: str) -> str:
        """Why a plugin has not confirmed; empty when it has, or when there is none."""
        why = ""
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                await self._link.attached.wait()
                await self._asked(guard, payload, "set")
        except TimeoutError:
            away = self._link.state is not LinkState.ATTACHED
            why = "the link to its server is down" if away else f"no answer within {CONFIRM_SECONDS:g} s"
        except StanzagateError as error:
            why = error.message.rstrip(".")
        if guard.installed is False:
            why = ""  # without a plugin nothing is cached
        if why:
            guard.owed = True
        return why

    async def _asked(self, guard: Guard, payload: str, kind: str = "get") -> Element:
        """Ask a plugin; takes note of whether there is one.

        :raises StanzagateError: there is none, it refused, or did not answer.
        """
        try:
            answer = await self._link.iq(guard.host, payload, timeout=CONFIRM_SECONDS, kind=kind)
        except StanzaError as error:
            if error.info.condition in _NOBODY_THERE:
                self._absent(guard)
            raise
        guard.installed = True
        return answer

    def _absent(self, guard: Guard) -> None:
        if guard.installed is not False:
            log.warning(
                "%s has no in-server plugin: devices there are guarded by their own lists alone. "
                "docs/install-prosody.md and docs/install-ejabberd.md tell how to add it.", guard.host,
            )  # fmt: skip
        guard.installed, guard.status, guard.owed = False, None, False
        guard.sessions.forget()

    async def run(self) -> None:
        """Look after the plugins, until cancelled: repeat what was not confirmed, ask how they are."""
        while True:
            await self._link.attached.wait()
            self._wake.clear()
            await asyncio.gather(*(self._look_after(guard) for guard in self.guards.values()))
            owing = any(guard.owed for guard in self.guards.values())
            try:
                async with asyncio.timeout(RETRY_SECONDS if owing else POLL_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _look_after(self, guard: Guard) -> None:
        try:
            if guard.owed:
                await self._asked(guard, _flush(self._epoch), "set")
                guard.owed = False
            answer = await self._asked(guard, f"<status xmlns='{ns.POLICY}'/>")
            status = read_status(answer.find(_STATUS))
            if status is None:
                return
            self._note(guard, status)
            if not guard.sessions.complete(status.seq, status.sessions):
                await self._fetch_sessions(guard)
        except StanzagateError as error:
            log.debug("%s: %s", guard.host, error)

    def _note(self, guard: Guard, status: PluginStatus) -> None:
        before = guard.status.mode if guard.status is not None else PluginMode.UNKNOWN
        guard.status = status
        if status.mode != before:
            log.log(
                logging.INFO if status.mode is PluginMode.ENFORCE else logging.WARNING,
                "%s: the in-server plugin is in mode %s.", guard.host, status.mode,
            )  # fmt: skip
            self._on_mode(guard.host, status.mode, before)
            if status.guard != self._guarding:
                log.warning(
                    "%s: the in-server plugin guards %s, but the configuration here says %s.",
                    guard.host, status.guard, self._guarding,
                )  # fmt: skip

    def _ask_for_sessions(self, guard: Guard) -> None:
        """An event was lost: what is known is known to be wrong until the plugin has told everything anew."""
        self._wake.set()

    async def _fetch_sessions(self, guard: Guard) -> None:
        answer = await self._asked(guard, f"<sessions xmlns='{ns.POLICY}'/>")
        found = answer.find(_SESSIONS)
        if found is not None:
            guard.sessions.take(found)

    def _attached_or_lost(self, attached: bool) -> None:
        for guard in self.guards.values():
            guard.sessions.forget()
            guard.installed = None
            if attached:
                guard.owed = False  # a plugin forgets everything when its component connects
        self._wake.set()

    # For the metrics

    def total(self, read: Callable[[PluginStatus], float]) -> float:
        """The sum of a figure over all plugins that are known."""
        return sum(read(guard.status) for guard in self.guards.values() if guard.status is not None)

    def refused(self) -> Counter[str]:
        """What the plugins refused, by reason."""
        found: Counter[str] = Counter()
        for guard in self.guards.values():
            if guard.status is not None:
                found.update(guard.status.refused)
        return found


def _flush(epoch: int, requester: str = "", device: str = "") -> str:
    only = "".join(
        f" {name}='{quote(value)}'" for name, value in (("requester", requester), ("device", device)) if value
    )
    return f"<flush xmlns='{ns.POLICY}' epoch='{epoch}'{only}/>"
