"""What an incident has to do with other activity, and who may be behind it (RFC 7970, sections 3.6 to 3.8)."""

from __future__ import annotations

from grid.iodef.fields import Class, attribute, child, children
from grid.iodef.types import URL
from grid.iodef.v2.assessment import Confidence
from grid.iodef.v2.common import Extension, MLString
from grid.iodef.v2.enums import Restriction
from grid.iodef.v2.identity import IncidentID, IndicatorID
from grid.iodef.v2.names import iodef


@iodef("ThreatActor", section="3.7", any_of=("ThreatActorID", "URL", "Description", "AdditionalData"))
class ThreatActor(Class):
    """Somebody who attacks."""

    restriction: Restriction | None = attribute("restriction", default=None)
    ext_restriction: str | None = attribute("ext-restriction", default=None)
    threat_actor_id: tuple[str, ...] = children("ThreatActorID", default=())
    url: tuple[URL, ...] = children("URL", default=())
    description: tuple[MLString, ...] = children("Description", default=())
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())


@iodef("Campaign", section="3.8", any_of=("CampaignID", "URL", "Description", "AdditionalData"))
class Campaign(Class):
    """A series of attacks by one threat actor."""

    restriction: Restriction | None = attribute("restriction", default=None)
    ext_restriction: str | None = attribute("ext-restriction", default=None)
    campaign_id: tuple[str, ...] = children("CampaignID", default=())
    url: tuple[URL, ...] = children("URL", default=())
    description: tuple[MLString, ...] = children("Description", default=())
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())


@iodef(
    "RelatedActivity",
    section="3.6",
    any_of=("IncidentID", "URL", "ThreatActor", "Campaign", "Description", "AdditionalData"),
)
class RelatedActivity(Class):
    """Links the incident to earlier ones, to actors, campaigns and indicators.

    An `indicator_id` or a `confidence` alone is not enough; one of the other children must be there.
    """

    restriction: Restriction | None = attribute("restriction", default=None)
    ext_restriction: str | None = attribute("ext-restriction", default=None)
    incident_id: tuple[IncidentID, ...] = children("IncidentID", default=())
    url: tuple[URL, ...] = children("URL", default=())
    threat_actor: tuple[ThreatActor, ...] = children("ThreatActor", default=())
    campaign: tuple[Campaign, ...] = children("Campaign", default=())
    indicator_id: tuple[IndicatorID, ...] = children("IndicatorID", default=())
    confidence: Confidence | None = child("Confidence", default=None)
    description: tuple[MLString, ...] = children("Description", default=())
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())
