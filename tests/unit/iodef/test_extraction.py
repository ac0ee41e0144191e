"""Extraction from any tree: few parts and many give the same, trees from elsewhere too, and nothing makes it fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from grid.iodef import extraction, v1, v2
from grid.iodef.attributes import NAMES, Attributes, extract
from grid.iodef.fields import fields_of, is_class
from grid.iodef.names import V1, V2, local
from tests.unit.iodef.plainly import ANYTHING, HOLDS, draw, plainly
from tests.unit.iodef.test_attributes import HOST, address, event, only, system

DOCUMENTS = sorted((Path(__file__).parent / "documents").glob("*.xml"))


def ways(incident: etree._Element, monkeypatch: pytest.MonkeyPatch) -> list[Attributes]:
    """The attributes as they are found by default, step by step, and with libxml2 wherever it can help."""
    found: list[Attributes] = []
    for many in (extraction._MANY, 1 << 60, 0):
        with monkeypatch.context() as patched:
            patched.setattr(extraction, "_MANY", many)
            found += extract(incident)
    return found


def agree(incident: etree._Element, monkeypatch: pytest.MonkeyPatch) -> Attributes:
    """Every way finds what the plain one finds."""
    severities, types, categories, methods, addresses = plainly(incident)
    lists = [tuple(dict.fromkeys(values)) for values in (severities, types, categories, methods)]
    by_default, by_steps, in_bulk = ways(incident, monkeypatch)
    assert by_steps[4:] == (*lists, tuple(addresses))
    assert in_bulk == by_steps
    assert by_default == by_steps
    return by_default


@settings(deadline=None, max_examples=600)
@given(st.integers(0, 1 << 60))
def test_all_ways_find_the_same(seed: int) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        agree(draw(seed), monkeypatch)


def test_what_is_drawn_has_something_to_find() -> None:
    found = [plainly(draw(seed)) for seed in range(200)]
    assert all(sum(bool(each[index]) for each in found) > 20 for index in range(5))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_all_ways_find_the_same_in_documents(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for incident in etree.parse(path).getroot():
        if incident.tag in extraction.INCIDENT:
            agree(incident, monkeypatch)


@pytest.mark.parametrize("version", [v2, v1])
def test_the_ways_to_systems_are_those_of_the_classes(version: Any) -> None:
    """No class that leads to the address of a system was forgotten."""
    edges: dict[str, set[str]] = {}
    waiting = [version.Incident]
    while waiting:
        kind = waiting.pop()
        inner = [(local(item.name), item.type) for item in fields_of(kind).children if is_class(item.type)]
        if kind.__name__ not in edges:
            edges[kind.__name__] = {name for name, _ in inner}
            waiting += [each for _, each in inner]
    leading = {"System"}
    while more := {name for name, inner in edges.items() if inner & leading} - leading:
        leading |= more
    ways = {name: edges[name] & leading for name in leading - {"System"}}
    assert ways == {name: set(inner) & set(edges) for name, inner in extraction.INSIDE.items() if name in edges}
    holding = {name for name, inner in edges.items() if "Address" in inner}
    assert holding - {"Observable"} == ({"Node", "Nameservers"} if version is v2 else {"Node"})


HIDING = {
    "SoftwareReference": "<Discovery><DetectionPattern><Application><SoftwareReference dtype='xml'>{}"
    "</SoftwareReference></Application></DetectionPattern></Discovery>",
    "RawData": "<Method><AttackPattern xmlns='urn:ietf:params:xml:ns:iodef-sci-1.0'><RawData>{}</RawData>"
    "</AttackPattern></Method>",
    "AdditionalData": "<AdditionalData dtype='xml'>{}</AdditionalData>",
    "RelatedDNS": "<EventData><Flow><System category='source'><Node><DomainData><RelatedDNS>{}</RelatedDNS>"
    "</DomainData></Node></System></Flow></EventData>",
    "RecordItem": "<EventData><Record><RecordData><RecordItem>{}</RecordItem></RecordData></Record></EventData>",
}


@pytest.mark.parametrize("padding", [0, 11, 40])
@pytest.mark.parametrize("name", HIDING)
def test_what_extensions_hold_is_no_attacker(name: str, padding: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hidden = f'<EventData xmlns="{V2}"><Flow>{system(address("mac", "hidden"))}</Flow></EventData>'
    bare = f'<x xmlns="{V2}">{system(address("mac", "hidden"))}{address("mac", "hidden")}</x>'
    shown = event(f"<Flow>{system(HOST)}</Flow>")
    inside = "<Description/>" * padding + HIDING[name].format(hidden + bare) + shown
    incident = etree.fromstring(f'<Incident xmlns="{V2}">{inside}</Incident>')
    assert agree(incident, monkeypatch).addresses == (("ipv4-addr", "192.0.2.7"),)


STRANGE = ["<!-- source -->", "<?source category='source'?>", "&e;"]
EVERYWHERE = (
    '{}<IncidentID name="a">{}1{}2</IncidentID>{}<Assessment>{}<SystemImpact severity="high" type="policy">{}'
    "</SystemImpact>{}<IncidentCategory>x{}y</IncidentCategory></Assessment>{}<Method>{}<Reference>{}"
    '<ReferenceName xmlns="urn:ietf:params:xml:ns:iodef-enum-1.0">{}<ID>CVE{}-1</ID></ReferenceName></Reference>'
    '</Method><EventData>{}<Flow>{}<System category="source">{}<Node>{}<Address category="ipv4-addr">192.0.2.{}7'
    "</Address></Node></System></Flow></EventData>"
)


@pytest.mark.parametrize("times", [1, 20])
@pytest.mark.parametrize("strange", STRANGE)
def test_comments_and_the_like_change_nothing(strange: str, times: int) -> None:
    inside = EVERYWHERE.replace("{}", strange * times)
    source = f'<!DOCTYPE x [<!ENTITY e "v">]><Incident xmlns="{V2}" purpose="watch">{inside}</Incident>'
    (one,) = extract(etree.fromstring(source, etree.XMLParser(resolve_entities=False)))
    assert one == Attributes(
        "a", "12", "watch", "private", ("high",), ("policy",), ("xy",), ("CVE-1",), (("ipv4-addr", "192.0.2.7"),)
    )


def test_as_deep_as_memory_allows() -> None:
    # 2048 is as deep as libxml2 reads
    deep = "<EventData>" * 2000 + f"<Flow>{system(HOST)}</Flow>" + "</EventData>" * 2000
    watched = f"<Observable>{system(HOST)}</Observable>"
    expressions = "<IndicatorExpression>" * 2000 + watched + "</IndicatorExpression>" * 2000
    inside = f"{deep}<IndicatorData><Indicator>{expressions}</Indicator></IndicatorData>"
    root = etree.fromstring(f'<Incident xmlns="{V2}">{inside}</Incident>', etree.XMLParser(huge_tree=True))
    (one,) = extract(root)
    assert one.addresses == (("ipv4-addr", "192.0.2.7"),) * 2


@pytest.mark.parametrize(
    "tree",
    [
        etree.ElementTree(),  # type: ignore[call-overload]
        etree.ElementTree(etree.Comment("x")),
        etree.Comment("x"),
        etree.Entity("e"),
    ],
    ids=["empty", "comment as root", "comment", "entity"],
)
def test_a_tree_without_document_has_no_incidents(tree: Any) -> None:
    assert extract(tree) == ()


FLOW = f"<Flow>{system(HOST)}{system(HOST, category='target')}</Flow>"
JUDGED = '<Assessment><SystemImpact severity="low" type="policy"/></Assessment>'


@pytest.mark.parametrize(
    "inside",
    [
        event(JUDGED, FLOW) * 40,
        event(FLOW * 40 + event(JUDGED)),
        event(f"<Flow>{(system(HOST) + system(HOST, category='target')) * 40}</Flow>", event(JUDGED)),
        event(f"<Flow>{system(HOST * 40)}</Flow>", event(JUDGED)),
    ],
    ids=["events", "flows", "systems", "addresses"],
)
def test_forty_of_a_kind(inside: str) -> None:
    one = only(f"|{inside}")
    assert (one.severity, one.type, one.addresses) == (("low",), ("policy",), (("ipv4-addr", "192.0.2.7"),) * 40)


def test_forty_events_and_what_is_rare() -> None:
    domain = (
        '<DomainData system-status="unknown" domain-status="unknown"><Name>x.example</Name><Nameservers>'
        f"<Server>ns.x.example</Server>{address('ipv4-addr', '192.0.2.53')}</Nameservers></DomainData>"
    )
    hidden = (
        f'<AdditionalData dtype="xml"><Flow xmlns="{V2}">{system(address("mac", "hidden"))}</Flow></AdditionalData>'
    )
    one = only(f"|{event(f'<Flow>{system(domain, HOST)}</Flow>', hidden) * 40}")
    assert one.addresses == (("ipv4-addr", "192.0.2.53"), ("ipv4-addr", "192.0.2.7")) * 40


ANY = st.recursive(
    st.just(""),
    lambda inner: st.builds(
        lambda tag, attributes, parts: f"<{tag}{''.join(sorted(attributes))}>{''.join(parts)}</{tag}>",
        st.sampled_from(
            [*HOLDS, *ANYTHING, "Incident", "IncidentID", "IndicatorData", "Observable", "x:y", "Nameservers"]
        ),
        st.sets(st.sampled_from([' category="source"', ' name="a"', ' type="ext-value"', ' severity=" high "'])),
        st.lists(inner, max_size=14),
    ),
    max_leaves=40,
)


@settings(deadline=None)
@given(ANY, st.sampled_from([V1, V2, "other"]))
def test_no_tree_makes_it_fail(inside: str, namespace: str) -> None:
    source = f'<IODEF-Document xmlns="{namespace}" xmlns:x="x" xmlns:sci="s" xmlns:enum="e">{inside}</IODEF-Document>'
    tree = etree.ElementTree(etree.fromstring(source))
    for one in extract(tree):
        assert all(isinstance(one.values(name), tuple) for name in NAMES)
