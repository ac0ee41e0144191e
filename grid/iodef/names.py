"""The namespaces of incidents, and names in Clark notation (``{namespace}local``)."""

from __future__ import annotations

V1 = "urn:ietf:params:xml:ns:iodef-1.0"
"""RFC 5070 §4.2."""

V2 = "urn:ietf:params:xml:ns:iodef-2.0"
"""RFC 7970 §4.2."""

XSI = "http://www.w3.org/2001/XMLSchema-instance"
XMLNS = "http://www.w3.org/2000/xmlns/"
"""The namespace of namespace declarations (Namespaces in XML §3)."""

PREFIXES = {
    "xml": "http://www.w3.org/XML/1998/namespace",
    "ds": "http://www.w3.org/2000/09/xmldsig#",
    "enum": "urn:ietf:params:xml:ns:iodef-enum-1.0",  # RFC 7495
    "sci": "urn:ietf:params:xml:ns:iodef-sci-1.0",  # RFC 7203
    "iodef": V2,  # for the classes of RFC 7203 that hold some of RFC 7970
}
"""The prefixes that declarations of classes use, as RFC 7970 §3 does."""


def clark(name: str, namespace: str) -> str:
    """A name as the standard writes it, in Clark notation.

    :param name: with one of `PREFIXES`, or without; ``xml:lang`` for example.
    :param namespace: that of a name without prefix; empty for attributes.
    """
    prefix, colon, local = name.rpartition(":")
    uri = PREFIXES[prefix] if colon else namespace
    return f"{{{uri}}}{local}" if uri else local


def split(name: str) -> tuple[str, str]:
    """Namespace and local part of a Clark name; the namespace may be empty."""
    namespace, brace, local = name.rpartition("}")
    return (namespace[1:], local) if brace else ("", name)


def local(name: str) -> str:
    """The local part of a Clark name."""
    return name.rpartition("}")[2]
