"""What JSON cannot carry: it is named, and left out, moved or changed when that is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from grid.iodef import v2
from grid.iodef.errors import MOST
from grid.iodef.json import Lossy, from_json, prune, to_json, to_object
from grid.iodef.json.prune import CHECKS
from grid.iodef.json.text import faults
from grid.iodef.names import XSI
from grid.iodef.types import ID, URL, DateTime, Foreign, IDRef, Language
from tests.unit.iodef.json_documents import (
    LOCAL,
    carried,
    digest,
    document,
    extension,
    file,
    hash_data,
    indicator,
    lost,
    system,
    weakness,
)

ZONED = DateTime("2026-11-21T09:00:00Z")


def test_several_flows_are_a_loss() -> None:
    event = v2.EventData(flow=tuple(v2.Flow(system=(system(f"192.0.2.{last}"),)) for last in (1, 2)))
    made = document(event_data=(event,))
    assert lost(made) == {
        "/IODEF-Document/Incident/EventData": "2 Flow become one: which System belongs to which is not kept"
    }
    merged = from_json(to_json(made, lossy=True)).incident[0].event_data[0].flow
    assert [len(flow.system) for flow in merged] == [2]


@pytest.mark.parametrize("value", ["0", "-1", "Infinity", "NaN", "1E+39"])
def test_a_number_that_json_or_rfc_8727_does_not_have_is_a_loss(value: str) -> None:
    impact = v2.MonetaryImpact(value=Decimal(value))
    assessment = v2.Assessment(monetary_impact=(impact,), system_impact=(v2.SystemImpact(type="policy"),))
    made = document(assessment=(assessment,))
    (message,) = [lost(made)["/IODEF-Document/Incident/Assessment/MonetaryImpact"]]
    assert message.startswith("MonetaryImpact is left out: MonetaryImpact/value: found ")
    assert to_object(made, lossy=True)["Incident"][0]["Assessment"][0]["Impact"] == [
        {"SystemImpact": {"type": "policy"}}
    ]


def test_the_language_of_a_related_activity_is_a_loss() -> None:
    activity = v2.RelatedActivity(description=(v2.MLString(value="a", lang=Language("de")),))
    made = document(related_activity=(activity,))
    assert lost(made) == {
        "/IODEF-Document/Incident/RelatedActivity/Description": "lang 'de' is left out: "
        "this is plain text in RFC 8727"
    }
    assert to_object(made, lossy=True)["Incident"][0]["RelatedActivity"] == [{"Description": ["a"]}]


def test_xml_in_other_extensions_is_a_loss() -> None:
    made = document(additional_data=(extension("string", Foreign(b"<a></a>")),))
    assert lost(made) == {
        "/IODEF-Document/Incident/AdditionalData": "the XML in it becomes text: a value of the type string has no XML"
    }
    assert to_object(made, lossy=True)["Incident"][0]["AdditionalData"][0]["value"] == "<a></a>"


@pytest.mark.parametrize(
    ("dtype", "content"),
    [(None, ("a",)), ("csv", ("a",)), ("string", ("<a/>",)), ("file", ("YQ==",)), ("xml", ("a",))],
)
def test_raw_data_of_another_type_is_a_loss(dtype: Any, content: tuple[str | Foreign, ...]) -> None:
    made = weakness(raw_data=(v2.RawData(dtype=dtype, content=content),))
    (message,) = lost(made).values()
    assert f"the type {dtype or '(none)'} becomes " in message
    assert to_object(made, lossy=True)["Incident"][0]["Method"][0]["Weakness"][0]["RawData"]


@pytest.mark.parametrize(
    "other",
    [
        v2.IndicatorReference(uid_ref=IDRef("G1"), version="3"),
        v2.IndicatorReference(euid_ref="G2", version="3"),
        v2.IndicatorReference(euid_ref="a/b c", version="3"),
        v2.IndicatorReference(euid_ref="a/G2"),
    ],
)
def test_another_reference_there_is_a_loss(other: v2.IndicatorReference) -> None:
    made = indicator(alternative_indicator_id=(v2.AlternativeIndicatorID(indicator_reference=(other,)),))
    places = lost(document(indicator_data=made))
    place = "/IODEF-Document/Incident/IndicatorData/Indicator/AlternativeIndicatorID"
    assert places == {
        place: "AlternativeIndicatorID is left out: IndicatorID: only an euid-ref of the form name/id with a version "
        "can be the IndicatorID of RFC 8727"
    }


LOSSES: list[tuple[Callable[[], v2.Document], str, str]] = [
    (
        lambda: file(hash_data=replace(hash_data(digest("3q2+7w==")), scope="ext-value", ext_scope="x")),
        "HashData",
        "ext-scope",
    ),
    (
        lambda: file(hash_data=hash_data(digest("3q2+7w==", ' a="1"'))),
        "HashData",
        "Hash/DigestValue: it has more than text",
    ),
    (lambda: weakness(restriction="amber"), "Method/Weakness", "restriction"),
    (
        lambda: weakness(
            raw_data=(v2.RawData(dtype="file", content=(" x ",)), v2.RawData(dtype="file", content=("YQ",)))
        ),
        "Weakness/RawData[2]",
        "RawData is left out: it is of the type file, but not base64",
    ),
    (lambda: document(detect_time=DateTime("2026-11-21T09:00:00")), "DetectTime", "time zone"),
    (lambda: document(detect_time=DateTime("2026-11-21T24:00:00Z")), "DetectTime", "RFC 3339"),
    (lambda: document(observable_id=ID("größe")), "Incident/@observable-id", "observable-id is left out: "),
    (
        lambda: document(foreign=((f"{{{XSI}}}type", "x"),)),
        "Document/Incident",
        "is left out: it is of another namespace",
    ),
    (
        lambda: document(description=(v2.MLString(value="x\0"),)),
        "Incident/Description",
        "Description is left out: found U+0000",
    ),
]


@pytest.mark.parametrize(("make", "place", "message"), LOSSES)
def test_what_has_no_place_is_named(make: Callable[[], v2.Document], place: str, message: str) -> None:
    found = lost(make())
    assert any(path.endswith(place) and message in told for path, told in found.items()), found


@pytest.mark.parametrize(("make", "place", "message"), LOSSES)
def test_without_it_the_rest_is_valid(make: Callable[[], v2.Document], place: str, message: str) -> None:
    rest = to_json(make(), lossy=True)
    assert to_json(from_json(rest)) == rest


def test_a_node_has_names_or_addresses_or_both() -> None:
    name = v2.DomainData(system_status="unknown", domain_status="unknown", name="example.com")
    both = v2.System(node=v2.Node(domain_data=(name,), address=(LOCAL,)))
    made = document(event_data=(v2.EventData(flow=(v2.Flow(system=(both,)),)),))
    assert set(carried(made)["EventData"][0]["System"][0]["Node"]) == {"DomainData", "Address"}
    neither = replace(
        made.incident[0], event_data=(v2.EventData(flow=(v2.Flow(system=(v2.System(node=v2.Node()),)),)),)
    )
    assert "found none of DomainData, Address" in str(lost(replace(made, incident=(neither,))))


def test_what_every_document_needs_cannot_be_left_out() -> None:
    with pytest.raises(Lossy) as refused:
        to_json(document(generation_time=DateTime("2026-11-21T09:00:00")), lossy=True)
    first, second = refused.value.problems
    assert first.path == "/IODEF-Document"
    assert first.message.startswith("nothing valid remains: 'Incident' is missing")
    assert second.path == "/IODEF-Document/Incident"
    assert second.message.startswith(
        "Incident is left out: GenerationTime: found '2026-11-21T09:00:00'; expected a date"
    )


def test_nesting_has_a_bound_on_both_ways() -> None:
    event = v2.EventData(description=(v2.MLString(value="innermost"),))
    for _ in range(40):
        event = v2.EventData(event_data=(event,))
    carried(document(event_data=(event,)))
    for _ in range(400):
        event = v2.EventData(event_data=(event,))
    assert any("nested too deep" in told for told in lost(document(event_data=(event,))).values())


def test_a_pattern_has_a_description_and_a_configuration() -> None:
    pattern = v2.DetectionPattern(
        application=v2.Software(description=(v2.MLString(value="x"),)),
        description=(v2.MLString(value="a"),),
        detection_configuration=("b",),
    )
    carried(document(discovery=(v2.Discovery(detection_pattern=(pattern,)),)))


def test_structured_information_has_raw_data_and_references_and_any_specification() -> None:
    raw = v2.RawData(dtype="string", content=("CWE-89",))
    reference = v2.Reference(url=(URL("https://example.com/"),))
    spec = "urn:ietf:params:xml:ns:mile:cwe:3.3"
    carried(weakness(spec_id=spec, ext_spec_id=None, raw_data=(raw,), reference=(reference,)))


def test_losses_are_told_with_the_numbers_that_the_document_has() -> None:
    """Also those that are found when others have been taken out already."""
    late = v2.MonetaryImpact(value=Decimal(0))
    good = v2.SystemImpact(type="policy")
    odd = v2.Assessment(monetary_impact=(late, late))
    both = v2.Assessment(monetary_impact=(late, replace(late, value=Decimal(1)), late), system_impact=(good,))
    made = document(
        assessment=(odd, both, odd), description=tuple(v2.MLString(value=each) for each in ("\0", "a", "\1"))
    )
    top = "/IODEF-Document/Incident"
    assert set(lost(made)) == {
        f"{top}/Assessment[1]",
        f"{top}/Assessment[2]/MonetaryImpact[1]",
        f"{top}/Assessment[2]/MonetaryImpact[3]",
        f"{top}/Assessment[3]",
        f"{top}/Description[1]",
        f"{top}/Description[3]",
    }
    kept = to_object(made, lossy=True)["Incident"][0]
    assert (len(kept["Assessment"]), len(kept["Assessment"][0]["Impact"]), kept["Description"]) == (1, 2, ["a"])


def test_places_lead_through_classes_that_json_does_not_have() -> None:
    node = v2.Node(address=(LOCAL,))
    wrong = v2.System(node=node, counter=(v2.Counter(value=Decimal("NaN"), type="count", unit="byte"),))
    flows = (v2.Flow(system=(v2.System(node=node),)), v2.Flow(system=(v2.System(node=node), wrong)))
    made = document(event_data=(v2.EventData(), v2.EventData(flow=flows)))
    assert "/IODEF-Document/Incident/EventData[2]/Flow[2]/System[2]/Counter" in lost(made)


def test_a_bound_of_losses() -> None:
    made = document(description=(v2.MLString(value="\0"),) * 1000)
    with pytest.raises(Lossy) as refused:
        to_json(made)
    assert len(refused.value.problems) == MOST + 1
    assert refused.value.problems[-1].message.startswith("there are more than these")
    assert "Description" not in to_object(made, lossy=True)["Incident"][0]


def test_thousands_of_parts_that_go_with_others_are_found_at_once() -> None:
    """Each look at the XML of what remains tells `MOST` of them only."""
    weak = v2.Weakness(spec_id="private", ext_spec_id="x", restriction="red")
    odd = v2.Assessment(monetary_impact=(v2.MonetaryImpact(value=Decimal(0)),))
    size = MOST * (CHECKS + 2)
    made = document(
        restriction="public",
        method=(v2.Method(weakness=(weak,)),) * size,
        event_data=(v2.EventData(method=(v2.Method(weakness=(weak,)),), assessment=odd, detect_time=ZONED),),
    )
    kept = to_object(made, lossy=True)["Incident"][0]
    assert "Method" not in kept
    assert set(kept["EventData"][0]) == {"DetectTime"}


def test_more_references_to_what_goes_than_are_looked_for_are_refused() -> None:
    """Conversion takes bounded time; it rather refuses."""
    gone = v2.Assessment(observable_id=ID("gone"), monetary_impact=(v2.MonetaryImpact(value=Decimal(0)),))
    one = v2.ObservableReference(uid_ref=IDRef("gone"))

    def referring(number: int) -> v2.Document:
        here = (v2.Observable(address=LOCAL),)
        expression = v2.IndicatorExpression(observable=here, observable_reference=(one,) * number)
        held = indicator(observable=None, indicator_expression=expression)
        return document(assessment=(gone,), indicator_data=held)

    rest = to_object(referring(MOST * 2), lossy=True)["Incident"][0]["Indicator"][0]
    assert set(rest["IndicatorExpression"]) == {"Observable"}
    with pytest.raises(Lossy, match="nothing valid remains: too much depends"):
        to_object(referring(MOST * (CHECKS + 2)), lossy=True)


def test_what_holds_nothing_but_what_goes_is_found_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not level by level, each time with a look at the whole document."""
    looks: list[int] = []

    def counted(*given: Any) -> Any:
        looks.append(1)
        return faults(*given)

    monkeypatch.setattr(prune, "faults", counted)
    event = v2.EventData(description=(v2.MLString(value="\0"),))
    for _ in range(40):
        event = v2.EventData(event_data=(event,))
    assert "EventData" not in to_object(document(event_data=(event,)), lossy=True)["Incident"][0]
    assert len(looks) <= 3
