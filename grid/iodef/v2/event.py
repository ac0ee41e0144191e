"""The events of an incident, what was done and what is asked for (RFC 7970, sections 3.13 to 3.15)."""

from __future__ import annotations

from grid.iodef.fields import Class, attribute, child, children
from grid.iodef.types import ID, DateTime
from grid.iodef.v2.assessment import Assessment
from grid.iodef.v2.common import Extension, MLString
from grid.iodef.v2.contact import Contact
from grid.iodef.v2.discovery import Discovery
from grid.iodef.v2.enums import Action, Restriction, Severity
from grid.iodef.v2.identity import IncidentID
from grid.iodef.v2.method import Method
from grid.iodef.v2.names import iodef
from grid.iodef.v2.record import Record
from grid.iodef.v2.system import Flow


@iodef("HistoryItem", section="3.13.1")
class HistoryItem(Class):
    """One thing that happened or was done while the incident was handled."""

    action: Action = attribute("action")
    ext_action: str | None = attribute("ext-action", default=None)
    restriction: Restriction | None = attribute("restriction", default=None)
    ext_restriction: str | None = attribute("ext-restriction", default=None)
    observable_id: ID | None = attribute("observable-id", default=None)
    date_time: DateTime = child("DateTime")
    incident_id: IncidentID | None = child("IncidentID", default=None)
    contact: Contact | None = child("Contact", default=None)
    description: tuple[MLString, ...] = children("Description", default=())
    defined_coa: tuple[str, ...] = children("DefinedCOA", default=())
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())


@iodef("History", section="3.13")
class History(Class):
    """The log of those who handled the incident."""

    restriction: Restriction | None = attribute("restriction", default=None)
    ext_restriction: str | None = attribute("ext-restriction", default=None)
    history_item: tuple[HistoryItem, ...] = children("HistoryItem")


@iodef("Expectation", section="3.15")
class Expectation(Class):
    """What the sender asks the recipient to do, and until when."""

    action: Action | None = attribute("action", default=None, implied="other")
    ext_action: str | None = attribute("ext-action", default=None)
    severity: Severity | None = attribute("severity", default=None)
    restriction: Restriction | None = attribute("restriction", default=None, implied="default")
    ext_restriction: str | None = attribute("ext-restriction", default=None)
    observable_id: ID | None = attribute("observable-id", default=None)
    description: tuple[MLString, ...] = children("Description", default=())
    defined_coa: tuple[str, ...] = children("DefinedCOA", default=())
    start_time: DateTime | None = child("StartTime", default=None)
    end_time: DateTime | None = child("EndTime", default=None)
    contact: Contact | None = child("Contact", default=None)


@iodef(
    "EventData",
    section="3.14",
    any_of=(
        "Description",
        "DetectTime",
        "StartTime",
        "EndTime",
        "RecoveryTime",
        "ReportTime",
        "Contact",
        "Discovery",
        "Assessment",
        "Method",
        "Flow",
        "Expectation",
        "Record",
        "EventData",
        "AdditionalData",
    ),
)
class EventData(Class):
    """An event of the incident: who was involved, what happened, what proves it.

    Events nest: what is said of the outer one is common to the inner ones.
    """

    restriction: Restriction | None = attribute("restriction", default=None, implied="default")
    ext_restriction: str | None = attribute("ext-restriction", default=None)
    observable_id: ID | None = attribute("observable-id", default=None)
    description: tuple[MLString, ...] = children("Description", default=())
    detect_time: DateTime | None = child("DetectTime", default=None)
    start_time: DateTime | None = child("StartTime", default=None)
    end_time: DateTime | None = child("EndTime", default=None)
    recovery_time: DateTime | None = child("RecoveryTime", default=None)
    report_time: DateTime | None = child("ReportTime", default=None)
    contact: tuple[Contact, ...] = children("Contact", default=())
    discovery: tuple[Discovery, ...] = children("Discovery", default=())
    assessment: Assessment | None = child("Assessment", default=None)
    method: tuple[Method, ...] = children("Method", default=())
    flow: tuple[Flow, ...] = children("Flow", default=())
    expectation: tuple[Expectation, ...] = children("Expectation", default=())
    record: Record | None = child("Record", default=None)
    event_data: tuple[EventData, ...] = children("EventData", default=())
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())
