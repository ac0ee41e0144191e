"""From the model to plain values with the keys of RFC 8727, and what has no place there."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from grid.iodef import types, v2
from grid.iodef.errors import Invalid, Problem
from grid.iodef.fields import Class
from grid.iodef.json import markup, prune, schema
from grid.iodef.json.mapping import Key, Plan, Way, plan_of
from grid.iodef.json.places import pointer
from grid.iodef.json.quick import satisfied
from grid.iodef.json.text import DEFAULT, Limits, faults
from grid.iodef.names import XMLNS, XSI, local, split

Path = tuple[str | int, ...]

_HINTS = {f"{{{XSI}}}schemaLocation", f"{{{XSI}}}noNamespaceSchemaLocation"}
"""Attributes about the schema of the XML, not about the incident."""

_IDENTIFIER = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.-]*")
"""IDtype of RFC 8727 §6."""

_NULL = "found null"


class Lossy(Invalid):
    """JSON cannot carry all that a document says.

    :ivar problems: each place, as a JSON pointer to where it would stand or to what would hold it.
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
    made: dict[str, Any] = encoder.object(document, (), None)
    refused = faults(made, limits)
    if not satisfied(made):
        refused += schema.problems(made)
    known = {(loss.path, _NULL) for loss in encoder.losses}  # what was too deep is null now
    losses = encoder.losses + [each for each in refused if (each.path, each.message[: len(_NULL)]) not in known]
    if not losses:
        return made
    if not lossy:
        raise Lossy(losses)
    if prune.pruned(made, limits):
        return made
    raise Lossy(losses)


class _Encoder:
    """Collects what is lost on the way."""

    def __init__(self, depth: int) -> None:
        self.losses: list[Problem] = []
        self._depth = depth

    def lose(self, path: Path, what: str) -> None:
        self.losses.append(Problem(0, pointer(path), what))

    def object(self, instance: Class, path: Path, lang: str | None) -> Any:
        """The object of a class; None when it would be too deep.

        :param lang: the language that is in force around it (RFC 7970 §6).
        """
        made: dict[str, Any] = {}
        if len(path) > self._depth - 4:  # what it holds besides other classes is up to three deeper
            self.lose(path, f"nested too deep; {self._depth} lists and objects are allowed")
            return None
        self._foreign(instance, path)
        plan = plan_of(type(instance))
        own = getattr(instance, "lang", None)
        lang = lang if own is None else own
        for key in plan.keys:
            value = getattr(instance, key.item.python)
            if value is None or (value == () and key.way is not Way.MARKUP):
                if key.way is Way.MEASURE:
                    made[key.name] = 0  # RFC 7970 has nothing here unless rating is numeric; the CDDL wants a number
            elif key.way is Way.NOWHERE:
                self.lose(path, f"{local(key.item.name)} has no key in {plan.definition}")
            elif key.way is Way.IMPACT:
                if key.name not in made:
                    made[key.name] = self._impacts(instance, plan, (*path, key.name), lang)
            elif key.way is Way.MARKUP:
                made[key.name] = self._markup(instance, value, (*path, key.name))
            elif key.many:
                values = self._dissolved(key, value, path) if key.inner else value
                made[key.name] = [self._one(key, each, (*path, key.name, at), lang) for at, each in enumerate(values)]
            else:
                one = self._dissolved(key, value, path)[0] if key.inner else value
                made[key.name] = self._one(key, one, (*path, key.name), lang)
        if plan.type is v2.IndicatorExpression and made.get("operator") == "ext-value":
            del made["operator"]  # RFC 8727 has ext-operator, but not the value that announces it
        return made

    def _foreign(self, instance: Class, path: Path) -> None:
        for name, _ in instance.foreign:
            if split(name)[0] != XMLNS and name not in _HINTS:
                self.lose(path, f"the attribute {name} is of another namespace")

    def _one(self, key: Key, value: Any, path: Path, lang: str | None) -> Any:
        if isinstance(value, Class):
            own = _CLASSES.get(key.way)
            return own(self, value, path, lang) if own else self.object(value, path, lang)
        if isinstance(value, types.Foreign):
            return self._signature(key, value, path)
        if key.way is Way.VERSION:
            return "2.0" if value == "2.00" else value
        if isinstance(value, Decimal):
            return value
        return key.spelling.get(value, str(value)) if isinstance(value, str) else value

    def _people(self, value: Class, path: Path, lang: str | None) -> Any:
        """Text for people: a bare string can be taken for English (RFC 8727 §3.2), so it must not be another."""
        made = self.object(value, path, None)
        if made is None:
            return None
        english = lang is None or lang.lower().partition("-")[0] == "en"
        return made["value"] if len(made) == 1 and english else made

    def _text(self, value: Class, path: Path, lang: str | None) -> Any:
        made = self.object(value, path, lang) or {}
        for name in list(made)[1:]:
            self.lose(path, f"{name} has no place: this is plain text in RFC 8727")
        return made.get("value", "")

    def _raw(self, value: Any, path: Path, _lang: str | None) -> str:
        self._foreign(value, path)
        made = markup.raw(value.dtype, value.content)
        dtype, content = markup.raw_data(made)
        if dtype != value.dtype or markup.raw(dtype, content) != made:
            self.lose(path, f"RawData of the type {value.dtype or '(none)'} has no place; it would become {dtype}")
        return made

    def _other_id(self, value: Any, path: Path, _lang: str | None) -> dict[str, str] | None:
        """An IndicatorReference as IndicatorID: ``euid-ref`` is then ``name/id``; see `decode`."""
        self._foreign(value, path)
        name, slash, short = (value.euid_ref or "").rpartition("/")
        if slash and value.uid_ref is None and value.version is not None and _IDENTIFIER.fullmatch(short):
            return {"id": short, "name": name, "version": value.version}
        self.lose(path, "only an euid-ref of the form name/id with a version can be the IndicatorID of RFC 8727")
        return None

    def _signature(self, key: Key, value: types.Foreign, path: Path) -> str:
        if key.way is not Way.DIGEST:
            return markup.encoded(value.xml)
        found = markup.digest(value)
        if found is None:
            self.lose(path, "ds:DigestValue has more than text")
        return found or ""

    def _markup(self, instance: Any, content: markup.Mixed, path: Path) -> str:
        if instance.dtype == "xml":
            return markup.text_of(content)
        if not markup.is_text(content):
            self.lose(
                path, f"XML has no place in a value of the type {instance.dtype or 'string'}, only in one of xml"
            )
        return markup.plain(content)

    def _dissolved(self, key: Key, value: Any, path: Path) -> list[Any]:
        """What stands in the place of one or several holders."""
        holders = value if key.item.many else (value,)
        held = key.inner
        assert held is not None  # noqa: S101 - for the type checker
        if len(holders) > 1 and held.many:
            name = local(key.item.name)
            self.lose((*path, key.name), f"{len(holders)} {name}: which {key.name} belongs to which would be lost")
        found: list[Any] = []
        for holder in holders:
            self._foreign(holder, path)
            own = getattr(holder, held.python)
            found.extend(own if held.many else (own,))
            for name in ("restriction", "ext_restriction"):
                if getattr(holder, name, None) is not None:
                    what = f"{local(key.item.name)} has {name.replace('_', '-')}, which has no place in RFC 8727"
                    self.lose((*path, key.name), what)
        return found

    def _impacts(self, instance: Any, plan: Plan, path: Path, lang: str | None) -> list[Any]:
        """The impacts of an Assessment in the order of the document."""
        waiting = {name: list(getattr(instance, key.item.python)) for name, key in plan.impacts.items()}
        by_kind = [name for name, values in waiting.items() for _ in values]
        order = instance.order if sorted(instance.order) == sorted(by_kind) else by_kind
        return [{name: self.object(waiting[name].pop(0), (*path, at, name), lang)} for at, name in enumerate(order)]


_CLASSES: dict[Way, Callable[[_Encoder, Class, Path, str | None], Any]] = {
    Way.PEOPLE: _Encoder._people,
    Way.TEXT: _Encoder._text,
    Way.RAW: _Encoder._raw,
    Way.OTHER_ID: _Encoder._other_id,
}
