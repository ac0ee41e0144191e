"""XEP-0268: the four payloads there and back, what its examples do differently, and what is refused."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest
from lxml import etree

from component.base.jid import JidError
from grid.iodef import Invalid, v1, xmpp
from grid.iodef.attributes import extract
from grid.iodef.incident import (
    KINDS,
    NAMESPACE,
    Inquiry,
    Mention,
    Report,
    Request,
    Response,
    dump,
    parse,
    refusal,
    write,
)
from grid.iodef.names import V1, V2
from grid.iodef.types import DateTime, Foreign

NUMBER = v1.IncidentID(name="xmpp.example.org", value="2026-17")
SOURCE = v1.System(
    category="source",
    node=v1.Node(address=(xmpp.address("spam@rogue.example"),), node_role=(xmpp.node_role("xmpp"),)),
)
INCIDENT = v1.Incident(
    purpose="mitigation",
    incident_id=NUMBER,
    report_time=DateTime("2026-11-21T09:30:00Z"),
    description=(v1.MLString(value='Spam in rooms: "buy" <now> & here\n', lang=None),),
    assessment=(v1.Assessment(impact=(v1.Impact(type="dos", severity="medium"),)),),
    contact=(
        v1.Contact(role="admin", type="person", additional_data=(xmpp.jid_data("admin@xmpp.example.org"),)),
        xmpp.chatroom("operators@rooms.example.org"),
    ),
    event_data=(
        v1.EventData(
            flow=(v1.Flow(system=(SOURCE,)),),
            expectation=(v1.Expectation(action="block-host"),),
        ),
    ),
)
EXCHANGES = [
    Report(INCIDENT),
    Report(INCIDENT, "resolved"),
    Inquiry(INCIDENT),
    Inquiry(Mention(NUMBER)),
    Inquiry(Mention(NUMBER, "ext-value", 'say "what"')),
    Request(INCIDENT),
    Response(INCIDENT),
]


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda each: type(each).__name__)
def test_there_and_back(exchange: Any) -> None:
    octets = dump(exchange)
    assert parse(octets) == parse(octets, strict=True) == exchange
    assert parse(write(exchange)) == exchange
    # as XMPP libraries hold it, with prefixes that they choose
    element = ET.fromstring(octets)
    assert parse(element) == exchange
    assert parse(ET.tostring(element)) == exchange
    inside_of_iq = etree.fromstring(b"<iq>" + octets + b"tail</iq>")[0]
    assert parse(inside_of_iq) == exchange


def test_each_kind_knows_its_iq() -> None:
    assert {kind.element: kind.iq_type for kind in KINDS.values()} == {
        "report": "set", "inquiry": "get", "request": "get", "response": "set",
    }  # fmt: skip


def test_what_is_carried_can_be_filtered() -> None:
    (one,) = extract(write(Report(INCIDENT))[0])
    assert (one.authority, one.addresses) == ("xmpp.example.org", (("xmpp", "spam@rogue.example"),))


def test_jids_are_prepared_and_found() -> None:
    assert xmpp.jids(xmpp.chatroom("Ops@Rooms.Example")) == ("ops@rooms.example",)
    assert xmpp.address("A@B.example/C").value == "a@b.example/C"
    for make in (xmpp.jid_data, xmpp.address, xmpp.chatroom):
        with pytest.raises(JidError):
            make("@")


AS_IN_THE_EXAMPLES = f"""<request xmlns='{NAMESPACE}'>
  <Incident xmlns='{V1}' purpose='mitigation'>
    <IncidentID name='a.example'>1</IncidentID>
    <StartTime>2026-11-21T09:05:00Z</StartTime>
    <ReportTime>2026-11-21T09:31:00Z</ReportTime>
    <Description xml:lang='en'>Spam</Description>
    <Contact role='admin' type='person'>
      <AdditionalData><jid xmlns='{NAMESPACE}'>x@a.example</jid></AdditionalData>
    </Contact>
    <Contact role='ext-type' ext-type='chatroom'>
      <AdditionalData><jid xmlns='urn:xmpp:jid:0'>ops@rooms.example</jid></AdditionalData>
    </Contact>
    <Contact role='irt'><ContactName>b</ContactName></Contact>
    <RelatedActivity><IncidentID name='b.example'>2</IncidentID></RelatedActivity>
    <Assessment><Impact lang='en' severity='medium' completion='succeeded' type='dos'/></Assessment>
    <EventData>
      <Flow>
        <System category='source'>
          <Node>
            <Address category='ext-category' ext-category='xmpp'>one@rogue.example</Address>
            <Counter type='ext-type' ext-type='xmpp-presence'>12</Counter>
          </Node>
          <Node><Address category='ext-category' ext-category='xmpp'>two@rogue.example</Address></Node>
          <Node><Address category='ext-category' ext-category='xmpp'>three@rogue.example</Address></Node>
          <Description>all alike</Description>
        </System>
        <System category='target'>
          <Node>
            <Address category='ext-category' ext-category='xmpp'>room@rooms.example</Address>
            <NodeRole category='ext-category' ext-category='xmpp-muc'/>
          </Node>
        </System>
      </Flow>
      <Expectation action='block-host'/>
    </EventData>
    <History>
      <HistoryItem action='blockquote'><DateTime>2026-11-21T09:47:00Z</DateTime></HistoryItem>
    </History>
  </Incident>
</request>""".encode()


def test_the_ways_of_its_examples_are_understood() -> None:
    got = parse(AS_IN_THE_EXAMPLES)
    assert isinstance(got, Request)
    incident = got.incident
    assert [(each.role, each.ext_role, each.type) for each in incident.contact] == [
        ("admin", None, "person"), ("ext-value", "chatroom", "ext-value"), ("irt", None, "organization"),
    ]  # fmt: skip
    assert [xmpp.jids(each) for each in incident.contact] == [("x@a.example",), ("ops@rooms.example",), ()]
    assert incident.description[0].lang == "en"
    systems = incident.event_data[0].flow[0].system
    assert [(each.category, each.node.address[0].value) for each in systems] == [
        ("source", "one@rogue.example"), ("source", "two@rogue.example"), ("source", "three@rogue.example"),
        ("target", "room@rooms.example"),
    ]  # fmt: skip
    assert [each.description[0].value for each in systems[:3]] == ["all alike"] * 3
    assert {each.node.address[0].ext_category for each in systems} == {"xmpp"}
    assert systems[0].node.counter[0].ext_type == "xmpp-presence"
    assert systems[3].node.node_role == (xmpp.node_role("xmpp-muc"),)
    assert incident.history is not None
    (item,) = incident.history.history_item
    assert (item.action, item.ext_action) == ("ext-value", "blockquote")
    assert parse(dump(got), strict=True) == got


def test_unless_asked_not_to() -> None:
    with pytest.raises(Invalid) as caught:
        parse(AS_IN_THE_EXAMPLES, strict=True)
    assert len(caught.value.problems) > 5


def test_what_mending_does_not_make_valid_is_told_as_it_was() -> None:
    with pytest.raises(Invalid) as caught:
        parse(AS_IN_THE_EXAMPLES.replace(b"2026-11-21T09:31:00Z", b"yesterday"))
    paths = {problem.path: problem.line for problem in caught.value.problems}
    assert paths["/request/Incident/ReportTime"] == 5


def test_mending_does_not_make_a_payload_grow() -> None:
    words = b"<Description>" + b"x" * 20_000 + b"</Description>"
    many = AS_IN_THE_EXAMPLES.replace(b"<Description>all alike</Description>", words)
    node = b"<Node><Address category='mac'>00:00:5e:00:53:01</Address></Node>"
    with pytest.raises(Invalid, match="Node"):
        parse(many.replace(words, node * 100 + words))
    assert isinstance(parse(many.replace(words, node * 10 + words)), Request)


def carrying(inside: str, attributes: str = "", name: str = "report") -> bytes:
    return f"<{name} xmlns='{NAMESPACE}'{attributes}>{inside}</{name}>".encode()


GOOD = dump(Report(INCIDENT)).decode().partition(">")[2].removesuffix("</report>")
MENTION = f"<Incident xmlns='{V1}' purpose='traceback'><IncidentID name='a.example'>1</IncidentID></Incident>"


@pytest.mark.parametrize(
    ("payload", "path", "says"),
    [
        (b"<report/>", "/report", "found report of no namespace; expected one of report, inquiry, request, response"),
        (b"<report xmlns='urn:xmpp:incident:1'/>", "/report", "found report of the namespace urn:xmpp:incident:1"),
        (carrying("", name="alarm"), "/alarm", "found alarm of the namespace urn:xmpp:incident:2"),
        (carrying(""), "/report", "found nothing; expected an Incident"),
        (carrying(GOOD + GOOD), "/report/Incident[2]", "found a second Incident"),
        (carrying(f"<x/>{GOOD}"), "/report/x", "found x of the namespace"),
        (carrying(f"text{GOOD}"), "/report", "found text"),
        (carrying(f"{GOOD}text"), "/report", "found text"),
        (carrying(GOOD, " status='old'"), "/report/@status", "found 'old'; expected one of: new, updated, resolved"),
        (carrying(GOOD, " status='new'", "request"), "/request/@status", "found the attribute status; expected none"),
        (carrying(GOOD.replace(V1, V2)), "/report/Incident", f"found Incident of the namespace {V2}; expected"),
        (
            carrying(f"<IODEF-Document xmlns='{V1}'>{GOOD}</IODEF-Document>"),
            "/report/IODEF-Document",
            "found IODEF-D",
        ),
        (carrying(MENTION), "/report/Incident", "Incident"),
        (carrying(MENTION.replace("traceback", "hunt"), name="inquiry"), "/inquiry/Incident/@purpose", "'hunt'"),
        (carrying(MENTION.replace("<Inc", "a<Inc"), name="inquiry"), "/inquiry", "found text"),
        (carrying(GOOD.replace("spam@rogue.example", "@")), "Address", "found '@'; expected a JID"),
        (carrying(GOOD.replace("admin@xmpp", "a@b@")), "AdditionalData/jid", "expected a JID"),
        (b"<report", "", "not well-formed"),
        (b"<!DOCTYPE report><report/>", "", "DOCTYPE"),
    ],
)
def test_what_is_refused(payload: bytes, path: str, says: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(payload)
    assert any(each.path.endswith(path) and says in each.message for each in caught.value.problems), (
        caught.value.problems
    )


def test_the_stanza_error_says_why() -> None:
    for payload, expected in (
        (carrying(""), ("modify", "bad-request")),
        (carrying(MENTION), ("modify", "bad-request")),
        (carrying("", name="alarm"), ("cancel", "service-unavailable")),
    ):
        with pytest.raises(Invalid) as caught:
            parse(payload)
        answer = refusal(caught.value)
        assert (answer.type, answer.condition) == expected
        assert answer.text == str(caught.value.problems[0])


def test_nothing_invalid_is_sent() -> None:
    for broken in (
        v1.Incident(purpose="reporting", incident_id=NUMBER, report_time=DateTime("x"), assessment=(), contact=()),
        v1.Incident(
            purpose="reporting",
            incident_id=NUMBER,
            report_time=INCIDENT.report_time,
            description=(v1.MLString(value="\0"),),
            assessment=INCIDENT.assessment,
            contact=INCIDENT.contact,
        ),
    ):
        with pytest.raises(Invalid):
            dump(Report(broken))
    with pytest.raises(Invalid):
        dump(Inquiry(Mention(NUMBER, "hunt")))
    with pytest.raises(Invalid):
        dump(Report(INCIDENT, "old"))  # type: ignore[arg-type]


def test_extensions_keep_their_meaning_under_any_prefix() -> None:
    foreign = etree.fromstring('<x:a xmlns:x="urn:x" xmlns:y="urn:y" x:k="1" k="2" xml:lang="en"><b/>t<y:c/></x:a>')
    contact = v1.Contact(
        role="irt", type="person", additional_data=(v1.Extension(dtype="xml", content=(Foreign.of(foreign),)),)
    )
    incident = v1.Incident(
        purpose="other",
        incident_id=NUMBER,
        report_time=INCIDENT.report_time,
        assessment=INCIDENT.assessment,
        contact=(contact,),
    )
    got = parse(dump(Report(incident)))
    again = parse(ET.fromstring(dump(got)))
    assert again == got
    (part,) = again.incident.contact[0].additional_data[0].content  # type: ignore[union-attr]
    assert isinstance(part, Foreign)
    element = part.element
    assert (element.tag, dict(element.attrib)) == (
        "{urn:x}a", {"{urn:x}k": "1", "k": "2", "{http://www.w3.org/XML/1998/namespace}lang": "en"},
    )  # fmt: skip
    assert [(each.tag, each.tail) for each in element] == [("b", "t"), ("{urn:y}c", None)]
