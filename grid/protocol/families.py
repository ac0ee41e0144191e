"""The namespaces of the samples in draft-ietf-mile-xmpp-grid-01 §2.6.

The draft cuts most of its prefix declarations short. Two samples have them whole, the one of publishing and the one
of the notification that follows, and they differ: two families, both of which are understood, and of which an answer
takes that of its request. Whatever a prefix inside of a value means is never asked: servers drop declarations that no
element needs.
"""

from __future__ import annotations

from enum import Enum

from grid import ns

BASE = "http://www.domain.com/xgrid"
"""``ns2`` of both families: capabilities, topics, requests."""

ARRAY = "http://jaxb.dev.java.net/array"
"""What the answer to `find` names as the type of its list."""

SCHEMA = "http://www.w3.org/2001/XMLSchema"


class Family(Enum):
    """What the prefixes ``ns2`` to ``ns8`` of a sample stand for."""

    PUBLISH = (
        ("ns2", BASE),
        ("ns3", f"{BASE}/net"),
        ("ns4", f"{BASE}/admin"),
        ("ns5", f"{BASE}/identity"),
        ("ns6", f"{BASE}/eps"),
        ("ns7", f"{BASE}/netcap"),
        ("ns8", f"{BASE}/anc"),
    )
    """As the sample of publishing has them."""
    NOTIFICATION = (
        ("ns2", BASE),
        ("ns3", "http://www.domain.com/xgridNet"),
        ("ns4", "http://www.domain.com/gc-admin"),
        ("ns5", "http://www.domain.com/identity"),
        ("ns6", "http://www.domain.com/eps"),
        ("ns7", "http://www.domain.com/netcap"),
    )
    """As the sample of the notification has them."""

    @property
    def declarations(self) -> str:
        """All prefixes, as the attributes that declare them."""
        return "".join(f" xmlns:{name}='{uri}'" for name, uri in self.value)

    def uri(self, prefix: str) -> str:
        """The namespace of a prefix; that of ``ns2`` when the family has no such prefix."""
        return next((uri for name, uri in self.value if name == prefix), BASE)


_OF = {uri: family for family in Family for _, uri in family.value if uri != BASE}

KNOWN = frozenset({*_OF, BASE, ns.XGRID, ns.GI, ns.CONTROLLER, ns.GRID, ""})
"""In these the elements of requests are understood. The empty one is that of the draft's own answers."""


def family_of(*namespaces: str) -> Family:
    """The family that the first telling one of `namespaces` belongs to; none tells, it is that of publishing."""
    for namespace in namespaces:
        if namespace in _OF:
            return _OF[namespace]
    return Family.PUBLISH
