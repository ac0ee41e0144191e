"""The JSON schema of RFC 8727 at work, and its findings in our words."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from math import isfinite
from typing import Any, cast

from grid.iodef.errors import MOST, Problem
from grid.iodef.json.places import pointer
from grid.iodef.validation import schema_file

ROOT = "IODEF-Document"

_LISTED = 12
"""Values or keys that a message lists; of more, those most like what was found."""

_LONGEST = 80
"""Characters of a value that a message shows."""

_CHOICES = {"oneOf", "anyOf"}
"""The keywords by which the schema offers a choice among keys."""

_KINDS = {"object": "an object", "array": "a list", "string": "a string", "number": "a number"}
_KINDS["integer"] = "a whole number"

_EXPECTED = {
    "DATETIME": "a date and time with time zone like 2026-11-21T09:00:00Z (RFC 3339)",
    "lang": "a language tag like en or de-CH",
    "IDtype": "an identifier: a letter or _, then letters, digits, . - _ of ASCII",
    "TimeZonetype": "Z or an offset like +01:00, at most 14 hours",
    "PortlistType": "ports and ranges like 22,80,8000-8080",
    "BYTE": "base64 (RFC 4648, section 4)",
}
"""What a definition with a pattern accepts, for people."""

INSTEAD = {
    "xml:lang": "lang",
    "Nameservers": "NameServers",
    "Flow": "System",
    "Record": "RecordData",
    "IndicatorData": "Indicator",
    "ObservableReference": "uid-ref",
    "ApplicationHeader": "ApplicationHeaderField",
    "SignatureData": "Signature",
    "SystemImpact": "Impact",
    "BusinessImpact": "Impact",
    "TimeImpact": "Impact",
    "MonetaryImpact": "Impact",
    "IntendedImpact": "Impact",
}
"""Names of XML whose place is another key in JSON (RFC 8727 §3.2)."""


@cache
def document() -> Mapping[str, Any]:
    """The schema as it stands in the file."""
    loaded: dict[str, Any] = json.loads(schema_file("iodef-json.schema.json").read_text(encoding="utf-8"))
    return loaded


def definition(name: str) -> Mapping[str, Any]:
    """One of its definitions, by the name that RFC 8727 §6 gives it."""
    found: Mapping[str, Any] = document()["$defs"][name]
    return found


def resolved(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a part of the schema refers to, or itself."""
    while "$ref" in node:
        node = definition(node["$ref"].rpartition("/")[2])
    return node


@cache
def _validator() -> Any:
    from jsonschema import Draft202012Validator, validators  # noqa: PLC0415 - only what is refused needs it

    kinds = Draft202012Validator.TYPE_CHECKER.redefine("number", _is_number)
    return cast(Any, validators).extend(Draft202012Validator, type_checker=kinds)(document())


def _is_number(_checker: Any, value: Any) -> bool:
    """NaN and infinity are none in JSON (RFC 8259 §6); a comparison with them would fail."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return False
    return isinstance(value, int) or (value.is_finite() if isinstance(value, Decimal) else isfinite(value))


@dataclass(frozen=True, slots=True)
class Finding:
    """What the schema has against a value.

    :ivar steps: keys and indices of the place.
    :ivar rule: the keyword of JSON Schema that is not satisfied.
    :ivar wanted: what the schema says there; `schema` is what it stands in.
    """

    steps: tuple[str | int, ...]
    rule: str
    found: Any
    wanted: Any
    schema: Any

    @property
    def alternatives(self) -> list[str]:
        """The keys of which the object must have one, when that is the rule."""
        choices = self.wanted if self.rule in _CHOICES else ()
        return [key for choice in choices for key in choice.get("required", ())]


def findings(value: Any) -> Iterator[Finding]:
    """What the schema finds, in its own terms."""
    for error in _validator().iter_errors(value):
        if error.validator in _CHOICES and not isinstance(error.instance, dict):
            continue  # choices among keys, which say nothing of other values; "type" does
        steps = tuple(error.absolute_path)
        yield Finding(steps, str(error.validator), error.instance, error.validator_value, error.schema)


def problems(value: Any) -> list[Problem]:
    """What the schema finds, in the order of the document's keys; nothing when it is satisfied. Lines are 0.

    Of more than `MOST` only the first are told, and one beyond: whoever shows them sees that there are more.
    """
    found: list[Problem] = []
    for finding in findings(value):
        for each in told(finding):
            if each not in found[-_LISTED:]:
                found.append(each)
                if len(found) > MOST:
                    return found
    return found


def told(finding: Finding) -> Iterator[Problem]:
    """One finding in our words."""
    steps, found = finding.steps, finding.found
    here, name = pointer(steps), name_at(steps)
    if finding.rule == "additionalProperties":
        allowed = finding.schema["properties"]
        for key in found:
            if key not in allowed:
                yield Problem(0, pointer((*steps, key)), _unknown(str(key), name, list(allowed)))
    elif finding.rule == "required":
        for key in finding.wanted:
            if key not in found:
                yield Problem(0, here, f"{key!r} is missing; {name} requires it")
    elif finding.rule in _CHOICES:
        yield Problem(0, here, _choice(finding, name))
    else:
        yield Problem(0, here, _value(finding))


def name_at(steps: Sequence[str | int]) -> str:
    """The name of the definition that rules a place; of the key, where it has none."""
    node: Mapping[str, Any] = document()
    name, key = ROOT, ""
    for step in [None, *steps]:
        if step is not None:
            node = node.get("items", {}) if isinstance(step, int) else node.get("properties", {}).get(step, {})
            name = key = step if isinstance(step, str) else key
        while isinstance(node, Mapping) and "$ref" in node:
            name = node["$ref"].rpartition("/")[2]
            node = definition(name)
    return name.removesuffix("Type") if name.endswith("Type") else name


def kind(value: Any) -> str:
    """What a value is, for people."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    text = repr(value[: _LONGEST + 1]) if isinstance(value, str) else f"the number {value}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 2]}…{text[-1:]}"


def _unknown(key: str, name: str, keys: Sequence[str]) -> str:
    instead = INSTEAD.get(key)
    if instead in keys:
        return f"{kind(key)} is not a key of {name}; JSON has {instead!r} in its place (RFC 8727, section 3.2)"
    return f"{kind(key)} is not a key of {name}; expected {_one_of(key, keys)}"


def _one_of(found: Any, values: Sequence[str]) -> str:
    if len(values) > _LISTED:
        near = difflib.get_close_matches(str(found)[:80], values, n=3, cutoff=0.5)
        few = near or list(values[:_LISTED])
        return f"one of {len(values)} values, {'such as' if not near else 'most like it:'} {', '.join(few)}"
    return f"{'one of: ' if len(values) > 1 else ''}{', '.join(values)}"


def _choice(finding: Finding, name: str) -> str:
    names = finding.alternatives
    present = [key for key in names if key in finding.found]
    if present:
        return f"found {' and '.join(present)} together; {name} has only one of: {', '.join(names)}"
    return f"found none of {', '.join(names)}; {name} requires one of them"


def _value(finding: Finding) -> str:
    found, wanted = kind(finding.found), finding.wanted
    if finding.rule == "enum":
        return f"found {found}; expected {_one_of(finding.found, wanted)}"
    if finding.rule == "type":
        kinds = wanted if isinstance(wanted, list) else [wanted]
        return f"found {found}; expected {' or '.join(_KINDS[each] for each in kinds)}"
    if finding.rule == "pattern":
        form = next(form for name, form in _EXPECTED.items() if definition(name)["pattern"] == wanted)
        return f"found {found}; expected {form}"
    if finding.rule == "minItems":
        return "found an empty list; expected at least one item, or no such key"
    if finding.rule in {"minProperties", "maxProperties"}:
        keys = ", ".join(finding.schema["properties"])
        return f"found an object of {len(finding.found)} keys; expected exactly one of: {keys}"
    return f"found {found}; expected a number above {wanted}"
