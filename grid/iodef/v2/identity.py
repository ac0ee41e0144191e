"""Names of incidents and indicators, and references to them (RFC 7970, sections 3.4, 3.5, 3.29.1, 3.29.2, 3.29.7)."""

from __future__ import annotations

from grid.iodef.fields import Class, attribute, children, content
from grid.iodef.types import ID, IDRef
from grid.iodef.v2.enums import Restriction
from grid.iodef.v2.names import iodef


@iodef("IncidentID", section="3.4")
class IncidentID(Class):
    """A tracking number and the authority, by its domain name, that gave it: unique in the world together."""

    value: str = content()
    name: str = attribute("name")
    instance: str | None = attribute("instance", default=None)
    restriction: Restriction | None = attribute("restriction", default=None)
    ext_restriction: str | None = attribute("ext-restriction", default=None)


@iodef("AlternativeID", section="3.5")
class AlternativeID(Class):
    """The numbers under which other teams know this very incident."""

    incident_id: tuple[IncidentID, ...] = children("IncidentID")
    restriction: Restriction | None = attribute("restriction", default=None)
    ext_restriction: str | None = attribute("ext-restriction", default=None)


@iodef("IndicatorID", section="3.29.1")
class IndicatorID(Class):
    """The name of an indicator: unique in the world together with authority and version, and an XML ID here."""

    value: ID = content()
    name: str = attribute("name")
    version: str = attribute("version")


@iodef("IndicatorReference", section="3.29.7")
class IndicatorReference(Class):
    """Points to an indicator: of this document by `uid_ref`, of an earlier one by `euid_ref`; one is needed."""

    uid_ref: IDRef | None = attribute("uid-ref", default=None)
    euid_ref: str | None = attribute("euid-ref", default=None)
    version: str | None = attribute("version", default=None)


@iodef("AlternativeIndicatorID", section="3.29.2")
class AlternativeIndicatorID(Class):
    """Other names of the same indicator."""

    indicator_reference: tuple[IndicatorReference, ...] = children("IndicatorReference")
    restriction: Restriction | None = attribute("restriction", default=None)
    ext_restriction: str | None = attribute("ext-restriction", default=None)


@iodef("ObservableReference", section="3.29.6")
class ObservableReference(Class):
    """Points to what carries this `observable-id` elsewhere in the document."""

    uid_ref: IDRef = attribute("uid-ref")
