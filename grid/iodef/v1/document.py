"""The document and its incidents (RFC 5070, sections 3.1 and 3.2)."""

from __future__ import annotations

from grid.iodef.fields import Class, attribute, child, children
from grid.iodef.types import DateTime, Language
from grid.iodef.v1.assessment import Assessment, Method
from grid.iodef.v1.common import Extension, MLString
from grid.iodef.v1.contact import Contact
from grid.iodef.v1.enums import Purpose, Restriction, Version
from grid.iodef.v1.event import EventData, History
from grid.iodef.v1.identity import AlternativeID, IncidentID, RelatedActivity
from grid.iodef.v1.names import iodef


@iodef("Incident", section="3.2")
class Incident(Class):
    """An incident: who reports it to what purpose, what it did, how, and which events it consists of."""

    purpose: Purpose = attribute("purpose")
    ext_purpose: str | None = attribute("ext-purpose", default=None)
    lang: Language | None = attribute("lang", default=None)
    restriction: Restriction | None = attribute("restriction", default=None, implied="private")
    incident_id: IncidentID = child("IncidentID")
    alternative_id: AlternativeID | None = child("AlternativeID", default=None)
    related_activity: RelatedActivity | None = child("RelatedActivity", default=None)
    detect_time: DateTime | None = child("DetectTime", default=None)
    start_time: DateTime | None = child("StartTime", default=None)
    end_time: DateTime | None = child("EndTime", default=None)
    report_time: DateTime = child("ReportTime")
    description: tuple[MLString, ...] = children("Description", default=())
    assessment: tuple[Assessment, ...] = children("Assessment")
    method: tuple[Method, ...] = children("Method", default=())
    contact: tuple[Contact, ...] = children("Contact")
    event_data: tuple[EventData, ...] = children("EventData", default=())
    history: History | None = child("History", default=None)
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())


@iodef("IODEF-Document", section="3.1")
class Document(Class):
    """A whole document: one or more incidents; `lang` is the language of every text that names none."""

    version: Version = attribute("version")
    lang: Language = attribute("lang")
    formatid: str | None = attribute("formatid", default=None)
    incident: tuple[Incident, ...] = children("Incident")
