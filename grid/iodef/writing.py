"""From the model to XML.

The result is text rather than a tree, because libxml2 cannot be told to keep an element without namespace apart from
the default namespace around it, and extensions may have such elements.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from functools import cache
from typing import Any
from xml.sax.saxutils import escape

from lxml import etree

from grid.iodef import types
from grid.iodef.errors import Invalid, Problem
from grid.iodef.fields import Class, Item, Part, Shape, fields_of, in_order, is_class
from grid.iodef.names import PREFIXES, XMLNS, clark, split
from grid.iodef.scope import NCNAME, Declaration, Scope
from grid.iodef.text import FORBIDDEN

_DECLARED_DEFAULT = re.compile(rb"""<[^\s/>]+(?:\s+(?!xmlns\s*=)[^\s=/>]+\s*=\s*(?:"[^"]*"|'[^']*'))*\s+xmlns\s*=""")
_ATTRIBUTE_ENTITIES = {'"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}
_TEXT_ENTITIES = {"\r": "&#13;"}
_RESERVED = {PREFIXES["xml"], XMLNS}

_split = cache(split)
"""For names of classes and their parts, of which there are few."""


def write(instance: Class) -> etree._Element:
    """The element of an instance that has a name of its own.

    :raises Invalid: text that XML cannot carry.
    :raises TypeError: a field holds something else than it is declared for.
    """
    return etree.fromstring(dump(instance), types.PLAIN)


def dump(instance: Class, element: str = "") -> bytes:
    """The instance as XML in UTF-8, without XML declaration. It is not validated.

    :param element: its Clark name, for a type that several elements share.
    :raises Invalid: text that XML cannot carry (XML 1.0 §2.2), or `Class.foreign` with what is no name.
    :raises TypeError: a field holds something else than it is declared for.
    """
    if not isinstance(instance, Class):
        raise TypeError(f"instance must be of a class of IODEF, not {type(instance).__name__}")
    out = _Writer()
    out.element(element or fields_of(type(instance)).element, instance, root=True)
    return "".join(out.parts).encode()


class _Writer:
    """Puts the text of a document together."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._scope = Scope()

    def element(self, name: str, instance: Class, *, root: bool = False) -> None:
        """Write an instance under this name."""
        shape = fields_of(type(instance))
        declared, foreign = _declarations(instance) if instance.foreign else ([], [])
        before = self._scope.enter(declared) if declared else []
        tag = self._name(name, declared, before, root=root)
        start = ""
        for item in shape.attributes:
            value = getattr(instance, item.python)
            if value is not None:
                start += f' {self._attribute(item.name, declared, before)}="{_attribute_text(_text(value))}"'
        for key, text in foreign:
            if key in shape.attribute_named:
                raise _odd(key, "is an attribute of the class")
            start += f' {self._attribute(key, declared, before)}="{_attribute_text(text)}"'
        start = f"<{tag}{_declaring(declared)}{start}" if declared else f"<{tag}{start}"
        mark = len(self.parts)
        self.parts.append(start + ">")
        self._inside(shape, instance)
        if len(self.parts) == mark + 1:
            self.parts[mark] = start + "/>"
        else:
            self.parts.append(f"</{tag}>")
        self._scope.leave(before)

    def _inside(self, shape: Shape, instance: Class) -> None:
        if shape.content is not None:
            value = getattr(instance, shape.content.python)
            if shape.content.part is Part.MIXED:
                for part in _several(shape, shape.content, value):
                    self._put(part)
            elif value is not None and (text := _text(value)):
                self._put(text)
        for item, value in _children(shape, instance):
            self._child(item, value)

    def _child(self, item: Item, value: Any) -> None:
        if isinstance(value, Class):
            self.element(item.name, value)
        elif isinstance(value, types.Foreign):
            self._put(value)
        else:
            declared: list[Declaration] = []
            before: list[tuple[str, str | None]] = []
            tag = self._name(item.name, declared, before)
            self.parts.append(f"<{tag}{_declaring(declared)}>{_content_text(_text(value))}</{tag}>")
            self._scope.leave(before)

    def _put(self, part: str | types.Foreign) -> None:
        if isinstance(part, str):
            self.parts.append(_content_text(part))
            return
        xml = part.xml
        if self._scope.default and not _DECLARED_DEFAULT.match(xml):
            end = re.match(rb"<[^\s/>]+", xml)
            xml = end[0] + b' xmlns=""' + xml[end.end() :] if end else xml
        self.parts.append(xml.decode())

    def _name(
        self, name: str, declared: list[Declaration], before: list[tuple[str, str | None]], *, root: bool = False
    ) -> str:
        """The name with its prefix; what that needs is added to the element's declarations and put in force."""
        namespace, short = _split(name)
        if namespace == self._scope.default:
            return short
        prefix = self._scope.prefix_of(namespace)
        if prefix is None:
            bare = not namespace or (root and all(prefix for prefix, _ in declared))
            prefix = "" if bare else self._scope.free(namespace)
            self._declare((prefix, namespace), declared, before)
        return f"{prefix}:{short}" if prefix else short

    def _attribute(self, name: str, declared: list[Declaration], before: list[tuple[str, str | None]]) -> str:
        if "}" not in name:
            return name
        namespace, short = split(name)
        if namespace == PREFIXES["xml"]:
            return f"xml:{short}"
        prefix = self._scope.prefix_of(namespace)
        if prefix is None:
            prefix = self._scope.free(namespace)
            self._declare((prefix, namespace), declared, before)
        return f"{prefix}:{short}"

    def _declare(self, new: Declaration, declared: list[Declaration], before: list[tuple[str, str | None]]) -> None:
        declared.append(new)
        before[:0] = self._scope.enter([new])


def _declarations(instance: Class) -> tuple[list[Declaration], list[tuple[str, str]]]:
    """What `foreign` says: namespace declarations, and attributes.

    :raises Invalid: what would not be well-formed, or would not be what it is said to be.
    """
    declared: dict[str, str] = {}
    attributes: dict[str, str] = {}
    for key, value in instance.foreign:
        namespace, short = split(key)
        if NCNAME.fullmatch(short) is None or not namespace:
            raise _odd(key, "is not a name with namespace in Clark notation")
        if key in attributes or (namespace == XMLNS and short in declared):
            raise _odd(key, "is there twice")
        if namespace != XMLNS:
            attributes[key] = value
        elif short == "xml" or value in _RESERVED:
            if (short, value) != ("xml", PREFIXES["xml"]):
                raise _odd(key, "declares a name that Namespaces in XML 1.0 §3 reserves")
        elif short != "xmlns" and not value:
            raise _odd(key, "declares a prefix for no namespace")
        else:
            declared[short] = value
    pairs = sorted(("" if prefix == "xmlns" else prefix, uri) for prefix, uri in declared.items())
    return pairs, list(attributes.items())


def _declaring(declared: list[Declaration]) -> str:
    return "".join(f' xmlns{":" if prefix else ""}{prefix}="{_attribute_text(uri)}"' for prefix, uri in declared)


def _odd(name: str, what: str) -> Invalid:
    return Invalid([Problem(0, "", f"the attribute {name[:80]!r} {what}")])


def _children(shape: Shape, instance: Class) -> Iterator[tuple[Item, Any]]:
    """The children of an instance in the order of the document, each with its description."""
    parts: list[tuple[Item, Any]] = []
    for item in shape.children:
        value = getattr(instance, item.python)
        if item.many:
            parts += [(item, each) for each in _several(shape, item, value)]
        elif value is not None:
            parts.append((item, _one(shape, item, value)))
    if not shape.any_order or not instance.order:  # type: ignore[attr-defined]
        return iter(parts)
    places = [place for place, (item, _) in enumerate(parts) if item.name in shape.any_order]
    mixed = [parts[place] for place in places]
    wanted = [clark(name, shape.namespace) for name in instance.order]  # type: ignore[attr-defined]
    if in_order(shape, wanted) != [item.name for item, _ in mixed]:  # it tells of other children than there are
        return iter(parts)
    kinds = {name: iter([part for part in mixed if part[0].name == name]) for name in set(wanted)}
    for place, name in zip(places, wanted, strict=True):
        parts[place] = next(kinds[name])
    return iter(parts)


def _several(shape: Shape, item: Item, value: Any) -> Iterator[Any]:
    if not isinstance(value, tuple | list):  # a str would be taken letter by letter
        raise _wrong(shape, item, value, "a tuple")
    return (_one(shape, item, each) for each in value)


def _one(shape: Shape, item: Item, value: Any) -> Any:
    if item.part is Part.MIXED:
        fits = isinstance(value, str | types.Foreign)
    elif item.type is types.Foreign or is_class(item.type):
        fits = isinstance(value, item.type)
    else:
        fits = isinstance(value, str | int | Decimal)
    if not fits:
        raise _wrong(shape, item, value, "str or Foreign" if item.part is Part.MIXED else item.type.__name__)
    return value


def _wrong(shape: Shape, item: Item, value: Any, expected: str) -> TypeError:
    return TypeError(f"{shape.type.__name__}.{item.python}: found {type(value).__name__}; expected {expected}")


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


def _checked(text: str) -> str:
    found = FORBIDDEN.search(text)
    if found is None:
        return text
    raise Invalid([Problem(0, "", f"the character U+{ord(found[0]):04X} cannot be written in XML (XML 1.0 §2.2)")])
