"""From XML to the model and back, driven by the descriptions of the classes (`grid.iodef.fields`).

Reading takes for granted that the element is valid: `grid.iodef.load` sees to that. Writing is in
`grid.iodef.writing`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar, cast

from lxml import etree

from grid.iodef import types
from grid.iodef.errors import Invalid, Problem, path_of
from grid.iodef.fields import Class, Item, Part, Shape, fields_of, in_order, is_class
from grid.iodef.names import XMLNS, local
from grid.iodef.writing import dump, write

__all__ = ["dump", "read", "root_declarations", "write"]

C = TypeVar("C", bound=Class)


def read(declared: type[C], element: etree._Element) -> C:
    """The model of an element that is valid.

    :param declared: the class that it is to become.
    :raises Invalid: a value that Python cannot hold, such as a number of many thousand digits, or an element that is
        not what the class describes.
    """
    try:
        made = _read(fields_of(declared), element)
    except _Unexpected as problem:
        raise Invalid([problem.problem]) from None
    return cast(C, made)


def root_declarations(element: etree._Element) -> tuple[tuple[str, str], ...]:
    """The namespace declarations of a document's root, in the form of `Class.foreign`."""
    return tuple(sorted((f"{{{XMLNS}}}{prefix or 'xmlns'}", uri) for prefix, uri in element.nsmap.items()))


class _Unexpected(Exception):
    def __init__(self, element: etree._Element, what: str) -> None:
        super().__init__(what)
        self.problem = Problem(element.sourceline or 0, path_of(element), what)


def _read(shape: Shape, element: etree._Element) -> Class:
    values: dict[str, Any] = {}
    foreign = [] if element.getparent() is not None else list(root_declarations(element))
    for name, text in element.items():
        item = shape.attribute_named.get(str(name))
        if item is not None:
            values[item.python] = _value(item, str(text), element)
        elif "}" in name:
            foreign.append((str(name), str(text)))
        else:
            raise _Unexpected(element, f"the attribute {name!r} is not one of {local(shape.element)}")
    if foreign:
        values["foreign"] = tuple(foreign)
    if shape.content is not None:
        _read_content(shape.content, element, values)
    else:
        _read_children(shape, element, values)
    for item in shape.children:
        if item.many and item.python in values:
            values[item.python] = tuple(values[item.python])
    try:
        return shape.type(**values)
    except TypeError:
        raise _Unexpected(element, "a part that is required is missing") from None


def _read_content(item: Item, element: etree._Element, values: dict[str, Any]) -> None:
    if item.part is Part.MIXED:
        values[item.python] = tuple(_mixed(element))
        return
    text = element.text or ""
    if item.required or (text.strip() if item.type is Decimal else text):
        values[item.python] = _value(item, text, element)


def _mixed(element: etree._Element) -> Iterator[str | types.Foreign]:
    if element.text:
        yield element.text
    for part in element:
        yield types.Foreign.of(part)
        if part.tail:
            yield part.tail


def _read_children(shape: Shape, element: etree._Element, values: dict[str, Any]) -> None:
    order = []
    for part in element:
        tag = str(part.tag)
        if tag in shape.any_order:
            order.append(tag)
        item = shape.child_named.get(tag)
        if item is None:
            raise _Unexpected(part, f"{local(tag)} is not one of the parts of {local(shape.element)}")
        value = _child(item, part)
        if item.many:
            values.setdefault(item.python, []).append(value)
        else:
            values[item.python] = value
    if order and order != in_order(shape, order):
        values["order"] = tuple(local(name) for name in order)


def _child(item: Item, element: etree._Element) -> Any:
    if item.type is types.Foreign:
        return types.Foreign.of(element)
    if is_class(item.type):
        return _read(fields_of(item.type), element)
    return _value(item, element.text or "", element)


def _value(item: Item, text: str, element: etree._Element) -> Any:
    try:
        return _reader(item.type, bool(item.values))(text)
    except (ValueError, ArithmeticError):
        raise _Unexpected(element, f"{text[:40]!r} is too much for a number here") from None


@cache
def _reader(type_: Any, enumeration: bool) -> Callable[[str], Any]:
    if enumeration:
        return str.strip
    if type_ is int:
        return lambda text: int(text.strip())
    if type_ is Decimal:
        return types.real
    if type_ is bool:
        return lambda text: text.strip() in {"true", "1"}
    if type_ in types.LEXICAL:
        return lambda text: type_(" ".join(text.split()))
    return str
