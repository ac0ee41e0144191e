"""What the standards demand and no schema can say (RFC 7970 §4.3: such constraints "MUST also be considered").

`grid.iodef.demands` has the rules; here is which elements they are for, so that one walk over a document looks at
those elements and at no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from lxml import etree

from grid.iodef import demands
from grid.iodef.demands import Broken, Rule
from grid.iodef.errors import MOST, Problem
from grid.iodef.names import PREFIXES, V1, V2, local
from grid.iodef.places import Places

_COMMON: dict[str, tuple[Rule, ...]] = {
    "AdditionalData": (demands.typed_content,),
    "RecordItem": (demands.typed_content,),
    "Portlist": (demands.ports,),
    "Confidence": (demands.confidence,),
    "RecordPattern": (demands.pattern,),
}

_OF_V2: dict[str, tuple[Rule, ...]] = {
    **_COMMON,
    "SoftwareReference": (demands.custom_software, demands.typed_content),
    "FileProperties": (demands.typed_content,),
    "FuzzyHashValue": (demands.typed_content,),
    "RelatedDNS": (demands.typed_content,),
    "ApplicationHeaderField": (demands.typed_content,),
    "EmailHeaderField": (demands.typed_content,),
    "HistoryItem": (demands.course_of_action,),
    "Expectation": (demands.course_of_action,),
    "Service": (demands.protocol,),
    "HashData": (demands.hashed,),
    "BulkObservable": (demands.bulk,),
    "IndicatorData": (),
    "ObservableReference": (),
    "IndicatorReference": (),
    "IndicatorExpression": (demands.expression,),
}


_TOGETHER: dict[str, Callable[[Sequence[etree._Element]], Iterable[Broken]]] = {
    "Portlist": demands.port_pairs,
    "IndicatorData": lambda found: demands.distinct(found[0].getroottree().getroot()),
    "ObservableReference": demands.references,
    "IndicatorReference": demands.references,
}
"""Rules for all elements of a document together; their work must not grow with the square of it."""


def _qualified(rules: Mapping[str, tuple[Rule, ...]], namespace: str) -> dict[str, tuple[Rule, ...]]:
    return {f"{{{namespace}}}{name}": found for name, found in rules.items()}


RULES = {V2: _qualified(_OF_V2, V2), V1: _qualified(_COMMON, V1)}
"""The rules of each version, by its namespace, and by the element that they look at."""

_GATHERED = frozenset(f"{{{namespace}}}{name}" for namespace in (V1, V2) for name in _TOGETHER)

_EXTENDED = etree.XPath(
    "descendant-or-self::*[namespace-uri() = $namespace or namespace-uri() = $structured]"
    "[@*[normalize-space() = 'ext-value' or starts-with(local-name(), 'ext-')]]"
)


def problems(root: etree._Element, namespace: str) -> list[Problem]:
    """The problems of a document by the rules of its version; of more than `MOST` one more."""
    rules = RULES[namespace]
    broken = list(demands.private(root))
    together: dict[str, list[etree._Element]] = {}
    for element in root.iter(*rules):
        for rule in rules[element.tag]:  # type: ignore[index]  # a str: only these are asked for
            broken += rule(element)
        if element.tag in _GATHERED:
            together.setdefault(local(str(element.tag)), []).append(element)
    for name, elements in together.items():
        broken += _TOGETHER[name](elements)
    for element in _EXTENDED(root, namespace=namespace, structured=PREFIXES["sci"]):
        broken += demands.extensions(element)
    return told(broken) if broken else []


def told(broken: Sequence[Broken]) -> list[Problem]:
    """The problems that broken rules are; of more than `MOST` one more."""
    places = Places()
    return [
        Problem(found.element.sourceline or 0, places.path(found.element, found.attribute), found.message)
        for found in broken[: MOST + 1]
    ]
