"""The gateway: an ACS asks the gate to wake a device; the gate decides, asks the device, and answers.

The order of things is the contract's (section 4), and it is this file's only business:

    policy → form of the request → limits → is there such a device → credentials → the device → its outcome

Reading and writing stanzas, the decision, the limits, and the turns at each device are next door.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from xml.etree.ElementTree import Element

from component.base import connreq, ns
from component.base.connreq import Credentials, MalformedRequest
from component.base.errors import InputError, StanzagateError, Unreachable
from component.base.jid import Jid, JidError, prepare, prepare_often
from component.base.limits import Buckets
from component.base.link import Link, LinkState, Spawn
from component.base.metrics import Histogram
from component.base.stanzas import IQ, MESSAGE
from component.gate import answers
from component.gate.address import Address, address_of, gate_jid
from component.gate.answers import Refusal
from component.gate.devices import Devices
from component.gate.flights import Flights
from component.gate.outcome import Outcome
from component.gate.policy import Policy
from component.gate.scopes import Verdict
from component.gate.settings import GateSettings
from component.gate.table import DeviceRef
from component.gate.wakes import Record, Request, WakeResult

log = logging.getLogger(__name__)

_OWN_SERVICES = frozenset({
    f"{{{ns.DISCO_INFO}}}query", f"{{{ns.DISCO_ITEMS}}}query", f"{{{ns.VERSION}}}query", f"{{{ns.PING}}}ping",
})  # fmt: skip
_OUTCOMES = {Refusal.UNKNOWN_DEVICE: Outcome.UNKNOWN_DEVICE}
_NO_DEVICE = -1
VIA = "xmpp"


class Gateway:
    """The service behind the gate's domain.

    :param settings: the section ``gate:``.
    :param policy: decides.
    :param devices: fills in stored credentials.
    :param record: takes down what was refused and what was delivered.
    :param spawn: starts a background task.
    :param observe: told of every refusal that only lacked a rule: bare requester and device id.
    :param clock: wall-clock seconds, for expiry.
    :param ticks: monotonic seconds, for limits and durations.
    """

    def __init__(
        self,
        settings: GateSettings,
        policy: Policy,
        devices: Devices,
        record: Record,
        *,
        spawn: Spawn,
        observe: Callable[[str, str], None] = lambda _requester, _device: None,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.jid = gate_jid(settings.jid)
        self.answers: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        """Requests that reached no device, by reason; a denying rule counts as ``rule``."""
        self.durations = {outcome.value: Histogram() for outcome in Outcome}
        """Seconds from a request to its outcome, for those that reached a device."""
        self.draining = False
        self._policy = policy
        self._devices = devices
        self._record = record
        self._spawn = spawn
        self._observe = observe
        self._clock = clock
        self._ticks = ticks
        self._requester_limit = Buckets(settings.limits.requester)
        self._device_limit = Buckets(settings.limits.device)
        self._timeout = settings.answer_timeout

    def attach(self, link: Link) -> None:
        """Say which link carries the stanzas; its `on_stanza` is `handle`."""
        self._link = link
        self._flights = Flights(link, self.jid, self._devices.sessions.connected)

    @property
    def under_way(self) -> int:
        """How many devices have a request outstanding."""
        return len(self._flights)

    @property
    def flights(self) -> Flights:
        """The turns at the devices."""
        return self._flights

    # From the server

    def handle(self, stanza: Element) -> bool:
        """Take one stanza that is addressed to the gate's domain; answers to the gate's requests never come here.

        :returns: False when slixmpp's plugins are to answer (service discovery, version and ping of the gate).
        """
        if stanza.tag != IQ:
            self._not_a_request(stanza)
            return True
        to = stanza.get("to", "")
        sender = stanza.get("from", "")
        try:
            requester = prepare_often(sender)  # ejabberd hands on the spelling that a client logged in with
            address = address_of(to)
        except JidError:
            self._refuse(stanza, to, Refusal.JID_MALFORMED)
            return True
        if not (address.jid or address.device_id) and _asks_the_gate_itself(stanza):
            return False
        try:
            self._decide(stanza, requester, address)
        except Exception:  # a defect of ours must neither let a request pass nor leave it without an answer
            log.exception("A request was refused because deciding it failed.")
            self._refuse(stanza, address.full, Refusal.NO_POLICY)
        return True

    def _decide(self, stanza: Element, requester: Jid, address: Address) -> None:
        policy = self._policy
        if self.draining:
            self._refuse(stanza, address.full, Refusal.NO_ANSWER)
            return
        if not policy.available:
            self._refuse(stanza, address.full, Refusal.NO_POLICY)
            return
        number = self._number(address)
        verdict = policy.index.decide(requester, number, self._clock())
        if not verdict.allowed:
            name = self._name(number, address)
            self._refused(requester.bare, name, verdict.rule, verdict.reason)
            self._missed(requester, number, name, verdict)
            self._refuse(stanza, address.full, Refusal.FORBIDDEN)
            return
        self._admit(stanza, requester, address, number, verdict)

    def _admit(self, stanza: Element, requester: Jid, address: Address, number: int, verdict: Verdict) -> None:
        name = self._name(number, address)
        try:
            if stanza.get("type") != "get":
                raise MalformedRequest("A connection request is an IQ of type get.")
            credentials = connreq.parse(stanza)
        except MalformedRequest as error:
            self._refused(requester.bare, name, "malformed", error.message)
            self._refuse(stanza, address.full, Refusal.BAD_REQUEST, error.message)
            return
        if not self._requester_limit.take(requester.bare, self._ticks()):
            self._refused(requester.bare, name, "requester-limit", "The requester asks too often.")
            self._refuse(stanza, address.full, Refusal.LIMITED)
            return
        if number == _NO_DEVICE:
            self._refused(requester.bare, name, "unknown-device", "There is no such device.")
            self._refuse(stanza, address.full, Refusal.UNKNOWN_DEVICE)
            return
        device = self._policy.index.device(number)
        target = Jid(device.jid.bare, address.resource) if address.resource else device.jid
        request = Request(
            requester.full, requester, verdict.rule, device, target, credentials, self._ticks(), "",
            partial(self._answer, stanza.get("id", ""), address.full, stanza.get("from", ""), credentials),
        )  # fmt: skip
        self._forward(request, self._timeout, limited=True)

    def _number(self, address: Address) -> int:
        if address.jid:
            return self._policy.index.by_jid(address.jid)
        return self._policy.index.by_id(address.device_id) if address.device_id else _NO_DEVICE

    def _name(self, number: int, address: Address) -> str:
        """What the record calls a device: its id, or what was asked for when there is no such device."""
        return address.jid or address.device_id if number == _NO_DEVICE else self._policy.index.devices.id(number)

    def _missed(self, requester: Jid, number: int, device: str, verdict: Verdict) -> None:
        if verdict.rule == "none" and number != _NO_DEVICE:
            self._observe(requester.bare, device)

    def _refused(self, requester: str, device: str, rule: str, reason: str) -> None:
        self._count(rule)
        self._record.refusal(requester, device, rule, reason)

    def _count(self, rule: str) -> None:
        kind = rule.partition(":")[0]
        self.refusals["rule" if kind.isdigit() else kind] += 1

    def _not_a_request(self, stanza: Element) -> None:
        if stanza.tag == MESSAGE and stanza.get("type") != "error":
            to, sender = stanza.get("to", ""), stanza.get("from", "")
            self._link.send(answers.bounce(stanza.get("id", ""), to, sender))

    # To the device

    def _forward(self, request: Request, timeout: float, *, limited: bool) -> None:
        if request.credentials.empty:
            self._spawn("gate.credentials", self._fill_in(request, timeout, limited))
        else:
            self._join(request, timeout, limited)

    async def _fill_in(self, request: Request, timeout: float, limited: bool) -> None:
        try:
            stored = await self._devices.credentials(request.device.id)
        except StanzagateError:  # the vault or the database cannot be read; the service says so elsewhere
            request.done(Refusal.NO_POLICY, "The stored credentials of the device cannot be read.")
            return
        if stored is not None:
            request.credentials = Credentials(*stored)
        if self._still_allowed(request):
            self._join(request, timeout, limited)

    def _still_allowed(self, request: Request) -> bool:
        """Decide again what had to wait, so that a suspension is in force at once; on no, the requester is told."""
        if request.asking is None:
            return True
        if not self._policy.available:
            request.done(Refusal.NO_POLICY, "The policy cannot be had.")
            return False
        number = self._policy.index.by_jid(request.device.jid.bare)
        verdict = self._policy.index.decide(request.asking, number, self._clock())
        if not verdict.allowed:
            self._refused(request.asking.bare, request.device.id, verdict.rule, verdict.reason)
            request.done(Refusal.FORBIDDEN, verdict.reason)
        elif number == _NO_DEVICE:
            request.done(Refusal.UNKNOWN_DEVICE, "There is no such device any more.")
        else:
            return True
        return False

    def _join(self, request: Request, timeout: float, limited: bool) -> None:
        device, target, credentials = request.device.id, request.target, request.credentials
        # A request that shares another's outcome does not reach the device, so it does not count against its limit.
        if (
            limited
            and not self._flights.under_way(device, target, credentials)
            and not self._device_limit.take(device, self._ticks())
        ):
            bare = request.asking.bare if request.asking is not None else request.requester
            self._refused(bare, device, "device-limit", "The device is woken too often.")
            request.done(Refusal.LIMITED, "The device is woken too often.")
        elif not self._flights.join(
            device, target, credentials, timeout, partial(self._outcome, request),
            admitted=partial(self._still_allowed, request),
        ):  # fmt: skip
            request.done(Refusal.LIMITED, "Too many requests wait for this device.")

    def _outcome(self, request: Request, outcome: Outcome, detail: str) -> None:
        elapsed = self._ticks() - request.started
        self.durations[outcome].observe(elapsed)
        self._record.wake(
            actor=request.actor or request.requester,
            requester=request.requester,
            device=request.device.id,
            outcome=outcome,
            rule=request.rule,
            elapsed_ms=round(elapsed * 1000),
        )
        request.done(outcome, detail)

    def _elapsed(self, started: float) -> int:
        return round((self._ticks() - started) * 1000)

    # To the requester

    def _answer(
        self, request_id: str, gate: str, sender: str, sent: Credentials, outcome: Outcome | Refusal, _detail: str
    ) -> None:
        if outcome is Outcome.ACCEPTED:
            self.answers["ACCEPTED"] += 1
            self._link.send(answers.accepted(request_id, gate, sender))
            return
        refusal = outcome if isinstance(outcome, Refusal) else answers.BY_OUTCOME[outcome]
        self.answers[refusal.name] += 1
        self._link.send(answers.refused(refusal, request_id, gate, sender, echo=sent))

    def _refuse(self, stanza: Element, gate: str, refusal: Refusal, text: str = "") -> None:
        self.answers[refusal.name] += 1
        self._link.send(answers.refused(refusal, stanza.get("id", ""), gate, stanza.get("from", ""), text=text))

    # From the operator

    async def wake(
        self, device: str, *, actor: str, requester: str | None = None, timeout: float | None = None
    ) -> WakeResult:
        """Wake a device on the operator's authority, or exactly as `requester` would be treated.

        :param device: a device's id or JID.
        :param actor: who asks, for the audit record.
        :param requester: whose rights and limits apply; None for the operator's own.
        :param timeout: seconds; None for the configured ``answer_timeout``.
        :raises JidError: `requester` is not a JID.
        :raises NotFound: the device is registered with another resource than that of the JID.
        :raises Unreachable: the gate is not attached to its server.
        :raises StanzagateError: the device's stored credentials or the policy cannot be had.
        """
        started = self._ticks()
        number = self._find(device)
        if number != _NO_DEVICE:
            device = self._policy.index.devices.id(number)
        rule, asking = "operator", None
        if requester is not None:
            if not self._policy.available:
                raise Unreachable("The policy cannot be had.", hint="Look at the service's log.")
            asking = prepare(requester)
            verdict = self._policy.index.decide(asking, number, self._clock())
            denied = (verdict.rule, verdict.reason) if not verdict.allowed else None
            if denied is None and not self._requester_limit.take(asking.bare, started):
                denied = ("requester-limit", "The requester asks too often.")
            if denied is not None:
                self._missed(asking, number, device, verdict)
                return self._denied_as(asking, device, actor, *denied)
            rule = verdict.rule
        if number == _NO_DEVICE:
            return WakeResult(device, Outcome.UNKNOWN_DEVICE, VIA, self._elapsed(started), "There is no such device.")
        if self._link.state is not LinkState.ATTACHED:
            raise Unreachable(
                "The gate is not attached to its server, so no device can be reached.",
                hint="Is the server running? `stanzagate serve` says in its log why it is not attached.",
            )
        reference = self._policy.index.device(number)
        outcome, detail = await self._woken(reference, actor, asking, rule, timeout or self._timeout)
        if outcome is Outcome.TIMEOUT and self._link.closed:  # cut short, so no campaign may take it for done
            raise Unreachable("The service stopped before the device answered.", hint="Try again when it is back.")
        return WakeResult(reference.id, outcome, VIA, self._elapsed(started), detail)

    def _denied_as(self, asking: Jid, device: str, actor: str, rule: str, reason: str) -> WakeResult:
        """What an operator asked in somebody's name stands in the record under the operator, each time."""
        self._count(rule)
        self._record.wake(
            actor=actor, requester=asking.full, device=device, outcome=Outcome.DENIED, rule=rule, elapsed_ms=0
        )
        return WakeResult(device, Outcome.DENIED, VIA, 0, reason)

    async def _woken(
        self, device: DeviceRef, actor: str, asking: Jid | None, rule: str, timeout: float
    ) -> tuple[Outcome, str]:
        done: asyncio.Future[tuple[Outcome, str]] = asyncio.get_running_loop().create_future()

        def on_done(outcome: Outcome | Refusal, detail: str) -> None:
            if done.done():
                return
            if outcome is Refusal.NO_POLICY:  # this is no word on the device, so no campaign may take it for one
                done.set_exception(StanzagateError(detail, hint="Look at the service's log."))
            elif isinstance(outcome, Refusal):
                done.set_result((_OUTCOMES.get(outcome, Outcome.DENIED), detail))
            else:
                done.set_result((outcome, detail))

        request = Request(
            asking.full if asking else actor, asking, rule, device, device.jid, Credentials("", ""),
            self._ticks(), actor, on_done,
        )  # fmt: skip
        self._forward(request, timeout, limited=asking is not None)
        return await done

    def _find(self, device: str) -> int:
        try:
            return self._policy.find_device(device)
        except InputError:  # what can be neither an id nor a JID is no device
            return _NO_DEVICE


def _asks_the_gate_itself(stanza: Element) -> bool:
    """Whether slixmpp may answer. It copies what it answers recursively, so only what holds nothing goes there."""
    return len(stanza) == 1 and stanza[0].tag in _OWN_SERVICES and len(stanza[0]) == 0
