"""How an incident came to light (RFC 7970, section 3.10)."""

from __future__ import annotations

from grid.iodef.fields import Class, attribute, child, children
from grid.iodef.types import ID
from grid.iodef.v2.common import MLString, Software
from grid.iodef.v2.contact import Contact
from grid.iodef.v2.enums import DiscoverySource, Restriction
from grid.iodef.v2.names import iodef


@iodef("DetectionPattern", section="3.10.1", any_of=("Description", "DetectionConfiguration"))
class DetectionPattern(Class):
    """A signature or configuration that lets a given tool recognize the activity."""

    restriction: Restriction | None = attribute("restriction", default=None)
    ext_restriction: str | None = attribute("ext-restriction", default=None)
    observable_id: ID | None = attribute("observable-id", default=None)
    application: Software = child("Application")
    description: tuple[MLString, ...] = children("Description", default=())
    detection_configuration: tuple[str, ...] = children("DetectionConfiguration", default=())


@iodef("Discovery", section="3.10")
class Discovery(Class):
    """Who or what noticed the incident, and by what means."""

    source: DiscoverySource | None = attribute("source", default=None)
    ext_source: str | None = attribute("ext-source", default=None)
    restriction: Restriction | None = attribute("restriction", default=None)
    ext_restriction: str | None = attribute("ext-restriction", default=None)
    description: tuple[MLString, ...] = children("Description", default=())
    contact: tuple[Contact, ...] = children("Contact", default=())
    detection_pattern: tuple[DetectionPattern, ...] = children("DetectionPattern", default=())
