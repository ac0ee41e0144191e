"""Bad input in JSON: each is refused with what was found, what was expected, and the place."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from grid.iodef.errors import Invalid, Problem
from grid.iodef.json import Limits, from_json, from_object, to_json
from tests.unit.iodef.test_json_examples import CAMPAIGN, MINIMAL

Change = Callable[[dict[str, Any]], Any]


def refused(source: str | bytes, **limits: int) -> list[Problem]:
    """The problems of a source that is refused."""
    with pytest.raises(Invalid) as error:
        from_json(source, limits=Limits(**limits))
    return list(error.value.problems)


def one(source: str | bytes, **limits: int) -> Problem:
    """Its only problem."""
    (problem,) = refused(source, **limits)
    return problem


def changed(change: Change) -> list[tuple[str, str]]:
    """The problems of the example of RFC 8727 §4.2 after a change: places and messages. Text and values agree."""
    value = json.loads(CAMPAIGN)
    change(value)
    with pytest.raises(Invalid) as error:
        from_object(copy.deepcopy(value))
    found = [(problem.path, problem.message) for problem in error.value.problems]
    assert {(problem.path, problem.message) for problem in refused(json.dumps(value))} == set(found)
    return found


def _costing(number: str) -> str:
    """The example with an impact of so much money."""
    kept = '{"BusinessImpact": {"type": "breach-proprietary"}}'
    return CAMPAIGN.replace(kept, kept + ', {"MonetaryImpact": {"value": ' + number + "}}")


def incident(value: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = value["Incident"][0]
    return found


DROP = object()


def _at(place: str, to: Any) -> Change:
    """A change of the value at a JSON pointer; `DROP` takes it away."""

    def change(value: Any) -> None:
        *way, last = (int(step) if step.isdecimal() else step for step in place.split("/")[1:])
        for step in way:
            value = value[step]
        if to is DROP:
            del value[last]
        else:
            value[last] = to

    return change


INCIDENT = "/Incident/0"
CONTACT = f"{INCIDENT}/Contact/0"
INDICATOR = f"{INCIDENT}/Indicator/0"
IMPACT = f"{INCIDENT}/Assessment/0/Impact/0"
CASES: list[tuple[str, Any, str | None, str]] = [
    ("/version", DROP, "", "'version' is missing; IODEF-Document requires it"),
    ("/Incident", DROP, "", "'Incident' is missing; IODEF-Document requires it"),
    ("/Incident", [], None, "found an empty list; expected at least one item, or no such key"),
    ("/Incident", {}, None, "found an object; expected a list"),
    ("/Incident/0", None, None, "found null; expected an object"),
    ("/version", 2.0, None, "found the number 2.0; expected a string"),
    ("/version", "1.00", None, "found '1.00'; expected '2.0'"),
    ("/lang", "english language", None, "expected a language tag like en or de-CH"),
    ("/lang", "en\n", None, "found 'en\\n'; expected a language tag"),
    ("/xml:lang", "en", None, "JSON has 'lang' in its place"),
    ("/a~b", 1, "/a~0b", "'a~b' is not a key of IODEF-Document"),
    (f"{INCIDENT}/purpose", "Watch", None, "found 'Watch'; expected one of: traceback, mitigation, reporting"),
    (f"{INCIDENT}/purpose", True, None, "found true; expected a string"),
    (f"{INCIDENT}/IncidentID/value", "x", None, "is not a key of IncidentID; expected one of: id, name"),
    (f"{INCIDENT}/IncidentID/name", DROP, f"{INCIDENT}/IncidentID", "'name' is missing; IncidentID requires it"),
    (f"{INCIDENT}/Flow", [], None, "'Flow' is not a key of Incident"),
    (f"{INCIDENT}/EventData", [{"Flow": []}], f"{INCIDENT}/EventData/0/Flow", "JSON has 'System' in its place"),
    (f"{INCIDENT}/GenerationTime", "2015-10-02", None, "expected a date and time with time zone"),
    (f"{INCIDENT}/StartTime", "2015-10-02T11:18:00", None, "with time zone"),
    (f"{INCIDENT}/StartTime", "2015-10-02t11:18:00z", None, "with time zone"),
    (f"{INCIDENT}/StartTime", "2015-02-29T11:18:00Z", None, "expected a date and time"),
    (f"{INCIDENT}/StartTime", "2015-02-28T11:18:60Z", None, "expected a date and time"),
    (f"{INCIDENT}/observable-id", "1a", None, "expected an identifier"),
    (f"{INCIDENT}/Description", "x", None, "found 'x'; expected a list"),
    (f"{INCIDENT}/Description/0", 5, None, "found the number 5; expected an object or a string"),
    (f"{INCIDENT}/Description/0", {"lang": "en"}, None, "'value' is missing"),
    (f"{CONTACT}/Timezone", "+15:00", None, "at most 14 hours"),
    (f"{CONTACT}/role", "x", None, "found 'x'; expected one of 18 values"),
    (f"{CONTACT}/role", "creater", None, "most like it: creator"),
    (f"{CONTACT}/type", "ext-value", None, "ext-type"),
    (f"{CONTACT}/Email/0/EmailTo", "", None, "expected text that is not empty"),
    (INDICATOR, 5, None, "found the number 5; expected an object"),
    (f"{INDICATOR}/uid-ref", "a", INDICATOR, "found Observable and uid-ref together"),
    (f"{INDICATOR}/Observable", DROP, INDICATOR, "found none of Observable, uid-ref"),
    (f"{INDICATOR}/Observable", {}, None, "expected one of: System, Address"),
    (f"{IMPACT}/SystemImpact", {"type": "policy"}, IMPACT, "an object of 2 keys; expected exactly one of"),
    (IMPACT, {}, None, "an object of 0 keys"),
    (IMPACT, {"TimeImpact": {"value": 0, "metric": "labor"}}, f"{IMPACT}/TimeImpact/value", "above 0"),
    (f"{IMPACT}/BusinessImpact/type", "ext-value", None, "ext-type"),
]


@pytest.mark.parametrize(("place", "value", "path", "message"), CASES)
def test_structure_and_values(place: str, value: Any, path: str | None, message: str) -> None:
    found = changed(_at(place, value))
    assert {where for where, _ in found} == {place if path is None else path}
    assert any(message in told for _, told in found), found


SERVICE = {"ip-protocol": 6, "Port": 80}


def _system(**service: Any) -> Change:
    node = {"Address": [{"category": "ipv4-addr", "value": "192.0.2.1"}]}
    second = {"Node": node, "Service": [SERVICE | service]}
    return _at(f"{INCIDENT}/EventData", [{"System": [{"Node": node}, second]}])


@pytest.mark.parametrize(
    ("service", "key"),
    [
        ({"Port": 70_000}, "Port"),
        ({"Port": -1}, "Port"),
        ({"Port": 80.5}, "Port"),
        ({"Port": "80"}, "Port"),
        ({"Portlist": "5-1"}, "Portlist"),
        ({"Portlist": "1,,2"}, "Portlist"),
        ({"Portlist": "70000"}, "Portlist"),
    ],
)
def test_the_rules_of_rfc_7970_are_told_with_places_of_the_json(service: dict[str, Any], key: str) -> None:
    """The System of RFC 8727 is in a Flow in XML, where the rules look."""
    found = changed(_system(**service))
    assert {path for path, _ in found} == {f"/Incident/0/EventData/0/System/1/Service/0/{key}"}


def test_a_rule_about_the_second_impact_of_a_kind_names_its_place_in_the_list() -> None:
    impacts = [
        {"SystemImpact": {"type": "policy"}},
        {"BusinessImpact": {"type": "legal"}},
        {"SystemImpact": {"type": "ext-value"}},
    ]
    (problem,) = changed(_at(f"{INCIDENT}/Assessment/0/Impact", impacts))
    assert problem[0] == "/Incident/0/Assessment/0/Impact/2/SystemImpact/type"


def test_references_must_lead_somewhere() -> None:
    def change(value: Any) -> None:
        held = incident(value)["Indicator"][0]
        held["IndicatorExpression"] = {"uid-ref": ["G90823490", "nowhere"]}
        del held["Observable"]

    assert "/Incident/0/Indicator/0/IndicatorExpression/uid-ref/1" in {path for path, _ in changed(change)}


def test_identifiers_are_unique() -> None:
    def change(value: Any) -> None:
        incident(value)["observable-id"] = "a"
        incident(value)["Assessment"][0]["observable-id"] = "a"

    assert {path for path, _ in changed(change)} == {"/Incident/0/Assessment/0/observable-id"}


def test_names_of_indicators_are_unique() -> None:
    def change(value: Any) -> None:
        incident(value)["Indicator"].append(copy.deepcopy(incident(value)["Indicator"][0]))

    assert {path for path, _ in changed(change)} == {"/Incident/0/Indicator/1/IndicatorID"}


def test_all_problems_are_told_in_the_order_of_the_text() -> None:
    source = (
        CAMPAIGN.replace('"organization"', '"organisation"')
        .replace('"897923"', "897923")
        .replace('"domain-name"', '"fqdn"')
        .replace('"green"', '"grey"')
        .replace('"ContactName"', '"Name"')
    )
    found = refused(source)
    assert [problem.path for problem in found] == [
        "/Incident/0/restriction",
        "/Incident/0/IncidentID/id",
        "/Incident/0/Contact/0/type",
        "/Incident/0/Contact/0/Name",
        "/Incident/0/Indicator/0/Observable/BulkObservable/type",
    ]
    wrong = ('"grey"', " 897923,", '"organisation"', '"Name"', '"fqdn"')
    for problem, each in zip(found, wrong, strict=True):
        assert each in source.split("\n")[problem.line - 1]


def test_a_message_does_not_show_all_of_a_long_value() -> None:
    assert all(len(problem.message) < 400 for problem in refused(MINIMAL.replace('"en"', f'"{"x" * 100_000}"')))


@pytest.mark.parametrize(
    "value", [None, True, 5, "text", [], [1], {}, {1: 2}, object(), b"{}", (1, 2), Decimal("NaN")]
)
def test_other_values_than_an_object_with_the_keys_of_a_document(value: Any) -> None:
    with pytest.raises(Invalid):
        from_object(value)


@pytest.mark.parametrize("number", [*map(Decimal, ("NaN", "sNaN", "Infinity")), *map(float, ("nan", "inf", "1e300"))])
def test_numbers_that_json_cannot_have_come_from_plain_values_too(number: Any) -> None:
    value = json.loads(CAMPAIGN)
    incident(value)["Assessment"][0]["Impact"].append({"MonetaryImpact": {"value": number}})
    with pytest.raises(Invalid) as error:
        from_object(value)
    assert {problem.path for problem in error.value.problems} == {
        "/Incident/0/Assessment/0/Impact/1/MonetaryImpact/value"
    }


def test_a_whole_number_of_thousands_of_digits_is_refused_before_it_is_written() -> None:
    value = json.loads(MINIMAL)
    incident(value)["EventData"] = [{"System": [{"Node": {"Address": [{"vlan-num": 10**5000}]}}]}]
    with pytest.raises(Invalid, match="found a number beyond"):
        from_object(value)


@pytest.mark.parametrize("frames", [0, 150])
def test_a_problem_at_the_deepest_place_is_told(frames: int) -> None:
    """The library that explains goes down by recursion, and whoever calls may have gone down already."""
    if frames:
        _deeper(frames)
        return
    event: dict[str, Any] = {"Description": ["x"], "odd": 1}
    for _ in range(61):
        event = {"EventData": [event]}
    value = json.loads(MINIMAL)
    incident(value)["EventData"] = [event]
    problem = one(json.dumps(value))
    assert problem.path == "/Incident/0/EventData/0" + "/EventData/0" * 61 + "/odd"


def _deeper(frames: int) -> None:
    if frames:
        _deeper(frames - 1)
    else:
        test_a_problem_at_the_deepest_place_is_told(0)


def test_plain_values_that_hold_themselves_are_refused() -> None:
    value = json.loads(MINIMAL)
    contact = incident(value)["Contact"][0]
    contact["Contact"] = [contact]
    with pytest.raises(Invalid, match="nested more than 128 deep"):
        from_object(value)


def test_a_whole_number_of_thousands_of_digits_in_the_place_of_a_text() -> None:
    with pytest.raises(Invalid, match="found a number beyond"):
        from_object({"version": 10**5000, "Incident": []})


@pytest.mark.parametrize(
    "data",
    [
        {"dtype": "date-time", "value": "1" * 20_000 + "-01-01T00:00:00Z"},
        {"dtype": "xml", "value": "<é/>"},
        {"dtype": "xml", "value": "<a é='ü'/>"},
        {"dtype": "xml", "value": "<a xmlns='é'/>"},
        {"dtype": "xml", "value": "<a xmlns='../b'/>"},
    ],
)
def test_extensions_are_read_or_refused(data: dict[str, str]) -> None:
    value = json.loads(MINIMAL)
    incident(value)["AdditionalData"] = [data]
    try:
        kept = from_object(value)
    except Invalid as error:
        assert {problem.path.rpartition("/AdditionalData/0")[0] for problem in error.problems} == {"/Incident/0"}
    else:
        assert from_json(to_json(kept)) == kept
