"""Between XML and the model, driven by the descriptions of the classes (`grid.iodef.fields`).

Reading takes for granted that the element is valid: `grid.iodef.load` sees to that. Writing produces text rather
than a tree, because libxml2 cannot be told to keep an element without namespace apart from the default namespace
around it, and extensions may have such elements.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar, cast
from xml.sax.saxutils import escape

from lxml import etree

from grid.iodef import types
from grid.iodef.errors import Invalid, Problem, path_of
from grid.iodef.fields import Class, Item, Part, Shape, fields_of, is_class
from grid.iodef.names import PREFIXES, XMLNS, XSI, local, split

C = TypeVar("C", bound=Class)

_DECLARED_DEFAULT = re.compile(rb'<[^\s/>]+ xmlns="')
_ATTRIBUTE_ENTITIES = {'"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}
_TEXT_ENTITIES = {"\r": "&#13;"}
_OWN_PREFIXES = {PREFIXES[name]: name for name in ("xml", "enum", "sci", "ds")} | {XSI: "xsi"}


# Reading


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
    if text or item.required:
        values[item.python] = _value(item, text, element)


def _mixed(element: etree._Element) -> Iterator[str | types.Foreign]:
    if element.text:
        yield element.text
    for part in element:
        yield types.Foreign.of(part)
        if part.tail:
            yield part.tail


def _read_children(shape: Shape, element: etree._Element, values: dict[str, Any]) -> None:
    for part in element:
        tag = str(part.tag)
        item = shape.child_named.get(tag)
        if item is None:
            raise _Unexpected(part, f"{local(tag)} is not one of the parts of {local(shape.element)}")
        value = _child(item, part)
        if item.many:
            values.setdefault(item.python, []).append(value)
        else:
            values[item.python] = value


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


# Writing


def write(instance: Class) -> etree._Element:
    """The element of an instance that has a name of its own.

    :raises Invalid: text that XML cannot carry.
    """
    return etree.fromstring(dump(instance))


def dump(instance: Class, element: str = "") -> bytes:
    """The instance as XML in UTF-8, without XML declaration. Nothing is checked but the characters.

    :param element: its Clark name, for a type that several elements share.
    :raises Invalid: text that XML cannot carry (XML 1.0 §2.2).
    """
    name = element or fields_of(type(instance)).element
    declared = {
        "" if local(key) == "xmlns" else local(key): uri for key, uri in instance.foreign if split(key)[0] == XMLNS
    }
    declared.pop("xml", None)
    out = _Writer(declared, split(name)[0])
    out.element(name, instance, root=True)
    return "".join(out.parts).encode()


class _Writer:
    """Puts the text of a document together.

    :param declared: prefixes and namespaces as the root declares them.
    :param namespace: of the root; the default one, unless the root gives it a prefix only.
    """

    def __init__(self, declared: Mapping[str, str], namespace: str) -> None:
        self.parts: list[str] = []
        self._prefixes = _OWN_PREFIXES | {uri: prefix for prefix, uri in declared.items() if prefix}
        self._declared = dict(declared)
        if namespace not in declared.values():
            self._declared[""] = namespace
        self._default = self._declared.get("", "")
        self._own = "".join(
            f' xmlns{":" if prefix else ""}{prefix}="{_attribute_text(uri)}"'
            for prefix, uri in sorted(self._declared.items())
        )

    def element(self, name: str, instance: Class, *, root: bool = False) -> None:
        """Write an instance under this name."""
        shape = fields_of(type(instance))
        tag, declarations = self._name(name)
        start = f"<{tag}{self._own if root else ''}{declarations}"
        for item in shape.attributes:
            value = getattr(instance, item.python)
            if value is not None:
                start += f' {self._attribute(item.name)}="{_attribute_text(_text(value))}"'
        for key, value in instance.foreign:
            if split(key)[0] != XMLNS:
                start += f' {self._attribute(key)}="{_attribute_text(value)}"'
        mark = len(self.parts)
        self.parts.append(start + ">")
        self._inside(shape, instance)
        if len(self.parts) == mark + 1:
            self.parts[mark] = start + "/>"
        else:
            self.parts.append(f"</{tag}>")

    def _inside(self, shape: Shape, instance: Class) -> None:
        if shape.content is not None:
            value = getattr(instance, shape.content.python)
            if shape.content.part is Part.MIXED:
                for part in value:
                    self._put(part)
            elif value is not None and (text := _text(value)):
                self._put(text)
        for item in shape.children:
            value = getattr(instance, item.python)
            if item.many:
                for each in value:
                    self._child(item, each)
            elif value is not None:
                self._child(item, value)

    def _child(self, item: Item, value: Any) -> None:
        if isinstance(value, Class):
            self.element(item.name, value)
        elif isinstance(value, types.Foreign):
            self._put(value)
        else:
            tag, declarations = self._name(item.name)
            self.parts.append(f"<{tag}{declarations}>{_content_text(_text(value))}</{tag}>")

    def _put(self, part: str | types.Foreign) -> None:
        if isinstance(part, str):
            self.parts.append(_content_text(part))
            return
        xml = part.xml
        if self._default and not _DECLARED_DEFAULT.match(xml):
            end = re.match(rb"<[^\s/>]+", xml)
            xml = end[0] + b' xmlns=""' + xml[end.end() :] if end else xml
        self.parts.append(xml.decode())

    def _name(self, name: str) -> tuple[str, str]:
        """The name with its prefix, and the declaration that the prefix needs here."""
        namespace, short = split(name)
        if namespace == self._default:
            return short, ""
        prefix = self._prefixes.get(namespace)
        if prefix is None:  # a class of one version inside another's root: never, but not wrong either
            return short, f' xmlns="{namespace}"'
        known = self._declared.get(prefix) == namespace
        return f"{prefix}:{short}", "" if known else f' xmlns:{prefix}="{namespace}"'

    def _attribute(self, name: str) -> str:
        namespace, short = split(name)
        if not namespace:
            return short
        if namespace == PREFIXES["xml"]:
            return f"xml:{short}"
        prefix = self._prefixes.get(namespace)
        if prefix is None or self._declared.get(prefix) != namespace:
            prefix = prefix or f"ns{len(self._prefixes)}"
            return f'xmlns:{prefix}="{_attribute_text(namespace)}" {prefix}:{short}'
        return f"{prefix}:{short}"


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return types.real_text(value) if isinstance(value, Decimal) else str(value)


def _content_text(text: str) -> str:
    return _checked(escape(text, _TEXT_ENTITIES))


def _attribute_text(text: str) -> str:
    return _checked(escape(text, _ATTRIBUTE_ENTITIES))


_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _checked(text: str) -> str:
    found = _FORBIDDEN.search(text)
    if found is None:
        return text
    raise Invalid([Problem(0, "", f"the character U+{ord(found[0]):04X} cannot be written in XML (XML 1.0 §2.2)")])
