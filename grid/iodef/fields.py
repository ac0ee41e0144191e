"""How a class of IODEF is declared: one frozen dataclass per class of the standard, one field per part of it.

::

    @iodef("IncidentID", section="3.4")
    class IncidentID(Class):
        value: str = content()
        name: str = attribute("name")
        instance: str | None = attribute("instance", default=None)

A field without default is required. The annotation is the type: `str`, `int`, `Decimal`, one of `grid.iodef.types`,
a ``Literal`` for an enumeration, or another class; ``X | None`` and ``tuple[X, ...]`` give the cardinality. The order
of the fields that are elements is the order in the document. `fields_of` is what codec, JSON and tests work with.
"""

from __future__ import annotations

import dataclasses
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import MISSING, dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from grid.iodef.names import clark

T = TypeVar("T")
C = TypeVar("C")

Groups = tuple[str, ...] | tuple[tuple[str, ...], ...]
"""Names of elements, or several such groups."""


class Part(Enum):
    """What a field is in the document."""

    ATTRIBUTE = "attribute"
    CHILD = "child"
    CONTENT = "content"
    MIXED = "mixed"


@dataclass(frozen=True, slots=True)
class Item:
    """One field of a class.

    :ivar name: of the attribute or element in Clark notation; empty for the content.
    :ivar python: the name of the field.
    :ivar type: of one value: `str`, a type of `grid.iodef.types`, or a `Class`.
    :ivar values: of an enumeration; empty for others.
    :ivar required: it must be there (once at least).
    :ivar many: it may be there several times.
    :ivar implied: what its absence means, when the standard gives a default.
    """

    part: Part
    name: str
    python: str
    type: Any
    values: tuple[str, ...]
    required: bool
    many: bool
    implied: str | None


@dataclass(frozen=True, slots=True)
class Shape:
    """What a class looks like in the document.

    :ivar element: its own name in Clark notation; empty for a type that several elements share.
    :ivar namespace: of its children.
    :ivar section: of the standard.
    :ivar content: the field that holds the element's text, or its mixed content.
    :ivar any_of: groups of children of which one at least must be there, in Clark notation.
    :ivar one_of: groups of children of which exactly one must be there.
    :ivar any_order: children that follow each other in any order; the class has a field `order` for it.
    """

    type: type[Class]
    element: str
    namespace: str
    section: str
    attributes: tuple[Item, ...]
    children: tuple[Item, ...]
    content: Item | None
    any_of: tuple[tuple[str, ...], ...]
    one_of: tuple[tuple[str, ...], ...]
    any_order: frozenset[str]
    attribute_named: dict[str, Item]
    child_named: dict[str, Item]


@dataclass(frozen=True, slots=True)
class _Declaration:
    namespace: str
    element: str
    section: str
    any_of: Groups
    one_of: Groups
    any_order: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Class:
    """The base of every class of IODEF: immutable, hashable, compared by value.

    :ivar foreign: attributes of other namespaces as pairs of Clark name and value, ``xsi:type`` for example; at the
        root of a document all namespace declarations, elsewhere those that the element itself makes, since values
        may use their prefixes. What stands in a name of the element alone is left out.
    """

    foreign: tuple[tuple[str, str], ...] = ()
    _declaration: ClassVar[_Declaration]
    _names: ClassVar[tuple[str, ...]] = ("foreign",)

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        pairs: list[tuple[Any, Any]] = [(self, other)]
        while pairs:  # no recursion: EventData may nest deeper than Python's calls do
            one, two = pairs.pop()
            if one is two:  # also what is not a number, which does not equal itself
                continue
            if isinstance(one, Class) and type(one) is type(two):
                pairs += [(getattr(one, name), getattr(two, name)) for name in one._names]
            elif isinstance(one, tuple) and isinstance(two, tuple) and len(one) == len(two):
                pairs += zip(one, two, strict=True)
            elif isinstance(one, Class | tuple) or one != two:
                return False
        return True

    def __hash__(self) -> int:
        parts: list[Any] = []
        ahead: list[Any] = [self]
        while ahead:
            part = ahead.pop()
            if isinstance(part, Class):
                parts.append(type(part))
                ahead += [getattr(part, name) for name in part._names]
            elif isinstance(part, tuple):
                parts.append(len(part))
                ahead += part
            else:
                parts.append(part)
        return hash(tuple(parts))

    def __copy__(self: C) -> C:
        return self  # immutable, all the way down

    def __deepcopy__(self: C, memo: dict[int, Any]) -> C:
        return self


_packages: defaultdict[str, dict[str, type[Class]]] = defaultdict(dict)
"""The classes by package and name: they refer to each other in circles, across modules."""


_shapes: dict[type[Class], Shape] = {}


def attribute(name: str, *, default: Any = MISSING, implied: str | None = None) -> Any:
    """A field that is an attribute; required when it has no default."""
    return _field(Part.ATTRIBUTE, name, default, implied)


def child(name: str, *, default: Any = MISSING) -> Any:
    """A field that is an element, there at most once; required when it has no default."""
    return _field(Part.CHILD, name, default)


def children(name: str, *, default: Any = MISSING) -> Any:
    """A field that is an element, there any number of times; at least once when it has no default."""
    return _field(Part.CHILD, name, default)


def content(*, default: Any = MISSING) -> Any:
    """The field that is the element's text."""
    return _field(Part.CONTENT, "", default)


def mixed(*, default: Any = MISSING) -> Any:
    """The field that is text and foreign elements, as they follow each other."""
    return _field(Part.MIXED, "", default)


def define(
    namespace: str,
    element: str,
    *,
    section: str,
    any_of: Groups = (),
    one_of: Groups = (),
    any_order: tuple[str, ...] = (),
) -> Callable[[type[C]], type[C]]:
    """Make a dataclass of a declaration, and remember what it stands for.

    :param namespace: of the standard.
    :param element: the class's name in the document, with a prefix of `names.PREFIXES` when it is of another
        standard; empty for a type that several elements share.
    :param section: of the standard, for example ``3.12.1``.
    :param any_of: children of which at least one must be there; or several such groups.
    :param one_of: children of which exactly one must be there.
    :param any_order: children that may be mixed with each other. Such a class declares ``order: tuple[str, ...] =
        ()``: the names of these children in the order of the document, empty when it is that of the fields.
    """

    def decorate(declared: type[C]) -> type[C]:
        made: Any = dataclass(frozen=True, slots=True, kw_only=True, eq=False)(declared)
        name = clark(element, namespace) if element else ""
        home = name[1:].partition("}")[0] if name else namespace
        made._names = tuple(field.name for field in dataclasses.fields(made))
        made._declaration = _Declaration(home, name, section, any_of, one_of, any_order)
        _packages[made.__module__.rpartition(".")[0]][made.__name__] = made
        return made  # type: ignore[no-any-return]

    return decorate


def fields_of(declared: type[Class]) -> Shape:
    """The description of a class."""
    shape = _shapes.get(declared)
    if shape is None:
        shape = _shapes[declared] = _shape(declared)
    return shape


def _shape(declared: type[Class]) -> Shape:
    told = declared._declaration
    package = _packages[declared.__module__.rpartition(".")[0]]
    names = {"ClassVar": ClassVar, "_Declaration": _Declaration, **package}  # the first two for the base's own
    hints = get_type_hints(declared, vars(sys.modules[declared.__module__]), names)
    items = [
        _item(field, hints[field.name], told.namespace) for field in dataclasses.fields(declared) if field.metadata
    ]
    attributes = tuple(item for item in items if item.part is Part.ATTRIBUTE)
    elements = tuple(item for item in items if item.part is Part.CHILD)
    return Shape(
        type=declared,
        element=told.element,
        namespace=told.namespace,
        section=told.section,
        attributes=attributes,
        children=elements,
        content=next((item for item in items if item.part in {Part.CONTENT, Part.MIXED}), None),
        any_of=_groups(told.any_of, told.namespace),
        one_of=_groups(told.one_of, told.namespace),
        any_order=frozenset(clark(name, told.namespace) for name in told.any_order),
        attribute_named={item.name: item for item in attributes},
        child_named={item.name: item for item in elements},
    )


def in_order(shape: Shape, names: Iterable[str]) -> list[str]:
    """Clark names of children in the order in which the class declares them; unknown ones come last."""
    places = {item.name: place for place, item in enumerate(shape.children)}
    return sorted(names, key=lambda name: places.get(name, len(places)))


def is_class(type_: Any) -> bool:
    """Whether a type of an item is a class of IODEF rather than a plain value."""
    return isinstance(type_, type) and issubclass(type_, Class)


def _field(part: Part, name: str, default: Any, implied: str | None = None) -> Any:
    return dataclasses.field(default=default, metadata={"part": part, "name": name, "implied": implied})


def _item(field: dataclasses.Field[Any], hint: Any, namespace: str) -> Item:
    part = field.metadata["part"]
    name = field.metadata["name"]
    many = False
    if get_origin(hint) in {Union, UnionType}:
        (hint,) = (part_ for part_ in get_args(hint) if part_ is not NoneType)
    if get_origin(hint) is tuple and part is not Part.MIXED:
        hint, many = get_args(hint)[0], True
    values = get_args(hint) if get_origin(hint) is Literal else ()
    return Item(
        part=part,
        name=clark(name, namespace if part is Part.CHILD else "") if name else "",
        python=field.name,
        type=str if values else hint,
        values=values,
        required=field.default is MISSING,
        many=many,
        implied=field.metadata["implied"],
    )


def _groups(groups: Groups, namespace: str) -> tuple[tuple[str, ...], ...]:
    several = groups if groups and isinstance(groups[0], tuple) else ((groups,) if groups else ())
    return tuple(tuple(clark(str(name), namespace) for name in group) for group in several)
