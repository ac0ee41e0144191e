"""Fragments of IODEF 2.0, class by class: RFC 7970, sections 3.17 to 3.29.8. See schema_v2_cases."""

from __future__ import annotations

from itertools import pairwise

from tests.unit.iodef.schema_v2_cases import (
    ADDRESS,
    APPLICATION,
    CONTACT,
    DIGEST,
    DOMAIN,
    FUZZY,
    HASH,
    ID,
    INDICATOR_ID,
    MORE,
    REFERENCE,
    SYSTEM,
    TEXT,
    URL,
    WHEN,
    Case,
)

_NODE = f"<Node>{ADDRESS}</Node>"
_COUNTER = '<Counter type="count" unit="host">1</Counter>'
_PLACE = "<PostalAddress><PAddress>p</PAddress></PostalAddress>"
_ROOM = "<Location>l</Location>"


def _domain(inner: str, attributes: str = 'system-status="unknown" domain-status="revoked"') -> str:
    return f"<DomainData {attributes}>{inner}</DomainData>"


_NAME = "<Name>a.example</Name>"
_DATES = tuple(
    f"<{name}>2026-11-20T19:05:00Z</{name}>"
    for name in ("DateDomainWasChecked", "RegistrationDate", "ExpirationDate")
)
_SERVERS = f"<Nameservers><Server>s</Server>{ADDRESS}</Nameservers>"
_SAME = "<SameDomainContact>b.example</SameDomainContact>"

OF_SYSTEM = (
    Case(
        "3.17",
        (SYSTEM, '<System category="target" interface="i" spoofed="no" virtual="unknown" ownership="personal">'
         f'{_NODE}<NodeRole category="www"/><Service>{APPLICATION}</Service><OperatingSystem>{TEXT}</OperatingSystem>'
         f"{_COUNTER}<AssetID>a</AssetID>{TEXT}{MORE}</System>"),
        ("<System/>", f"<System>{TEXT}</System>", f"<System>{_NODE * 2}</System>",
         f'<System category="attacker">{_NODE}</System>', f'<System spoofed="ext-value">{_NODE}</System>',
         f'<System virtual="maybe">{_NODE}</System>', f'<System ownership="leased">{_NODE}</System>',
         f'<System ext-spoofed="x">{_NODE}</System>',
         f"<System>{_NODE}{_COUNTER}<NodeRole category='www'/></System>"),
    ),
    Case(
        "3.18",
        (_NODE, f"<Node>{DOMAIN}</Node>", f"<Node>{DOMAIN * 2}{ADDRESS * 2}{_PLACE}{_ROOM * 2}{_COUNTER * 2}</Node>"),
        ("<Node/>", f"<Node>{_PLACE}</Node>", f"<Node>{_ROOM}{_COUNTER}</Node>", f"<Node>{ADDRESS}{DOMAIN}</Node>",
         f"<Node>{ADDRESS}{_PLACE * 2}</Node>", f"<Node>{ADDRESS}{_ROOM}{_PLACE}</Node>",
         f"<Node>{ADDRESS}<PostalAddress>1 Main Street</PostalAddress></Node>",
         f'<Node restriction="public">{ADDRESS}</Node>'),
    ),
    Case("3.18.1", ('<Address category="ext-value" ext-category="x" vlan-name="v" vlan-num="7">a</Address>',),
         ("<Address>192.0.2.1</Address>", '<Address category="ipv6-net-mask">a</Address>',
          '<Address category="domain-name">a</Address>', '<Address category="mac" vlan-num="x">a</Address>',
          f'<Address category="mac">{TEXT}</Address>')),
    Case("3.18.2", (f'<NodeRole category="spear-phishing-site">{TEXT * 2}</NodeRole>',),
         ("<NodeRole/>", '<NodeRole category="anomyzation"/>', '<NodeRole category="www">text</NodeRole>')),
    Case("3.18.3", ('<Counter type="peak" unit="ext-value" ext-unit="x" meaning="m" duration="day">2</Counter>',),
         ('<Counter type="count">1</Counter>', '<Counter unit="host">1</Counter>',
          '<Counter type="byte" unit="host">1</Counter>', '<Counter type="count" unit="kilobyte">1</Counter>',
          '<Counter type="count" unit="host"/>', '<Counter type="count" unit="host" duration="week">1</Counter>')),
    Case(
        "3.19",
        (DOMAIN, _domain(_NAME + "".join(_DATES) + '<RelatedDNS dtype="string">r</RelatedDNS>' * 2 + _SERVERS * 2
                         + f"<DomainContacts>{_SAME}</DomainContacts>")),
        (_domain(""), _domain(_NAME * 2), _domain(_DATES[0] + _NAME), *(_domain(_NAME + date * 2) for date in _DATES),
         _domain(_NAME, 'system-status="unknown"'), _domain(_NAME, 'domain-status="unknown"'),
         _domain(_NAME, 'system-status="hacked" domain-status="unknown"'),
         _domain(_NAME, 'system-status="unknown" domain-status="reserveddelegation"'),
         _domain(_NAME + f"<DomainContacts>{_SAME}</DomainContacts>" * 2),
         _domain(_NAME + "<RelatedDNS>r</RelatedDNS>")),
    ),
    Case("3.19.1", (_SERVERS, f"<Nameservers><Server>s</Server>{ADDRESS * 2}</Nameservers>"),
         ("<Nameservers/>", "<Nameservers><Server>s</Server></Nameservers>", f"<Nameservers>{ADDRESS}</Nameservers>",
          f"<Nameservers><Server>s</Server><Server>s</Server>{ADDRESS}</Nameservers>",
          '<Nameservers><Server>s</Server><Address category="mac">a</Address></Nameservers>',
          '<Nameservers><Server>s</Server><Address category="ipv4-addr" ext-category="x">a</Address></Nameservers>')),
    Case("3.19.2", (f"<DomainContacts>{_SAME}</DomainContacts>", f"<DomainContacts>{CONTACT * 2}</DomainContacts>"),
         ("<DomainContacts/>", f"<DomainContacts>{_SAME * 2}</DomainContacts>",
          f"<DomainContacts>{_SAME}{CONTACT}</DomainContacts>")),
)  # fmt: skip


def _service(inner: str) -> str:
    return f'<Service ip-protocol="6">{inner}</Service>'


_SERVICES = (
    "<ServiceName><IANAService>smtp</IANAService></ServiceName>", "<Port>25</Port>", "<Portlist>25</Portlist>",
    "<ProtoCode>1</ProtoCode>", "<ProtoType>1</ProtoType>", "<ProtoField>1</ProtoField>",
    '<ApplicationHeader><ApplicationHeaderField name="n" dtype="real">1</ApplicationHeaderField></ApplicationHeader>',
    "<EmailData/>", APPLICATION,
)  # fmt: skip
_EMAILS = (
    "<EmailTo>a@b</EmailTo>", "<EmailFrom>a@b</EmailFrom>", "<EmailSubject>s</EmailSubject>",
    "<EmailX-Mailer>m</EmailX-Mailer>", '<EmailHeaderField name="n" dtype="string">v</EmailHeaderField>',
    "<EmailHeaders>h</EmailHeaders>", "<EmailBody>b</EmailBody>", "<EmailMessage>m</EmailMessage>",
    f'<HashData scope="email-hash">{HASH}</HashData>',
)  # fmt: skip

OF_SERVICE = (
    Case(
        "3.20",
        (*map(_service, _SERVICES), _service("".join(_SERVICES))),
        (_service(""), *(_service(part * 2) for part in _SERVICES),
         *(_service(late + early) for early, late in pairwise(_SERVICES)),
         '<Service ip-protocol="tcp"><Port>25</Port></Service>',
         '<Service ip_protocol="6"><Port>25</Port></Service>'),
    ),
    Case("3.20.1", tuple(f"<ServiceName>{c}</ServiceName>" for c in ("<IANAService>s</IANAService>",
         URL, URL + TEXT)),
         ("<ServiceName/>", "<ServiceName>smtp</ServiceName>", f"<ServiceName>{TEXT}{URL}</ServiceName>",
          "<ServiceName><IANAService>s</IANAService><IANAService>s</IANAService></ServiceName>")),
    Case("3.20.2", (_SERVICES[6],),
         ("<ApplicationHeader/>",
          '<ApplicationHeader><ApplicationHeaderField dtype="string">v</ApplicationHeaderField></ApplicationHeader>',
          '<ApplicationHeader><ApplicationHeaderField name="n">v</ApplicationHeaderField></ApplicationHeader>')),
    Case(
        "3.21",
        ("<EmailData/>", f"<EmailData>{''.join(_EMAILS)}</EmailData>", f"<EmailData>{_EMAILS[0] * 2}</EmailData>"),
        (*(f"<EmailData>{_EMAILS[at] * 2}</EmailData>" for at in (1, 2, 3, 5, 6, 7)),
         *(f"<EmailData>{late}{early}</EmailData>" for early, late in pairwise(_EMAILS)),
         '<EmailData><EmailHeaderField dtype="string">v</EmailHeaderField></EmailData>',
         '<EmailData><EmailHeaderField name="n">v</EmailHeaderField></EmailData>',
         '<EmailData><EmailHeaderField name="n" dtype="string" ext-dtype="x">v</EmailHeaderField></EmailData>',
         '<EmailData><EmailHeaderField name="n" dtype="integer">1</EmailHeaderField></EmailData>'),
    ),
)  # fmt: skip


def _data(inner: str) -> str:
    return f"<RecordData>{inner}</RecordData>"


_PATTERN = '<RecordPattern type="regex">.*</RecordPattern>'
_KEY = "<Key><KeyName>k</KeyName></Key>"
_FILES = "<FileData><File/></FileData>"
_CERTIFICATE = "<Certificate><ds:X509Data><ds:X509SubjectName>s</ds:X509SubjectName></ds:X509Data></Certificate>"
_RECORDS = (
    '<RecordItem dtype="string">i</RecordItem>', URL, _FILES,
    f"<WindowsRegistryKeysModified>{_KEY}</WindowsRegistryKeysModified>",
    f"<CertificateData>{_CERTIFICATE}</CertificateData>", MORE,
)  # fmt: skip
_FILE = (
    "<FileName>n</FileName>", "<FileSize>1</FileSize>", "<FileType>t/s</FileType>", URL,
    f'<HashData scope="file-contents">{HASH}</HashData>', f"<AssociatedSoftware>{TEXT}</AssociatedSoftware>",
    '<FileProperties dtype="string">p</FileProperties>',
)  # fmt: skip
_SIGNATURE = (
    '<ds:Signature><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="u:c"/><ds:SignatureMethod Algorithm="u:s"/>'
    f"<ds:Reference>{DIGEST}</ds:Reference></ds:SignedInfo><ds:SignatureValue>AQ==</ds:SignatureValue></ds:Signature>"
)

OF_RECORD = (
    Case("3.22", (f"<Record>{_data(URL) * 2}</Record>",), ("<Record/>", f"<Record>{TEXT}</Record>")),
    Case(
        "3.22.1",
        (*map(_data, _RECORDS), *(_data(part * 2) for part in _RECORDS),
         _data(WHEN + TEXT * 2 + APPLICATION + _PATTERN * 2 + "".join(_RECORDS))),
        (_data(""), _data(WHEN + TEXT + APPLICATION + _PATTERN), _data(WHEN * 2 + URL), _data(APPLICATION * 2 + URL),
         _data(URL + TEXT), *(_data(late + early) for early, late in pairwise(_RECORDS))),
    ),
    Case("3.22.2",
         (_PATTERN, '<RecordPattern type="binary" offset="-1" offsetunit="byte" instance="2">00</RecordPattern>'),
         ("<RecordPattern>.*</RecordPattern>", '<RecordPattern type="glob">*</RecordPattern>',
          '<RecordPattern type="regex" offset="a">.</RecordPattern>',
          '<RecordPattern type="regex" offsetunit="bit">.</RecordPattern>',
          '<RecordPattern type="regex" instance="first">.</RecordPattern>')),
    Case("3.23", (f"<WindowsRegistryKeysModified>{_KEY * 2}</WindowsRegistryKeysModified>",),
         ("<WindowsRegistryKeysModified/>", f"<WindowsRegistryKeysModified>{TEXT}</WindowsRegistryKeysModified>")),
    Case("3.23.1", (_KEY, '<Key registryaction="delete-value"><KeyName>k</KeyName><KeyValue>v</KeyValue></Key>'),
         ("<Key/>", "<Key><KeyValue>v</KeyValue></Key>", '<Key registryaction="rename"><KeyName>k</KeyName></Key>',
          "<Key><KeyValue>v</KeyValue><KeyName>k</KeyName></Key>")),
    Case("3.24", (f"<CertificateData>{_CERTIFICATE * 2}</CertificateData>",), ("<CertificateData/>",)),
    Case("3.24.1", (_CERTIFICATE,),
         ("<Certificate/>", f"<Certificate>{TEXT}</Certificate>", "<Certificate><ds:X509Data/></Certificate>",
          "<Certificate><ds:X509Data><ds:X509Certificate>!</ds:X509Certificate></ds:X509Data></Certificate>")),
    Case("3.25", ("<FileData><File/><File/></FileData>",), ("<FileData/>", "<FileData>f</FileData>")),
    Case("3.25.1", ("<File/>", f"<File>{''.join(_FILE)}</File>", f"<File>{URL * 2}{_FILE[6] * 2}</File>"),
         (*(f"<File>{_FILE[at] * 2}</File>" for at in (0, 1, 2, 4, 5)), "<File><FileSize>big</FileSize></File>",
          *(f"<File>{late}{early}</File>" for early, late in pairwise(_FILE)))),
    Case(
        "3.26",
        tuple(f'<HashData scope="file-pe-iat">{c}</HashData>' for c in (
            HASH, FUZZY, HASH * 2 + FUZZY * 2, "<HashTargetID>1</HashTargetID>" + FUZZY)),
        (f"<HashData>{HASH}</HashData>", '<HashData scope="file-contents"/>',
         f'<HashData scope="file">{HASH}</HashData>',
         '<HashData scope="file-contents"><HashTargetID>1</HashTargetID></HashData>',
         f'<HashData scope="file-contents">{FUZZY}{HASH}</HashData>'),
    ),
    Case("3.26.1", (HASH, f'<Hash>{DIGEST}<ds:CanonicalizationMethod Algorithm="urn:c"/>{APPLICATION}</Hash>'),
         ("<Hash/>", '<Hash><ds:DigestMethod Algorithm="urn:x"/></Hash>',
          "<Hash><ds:DigestMethod/><ds:DigestValue>AQ==</ds:DigestValue></Hash>",
          '<Hash><ds:DigestMethod Algorithm="urn:x"/><ds:DigestValue>!</ds:DigestValue></Hash>',
          "<Hash><ds:DigestValue>AQ==</ds:DigestValue><ds:DigestMethod Algorithm='urn:x'/></Hash>",
          f"<Hash>{DIGEST}{APPLICATION * 2}</Hash>")),
    Case("3.26.2",
         (FUZZY, f'<FuzzyHash><FuzzyHashValue dtype="string">f</FuzzyHashValue>{APPLICATION}{MORE}</FuzzyHash>'),
         ("<FuzzyHash/>", f"<FuzzyHash>{APPLICATION}</FuzzyHash>",
          "<FuzzyHash><FuzzyHashValue>f</FuzzyHashValue></FuzzyHash>")),
    Case("3.27", (f"<SignatureData>{_SIGNATURE * 2}</SignatureData>",),
         ("<SignatureData/>", "<SignatureData><Signature/></SignatureData>",
          "<SignatureData><ds:Signature/></SignatureData>")),
)  # fmt: skip


def _indicator(inner: str) -> str:
    return f"<Indicator>{INDICATOR_ID}{inner}</Indicator>"


_OBSERVABLE = f"<Observable>{ADDRESS}</Observable>"
_EXPRESSION = f"<IndicatorExpression>{_OBSERVABLE}</IndicatorExpression>"
_CORES = (_OBSERVABLE, '<ObservableReference uid-ref="i1"/>', _EXPRESSION, REFERENCE)
_BULK = "<BulkObservable><BulkObservableList>l</BulkObservableList></BulkObservable>"
_OBSERVED = (
    SYSTEM, ADDRESS, DOMAIN, _service(APPLICATION), "<EmailData/>", *_RECORDS[2:5],
    '<RegistryHandle registry="arin">r</RegistryHandle>', _data(URL), f"<EventData>{TEXT}</EventData>",
    f'<Incident purpose="other">{ID}<GenerationTime>2026-11-20T19:05:00Z</GenerationTime>{CONTACT}</Incident>',
    "<Expectation/>", f"<Reference>{URL}</Reference>", '<Assessment><SystemImpact type="policy"/></Assessment>',
    f"<DetectionPattern>{APPLICATION}{TEXT}</DetectionPattern>", f'<HistoryItem action="other">{WHEN}</HistoryItem>',
    _BULK,
)  # fmt: skip

OF_INDICATOR = (
    Case("3.28", (f"<IndicatorData>{_indicator(REFERENCE)}</IndicatorData>",), ("<IndicatorData/>",)),
    Case(
        "3.29",
        (*map(_indicator, _CORES),
         _indicator(f'{TEXT}<Confidence rating="low"/>{CONTACT}{REFERENCE}<NodeRole category="www"/>{MORE}')),
        (_indicator(""), f"<Indicator>{REFERENCE}</Indicator>", *(_indicator(core * 2) for core in _CORES),
         *(_indicator(one + two) for one, two in pairwise(_CORES)), _indicator(REFERENCE + TEXT),
         _indicator(INDICATOR_ID.replace("i1", "i2") + REFERENCE),
         f"<Indicator>{REFERENCE}{INDICATOR_ID}</Indicator>"),
    ),
    Case("3.29.1", (INDICATOR_ID, '<IndicatorID name="n" version="1"> x-1 </IndicatorID>'),
         ('<IndicatorID version="1">x</IndicatorID>', '<IndicatorID name="n">x</IndicatorID>',
          '<IndicatorID name="n" version="1">1 2</IndicatorID>', '<IndicatorID name="n" version="1"/>')),
    Case("3.29.2", (f"<AlternativeIndicatorID>{REFERENCE * 2}</AlternativeIndicatorID>",),
         ("<AlternativeIndicatorID/>", f"<AlternativeIndicatorID>{INDICATOR_ID}</AlternativeIndicatorID>")),
    Case(
        "3.29.3",
        (*(f"<Observable>{part}</Observable>" for part in _OBSERVED), f"<Observable>{MORE * 2}</Observable>"),
        ("<Observable/>", *(f"<Observable>{part * 2}</Observable>" for part in _OBSERVED),
         *(f"<Observable>{one}{two}</Observable>" for one, two in zip(_OBSERVED, (*_OBSERVED[1:], MORE),
         strict=True))),
    ),
    Case(
        "3.29.3.1",
        (_BULK,
         f'<BulkObservable type="mutex"><BulkObservableList>l</BulkObservableList>{MORE * 2}</BulkObservable>'),
        ("<BulkObservable/>", _BULK.replace("<BulkObservable>", '<BulkObservable type="fqdn">'),
         _BULK.replace("<BulkObservable>", '<BulkObservable type="ipv4-net-masked">'),
         f"<BulkObservable>{MORE}<BulkObservableList>l</BulkObservableList></BulkObservable>",
         "<BulkObservable>" + "<BulkObservableList>l</BulkObservableList>" * 2 + "</BulkObservable>"),
    ),
    Case("3.29.3.1.1", tuple(f"<BulkObservableFormat>{c}</BulkObservableFormat>"
         for c in (HASH, MORE, HASH + MORE * 2)),
         ("<BulkObservableFormat/>", f"<BulkObservableFormat>{HASH * 2}</BulkObservableFormat>",
          f"<BulkObservableFormat>{MORE}{HASH}</BulkObservableFormat>")),
    Case(
        "3.29.4",
        ("<IndicatorExpression/>", '<IndicatorExpression operator="xor">' + _EXPRESSION + _OBSERVABLE * 2 + _CORES[1]
         + REFERENCE + '<Confidence rating="low"/>' + MORE + "</IndicatorExpression>"),
        ('<IndicatorExpression operator="nand"/>',
         f"<IndicatorExpression>{_OBSERVABLE}{_EXPRESSION}</IndicatorExpression>",
         f"<IndicatorExpression>{REFERENCE}{_CORES[1]}</IndicatorExpression>",
         "<IndicatorExpression>" + '<Confidence rating="low"/>' * 2 + "</IndicatorExpression>"),
    ),
    Case("3.29.6", ('<ObservableReference uid-ref="a"/>',),
         ("<ObservableReference/>", '<ObservableReference uid-ref="1 2"/>',
          '<ObservableReference uid-ref="a">text</ObservableReference>', '<ObservableReference euid-ref="a"/>')),
    Case("3.29.7", ('<IndicatorReference uid-ref="a"/>', '<IndicatorReference euid-ref="1 2" version="3"/>'),
         ('<IndicatorReference uid-ref="1"/>', '<IndicatorReference uid-ref="a">text</IndicatorReference>',
          f'<IndicatorReference uid-ref="a">{TEXT}</IndicatorReference>')),
    Case("3.29.8", tuple(f"<AttackPhase>{c}</AttackPhase>" for c in ("<AttackPhaseID>a</AttackPhaseID>",
         URL, TEXT, MORE)),
         ("<AttackPhase/>", f'<AttackPhase restriction="public">{TEXT}</AttackPhase>',
          f"<AttackPhase>{TEXT}{URL}</AttackPhase>")),
)  # fmt: skip
