"""What the standards demand of single classes in prose, broken one by one."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

from lxml import etree

from grid.iodef import v2
from grid.iodef.fields import fields_of
from tests.unit.iodef import lexical
from tests.unit.iodef.broken_demands import BOTH, at, demand, drop, everywhere, fresh, part, typed
from tests.unit.iodef.sites import Element, Mutation, broken, place, sites


@demand("2.16 content as dtype tells", *BOTH)
def _typed(model: ModuleType) -> Iterator[Mutation]:
    declared = model.Extension
    item = next(item for item in fields_of(declared).attributes if item.name == "dtype")
    for dtype in item.values:
        for text in lexical.EXTENSION.get(dtype, ((), ()))[1]:
            for number, site in enumerate(sites(model.Document, declared)):
                if number and (dtype != "integer" or site.edge.name.endswith("EmailHeaderField")):
                    continue
                element = typed(site, dtype)
                element.text = text
                yield broken(f"{dtype} {text!r}", element, f"found {text!r}")
        if dtype not in {"xml", "ext-value"}:
            element = typed(at(model, "Extension"), dtype)
            added = etree.SubElement(element, "{urn:example:foreign}element")
            yield broken(f"{dtype} with an element", added, dtype, also=(element,))


@demand("2.15.1 content of a SoftwareReference as dtype tells")
def _software(model: ModuleType) -> Iterator[Mutation]:
    for dtype, text in (("bytes", "xx"), ("integer", "1.5"), ("real", "1,5")):
        element = typed(at(model, "SoftwareReference"), dtype)
        element.text = text
        yield broken(f"{dtype} {text!r}", element, f"found {text!r}")


@demand("2.15.1 custom needs dtype")
def _custom(model: ModuleType) -> Iterator[Mutation]:
    for site in everywhere(model, "SoftwareReference"):
        element = typed(site, "string")
        element.set("spec-name", "custom")
        element.attrib.pop("ext-spec-name", None)
        del element.attrib["dtype"]
        yield broken("custom without dtype", element, "dtype")


@demand("3.12.5 Confidence is a number when numeric, else empty", *BOTH)
def _confidence(model: ModuleType) -> Iterator[Mutation]:
    for site in everywhere(model, "Confidence"):
        element = site.full()
        element.set("rating", "numeric")
        element.attrib.pop("ext-rating", None)
        for text in (None, " "):
            element.text = text
            yield broken(f"numeric with {text!r}", fresh(element), "Confidence is empty", "found")
        for rating in ("low", "high"):
            element.set("rating", rating)
            element.text = "0.5"
            yield broken(f"{rating} with a number", fresh(element), "found '0.5'")


@demand("3.12.3 and 3.12.4 impacts are positive", *BOTH)
def _positive(model: ModuleType) -> Iterator[Mutation]:
    for name in ("TimeImpact", "MonetaryImpact"):
        for text in lexical.NOT_POSITIVE:
            element = at(model, name).full()
            element.text = text
            yield broken(f"{name} {text}", element, f"found {text!r}")


@demand("3.13.1 and 3.15 defined-coa needs a DefinedCOA")
def _course_of_action(model: ModuleType) -> Iterator[Mutation]:
    for name in ("HistoryItem", "Expectation"):
        for site in everywhere(model, name):
            element = site.full()
            drop(element, "DefinedCOA")
            element.set("action", "defined-coa")
            element.attrib.pop("ext-action", None)
            yield broken(f"{name} without DefinedCOA", element, "DefinedCOA", attribute="action")


@demand("3.19.1 nameservers have IP addresses")
def _nameserver(model: ModuleType) -> Iterator[Mutation]:
    for category, text in (("mac", "aa:bb:cc:dd:ee:ff"), ("ipv4-net", "192.0.2.0/24"), ("asn", "64496")):
        address = part(at(model, "Nameservers").full(), "Address")
        address.set("category", category)
        address.text = text
        yield broken(f"category {category}", address, f"found {category!r}", attribute="category")


@demand("3.20 ports and codes need ip-protocol")
def _protocol(model: ModuleType) -> Iterator[Mutation]:
    names = {"Port", "Portlist", "ProtoCode", "ProtoType", "ProtoField"}
    for name in sorted(names):
        for site in everywhere(model, "Service"):
            element = site.full()
            drop(element, *(names - {name}))
            del element.attrib["ip-protocol"]
            yield broken(f"{name} alone", element, "ip-protocol")


@demand("2.9 ports are 16 bits wide", *BOTH)
def _ports(model: ModuleType) -> Iterator[Mutation]:
    wrong = {"Port": ("65536", "-1", "99999999999"), "Portlist": ("65536", "80,70000", "1-65536", "90-80")}
    for name, texts in wrong.items():
        for text in texts:
            site = at(model, "Service")
            own = next(item.name for item in site.shape.children if item.name.endswith(f"}}{name}"))
            listed = part(site.with_parts(own), name)
            listed.text = text
            yield broken(f"{name} {text}", listed, "found")


@demand("3.20 as many ports of the source as of the target", *BOTH)
def _symmetric(model: ModuleType) -> Iterator[Mutation]:
    for source, target in (("80", "80,81"), ("1-3", "1-2"), ("1,2,5-9", "1-6")):
        flow = _flow(model, source, target)
        yield broken(f"{source} to {target}", flow, "port", also=tuple(flow.iter("{*}Portlist", "{*}System")))


@demand("3.20 several ports need one source and one target")
def _several_ports(model: ModuleType) -> Iterator[Mutation]:
    flow = _flow(model, "80,81", "80,81")
    flow.append(etree.fromstring(etree.tostring(flow[0])))
    yield broken(
        "two sources with two ports", flow, "System", "port", also=tuple(flow.iter("{*}Portlist", "{*}System"))
    )


def _flow(model: ModuleType, source: str, target: str) -> Element:
    """A flow from one system to another, each with a service on these ports."""
    found = at(model, "Service")
    service = found.with_parts(next(item.name for item in found.shape.children if item.name.endswith("}Portlist")))
    system = service.getparent()
    assert system is not None
    flow = system.getparent()
    assert flow is not None
    drop(service, "Port")
    for element, category, ports in (
        (system, "source", source),
        (etree.fromstring(etree.tostring(system)), "target", target),
    ):
        element.set("category", category)
        element.attrib.pop("ext-category", None)
        part(element, "Service", "Portlist").text = ports
        for each in element.iter():
            each.attrib.pop("observable-id", None)
        flow.append(element)
    return flow


@demand("3.20.2 and 3.21 header fields have names")
def _header_names(model: ModuleType) -> Iterator[Mutation]:
    for parent, name in (("ApplicationHeader", "ApplicationHeaderField"), ("EmailData", "EmailHeaderField")):
        for text in (None, "", " "):
            field = part(at(model, parent).full(), name)
            field.attrib.pop("name", None)
            if text is not None:
                field.set("name", text)
            told = Mutation(
                f"{name} with the name {text!r}",
                field.getroottree().getroot(),
                frozenset({place(field), place(field, "name")}),
                ("name", "expected text"),
            )
            yield told


@demand("3.21 header fields of an email are strings")
def _header_types(model: ModuleType) -> Iterator[Mutation]:
    for dtype, text in (("integer", "1"), ("xml", ""), ("real", "1.5")):
        field = part(at(model, "EmailData").full(), "EmailHeaderField")
        field.set("dtype", dtype)
        field.text = text
        yield broken(f"dtype {dtype}", field, f"found {dtype!r}", attribute="dtype")


@demand("3.22.2 a binary pattern is hexadecimal", *BOTH)
def _binary_pattern(model: ModuleType) -> Iterator[Mutation]:
    for text in ("no hexadecimal digits", "0x00", "abc"):
        element = at(model, "RecordPattern").full()
        element.set("type", "binary")
        element.attrib.pop("ext-type", None)
        element.text = text
        yield broken(f"binary {text!r}", element, f"found {text!r}")


@demand("3.26 the scope of a hash needs a target")
def _hash_target(model: ModuleType) -> Iterator[Mutation]:
    for scope in ("file-pe-section", "file-pe-resource", "file-pdf-object"):
        for site in everywhere(model, "HashData"):
            element = site.full()
            element.set("scope", scope)
            element.attrib.pop("ext-scope", None)
            drop(element, "HashTargetID")
            yield broken(f"{scope} without HashTargetID", element, "HashTargetID", attribute="scope")


@demand("3.26 the hash of an import table needs the tool")
def _hash_tool(model: ModuleType) -> Iterator[Mutation]:
    for site in everywhere(model, "HashData"):
        element = site.full()
        element.set("scope", "file-pe-iat")
        element.attrib.pop("ext-scope", None)
        hashes = [child for child in element if etree.QName(child).localname in {"Hash", "FuzzyHash"}]
        for child in hashes:
            drop(child, "Application")
        yield broken("file-pe-iat without Application", element, "Application", also=hashes)


@demand("3.29.3.1 a list of hashes needs their format")
def _bulk_hash(model: ModuleType) -> Iterator[Mutation]:
    site = at(model, "BulkObservable")
    for kept in (False, True):
        element = site.full()
        element.set("type", "file-hash")
        element.attrib.pop("ext-type", None)
        if kept:
            form = part(element, "BulkObservableFormat")
            drop(form, "Hash")
            if not len(form):
                form.append(part(at(model, "BulkObservable").full(), "AdditionalData"))
        else:
            drop(element, "BulkObservableFormat")
        yield broken(f"file-hash {'with' if kept else 'without'} a format", element, "Hash", attribute="type")


@demand("3.29.5 expressions have operands, and not has one")
def _expression(model: ModuleType) -> Iterator[Mutation]:
    for site in everywhere(model, "IndicatorExpression"):
        element = site.full()
        drop(element, *(etree.QName(child).localname for child in element))
        yield broken("nothing to operate on", element, "expected")
    element = at(model, "IndicatorExpression").full()
    element.set("operator", "not")
    element.attrib.pop("ext-operator", None)
    yield broken("not of several", element, "'not'", attribute="operator")


@demand("3.29.7 a reference to an indicator names it")
def _reference(model: ModuleType) -> Iterator[Mutation]:
    for site in everywhere(model, "IndicatorReference"):
        element = site.full()
        for name in ("uid-ref", "euid-ref"):
            element.attrib.pop(name, None)
        yield broken("neither uid-ref nor euid-ref", element, "uid-ref")


@demand("3.4 the authority has a name", *BOTH)
def _authority(model: ModuleType) -> Iterator[Mutation]:
    for name in ("IncidentID", "IndicatorID") if model is v2 else ("IncidentID",):
        for text in ("", " \t"):
            element = at(model, name).full()
            element.set("name", text)
            yield broken(f"{name}/@name={text!r}", element, "empty", attribute="name")
