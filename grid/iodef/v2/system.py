"""Systems and the traffic between them (RFC 7970, sections 3.16 and 3.17)."""

from __future__ import annotations

from grid.iodef.fields import Class, attribute, child, children
from grid.iodef.types import ID
from grid.iodef.v2.common import Extension, MLString, Software
from grid.iodef.v2.counter import Counter
from grid.iodef.v2.enums import Restriction
from grid.iodef.v2.enums_technical import Ownership, Spoofed, SystemCategory, Virtual
from grid.iodef.v2.names import iodef
from grid.iodef.v2.node import Node, NodeRole
from grid.iodef.v2.service import Service


@iodef("System", section="3.17")
class System(Class):
    """A host or network in an event; `category` tells whether it attacked, was attacked, or neither."""

    category: SystemCategory | None = attribute("category", default=None)
    ext_category: str | None = attribute("ext-category", default=None)
    interface: str | None = attribute("interface", default=None)
    spoofed: Spoofed | None = attribute("spoofed", default=None, implied="unknown")
    virtual: Virtual | None = attribute("virtual", default=None, implied="unknown")
    ownership: Ownership | None = attribute("ownership", default=None)
    ext_ownership: str | None = attribute("ext-ownership", default=None)
    restriction: Restriction | None = attribute("restriction", default=None)
    ext_restriction: str | None = attribute("ext-restriction", default=None)
    observable_id: ID | None = attribute("observable-id", default=None)
    node: Node = child("Node")
    node_role: tuple[NodeRole, ...] = children("NodeRole", default=())
    service: tuple[Service, ...] = children("Service", default=())
    operating_system: tuple[Software, ...] = children("OperatingSystem", default=())
    counter: tuple[Counter, ...] = children("Counter", default=())
    asset_id: tuple[str, ...] = children("AssetID", default=())
    description: tuple[MLString, ...] = children("Description", default=())
    additional_data: tuple[Extension, ...] = children("AdditionalData", default=())


@iodef("Flow", section="3.16")
class Flow(Class):
    """The systems that took part in an event together."""

    system: tuple[System, ...] = children("System")
