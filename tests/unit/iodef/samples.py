"""One instance of each class with every field of it filled, made from the description of the class alone.

They need not be valid (of children that exclude each other all are there): they show what the model can hold.
"""

from __future__ import annotations

from decimal import Decimal
from itertools import count
from typing import Any

from grid.iodef.fields import Class, Item, Part, fields_of, is_class
from grid.iodef.names import PREFIXES, local
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

DEPTH = 3
"""So far down optional children are filled; below only what must be there."""

VALUES: dict[Any, Any] = {
    str: 'text with <, & and "quotes"\n and a \r, ä \U0001f4a9 ',
    int: -7,
    Decimal: Decimal("10000.00"),
    bool: True,
    DateTime: DateTime("2015-07-18T09:00:00.5-05:00"),
    Timezone: Timezone("+05:30"),
    PortList: PortList("2,5-15,30"),
    URL: URL("http://example.com/?a=1&b=%20#c"),
    ID: ID("id-1"),
    IDRef: IDRef("id-1"),
    Language: Language("de-AT"),
    NMToken: NMToken("a:b.c"),
    NCName: NCName("CVE-2014-0001"),
    Base64: Base64("AQI="),
    HexBinary: HexBinary("0A"),
}


def full(declared: type[Class], depth: int = DEPTH) -> Class:
    """An instance in which nothing is left out, as deep as `depth`."""
    shape = fields_of(declared)
    values: dict[str, Any] = {item.python: _plain(item) for item in shape.attributes}
    if shape.content is not None:
        values[shape.content.python] = _mixed() if shape.content.part is Part.MIXED else _plain(shape.content)
    for item in shape.children:
        if depth or item.required:
            numbers = count()
            made = tuple(_one(item, depth, next(numbers)) for _ in range(2 if item.many else 1))
            values[item.python] = made if item.many else made[0]
    return declared(foreign=(("{http://www.w3.org/2001/XMLSchema-instance}type", "kept"),), **values)


def _one(item: Item, depth: int, number: int) -> Any:
    if is_class(item.type):
        return full(item.type, max(depth - 1, 0))
    if item.type is Foreign:
        xml = f'<ds:{local(item.name)} xmlns:ds="{PREFIXES["ds"]}"> {number} <ds:Part/></ds:{local(item.name)}>'
        return Foreign(xml.replace("<ds:Part/>", "<ds:Part></ds:Part>").encode())
    value = _plain(item)
    return type(value)(f"{value}{number}") if isinstance(value, str) else value


def _plain(item: Item) -> Any:
    return item.values[-1] if item.values else VALUES[item.type]


def _mixed() -> tuple[str | Foreign, ...]:
    return ("before ", Foreign(b'<x xmlns="urn:example:x" a="1"><y></y></x>'), " after")
