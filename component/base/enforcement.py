"""The component's side of the in-server plugins (contract, section 4, "Between plugin and component").

A plugin in the XMPP server holds what nobody may send unasked, and believes one component. This is what that
component says to the plugins of its guarded hosts, and hears from them:

    plugin → component    check      may this requester reach this device?        the decider answers
                          session    a client has come or gone; or all there are  the session sink is told
                          status     how it is, when that has changed
    component → plugin    flush      the policy has changed                       awaited, repeated until confirmed
                          status     how are you?                                 asked now and then, for the metrics
                          sessions   who is there?                                asked when an event was lost

Who decides, and what becomes of the sessions, is handed in, so that the gate and the grid both use it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol
from xml.etree.ElementTree import Element

from component.base import ns
from component.base.clientsessions import SessionSink
from component.base.errors import StanzagateError
from component.base.guardedhost import CatchUp, GuardedHost, ModeListener
from component.base.jid import Jid, JidError, prepare_often
from component.base.link import Link
from component.base.pluginstatus import Guard, PluginMode
from component.base.stanzas import IQ, MESSAGE, quote

log = logging.getLogger(__name__)

_CHECK = f"{{{ns.POLICY}}}check"


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


class Enforcement:
    """Answers the plugins of the guarded hosts and keeps them up to date. Call `attach` before anything else.

    :param hosts: the guarded hosts, prepared domains.
    :param decide: who decides.
    :param sink: who is told which clients are connected.
    :param guard: what the plugins should guard, as configured here; a plugin that differs is named in the log.
    :param ttl: seconds for which a plugin may use a decision.
    :param stale: seconds for which it may while this component is away.
    :param on_mode: told when a plugin is in another mode than before.
    :param catch_up: tells a plugin what it has missed; for those that keep more than a cache.
    :param clock: Unix time in seconds.
    :ivar hosts: what is known of each guarded host, by its name.
    :ivar checks: checks answered, by effect; ``none`` when nothing could be decided, ``malformed``.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        decide: Decider,
        sink: SessionSink,
        *,
        guard: Guard,
        ttl: float,
        stale: float,
        on_mode: ModeListener = lambda _host, _mode, _before: None,
        catch_up: CatchUp | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.hosts = {host: GuardedHost(host, sink, guard, on_mode, catch_up) for host in hosts}
        self.checks: Counter[str] = Counter()
        self._decide = decide
        self._ttl = ttl
        self._stale = max(ttl, stale)
        self._clock = clock

    def attach(self, link: Link) -> None:
        """Say which link carries the stanzas; what it receives goes to `handle` first."""
        self._link = link
        for host in self.hosts.values():
            host.attach(link)

    async def run(self) -> None:
        """Look after all plugins, until cancelled; none of them holds up another."""
        async with asyncio.TaskGroup() as group:
            for name, host in self.hosts.items():
                group.create_task(host.run(), name=f"plugin {name}")

    async def flush(self, epoch: int, requester: str = "", device: str = "") -> None:
        """Have every plugin forget what it has cached, and wait until they have.

        :param epoch: the number of the policy that is in force now.
        :param requester: bare JID; only decisions about it are concerned. Empty for all.
        :param device: bare JID; likewise.
        :raises NotConfirmed: not every plugin has confirmed it in time; it is told again until it does.
        """
        reasons = await asyncio.gather(*(host.confirm(epoch, requester, device) for host in self.hosts.values()))
        silent = [f"{name} ({why})" for name, why in zip(self.hosts, reasons, strict=True) if why]
        if silent:
            raise NotConfirmed(
                f"{' and '.join(silent)} {'has' if len(silent) == 1 else 'have'} not confirmed it, so devices there "
                "may be guarded by the policy from before.",
                hint="It is told again until it confirms; a plugin forgets everything when the link comes back.",
            )

    # From the plugins

    def handle(self, stanza: Element) -> bool:
        """Take a stanza if it comes from a plugin.

        :returns: whether it did; all others are somebody else's business.
        """
        host = self.hosts.get(stanza.get("from", ""))
        if host is None or len(stanza) != 1 or stanza.get("to") != self._link.jid:
            return False
        payload = stanza[0]
        if stanza.tag == IQ and payload.tag == _CHECK and stanza.get("type") == "get":
            self._link.send(self._answered(stanza.get("id", ""), host, payload))
            return True
        return stanza.tag == MESSAGE and stanza.get("type") != "error" and host.take(payload)

    def _answered(self, request_id: str, host: GuardedHost, check: Element) -> str:
        try:
            requester, device = as_prepared(check.get("requester", "")), as_prepared(check.get("device", ""))
        except JidError:
            return self._error(request_id, host, "malformed", "modify", "bad-request")
        if device.domain != host.host:  # a plugin speaks for its own host
            return self._error(request_id, host, "malformed", "auth", "forbidden")
        try:
            decision = self._decide(requester, device, host.mode)
        except NoDecision:
            return self._error(request_id, host, "none", "wait", "internal-server-error")
        except Exception:  # a defect of ours must not open the guard, nor leave it without an answer
            log.exception("A check failed.")
            return self._error(request_id, host, "none", "wait", "internal-server-error")
        effect = "allow" if decision.allowed else "deny"
        self.checks[effect] += 1
        ttl, stale = lifetime(decision.expires, self._ttl, self._stale, self._clock())
        return (
            f"<iq type='result' id='{quote(request_id)}' from='{self._link.jid}' to='{host.host}'>"
            f"<decision xmlns='{ns.POLICY}' effect='{effect}' scope='{'bare' if decision.every_resource else 'full'}'"
            f" ttl='{ttl:.3f}' stale='{stale:.3f}' epoch='{decision.epoch}' rule='{quote(decision.rule)}'"
            f" reason='{quote(decision.reason)}'/></iq>"
        )

    def _error(self, request_id: str, host: GuardedHost, effect: str, kind: str, condition: str) -> str:
        self.checks[effect] += 1
        return (
            f"<iq type='error' id='{quote(request_id)}' from='{self._link.jid}' to='{host.host}'>"
            f"<error type='{kind}'><{condition} xmlns='{ns.STANZAS}'/></error></iq>"
        )


def lifetime(expires: float | None, ttl: float, stale: float, now: float) -> tuple[float, float]:
    """For how long a decision may be used: seconds while we can be asked, and seconds while we are away.

    :param expires: Unix time in seconds at which it may change by itself, or None.
    :param now: Unix time in seconds.
    """
    left = math.inf if expires is None else max(0.0, expires - now)
    return min(ttl, left), min(stale, left)


def as_prepared(address: str) -> Jid:
    """A JID that the server has prepared. Should it have done that in another way than we do, nobody is judged as
    somebody else.

    :raises JidError: it is none, or would be another one if it was prepared once more.
    """
    jid = prepare_often(address)
    if jid.full != address and not address.isascii():
        raise JidError("The address was prepared in another way.")
    return jid
