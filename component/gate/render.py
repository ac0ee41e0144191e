"""The allowed-JID list for a device itself (TR-069 `ManagementServer.ConnReqAllowedJabberIDs`)."""

from __future__ import annotations

from enum import StrEnum

from component.base.errors import InputError, NotFound
from component.base.jid import Jid, prepare
from component.gate.policy import Policy
from component.gate.rules import Effect, Rule, TargetKind, shown
from component.gate.rules_csv import format_time
from component.gate.table import UNKNOWN

MOST_ENTRIES = 32
LONGEST_ENTRY = 256


class Via(StrEnum):
    """How connection requests reach the device."""

    GATE = "gate"
    DIRECT = "direct"
    BOTH = "both"


def render(policy: Policy, device: str, gate_jid: str, via: str = Via.GATE) -> list[str]:
    """The entries of a device's list: the gate's full JID first, then, unless all go through the gate, the
    requesters that may wake it. It is never empty: an empty list would let everybody in.

    :param device: id or JID.
    :param gate_jid: the JID from which the gate sends, or its domain.
    :param via: `gate`, `direct` or `both`.
    :raises NotFound: when there is no such device.
    :raises InputError: when the data model cannot hold the list, or such a list cannot say what the rules say.
    """
    try:
        way = Via(via)
    except ValueError:
        raise InputError(f"{shown(via)} is no way to a device.", hint="Write gate, direct or both.") from None
    number = policy.find_device(device)
    if number == UNKNOWN:
        raise NotFound(
            f"There is no device {shown(device)}: its list would have no entry.", hint="See `stanzagate device list`."
        )
    policy.index.expire(policy.clock())
    entries = [_gate(gate_jid).full]
    if way is not Via.GATE:
        requesters = _requesters(policy, number)
        if not requesters and way is Via.DIRECT:
            name = policy.index.devices.id(number)
            raise InputError(
                f"No requester may wake {name}: its list would have no entry for direct requests.",
                hint=f"Allow one with `stanzagate jid allow REQUESTER --to {name}`, or use --via gate.",
            )
        entries += requesters
    _check(entries)
    return entries


def _gate(text: str) -> Jid:
    jid = prepare(text)
    return jid if jid.local else Jid(f"gate@{jid.domain}", "gate")


def _requesters(policy: Policy, number: int) -> list[str]:
    index = policy.index
    groups = index.devices.groups(number)
    key = index.devices.ids.text(number)
    reaching: list[Rule] = []
    for _, rule in sorted(index.rules.items()):
        target = rule.target
        if (
            target.kind is TargetKind.ALL
            or (target.kind is TargetKind.GROUP and target.name in groups)
            or (target.kind is TargetKind.DEVICE and target.name == key)
        ):
            reaching.append(rule)
    allowed = {rule.requester for rule in reaching if rule.effect is Effect.ALLOW}
    problems = [problem for rule in reaching if (problem := _inexpressible(policy, rule))]
    for bare in sorted({requester.bare for requester in allowed}):
        problems += [
            f"suspension {item.id}: {item.requester} is suspended"
            for item in index.suspensions_of(bare)
            if any(_overlap(item.requester, requester) for requester in allowed)
        ]
    if problems:
        raise InputError(
            f"The list of {index.devices.id(number)} cannot say what these rules say.",
            hint="Let requests go through the gate (--via gate), or remove those rules.",
            details=problems,
        )
    # An entry for the bare JID matches every resource, so full ones beside it only take room.
    return sorted(
        requester.full for requester in allowed if not requester.resource or Jid(requester.bare, "") not in allowed
    )


def _inexpressible(policy: Policy, rule: Rule) -> str:
    shown_rule = f"rule {rule.id}: {rule.effect} {rule.requester} to {policy.shown_target(rule.target)}"
    if rule.effect is Effect.DENY:
        return f"{shown_rule} (a list only allows)"
    if rule.target.kind is TargetKind.ALL:
        return f"{shown_rule} (a list speaks of one device)"
    if rule.expires is not None:
        return f"{shown_rule} (a list does not end at {format_time(rule.expires)})"
    return ""


def _overlap(one: Jid, other: Jid) -> bool:
    return one.bare == other.bare and (not one.resource or not other.resource or one.resource == other.resource)


def _check(entries: list[str]) -> None:
    problems = [f"{shown(entry)} has {len(entry)} characters" for entry in entries if len(entry) > LONGEST_ENTRY]
    problems += [f"{shown(entry)} has a comma, which separates entries" for entry in entries if "," in entry]
    if problems:
        raise InputError(
            "The list would have entries that a device cannot hold.",
            hint=f"An entry has at most {LONGEST_ENTRY} characters and no comma. Use --via gate.",
            details=problems,
        )
    if len(entries) > MOST_ENTRIES:
        raise InputError(
            f"The list would have {len(entries)} entries.",
            hint=f"A device holds at most {MOST_ENTRIES}. Use --via gate, which needs one.",
        )
