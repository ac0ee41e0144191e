"""Incidents of IODEF 1.0 as the examples of XEP-0268 have them, made valid.

Peers were written from those examples. They differ from RFC 5070 in this:

- an extended value says the name of its partner (``category='ext-category' ext-category='xmpp'``), the partner may
  belong to another attribute (``role='ext-type' ext-type='chatroom'``), or it stands where only values of the
  enumeration may (``action='blockquote'``);
- the language of a text stands in ``xml:lang``, which is ``lang`` in version 1.0;
- ``type`` of a Contact and ``dtype`` of an AdditionalData are missing;
- a System has several Nodes;
- the parts of an Incident are in another order.
"""

from __future__ import annotations

import copy

from lxml import etree

from grid.iodef import v1
from grid.iodef.fields import Shape, fields_of, is_class
from grid.iodef.names import V1, clark
from grid.iodef.text import EXT_VALUE

LARGEST = 1_000_000
"""So many bytes mending may add for one System."""

_NODE = clark("Node", V1)
_XML_LANG = clark("xml:lang", "")


def mended(incident: etree._Element) -> etree._Element:
    """A copy of an Incident with those differences removed; whether it is valid then is for the caller to see."""
    whole = copy.deepcopy(incident)
    _mend(whole, fields_of(v1.Incident))
    return whole


def _mend(element: etree._Element, shape: Shape) -> None:
    _attributes(element, shape)
    for part in list(element):
        item = shape.child_named.get(str(part.tag))
        if item is not None and is_class(item.type):
            _mend(part, fields_of(item.type))
            if item.type is v1.System:
                _split(part)
    _order(element, shape)


def _attributes(element: etree._Element, shape: Shape) -> None:
    if shape.type is v1.Extension and element.get("dtype") is None:
        element.set("dtype", "xml" if len(element) else "string")
    language = element.attrib.pop(_XML_LANG, None)
    if language is not None and "lang" in shape.attribute_named and element.get("lang") is None:
        element.set("lang", language)
    for item in shape.attributes:
        value = element.get(item.name)
        if EXT_VALUE not in item.values or value is None or value.strip() in item.values:
            continue
        partner = f"ext-{item.name}"
        if not element.get(partner):
            # a value that names another attribute's partner means that one's value
            meant = element.get(value) if value.startswith("ext-") else value
            element.set(partner, meant or value)
        element.set(item.name, EXT_VALUE)
    if shape.type is v1.Contact and element.get("type") is None:
        element.set("type", EXT_VALUE if element.get("ext-type") else "organization")
    if shape.type is v1.Contact and element.get("ext-type") and element.get("type") != EXT_VALUE:
        del element.attrib["ext-type"]


def _split(system: etree._Element) -> None:
    """A System for each of its Nodes, alike in all else."""
    more = system.findall(_NODE)[1:]
    for node in more:
        system.remove(node)
    if len(more) * len(etree.tostring(system)) > LARGEST:
        system.extend(more)  # stays not valid: what is small must not become large
        return
    last = system
    for node in more:
        another = copy.deepcopy(system)
        first = another.find(_NODE)
        if first is not None:
            another.replace(first, node)
        last.addnext(another)
        last = another


def _order(element: etree._Element, shape: Shape) -> None:
    """The parts in the order of the class; unknown ones last. Of equal ones the order stays."""
    order = {item.name: index for index, item in enumerate(shape.children)}
    if shape.content is None and len(element) > 1:
        element[:] = sorted(element, key=lambda part: order.get(str(part.tag), len(order)))
