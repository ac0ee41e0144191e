"""What a document as a whole must keep to, and the companions of IODEF, broken one by one."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

from lxml import etree

from grid.iodef import v2
from grid.iodef.names import V1, V2, XSI
from tests.unit.iodef import generator
from tests.unit.iodef.broken_demands import BOTH, at, demand, drop, everywhere, minimal, part, typed
from tests.unit.iodef.sites import Mutation, broken


@demand("3.1 version", *BOTH)
def _version(model: ModuleType) -> Iterator[Mutation]:
    other = "1.00" if model is v2 else "2.00"
    for value in ("", other, "2", "2.0", "1.0", "02.00", "2.000", "x", "2.00 1.00"):
        root = minimal(model)
        root.set("version", value)
        yield broken(f"version={value!r}", root, f"found {value!r}", attribute="version")


@demand("4.2 namespace of the root", *BOTH)
def _namespace(model: ModuleType) -> Iterator[Mutation]:
    own = V2 if model is v2 else V1
    for namespace in (
        "",
        "urn:ietf:params:xml:ns:iodef-3.0",
        own.upper(),
        f"{own}#",
        f"{own}/",
        "http://www.w3.org/",
    ):
        source = etree.tostring(minimal(model)).replace(own.encode(), namespace.encode())
        root = etree.fromstring(source)
        yield broken(f"namespace {namespace!r}", root, "IODEF-Document")
    other = V1 if model is v2 else V2
    root = etree.fromstring(etree.tostring(minimal(model)).replace(own.encode(), other.encode()))
    yield broken("the namespace of the other version", root, "version", "found", attribute="version", also=(root[0],))


@demand("3.1 name of the root", *BOTH)
def _root(model: ModuleType) -> Iterator[Mutation]:
    own = V2 if model is v2 else V1
    for name in ("iodef-document", "IODEF", "Document", "Incident"):
        root = minimal(model)
        root.tag = f"{{{own}}}{name}"
        yield broken(f"root {name}", root, "expected IODEF-Document")
    incident = etree.fromstring(etree.tostring(minimal(model)[0]))
    yield broken("an Incident as root", incident, "expected IODEF-Document")


@demand("2.14 identifiers are unique")
def _unique(model: ModuleType) -> Iterator[Mutation]:
    for name in ("EventData", "Assessment", "Address", "File", "Extension"):
        element = at(model, name).full()
        incident = element.getroottree().getroot()[0]
        incident.set("observable-id", "same")
        element.set("observable-id", "same")
        yield broken(f"{name} and Incident", element, "'same'", attribute="observable-id")
    for second in ("same", " same\n"):
        indicator = at(model, "Indicator").full()
        data = indicator.getparent()
        assert data is not None
        other = etree.fromstring(etree.tostring(indicator))
        data.append(other)
        for one, text in zip(data, ("same", second), strict=True):
            drop(one, "Observable", "Reference", "AttackPhase", "AlternativeIndicatorID", "AdditionalData", "Contact")
            site = generator.minimal(model.Document, at(model, "Observable").path)
            part(one, "IndicatorID").text = text
            if not any(etree.QName(child).localname == "Observable" for child in one):
                part(one, "Confidence").addnext(next(site.iter("{*}Observable")))
        yield broken(f"IndicatorID {second!r} twice", part(other, "IndicatorID"), "'same'")


@demand("2.14 references name an identifier")
def _dangling(model: ModuleType) -> Iterator[Mutation]:
    for site in everywhere(model, "ObservableReference"):
        element = site.full()
        element.set("uid-ref", "nothing")
        yield broken("dangling uid-ref", element, "'nothing'", attribute="uid-ref")
        element = site.full()
        name = next(element.getroottree().getroot().iter("{*}IndicatorID")).text or ""
        element.set("uid-ref", name)
        yield broken("an indicator where an observable is meant", element, f"{name!r}", attribute="uid-ref")
    for site in everywhere(model, "IndicatorReference"):
        element = site.full()
        element.attrib.pop("euid-ref", None)
        element.set("uid-ref", "nothing")
        yield broken("dangling uid-ref", element, "'nothing'", attribute="uid-ref")


@demand("5.3 private-enum-id needs private-enum-name")
def _private(model: ModuleType) -> Iterator[Mutation]:
    for name in (None, "", " "):
        root = minimal(model)
        root.set("private-enum-id", "13")
        if name is not None:
            root.set("private-enum-name", name)
        yield broken(f"private-enum-name {name!r}", root, "private-enum-name", attribute="private-enum-id")


@demand("schema instance attributes do not weaken", *BOTH)
def _instance(model: ModuleType) -> Iterator[Mutation]:
    root = minimal(model)
    root[0].set(f"{{{XSI}}}nil", "true")
    yield broken("xsi:nil", root[0], "nil", attribute="", also=(root,))
    for name in ("Contact", "EventData"):
        element = at(model, name).full()
        element.set(f"{{{XSI}}}type", "xs:anyType")
        element.getroottree().getroot().set("a", "b")
        yield broken("an attribute beside xsi:type", element.getroottree().getroot(), "a", attribute="a")


@demand("5.2 what is known is checked within an extension", *BOTH)
def _known_intyped(model: ModuleType) -> Iterator[Mutation]:
    namespace = V2 if model is v2 else V1
    element = typed(at(model, "Extension"), "xml")
    element.text = None
    added = etree.SubElement(element, f"{{{namespace}}}Contact", role="no-such-role", type="person")
    etree.SubElement(added, f"{{{namespace}}}Description").text = "x"
    yield broken("a Contact with a wrong role", added, "no-such-role", attribute="role")


@demand("XML-Signature")
def _signature(model: ModuleType) -> Iterator[Mutation]:
    method = part(at(model, "Hash").full(), "DigestMethod")
    del method.attrib["Algorithm"]
    yield broken("DigestMethod without Algorithm", method, "Algorithm")
    value = part(at(model, "Hash").full(), "DigestValue")
    value.text = "no base64!"
    yield broken("DigestValue that is not base64", value, "found 'no base64!'")
    data = part(at(model, "Certificate").full(), "X509Data")
    for child in list(data):
        data.remove(child)
    yield broken("X509Data with nothing", data, "X509Data")
    signature = part(at(model, "SignatureData").full(), "Signature")
    signature.remove(signature[0])
    yield broken("Signature without SignedInfo", signature, "SignedInfo", also=(signature[0],))
