"""What travels through the gateway: a request on its way to a device, and what became of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from component.base.connreq import Credentials
from component.base.jid import Jid
from component.gate.answers import Refusal
from component.gate.outcome import Outcome
from component.gate.table import DeviceRef


class Record(Protocol):
    """Where the gateway records what happened; `component.base.audit.Audit` is one."""

    def wake(self, *, actor: str, requester: str, device: str, outcome: str, rule: str, elapsed_ms: int) -> None: ...

    def refusal(self, requester: str, device: str, rule: str, reason: str) -> None: ...


@dataclass(frozen=True, slots=True)
class WakeResult:
    """What became of a wake that an operator asked for.

    :ivar device: the device's id, or what was asked for when there is no such device.
    :ivar via: how the device was reached; always ``xmpp``.
    :ivar elapsed_ms: milliseconds from the question to the answer.
    """

    device: str
    outcome: Outcome
    via: str
    elapsed_ms: int
    detail: str


@dataclass(slots=True)
class Request:
    """A request that passed the policy, on its way to a device.

    :ivar asking: whose rights apply; None for the operator's own.
    """

    requester: str
    asking: Jid | None
    rule: str
    device: DeviceRef
    target: Jid
    credentials: Credentials
    started: float
    actor: str
    done: Callable[[Outcome | Refusal, str], None]
