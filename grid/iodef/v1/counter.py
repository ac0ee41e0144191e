"""Counts and rates (RFC 5070, section 3.16.1)."""

from __future__ import annotations

from decimal import Decimal

from grid.iodef.fields import Class, attribute, content
from grid.iodef.v1.enums import CounterType, Duration
from grid.iodef.v1.names import iodef


@iodef("Counter", section="3.16.1")
class Counter(Class):
    """How many of something; with a `duration` it is a rate, so many in each second, hour and so on.

    Only the standard's figure has `meaning`.
    """

    value: Decimal = content()
    type: CounterType = attribute("type")
    ext_type: str | None = attribute("ext-type", default=None)
    meaning: str | None = attribute("meaning", default=None)
    duration: Duration | None = attribute("duration", default=None)
    ext_duration: str | None = attribute("ext-duration", default=None)
