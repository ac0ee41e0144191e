"""Points in time as people write them."""

from __future__ import annotations

import math

from component.base.errors import InputError
from component.base.settings import parse_duration
from component.gate.rules_csv import parse_time


def moment(text: str | float | None, now: float, *, past: bool = False) -> float | None:
    """Unix time in seconds.

    :param text: a duration from now (``30d``), a time of ISO 8601 with its zone, Unix time, or None.
    :param past: durations count backwards from now.
    :raises InputError: it is none of these.
    """
    if text is None:
        return None
    if isinstance(text, int | float):
        return float(text)
    try:
        seconds = parse_duration(text)
    except ValueError:
        pass
    else:
        if past:
            return max(now - seconds, 0.0)
        if not math.isfinite(seconds):
            raise InputError("That duration is too long.", hint="Leave it out for what never ends.")
        return float(math.ceil(now + seconds))  # people read and write whole seconds
    try:
        return parse_time(text)
    except InputError:
        raise InputError(
            f"{text!r} is neither a duration nor a time.",
            hint="Write a number and a unit, like 30d or 12h, or a time, like 2027-01-31T12:00:00Z.",
        ) from None
