"""What an incident did to its victim, how sure that is, and how it was done (RFC 5070, sections 3.9 and 3.10)."""

from __future__ import annotations

from decimal import Decimal

from grid.iodef.fields import Class, attribute, child, children, content
from grid.iodef.types import URL, Language
from grid.iodef.v1.common import Extension, MLString
from grid.iodef.v1.counter import Counter
from grid.iodef.v1.enums import (
    Completion,
    ConfidenceRating,
    Duration,
    ImpactType,
    Occurrence,
    Restriction,
    Severity,
    TimeImpactMetric,
)
from grid.iodef.v1.names import iodef


@iodef("Reference", section="3.9.1")
class Reference(Class):
    """The name of a vulnerability, malware sample, alert, advisory or technique, and where to read of it."""

    reference_name: MLString = child("ReferenceName")
    url: tuple[URL, ...] = children("URL", default=())
    description: tuple[MLString, ...] = children("Description", default=())


@iodef("Method", section="3.9", any_of=("Reference", "Description"))
class Method(Class):
    """How the intruder worked, by reference or in words."""

    restriction: Restriction | None = attribute("restriction", default=None)
    reference: tuple[Reference, ...] = children("Reference", default=())
    description: tuple[MLString, ...] = children("Description", default=())
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())


@iodef("Impact", section="3.10.1")
class Impact(Class):
    """The effect on the network in technical terms; `value` describes it in words and is often left out.

    The standard calls `lang` required; by section 6 it is inherited, and no example of section 7 has it.
    """

    value: str = content(default="")
    lang: Language | None = attribute("lang", default=None)
    severity: Severity | None = attribute("severity", default=None)
    completion: Completion | None = attribute("completion", default=None)
    type: ImpactType = attribute("type")
    ext_type: str | None = attribute("ext-type", default=None)


@iodef("TimeImpact", section="3.10.2")
class TimeImpact(Class):
    """Time that the incident cost, a positive number; `metric` tells whose or which, `duration` the unit."""

    value: Decimal = content()
    severity: Severity | None = attribute("severity", default=None)
    metric: TimeImpactMetric = attribute("metric")
    ext_metric: str | None = attribute("ext-metric", default=None)
    duration: Duration = attribute("duration", implied="hour")
    ext_duration: str | None = attribute("ext-duration", default=None)


@iodef("MonetaryImpact", section="3.10.3")
class MonetaryImpact(Class):
    """Money that the incident cost, a positive number; `currency` is a code of ISO 4217."""

    value: Decimal = content()
    severity: Severity | None = attribute("severity", default=None)
    currency: str = attribute("currency")


@iodef("Confidence", section="3.10.4")
class Confidence(Class):
    """How far the assessment can be trusted: a number when `rating` is "numeric", else the rating alone."""

    value: Decimal | None = content(default=None)
    rating: ConfidenceRating = attribute("rating")


_IMPACTS = ("Impact", "TimeImpact", "MonetaryImpact")


@iodef("Assessment", section="3.10", any_of=_IMPACTS, any_order=_IMPACTS)
class Assessment(Class):
    """The consequences of the incident, at least one of them, actual or potential.

    :ivar order: the names of the impacts as they follow each other; empty when they come by kind, as declared here.
    """

    order: tuple[str, ...] = ()
    occurrence: Occurrence | None = attribute("occurrence", default=None, implied="actual")
    restriction: Restriction | None = attribute("restriction", default=None)
    impact: tuple[Impact, ...] = children("Impact", default=())
    time_impact: tuple[TimeImpact, ...] = children("TimeImpact", default=())
    monetary_impact: tuple[MonetaryImpact, ...] = children("MonetaryImpact", default=())
    counter: tuple[Counter, ...] = children("Counter", default=())
    confidence: Confidence | None = child("Confidence", default=None)
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())
