"""From the model to XML.

The result is text rather than a tree, because libxml2 cannot be told to keep an element without namespace apart from
the default namespace around it, and extensions may have such elements.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any
from xml.sax.saxutils import escape

from lxml import etree

from grid.iodef import types
from grid.iodef.errors import Invalid, Problem
from grid.iodef.fields import Class, Item, Part, Shape, fields_of, in_order
from grid.iodef.names import PREFIXES, XMLNS, XSI, clark, local, split

_DECLARED_DEFAULT = re.compile(rb"""<[^\s/>]+(?: xmlns:[^\s=]+=(?:"[^"]*"|'[^']*'))* xmlns=["']""")
_ATTRIBUTE_ENTITIES = {'"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"}
_TEXT_ENTITIES = {"\r": "&#13;"}
_OWN_PREFIXES = {PREFIXES[name]: name for name in ("xml", "enum", "sci", "ds")} | {XSI: "xsi"}


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
        for item, value in _children(shape, instance):
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


def _children(shape: Shape, instance: Class) -> Iterator[tuple[Item, Any]]:
    """The children of an instance in the order of the document, each with its description."""
    parts: list[tuple[Item, Any]] = []
    for item in shape.children:
        value = getattr(instance, item.python)
        parts += [(item, each) for each in value] if item.many else [] if value is None else [(item, value)]
    if not shape.any_order or not instance.order:  # type: ignore[attr-defined]
        return iter(parts)
    mixed = [part for part in parts if part[0].name in shape.any_order]
    wanted = [clark(name, shape.namespace) for name in instance.order]  # type: ignore[attr-defined]
    if in_order(shape, wanted) != [item.name for item, _ in mixed]:  # it tells of other children than there are
        return iter(parts)
    start = parts.index(mixed[0])
    left = list(mixed)
    for name in wanted:
        place = next(place for place, (item, _) in enumerate(left) if item.name == name)
        parts[start] = left.pop(place)
        start += 1
    return iter(parts)


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
