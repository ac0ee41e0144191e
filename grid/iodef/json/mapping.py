"""Which key of RFC 8727 stands for which field of the model.

Nearly everything follows from two descriptions that are there anyway: the classes of the model (`fields_of`) and the
definitions of the JSON schema. A field's key is its name in XML without prefix, the text of an element is ``value``,
and both sides tell whether it is a list. What RFC 8727 does otherwise stands in the tables here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from grid.iodef import types, v2
from grid.iodef.fields import Class, Item, Part, fields_of, is_class
from grid.iodef.json import schema
from grid.iodef.names import local


class Way(Enum):
    """How the value of a field is written in JSON."""

    PLAIN = "a string or number"
    OBJECT = "an object: a class"
    PEOPLE = "text for people: a string, or an object with its language"
    TEXT = "text for people where JSON has no place for its language (RelatedActivity/Description)"
    DISSOLVED = "a class that only holds others: these stand in its place"
    IMPACT = "one of five lists of Assessment, which are one list in JSON"
    MARKUP = "text, or XML written as text when dtype is xml"
    RAW = "a class that only has text and XML: base64 of it"
    SIGNATURE = "an element of XML Signature: base64 of the element"
    DIGEST = "ds:DigestValue: its own base64"
    OTHER_ID = "IndicatorReference in AlternativeIndicatorID, which is an IndicatorID in JSON"
    MEASURE = "the number of a Confidence, which JSON requires always"
    VERSION = "the version of the document: 2.00 in XML, 2.0 in JSON"
    NOWHERE = "RFC 8727 has no key for it"


DEFINITIONS: Mapping[type[Class], str] = {
    v2.Document: schema.ROOT,
    v2.Extension: "ExtensionType",
    v2.Software: "SoftwareType",
    v2.MLString: "MLStringType",
    v2.Nameservers: "NameServers",
    v2.AttackPattern: "STRUCTUREDINFO",
    v2.Vulnerability: "STRUCTUREDINFO",
    v2.Weakness: "STRUCTUREDINFO",
}
"""Classes whose definition in RFC 8727 §6 has another name than they have."""

KEYS: Mapping[tuple[type[Class], str], str] = {
    (v2.IncidentID, "value"): "id",
    (v2.IndicatorID, "value"): "id",
    (v2.RegistryHandle, "value"): "handle",
    (v2.DomainData, "nameservers"): "NameServers",
    (v2.AlternativeIndicatorID, "indicator_reference"): "IndicatorID",
}
"""Fields whose key is another one than their name in XML."""

DISSOLVED: Mapping[type[Class], str] = {
    v2.Flow: "system",
    v2.Record: "record_data",
    v2.IndicatorData: "indicator",
    v2.ApplicationHeader: "application_header_field",
    v2.SignatureData: "signature",
    v2.ObservableReference: "uid_ref",
}
"""Classes that RFC 8727 §3.2 deletes, with the field that stands in their place."""

WAYS: Mapping[tuple[type[Class], str], Way] = {
    (v2.Document, "version"): Way.VERSION,
    (v2.Confidence, "value"): Way.MEASURE,
    (v2.Hash, "digest_value"): Way.DIGEST,
    (v2.AlternativeIndicatorID, "indicator_reference"): Way.OTHER_ID,
    (v2.Assessment, "system_impact"): Way.IMPACT,
    (v2.Assessment, "business_impact"): Way.IMPACT,
    (v2.Assessment, "time_impact"): Way.IMPACT,
    (v2.Assessment, "monetary_impact"): Way.IMPACT,
    (v2.Assessment, "intended_impact"): Way.IMPACT,
}
"""Fields that are written in a way of their own."""

VALUES: Mapping[tuple[type[Class], str], Mapping[str, str]] = {
    (v2.NodeRole, "category"): {"anonymization": "anomyzation"},  # a slip of the CDDL, which is normative
}
"""Values of enumerations that the CDDL spells in another way than RFC 7970."""

IMPACT = "Impact"
"""The key of `Way.IMPACT` (RFC 8727 §6, Assessment)."""


@dataclass(frozen=True, slots=True)
class Key:
    """A field and its key.

    :ivar name: the key; empty when there is none.
    :ivar many: it has a list in JSON.
    :ivar inner: of a dissolved class, the field that stands in its place.
    :ivar spelling: values that JSON writes in another way.
    :ivar meaning: the same the other way round.
    """

    name: str
    item: Item
    way: Way
    many: bool
    inner: Item | None = None
    spelling: Mapping[str, str] = field(default_factory=dict)
    meaning: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """A class and its definition.

    :ivar keys: in the order of RFC 8727 §6.
    :ivar impacts: the five lists of Assessment, by their names.
    """

    type: type[Class]
    definition: str
    keys: tuple[Key, ...]
    by_name: Mapping[str, Key]
    impacts: Mapping[str, Key]


_plans: dict[type[Class], Plan] = {}


def plan_of(declared: type[Class]) -> Plan:
    """The keys of a class."""
    plan = _plans.get(declared)
    if plan is None:
        plan = _plans[declared] = _plan(declared)
    return plan


def _plan(declared: type[Class]) -> Plan:
    name = DEFINITIONS.get(declared, declared.__name__)
    properties = schema.resolved(schema.definition(name))["properties"]
    shape = fields_of(declared)
    items = [*shape.attributes, *([shape.content] if shape.content else []), *shape.children]
    keys = [_key(declared, item, properties) for item in items]
    order = [*properties, ""]
    return Plan(
        type=declared,
        definition=name,
        keys=tuple(sorted(keys, key=lambda key: order.index(key.name))),
        by_name={key.name: key for key in keys if key.name},
        impacts={local(key.item.name): key for key in keys if key.way is Way.IMPACT},
    )


def _key(declared: type[Class], item: Item, properties: Mapping[str, Any]) -> Key:
    held = _held(item.type) if item.type in DISSOLVED else None
    way = _way(declared, item)
    name = KEYS.get((declared, item.python)) or local((held or item).name) or "value"
    if way is Way.IMPACT:
        name = IMPACT
    found = properties.get(name)
    if found is None:
        return Key("", item, Way.NOWHERE, many=item.many)
    many = found.get("type") == "array"
    if way is Way.PEOPLE and "value" not in schema.resolved(found["items"] if many else found).get("properties", {}):
        way = Way.TEXT
    spelling = VALUES.get((declared, item.python), {})
    return Key(name, item, way, many, held, spelling, {json: value for value, json in spelling.items()})


def _held(dissolved: type[Class]) -> Item:
    shape = fields_of(dissolved)
    return next(each for each in (*shape.attributes, *shape.children) if each.python == DISSOLVED[dissolved])


def _way(declared: type[Class], item: Item) -> Way:
    own = WAYS.get((declared, item.python))
    if own is not None:
        return own
    if item.type in DISSOLVED:
        return Way.DISSOLVED
    if item.part is Part.MIXED:
        return Way.MARKUP
    if item.type is types.Foreign:
        return Way.SIGNATURE
    if item.type is v2.RawData:
        return Way.RAW
    if item.type is v2.MLString:
        return Way.PEOPLE
    return Way.OBJECT if is_class(item.type) else Way.PLAIN
