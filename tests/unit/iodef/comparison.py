"""Lays a schema of ours beside the typed model, which has been written from the same standard by somebody else.

Both are walked from the root on. Every difference is a sentence; a difference of content models comes with a shortest
sequence of children that only one of the two allows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from decimal import Decimal

from lxml import etree

from grid.iodef.fields import Class, Item, Part, Shape, fields_of, is_class
from grid.iodef.names import local
from grid.iodef.types import (
    ID,
    URL,
    Base64,
    DateTime,
    Foreign,
    HexBinary,
    IDRef,
    Language,
    NCName,
    NMToken,
    PortList,
    Timezone,
)
from tests.unit.iodef.languages import Term, alt, both, difference, one, seq, star, times
from tests.unit.iodef.xsd import Attribute, Element, Schema

PYTHON: dict[str, type] = {
    "string": str,
    "integer": int,
    "float": Decimal,
    "RealType": Decimal,
    "boolean": bool,
    "dateTime": DateTime,
    "anyURI": URL,
    "ID": ID,
    "IDREF": IDRef,
    "language": Language,
    "NMTOKEN": NMToken,
    "NCName": NCName,
    "base64Binary": Base64,
    "hexBinary": HexBinary,
    "TimezoneType": Timezone,
    "PortlistType": PortList,
}
"""What a type of the schema is in the model (sections 2.1 to 2.14 of RFC 7970)."""


def differences(schema: Schema, root: type[Class]) -> list[str]:
    """Everything in which a schema and the model of a document differ."""
    start = schema.elements[fields_of(root).element]
    found: list[str] = []
    seen: set[tuple[etree._Element, type[Class]]] = set()
    queue = deque([(start, root, local(fields_of(root).element))])
    while queue:
        node, declared, path = queue.popleft()
        if node.get("ref"):
            node = schema.elements[_target(schema, node)]
        if (node, declared) in seen:
            continue
        seen.add((node, declared))
        shape, element = fields_of(declared), schema.element(node)
        found += [f"{path}: {what}" for what in _compare(schema, shape, element)]
        for item in shape.children:
            below = element.children.get(item.name)
            if below is not None and is_class(item.type):
                queue.append((below, item.type, f"{local(shape.element) or path}/{local(item.name)}"))
    return found


def allowed(shape: Shape) -> Term:
    """The sequences of children that a class of the model stands for."""
    names = [item.name for item in shape.children]
    anything = star(alt(map(one, names)))
    mixable = star(alt(map(one, shape.any_order)))
    parts = []
    for item in shape.children:
        if item.name not in shape.any_order:
            parts.append(times(one(item.name), int(item.required), item.many))
        elif mixable not in parts:  # in the place of the first of them
            parts.append(mixable)
    terms = [seq(*parts)]
    terms += [seq(anything, alt(map(one, group)), anything) for group in shape.any_of]
    for group in shape.one_of:
        kinds = []
        for kind in group:
            rest = star(alt(one(name) for name in names if name == kind or name not in group))
            kinds.append(seq(rest, one(kind), rest))
        terms.append(alt(kinds))
    return both(terms)


def _compare(schema: Schema, shape: Shape, element: Element) -> Iterator[str]:
    yield from _attributes(shape, element)
    yield from _text(shape, element)
    names = {item.name for item in shape.children}
    for name in sorted(names ^ set(element.children)):
        yield f"{local(name)} is in the {'model' if name in names else 'schema'} only"
    if names == set(element.children):
        odd = difference(element.words, allowed(shape), names)
        if odd is not None:
            yield f"only the {'schema' if odd[1] == 'left' else 'model'} allows {[local(name) for name in odd[0]]}"
    for item in shape.children:
        if item.name in element.children and not is_class(item.type) and item.type is not Foreign:
            below = schema.element(element.children[item.name])
            if PYTHON.get(below.text) is not item.type or below.attributes or below.children:
                what = below.text or "complex"
                yield f"{local(item.name)} is {what} in the schema, {item.type.__name__} in the model"


def _attributes(shape: Shape, element: Element) -> Iterator[str]:
    ours = shape.attribute_named
    for name in sorted(ours.keys() ^ element.attributes.keys()):
        yield f"@{local(name)} is in the {'model' if name in ours else 'schema'} only"
    for name in sorted(ours.keys() & element.attributes.keys()):
        item, theirs = ours[name], element.attributes[name]
        for what, schema_has, model_has in _facets(item, theirs):
            if schema_has != model_has:
                yield f"@{local(name)} {what}: {schema_has} in the schema, {model_has} in the model"


def _facets(item: Item, theirs: Attribute) -> Iterator[tuple[str, object, object]]:
    yield "required", theirs.required, item.required
    # not in order: `Literal`s with the same values are the same to Python, which then keeps the first one's order
    yield "values", sorted(theirs.values), sorted(item.values)
    if not theirs.values and not item.values:
        yield "type", PYTHON.get(theirs.type, theirs.type), item.type
    if not item.required:
        # a required attribute can have no default in XML Schema; the model notes what the standard calls its default
        yield "default", theirs.default, item.implied


def _text(shape: Shape, element: Element) -> Iterator[str]:
    content = shape.content
    if element.open != (content is not None and content.part is Part.MIXED):
        yield "open to other elements in one of schema and model only"
    if element.open_attributes:
        yield "any attribute is allowed in the schema only"
    if not element.open:
        model_has = content.type if content is not None else None
        if PYTHON.get(element.text) is not model_has:
            yield f"text is {element.text or 'not there'} in the schema, {model_has} in the model"


def _target(schema: Schema, node: etree._Element) -> str:
    prefix, _, name = str(node.get("ref")).rpartition(":")
    return f"{{{node.nsmap[prefix or None]}}}{name}"
