"""What the standards demand and no schema can say (RFC 7970 §4.3: such constraints "MUST also be considered").

`grid.iodef.demands` has the rules; here is which elements they are for, so that one walk over a document looks at
those elements and at no other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from lxml import etree

from grid.iodef import demands
from grid.iodef.demands import Broken, Rule
from grid.iodef.errors import Problem, path_of
from grid.iodef.names import PREFIXES, V1, V2

_COMMON: dict[str, tuple[Rule, ...]] = {
    "AdditionalData": (demands.typed_content,),
    "RecordItem": (demands.typed_content,),
    "Port": (demands.ports,),
    "Portlist": (demands.ports,),
    "Confidence": (demands.confidence,),
}

_OF_V2: dict[str, tuple[Rule, ...]] = {
    **_COMMON,
    "SoftwareReference": (demands.custom_software, demands.typed_content),
    "FileProperties": (demands.typed_content,),
    "ApplicationHeaderField": (demands.typed_content,),
    "EmailHeaderField": (demands.typed_content,),
    "HistoryItem": (demands.course_of_action,),
    "Expectation": (demands.course_of_action,),
    "Service": (demands.protocol,),
    "HashData": (demands.hashed,),
    "BulkObservable": (demands.bulk,),
    "ObservableReference": (demands.reference,),
    "IndicatorReference": (demands.reference,),
    "IndicatorExpression": (demands.expression,),
}


def _qualified(rules: Mapping[str, tuple[Rule, ...]], namespace: str) -> dict[str, tuple[Rule, ...]]:
    return {f"{{{namespace}}}{name}": found for name, found in rules.items()}


RULES = {V2: _qualified(_OF_V2, V2), V1: _qualified(_COMMON, V1)}
"""The rules of each version, by its namespace, and by the element that they look at."""

_EXTENDED = etree.XPath(
    "descendant-or-self::*[namespace-uri() = $namespace or namespace-uri() = $structured]"
    "[@*[normalize-space() = 'ext-value' or starts-with(local-name(), 'ext-')]]"
)
_OTHER_ENCODING = re.compile(rb"""<\?xml[^>]*encoding\s*=\s*["'](?!utf-8["']|us-ascii["'])""", re.IGNORECASE)


def broken(root: etree._Element, namespace: str, source: bytes | None) -> list[Problem]:
    """The problems of a document by the rules of its version.

    :param source: what the document was parsed from. Without "ext-" in it no attribute is extended, which spares the
        look at every attribute.
    """
    rules = RULES[namespace]
    found = _problems(demands.private(root)) if root.get("private-enum-id") else []
    for element in root.iter(*rules):
        for rule in rules[str(element.tag)]:
            found += _problems(rule(element))
    if source is None or b"ext-" in source or _hides_words(source):
        for element in _EXTENDED(root, namespace=namespace, structured=PREFIXES["sci"]):
            found += _problems(demands.extensions(element))
    return found


def _hides_words(source: bytes) -> bool:
    """Whether a word in it need not look like one: by references to characters, or by the encoding."""
    if b"&" in source and b"&#" in source:  # one byte is found much faster than two
        return True
    return b"\0" in source[:64] or (source.startswith(b"<?") and _OTHER_ENCODING.match(source) is not None)


def _problems(found: Iterable[Broken]) -> list[Problem]:
    return [
        Problem(broken.element.sourceline or 0, path_of(broken.element, broken.attribute), broken.message)
        for broken in found
    ]
