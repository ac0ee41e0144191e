"""The document, its incidents and their indicators (RFC 7970, sections 3.1, 3.2, 3.28 to 3.29.4).

They stand in one module because they refer to each other in a circle: an incident has indicators, and an observable
of an indicator may be an incident.
"""

from __future__ import annotations

from typing import Literal

from grid.iodef.fields import Class, attribute, child, children
from grid.iodef.types import ID, DateTime, Language
from grid.iodef.v2.assessment import Assessment, Confidence
from grid.iodef.v2.bulk import AttackPhase, BulkObservable
from grid.iodef.v2.common import Extension, MLString
from grid.iodef.v2.contact import Contact, RegistryHandle
from grid.iodef.v2.discovery import DetectionPattern, Discovery
from grid.iodef.v2.enums import IncidentStatus, Purpose, Restriction
from grid.iodef.v2.enums_technical import Operator
from grid.iodef.v2.event import EventData, Expectation, History, HistoryItem
from grid.iodef.v2.file import CertificateData, FileData
from grid.iodef.v2.identity import (
    AlternativeID,
    AlternativeIndicatorID,
    IncidentID,
    IndicatorID,
    IndicatorReference,
    ObservableReference,
)
from grid.iodef.v2.method import Method, Reference
from grid.iodef.v2.names import iodef
from grid.iodef.v2.node import Address, DomainData, NodeRole
from grid.iodef.v2.record import RecordData, WindowsRegistryKeysModified
from grid.iodef.v2.related import RelatedActivity
from grid.iodef.v2.service import EmailData, Service
from grid.iodef.v2.system import System


@iodef(
    "Observable",
    section="3.29.3",
    one_of=(
        "System",
        "Address",
        "DomainData",
        "Service",
        "EmailData",
        "WindowsRegistryKeysModified",
        "FileData",
        "CertificateData",
        "RegistryHandle",
        "RecordData",
        "EventData",
        "Incident",
        "Expectation",
        "Reference",
        "Assessment",
        "DetectionPattern",
        "HistoryItem",
        "BulkObservable",
        "AdditionalData",
    ),
)
class Observable(Class):
    """Something that can be seen or measured: exactly one kind of child, of which `additional_data` may repeat."""

    restriction: Restriction | None = attribute("restriction", default=None)
    ext_restriction: str | None = attribute("ext-restriction", default=None)
    system: System | None = child("System", default=None)
    address: Address | None = child("Address", default=None)
    domain_data: DomainData | None = child("DomainData", default=None)
    service: Service | None = child("Service", default=None)
    email_data: EmailData | None = child("EmailData", default=None)
    windows_registry_keys_modified: WindowsRegistryKeysModified | None = child(
        "WindowsRegistryKeysModified", default=None
    )
    file_data: FileData | None = child("FileData", default=None)
    certificate_data: CertificateData | None = child("CertificateData", default=None)
    registry_handle: RegistryHandle | None = child("RegistryHandle", default=None)
    record_data: RecordData | None = child("RecordData", default=None)
    event_data: EventData | None = child("EventData", default=None)
    incident: Incident | None = child("Incident", default=None)
    expectation: Expectation | None = child("Expectation", default=None)
    reference: Reference | None = child("Reference", default=None)
    assessment: Assessment | None = child("Assessment", default=None)
    detection_pattern: DetectionPattern | None = child("DetectionPattern", default=None)
    history_item: HistoryItem | None = child("HistoryItem", default=None)
    bulk_observable: BulkObservable | None = child("BulkObservable", default=None)
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())


@iodef("IndicatorExpression", section="3.29.4")
class IndicatorExpression(Class):
    """Observables and indicators under one logical operator; expressions nest like brackets (section 3.29.5)."""

    operator: Operator | None = attribute("operator", default=None, implied="and")
    ext_operator: str | None = attribute("ext-operator", default=None)
    indicator_expression: tuple[IndicatorExpression, ...] = children("IndicatorExpression", default=())
    observable: tuple[Observable, ...] = children("Observable", default=())
    observable_reference: tuple[ObservableReference, ...] = children("ObservableReference", default=())
    indicator_reference: tuple[IndicatorReference, ...] = children("IndicatorReference", default=())
    confidence: Confidence | None = child("Confidence", default=None)
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())


@iodef(
    "Indicator",
    section="3.29",
    one_of=("Observable", "ObservableReference", "IndicatorExpression", "IndicatorReference"),
)
class Indicator(Class):
    """What betrays an attack, and when and in which phase it is to be expected."""

    restriction: Restriction | None = attribute("restriction", default=None)
    ext_restriction: str | None = attribute("ext-restriction", default=None)
    indicator_id: IndicatorID = child("IndicatorID")
    alternative_indicator_id: tuple[AlternativeIndicatorID, ...] = children("AlternativeIndicatorID", default=())
    description: tuple[MLString, ...] = children("Description", default=())
    start_time: DateTime | None = child("StartTime", default=None)
    end_time: DateTime | None = child("EndTime", default=None)
    confidence: Confidence | None = child("Confidence", default=None)
    contact: tuple[Contact, ...] = children("Contact", default=())
    observable: Observable | None = child("Observable", default=None)
    observable_reference: ObservableReference | None = child("ObservableReference", default=None)
    indicator_expression: IndicatorExpression | None = child("IndicatorExpression", default=None)
    indicator_reference: IndicatorReference | None = child("IndicatorReference", default=None)
    node_role: tuple[NodeRole, ...] = children("NodeRole", default=())
    attack_phase: tuple[AttackPhase, ...] = children("AttackPhase", default=())
    reference: tuple[Reference, ...] = children("Reference", default=())
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())


@iodef("IndicatorData", section="3.28")
class IndicatorData(Class):
    """The indicators of an incident."""

    indicator: tuple[Indicator, ...] = children("Indicator")


@iodef("Incident", section="3.2")
class Incident(Class):
    """An incident, or what was learnt from one: what the parties of the grid tell each other."""

    purpose: Purpose = attribute("purpose")
    ext_purpose: str | None = attribute("ext-purpose", default=None)
    status: IncidentStatus | None = attribute("status", default=None)
    ext_status: str | None = attribute("ext-status", default=None)
    lang: Language | None = attribute("xml:lang", default=None)
    restriction: Restriction | None = attribute("restriction", default=None, implied="private")
    ext_restriction: str | None = attribute("ext-restriction", default=None)
    observable_id: ID | None = attribute("observable-id", default=None)
    incident_id: IncidentID = child("IncidentID")
    alternative_id: AlternativeID | None = child("AlternativeID", default=None)
    related_activity: tuple[RelatedActivity, ...] = children("RelatedActivity", default=())
    detect_time: DateTime | None = child("DetectTime", default=None)
    start_time: DateTime | None = child("StartTime", default=None)
    end_time: DateTime | None = child("EndTime", default=None)
    recovery_time: DateTime | None = child("RecoveryTime", default=None)
    report_time: DateTime | None = child("ReportTime", default=None)
    generation_time: DateTime = child("GenerationTime")
    description: tuple[MLString, ...] = children("Description", default=())
    discovery: tuple[Discovery, ...] = children("Discovery", default=())
    assessment: tuple[Assessment, ...] = children("Assessment", default=())
    method: tuple[Method, ...] = children("Method", default=())
    contact: tuple[Contact, ...] = children("Contact")
    event_data: tuple[EventData, ...] = children("EventData", default=())
    indicator_data: IndicatorData | None = child("IndicatorData", default=None)
    history: History | None = child("History", default=None)
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())


@iodef("IODEF-Document", section="3.1")
class Document(Class):
    """A whole document: one or more incidents."""

    version: Literal["2.00"] = attribute("version")
    lang: Language | None = attribute("xml:lang", default=None)
    format_id: str | None = attribute("format-id", default=None)
    private_enum_name: str | None = attribute("private-enum-name", default=None)
    private_enum_id: str | None = attribute("private-enum-id", default=None)
    incident: tuple[Incident, ...] = children("Incident")
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())
