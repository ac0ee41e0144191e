"""Stream management on a stream (XEP-0198, without resumption): the elements; the counters are in `acks`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

from component.relay import ns
from component.relay.wire import nonzas
from component.relay.wire.acks import Acks
from component.relay.wire.events import Relieved
from component.relay.wire.states import INCOMING, State

if TYPE_CHECKING:
    from component.relay.wire.core import StreamCore

_SM = f"{{{ns.SM}}}"


def acknowledgement(stream: StreamCore, element: Element) -> None:
    """Take an element of stream management."""
    acks = stream.acks
    incoming = stream.table is INCOMING
    match element.tag.removeprefix(_SM):
        case "enable" | "resume" if incoming and stream.state is State.NEGOTIATING:
            stream.write(nonzas.sm_failed("unexpected-request"))
        case "enable" if incoming and acks.agreed:
            stream.fail("policy-violation", "Acknowledgements are agreed on already.")  # XEP-0198 §3
        case "enable" if incoming:
            acks.begin()
            acks.agree(stream.now)
            stream.write(nonzas.SM_ENABLED)
        case "resume" if incoming:
            stream.write(nonzas.sm_failed("feature-not-implemented"))
        case "enabled" if acks.counting and not acks.agreed:
            acks.agree(stream.now)
        case "failed" if acks.counting and not acks.agreed:
            congested = acks.congested
            acks.refuse()
            _relieve(stream, congested)
        case "r" if acks.agreed:
            stream.write(nonzas.sm_answer(acks.handled))
        case "a" if acks.agreed:
            _acknowledged(stream, acks, element.get("h", ""))
        case _:
            stream.notice("stream-management", "An element of stream management came that makes no sense here.")


def _acknowledged(stream: StreamCore, acks: Acks, handled: str) -> None:
    congested = acks.congested
    if not acks.acknowledged(handled, stream.now):
        too_high = nonzas.sm_too_high(handled, acks.total)
        stream.fail("undefined-condition", "What is acknowledged was never sent.", too_high)
        return
    _relieve(stream, congested)


def _relieve(stream: StreamCore, congested: bool) -> None:
    if congested and not stream.acks.congested:
        stream.put(Relieved())
