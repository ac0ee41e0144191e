"""The part of a standard in which no rule can be broken, as a schema.

What `grid.iodef.rules` looks after comes from few constructs: extended enumerations, content that a ``dtype`` names,
references, some values. This schema leaves them out. A document that fits it is valid, rules included, after one
validation by libxml2; one that does not fit is looked at in full. Most documents fit.

Every rule is met here. Whoever adds one takes what can break it out of this schema; `tests/unit/iodef/test_subset.py`
fails when that was forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable

from lxml import etree

_XS = "{http://www.w3.org/2001/XMLSchema}"

LEFT_OUT = frozenset(
    {"ext-value", "numeric", "custom", "defined-coa", "file-hash", "binary", "not"}
    | {"file-pe-section", "file-pe-resource", "file-pdf-object", "file-pe-iat"}
)
"""Values of enumerations that a rule asks more for. None of them means anything else anywhere."""

UNTYPED = frozenset({"string", "path", "csv", "winreg"})
"""Values of ``dtype`` whose content may be any text."""

CLOSED = ("IndicatorExpression", "ObservableReference", "IndicatorReference")
"""Elements that this schema does not take at all."""

STRUCTURED = ("AttackPattern", "Vulnerability", "Weakness")
"""The same of RFC 7203, which are declared elsewhere."""


def narrow(schema: etree._Element) -> None:
    """Change a schema, tightened before, to that of the subset.

    :param schema: the root of its document.
    """
    _drop_values(schema)
    _drop_extensions(schema)
    _texts_only(schema)
    _numbers(schema)
    _close(schema)
    _remove(schema.findall(f".//{_XS}attribute[@name='private-enum-id']"))


def _drop_values(schema: etree._Element) -> None:
    for kind in schema.iter(f"{_XS}simpleType"):
        typed = "dtype" in kind.get("name", "")
        for value in list(kind.iter(f"{_XS}enumeration")):
            if value.get("value") in LEFT_OUT or (typed and value.get("value") not in UNTYPED):
                _remove([value])


def _drop_extensions(schema: etree._Element) -> None:
    """No ``ext-`` attribute (RFC 7970 §5.1.1)."""
    _remove([part for part in schema.iter(f"{_XS}attribute") if part.get("name", "").startswith("ext-")])


def _texts_only(schema: etree._Element) -> None:
    """Extensions hold text only."""
    _remove(list(schema.iter(f"{_XS}any")))


def _numbers(schema: etree._Element) -> None:
    """A port list is one port, a Service with numbers names its protocol, a Confidence has no number."""
    port = etree.SubElement(schema, f"{_XS}simpleType", name="OnePort")
    form = etree.SubElement(port, f"{_XS}restriction", base="xs:token")
    etree.SubElement(form, f"{_XS}pattern", value="[0-9]{1,4}")
    empty = etree.SubElement(schema, f"{_XS}simpleType", name="NoText")
    form = etree.SubElement(empty, f"{_XS}restriction", base="xs:token")
    etree.SubElement(form, f"{_XS}maxLength", value="0")
    for element in schema.iter(f"{_XS}element"):
        if element.get("name") == "Portlist":
            element.set("type", "iodef:OnePort")
        if element.get("name") == "Confidence":
            for extension in element.iter(f"{_XS}extension"):
                extension.set("base", "iodef:NoText")
    for attribute in schema.iter(f"{_XS}attribute"):
        if attribute.get("name") == "ip-protocol":
            attribute.set("type", "xs:unsignedByte")
            attribute.set("use", "required")


def _close(schema: etree._Element) -> None:
    """Have no element of some names fit: their text would need a line end, which its type takes away."""
    kind = etree.SubElement(schema, f"{_XS}simpleType", name="Nothing")
    form = etree.SubElement(kind, f"{_XS}restriction", base="xs:token")
    etree.SubElement(form, f"{_XS}pattern", value="\\n")
    for name in CLOSED:
        for element in schema.findall(f"{_XS}element[@name='{name}']"):
            _remove(element)
            element.set("type", "iodef:Nothing")
    for name in STRUCTURED:
        for part in schema.findall(f".//{_XS}element[@ref='sci:{name}']"):
            part.set("ref", f"iodef:Closed{name}")
        etree.SubElement(schema, f"{_XS}element", name=f"Closed{name}", type="iodef:Nothing")


def _remove(parts: Iterable[etree._Element]) -> None:
    for part in list(parts):
        parent = part.getparent()
        if parent is not None:
            parent.remove(part)
