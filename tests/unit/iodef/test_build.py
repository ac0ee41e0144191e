"""Documents in a few lines: what they hold, that they are valid, and what is said of arguments that are not."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from component.base.errors import InputError
from grid import iodef
from grid.iodef import v2
from grid.iodef.attributes import extract
from grid.iodef.build import Other, report, watch_list
from grid.iodef.protocols import NUMBERS
from grid.iodef.v2 import enums

NOW = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
LEAST: dict[str, Any] = {
    "authority": "csirt.example.org", "id": "2026-17", "contact": "soc@example.org", "generated": NOW,
}  # fmt: skip


def valid(document: v2.Document) -> v2.Incident:
    """The incident of a document that is valid and reads back as what it is."""
    assert iodef.load(iodef.dump(document)) == document
    (incident,) = document.incident
    return incident


def test_the_least_report() -> None:
    incident = valid(report(**LEAST))
    assert (incident.incident_id.name, incident.incident_id.value) == ("csirt.example.org", "2026-17")
    assert (incident.purpose, incident.restriction, incident.generation_time.moment) == ("reporting", None, NOW)
    assert incident.contact[0].email[0].email_to == "soc@example.org"


def test_a_report_with_everything() -> None:
    document = report(
        **LEAST,
        purpose="mitigation",
        restriction="amber",
        status="in-progress",
        description=["Password guessing", "since Friday"],
        severity="high",
        impact="takeover-account",
        category="brute force",
        method=["https://attack.example/T1110", "word lists"],
        sources=["192.0.2.7", "198.51.100.0/255.255.255.0", "2001:DB8::1", ipaddress.ip_address("192.0.2.8")],
        targets=["mail.example.org", "bücher.example"],
        ports=[25, (8000, 8080)],
        action="block-host",
        started=NOW - timedelta(days=1),
        ended=NOW,
        detected=NOW,
        indicators=["evil.example", "192.0.2.9", "203.0.113.0/24", "http://evil.example/x?y#z", "a@evil.example"],
        lang="de-AT",
    )
    incident = valid(document)
    (one,) = extract(iodef.check(iodef.dump(document)))
    assert one.values("attacker") == ("192.0.2.7", "198.51.100.0/24", "2001:db8::1", "192.0.2.8")
    assert (one.severity, one.type, one.category, one.disclosure) == (
        ("high",), ("takeover-account",), ("brute force",), "need-to-know",
    )  # fmt: skip
    assert [text.value for text in incident.description] == ["Password guessing", "since Friday"]
    (method,) = incident.method
    assert (method.reference[0].url, method.description[0].value) == (("https://attack.example/T1110",), "word lists")
    (event,) = incident.event_data
    target = event.flow[0].system[-1]
    assert target.node.domain_data[0].name == "xn--bcher-kva.example"
    assert (target.service[0].ip_protocol, target.service[0].portlist) == (6, "25,8000-8080")
    assert event.expectation[0].action == "block-host"
    assert incident.indicator_data is not None
    bulk = [each.observable.bulk_observable for each in incident.indicator_data.indicator if each.observable]
    assert [(each.type, each.bulk_observable_list) for each in bulk if each] == [
        ("domain-name", "evil.example"), ("ipv4-addr", "192.0.2.9"), ("ipv4-net", "203.0.113.0/24"),
        ("site-uri", "http://evil.example/x?y#z"), ("e-mail", "a@evil.example"),
    ]  # fmt: skip


def test_a_watch_list_of_thousands() -> None:
    hosts = [f"10.{number >> 8}.{number & 255}.1" for number in range(5000)]
    document = watch_list(
        **LEAST, restriction="green", indicators=[*hosts, *hosts, "evil.example"], valid_from=NOW, valid_until=NOW
    )
    incident = valid(document)
    assert (incident.purpose, incident.indicator_data is not None) == ("watch", True)
    assert incident.indicator_data is not None
    first, second = incident.indicator_data.indicator
    assert first.observable is not None and first.observable.bulk_observable is not None
    assert first.observable.bulk_observable.bulk_observable_list.split("\n") == hosts
    assert (first.start_time, first.end_time) == (second.start_time, "2026-11-21T09:30:00+00:00")
    assert first.indicator_id.value != second.indicator_id.value


def test_an_impact_on_the_business_and_values_of_your_own() -> None:
    incident = valid(report(**LEAST, impact="theft-financial", severity="none"))
    assert incident.assessment[0].business_impact[0].severity == "none"
    own = valid(report(**LEAST, purpose=Other("drill"), impact=Other("mining"), restriction=Other("red")))
    assert (own.purpose, own.ext_purpose, own.restriction) == ("ext-value", "drill", "red")
    assert own.assessment[0].system_impact[0].ext_type == "mining"


@pytest.mark.parametrize(
    ("ports", "port", "portlist"),
    [(25, 25, None), ("25", 25, None), ("25, 80-82", None, "25,80-82"), ([0, 65535], None, "0,65535")],
)
def test_ports(ports: Any, port: int | None, portlist: str | None) -> None:
    incident = valid(report(**LEAST, targets="192.0.2.1", ports=ports, protocol="UDP"))
    (service,) = incident.event_data[0].flow[0].system[0].service
    assert (service.ip_protocol, service.port, service.portlist) == (17, port, portlist)


@pytest.mark.parametrize("protocol", [True, 6.0, [], None, -1, 256, "icmpv6", "\uff16"])
def test_what_is_no_protocol(protocol: Any) -> None:
    with pytest.raises(InputError, match=r"^protocol: .* is not known"):
        report(**LEAST, targets="192.0.2.1", ports=25, protocol=protocol)


@pytest.mark.parametrize("ports", [True, [True], [(True, 2)], [(1, True)], [(1, 2, 3)], 5.0, object(), [[]]])
def test_what_are_no_ports(ports: Any) -> None:
    with pytest.raises(InputError, match=r"^ports: "):
        report(**LEAST, targets="192.0.2.1", ports=ports)


@pytest.mark.parametrize("place", [None, 7, True, b"192.0.2.1", "mailto:a@b.example", "a@b@c", "<a@b.example>", []])
def test_what_is_no_place(place: Any) -> None:
    with pytest.raises(InputError, match=r"^sources\[0\]: "):
        report(**LEAST, sources=[place])


def test_zones_that_the_standard_cannot_express_become_utc() -> None:
    odd = NOW.astimezone(timezone(timedelta(hours=1, seconds=30)))
    wide = NOW.astimezone(timezone(timedelta(hours=23)))
    incident = valid(report(**LEAST, started=odd, ended=wide))
    assert incident.start_time == incident.end_time == "2026-11-21T09:30:00+00:00"


def test_a_contact_of_your_own() -> None:
    contact = v2.Contact(role="irt", type="person", contact_name=(v2.MLString(value="Jo"),))
    assert valid(report(**LEAST | {"contact": contact})).contact == (contact,)
    with pytest.raises(InputError, match=r"^contact: .*Contact"):
        report(**LEAST | {"contact": v2.Contact(role="irt", type="person")})


NEAR = "Did you mean"
FIRST_DAY = datetime.min.replace(tzinfo=timezone(timedelta(hours=20)))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"authority": "csirt"}, "authority: 'csirt' is not a domain name"),
        ({"authority": "csirt example.org"}, "authority: "),
        ({"id": "  "}, "id: the text is empty"),
        ({"id": 17}, "id: found int; expected a text"),
        ({"contact": "soc"}, "contact: 'soc' is not an e-mail address"),
        ({"generated": datetime(2026, 11, 21)}, "generated: 2026-11-21T00:00:00 has no time zone"),  # noqa: DTZ001
        ({"started": "yesterday"}, "started: found str; expected a datetime"),
        ({"started": NOW, "ended": NOW - timedelta(1)}, "ended: .* is before started"),
        (
            {"started": datetime.min.replace(tzinfo=timezone(timedelta(hours=20)))},
            "started: .* outside of the calendar",
        ),
        ({"purpose": "reportin"}, f"purpose: .*{NEAR} 'reporting'"),
        ({"purpose": "ext-value"}, "purpose: 'ext-value' is not one of the values"),
        ({"restriction": "Amber"}, f"restriction: .*{NEAR} 'amber'"),
        ({"severity": "hihg"}, f"severity: .*{NEAR} 'high'"),
        ({"severity": Other("fatal")}, "severity: 'fatal' is not one of"),
        ({"impact": "takeover_account"}, f"impact: .*{NEAR} 'takeover-account'"),
        ({"impact": "zzz"}, r"impact: .*Write one of: .*Other\('zzz'\)"),
        ({"status": "done"}, "status: "),
        ({"action": "block"}, "action: "),
        ({"action": "defined-coa"}, "action: 'defined-coa' needs a DefinedCOA"),
        ({"description": "a\0b"}, r"description: the character U\+0000 at position 1 cannot be written in XML"),
        ({"description": ["fine", "\ud800"]}, r"description\[1\]: the character U\+D800"),
        ({"category": 5}, "category: found int; expected a list"),
        ({"sources": ["192.0.2.1", "192.0.2.300"]}, r"sources\[1\]: '192.0.2.300' is not an Internet address"),
        ({"sources": ["192.0.2.7/24"]}, rf"sources\[0\]: .* has bits beyond its prefix. {NEAR} 192.0.2.0/24"),
        ({"sources": "2001:db8::x"}, "sources: "),
        ({"sources": b"192.0.2.1"}, "sources: found bytes"),
        ({"targets": ["not a name"]}, r"targets\[0\]: 'not a name' is not a domain name"),
        ({"targets": ["-.example"]}, r"targets\[0\]: "),
        ({"ports": 25}, "ports: there are no targets"),
        ({"targets": "192.0.2.1", "ports": 65536}, "ports: 65536 is not a port"),
        ({"targets": "192.0.2.1", "ports": "80-25"}, r"ports: \(80, 25\) is not a port or range"),
        ({"targets": "192.0.2.1", "ports": []}, "ports: the list is empty"),
        ({"targets": "192.0.2.1", "ports": True}, "ports: True is not a port"),
        ({"targets": "192.0.2.1", "ports": 25, "protocol": "tpc"}, "protocol: 'tpc' is not known. Write one of icmp"),
        ({"targets": "192.0.2.1", "ports": 25, "protocol": 256}, "protocol: 256"),
        ({"lang": "en_GB"}, "lang: 'en_GB' is not a language tag"),
        ({"indicators": ["a@b c"]}, r"indicators\[0\]: "),
    ],
)
def test_what_cannot_be_used_is_named(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=f"^{says}"):
        report(**LEAST | arguments)


def test_a_watch_list_names_its_own_arguments() -> None:
    with pytest.raises(InputError, match=r"^indicators: the list is empty"):
        watch_list(**LEAST, indicators=[])
    with pytest.raises(InputError, match=r"^valid_until: .* is before valid_from"):
        watch_list(**LEAST, indicators="192.0.2.1", valid_from=NOW, valid_until=NOW - timedelta(1))


# Whatever is accepted is valid.

LABEL = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,10}[A-Za-z0-9_])?", fullmatch=True)
NAME = st.builds(lambda labels: ".".join([*labels, "example"]), st.lists(LABEL, min_size=1, max_size=3))
URL = st.from_regex(
    r"[a-z]{1,5}://([a-z.]{1,9}|\[[0-9a-f:]{1,9}\])(:[0-9]{1,6})?(/[!-~]{0,12})?(\?[!-~]{0,9})?(#[!-~]{0,9})?",
    fullmatch=True,
)
NETWORK = st.builds(
    lambda ip, bits: ipaddress.ip_network((ip, bits), strict=False), st.ip_addresses(), st.integers(0, 32)
)
PLACE = st.one_of(
    NAME,
    st.ip_addresses(),
    st.ip_addresses(v=4).map(lambda ip: f"{ip}/24"),
    NETWORK,
    URL,
    st.from_regex(r"[!-~]{1,9}@[a-z.]{1,9}", fullmatch=True),
    st.text(max_size=8),
)  # fmt: skip
TEXT = st.text(max_size=20)
TIME = st.datetimes(timezones=st.timezones() | st.just(UTC) | st.none())
CHOICES = {
    "purpose": enums.Purpose, "restriction": enums.Restriction, "status": enums.IncidentStatus,
    "severity": enums.BusinessSeverity, "action": enums.Action,
}  # fmt: skip
IMPACTS = (*get_args(enums.SystemImpactType), *get_args(enums.BusinessImpactType))
ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "authority": NAME, "id": TEXT, "contact": st.emails(), "generated": TIME, "started": TIME, "ended": TIME,
        "detected": TIME, "description": TEXT | st.lists(TEXT, max_size=3), "category": TEXT, "method": TEXT | URL,
        "sources": st.lists(PLACE, max_size=4), "targets": st.lists(PLACE, max_size=4),
        "indicators": st.lists(PLACE, max_size=6), "impact": st.sampled_from(IMPACTS) | TEXT.map(Other),
        "ports": st.lists(st.integers(-1, 65536) | st.tuples(st.integers(0, 9), st.integers(0, 99)), max_size=3),
        "protocol": st.sampled_from([*NUMBERS, 0, 255, "x"]), "lang": st.sampled_from(["en", "de-1996"]),
        **{name: st.sampled_from(get_args(values)) | TEXT.map(Other) for name, values in CHOICES.items()},
    },
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(ARGUMENTS)
def test_what_is_built_is_valid(arguments: dict[str, Any]) -> None:
    try:
        document = report(**LEAST | arguments)
    except InputError as refused:
        assert refused.message.partition(":")[0].partition("[")[0] in {*LEAST, *arguments}
        return
    valid(document)


@settings(deadline=None, max_examples=100)
@given(st.lists(PLACE, min_size=1), st.text(max_size=9), st.text(max_size=9))
def test_what_is_watched_is_valid(places: list[Any], number: str, other: str) -> None:
    try:
        document = watch_list(**LEAST | {"id": number}, indicators=places)
        another = watch_list(**LEAST | {"id": other}, indicators=places)
    except InputError as refused:
        assert refused.message.startswith(("indicators[", "id:"))
        return
    first, second = valid(document).indicator_data, valid(another).indicator_data
    assert first is not None and second is not None
    if number.strip() != other.strip():
        assert {each.indicator_id.value for each in first.indicator}.isdisjoint(
            each.indicator_id.value for each in second.indicator
        )
