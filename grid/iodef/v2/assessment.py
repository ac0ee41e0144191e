"""What an incident did to its victim, and how sure that is (RFC 7970, section 3.12)."""

from __future__ import annotations

from decimal import Decimal

from grid.iodef.fields import Class, attribute, child, children, content
from grid.iodef.types import ID
from grid.iodef.v2.common import Extension, MLString
from grid.iodef.v2.counter import Counter
from grid.iodef.v2.enums import (
    BusinessImpactType,
    BusinessSeverity,
    Completion,
    ConfidenceRating,
    Duration,
    Occurrence,
    Restriction,
    Severity,
    SystemImpactType,
    TimeImpactMetric,
)
from grid.iodef.v2.names import iodef


@iodef("SystemImpact", section="3.12.1")
class SystemImpact(Class):
    """The effect on the victim's systems, in technical terms."""

    severity: Severity | None = attribute("severity", default=None)
    completion: Completion | None = attribute("completion", default=None)
    type: SystemImpactType = attribute("type", implied="unknown")
    ext_type: str | None = attribute("ext-type", default=None)
    description: tuple[MLString, ...] = children("Description", default=())


@iodef("BusinessImpact", section="3.12.2")
class BusinessImpact(Class):
    """The effect on the victim's business; as `IntendedImpact`, the effect that the threat actor wanted."""

    severity: BusinessSeverity | None = attribute("severity", default=None, implied="unknown")
    ext_severity: str | None = attribute("ext-severity", default=None)
    type: BusinessImpactType = attribute("type", implied="unknown")
    ext_type: str | None = attribute("ext-type", default=None)
    description: tuple[MLString, ...] = children("Description", default=())


@iodef("TimeImpact", section="3.12.3")
class TimeImpact(Class):
    """Time that the incident cost; `metric` tells whose or which, `duration` the unit."""

    value: Decimal = content()
    severity: Severity | None = attribute("severity", default=None)
    metric: TimeImpactMetric = attribute("metric")
    ext_metric: str | None = attribute("ext-metric", default=None)
    duration: Duration | None = attribute("duration", default=None, implied="hour")
    ext_duration: str | None = attribute("ext-duration", default=None)


@iodef("MonetaryImpact", section="3.12.4")
class MonetaryImpact(Class):
    """Money that the incident cost; `currency` is a code of ISO 4217."""

    value: Decimal = content()
    severity: Severity | None = attribute("severity", default=None)
    currency: str | None = attribute("currency", default=None)


@iodef("Confidence", section="3.12.5")
class Confidence(Class):
    """How far what is told can be trusted: a number when `rating` is "numeric", else the rating alone."""

    value: Decimal | None = content(default=None)
    rating: ConfidenceRating = attribute("rating")
    ext_rating: str | None = attribute("ext-rating", default=None)


_IMPACTS = ("SystemImpact", "BusinessImpact", "TimeImpact", "MonetaryImpact", "IntendedImpact")


@iodef("Assessment", section="3.12", any_of=_IMPACTS, any_order=_IMPACTS)
class Assessment(Class):
    """The consequences of the incident, at least one of them, actual or potential.

    :ivar order: the names of the impacts as they follow each other; empty when they come by kind, as declared here.
    """

    order: tuple[str, ...] = ()
    occurrence: Occurrence | None = attribute("occurrence", default=None)
    restriction: Restriction | None = attribute("restriction", default=None)
    ext_restriction: str | None = attribute("ext-restriction", default=None)
    observable_id: ID | None = attribute("observable-id", default=None)
    incident_category: tuple[MLString, ...] = children("IncidentCategory", default=())
    system_impact: tuple[SystemImpact, ...] = children("SystemImpact", default=())
    business_impact: tuple[BusinessImpact, ...] = children("BusinessImpact", default=())
    time_impact: tuple[TimeImpact, ...] = children("TimeImpact", default=())
    monetary_impact: tuple[MonetaryImpact, ...] = children("MonetaryImpact", default=())
    intended_impact: tuple[BusinessImpact, ...] = children("IntendedImpact", default=())
    counter: tuple[Counter, ...] = children("Counter", default=())
    mitigating_factor: tuple[MLString, ...] = children("MitigatingFactor", default=())
    cause: tuple[MLString, ...] = children("Cause", default=())
    confidence: Confidence | None = child("Confidence", default=None)
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())
