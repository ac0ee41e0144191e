"""A fast yes or no to the question whether a value satisfies the JSON schema.

`jsonschema` says what is wrong and has the last word, but takes most of the time of reading a document. So the schema
is compiled to functions once, with the few keywords that it uses; only what they do not take is looked at again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from typing import Any

from grid.iodef.json import schema

Check = Callable[[Any], bool]

_SILENT = {"description", "default", "format", "contentEncoding", "$schema", "$comment", "title", "$defs"}
_SPOKEN = {
    "object": {
        "type",
        "properties",
        "required",
        "additionalProperties",
        "oneOf",
        "anyOf",
        "minProperties",
        "maxProperties",
    },
    "array": {"type", "items", "minItems"},
    "string": {"type", "enum", "pattern"},
    "number": {"type", "exclusiveMinimum"},
    "integer": {"type"},
}


def satisfied(value: Any) -> bool:
    """Whether a value surely satisfies the schema; False when it may not."""
    return _definition(schema.ROOT)(value)


@cache
def _definition(name: str) -> Check:
    return _check(schema.definition(name))


def _check(node: Mapping[str, Any]) -> Check:
    if "$ref" in node:
        _known(node, {"$ref"})
        return _referred(node["$ref"].rpartition("/")[2])
    kinds = node["type"]
    if isinstance(kinds, list):  # MLStringType: the keywords for objects say nothing of strings
        whole, text = _object(node), kinds == ["object", "string"]
        return lambda value: (text and type(value) is str) or whole(value)
    _known(node, _SPOKEN[kinds])
    return _KINDS[kinds](node)


def _known(node: Mapping[str, Any], spoken: set[str]) -> None:
    """A keyword that is not known here must not be passed over."""
    odd = set(node) - spoken - _SILENT
    if odd:
        raise NotImplementedError(f"keywords of the schema: {', '.join(sorted(odd))}")


def _referred(name: str) -> Check:
    """Definitions refer to each other in circles, so they are looked up when they are needed."""
    found: list[Check] = []

    def check(value: Any) -> bool:
        if not found:
            found.append(_definition(name))
        return found[0](value)

    return check


def _object(node: Mapping[str, Any]) -> Check:
    members = {key: _check(each) for key, each in node["properties"].items()}
    required = frozenset(node.get("required", ()))
    least, most = node.get("minProperties", 0), node.get("maxProperties", len(members))
    choices, some = node.get("oneOf", ()), node.get("anyOf", ())
    names = frozenset(key for choice in choices for key in choice.get("required", ()))
    needed = frozenset(key for choice in some for key in choice["required"])
    enough = 0 if not choices or any("properties" in choice for choice in choices) else 1
    if node["additionalProperties"] is not False or any(
        len(choice.get("required", "1")) > 1 for choice in (*choices, *some)
    ):
        raise NotImplementedError("an open object, or a choice among several keys")

    def check(value: Any) -> bool:
        if type(value) is not dict or not required <= value.keys() or not least <= len(value) <= most:
            return False
        if names and not enough <= len(names & value.keys()) <= 1:
            return False
        if needed and needed.isdisjoint(value):
            return False
        for key, each in value.items():
            member = members.get(key)
            if member is None or not member(each):
                return False
        return True

    return check


def _array(node: Mapping[str, Any]) -> Check:
    item, least = _check(node["items"]), node.get("minItems", 0)

    def check(value: Any) -> bool:
        if type(value) is not list or len(value) < least:
            return False
        for each in value:  # noqa: SIM110 - all() would double the depth of calls
            if not item(each):
                return False
        return True

    return check


def _string(node: Mapping[str, Any]) -> Check:
    if "enum" in node:
        values = frozenset(node["enum"])
        return lambda value: type(value) is str and value in values
    if "pattern" in node:
        found = re.compile(node["pattern"]).search
        return lambda value: type(value) is str and found(value) is not None
    return lambda value: type(value) is str


def _number(node: Mapping[str, Any]) -> Check:
    above = node.get("exclusiveMinimum")

    def check(value: Any) -> bool:
        if type(value) is int or (type(value) is Decimal and value.is_finite()):
            return above is None or bool(value > above)
        return False

    return check


def _integer(_node: Mapping[str, Any]) -> Check:
    return lambda value: type(value) is int


_KINDS: Mapping[str, Callable[[Mapping[str, Any]], Check]] = {
    "object": _object,
    "array": _array,
    "string": _string,
    "number": _number,
    "integer": _integer,
}
