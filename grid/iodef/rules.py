"""What the standards demand and no schema can say (RFC 7970 §4.3: such constraints "MUST also be considered").

Each rule names the words in a source without which it cannot be broken, so that most documents cost a search for a
few words and no walk. The rules themselves are in `grid.iodef.demands`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lxml import etree

from grid.iodef import demands
from grid.iodef.demands import Broken, Rule
from grid.iodef.errors import Problem, path_of
from grid.iodef.names import V1, V2

RULES: dict[str, tuple[Rule, ...]] = {V2: (*demands.COMMON, *demands.OF_V2), V1: demands.COMMON}
"""The rules of each version, by its namespace."""

_OTHER_ENCODING = re.compile(rb"""\s*<\?xml[^>]*encoding\s*=\s*["'](?!utf-8["']|us-ascii["'])""", re.IGNORECASE)


def broken(root: etree._Element, namespace: str, source: bytes | None) -> list[Problem]:
    """The problems of a document by the rules of its version.

    :param source: what the document was parsed from, or None to try every rule.
    """
    return list(_broken(root, namespace, _plain(source)))


def _plain(source: bytes | None) -> bytes | None:
    """The source when words can be searched in it: other encodings and references to characters hide them."""
    if source is None or b"&#" in source or b"\0" in source[:64] or _OTHER_ENCODING.match(source):
        return None
    return source


def _broken(root: etree._Element, namespace: str, source: bytes | None) -> Iterator[Problem]:
    for rule in RULES[namespace]:
        if source is not None and not any(word in source for word in rule.words):
            continue
        for found in rule.look(root):
            yield _problem(found)


def _problem(found: Broken) -> Problem:
    return Problem(found.element.sourceline or 0, path_of(found.element, found.attribute), found.message)
