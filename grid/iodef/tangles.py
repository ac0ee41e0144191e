"""Texts made of very many pieces.

When libxml2 validates what it parses, it puts a text together piece by piece, each time from its beginning; each
reference and each CDATA section is a piece. A megabyte of references would take minutes. Such a document is validated
as a tree, after a look at a copy without references for how many faults it has.
"""

from __future__ import annotations

import re

from lxml import etree

FEW = 20_000
"""References and CDATA sections of a whole document that cannot add up to much."""

WORK = 2_000_000_000
"""Bytes that may be copied while texts are put together: about a second."""

_TAG = re.compile(rb"<(?!!\[CDATA\[)")
_SPECIAL = str.maketrans({"&": "x", "<": "x", ">": "x", "\r": "x"})


def tangled(source: bytes) -> bool:
    """Whether putting its texts together would be too much work."""
    if source.count(b"&") + source.count(b"<![CDATA[") <= FEW:
        return False
    work = 0
    for text in _TAG.split(source):
        work += (text.count(b"&") + 2 * text.count(b"<![CDATA[")) * len(text)
        if work > WORK:
            return True
    return False


def untangled(root: etree._Element) -> bytes:
    """A document like this one whose texts need no references; it has as many elements, but says nothing."""
    copy = etree.fromstring(etree.tostring(root), etree.XMLParser(huge_tree=True, resolve_entities=False))
    for element in copy.iter(etree.Element):
        if element.text:
            element.text = element.text.translate(_SPECIAL)
        if element.tail:
            element.tail = element.tail.translate(_SPECIAL)
    return etree.tostring(copy, encoding="utf-8")
