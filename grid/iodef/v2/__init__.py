"""The classes of IODEF 2.0, RFC 7970: `Document` is the whole, every other one has the standard's name.

::

    Document(
        version="2.00",
        incident=(
            Incident(
                purpose="reporting",
                incident_id=IncidentID(value="492382", name="csirt.example.com"),
                generation_time=DateTime("2015-07-18T09:00:00-05:00"),
                contact=(Contact(type="organization", role="creator", email=(Email(email_to="irt@example.com"),)),),
            ),
        ),
    )

All are immutable. What a document leaves out is None or an empty tuple, also where the standard gives a default.
"""

from grid.iodef.v2.assessment import Assessment, BusinessImpact, Confidence, MonetaryImpact, SystemImpact, TimeImpact
from grid.iodef.v2.bulk import AttackPhase, BulkObservable, BulkObservableFormat
from grid.iodef.v2.common import Extension, MLString, Software, SoftwareReference
from grid.iodef.v2.contact import Contact, Email, PostalAddress, RegistryHandle, Telephone
from grid.iodef.v2.counter import Counter
from grid.iodef.v2.discovery import DetectionPattern, Discovery
from grid.iodef.v2.document import Document, Incident, Indicator, IndicatorData, IndicatorExpression, Observable
from grid.iodef.v2.event import EventData, Expectation, History, HistoryItem
from grid.iodef.v2.file import Certificate, CertificateData, File, FileData, FuzzyHash, Hash, HashData, SignatureData
from grid.iodef.v2.identity import (
    AlternativeID,
    AlternativeIndicatorID,
    IncidentID,
    IndicatorID,
    IndicatorReference,
    ObservableReference,
)
from grid.iodef.v2.method import (
    AttackPattern,
    Method,
    Platform,
    RawData,
    Reference,
    ReferenceName,
    Scoring,
    Vulnerability,
    Weakness,
)
from grid.iodef.v2.names import NAMESPACE
from grid.iodef.v2.node import Address, DomainContacts, DomainData, Nameservers, Node, NodeRole
from grid.iodef.v2.record import Key, Record, RecordData, RecordPattern, WindowsRegistryKeysModified
from grid.iodef.v2.related import Campaign, RelatedActivity, ThreatActor
from grid.iodef.v2.service import ApplicationHeader, EmailData, Service, ServiceName
from grid.iodef.v2.system import Flow, System

__all__ = [
    "NAMESPACE",
    "Address",
    "AlternativeID",
    "AlternativeIndicatorID",
    "ApplicationHeader",
    "Assessment",
    "AttackPattern",
    "AttackPhase",
    "BulkObservable",
    "BulkObservableFormat",
    "BusinessImpact",
    "Campaign",
    "Certificate",
    "CertificateData",
    "Confidence",
    "Contact",
    "Counter",
    "DetectionPattern",
    "Discovery",
    "Document",
    "DomainContacts",
    "DomainData",
    "Email",
    "EmailData",
    "EventData",
    "Expectation",
    "Extension",
    "File",
    "FileData",
    "Flow",
    "FuzzyHash",
    "Hash",
    "HashData",
    "History",
    "HistoryItem",
    "Incident",
    "IncidentID",
    "Indicator",
    "IndicatorData",
    "IndicatorExpression",
    "IndicatorID",
    "IndicatorReference",
    "Key",
    "MLString",
    "Method",
    "MonetaryImpact",
    "Nameservers",
    "Node",
    "NodeRole",
    "Observable",
    "ObservableReference",
    "Platform",
    "PostalAddress",
    "RawData",
    "Record",
    "RecordData",
    "RecordPattern",
    "Reference",
    "ReferenceName",
    "RegistryHandle",
    "RelatedActivity",
    "Scoring",
    "Service",
    "ServiceName",
    "SignatureData",
    "Software",
    "SoftwareReference",
    "System",
    "SystemImpact",
    "Telephone",
    "ThreatActor",
    "TimeImpact",
    "Vulnerability",
    "Weakness",
    "WindowsRegistryKeysModified",
]
