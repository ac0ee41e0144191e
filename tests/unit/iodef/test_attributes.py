"""What filters look at, taken from documents of both versions: each attribute from where the table says it comes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from grid import iodef
from grid.iodef.attributes import NAMES, Attributes, disclosure, extract
from grid.iodef.names import V1, V2
from grid.iodef.networks import Network, network

ROOT = Path(__file__).parents[3]
DOCUMENTS = Path(__file__).parent / "documents"


def whole(inside: str, *, purpose: str = 'purpose="reporting"') -> str:
    """An incident of version 2.0 with something in it between its time and its contact, or after."""
    before, _, after = inside.partition("|")
    return f"""<Incident {purpose}><IncidentID name="csirt.example.com">7</IncidentID>
        <GenerationTime>2026-11-21T09:00:00Z</GenerationTime>{before}
        <Contact role="creator" type="organization"><ContactName>x</ContactName></Contact>{after}</Incident>"""


def found(*incidents: str) -> tuple[Attributes, ...]:
    """The attributes of a document of these incidents, which is valid."""
    source = f'<IODEF-Document version="2.00" xml:lang="en" xmlns="{V2}">{"".join(incidents)}</IODEF-Document>'
    return extract(iodef.check(source.encode()))


def only(inside: str) -> Attributes:
    (one,) = found(whole(inside))
    return one


def found_v1(inside: str, *, purpose: str = 'purpose="reporting"', assessment: str = "") -> Attributes:
    """The attributes of a document of version 1.0 with one incident, which is valid."""
    assessment = assessment or '<Assessment><Impact type="unknown"/></Assessment>'
    before, _, after = inside.partition("|")
    source = f"""<IODEF-Document version="1.00" lang="en" xmlns="{V1}"><Incident {purpose}>
        <IncidentID name="csirt.example.com">7</IncidentID><ReportTime>2026-11-21T09:00:00Z</ReportTime>
        {assessment}{before}<Contact role="creator" type="organization"><ContactName>x</ContactName></Contact>{after}
        </Incident></IODEF-Document>"""
    (one,) = extract(iodef.check(source.encode()))
    return one


def address(category: str, text: str) -> str:
    return f'<Address category="{category}">{text}</Address>'


def system(*addresses: str, category: str = "source") -> str:
    return f'<System category="{category}"><Node>{"".join(addresses)}</Node></System>'


def event(*parts: str) -> str:
    return f"<EventData>{''.join(parts)}</EventData>"


HOST = address("ipv4-addr", "192.0.2.7")


def test_the_least_document() -> None:
    assert only("") == Attributes("csirt.example.com", "7", "reporting", "private")


def test_each_incident_of_a_document_has_its_own() -> None:
    first, second = found(
        whole("", purpose='purpose="watch" restriction="green"'), whole(f"|{event(f'<Flow>{system(HOST)}</Flow>')}")
    )
    assert (first.purpose, first.restriction, first.addresses) == ("watch", "green", ())
    assert (second.purpose, second.restriction, second.addresses) == (
        "reporting", "private", (("ipv4-addr", "192.0.2.7"),),
    )  # fmt: skip


def test_extended_values_are_resolved() -> None:
    (one,) = found(
        whole(
            '<Assessment><SystemImpact type="ext-value" ext-type="mining"/>'
            '<BusinessImpact severity="ext-value" ext-severity="fatal" type="ext-value" ext-type="panic"/>'
            "</Assessment>",
            purpose='purpose="ext-value" ext-purpose="drill" restriction="ext-value" ext-restriction="clear"',
        )
    )
    assert (one.purpose, one.restriction, one.severity, one.type) == (
        "drill", "clear", ("fatal",), ("mining", "panic"),
    )  # fmt: skip


def test_every_impact_counts_once_a_value() -> None:
    one = only(
        "<Assessment><IncidentCategory>ransomware\n  as a service</IncidentCategory>"
        '<SystemImpact severity="high" type="damaged-data"/><BusinessImpact severity="high" type="extortion"/>'
        '<TimeImpact severity="low" metric="downtime">3</TimeImpact>'
        '<MonetaryImpact severity="medium">3</MonetaryImpact>'
        '<IntendedImpact type="theft-financial"/><Counter type="count" unit="host">3</Counter></Assessment>|'
        + event('<Assessment><IncidentCategory>worm</IncidentCategory><SystemImpact type="policy"/></Assessment>')
        + event(event('<Assessment><SystemImpact severity="low" type="damaged-data"/></Assessment>'))
    )
    assert one.severity == ("high", "low", "medium")
    assert one.type == ("damaged-data", "extortion", "theft-financial", "policy")
    assert one.category == ("ransomware as a service", "worm")


def test_the_method_is_what_identifies_it() -> None:
    enum, sci = "urn:ietf:params:xml:ns:iodef-enum-1.0", "urn:ietf:params:xml:ns:iodef-sci-1.0"
    one = only(
        f'<Method><Reference><ReferenceName xmlns="{enum}" specIndex="1"><ID>CVE-2014-0160</ID></ReferenceName>'
        f"</Reference><Description>not this</Description></Method><Method>"
        f'<AttackPattern xmlns="{sci}" SpecID="x" ContentID="CAPEC-63"/>'
        f'<Vulnerability xmlns="{sci}" SpecID="x" ContentID="CVE-2014-0160"/></Method>|'
        + event("<Method><Description>but\n this</Description></Method>")
    )
    assert one.method == ("CVE-2014-0160", "CAPEC-63", "but this")


def test_addresses_of_sources_at_any_depth() -> None:
    servers = (
        '<DomainData system-status="unknown" domain-status="unknown"><Name>evil.example</Name><Nameservers>'
        f"<Server>ns.evil.example</Server>{address('ipv6-addr', '2001:DB8::53')}</Nameservers></DomainData>"
    )
    one = only(
        "|"
        + event(
            f"<Flow>{system(HOST, address('e-mail', 'a@example.com'))}"
            f"{system(address('ipv4-addr', '192.0.2.99'), category='target')}</Flow>",
            event(f"<Flow>{system(servers, address('ipv4-net', '198.51.100.0/24'))}</Flow>"),
        )
    )
    assert one.addresses == (
        ("ipv4-addr", "192.0.2.7"), ("e-mail", "a@example.com"),
        ("ipv6-addr", "2001:DB8::53"), ("ipv4-net", "198.51.100.0/24"),
    )  # fmt: skip
    assert one.values("attacker") == ("192.0.2.7", "a@example.com", "2001:db8::53", "198.51.100.0/24")


def test_an_indicator_gives_its_source_systems_and_nothing_else() -> None:
    within = whole(
        '<Assessment><SystemImpact severity="high" type="policy"/></Assessment>'
        f"<Method><Description>x</Description></Method>|{event(f'<Flow>{system(HOST)}</Flow>')}"
    )
    indicators = "".join(
        f'<Indicator><IndicatorID name="a.example" version="1">i{index}</IndicatorID>'
        f"<Observable>{observable}</Observable></Indicator>"
        for index, observable in enumerate(
            (within, system(address("ipv4-addr", "192.0.2.8")), address("ipv4-addr", "192.0.2.9"))
        )
    )
    (one,) = found(whole(f"|<IndicatorData>{indicators}</IndicatorData>"))
    assert (one.severity, one.type, one.method) == ((), (), ())
    assert one.values("attacker") == ("192.0.2.7", "192.0.2.8")


def test_other_vocabularies_are_not_looked_into() -> None:
    foreign = f'<AdditionalData dtype="xml"><Assessment xmlns="{V2}"><SystemImpact type="policy"/></Assessment>'
    one = only(f"|{event(f'{foreign}</AdditionalData>')}{foreign}</AdditionalData>")
    assert one == only("")


def test_version_1() -> None:
    one = found_v1(
        "<Method><Reference><ReferenceName>CA-2003-22</ReferenceName></Reference></Method>"
        "<Method><Description>Typing error</Description></Method>|"
        + event(
            '<Assessment><Impact type="ext-value" ext-type="spam">much</Impact>'
            '<Counter type="byte">3</Counter></Assessment>'
            f'<Flow><System category="source"><Node>{HOST}<NodeRole category="www"/></Node></System></Flow>'
        ),
        purpose='purpose="ext-value" ext-purpose="x" restriction="need-to-know"',
        assessment='<Assessment><Impact severity="high" type="dos"/>'
        '<TimeImpact severity="low" metric="labor" duration="hour">1</TimeImpact></Assessment>',
    )
    assert one == Attributes(
        "csirt.example.com", "7", "x", "need-to-know", ("high", "low"), ("dos", "spam"), ("dos", "spam"),
        ("CA-2003-22", "Typing error"), (("ipv4-addr", "192.0.2.7"),),
    )  # fmt: skip


def test_the_examples_of_the_standards() -> None:
    (bots,) = extract(iodef.check((DOCUMENTS / "v1-bot-net.xml").read_bytes()))
    assert bots.method == ("GT Bot", "CA-2003-22")
    assert bots.values("attacker") == ("192.0.2.1", "192.0.2.3")
    (watched,) = extract(iodef.check((DOCUMENTS / "v1-watch-list.xml").read_bytes()))
    assert watched.values("attacker") == ("192.0.2.53", "192.0.2.16/28", "192.0.2.241")
    (campaign,) = extract(iodef.check((DOCUMENTS / "rfc7970-7.2.xml").read_bytes()))
    assert (campaign.purpose, campaign.disclosure, campaign.type) == ("watch", "partner", ("breach-proprietary",))


def test_an_incident_alone_and_an_element_within_another() -> None:
    incident = etree.fromstring(
        f'<x><Incident xmlns="{V2}" purpose="watch"><IncidentID name="a">1</IncidentID></Incident></x>'
    )
    (one,) = extract(incident[0])
    assert (one.authority, one.purpose) == ("a", "watch")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        (" 192.0.2.7\n", "192.0.2.7"),
        ("192.0.2.7/24", "192.0.2.0/24"),
        ("192.0.2.0/255.255.255.240", "192.0.2.0/28"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("192.0.2.7/32", "192.0.2.7"),
        ("2001:DB8:0:0::0001", "2001:db8::1"),
        ("2001:db8::1/32", "2001:db8::/32"),
        ("2001:db8::/ffff:ffff::", "2001:db8::/32"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7/120", "192.0.2.0/24"),
        ("::ffff:0:0/95", "::fffe:0:0/95"),
    ],
)
def test_networks_in_normal_form(text: str, expected: str) -> None:
    assert str(network(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "/", "192.0.2", "192.0.2.256", "192.0.2.07", "192.0.2.x", "192.0.2.0/33", "192.0.2.0/", "192.0.2.0/-1",
        "192.0.2.0/255.0.255.0", "192.0.2.0/24/8", "2001:db8::/129", "2001:db8::/ffff:0:ffff::", "fe80::1%eth0",
        "2001:db8:::1", "١٩٢.0.2.1", "192.0.2.0/٢٤", "\0", "host.example.com", "192.0.2.0/" + "9" * 5000,
    ],
)  # fmt: skip
def test_what_is_no_address_is_kept_and_told_apart(text: str) -> None:
    assert network(text) is None
    one = Attributes("a", "1", "reporting", "private", addresses=(("ipv4-addr", text), ("ipv4-addr", "192.0.2.7")))
    assert one.malformed == (text,)
    assert one.attackers == (network("192.0.2.7"),)
    assert one.values("attacker") == (text, "192.0.2.7")


def test_a_network_knows_what_is_part_of_it() -> None:
    texts = ("192.0.2.0/24", "192.0.2.128/25", "2001:db8::/24", "0.0.0.0/0", "198.51.100.1")
    outer, inner, other, every, host = (known for text in texts if (known := network(text)) is not None)
    assert outer.covers(inner) and outer.covers(outer) and every.covers(inner) and every.covers(host)
    assert not inner.covers(outer) and not outer.covers(other) and not outer.covers(host) and not other.covers(outer)


@given(st.ip_addresses(), st.integers(0, 128))
def test_networks_are_those_of_the_standard_library(ip: object, bits: int) -> None:
    import ipaddress

    size = min(bits, 32 if isinstance(ip, ipaddress.IPv4Address) else 128)
    expected = ipaddress.ip_network(f"{ip}/{size}", strict=False)
    if expected.version == 6 and expected.network_address.ipv4_mapped and size >= 96:
        return
    assert network(f"{ip}/{size}") == Network(expected.version, int(expected.network_address), size)
    assert network(f"{ip}/{expected.netmask}") == network(f"{ip}/{size}")


def test_the_colours_are_words_of_iodef() -> None:
    colours = ("white", "green", "amber", "red")
    assert [disclosure(colour) for colour in colours] == ["public", "partner", "need-to-know", "private"]
    assert [disclosure(word) for word in ("public", "default", "mine")] == ["public", "default", "mine"]


def test_attributes_are_asked_for_by_name_and_cannot_be_changed() -> None:
    one = only('<Assessment><SystemImpact severity="high" type="policy"/></Assessment>')
    assert {name: one.values(name) for name in NAMES} == {
        "authority": ("csirt.example.com",), "incident-id": ("7",), "purpose": ("reporting",),
        "restriction": ("private",), "severity": ("high",), "type": ("policy",), "category": (), "method": (),
        "attacker": (),
    }  # fmt: skip
    with pytest.raises(KeyError):
        one.values("colour")
    for name in ("authority", "attackers", "other"):
        with pytest.raises(AttributeError, match="cannot be changed"):
            setattr(one, name, "x")


def test_the_table_in_the_manual_has_every_attribute() -> None:
    table = (ROOT / "docs" / "iodef-attributes.md").read_text()
    missing = [name for name in NAMES if f"| `{name}` |" not in table]
    assert not missing
