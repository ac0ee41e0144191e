"""The classes of IODEF 1.0, RFC 5070: `Document` is the whole, every other one has the standard's name.

`Extension` stands for AdditionalData and RecordItem, `Software` for Application and OperatingSystem, `Phone` for
Telephone and Fax; elements that are one value only, such as the times of section 3.8, are that value.

::

    Document(
        version="1.00",
        lang=Language("en"),
        incident=(
            Incident(
                purpose="reporting",
                incident_id=IncidentID(value="189493", name="csirt.example.com"),
                report_time=DateTime("2001-09-13T23:19:24+00:00"),
                assessment=(Assessment(impact=(Impact(type="admin", completion="failed"),)),),
                contact=(Contact(role="creator", type="organization", email=(Email(value="irt@example.com"),)),),
            ),
        ),
    )

All are immutable. What a document leaves out is None or an empty tuple, also where the standard gives a default.
"""

from grid.iodef.v1.assessment import Assessment, Confidence, Impact, Method, MonetaryImpact, Reference, TimeImpact
from grid.iodef.v1.common import Extension, MLString, Software
from grid.iodef.v1.contact import Contact, Email, Phone, PostalAddress, RegistryHandle
from grid.iodef.v1.counter import Counter
from grid.iodef.v1.document import Document, Incident
from grid.iodef.v1.event import EventData, Expectation, History, HistoryItem
from grid.iodef.v1.identity import AlternativeID, IncidentID, RelatedActivity
from grid.iodef.v1.names import NAMESPACE
from grid.iodef.v1.record import Record, RecordData, RecordPattern
from grid.iodef.v1.system import Address, Flow, Node, NodeRole, Service, System

__all__ = [
    "NAMESPACE",
    "Address",
    "AlternativeID",
    "Assessment",
    "Confidence",
    "Contact",
    "Counter",
    "Document",
    "Email",
    "EventData",
    "Expectation",
    "Extension",
    "Flow",
    "History",
    "HistoryItem",
    "Impact",
    "Incident",
    "IncidentID",
    "MLString",
    "Method",
    "MonetaryImpact",
    "Node",
    "NodeRole",
    "Phone",
    "PostalAddress",
    "Record",
    "RecordData",
    "RecordPattern",
    "Reference",
    "RegistryHandle",
    "RelatedActivity",
    "Service",
    "Software",
    "System",
    "TimeImpact",
]
