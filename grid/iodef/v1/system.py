"""The machines and networks that took part, and their services (RFC 5070, sections 3.14 to 3.18)."""

from __future__ import annotations

from grid.iodef.fields import Class, attribute, child, children, content
from grid.iodef.types import DateTime, Language, PortList
from grid.iodef.v1.common import Extension, MLString, Software
from grid.iodef.v1.counter import Counter
from grid.iodef.v1.enums import AddressCategory, NodeRoleCategory, Restriction, Spoofed, SystemCategory
from grid.iodef.v1.names import iodef


@iodef("Address", section="3.16.2")
class Address(Class):
    """An address of hardware, of a network or host, or of an application; `category` tells how to read it.

    The standard calls `category` required and gives it a default: it is required here.
    """

    value: str = content()
    category: AddressCategory = attribute("category", implied="ipv4-addr")
    ext_category: str | None = attribute("ext-category", default=None)
    vlan_name: str | None = attribute("vlan-name", default=None)
    vlan_num: str | None = attribute("vlan-num", default=None)


@iodef("NodeRole", section="3.16.3")
class NodeRole(Class):
    """What a node is there for; `value`, a free text, is not mentioned by the standard, but its language is.

    The standard calls `lang` required; by section 6 it is inherited, as it is in every ML_STRING.
    """

    value: str = content(default="")
    category: NodeRoleCategory = attribute("category")
    ext_category: str | None = attribute("ext-category", default=None)
    lang: Language | None = attribute("lang", default=None)


@iodef("Node", section="3.16", any_of=("NodeName", "Address"))
class Node(Class):
    """A machine or a network, by name or address; `date_time` is when the one was resolved to the other."""

    node_name: tuple[MLString, ...] = children("NodeName", default=())
    address: tuple[Address, ...] = children("Address", default=())
    location: MLString | None = child("Location", default=None)
    date_time: DateTime | None = child("DateTime", default=None)
    node_role: tuple[NodeRole, ...] = children("NodeRole", default=())
    counter: tuple[Counter, ...] = children("Counter", default=())


@iodef("Service", section="3.17", one_of=("Port", "Portlist"))
class Service(Class):
    """A service by its port or list of ports; `ip_protocol` is the number that IANA gave to the protocol."""

    ip_protocol: int = attribute("ip_protocol")
    port: int | None = child("Port", default=None)
    portlist: PortList | None = child("Portlist", default=None)
    proto_code: int | None = child("ProtoCode", default=None)
    proto_type: int | None = child("ProtoType", default=None)
    proto_flags: int | None = child("ProtoFlags", default=None)
    application: tuple[Software, ...] = children("Application", default=())


@iodef("System", section="3.15")
class System(Class):
    """A machine or a network: `category` tells whether the activity came from it, went to it, or something else."""

    restriction: Restriction | None = attribute("restriction", default=None)
    category: SystemCategory = attribute("category")
    ext_category: str | None = attribute("ext-category", default=None)
    interface: str | None = attribute("interface", default=None)
    spoofed: Spoofed | None = attribute("spoofed", default=None, implied="unknown")
    node: Node = child("Node")
    service: tuple[Service, ...] = children("Service", default=())
    operating_system: Software | None = child("OperatingSystem", default=None)
    counter: tuple[Counter, ...] = children("Counter", default=())
    description: tuple[MLString, ...] = children("Description", default=())
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())


@iodef("Flow", section="3.14")
class Flow(Class):
    """Sources and targets that belong together."""

    system: tuple[System, ...] = children("System")
