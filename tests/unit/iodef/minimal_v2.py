"""A small document of IODEF 2.0 to hang something into, and how documents are compared."""

from __future__ import annotations

from lxml import etree

from grid import iodef
from grid.iodef import v2
from grid.iodef.names import PREFIXES, V2, local

OURS = tuple(f"{{{namespace}}}*" for namespace in (V2, PREFIXES["enum"], PREFIXES["sci"]))
OPEN = {
    "AdditionalData",
    "ApplicationHeaderField",
    "EmailHeaderField",
    "FileProperties",
    "FuzzyHashValue",
    "RawData",
    "RecordItem",
    "RelatedDNS",
    "SoftwareReference",
}
"""Elements whose white space is theirs, because anything may stand in them."""

MINIMAL = """<IODEF-Document version="2.00" xmlns="urn:ietf:params:xml:ns:iodef-2.0"{root}>
  <Incident purpose="watch"><IncidentID name="csirt.example.com">1</IncidentID>
    <GenerationTime>2015-07-18T09:00:00-05:00</GenerationTime>
    <Contact type="person" role="creator"><ContactName>A</ContactName></Contact>{more}</Incident>
</IODEF-Document>"""


def minimal(more: str = "", root: str = "") -> v2.Document:
    """A document with something more in its incident, and on its root."""
    document = iodef.load(MINIMAL.format(more=more, root=root).encode())
    assert isinstance(document, v2.Document)
    return document


def canonical(source: bytes | etree._Element) -> bytes:
    """Canonical XML without comments, and without what only lays out the source: white space between elements, and
    around values that are tokens."""
    root = etree.fromstring(source) if isinstance(source, bytes) else source
    for element in root.iter(*OURS):
        if local(str(element.tag)) == "IndicatorID":
            element.text = " ".join((element.text or "").split())
        if len(element) and local(str(element.tag)) not in OPEN:
            element.text = (element.text or "").strip()
            for child in element:
                child.tail = (child.tail or "").strip()
    # of the tree: for a root with a comment before it, lxml 6.1 puts wrong declarations into the form of the element
    return etree.tostring(root.getroottree(), method="c14n", with_comments=False)


def again(document: v2.Document) -> v2.Document:
    """Written and read."""
    read = iodef.load(iodef.dump(document))
    assert isinstance(read, v2.Document)
    return read
