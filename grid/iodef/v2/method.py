"""How an attack works: method, references, the structured information of companion standards.

RFC 7970, sections 3.11 and 3.11.1; RFC 7495 for enum:ReferenceName; for the sci classes of RFC 7203 what RFC 8727
shows of them as STRUCTUREDINFO (sections 2.2.5, 6).
"""

from __future__ import annotations

from grid.iodef.fields import Class, attribute, child, children, mixed
from grid.iodef.types import ID, URL, Foreign, NCName
from grid.iodef.v2.common import Extension, MLString
from grid.iodef.v2.enums import DType, Restriction
from grid.iodef.v2.names import iodef


@iodef("enum:ReferenceName", section="RFC 7495")
class ReferenceName(Class):
    """An identifier in an enumeration such as CVE; `spec_index` is the enumeration's number in IANA's registry."""

    spec_index: int = attribute("specIndex")
    id: NCName = child("ID")


@iodef("Reference", section="3.11.1", any_of=("enum:ReferenceName", "URL", "Description"))
class Reference(Class):
    """Something outside that tells more: a vulnerability, an advisory, a malware sample, an alert."""

    observable_id: ID | None = attribute("observable-id", default=None)
    reference_name: ReferenceName | None = child("enum:ReferenceName", default=None)
    url: tuple[URL, ...] = children("URL", default=())
    description: tuple[MLString, ...] = children("Description", default=())


@iodef("sci:RawData", section="RFC 7203, section 4.4")
class RawData(Class):
    """A whole document of the notation that the holder's `spec_id` names, kept exactly."""

    content: tuple[str | Foreign, ...] = mixed()
    dtype: DType | None = attribute("dtype", default=None)  # what RFC 8727 tells has none; documents of RFC 7203 do


@iodef("sci:Platform", section="RFC 7203, section 4.4")
class Platform(Class):
    """The platform that an attack or a weakness concerns, in some notation."""

    spec_id: str = attribute("SpecID")
    ext_spec_id: str | None = attribute("ext-SpecID", default=None)
    content_id: str | None = attribute("ContentID", default=None)
    raw_data: tuple[RawData, ...] = children("RawData", default=())
    reference: tuple[Reference, ...] = children("iodef:Reference", default=())


@iodef("sci:Scoring", section="RFC 7203, section 4.4")
class Scoring(Class):
    """How grave a vulnerability or a weakness is, by a scoring method such as CVSS."""

    spec_id: str = attribute("SpecID")
    ext_spec_id: str | None = attribute("ext-SpecID", default=None)
    content_id: str | None = attribute("ContentID", default=None)
    raw_data: tuple[RawData, ...] = children("RawData", default=())
    reference: tuple[Reference, ...] = children("iodef:Reference", default=())


@iodef("sci:AttackPattern", section="RFC 7203, section 4.4")
class AttackPattern(Class):
    """A known way to attack, told by an identifier (`content_id`) or in the notation that `spec_id` names."""

    spec_id: str = attribute("SpecID")
    ext_spec_id: str | None = attribute("ext-SpecID", default=None)
    content_id: str | None = attribute("ContentID", default=None)
    raw_data: tuple[RawData, ...] = children("RawData", default=())
    reference: tuple[Reference, ...] = children("iodef:Reference", default=())
    platform: tuple[Platform, ...] = children("Platform", default=())
    scoring: tuple[Scoring, ...] = children("Scoring", default=())


@iodef("sci:Vulnerability", section="RFC 7203, section 4.4")
class Vulnerability(Class):
    """A flaw of a product, told by an identifier (`content_id`) or in the notation that `spec_id` names."""

    spec_id: str = attribute("SpecID")
    ext_spec_id: str | None = attribute("ext-SpecID", default=None)
    content_id: str | None = attribute("ContentID", default=None)
    raw_data: tuple[RawData, ...] = children("RawData", default=())
    reference: tuple[Reference, ...] = children("iodef:Reference", default=())
    platform: tuple[Platform, ...] = children("Platform", default=())
    scoring: tuple[Scoring, ...] = children("Scoring", default=())


@iodef("sci:Weakness", section="RFC 7203, section 4.4")
class Weakness(Class):
    """A kind of flaw, told by an identifier (`content_id`, a CWE number for example) or in another notation."""

    # table 3 of RFC 8727 gives these two to this class alone
    restriction: Restriction | None = attribute("restriction", default=None)
    ext_restriction: str | None = attribute("ext-restriction", default=None)
    spec_id: str = attribute("SpecID")
    ext_spec_id: str | None = attribute("ext-SpecID", default=None)
    content_id: str | None = attribute("ContentID", default=None)
    raw_data: tuple[RawData, ...] = children("RawData", default=())
    reference: tuple[Reference, ...] = children("iodef:Reference", default=())
    platform: tuple[Platform, ...] = children("Platform", default=())
    scoring: tuple[Scoring, ...] = children("Scoring", default=())


@iodef(
    "Method",
    section="3.11",
    any_of=(
        "Reference",
        "Description",
        "sci:AttackPattern",
        "sci:Vulnerability",
        "sci:Weakness",
        "AdditionalData",
    ),
)
class Method(Class):
    """The techniques of the threat actor and the weaknesses that were used."""

    restriction: Restriction | None = attribute("restriction", default=None)
    ext_restriction: str | None = attribute("ext-restriction", default=None)
    reference: tuple[Reference, ...] = children("Reference", default=())
    description: tuple[MLString, ...] = children("Description", default=())
    attack_pattern: tuple[AttackPattern, ...] = children("sci:AttackPattern", default=())
    vulnerability: tuple[Vulnerability, ...] = children("sci:Vulnerability", default=())
    weakness: tuple[Weakness, ...] = children("sci:Weakness", default=())
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())
