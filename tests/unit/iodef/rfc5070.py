"""What section 3 of RFC 5070 says of each class, taken out of its text by a program and kept here as data.

Neither the schema nor the model has been made from this table. Names and their order are those of the figures; "One",
"Zero or more", "Required" and the values of enumerations are those of the text. Where the project decides otherwise
than the text has it, `DECIDED` says so.
"""

from __future__ import annotations

from dataclasses import dataclass

CLASSES = """
3.1 IODEF-Document @version! @lang! @formatid Incident+
3.2 Incident @purpose! @ext-purpose @lang @restriction IncidentID AlternativeID? RelatedActivity? DetectTime?
    StartTime? EndTime? ReportTime Description* Assessment+ Method* Contact+ EventData* History? AdditionalData*
3.3 IncidentID @name! @instance @restriction
3.4 AlternativeID @restriction IncidentID+
3.5 RelatedActivity @restriction IncidentID+ URL+
3.6 AdditionalData @dtype! @ext-dtype @meaning @formatid @restriction
3.7 Contact @role! @ext-role @type! @ext-type @restriction ContactName? Description* RegistryHandle*
    PostalAddress? Email* Telephone* Fax? Timezone? Contact* AdditionalData*
3.7.1 RegistryHandle @registry! @ext-registry
3.7.2 PostalAddress @meaning @lang!
3.7.3 Email @meaning
3.7.4 Telephone @meaning
3.7.4 Fax @meaning
3.9 Method @restriction Reference* Description* AdditionalData*
3.9.1 Reference ReferenceName URL* Description*
3.10 Assessment @occurrence @restriction Impact* TimeImpact* MonetaryImpact* Counter* Confidence?
    AdditionalData*
3.10.1 Impact @lang! @severity @completion @type! @ext-type
3.10.2 TimeImpact @severity @metric! @ext-metric @duration! @ext-duration
3.10.3 MonetaryImpact @severity @currency!
3.10.4 Confidence @rating!
3.11 History @restriction HistoryItem+
3.11.1 HistoryItem @restriction @action! @ext-action DateTime IncidentID? Contact? Description* AdditionalData*
3.12 EventData @restriction Description* DetectTime? StartTime? EndTime? Contact* Assessment? Method* Flow*
    Expectation* Record? EventData* AdditionalData*
3.13 Expectation @restriction @severity @action @ext-action Description* StartTime? EndTime? Contact?
3.14 Flow System+
3.15 System @restriction @category! @ext-category @interface @spoofed Node Service* OperatingSystem? Counter*
    Description* AdditionalData*
3.16 Node NodeName* Address* Location? DateTime? NodeRole* Counter*
3.16.1 Counter @type! @ext-type @meaning @duration @ext-duration
3.16.2 Address @category! @ext-category @vlan-name @vlan-num
3.16.3 NodeRole @category! @ext-category @lang!
3.17 Service @ip_protocol! Port? Portlist? ProtoCode? ProtoType? ProtoFlags? Application*
3.17.1 Application @swid @configid @vendor @family @name @version @patch URL?
3.18 OperatingSystem @swid @configid @vendor @family @name @version @patch URL?
3.19 Record @restriction RecordData+
3.19.1 RecordData @restriction DateTime? Description* Application? RecordPattern* RecordItem+ AdditionalData?
3.19.2 RecordPattern @type! @ext-type @offset @offsetunit @ext-offsetunit @instance
3.19.3 RecordItem @dtype! @ext-dtype @meaning @formatid @restriction
"""
"""Section and name of a class, its attributes (``!``: required), its elements (``?``: zero or one, ``*``: zero or
more, ``+``: one or more)."""

ENUMERATIONS = """
Incident @purpose traceback mitigation reporting other ext-value
Incident @restriction public need-to-know private default
AdditionalData,RecordItem @dtype boolean byte character date-time integer portlist real string file frame packet
    ipv4-packet ipv6-packet path url csv winreg xml ext-value
Contact @role creator admin tech irt cc ext-value
Contact @type person organization ext-value
RegistryHandle @registry internic apnic arin lacnic ripe afrinic local ext-value
Assessment @occurrence actual potential
Impact,TimeImpact,MonetaryImpact,Expectation @severity low medium high
Impact @completion failed succeeded
Impact @type admin dos file info-leak misconfiguration policy recon social-engineering user unknown ext-value
TimeImpact @metric labor elapsed downtime ext-value
TimeImpact @duration second minute hour day month quarter year ext-value
Confidence @rating low medium high numeric
Expectation @action nothing contact-source-site contact-target-site contact-sender investigate block-host
    block-network block-port rate-limit-host rate-limit-network rate-limit-port remediate-other status-triage
    status-new-info other ext-value
System @category source target intermediate sensor infrastructure ext-value
System @spoofed unknown yes no
Counter @type byte packet flow session alert message event host site organization ext-value
Address @category asn atm e-mail ipv4-addr ipv4-net ipv4-net-mask ipv6-addr ipv6-net ipv6-net-mask mac ext-value
NodeRole @category client server-internal server-public www mail messaging streaming voice file ftp p2p name
    directory credential print application database infra log ext-value
RecordPattern @type regex binary xpath ext-value
RecordPattern @offsetunit line binary ext-value
"""
"""Classes, an attribute of theirs, and its values."""

SAME = {"Counter@duration": "TimeImpact@duration", "HistoryItem@action": "Expectation@action"}
"""Enumerations that the text describes by reference (3.16.1, 3.11.1); every ``restriction`` is Incident's, too."""

AT_LEAST_ONE = {
    "Contact": "*",  # 3.7: "At least one of the aggregate classes MUST be present"
    "EventData": "*",  # 3.12: the same
    "Method": "Reference Description",  # 3.9: "Either an instance of the Reference or Description class"
    "Assessment": "Impact TimeImpact MonetaryImpact",  # 3.10: "A least one instance of the possible three"
    "Node": "NodeName Address",  # 3.16: each "MUST" be there without the other
}
EXACTLY_ONE = {
    "RelatedActivity": "IncidentID URL",  # 3.5: "(not both)"
    "Service": "Port Portlist",  # 3.17: "Either a Port or Portlist class MUST be specified"
}

DEFAULTS = {
    "Incident@restriction": "private",
    "Assessment@occurrence": "actual",
    "System@spoofed": "unknown",
    "RecordPattern@offsetunit": "line",
}
"""Of attributes that are optional. Others are called "Required" and have a "default value" in one paragraph."""

IN_ANY_ORDER = {"Impact", "TimeImpact", "MonetaryImpact"}
"""3.10: "at least one instance of the possible three impact classes", which may come mixed, as in IODEF 2.0."""

DECIDED = {"Impact@lang", "PostalAddress@lang", "NodeRole@lang"}
"""Attributes that the text calls required and that are optional here: section 6 has them inherited, and no Impact of
section 7 has one."""


@dataclass(frozen=True)
class Described:
    """A class as the table has it; `attributes` tells which are required, `children` the mark of each."""

    name: str
    section: str
    attributes: dict[str, bool]
    children: dict[str, str]

    def at_least_one(self) -> tuple[str, ...]:
        """The group of which one must be there; empty when there is none."""
        named = AT_LEAST_ONE.get(self.name, "")
        return tuple(self.children) if named == "*" else tuple(named.split())

    def exactly_one(self) -> tuple[str, ...]:
        """The group whose members exclude each other; empty when there is none."""
        return tuple(EXACTLY_ONE.get(self.name, "").split())


def classes() -> dict[str, Described]:
    """The table, by the names of the classes."""
    found = {}
    for line in _lines(CLASSES):
        section, name, *parts = line.split()
        attributes = {part[1:].rstrip("!"): part.endswith("!") for part in parts if part[0] == "@"}
        attributes |= {key: False for key in attributes if f"{name}@{key}" in DECIDED}
        children = {part.rstrip("?*+"): part[-1] if part[-1] in "?*+" else "" for part in parts if part[0] != "@"}
        found[name] = Described(name, section, attributes, children)
    return found


def enumerations() -> dict[str, tuple[str, ...]]:
    """The values of enumerations, by ``Class@attribute``."""
    found = {}
    for line in _lines(ENUMERATIONS):
        names, attribute, *values = line.split()
        found |= {f"{name}{attribute}": tuple(values) for name in names.split(",")}
    found |= {key: found[same] for key, same in SAME.items()}
    for described in classes().values():
        if "restriction" in described.attributes:
            found[f"{described.name}@restriction"] = found["Incident@restriction"]
    return found


def _lines(table: str) -> list[str]:
    return table.strip().replace("\n    ", " ").splitlines()
