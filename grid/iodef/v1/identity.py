"""Tracking numbers, and activity that has to do with the incident (RFC 5070, sections 3.3 to 3.5)."""

from __future__ import annotations

from grid.iodef.fields import Class, attribute, children, content
from grid.iodef.types import URL
from grid.iodef.v1.enums import Restriction
from grid.iodef.v1.names import iodef


@iodef("IncidentID", section="3.3")
class IncidentID(Class):
    """A tracking number; together with `name`, the domain name of the CSIRT that gave it, it is unique."""

    value: str = content()
    name: str = attribute("name")
    instance: str | None = attribute("instance", default=None)
    restriction: Restriction | None = attribute("restriction", default=None)


@iodef("AlternativeID", section="3.4")
class AlternativeID(Class):
    """The tracking numbers that other CSIRTs have given to the same incident."""

    restriction: Restriction | None = attribute("restriction", default=None)
    incident_id: tuple[IncidentID, ...] = children("IncidentID")


@iodef("RelatedActivity", section="3.5", one_of=("IncidentID", "URL"))
class RelatedActivity(Class):
    """Incidents that are related: their tracking numbers or their addresses, never both."""

    restriction: Restriction | None = attribute("restriction", default=None)
    incident_id: tuple[IncidentID, ...] = children("IncidentID", default=())
    url: tuple[URL, ...] = children("URL", default=())
