"""Whether a document has the structure that the model describes, decided without any schema.

It knows attributes, enumerations, order, cardinalities and groups; values of other types it takes as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from lxml import etree

from grid.iodef.fields import Class, Part, Shape, fields_of, is_class

Element = etree._Element


def faults(element: Element, declared: type[Class]) -> Iterator[str]:
    """What is wrong in an element and below; nothing when it has the structure of its class."""
    shape = fields_of(declared)
    yield from _attributes(element, shape)
    yield from _prose(element)
    if shape.content is not None:
        if shape.content.part is Part.CONTENT and len(element):
            yield f"{element.tag} has children"
        return
    if (element.text or "").strip() or any((child.tail or "").strip() for child in element):
        yield f"{element.tag} has text"
    yield from _children(element, shape)
    for child in element:
        item = shape.child_named.get(str(child.tag))
        if item is not None and is_class(item.type):
            yield from faults(child, item.type)


def _attributes(element: Element, shape: Shape) -> Iterator[str]:
    for name, value in element.items():
        item = shape.attribute_named.get(str(name))
        if item is None:
            yield f"{element.tag}/@{name} is unknown"
        elif item.values and value not in item.values:
            yield f"{element.tag}/@{name} is {value!r}"
    for item in shape.attributes:
        if item.required and item.name not in element.attrib:
            yield f"{element.tag}/@{item.name} is missing"


def _prose(element: Element) -> Iterator[str]:
    """What RFC 7970 demands of some classes at certain places only, and the schema says."""
    name = etree.QName(element).localname
    parent = element.getparent()
    nameserver = name == "Address" and parent is not None and etree.QName(parent).localname == "Nameservers"
    if nameserver and (element.get("category") not in {"ipv4-addr", "ipv6-addr"} or "ext-category" in element.attrib):
        yield "the address of a nameserver is no IP address"  # §3.19.1: so there is no other category to name
    if name in {"ApplicationHeaderField", "EmailHeaderField"} and not element.get("name"):  # §3.20.2, §3.21
        yield f"{name} has no name"
    if name == "EmailHeaderField" and element.get("dtype") != "string":  # §3.21
        yield f"{name} is no string"


def _children(element: Element, shape: Shape) -> Iterator[str]:
    names = [str(child.tag) for child in element]
    counts = Counter(names)
    order = [item.name for item in shape.children]
    if not set(names) <= set(order):
        yield f"{element.tag} has unknown children"
        return
    mixed = min((order.index(name) for name in shape.any_order), default=0)
    ranks = [mixed if name in shape.any_order else order.index(name) for name in names]
    if ranks != sorted(ranks):
        yield f"{element.tag} has its children in a wrong order"
    for item in shape.children:
        if (item.required and not counts[item.name]) or (counts[item.name] > 1 and not item.many):
            yield f"{element.tag} has {counts[item.name]} {item.name}"
    for group in shape.any_of:
        if not any(counts[name] for name in group):
            yield f"{element.tag} has none of {group}"
    for group in shape.one_of:
        if sum(counts[name] > 0 for name in group) != 1:
            yield f"{element.tag} has not one of {group}"
