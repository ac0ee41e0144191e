"""People and organizations, and how to reach them (RFC 5070, section 3.7)."""

from __future__ import annotations

from grid.iodef.fields import Class, attribute, child, children, content
from grid.iodef.types import Language, Timezone
from grid.iodef.v1.common import Extension, MLString
from grid.iodef.v1.enums import ContactRole, ContactType, Registry, Restriction
from grid.iodef.v1.names import iodef


@iodef("RegistryHandle", section="3.7.1")
class RegistryHandle(Class):
    """The handle under which an Internet registry, or a registry of the community, lists somebody.

    The standard calls `registry` required and gives it a default: it is required here.
    """

    value: str = content()
    registry: Registry = attribute("registry", implied="local")
    ext_registry: str | None = attribute("ext-registry", default=None)


@iodef("PostalAddress", section="3.7.2")
class PostalAddress(Class):
    """A postal address: its lines stand in one text, separated by "$" (section 2.11).

    The standard calls `lang` required; by section 6 it is inherited, as it is in every ML_STRING.
    """

    value: str = content()
    meaning: str | None = attribute("meaning", default=None)
    lang: Language | None = attribute("lang", default=None)


@iodef("Email", section="3.7.3")
class Email(Class):
    """An e-mail address (section 2.14); `meaning` says in free words what it is for."""

    value: str = content()
    meaning: str | None = attribute("meaning", default=None)


@iodef(section="3.7.4")
class Phone(Class):
    """A telephone number (section 2.13): `Telephone` and `Fax`; `meaning` says in free words what it is for."""

    value: str = content()
    meaning: str | None = attribute("meaning", default=None)


@iodef(
    "Contact",
    section="3.7",
    any_of=(
        "ContactName",
        "Description",
        "RegistryHandle",
        "PostalAddress",
        "Email",
        "Telephone",
        "Fax",
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
    contact_name: MLString | None = child("ContactName", default=None)
    description: tuple[MLString, ...] = children("Description", default=())
    registry_handle: tuple[RegistryHandle, ...] = children("RegistryHandle", default=())
    postal_address: PostalAddress | None = child("PostalAddress", default=None)
    email: tuple[Email, ...] = children("Email", default=())
    telephone: tuple[Phone, ...] = children("Telephone", default=())
    fax: Phone | None = child("Fax", default=None)
    timezone: Timezone | None = child("Timezone", default=None)
    contact: tuple[Contact, ...] = children("Contact", default=())
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())
