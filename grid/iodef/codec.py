"""From XML to the model and back, driven by the descriptions of the classes (`grid.iodef.fields`).

Reading takes for granted that the element is valid: `grid.iodef.load` sees to that. Writing is in
`grid.iodef.writing`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar, cast

from lxml import etree

from grid.iodef import types
from grid.iodef.errors import Invalid, Problem, path_of
from grid.iodef.fields import Class, Item, Part, Shape, fields_of, in_order, is_class
from grid.iodef.names import XMLNS, local, split
from grid.iodef.scope import Declaration, Scope
from grid.iodef.writing import dump, write

__all__ = ["dump", "read", "write"]

C = TypeVar("C", bound=Class)


FOREIGN = 256_000_000
"""So many octets may the elements hold that a model keeps whole. Each repeats the namespace declarations around it,
so that a small document could ask for any amount of memory."""


def read(declared: type[C], element: etree._Element) -> C:
    """The model of an element that is valid.

    :param declared: the class that it is to become.
    :raises Invalid: a value that Python cannot hold, such as a number of many thousand digits, or an element that is
        not what the class describes.
    :raises TypeError: `element` is no element.
    """
    if not isinstance(element, etree._Element):
        raise TypeError(f"element must be an element of lxml, not {type(element).__name__}")
    try:
        made = _Reader(element).read(fields_of(declared), element)
    except _Unexpected as problem:
        raise Invalid([problem.problem]) from None
    return cast(C, made)


class _Unexpected(Exception):
    def __init__(self, element: etree._Element, what: str) -> None:
        super().__init__(what)
        self.problem = Problem(element.sourceline or 0, path_of(element), what)


class _Reader:
    """Reads one element with all that is in it."""

    def __init__(self, top: etree._Element) -> None:
        self._declared = _declarations(top)
        self._scope = Scope()
        self._room = FOREIGN

    def read(self, shape: Shape, element: etree._Element) -> Class:
        values: dict[str, Any] = {}
        foreign: list[tuple[str, str]] = []
        for name, text in element.items():
            item = shape.attribute_named.get(str(name))
            if item is not None:
                values[item.python] = _value(item, str(text), element)
            elif "}" in name:
                foreign.append((str(name), str(text)))
            else:
                raise _Unexpected(element, f"the attribute {name!r} is not one of {local(shape.element)}")
        declared = self._declared.get(element, ())
        if declared:
            foreign[:0] = self._kept(element, declared)
        if foreign:
            values["foreign"] = tuple(foreign)
        before = self._scope.enter(declared)
        if shape.content is not None:
            self._content(shape.content, element, values)
        else:
            self._children(shape, element, values)
        self._scope.leave(before)
        for item in shape.children:
            if item.many and item.python in values:
                values[item.python] = tuple(values[item.python])
        try:
            return shape.type(**values)
        except TypeError:
            raise _Unexpected(element, "a part that is required is missing") from None

    def _kept(self, element: etree._Element, declared: list[Declaration]) -> tuple[tuple[str, str], ...]:
        """The declarations of an element that the model has to know."""
        if element.getparent() is None:
            return _pairs(declared)
        used = {split(str(name))[0] for name in (element.tag, *element.keys())}
        needless = self._scope.needless(declared, used)
        return _pairs(each for each in declared if each not in needless)

    def _content(self, item: Item, element: etree._Element, values: dict[str, Any]) -> None:
        if item.part is Part.MIXED:
            values[item.python] = tuple(self._mixed(element))
            return
        text = _text(element)
        if item.required or (text.strip() if item.type is Decimal else text):
            values[item.python] = _value(item, text, element)

    def _mixed(self, element: etree._Element) -> Iterator[str | types.Foreign]:
        text = element.text or ""
        for part in element:
            if isinstance(part.tag, str):
                if text:
                    yield text
                yield self._foreign(part)
                text = ""
            text += part.tail or ""
        if text:
            yield text

    def _children(self, shape: Shape, element: etree._Element, values: dict[str, Any]) -> None:
        order = []
        for part in element:
            if not isinstance(part.tag, str):
                continue  # a comment or a processing instruction, in a tree that somebody else has parsed
            tag = part.tag
            if tag in shape.any_order:
                order.append(tag)
            item = shape.child_named.get(tag)
            if item is None:
                raise _Unexpected(part, f"{local(tag)} is not one of the parts of {local(shape.element)}")
            value = self._child(item, part)
            if item.many:
                values.setdefault(item.python, []).append(value)
            else:
                values[item.python] = value
        if order and order != in_order(shape, order):
            values["order"] = tuple(local(name) for name in order)

    def _child(self, item: Item, element: etree._Element) -> Any:
        if item.type is types.Foreign:
            return self._foreign(element)
        if is_class(item.type):
            return self.read(fields_of(item.type), element)
        return _value(item, _text(element), element)

    def _foreign(self, element: etree._Element) -> types.Foreign:
        made = types.Foreign.of(element)
        self._room -= len(made.xml)
        if self._room < 0:
            what = (
                f"the elements of other namespaces are more than {FOREIGN} octets with their namespace declarations"
            )
            raise _Unexpected(element, what)
        return made


def _declarations(top: etree._Element) -> dict[etree._Element, list[Declaration]]:
    """The elements that declare namespaces. Asking each for its `nsmap` would go up to the root each time."""
    found: dict[etree._Element, list[Declaration]] = {}
    pending: list[Declaration] = []
    what: Any
    for event, what in etree.iterwalk(top, events=("start", "start-ns")):
        if event == "start-ns":
            pending.append(what)
        elif pending:
            found[what] = pending
            pending = []
    if top.getparent() is not None:  # it will be a root, whose name needs no prefix
        own = ("", split(str(top.tag))[0])
        found[top] = [each for each in found.get(top, []) if each != own]
    return found


def _pairs(declared: Iterable[Declaration]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((f"{{{XMLNS}}}{prefix or 'xmlns'}", uri) for prefix, uri in declared))


def _text(element: etree._Element) -> str:
    """The text of an element without children; comments may divide it."""
    return str(element.xpath("string()")) if len(element) else element.text or ""


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
