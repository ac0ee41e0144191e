"""IODEF 1.0 to 2.0: nothing is lost unsaid, and what is made is valid."""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from grid import iodef
from grid.iodef import incident, v1, v2
from grid.iodef.errors import Invalid
from grid.iodef.fields import Class
from grid.iodef.types import DateTime, Language, PortList
from grid.iodef.upgrade import DEEPEST, upgrade
from tests.unit.iodef import generator

CONTACT = v1.Contact(role="creator", type="organization", email=(v1.Email(value="irt@example.com"),))


def an_incident(**more: Any) -> v1.Incident:
    given: dict[str, Any] = {
        "purpose": "reporting",
        "incident_id": v1.IncidentID(name="csirt.example.com", value="189493"),
        "report_time": DateTime("2001-09-13T23:19:24+00:00"),
        "assessment": (v1.Assessment(impact=(v1.Impact(type="dos", value="Slow.", severity="high"),)),),
        "contact": (CONTACT,),
    }
    return v1.Incident(**{**given, **more})


def events(*systems: v1.System, **more: Any) -> v1.Incident:
    return an_incident(event_data=(v1.EventData(flow=(v1.Flow(system=systems),), **more),))


def system(category: Any = "source", services: tuple[v1.Service, ...] = (), **node: Any) -> v1.System:
    node = node or {"address": (v1.Address(category="ipv4-addr", value="192.0.2.7"),)}
    return v1.System(category=category, node=v1.Node(**node), service=services)


def the_system(made: v2.Document) -> v2.System:
    return made.incident[0].event_data[0].flow[0].system[0]


def test_an_incident_keeps_what_it_says() -> None:
    made = upgrade(an_incident(description=(v1.MLString(value="Böse", lang=Language("de")),)), lang=Language("en"))
    (told,) = made.document.incident
    assert (told.incident_id.name, told.incident_id.value, told.purpose) == (
        "csirt.example.com",
        "189493",
        "reporting",
    )
    assert told.generation_time == told.report_time == "2001-09-13T23:19:24+00:00"
    assert told.description == (v2.MLString(value="Böse", lang=Language("de")),)
    assert told.contact[0].email[0].email_to == "irt@example.com"
    (impact,) = told.assessment[0].system_impact
    assert (impact.type, impact.ext_type, impact.severity) == ("ext-value", "dos", "high")
    assert impact.description[0].value == "Slow."
    assert [each.value for each in told.assessment[0].incident_category] == ["dos"]
    assert made.document.lang == "en"
    assert made.losses == ()
    iodef.check(iodef.dump(made.document))


def test_the_time_of_the_content_can_be_said() -> None:
    made = upgrade(an_incident(), generated=DateTime("2027-01-01T00:00:00Z")).document.incident[0]
    assert (made.generation_time, made.report_time) == ("2027-01-01T00:00:00Z", "2001-09-13T23:19:24+00:00")


def test_names_times_and_roles_of_nodes_move() -> None:
    made = upgrade(
        events(
            system(
                node_name=(v1.MLString(value="www.example.com"),),
                date_time=DateTime("2001-09-13T18:11:21+02:00"),
                node_role=(v1.NodeRole(category="www", value="shop"),),
            )
        )
    )
    found = the_system(made.document)
    (domain,) = found.node.domain_data
    assert (domain.name, domain.date_domain_was_checked) == ("www.example.com", "2001-09-13T18:11:21+02:00")
    assert (domain.system_status, domain.domain_status) == ("unknown", "unknown")
    assert (found.node_role[0].category, found.node_role[0].description[0].value) == ("www", "shop")
    assert made.losses == ()
    assert [problem.path for problem in made.moves] == [
        "/Incident/Assessment/Impact/@type",
        "/Incident/EventData/Flow/System/Node/NodeRole",
        "/Incident/EventData/Flow/System/Node/NodeName",
    ]


def test_what_is_lost_is_said_with_its_place() -> None:
    nodes = {
        "address": (v1.Address(category="ipv4-addr", value="192.0.2.7", vlan_num="blue", vlan_name="lab"),),
        "date_time": DateTime("2001-09-13T18:11:21+02:00"),
    }
    named = {"node_name": (v1.MLString(value="a.example", lang=Language("de")),)}
    made = upgrade(events(system(**nodes), system("target", **named)))
    assert sorted(problem.path for problem in made.losses) == [
        "/Incident/EventData/Flow/System[1]/Node/Address/@vlan-num",
        "/Incident/EventData/Flow/System[1]/Node/DateTime",
        "/Incident/EventData/Flow/System[2]/Node/NodeName/@lang",
    ]
    assert the_system(made.document).node.address[0].vlan_name == "lab"


def test_counters_say_their_unit() -> None:
    rate = v1.Counter(type="packet", value=Decimal("12.5"), duration="second")
    made = the_system(
        upgrade(
            events(
                system(
                    address=(v1.Address(category="ipv6-net-mask", value="2001:db8::/ffff::"),),
                    counter=(v1.Counter(type="ext-value", ext_type="xmpp-presence", value=Decimal(123)), rate),
                )
            )
        ).document
    )
    first, second = made.node.counter
    assert (first.type, first.unit, first.ext_unit, first.value) == ("count", "ext-value", "xmpp-presence", 123)
    assert (second.type, second.unit, second.duration) == ("average", "packet", "second")
    assert (made.node.address[0].category, made.node.address[0].ext_category) == ("ext-value", "ipv6-net-mask")


def test_addresses_of_people() -> None:
    contact = v1.Contact(
        role="irt", type="person", contact_name=v1.MLString(value="Ann"),
        postal_address=v1.PostalAddress(value="1 Road", meaning="office"), email=(v1.Email(value="a@b.c"),),
        telephone=(v1.Phone(value="+1", meaning="day"),), fax=v1.Phone(value="+2"),
    )  # fmt: skip
    (made,) = upgrade(an_incident(contact=(contact,))).document.incident[0].contact
    assert made.contact_name[0].value == "Ann"
    assert (made.postal_address[0].p_address.value, made.postal_address[0].description[0].value) == (
        "1 Road",
        "office",
    )
    assert [(each.type, each.telephone_number) for each in made.telephone] == [(None, "+1"), ("fax", "+2")]
    assert made.telephone[0].description[0].value == "day"


def test_software_and_references_are_said_in_words() -> None:
    services = (
        v1.Service(
            ip_protocol=6, port=80, proto_flags=2,
            application=(v1.Software(vendor="Acme", name="httpd", version="1.3", swid="s1"), v1.Software(name="cgi")),
        ),
    )  # fmt: skip
    method = v1.Method(reference=(v1.Reference(reference_name=v1.MLString(value="CVE-2001-1"), url=()),))
    made = upgrade(
        an_incident(
            method=(method,), event_data=(v1.EventData(flow=(v1.Flow(system=(system("target", services),)),)),)
        )
    )
    (service,) = the_system(made.document).service
    assert service.application is not None
    assert [each.value for each in service.application.description] == ["Acme httpd 1.3 (swid s1)", "cgi"]
    assert (service.port, service.proto_field, service.ip_protocol) == (80, 2, 6)
    assert made.document.incident[0].method[0].reference[0].description[0].value == "CVE-2001-1"


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (events(system(services=(v1.Service(ip_protocol=256, port=80),))), "protocol from 0 to 255"),
        (
            events(
                *(
                    system(side, (v1.Service(ip_protocol=6, portlist=PortList("1,2")),))
                    for side in ("source", "source", "target")
                )
            ),
            "one source and one target",
        ),
    ],
)
def test_what_cannot_be_said_is_refused_with_the_reason(wrong: v1.Incident, reason: str) -> None:
    with pytest.raises(Invalid, match="cannot be said in IODEF 2") as refused:
        upgrade(wrong)
    assert reason in str(refused.value)


def test_depth_is_limited() -> None:
    event = v1.EventData(description=(v1.MLString(value="x"),))
    for _ in range(1000):
        event = v1.EventData(event_data=(event,))
    with pytest.raises(Invalid, match=f"more than {DEEPEST} deep"):
        upgrade(an_incident(event_data=(event,)))


def texts(value: object) -> Iterator[str]:
    """All that an instance says, apart from enumerations."""
    if isinstance(value, Class):
        silent = isinstance(value, v1.Impact | v1.NodeRole) and not value.value.strip()
        skipped = {"foreign", "order", "dtype", *(["lang"] if silent else [])}  # the language of nothing
        for name in value._names:
            if name not in skipped:
                yield from texts(getattr(value, name))
    elif isinstance(value, tuple):
        for each in value:
            yield from texts(each)
    elif isinstance(value, str) and value.strip():
        yield value


@pytest.mark.parametrize("seed", range(60))
def test_by_chance(seed: int) -> None:
    document = iodef.load(generator.written(generator.by_chance(v1.Document, random.Random(seed), 150)))
    assert isinstance(document, v1.Document)
    for each in document.incident:
        made = upgrade(each)
        iodef.check(iodef.dump(made.document))
        said = "\0".join(texts(made.document))
        missing = [text for text in texts(each) if text not in said]
        kept = {"binary"}  # an offset's unit, which has another name now
        assert len([text for text in missing if text not in kept]) <= len(made.losses), missing


def test_what_the_examples_of_xep_0268_are_can_be_said() -> None:
    payload = b"""<report xmlns='urn:xmpp:incident:2'><Incident xmlns='urn:ietf:params:xml:ns:iodef-1.0'
      purpose='reporting'><IncidentID name='jabber.test'>4BF5</IncidentID>
      <ReportTime>2009-04-13T19:31:07Z</ReportTime>
      <Contact role='admin' type='person'><AdditionalData><jid xmlns='urn:xmpp:jid:0'>a@jabber.test</jid>
      </AdditionalData></Contact>
      <Assessment><Impact lang='en' severity='medium' completion='succeeded' type='dos'/></Assessment>
      <EventData><Flow><System category='source'><Node><Address category='ext-category' ext-category='xmpp'
      >abuser@clueless.test</Address><Counter type='ext-type' ext-type='xmpp-presence'>123</Counter></Node></System>
      </Flow><Expectation action='block-host'/></EventData></Incident></report>"""
    report = incident.parse(payload)
    assert isinstance(report, incident.Report)
    made = upgrade(report.incident)
    found = the_system(made.document)
    assert (found.node.address[0].ext_category, found.node.address[0].value) == ("xmpp", "abuser@clueless.test")
    assert b"abuser@clueless.test" in iodef.dump(made.document)
    assert made.losses == ()
