"""From the model to plain values with the keys of RFC 8727, and what has no place there."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

from grid.iodef import types, v2
from grid.iodef.errors import MOST, Invalid, Problem
from grid.iodef.fields import Class
from grid.iodef.json import markup, restrictions
from grid.iodef.json.mapping import Key, Plan, Way, plan_of
from grid.iodef.json.origins import Steps, ordered, origin
from grid.iodef.json.prune import Pruning
from grid.iodef.json.quick import satisfied
from grid.iodef.json.restrictions import Restriction
from grid.iodef.json.text import DEFAULT, Limits, faults
from grid.iodef.names import XMLNS, XSI, local, split
from grid.iodef.text import EXT_VALUE

_HINTS = {f"{{{XSI}}}schemaLocation", f"{{{XSI}}}noNamespaceSchemaLocation"}
"""Attributes about the schema of the XML, not about the incident."""

_IDENTIFIER = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.-]*")
"""IDtype of RFC 8727 §6."""


class Lossy(Invalid):
    """JSON cannot carry all that a document says.

    :ivar problems: each loss: what is left out, moved or changed with ``lossy=True``. Paths are those of the document
        in XML, like ``/IODEF-Document/Incident[2]/Contact/@role``; lines are 0. At most `MOST`, and the word that
        there are more.
    """

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(problems, "JSON (RFC 8727) cannot carry all of this incident document.")


def to_object(document: v2.Document, *, lossy: bool = False, limits: Limits = DEFAULT) -> dict[str, Any]:
    """A document as plain values: dict, list, str, int, and `Decimal` for REAL.

    :param lossy: leave out what cannot be carried, rather than refuse.
    :param limits: what is made is not deeper.
    :raises Lossy: something cannot be carried; with `lossy`, something that every document must have.
    """
    encoder = _Encoder(limits.depth)
    made: dict[str, Any] = encoder.object(document, (), _NOTHING)
    if not encoder.changes and satisfied(made) and not faults(made, limits):
        return made
    pruning = Pruning(made, limits, encoder.reasons)
    if pruning.run() and lossy:
        return made
    losses = _losses(document, encoder.changes, pruning.told())
    if pruning.failure:
        losses.insert(0, Problem(0, origin(document, ()), f"nothing valid remains: {pruning.failure}"))
    raise Lossy(losses)


def _losses(
    document: v2.Document, changes: list[tuple[Steps, str]], omitted: list[tuple[Steps, str]]
) -> list[Problem]:
    gone = {steps for steps, _ in omitted}
    told = [
        (steps, message)
        for steps, message in changes
        if not any(steps[:length] in gone for length in range(1, len(steps) + 1))
    ]
    told += [(steps, f"{_named(document, steps)} is left out: {reason}") for steps, reason in omitted[:MOST]]
    found = [Problem(0, origin(document, steps), message) for steps, message in told[:MOST]]
    if len(told) > MOST or len(omitted) > MOST:
        found.append(Problem(0, "", f"there are more than these {len(found)} losses; they are not told"))
    return found


def _named(document: v2.Document, steps: Steps) -> str:
    if steps and steps[-1] in _TEXTS:
        return "its text"
    return origin(document, steps).rpartition("/")[2].lstrip("@").partition("[")[0]


_TEXTS = {"value", "id", "handle"}
"""Keys that stand for the text of an element."""


class _Around(NamedTuple):
    """What is in force around a class: the language (RFC 7970 §6), the restriction (§3.3.1)."""

    lang: str | None
    restriction: Restriction | None


_NOTHING = _Around(None, None)


class _Encoder:
    """Collects what is lost on the way."""

    def __init__(self, depth: int) -> None:
        self.changes: list[tuple[Steps, str]] = []
        self.reasons: dict[Steps, str] = {}
        self._depth = depth

    def change(self, path: Steps, what: str) -> None:
        """Something is not kept as it is."""
        self.changes.append((path, what))

    def omit(self, path: Steps, why: str) -> None:
        """A value is null, because it has no place; pruning takes it out."""
        self.reasons[path] = why

    def object(self, instance: Class, path: Steps, around: _Around) -> Any:
        """The object of a class; None when it has no place."""
        made: dict[str, Any] = {}
        if len(path) > self._depth - 4:  # what it holds besides other classes is up to three deeper
            self.omit(path, f"it is nested too deep; {self._depth} lists and objects are allowed")
            return None
        plan = plan_of(type(instance))
        if not plan.keys[-1].name and not self._placed(instance, plan, path, around):
            return None
        self._foreign(instance, path)
        lang = getattr(instance, "lang", None)
        around = _Around(around.lang if lang is None else lang, restrictions.own(instance) or around.restriction)
        for key in plan.keys:
            value = getattr(instance, key.item.python)
            if value is None or (value == () and key.way is not Way.MARKUP) or key.way is Way.NOWHERE:
                if key.way is Way.MEASURE:
                    made[key.name] = 0  # RFC 7970 has nothing here unless rating is numeric; the CDDL wants a number
            elif key.way is Way.IMPACT:
                if key.name not in made:
                    made[key.name] = self._impacts(instance, (*path, key.name), around)
            elif key.way is Way.MARKUP:
                made[key.name] = self._markup(instance, value, (*path, key.name))
            elif key.many:
                values = self._dissolved(key, value, path) if key.inner else value
                made[key.name] = [
                    self._one(key, each, (*path, key.name, at), around) for at, each in enumerate(values)
                ]
            else:
                one = self._dissolved(key, value, path)[0] if key.inner else value
                made[key.name] = self._one(key, one, (*path, key.name), around)
        if plan.type is v2.IndicatorExpression and made.get("operator") == EXT_VALUE:
            del made["operator"]  # RFC 8727 has ext-operator, but not the value that announces it
        return made

    def _placed(self, instance: Class, plan: Plan, path: Steps, around: _Around) -> bool:
        """Whether a class may be there, some of whose fields have no key.

        Without its restriction it may not be less restricted than the document has it.
        """
        for key in plan.keys:
            value = getattr(instance, key.item.python)
            name = local(key.item.name)
            if key.way is Way.NOWHERE and value is not None and name not in restrictions.KEYS:
                self.omit(path, f"{name} {value!r} has no place in {plan.definition}")
                return False
        own = restrictions.own(instance)
        if own is None or "restriction" in plan.by_name:
            return True
        if not restrictions.covers(around.restriction, own):
            self.omit(path, f"its restriction {own} has no place in {plan.definition}, and would be less without it")
            return False
        told = f"restriction {own} is left out: {plan.definition} has no such key"
        self.change(path, f"{told}; {around.restriction} is in force there")
        return True

    def _foreign(self, instance: Class, path: Steps) -> None:
        for name, _ in instance.foreign:
            if split(name)[0] != XMLNS and name not in _HINTS:
                self.change(path, f"the attribute {name} is left out: it is of another namespace")

    def _one(self, key: Key, value: Any, path: Steps, around: _Around) -> Any:
        if isinstance(value, Class):
            own = _CLASSES.get(key.way)
            return own(self, value, path, around) if own else self.object(value, path, around)
        if isinstance(value, types.Foreign):
            return self._signature(key, value, path)
        if key.way is Way.VERSION:
            return "2.0" if value == "2.00" else value
        if isinstance(value, Decimal):
            return value
        return key.spelling.get(value, str(value)) if isinstance(value, str) else value

    def _people(self, value: Class, path: Steps, around: _Around) -> Any:
        """Text for people: a bare string can be taken for English (RFC 8727 §3.2), so it must not be another."""
        made = self.object(value, path, _NOTHING)
        if made is None:
            return None
        english = around.lang is None or around.lang.lower().partition("-")[0] == "en"
        return made["value"] if len(made) == 1 and english else made

    def _text(self, value: Class, path: Steps, around: _Around) -> Any:
        made = self.object(value, path, around)
        if made is None:
            return None
        for name in list(made)[1:]:
            self.change(path, f"{name} {made[name]!r} is left out: this is plain text in RFC 8727")
        return made["value"]

    def _raw(self, value: Any, path: Steps, _around: _Around) -> str | None:
        self._foreign(value, path)
        try:
            made = markup.raw(value.dtype, value.content)
        except ValueError:
            self.omit(path, f"it is of the type {value.dtype}, but not base64")
            return None
        dtype, content = markup.raw_data(made)
        if dtype != value.dtype or markup.raw(dtype, content) != made:
            self.change(
                path, f"the type {value.dtype or '(none)'} becomes {dtype}: RFC 8727 does not tell types of RawData"
            )
        return made

    def _other_id(self, value: Any, path: Steps, _around: _Around) -> dict[str, str] | None:
        """An IndicatorReference as IndicatorID: ``euid-ref`` is then ``name/id``; see `decode`."""
        self._foreign(value, path)
        name, slash, short = (value.euid_ref or "").rpartition("/")
        if slash and value.uid_ref is None and value.version is not None and _IDENTIFIER.fullmatch(short):
            return {"id": short, "name": name, "version": value.version}
        self.omit(path, "only an euid-ref of the form name/id with a version can be the IndicatorID of RFC 8727")
        return None

    def _signature(self, key: Key, value: types.Foreign, path: Steps) -> str | None:
        if key.way is not Way.DIGEST:
            return markup.encoded(value.xml)
        found = markup.digest(value)
        if found is None:
            self.omit(path, "it has more than text")
        return found

    def _markup(self, instance: Any, content: markup.Mixed, path: Steps) -> str:
        if instance.dtype == "xml":
            return markup.text_of(content)
        if not markup.is_text(content):
            self.change(
                path, f"the XML in it becomes text: a value of the type {instance.dtype or 'string'} has no XML"
            )
        return markup.plain(content)

    def _dissolved(self, key: Key, value: Any, path: Steps) -> list[Any]:
        """What stands in the place of one or several holders."""
        holders = value if key.item.many else (value,)
        held = key.inner
        assert held is not None  # noqa: S101 - for the type checker
        if len(holders) > 1 and held.many:
            name = local(key.item.name)
            told = f"{len(holders)} {name} become one: which {key.name} belongs to which is not kept"
            self.change((*path, key.name), told)
        found: list[Any] = []
        for holder in holders:
            self._foreign(holder, path)
            own = getattr(holder, held.python)
            values = own if held.many else (own,)
            restriction = restrictions.own(holder)
            if restriction is not None:
                pushed = restrictions.pushed(restriction, values)
                moved = f"moved to each {key.name} that has none of its own"
                kept = f"left out: each {key.name} has one of its own"
                what = kept if pushed == values else moved
                self.change((*path, key.name), f"restriction {restriction} is {what}")
                values = pushed
            found.extend(values)
        return found

    def _impacts(self, instance: Any, path: Steps, around: _Around) -> list[Any]:
        """The impacts of an Assessment in the order of the document."""
        made = []
        for at, (key, number) in enumerate(ordered(instance)):
            name = local(key.item.name)
            made.append({name: self.object(getattr(instance, key.item.python)[number], (*path, at, name), around)})
        return made


_CLASSES: dict[Way, Callable[[_Encoder, Class, Steps, _Around], Any]] = {
    Way.PEOPLE: _Encoder._people,
    Way.TEXT: _Encoder._text,
    Way.RAW: _Encoder._raw,
    Way.OTHER_ID: _Encoder._other_id,
}
