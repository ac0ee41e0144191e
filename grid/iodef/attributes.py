"""What the grid filters incidents on, taken from the parsed tree of a document (draft-ietf-mile-xmpp-grid-01 §3).

::

    for found in extract(iodef.check(received)):
        if found.authority == "csirt.example.com" and "high" in found.severity:
            ...

It works on the tree rather than on the model because it runs for every document that is published; the table of what
comes from where is in ``docs/iodef-attributes.md``. What describes an incident stands in `Incident` itself and in its
`EventData`, at any depth. What stands in `IndicatorData` describes what to look for instead: an assessment or a
method there, or those of an incident within an `Observable`, do not count; only the addresses of systems of category
``source`` do, wherever they stand. What extensions hold (`AdditionalData` and
the like) is another vocabulary and is not looked into.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Final, NamedTuple

from lxml import etree

from grid.iodef.extraction import INCIDENT, fields
from grid.iodef.networks import INTERNET, Network, network

NAMES: Final = (
    "authority", "incident-id", "purpose", "restriction", "severity", "type", "category", "method", "attacker",
)  # fmt: skip
"""The attributes by the names that filters use, see `Attributes.values`."""

SEVERITIES: Final = ("none", "low", "medium", "high")
"""Values of severity from least to most; ``unknown`` and extensions have no place among them."""

_DISCLOSURE = {"white": "public", "green": "partner", "amber": "need-to-know", "red": "private"}


def disclosure(restriction: str) -> str:
    """The restriction in the words of IODEF: ``public``, ``partner``, ``need-to-know`` or ``private`` for the four
    colours (RFC 7970 §3.3.1); any other value, ``default`` for example, as it is."""
    return _DISCLOSURE.get(restriction, restriction)


class _Fields(NamedTuple):
    authority: str
    incident_id: str
    purpose: str
    restriction: str
    severity: tuple[str, ...] = ()
    type: tuple[str, ...] = ()
    category: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    addresses: tuple[tuple[str, str], ...] = ()


class Attributes(_Fields):
    """The attributes of one incident; immutable, compared by value. Several values are in the order of the document.

    Extended enumerations are resolved: where the document says ``ext-value``, the value of ``ext-…`` stands here.

    :ivar authority: who numbered the incident, a domain name.
    :ivar incident_id: its number there.
    :ivar purpose: such as ``reporting``.
    :ivar restriction: as written; ``private`` when nothing is (RFC 7970 §3.3.1, RFC 5070 §3.2).
    :ivar severity: of every impact that states one, each value once.
    :ivar type: of every impact that states one, each value once.
    :ivar category: texts of IncidentCategory, each once; version 1.0 has no such class.
    :ivar method: identifiers of what was used, each once: references, attack patterns, vulnerabilities, weaknesses.
    :ivar addresses: category and text of every address of a source system, as written.
    """

    @property
    def disclosure(self) -> str:
        """The `restriction` in one vocabulary, see the function of this name."""
        return disclosure(self.restriction)

    @cached_property
    def attackers(self) -> tuple[Network, ...]:
        """The Internet addresses and networks among `addresses`, normalised, each once."""
        if not self.addresses:
            return ()
        found = (network(text) for category, text in self.addresses if category in INTERNET)
        return tuple(dict.fromkeys(each for each in found if each is not None))

    @cached_property
    def malformed(self) -> tuple[str, ...]:
        """The texts that should be Internet addresses by their category and are none."""
        return tuple(text for category, text in self.addresses if category in INTERNET and network(text) is None)

    def values(self, name: str) -> tuple[str, ...]:
        """The values of an attribute as a filter compares them.

        :param name: one of `NAMES`. ``attacker`` gives Internet addresses in normal form, and addresses of other
            kinds, or malformed ones, as they are written.
        :raises KeyError: no such attribute.
        """
        return _VALUES[name](self)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"attributes of an incident cannot be changed: {name}")


def _attacker(found: Attributes) -> tuple[str, ...]:
    shown = (
        str(known) if category in INTERNET and (known := network(text)) is not None else text
        for category, text in found.addresses
    )
    return tuple(dict.fromkeys(shown))


_VALUES: dict[str, Callable[[Attributes], tuple[str, ...]]] = {
    "authority": lambda found: (found.authority,),
    "incident-id": lambda found: (found.incident_id,),
    "purpose": lambda found: (found.purpose,),
    "restriction": lambda found: (found.restriction,),
    "severity": lambda found: found.severity,
    "type": lambda found: found.type,
    "category": lambda found: found.category,
    "method": lambda found: found.method,
    "attacker": _attacker,
}


def extract(tree: etree._ElementTree | etree._Element) -> tuple[Attributes, ...]:
    """The attributes of every incident of a document.

    :param tree: of a valid document of either version, from `grid.iodef.parse` or `check`; or an element: an
        IODEF-Document, or an Incident alone as XEP-0268 carries it. Of a document that is not valid it gives what it
        finds; it never fails.
    :returns: one for each Incident that is a child of the document, in its order.
    """
    root: Any = tree if isinstance(tree, etree._Element) else tree.getroot()
    if root is None or not len(root):
        return ()
    if root.tag in INCIDENT:
        return (_make(Attributes, fields(root)),)
    return tuple([_make(Attributes, fields(child)) for child in root.getchildren() if child.tag in INCIDENT])


_make: Callable[..., Attributes] = tuple.__new__  # half the time of Attributes(…)
