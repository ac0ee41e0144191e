"""Rules as CSV: ``effect,requester,target,expires,comment``; effect is allow, deny or suspend."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from component.base.errors import InputError, StanzagateError
from component.base.jid import Jid
from component.gate.badlines import BadLines
from component.gate.lines import CsvReader, written
from component.gate.rules import Effect, Rule, Suspension, Target, checked_comment, requester_from

COLUMNS = ("effect", "requester", "target", "expires", "comment")
SUSPEND = "suspend"
LATEST = 253402300799.0  # the end of the year 9999, the last that ISO 8601 writes with four digits


@dataclass(frozen=True, slots=True)
class RuleLine:
    """A line of a file of rules.

    :ivar effect: None for a suspension, which has no target either.
    """

    line: int
    effect: Effect | None
    requester: Jid
    target: Target | None
    expires: float | None
    comment: str


def parse_rules(text: str, find_target: Callable[[str], Target], now: float, bad: BadLines) -> list[RuleLine]:
    """The good lines of a file of rules; the bad ones are noted in `bad`.

    :param find_target: turns what people write into a target, or raises.
    :raises InputError: when the file as a whole is not what it should be.
    """
    try:
        raw = text.encode()
    except UnicodeEncodeError as error:
        raise InputError("The rules are not valid Unicode text.", hint="Save the file as UTF-8.") from error
    parsed: list[RuleLine] = []
    seen: dict[tuple[Effect | None, Jid, Target | None], int] = {}
    for number, fields in CsvReader(COLUMNS, bad).feed(raw, last=True):
        line = _parsed(number, [field.strip() for field in fields], find_target, now, bad)
        if line is None:
            continue
        first = seen.setdefault((line.effect, line.requester, line.target), number)
        if first != number:
            bad.add(number, "", "", f"it says the same as line {first}", "it says the same as another line")
        else:
            parsed.append(line)
    return parsed


def _parsed(
    number: int, fields: list[str], find_target: Callable[[str], Target], now: float, bad: BadLines
) -> RuleLine | None:
    column = 0
    try:
        effect = _effect(fields[0])
        column = 1
        requester = requester_from(fields[1])
        column = 2
        if effect is None and fields[2]:
            raise InputError("a suspension has no target: it covers everything")
        target = None if effect is None else find_target(fields[2])
        column = 3
        expires = checked_expiry(parse_time(fields[3]), now) if fields[3] else None
        column = 4
        return RuleLine(number, effect, requester, target, expires, checked_comment(fields[4]))
    except StanzagateError as error:
        bad.add(number, COLUMNS[column], fields[column], str(error))
        return None


def _effect(text: str) -> Effect | None:
    if text == SUSPEND:
        return None
    try:
        return Effect(text)
    except ValueError:
        raise InputError("the effect is allow, deny or suspend") from None


def written_rules(
    rules: Iterable[Rule], suspensions: Iterable[Suspension], show_target: Callable[[Target], str]
) -> str:
    """The same policy as a file that `parse_rules` reads."""
    lines = [written(COLUMNS)]
    for rule in rules:
        fields = (rule.effect.value, rule.requester.full, show_target(rule.target))
        lines.append(written((*fields, format_time(rule.expires), rule.comment)))
    for suspension in suspensions:
        fields = (SUSPEND, suspension.requester.full, "")
        lines.append(written((*fields, format_time(suspension.expires), suspension.comment)))
    return "".join(lines)


def checked_expiry(expires: float | None, now: float) -> float | None:
    """A time in the future, in whole milliseconds, or None for never.

    :raises InputError: when it has passed or no calendar has it.
    """
    if expires is None:
        return None
    if not math.isfinite(expires) or expires > LATEST:
        raise InputError("The expiry is beyond the year 9999.", hint="Leave it out for a rule that never ends.")
    if expires <= now:
        raise InputError(
            f"The expiry {format_time(max(expires, 0.0))} has passed.", hint="Name a time in the future."
        )
    return round(expires, 3)


def parse_time(text: str) -> float:
    """Unix time in seconds from ISO 8601 with a time zone.

    :raises InputError: when it is not such a time.
    """
    try:
        parsed: datetime | None = datetime.fromisoformat(text)
    except ValueError:
        parsed = None
    if parsed is None or parsed.tzinfo is None:
        raise InputError("It is not a time of ISO 8601 in UTC.", hint="Write 2027-01-31T12:00:00Z.")
    try:
        return parsed.timestamp()
    except (OverflowError, ValueError):
        raise InputError("No calendar has this time.", hint="Write 2027-01-31T12:00:00Z.") from None


def format_time(when: float | None) -> str:
    """ISO 8601 in UTC, or nothing for never."""
    return "" if when is None else datetime.fromtimestamp(when, UTC).isoformat().replace("+00:00", "Z")
