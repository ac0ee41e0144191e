"""Incidents in IODEF 2.0 (RFC 7970) and 1.0 (RFC 5070): parsed safely, validated, typed, immutable.

::

    from grid import iodef

    document = iodef.load(received)              # bytes in, v2.Document or v1.Document out, or Invalid
    for incident in document.incident:
        print(incident.incident_id.value, incident.purpose)
    sent = iodef.dump(document)

`check` is the fast way for those who only pass documents on: it gives the tree. `grid.iodef.v2` and `grid.iodef.v1`
are the models, `grid.iodef.build` makes documents in a few lines, `grid.iodef.json` is RFC 8727,
`grid.iodef.attributes` extracts what filters look at, and `grid.iodef.incident` is XEP-0268.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lxml import etree

from grid.iodef import codec
from grid.iodef.codec import read, write
from grid.iodef.errors import Invalid, Problem
from grid.iodef.names import V1, V2, split
from grid.iodef.parsing import DEFAULT, Limits, parse
from grid.iodef.validation import check, validate

if TYPE_CHECKING:
    from grid.iodef import v1, v2

__all__ = [
    "V1",
    "V2",
    "Invalid",
    "Limits",
    "Problem",
    "check",
    "dump",
    "load",
    "of_tree",
    "parse",
    "read",
    "validate",
    "write",
]

_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'
"""Every document begins with one and names its encoding (RFC 7970 §4.1)."""


def load(source: bytes, *, limits: Limits = DEFAULT) -> v2.Document | v1.Document:
    """The model of a document.

    :param source: XML of version 2.0 or 1.0.
    :raises Invalid: with everything that is wrong with it.
    """
    return of_tree(check(source, limits=limits))


def of_tree(tree: etree._ElementTree) -> v2.Document | v1.Document:
    """The model of a document that has been checked.

    :raises Invalid: a number that Python cannot hold.
    """
    from grid.iodef import v1, v2  # noqa: PLC0415  some hundred classes; whoever only checks does not need them

    root = tree.getroot()
    return read(v2.Document, root) if split(str(root.tag))[0] == V2 else read(v1.Document, root)


def dump(document: v2.Document | v1.Document) -> bytes:
    """A document as XML in UTF-8, with XML declaration. It is not validated: `check` does.

    :raises Invalid: a text that XML cannot carry.
    """
    return _DECLARATION + codec.dump(document)
