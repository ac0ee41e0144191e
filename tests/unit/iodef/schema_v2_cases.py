"""Fragments of IODEF 2.0, class by class: what RFC 7970 allows and, next to it, what it does not.

Each class is a global element of the schema, so that a fragment can stand alone. `iodef`, `enum`, `sci` and `ds` are
declared around it; a name without prefix is of IODEF.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple


class Case(NamedTuple):
    """Fragments of one section: `good` are valid, `bad` are not."""

    section: str
    good: tuple[str, ...]
    bad: tuple[str, ...]


TEXT = "<Description>d</Description>"
MORE = '<AdditionalData dtype="string">x</AdditionalData>'
URL = "<URL>https://a.example/</URL>"
ID = '<IncidentID name="a.example">1</IncidentID>'
TIME = "<GenerationTime>2026-11-20T19:05:00Z</GenerationTime>"
CONTACT = '<Contact role="creator" type="person"><ContactName>n</ContactName></Contact>'
APPLICATION = f"<Application>{TEXT}</Application>"
ADDRESS = '<Address category="ipv4-addr">192.0.2.1</Address>'
DOMAIN = '<DomainData system-status="unknown" domain-status="other"><Name>a.example</Name></DomainData>'
SYSTEM = f"<System><Node>{ADDRESS}</Node></System>"
DIGEST = '<ds:DigestMethod Algorithm="urn:x"/><ds:DigestValue>AQ==</ds:DigestValue>'
HASH = f"<Hash>{DIGEST}</Hash>"
FUZZY = '<FuzzyHash><FuzzyHashValue dtype="string">f</FuzzyHashValue></FuzzyHash>'
INDICATOR_ID = '<IndicatorID name="a.example" version="1">i1</IndicatorID>'
REFERENCE = '<IndicatorReference euid-ref="e"/>'
WHEN = "<DateTime>2026-11-20T19:05:00Z</DateTime>"


def _incident(inner: str = ID + TIME + CONTACT, attributes: str = 'purpose="reporting"') -> str:
    return f"<Incident {attributes}>{inner}</Incident>"


def _document(inner: str, attributes: str = 'version="2.00"') -> str:
    return f"<IODEF-Document {attributes}>{inner}</IODEF-Document>"


_INCIDENT = _incident()

OF_SECTION_2 = (
    Case(
        "2.1",
        ('<Port>80</Port>', '<FileSize> 0 </FileSize>'),
        ('<Port>eighty</Port>', '<FileSize>1.5</FileSize>', '<Port/>'),
    ),
    Case(
        "2.2",
        ('<Counter type="count" unit="host">-1.5e3</Counter>', '<Counter type="count" unit="host">0</Counter>'),
        ('<Counter type="count" unit="host">many</Counter>', '<Counter type="count" unit="host">1e</Counter>'),
    ),
    Case(
        "2.4",
        ('<Description xml:lang="de-DE" translation-id="1">d</Description>',
         '<Description xml:lang="">d</Description>'),
        ('<Description xml:lang="12">d</Description>', '<Description lang="de">d</Description>',
         '<Description><b>d</b></Description>'),
    ),
    Case(
        "2.7",
        ("<StartTime>2026-11-20T19:05:00.5-05:00</StartTime>", "<StartTime>2024-02-29T00:00:00</StartTime>"),
        ("<StartTime>2026-11-20</StartTime>", "<StartTime>2026-13-20T00:00:00Z</StartTime>",
         "<StartTime>2026-02-29T00:00:00Z</StartTime>", "<StartTime/>"),
    ),
    Case(
        "2.8",
        ("<Timezone>Z</Timezone>", "<Timezone>+14:59</Timezone>", "<Timezone>-00:00</Timezone>"),
        ("<Timezone>+15:00</Timezone>", "<Timezone>01:00</Timezone>", "<Timezone>+1:00</Timezone>",
         "<Timezone>EST</Timezone>", "<Timezone>+01:60</Timezone>", "<Timezone> Z</Timezone>"),
    ),
    Case(
        "2.9",
        ("<Portlist>2,5-15,30,32,40-50,55-60</Portlist>", "<Portlist>80</Portlist>"),
        ("<Portlist/>", "<Portlist>80,</Portlist>", "<Portlist>80, 81</Portlist>", "<Portlist>-80</Portlist>",
         "<Portlist>1-2-3</Portlist>", "<Portlist>http</Portlist>"),
    ),
    Case(
        "2.15",
        (APPLICATION, f"<Application>{URL}{URL}{TEXT}</Application>"),
        ("<Application/>", f"<Application>{TEXT}{URL}</Application>", "<Application>name</Application>",
         '<Application><SoftwareReference spec-name="cpe"/><SoftwareReference spec-name="cpe"/></Application>'),
    ),
    Case(
        "2.15.1",
        ('<SoftwareReference spec-name="custom" dtype="real">1</SoftwareReference>',
         '<SoftwareReference spec-name="swid" dtype="xml"><x xmlns="urn:x"/></SoftwareReference>'),
        ("<SoftwareReference/>", '<SoftwareReference spec-name="rpm"/>',
         '<SoftwareReference spec-name="cpe" dtype="boolean"/>'),
    ),
    Case(
        "2.16",
        (MORE, '<AdditionalData dtype="xml"><x xmlns="urn:x">t</x><y xmlns="urn:y"/></AdditionalData>',
         f'<AdditionalData dtype="xml">{ID}</AdditionalData>'),
        ("<AdditionalData>x</AdditionalData>", '<AdditionalData dtype="text">x</AdditionalData>',
         '<AdditionalData dtype="string" format-id="x"/>', '<AdditionalData dtype="string" restriction="secret"/>',
         '<AdditionalData dtype="xml"><IncidentID>1</IncidentID></AdditionalData>'),
    ),
)  # fmt: skip

OF_DOCUMENT = (
    Case(
        "3.1",
        (_document(_INCIDENT), _document(_INCIDENT * 2 + MORE, 'version="2.00" format-id="f" private-enum-name="n"')),
        (_document(""), _document(MORE), _document(MORE + _INCIDENT), _document(_INCIDENT, ""),
         _document(_INCIDENT, 'version="2.0"'), _document(_INCIDENT, 'version="1.00"'),
         _document(_INCIDENT, 'version="2.00" lang="en"'), _document("text" + _INCIDENT)),
    ),
    Case(
        "3.2",
        (_INCIDENT, _incident(attributes='purpose="ext-value" ext-purpose="p" status="new" restriction="white"')),
        (_incident(attributes=""), _incident(attributes='purpose="handling"'),
         _incident(attributes='purpose="other" status="closed"'), _incident(ID + CONTACT), _incident(TIME + CONTACT),
         _incident(ID + TIME), _incident(ID + ID + TIME + CONTACT), _incident(TIME + ID + CONTACT),
         _incident(ID + TIME + TIME + CONTACT), _incident(ID + TIME + CONTACT + TEXT),
         _incident(ID + TIME + CONTACT + "<History/>"), _incident(attributes='purpose="other" observable-id="1"'),
         _incident(ID + "<EndTime>2026-11-20T19:05:00Z</EndTime><StartTime>2026-11-20T19:05:00Z</StartTime>" + TIME
                   + CONTACT)),
    ),
    Case("3.3.1", ('<History restriction="need-to-know"><HistoryItem action="other">' + WHEN
                   + '</HistoryItem></History>',),
         ('<History restriction="amber+strict"><HistoryItem action="other">' + WHEN + "</HistoryItem></History>",)),
    Case("3.4", (ID, '<IncidentID name="a" instance="i" restriction="red">1</IncidentID>'),
         ("<IncidentID>1</IncidentID>", '<IncidentID name="a"><x/></IncidentID>',
          '<IncidentID name="a" version="1">1</IncidentID>')),
    Case("3.5", (f"<AlternativeID>{ID}{ID}</AlternativeID>",),
         ("<AlternativeID/>", f"<AlternativeID>{ID}{TEXT}</AlternativeID>")),
    Case(
        "3.6",
        tuple(f"<RelatedActivity>{c}</RelatedActivity>" for c in (
            ID, URL, "<ThreatActor><ThreatActorID>t</ThreatActorID></ThreatActor>",
            "<Campaign><CampaignID>c</CampaignID></Campaign>", TEXT, MORE, INDICATOR_ID + TEXT,
            '<Confidence rating="low"/>' + MORE, INDICATOR_ID + '<Confidence rating="low"/>' + TEXT,
            ID + INDICATOR_ID + '<Confidence rating="low"/>')),
        tuple(f"<RelatedActivity>{c}</RelatedActivity>" for c in (
            "", INDICATOR_ID, '<Confidence rating="low"/>', INDICATOR_ID + '<Confidence rating="low"/>', URL + ID,
            TEXT + INDICATOR_ID, ID + '<Confidence rating="low"/>' * 2)),
    ),
    Case("3.7", tuple(f"<ThreatActor>{c}</ThreatActor>" for c in ("<ThreatActorID>t</ThreatActorID>",
         URL, TEXT, MORE)),
         ("<ThreatActor/>", f"<ThreatActor>{TEXT}{URL}</ThreatActor>")),
    Case("3.8", tuple(f"<Campaign>{c}</Campaign>" for c in ("<CampaignID>c</CampaignID>", URL, TEXT, MORE)),
         ("<Campaign/>", f"<Campaign>{MORE}{TEXT}</Campaign>")),
)  # fmt: skip


def _contact(inner: str, attributes: str = 'role="tech" type="person"') -> str:
    return f"<Contact {attributes}>{inner}</Contact>"


_CONTACTS = (
    "<ContactName>n</ContactName>", "<ContactTitle>t</ContactTitle>", TEXT,
    '<RegistryHandle registry="ripe">r</RegistryHandle>', "<PostalAddress><PAddress>p</PAddress></PostalAddress>",
    "<Email><EmailTo>a@b</EmailTo></Email>", "<Telephone><TelephoneNumber>1</TelephoneNumber></Telephone>",
    "<Timezone>Z</Timezone>", CONTACT, MORE,
)  # fmt: skip

OF_CONTACT = (
    Case(
        "3.9",
        (*map(_contact, _CONTACTS), _contact("".join(_CONTACTS)), _contact(_CONTACTS[0] * 2 + _CONTACTS[8] * 2)),
        (_contact(""), _contact(TEXT, 'role="tech"'), _contact(TEXT, 'type="person"'),
         _contact(TEXT, 'role="boss" type="person"'), _contact(TEXT, 'role="tech" type="team"'),
         _contact("<Timezone>Z</Timezone>" * 2), _contact(TEXT + _CONTACTS[1]), _contact("".join(_CONTACTS[::-1]))),
    ),
    Case("3.9.1", ('<RegistryHandle registry="ext-value" ext-registry="x">h</RegistryHandle>',),
         ("<RegistryHandle>h</RegistryHandle>", '<RegistryHandle registry="iana">h</RegistryHandle>')),
    Case("3.9.2", (f'<PostalAddress type="street"><PAddress xml:lang="en">p</PAddress>{TEXT}</PostalAddress>',),
         ("<PostalAddress/>", "<PostalAddress>p</PostalAddress>", f"<PostalAddress>{TEXT}</PostalAddress>",
          "<PostalAddress><PAddress>p</PAddress><PAddress>p</PAddress></PostalAddress>",
          '<PostalAddress type="home"><PAddress>p</PAddress></PostalAddress>')),
    Case("3.9.3", (f'<Email type="direct"><EmailTo>a@b</EmailTo>{TEXT}</Email>',),
         ("<Email/>", "<Email>a@b</Email>", f"<Email>{TEXT}<EmailTo>a@b</EmailTo></Email>",
          '<Email type="mobile"><EmailTo>a@b</EmailTo></Email>',
          "<Email><EmailTo>a</EmailTo><EmailTo>b</EmailTo></Email>")),
    Case("3.9.4", (f'<Telephone type="fax"><TelephoneNumber>1</TelephoneNumber>{TEXT}</Telephone>',),
         ("<Telephone/>", '<Telephone type="direct"><TelephoneNumber>1</TelephoneNumber></Telephone>',
          f"<Telephone>{TEXT}</Telephone>")),
)  # fmt: skip

_RULE = "<DetectionConfiguration>c</DetectionConfiguration>"
_IMPACTS = (
    '<SystemImpact type="policy"/>', '<BusinessImpact type="legal"/>', '<TimeImpact metric="labor">1</TimeImpact>',
    "<MonetaryImpact>1</MonetaryImpact>", '<IntendedImpact type="extortion"/>',
)  # fmt: skip
_LOW = '<Confidence rating="low"/>'
_NUMBERED = '<enum:ReferenceName specIndex="1"><enum:ID>CVE-1</enum:ID></enum:ReferenceName>'

OF_METHOD = (
    Case("3.10", ("<Discovery/>", f'<Discovery source="siem">{TEXT}{CONTACT}</Discovery>'),
         ('<Discovery source="luck"/>', f"<Discovery>{CONTACT}{TEXT}</Discovery>")),
    Case(
        "3.10.1",
        tuple(f"<DetectionPattern>{APPLICATION}{c}</DetectionPattern>" for c in (TEXT, _RULE, TEXT + _RULE + _RULE)),
        (f"<DetectionPattern>{APPLICATION}</DetectionPattern>", f"<DetectionPattern>{TEXT}</DetectionPattern>",
         f"<DetectionPattern>{APPLICATION}{_RULE}{TEXT}</DetectionPattern>",
         f"<DetectionPattern>{APPLICATION * 2}{TEXT}</DetectionPattern>"),
    ),
    Case(
        "3.11",
        tuple(f"<Method>{c}</Method>" for c in (
            f"<Reference>{URL}</Reference>", TEXT, '<sci:AttackPattern SpecID="private"/>',
            '<sci:Vulnerability SpecID="private"/>', '<sci:Weakness SpecID="private"/>', MORE)),
        ("<Method/>", f"<Method>{MORE}{TEXT}</Method>", "<Method><sci:AttackPattern/></Method>",
         '<Method><sci:Weakness SpecID="private"/><sci:Vulnerability SpecID="private"/></Method>',
         '<Method><AttackPattern SpecID="private"/></Method>'),
    ),
    Case(
        "3.11.1",
        tuple(f"<Reference>{c}</Reference>" for c in (_NUMBERED, URL, TEXT, _NUMBERED + URL + URL + TEXT)),
        ("<Reference/>", f"<Reference>{_NUMBERED * 2}</Reference>", f"<Reference>{TEXT}{URL}</Reference>",
         f'<Reference restriction="public">{URL}</Reference>', f'<Reference observable-id="a b">{URL}</Reference>',
         "<Reference><enum:ReferenceName><enum:ID>CVE-1</enum:ID></enum:ReferenceName></Reference>",
         '<Reference><enum:ReferenceName specIndex="x"><enum:ID>CVE-1</enum:ID></enum:ReferenceName></Reference>',
         '<Reference><enum:ReferenceName specIndex="1"/></Reference>'),
    ),
    Case(
        "3.12",
        (*(f"<Assessment>{c}</Assessment>" for c in _IMPACTS), f"<Assessment>{''.join(_IMPACTS)}</Assessment>",
         f"<Assessment><IncidentCategory>c</IncidentCategory>{_IMPACTS[0]}<Cause>c</Cause></Assessment>"),
        ("<Assessment/>", f"<Assessment>{MORE}</Assessment>",
         "<Assessment><IncidentCategory>c</IncidentCategory></Assessment>",
         f"<Assessment>{_IMPACTS[0]}<IncidentCategory>c</IncidentCategory></Assessment>",
         f"<Assessment>{_IMPACTS[0]}<Cause>c</Cause>{_IMPACTS[1]}</Assessment>",
         f'<Assessment occurrence="ext-value">{_IMPACTS[0]}</Assessment>',
         f"<Assessment>{_IMPACTS[0]}{_LOW * 2}</Assessment>"),
    ),
    Case("3.12.1",
         (f'<SystemImpact type="ext-value" ext-type="x" severity="low" completion="failed">{TEXT}</SystemImpact>',),
         ("<SystemImpact/>", '<SystemImpact type="extortion"/>', '<SystemImpact type="policy" severity="none"/>',
          '<SystemImpact type="policy" completion="ext-value"/>', '<SystemImpact type="policy" ext-severity="x"/>',
          '<SystemImpact type="policy">text</SystemImpact>')),
    Case("3.12.2", ('<BusinessImpact type="unknown" severity="ext-value" ext-severity="x"/>',
                    f'<IntendedImpact type="theft-service" severity="none">{TEXT}</IntendedImpact>'),
         ("<BusinessImpact/>", '<BusinessImpact type="policy"/>',
          '<BusinessImpact type="legal" completion="failed"/>',
          "<IntendedImpact/>", '<IntendedImpact type="legal" severity="extreme"/>')),
    Case("3.12.3", ('<TimeImpact metric="elapsed" duration="quarter" severity="high">0.5</TimeImpact>',),
         ("<TimeImpact>1</TimeImpact>", '<TimeImpact metric="labor"/>', '<TimeImpact metric="labor">0</TimeImpact>',
          '<TimeImpact metric="labor" duration="week">1</TimeImpact>', '<TimeImpact metric="speed">1</TimeImpact>',
          '<TimeImpact metric="labor" severity="unknown">1</TimeImpact>',
          '<TimeImpact metric="labor">-1</TimeImpact>')),
    Case("3.12.4", ('<MonetaryImpact currency="EUR" severity="low">10000.00</MonetaryImpact>',),
         ("<MonetaryImpact/>", "<MonetaryImpact>1 EUR</MonetaryImpact>", "<MonetaryImpact>-1</MonetaryImpact>",
          '<MonetaryImpact severity="none">1</MonetaryImpact>', '<MonetaryImpact duration="day">1</MonetaryImpact>')),
    Case("3.12.5", ('<Confidence rating="high"/>', '<Confidence rating="numeric">0.75</Confidence>',
                    '<Confidence rating="ext-value" ext-rating="x"/>'),
         ("<Confidence/>", '<Confidence rating="certain"/>', '<Confidence rating="numeric">much</Confidence>',
          f'<Confidence rating="low">{TEXT}</Confidence>')),
)  # fmt: skip


def _event(inner: str) -> str:
    return f"<EventData>{inner}</EventData>"


_EVENTS = (
    TEXT, *(f"<{name}>2026-11-20T19:05:00Z</{name}>" for name in (
        "DetectTime", "StartTime", "EndTime", "RecoveryTime", "ReportTime")),
    CONTACT, "<Discovery/>", f"<Assessment>{_IMPACTS[0]}</Assessment>", f"<Method>{TEXT}</Method>",
    f"<Flow>{SYSTEM}</Flow>", "<Expectation/>", f"<Record><RecordData>{URL}</RecordData></Record>", _event(TEXT),
    MORE,
)  # fmt: skip
_ONCE = (1, 2, 3, 4, 5, 8, 12)
"""Of the children of EventData those that may be there once only."""


def _item(inner: str, attributes: str = 'action="other"') -> str:
    return f"<HistoryItem {attributes}>{inner}</HistoryItem>"


_COA = "<DefinedCOA>c</DefinedCOA>"

OF_EVENT = (
    Case("3.13", (f"<History>{_item(WHEN) * 2}</History>",), ("<History/>", f"<History>{TEXT}</History>")),
    Case(
        "3.13.1",
        (_item(WHEN), _item(WHEN + ID + CONTACT + TEXT * 2 + _COA * 2 + MORE, 'action="defined-coa"')),
        (_item(WHEN, ""), _item(""), _item(ID + WHEN), _item(WHEN * 2), _item(WHEN + ID * 2),
         _item(WHEN + CONTACT * 2),
         _item(WHEN + _COA + TEXT), _item(WHEN, 'action="panic"')),
    ),
    Case(
        "3.14",
        (*map(_event, _EVENTS), _event("".join(_EVENTS)),
         *(_event(part * 2) for at, part in enumerate(_EVENTS) if at not in _ONCE)),
        (_event(""), *(_event(_EVENTS[at] * 2) for at in _ONCE),
         *(_event(late + early) for early, late in pairwise(_EVENTS)),
         '<EventData purpose="other">' + TEXT + "</EventData>"),
    ),
    Case(
        "3.15",
        ("<Expectation/>",
         f'<Expectation action="defined-coa" severity="low">{TEXT}{_COA}{_EVENTS[2]}{_EVENTS[3]}{CONTACT}'
         "</Expectation>"),
        ('<Expectation action="none"/>', '<Expectation severity="unknown"/>',
         f"<Expectation>{_COA}{TEXT}</Expectation>",
         f"<Expectation>{_EVENTS[3]}{_EVENTS[2]}</Expectation>", f"<Expectation>{CONTACT * 2}</Expectation>",
         f"<Expectation>{MORE}</Expectation>"),
    ),
    Case("3.16", (f"<Flow>{SYSTEM * 2}</Flow>",),
         ("<Flow/>", f'<Flow restriction="public">{SYSTEM}</Flow>', f'<Flow observable-id="f">{SYSTEM}</Flow>')),
)  # fmt: skip
