"""The border: which stanzas may pass between a partner and us, and what those get that may not.

Every partner has rules (`PartnerRules`): which local domains, which kinds of stanza, at what rate. Beyond them the
allowed-JID policy governs what goes to the devices of the guarded hosts: connection requests always, and everything
with ``guard: everything``. It is asked for decisions; a stanza for which none is known has to wait
(`component.relay.border_waiting`). Without a decision nothing passes.

What the sender of a refused stanza gets (RFC 6120 §8.3.3; nothing for what must not be answered, §8.2.3, §8.3.1):

====================================  ==============================  ================================================
case                                  error                           why this one
====================================  ==============================  ================================================
local domain not open to the partner  auth / forbidden                lacks permission; says nothing of the address
kind of stanza not open               modify / policy-violation       breaks a rule of ours; other kinds may pass
rate exceeded                         wait / resource-constraint      as with the limits of the gate
too much waits for decisions          wait / resource-constraint      the same stanza can pass later
element that would become another     modify / bad-request            nobody sends it but to deceive
no such JID                           modify / jid-malformed          cannot be prepared (RFC 6122)
requester not allowed                 auth / forbidden                as the gate and the in-server plugins answer
allowed, but the request is malformed modify / bad-request            likewise
no decision to be had                 wait / internal-server-error    likewise
answer that carries a request         none: it is dropped             devices act on it; no answer gets an answer
====================================  ==============================  ================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from component.base.jid import Jid, JidError, prepare_often
from component.base.limits import Buckets
from component.base.settings import UNLIMITED, Rate
from component.relay.border_payload import Carried, Payload, PayloadFinder, changes_on_the_way, normal_form
from component.relay.counters import DecisionOutcome
from component.relay.wire.stanza import Stanza

KINDS = frozenset({"iq", "message", "presence"})


class Forward(NamedTuple):
    """It may pass, as these bytes."""

    raw: bytes


class Refuse(NamedTuple):
    """It may not pass; its sender gets this error, if any is due."""

    type: str
    condition: str
    text: str = ""


class Drop(NamedTuple):
    """It may not pass, and nobody is told.

    :ivar why: a short word for the counter.
    """

    why: str


class Hold(NamedTuple):
    """It waits; the border calls `release` with another verdict later."""


Verdict = Forward | Refuse | Drop | Hold
HOLD = Hold()
NO_DECISION = Refuse("wait", "internal-server-error")
OVERLOAD = Refuse("wait", "resource-constraint")
_FORBIDDEN = Refuse("auth", "forbidden")
_BAD_REQUEST = Refuse("modify", "bad-request")


@dataclass(frozen=True, slots=True)
class PartnerRules:
    """What may pass between one partner and us.

    :ivar domains: local domains that may exchange stanzas with it, prepared.
    :ivar stanzas: kinds of stanza.
    :ivar rate: of the stanzas that come from the partner.
    """

    domains: frozenset[str]
    stanzas: frozenset[str] = KINDS
    rate: Rate = UNLIMITED


class Decision(Protocol):
    """May a requester reach a device?"""

    @property
    def allowed(self) -> bool: ...

    @property
    def rule(self) -> str: ...

    @property
    def reason(self) -> str: ...


class Decisions(Protocol):
    """The allowed-JID policy, as the relay knows it."""

    @property
    def guarded_hosts(self) -> frozenset[str] | None:
        """Whose recipients are devices, prepared domains; None while that is not known: then nothing passes."""

    @property
    def guard(self) -> str:
        """What is governed: ``connection-requests`` or ``everything``."""

    def decide(self, requester: Jid, device: Jid) -> Decision | None:
        """What is known at once; None means that it must be asked for."""

    async def ask(self, requester: Jid, device: Jid) -> Decision:
        """Get a decision.

        :raises StanzagateError: there is none to be had.
        """


class Case(NamedTuple):
    """A stanza for a guarded host, with all that its verdict depends on.

    :ivar needs: whether it needs a decision, or only waits for those before it.
    """

    stanza: Stanza
    partner: str
    requester: Jid
    device: Jid
    carried: Carried
    needs: bool


class Waiting(Protocol):
    """Where stanzas wait for decisions (`component.relay.border_waiting.WaitingRoom`)."""

    def behind(self, requester: Jid, device: Jid) -> bool:
        """Whether a stanza of the pair waits."""

    def add(self, case: Case) -> bool:
        """Let a stanza wait; False when there is no room."""

    def __len__(self) -> int: ...


OnRefusal = Callable[[str, str, str, str, str], None]
"""partner, requester (bare JID), device or other recipient, rule, reason."""

OnDecision = Callable[[str, DecisionOutcome], None]
"""partner, outcome: for the counters."""


class Border:
    """Judges stanzas. Set `waiting` before the first one comes.

    :param rules: by partner, prepared domains; `rules` can be replaced at any time.
    :param decisions: the allowed-JID policy.
    :param on_refusal: told of every refusal; whoever records them counts those that repeat
        (`component.relay.reports`).
    :param on_decision: told of every decision on a stanza.
    :param clock: monotonic seconds.
    """

    def __init__(
        self,
        rules: Mapping[str, PartnerRules],
        decisions: Decisions,
        *,
        on_refusal: OnRefusal,
        on_decision: OnDecision = lambda _partner, _outcome: None,
        clock: Callable[[], float],
    ) -> None:
        self.waiting: Waiting
        self._decisions = decisions
        self._on_refusal = on_refusal
        self._on_decision = on_decision
        self._clock = clock
        self._finder = PayloadFinder()
        self._buckets: dict[str, Buckets] = {}
        self.rules = rules

    @property
    def rules(self) -> Mapping[str, PartnerRules]:
        """The rules in force, by partner."""
        return self._rules

    @rules.setter
    def rules(self, rules: Mapping[str, PartnerRules]) -> None:
        self._rules = rules
        self._buckets = {
            partner: known
            if (known := self._buckets.get(partner)) and known.rate == rule.rate
            else Buckets(rule.rate)
            for partner, rule in rules.items()
            if not rule.rate.unlimited
        }

    def inbound(self, stanza: Stanza, partner: str) -> Verdict:
        """Judge a stanza from a partner.

        :param stanza: of a pair that the stream is authorized for.
        """
        rules = self._rules.get(partner)
        if rules is None or stanza.recipient_domain not in rules.domains or stanza.kind not in rules.stanzas:
            return self._against_rules(stanza, partner, stanza.recipient_domain)
        if partner in self._buckets and not self._buckets[partner].take(partner, self._clock()):
            return self._refuse(stanza, partner, OVERLOAD, "rate", f"more than {rules.rate} from {partner}")
        if changes_on_the_way(stanza):
            return self._refuse(
                stanza, partner, _BAD_REQUEST, "namespace", "an element would not arrive as what it is"
            )
        guarded = self._decisions.guarded_hosts
        if guarded is None:
            return self._refuse(stanza, partner, NO_DECISION, "no-decision", "the policy has not been heard of yet")
        if stanza.recipient_domain not in guarded:
            return Forward(stanza.raw)
        return self._to_device(stanza, partner)

    def outbound(self, stanza: Stanza, partner: str) -> Forward | Refuse:
        """Judge a stanza to a partner that the local server has handed over."""
        rules = self._rules.get(partner)
        if rules is None or stanza.sender_domain not in rules.domains or stanza.kind not in rules.stanzas:
            return self._against_rules(stanza, partner, stanza.sender_domain)
        return Forward(stanza.raw)

    def _against_rules(self, stanza: Stanza, partner: str, local: str) -> Refuse:
        rules = self._rules.get(partner)
        if rules is None or local not in rules.domains:
            refusal = _FORBIDDEN._replace(text=f"{partner} and {local} do not exchange stanzas here.")
            return self._refuse(stanza, partner, refusal, "domains", f"{local} is not open to {partner}")
        refusal = Refuse("modify", "policy-violation", f"No {stanza.kind} passes between {partner} and {local}.")
        return self._refuse(stanza, partner, refusal, "stanzas", f"no {stanza.kind} passes between it and {partner}")

    # To devices

    def _to_device(self, stanza: Stanza, partner: str) -> Verdict:
        carried = self._finder.read(stanza)
        if carried.payload is Payload.ANSWER:
            self._report(stanza, partner, "answer", "an answer that carries a connection request")
            return Drop("answer")
        needs = carried.payload is not Payload.NONE or (
            self._decisions.guard == "everything" and "@" in stanza.recipient.partition("/")[0]
        )
        if not (needs or len(self.waiting)):
            return Forward(stanza.raw)
        try:
            requester, device = prepare_often(stanza.sender), prepare_often(stanza.recipient)
        except JidError:
            return self._refuse(stanza, partner, Refuse("modify", "jid-malformed"), "address", "no such JID")
        case = Case(stanza, partner, requester, device, carried, needs)
        if not self.waiting.behind(requester, device):
            if not needs:
                return Forward(stanza.raw)
            decision = self._decisions.decide(requester, device)
            if decision is not None:
                return self.judged(case, decision)
        if self.waiting.add(case):
            return HOLD
        return self._refuse(stanza, partner, OVERLOAD, "overload", "too much waits for decisions")

    def judged(self, case: Case, decision: Decision | None) -> Verdict:
        """The verdict on a stanza for a guarded host.

        :param decision: None when there is none to be had, or none is needed.
        """
        stanza, partner = case.stanza, case.partner
        rules = self._rules.get(partner)
        if rules is None or stanza.recipient_domain not in rules.domains or stanza.kind not in rules.stanzas:
            return self._against_rules(stanza, partner, stanza.recipient_domain)  # changed while it waited
        if not case.needs:
            return Forward(stanza.raw)
        if decision is None:
            self._on_decision(partner, DecisionOutcome.NONE)
            return self._refuse(stanza, partner, NO_DECISION, "no-decision", "no decision could be had")
        self._on_decision(partner, DecisionOutcome.ALLOWED if decision.allowed else DecisionOutcome.DENIED)
        if not decision.allowed:
            return self._refuse(stanza, partner, _FORBIDDEN, decision.rule, decision.reason)
        if case.carried.payload is Payload.MALFORMED:
            return self._refuse(stanza, partner, _BAD_REQUEST, "malformed", "the connection request is malformed")
        if case.carried.credentials is None:
            return Forward(stanza.raw)
        return Forward(normal_form(stanza, case.requester, case.device, case.carried.credentials))

    def _refuse(self, stanza: Stanza, partner: str, refusal: Refuse, rule: str, reason: str) -> Refuse:
        self._report(stanza, partner, rule, reason)
        return refusal

    def _report(self, stanza: Stanza, partner: str, rule: str, reason: str) -> None:
        self._on_refusal(partner, stanza.sender.partition("/")[0], stanza.recipient, rule, reason)
