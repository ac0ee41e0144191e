"""What the standards say in prose and no description of classes holds: how a generated element is made to obey it.

Each rule is written from its clause, not from the product's checks, and repairs an element whose parts have been
chosen at random. `mutations` breaks the same clauses one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from lxml import etree

from grid.iodef.fields import Item, Part, Shape, fields_of
from grid.iodef.names import V1, V2
from tests.unit.iodef import lexical

Element = etree._Element


class Maker(Protocol):
    """What a rule may ask of the generator."""

    def pick(self, texts: tuple[str, ...]) -> str:
        """One of several texts that are all right."""

    def minimal(self, item: Item) -> Element:
        """A smallest instance of a child."""

    def xml(self) -> list[Element]:
        """Some elements of foreign namespaces."""


@dataclass(frozen=True)
class Place:
    """An element under repair."""

    element: Element
    shape: Shape
    make: Maker

    def has(self, *names: str) -> bool:
        """Whether one of these children is there."""
        return any(etree.QName(child).localname in names for child in self.element)

    def require(self, name: str) -> Element:
        """The first child of that name; made, at its place in the order, when there is none."""
        item = next(item for item in self.shape.children if item.name.rpartition("}")[2] == name)
        found = self.element.find(item.name)
        if found is not None:
            return found
        made = self.make.minimal(item)
        order = [other.name for other in self.shape.children]
        index = sum(order.index(str(child.tag)) <= order.index(item.name) for child in self.element)
        self.element.insert(index, made)
        return made

    def without(self, name: str) -> None:
        """Take every child of that name away."""
        for child in list(self.element):
            if etree.QName(child).localname == name:
                self.element.remove(child)

    def below(self, *path: str) -> list[Element]:
        """The descendants at a path of local names."""
        found = [self.element]
        for step in path:
            found = [child for each in found for child in each if etree.QName(child).localname == step]
        return found


Rule = Callable[[Place], None]


def repair(place: Place) -> None:
    """Make one element obey; its children have been repaired before."""
    extensions_of_enumerations(place)
    if place.shape.content is not None and place.shape.content.part is Part.MIXED:
        content_fits_dtype(place)
    rules = RULES.get(place.shape.namespace, {})
    rule = rules.get(etree.QName(place.element).localname)
    if rule is not None:
        rule(place)


def extensions_of_enumerations(place: Place) -> None:
    """RFC 7970 §5.1.1, RFC 5070 §5.1: an ``ext-*`` attribute is there exactly when its partner is "ext-value"."""
    for item in place.shape.attributes:
        partner = extended_by(place.shape, item)
        if partner is None:
            continue
        extends = "ext-value" in partner.values and place.element.get(partner.name) == "ext-value"
        if extends and not place.element.get(item.name):
            place.element.set(item.name, "an-extension")
        elif not extends:
            place.element.attrib.pop(item.name, None)


def extended_by(shape: Shape, item: Item) -> Item | None:
    """The enumerated attribute that an ``ext-*`` attribute extends."""
    partner = shape.attribute_named.get(item.name[4:]) if item.name.startswith("ext-") else None
    return partner if partner is not None and partner.values else None


def content_fits_dtype(place: Place) -> None:
    """RFC 7970 §2.15.1, §2.16, §5.2; RFC 5070 §3.6: content as `dtype` tells."""
    element = place.element
    if element.get("spec-name") == "custom" and "dtype" not in element.attrib:
        element.set("dtype", "string")
    dtype = element.get("dtype", "string")
    for child in list(element):
        element.remove(child)
    element.text = None
    if dtype == "xml":
        for child in place.make.xml():
            element.append(child)
    else:
        element.text = place.make.pick(lexical.EXTENSION[dtype][0])


# RFC 7970


def _document(place: Place) -> None:
    # §3.1: "If this attribute is set, the private-enum-name MUST also be set."
    if "private-enum-id" in place.element.attrib and not place.element.get("private-enum-name"):
        place.element.set("private-enum-name", "example.com")


def _confidence(place: Place) -> None:
    # §3.12.5, RFC 5070 §3.10.4: a number when the rating is "numeric", otherwise empty.
    numeric = place.element.get("rating") == "numeric"
    place.element.text = place.make.pick(lexical.REALS) if numeric else None


def _positive(place: Place) -> None:
    # RFC 5070 §3.10.2, §3.10.3 ("positive"); RFC 8727 §6 for 2.0 (PositiveFloatType).
    place.element.text = place.make.pick(lexical.POSITIVE)


def _action(place: Place) -> None:
    # §3.13.1 and §3.15: "This class MUST be present if the action attribute is set to defined-coa."
    if place.element.get("action") == "defined-coa":
        place.require("DefinedCOA")


def _address(place: Place) -> None:
    # §3.18.1: the category tells how to read the content; the default is "ipv6-addr".
    place.element.text = place.make.pick(lexical.ADDRESSES[place.element.get("category", "ipv6-addr")])


def _nameservers(place: Place) -> None:
    # §3.19.1: "The value of the category attribute MUST be either ipv4-addr or ipv6-addr."
    for address in place.below("Address"):
        category = place.make.pick(("ipv4-addr", "ipv6-addr"))
        address.set("category", category)
        address.attrib.pop("ext-category", None)
        address.text = place.make.pick(lexical.ADDRESSES[category])


NEED_PROTOCOL = ("Port", "Portlist", "ProtoCode", "ProtoType", "ProtoField")


def _service(place: Place) -> None:
    # §3.20: ip-protocol "MUST be set if a Port, Portlist, ProtoCode, ProtoType, or ProtoField class is present."
    if place.has(*NEED_PROTOCOL) and "ip-protocol" not in place.element.attrib:
        place.element.set("ip-protocol", place.make.pick(lexical.SMALL))


def _flow(place: Place) -> None:
    # §3.20, RFC 5070 §3.17: as many ports on the source's side as on the target's; one is always right.
    for listed in place.below("System", "Service", "Portlist"):
        listed.text = "80"


def _application_header(place: Place) -> None:
    # §3.20.2: "The name attribute MUST be set to the field name."
    for field in place.below("ApplicationHeaderField"):
        _named(field, "X-Header")


def _email_data(place: Place) -> None:
    # §3.21: "The name attribute MUST be set […]. The dtype attribute MUST be set to string."
    for field in place.below("EmailHeaderField"):
        _named(field, "Received")
        field.attrib.pop("ext-dtype", None)
        field.set("dtype", "string")
        for child in list(field):
            field.remove(child)
        field.text = place.make.pick(lexical.STRINGS)


def _named(field: Element, name: str) -> None:
    if not field.get("name"):
        field.set("name", name)


def _record_pattern(place: Place) -> None:
    # §3.22.2: "Binhex-encoded binary pattern, per the HEXBIN data type."
    kinds = {"binary": ("00ff", "CAFE"), "regex": ("^a(b|c)+[[:digit:]]$",), "xpath": ("//a[@b='c']",)}
    place.element.text = place.make.pick(kinds.get(place.element.get("type", "regex"), lexical.STRINGS))


def _hash_data(place: Place) -> None:
    # §3.26: what the scope asks for.
    scope = place.element.get("scope")
    if scope in {"file-pe-section", "file-pe-resource", "file-pdf-object"}:
        place.require("HashTargetID")
    if scope == "file-pe-iat":
        for hashed in [*place.below("Hash"), *place.below("FuzzyHash")]:
            item = place.shape.child_named[str(hashed.tag)]
            Place(hashed, fields_of(item.type), place.make).require("Application")


def _bulk_observable(place: Place) -> None:
    # §3.29.3.1: a file hash is described "in the Hash class that MUST be present in a sibling BulkObservableFormat".
    if place.element.get("type") == "file-hash":
        made = place.require("BulkObservableFormat")
        item = next(item for item in place.shape.children if item.name.endswith("}BulkObservableFormat"))
        Place(made, fields_of(item.type), place.make).require("Hash")


def _indicator_expression(place: Place) -> None:
    # §3.29.5: "Invalid algebraic expressions […] MUST NOT be specified": there are operands, and "not" takes one.
    operands = ("IndicatorExpression", "Observable", "ObservableReference", "IndicatorReference")
    if not place.has(*operands):
        place.require("Observable")
    if place.element.get("operator") == "not":
        for extra in [child for child in place.element if etree.QName(child).localname in operands][1:]:
            place.element.remove(extra)


def _indicator_reference(place: Place) -> None:
    # §3.29.7: "Either the uid-ref or the euid-ref attribute MUST be set."
    attributes = place.element.attrib
    if "uid-ref" in attributes:
        attributes.pop("euid-ref", None)
    elif not attributes.get("euid-ref"):
        place.element.set("euid-ref", "indicator-of-another-document")


RULES_V2: dict[str, Rule] = {
    "IODEF-Document": _document,
    "Confidence": _confidence,
    "TimeImpact": _positive,
    "MonetaryImpact": _positive,
    "HistoryItem": _action,
    "Expectation": _action,
    "Address": _address,
    "Nameservers": _nameservers,
    "Service": _service,
    "Flow": _flow,
    "ApplicationHeader": _application_header,
    "EmailData": _email_data,
    "RecordPattern": _record_pattern,
    "HashData": _hash_data,
    "BulkObservable": _bulk_observable,
    "IndicatorExpression": _indicator_expression,
    "IndicatorReference": _indicator_reference,
}


# RFC 5070


def _address_v1(place: Place) -> None:
    # §3.16.2: the default of the category is "ipv4-addr".
    place.element.text = place.make.pick(lexical.ADDRESSES[place.element.get("category", "ipv4-addr")])


RULES_V1: dict[str, Rule] = {
    "Confidence": _confidence,
    "TimeImpact": _positive,
    "MonetaryImpact": _positive,
    "Address": _address_v1,
    "Flow": _flow,
    "RecordPattern": _record_pattern,
}
RULES = {V2: RULES_V2, V1: RULES_V1}
