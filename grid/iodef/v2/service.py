"""Network services and e-mail (RFC 7970, sections 3.20 and 3.21)."""

from __future__ import annotations

from grid.iodef.fields import Class, attribute, child, children
from grid.iodef.types import ID, URL, PortList
from grid.iodef.v2.common import Extension, MLString, Software
from grid.iodef.v2.file import HashData, SignatureData
from grid.iodef.v2.names import iodef


@iodef("ServiceName", section="3.20.1", any_of=("IANAService", "URL", "Description"))
class ServiceName(Class):
    """An application protocol: by its name in IANA's registry, by address, or in words."""

    iana_service: str | None = child("IANAService", default=None)
    url: tuple[URL, ...] = children("URL", default=())
    description: tuple[MLString, ...] = children("Description", default=())


@iodef("ApplicationHeader", section="3.20.2")
class ApplicationHeader(Class):
    """Fields of a protocol's header; each has its name in the attribute `name`."""

    application_header_field: tuple[Extension, ...] = children("ApplicationHeaderField")


@iodef("EmailData", section="3.21")
class EmailData(Class):
    """An e-mail message: header fields, parts of it, hashes and signatures of it."""

    observable_id: ID | None = attribute("observable-id", default=None)
    email_to: tuple[str, ...] = children("EmailTo", default=())
    email_from: str | None = child("EmailFrom", default=None)
    email_subject: str | None = child("EmailSubject", default=None)
    email_x_mailer: str | None = child("EmailX-Mailer", default=None)
    email_header_field: tuple[Extension, ...] = children("EmailHeaderField", default=())
    email_headers: str | None = child("EmailHeaders", default=None)
    email_body: str | None = child("EmailBody", default=None)
    email_message: str | None = child("EmailMessage", default=None)
    hash_data: tuple[HashData, ...] = children("HashData", default=())
    signature_data: tuple[SignatureData, ...] = children("SignatureData", default=())


@iodef(
    "Service",
    section="3.20",
    any_of=(
        "ServiceName",
        "Port",
        "Portlist",
        "ProtoCode",
        "ProtoType",
        "ProtoField",
        "ApplicationHeader",
        "EmailData",
        "Application",
    ),
)
class Service(Class):
    """A service by protocol, port, header or application; `ip_protocol`, IANA's number, is needed with ports."""

    ip_protocol: int | None = attribute("ip-protocol", default=None)
    observable_id: ID | None = attribute("observable-id", default=None)
    service_name: ServiceName | None = child("ServiceName", default=None)
    port: int | None = child("Port", default=None)
    portlist: PortList | None = child("Portlist", default=None)
    proto_code: int | None = child("ProtoCode", default=None)
    proto_type: int | None = child("ProtoType", default=None)
    proto_field: int | None = child("ProtoField", default=None)
    application_header: ApplicationHeader | None = child("ApplicationHeader", default=None)
    email_data: EmailData | None = child("EmailData", default=None)
    application: Software | None = child("Application", default=None)
