"""People and organizations, and how to reach them (RFC 7970, section 3.9)."""

from __future__ import annotations

from grid.iodef.fields import Class, attribute, child, children, content
from grid.iodef.types import Timezone
from grid.iodef.v2.common import Extension, MLString
from grid.iodef.v2.enums import (
    ContactRole,
    ContactType,
    EmailType,
    PostalAddressType,
    Registry,
    Restriction,
    TelephoneType,
)
from grid.iodef.v2.names import iodef


@iodef("RegistryHandle", section="3.9.1")
class RegistryHandle(Class):
    """The handle under which an Internet registry, or a registry of the community, lists somebody."""

    value: str = content()
    registry: Registry = attribute("registry")
    ext_registry: str | None = attribute("ext-registry", default=None)


@iodef("PostalAddress", section="3.9.2")
class PostalAddress(Class):
    """A postal address: its lines stand in one text, separated by "$" (section 2.10)."""

    type: PostalAddressType | None = attribute("type", default=None)
    ext_type: str | None = attribute("ext-type", default=None)
    p_address: MLString = child("PAddress")
    description: tuple[MLString, ...] = children("Description", default=())


@iodef("Email", section="3.9.3")
class Email(Class):
    """An e-mail address and notes on it."""

    type: EmailType | None = attribute("type", default=None)
    ext_type: str | None = attribute("ext-type", default=None)
    email_to: str = child("EmailTo")
    description: tuple[MLString, ...] = children("Description", default=())


@iodef("Telephone", section="3.9.4")
class Telephone(Class):
    """A telephone number, as E.164 writes it, and notes on it."""

    type: TelephoneType | None = attribute("type", default=None)
    ext_type: str | None = attribute("ext-type", default=None)
    telephone_number: str = child("TelephoneNumber")
    description: tuple[MLString, ...] = children("Description", default=())


@iodef(
    "Contact",
    section="3.9",
    any_of=(
        "ContactName",
        "ContactTitle",
        "Description",
        "RegistryHandle",
        "PostalAddress",
        "Email",
        "Telephone",
        "Timezone",
        "Contact",
        "AdditionalData",
    ),
)
class Contact(Class):
    """A person or an organization, with its role in the incident.

    Contacts nest: what is said of the outer one also holds for the inner ones.
    """

    role: ContactRole = attribute("role")
    ext_role: str | None = attribute("ext-role", default=None)
    type: ContactType = attribute("type")
    ext_type: str | None = attribute("ext-type", default=None)
    restriction: Restriction | None = attribute("restriction", default=None)
    ext_restriction: str | None = attribute("ext-restriction", default=None)
    contact_name: tuple[MLString, ...] = children("ContactName", default=())
    contact_title: tuple[MLString, ...] = children("ContactTitle", default=())
    description: tuple[MLString, ...] = children("Description", default=())
    registry_handle: tuple[RegistryHandle, ...] = children("RegistryHandle", default=())
    postal_address: tuple[PostalAddress, ...] = children("PostalAddress", default=())
    email: tuple[Email, ...] = children("Email", default=())
    telephone: tuple[Telephone, ...] = children("Telephone", default=())
    timezone: Timezone | None = child("Timezone", default=None)
    contact: tuple[Contact, ...] = children("Contact", default=())
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())
