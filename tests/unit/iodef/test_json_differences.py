"""What RFC 8727 does otherwise than XML (its sections 2 and 3.2), one by one."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from grid.iodef import v2
from grid.iodef.errors import Invalid
from grid.iodef.json import from_json, from_object, to_json, to_object
from grid.iodef.names import XSI
from grid.iodef.types import ID, IDRef, Language
from tests.unit.iodef.json_documents import (
    LOCAL,
    carried,
    document,
    extension,
    indicator,
    system,
)


def test_one_flow_and_one_record_dissolve_and_come_back() -> None:
    record = v2.Record(record_data=(v2.RecordData(record_item=(extension("string", "a line"),)),))
    event = v2.EventData(flow=(v2.Flow(system=(system("192.0.2.1"), system("192.0.2.2"))),), record=record)
    found = carried(document(event_data=(event,)))["EventData"][0]
    assert [each["Node"]["Address"][0]["value"] for each in found["System"]] == ["192.0.2.1", "192.0.2.2"]
    assert found["RecordData"] == [{"RecordItem": [{"value": "a line", "dtype": "string"}]}]


def test_references_to_observables_become_uid_ref() -> None:
    one = v2.ObservableReference(uid_ref=IDRef("here"))
    expression = v2.IndicatorExpression(observable_reference=(one, one))
    node = v2.System(observable_id=ID("here"), node=v2.Node(address=(LOCAL,)))
    event = v2.EventData(flow=(v2.Flow(system=(node,)),))
    first = indicator(observable=None, observable_reference=one).indicator[0]
    second = replace(first, indicator_id=v2.IndicatorID(value=ID("G2"), name="x", version="1"))
    second = replace(second, observable_reference=None, indicator_expression=expression)
    both = v2.IndicatorData(indicator=(first, second))
    found = carried(document(event_data=(event,), indicator_data=both))["Indicator"]
    assert found[0]["uid-ref"] == "here"
    assert found[1]["IndicatorExpression"] == {"uid-ref": ["here", "here"]}


def test_impacts_are_one_list() -> None:
    assessment = v2.Assessment(
        system_impact=(v2.SystemImpact(type="policy"), v2.SystemImpact(type="unknown")),
        monetary_impact=(v2.MonetaryImpact(value=Decimal("10000.00"), currency="EUR"),),
        intended_impact=(v2.BusinessImpact(type="legal"),),
    )
    assert carried(document(assessment=(assessment,)))["Assessment"] == [
        {
            "Impact": [
                {"SystemImpact": {"type": "policy"}},
                {"SystemImpact": {"type": "unknown"}},
                {"MonetaryImpact": {"value": Decimal("10000.00"), "currency": "EUR"}},
                {"IntendedImpact": {"type": "legal"}},
            ]
        }
    ]


def test_an_operator_of_an_extension_needs_no_announcement() -> None:
    expression = v2.IndicatorExpression(
        operator="ext-value", ext_operator="nand", observable=(v2.Observable(address=LOCAL),)
    )
    found = carried(document(indicator_data=indicator(observable=None, indicator_expression=expression)))
    assert set(found["Indicator"][0]["IndicatorExpression"]) == {"ext-operator", "Observable"}


def test_impacts_keep_their_order() -> None:
    kinds = ("MonetaryImpact", "SystemImpact", "MonetaryImpact")
    money = tuple(v2.MonetaryImpact(value=Decimal(value)) for value in (1, 2))
    assessment = v2.Assessment(order=kinds, system_impact=(v2.SystemImpact(type="policy"),), monetary_impact=money)
    assert carried(document(assessment=(assessment,)))["Assessment"][0]["Impact"] == [
        {"MonetaryImpact": {"value": Decimal(1)}},
        {"SystemImpact": {"type": "policy"}},
        {"MonetaryImpact": {"value": Decimal(2)}},
    ]


@pytest.mark.parametrize("written", ["10000.00", "0.10", "1E+2", "5", "3.14159265358979323846264338327950288", "-0"])
def test_a_real_keeps_its_digits(written: str) -> None:
    counter = v2.Counter(value=Decimal(written), type="count", unit="byte")
    made = replace(system("192.0.2.1"), counter=(counter,))
    whole = document(event_data=(v2.EventData(flow=(v2.Flow(system=(made,)),)),))
    carried(whole)
    assert f'"value": {written},' in to_json(whole)
    back = from_json(to_json(whole)).incident[0].event_data[0].flow[0].system[0].counter[0].value
    assert str(back) == written


@pytest.mark.parametrize(("value", "rating"), [(None, "high"), (Decimal(80), "numeric"), (Decimal(0), "numeric")])
def test_a_confidence_without_number_has_0_in_json(value: Decimal | None, rating: Any) -> None:
    found = carried(document(indicator_data=indicator(confidence=v2.Confidence(value=value, rating=rating))))
    assert found["Indicator"][0]["Confidence"] == {"value": value or 0, "rating": rating}


def test_a_number_beside_another_rating_is_refused() -> None:
    made = to_object(document(indicator_data=indicator(confidence=v2.Confidence(rating="high"))))
    made["Incident"][0]["Indicator"][0]["Confidence"]["value"] = 80
    with pytest.raises(Invalid) as refused:
        from_object(made)
    assert [problem.path for problem in refused.value.problems] == ["/Incident/0/Indicator/0/Confidence"]


@pytest.mark.parametrize(
    ("around", "text", "expected"),
    [
        (None, v2.MLString(value="a"), "a"),
        ("en-US", v2.MLString(value="a"), "a"),
        ("de", v2.MLString(value="a"), {"value": "a"}),
        ("", v2.MLString(value="a"), {"value": "a"}),
        ("de", v2.MLString(value="a", lang=Language("en")), {"value": "a", "lang": "en"}),
        (None, v2.MLString(value="a", translation_id="t"), {"value": "a", "translation-id": "t"}),
        (None, v2.MLString(value=""), ""),
    ],
)
def test_text_for_people_is_a_bare_string_where_that_can_be_taken_for_english(
    around: str | None, text: v2.MLString, expected: Any
) -> None:
    lang = None if around is None else Language(around)
    event = v2.EventData(description=(text, v2.MLString(value="b", lang=Language("fr"))))
    made = document(lang=lang, event_data=(event,)) if text.value else document(lang=lang)
    if text.value:
        assert carried(made)["EventData"][0]["Description"][0] == expected
    else:
        assert to_object(document(description=(text,)))["Incident"][0]["Description"] == [expected]


def test_the_language_of_the_document_counts_too() -> None:
    made = replace(document(description=(v2.MLString(value="a"),)), lang=Language("ja"))
    assert carried(made)["Description"] == [{"value": "a"}]


def test_an_indicator_of_others_is_named_by_name_and_id() -> None:
    other = v2.IndicatorReference(euid_ref="csirt.example.com/G2", version="3")
    made = indicator(alternative_indicator_id=(v2.AlternativeIndicatorID(indicator_reference=(other,)),))
    found = carried(document(indicator_data=made))["Indicator"][0]["AlternativeIndicatorID"]
    assert found == [{"IndicatorID": [{"id": "G2", "name": "csirt.example.com", "version": "3"}]}]


def test_a_value_that_the_cddl_spells_otherwise() -> None:
    role = v2.NodeRole(category="anonymization")
    assert carried(document(indicator_data=indicator(node_role=(role,))))["Indicator"][0]["NodeRole"] == [
        {"category": "anomyzation"}
    ]


def test_declarations_and_hints_of_xml_are_no_information() -> None:
    hints = ((f"{{{XSI}}}schemaLocation", "a b"), ("{http://www.w3.org/2000/xmlns/}xsi", XSI))
    assert to_json(replace(document(), foreign=hints)) == to_json(document())


@pytest.mark.parametrize("version", ["2.0", "2.00"])
def test_both_ways_to_write_the_version_are_understood(version: str) -> None:
    made = to_object(document())
    assert made["version"] == "2.0"
    assert from_object(made | {"version": version}).version == "2.00"


def test_plain_numbers_of_python_are_understood() -> None:
    assessment = v2.Assessment(time_impact=(v2.TimeImpact(value=Decimal("1.5"), metric="labor"),))
    made = document(assessment=(assessment,))
    assert from_object(json.loads(to_json(made))) == made
