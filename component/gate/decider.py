"""What in-server plugins and relays ask of the gate: decisions on direct requests, and obedience to every change."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from component.base.audit import Audit
from component.base.enforcement import Decision, NoDecision, NotConfirmed
from component.base.errors import StanzagateError
from component.base.guardedhost import ModeListener
from component.base.jid import Jid
from component.base.link import Spawn
from component.base.pluginstatus import PluginMode
from component.base.store import Store
from component.gate.changes import Change, Listener
from component.gate.policy import Policy
from component.gate.wakes import Record

log = logging.getLogger(__name__)

PERMITTED_SECONDS = 60.0
PERMITTED_PAIRS = 50_000
"""So many permissions are remembered, so that resources, which cost nothing, do not fill the record."""

PLUGIN = "plugin"
"""Who did it, in the record, when an administrator changed the mode of a plugin in the server's own shell."""


class PolicyDecider:
    """Decides for plugins and relays as the gateway decides for itself (contract, section 4).

    :param record: takes down what was permitted and what was refused. A plugin asks once for many requests, so a row
        tells that a requester was permitted to reach a device by itself, not how often it did; once a minute at most.
    :param observe: told of every refusal that only lacked a rule: bare requester and device id.
    :param clock: Unix time in seconds.
    """

    def __init__(
        self,
        policy: Policy,
        record: Record,
        *,
        observe: Callable[[str, str], None] = lambda _requester, _device: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._policy = policy
        self._record = record
        self._observe = observe
        self._clock = clock
        self._permitted: OrderedDict[tuple[str, int], float] = (
            OrderedDict()
        )  # requester, device: when it was recorded

    def __call__(self, requester: Jid, device: Jid, mode: PluginMode) -> Decision:
        """May `requester` reach `device`, registered or not?

        :param mode: of the plugin that asks.

        :raises NoDecision: while memory may not equal the database.
        """
        policy = self._policy
        if not policy.available:
            raise NoDecision("The policy cannot be had.")
        index = policy.index
        number = index.by_jid(device.bare)
        now = self._clock()
        verdict = index.decide(requester, number, now)
        name = index.devices.id(number) if number >= 0 else device.bare
        if verdict.allowed and self._is_news(requester.bare, number, now):
            self._record.wake(
                actor=requester.full, requester=requester.full, device=name, outcome="permitted", rule=verdict.rule,
                elapsed_ms=0,
            )  # fmt: skip
        elif not verdict.allowed:
            rule = f"{mode}:{verdict.rule}" if mode is PluginMode.LOG_ONLY else verdict.rule
            self._record.refusal(requester.bare, name, rule, verdict.reason)
            if verdict.rule == "none" and number >= 0:
                self._observe(requester.bare, name)
        every_resource = not index.live_scope(requester.bare).resources
        return Decision(verdict.allowed, every_resource, verdict.rule, verdict.reason, policy.epoch, verdict.expires)

    def _is_news(self, requester: str, device: int, now: float) -> bool:
        before = self._permitted.get((requester, device))
        if before is not None and abs(now - before) < PERMITTED_SECONDS:
            return False
        self._permitted[requester, device] = now
        self._permitted.move_to_end((requester, device))
        if len(self._permitted) > PERMITTED_PAIRS:
            self._permitted.popitem(last=False)
        return True


class Obedient(Protocol):
    """Those who decide by what they remember of the policy: in-server plugins, relays."""

    async def flush(self, epoch: int, requester: str = "", device: str = "") -> None:
        """Have them forget what a change touches, and wait until they have.

        :raises NotConfirmed: naming those who have not confirmed it in time.
        """


def obedience(*followers: Obedient) -> Listener:
    """Have everybody obey each change before it returns; to be put into `Policy.listeners`.

    All are told at once: whoever does not answer keeps nobody else from hearing of the change.
    """

    async def told(change: Change) -> None:
        outcomes = await asyncio.gather(
            *(follower.flush(change.epoch, change.requester, change.device) for follower in followers),
            return_exceptions=True,
        )
        failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        silent = [error for error in failed if isinstance(error, NotConfirmed)]
        if len(silent) < len(failed):
            raise next(error for error in failed if not isinstance(error, NotConfirmed))
        if silent:
            message = " And ".join(error.message for error in silent)
            hint = " ".join(dict.fromkeys(error.hint for error in silent))
            raise NotConfirmed(f"{change.summary} But {message}", hint=hint)

    return told


def mode_recorder(audit: Audit, store: Store, spawn: Spawn) -> ModeListener:
    """Record when a plugin is in another mode than before: an emergency bypass must be found again later."""

    async def write(host: str, mode: PluginMode, before: PluginMode) -> None:
        detail = {"mode": mode, "before": before}
        try:
            await store.write(
                lambda connection: audit.append(
                    connection, actor=PLUGIN, action="plugin.mode", subject=host, detail=detail
                )
            )
        except StanzagateError as error:
            log.error("the mode of the plugin on %s could not be recorded: %s", host, error)

    def changed(host: str, mode: PluginMode, before: PluginMode) -> None:
        if before is not PluginMode.UNKNOWN or mode in (PluginMode.LOG_ONLY, PluginMode.BYPASS):
            spawn("plugin.mode", write(host, mode, before))

    return changed
