"""From plain values with the keys of RFC 8727 to the model.

The schema has been satisfied when this begins: what can be wrong still is inside of strings.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any, cast

from grid.iodef import types, v2
from grid.iodef.errors import MOST, Problem
from grid.iodef.fields import Class
from grid.iodef.json import markup
from grid.iodef.json.mapping import Key, Plan, Way, plan_of
from grid.iodef.json.places import Cell, pointer_of

VERSIONS = {"2.0": "2.00", "2.00": "2.00"}
"""The versions that a document in JSON may name (RFC 8727 §4, RFC 7970 §3.1), and what the model has for them."""


class Decoder:
    """Makes the model; collects what is wrong.

    :ivar problems: with pointers; their lines are 0. Of more than `MOST` one beyond is kept.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def object(self, declared: type[Class], found: dict[str, Any], cell: Cell) -> Any:
        """An instance of a class; None when a problem stands in its way."""
        plan = plan_of(declared)
        values: dict[str, Any] = {}
        for name, value in found.items():
            key = plan.by_name[name]
            if key.way is Way.IMPACT:
                self._impacts(plan, value, (cell, name), values)
            elif key.way is Way.MARKUP:
                values[key.item.python] = self._markup(found, value, (cell, name))
            elif key.many:
                made = tuple([self._one(key, each, ((cell, name), at)) for at, each in enumerate(value)])
                values[key.item.python] = _gathered(key, made) if key.inner else made
            else:
                one = self._one(key, value, (cell, name))
                values[key.item.python] = _gathered(key, (one,)) if key.inner else one
        return self._made(plan, values, cell)

    def _made(self, plan: Plan, values: dict[str, Any], cell: Cell) -> Any:
        _adjusted(plan.type, values)
        for key in plan.keys:
            if key.item.required and key.item.python not in values:
                if key.way is not Way.MARKUP:
                    self._wrong(cell, f"{key.name!r} is missing; RFC 7970 requires it")
                    return None
                values[key.item.python] = ()
        return plan.type(**values)

    def _wrong(self, cell: Cell, message: str) -> None:
        if len(self.problems) <= MOST:
            self.problems.append(Problem(0, pointer_of(cell), message))

    def _one(self, key: Key, value: Any, cell: Cell) -> Any:
        way = key.way
        if way is Way.OBJECT:
            return self.object(key.item.type, value, cell)
        if way is Way.PLAIN or (way is Way.DISSOLVED and not isinstance(value, dict)):
            item = key.inner or key.item
            if item.type is not types.Foreign:
                return _converter(item.type)(key.meaning.get(value, value) if key.meaning else value)
        return _WAYS[way](self, key, value, cell)

    def _dissolved(self, key: Key, value: Any, cell: Cell) -> Any:
        assert key.inner is not None  # noqa: S101 - for the type checker
        if key.inner.type is types.Foreign:
            return self._checked(markup.signature, (key.inner.name, value), cell)
        return self.object(key.inner.type, value, cell)

    def _people(self, _key: Key, value: Any, cell: Cell) -> Any:
        return v2.MLString(value=value) if isinstance(value, str) else self.object(v2.MLString, value, cell)

    def _signature(self, key: Key, value: str, cell: Cell) -> Any:
        return self._checked(markup.signature, (key.item.name, value), cell)

    def _raw(self, _key: Key, value: str, _cell: Cell) -> Any:
        dtype, content = markup.raw_data(value)
        return v2.RawData(dtype=cast(Any, dtype), content=content)

    def _version(self, _key: Key, value: str, cell: Cell) -> str:
        if value not in VERSIONS:
            self._wrong(cell, f"found {value[:80]!r}; expected '2.0'")
        return VERSIONS.get(value, value)

    def _other_id(self, _key: Key, value: dict[str, str], _cell: Cell) -> Any:
        """An IndicatorID where RFC 7970 has an IndicatorReference: its name and id become ``name/id``."""
        return v2.IndicatorReference(euid_ref=f"{value['name']}/{value['id']}", version=value["version"])

    def _markup(self, holder: dict[str, Any], value: str, cell: Cell) -> markup.Mixed:
        if holder.get("dtype") == "xml":
            return self._checked(markup.content_of, (value,), cell) or ()
        return (value,) if value else ()

    def _impacts(self, plan: Plan, found: list[dict[str, Any]], cell: Cell, values: dict[str, Any]) -> None:
        for at, each in enumerate(found):
            for name, value in each.items():
                item = plan.impacts[name].item
                made = self.object(item.type, value, ((cell, at), name))
                values[item.python] = (*values.get(item.python, ()), made)
        order = [name for each in found for name in each]
        if order != sorted(order, key=list(plan.impacts).index):
            values["order"] = tuple(order)

    def _checked(self, convert: Callable[..., Any], arguments: tuple[Any, ...], cell: Cell) -> Any:
        try:
            return convert(*arguments)
        except ValueError as error:
            self._wrong(cell, str(error))
            return None


_WAYS: dict[Way, Callable[[Decoder, Key, Any, Cell], Any]] = {
    Way.DISSOLVED: Decoder._dissolved,
    Way.PEOPLE: Decoder._people,
    Way.TEXT: Decoder._people,
    Way.SIGNATURE: Decoder._signature,
    Way.DIGEST: lambda _self, _key, value, _cell: markup.digest_element(value),
    Way.RAW: Decoder._raw,
    Way.VERSION: Decoder._version,
    Way.OTHER_ID: Decoder._other_id,
    Way.MEASURE: lambda _self, _key, value, _cell: real(value),
}


def _gathered(key: Key, made: tuple[Any, ...]) -> Any:
    """The holder, or the holders, of what JSON has in its place: one holder of all, where it can hold several."""
    assert key.inner is not None  # noqa: S101 - for the type checker
    if key.inner.many:
        holder = key.item.type(**{key.inner.python: made})
        return (holder,) if key.item.many else holder
    holders = tuple(key.item.type(**{key.inner.python: each}) for each in made)
    return holders if key.item.many else holders[0]


def _adjusted(declared: type[Class], values: dict[str, Any]) -> None:
    """The places where a value depends on its neighbour."""
    if declared is v2.Confidence and values.get("rating") != "numeric" and not values.get("value"):
        values.pop("value", None)  # RFC 7970 §3.12.5 has it empty; RFC 8727 requires some number
    elif declared is v2.Extension and values.get("dtype") == "json":
        values["dtype"], values["ext_dtype"] = "ext-value", "json"  # RFC 8727 only
    elif declared is v2.IndicatorExpression and "ext_operator" in values:
        values.setdefault("operator", "ext-value")  # RFC 8727 does not have this value


def real(value: Any) -> Decimal:
    """REAL from whatever number a plain value has."""
    return value if isinstance(value, Decimal) else Decimal(str(value))


@cache
def _converter(type_: Any) -> Callable[[Any], Any]:
    if type_ is Decimal:
        return real
    if type_ in types.LEXICAL:
        return lambda value: type_(" ".join(value.split()))
    return int if type_ is int else str
