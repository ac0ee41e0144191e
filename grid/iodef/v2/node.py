"""Hosts and networks by address and by name (RFC 7970, sections 3.18 and 3.19)."""

from __future__ import annotations

from grid.iodef.fields import Class, attribute, child, children, content
from grid.iodef.types import ID, DateTime
from grid.iodef.v2.common import Extension, MLString
from grid.iodef.v2.contact import Contact, PostalAddress
from grid.iodef.v2.counter import Counter
from grid.iodef.v2.enums_technical import AddressCategory, DomainStatus, NodeRoleCategory, SystemStatus
from grid.iodef.v2.names import iodef


@iodef("Address", section="3.18.1")
class Address(Class):
    """An address of hardware, network or application; `category` tells which kind and how it is written."""

    value: str = content()
    category: AddressCategory = attribute("category", implied="ipv6-addr")
    ext_category: str | None = attribute("ext-category", default=None)
    vlan_name: str | None = attribute("vlan-name", default=None)
    vlan_num: int | None = attribute("vlan-num", default=None)
    observable_id: ID | None = attribute("observable-id", default=None)


@iodef("NodeRole", section="3.18.2")
class NodeRole(Class):
    """What a system is there for, in its owner's eyes or in the attacker's."""

    category: NodeRoleCategory = attribute("category")
    ext_category: str | None = attribute("ext-category", default=None)
    description: tuple[MLString, ...] = children("Description", default=())


@iodef("Nameservers", section="3.19.1")
class Nameservers(Class):
    """A name server of a domain and its addresses, which are of category "ipv4-addr" or "ipv6-addr"."""

    server: str = child("Server")
    address: tuple[Address, ...] = children("Address")


@iodef("DomainContacts", section="3.19.2", one_of=("SameDomainContact", "Contact"))
class DomainContacts(Class):
    """Whom to ask about a domain: contacts, or the name of a domain that has the same ones."""

    # ERRATUM: figure 40 has one contact at least; the prose has a domain's name or contacts.
    same_domain_contact: str | None = child("SameDomainContact", default=None)
    contact: tuple[Contact, ...] = children("Contact", default=())


@iodef("DomainData", section="3.19")
class DomainData(Class):
    """A domain name, its part in the event and what registry and DNS tell of it."""

    system_status: SystemStatus = attribute("system-status")
    ext_system_status: str | None = attribute("ext-system-status", default=None)
    domain_status: DomainStatus = attribute("domain-status")
    ext_domain_status: str | None = attribute("ext-domain-status", default=None)
    observable_id: ID | None = attribute("observable-id", default=None)
    name: str = child("Name")
    date_domain_was_checked: DateTime | None = child("DateDomainWasChecked", default=None)
    registration_date: DateTime | None = child("RegistrationDate", default=None)
    expiration_date: DateTime | None = child("ExpirationDate", default=None)
    related_dns: tuple[Extension, ...] = children("RelatedDNS", default=())
    nameservers: tuple[Nameservers, ...] = children("Nameservers", default=())
    domain_contacts: DomainContacts | None = child("DomainContacts", default=None)


@iodef("Node", section="3.18", any_of=("DomainData", "Address"))
class Node(Class):
    """A host or network: at least one address or domain name, and where it stands."""

    domain_data: tuple[DomainData, ...] = children("DomainData", default=())
    address: tuple[Address, ...] = children("Address", default=())
    # ERRATUM: 3.18 calls this POSTAL, the type of a text; RFC 8727 has the class of this name (3.9.2).
    postal_address: PostalAddress | None = child("PostalAddress", default=None)
    location: tuple[MLString, ...] = children("Location", default=())
    counter: tuple[Counter, ...] = children("Counter", default=())
