"""What happened, what was done about it, and what is wanted (RFC 5070, sections 3.11 to 3.13)."""

from __future__ import annotations

from grid.iodef.fields import Class, attribute, child, children
from grid.iodef.types import DateTime
from grid.iodef.v1.assessment import Assessment, Method
from grid.iodef.v1.common import Extension, MLString
from grid.iodef.v1.contact import Contact
from grid.iodef.v1.enums import Action, Restriction, Severity
from grid.iodef.v1.identity import IncidentID
from grid.iodef.v1.names import iodef
from grid.iodef.v1.record import Record
from grid.iodef.v1.system import Flow


@iodef("HistoryItem", section="3.11.1")
class HistoryItem(Class):
    """Something that was done, when and by whom; `incident_id` tells which CSIRT wrote it down."""

    restriction: Restriction | None = attribute("restriction", default=None)
    action: Action = attribute("action")
    ext_action: str | None = attribute("ext-action", default=None)
    date_time: DateTime = child("DateTime")
    incident_id: IncidentID | None = child("IncidentID", default=None)
    contact: Contact | None = child("Contact", default=None)
    description: tuple[MLString, ...] = children("Description", default=())
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())


@iodef("History", section="3.11")
class History(Class):
    """The log of those who handled the incident."""

    restriction: Restriction | None = attribute("restriction", default=None)
    history_item: tuple[HistoryItem, ...] = children("HistoryItem")


@iodef("Expectation", section="3.13")
class Expectation(Class):
    """What the sender asks the recipient to do, between which times, and who is to do it."""

    restriction: Restriction | None = attribute("restriction", default=None)
    severity: Severity | None = attribute("severity", default=None)
    action: Action | None = attribute("action", default=None)
    ext_action: str | None = attribute("ext-action", default=None)
    description: tuple[MLString, ...] = children("Description", default=())
    start_time: DateTime | None = child("StartTime", default=None)
    end_time: DateTime | None = child("EndTime", default=None)
    contact: Contact | None = child("Contact", default=None)


@iodef(
    "EventData",
    section="3.12",
    any_of=(
        "Description",
        "DetectTime",
        "StartTime",
        "EndTime",
        "Contact",
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
    """An event of the incident. Events nest: what is said of the outer one also holds for the inner ones."""

    restriction: Restriction | None = attribute("restriction", default=None)
    description: tuple[MLString, ...] = children("Description", default=())
    detect_time: DateTime | None = child("DetectTime", default=None)
    start_time: DateTime | None = child("StartTime", default=None)
    end_time: DateTime | None = child("EndTime", default=None)
    contact: tuple[Contact, ...] = children("Contact", default=())
    assessment: Assessment | None = child("Assessment", default=None)
    method: tuple[Method, ...] = children("Method", default=())
    flow: tuple[Flow, ...] = children("Flow", default=())
    expectation: tuple[Expectation, ...] = children("Expectation", default=())
    record: Record | None = child("Record", default=None)
    event_data: tuple[EventData, ...] = children("EventData", default=())
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())
