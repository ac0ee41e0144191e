"""Counts and rates (RFC 7970, section 3.18.3); assessments, systems and nodes have them."""

from __future__ import annotations

from decimal import Decimal

from grid.iodef.fields import Class, attribute, content
from grid.iodef.v2.enums import Duration
from grid.iodef.v2.enums_technical import CounterType, CounterUnit
from grid.iodef.v2.names import iodef


@iodef("Counter", section="3.18.3")
class Counter(Class):
    """A number of `unit`; with a `duration` it is the rate per that time, without one a plain count."""

    value: Decimal = content()
    type: CounterType = attribute("type")
    ext_type: str | None = attribute("ext-type", default=None)
    unit: CounterUnit = attribute("unit")
    ext_unit: str | None = attribute("ext-unit", default=None)
    meaning: str | None = attribute("meaning", default=None)
    duration: Duration | None = attribute("duration", default=None)
    ext_duration: str | None = attribute("ext-duration", default=None)
