"""What the compiled schemas ask beyond the published ones, because libxml2 can look at it for next to nothing.

The published schemas say what the standards say: a text is any string, a port any integer. But an identifier, an
address or a name that is empty is none, and no port is above 65535. A walk over the document for that would cost more
than half of the parse.
"""

from __future__ import annotations

from copy import deepcopy

from lxml import etree

_XS = "{http://www.w3.org/2001/XMLSchema}"
_EXTENSION = f"{_XS}complexType/{_XS}simpleContent/{_XS}extension"

IDENTIFYING = frozenset(
    {"IncidentID", "IndicatorID", "AlternativeIndicatorID", "Address", "Name", "Server", "KeyName", "RegistryHandle"}
    | {"BulkObservableList", "RecordPattern", "EmailTo", "PAddress", "TelephoneNumber"}
    | {"Email", "PostalAddress", "Telephone", "Fax", "ReferenceName"}  # texts in 1.0, classes in 2.0
)
"""Elements that are there for their text."""


def tighten(schema: etree._Element) -> None:
    """Change a schema before it is compiled.

    :param schema: the root of its document.
    """
    _add_text(schema)
    _add_moment(schema)
    for element in schema.iter(f"{_XS}element"):
        name = element.get("name")
        if name == "Port":
            element.set("type", "xs:unsignedShort")
        if name in IDENTIFYING:
            _require(schema, element)
        if element.get("type") == "xs:dateTime":
            element.set("type", "iodef:Moment")
    for attribute in schema.iter(f"{_XS}attribute"):
        if attribute.get("name") == "name" and attribute.get("use") == "required":
            attribute.set("type", "iodef:RequiredText")
    for restriction in schema.iter(f"{_XS}restriction"):
        if restriction.get("base") == "xs:NMTOKEN":  # all values of the list are: libxml2 need not look again
            restriction.set("base", "xs:token")


def _add_text(schema: etree._Element) -> None:
    kind = etree.SubElement(schema, f"{_XS}simpleType", name="RequiredText")
    form = etree.SubElement(kind, f"{_XS}restriction", base="xs:token")
    etree.SubElement(form, f"{_XS}minLength", value="1")


def _add_moment(schema: etree._Element) -> None:
    """A date that may stand between white space, as XML Schema has it: libxml2 sees to that with a pattern only."""
    kind = etree.SubElement(schema, f"{_XS}simpleType", name="Moment")
    form = etree.SubElement(kind, f"{_XS}restriction", base="xs:dateTime")
    etree.SubElement(form, f"{_XS}pattern", value=".*")


def _require(schema: etree._Element, element: etree._Element) -> None:
    """Have the text of an element required, whatever type it has."""
    kind = element.get("type")
    if kind is not None:
        element.set("type", _required(schema, kind))
    for extension in element.iterfind(_EXTENSION):
        extension.set("base", _required(schema, extension.get("base", "")))


def _required(schema: etree._Element, kind: str) -> str:
    """The name of the type like `kind` whose text is required; it is made when it is not there."""
    if kind == "xs:string":
        return "iodef:RequiredText"
    name = kind.removeprefix("iodef:")
    declared = schema.find(f"{_XS}complexType[@name='{name}']")
    extension = None if declared is None else declared.find(f"{_XS}simpleContent/{_XS}extension")
    if declared is None or extension is None:
        return kind
    required = f"Required{name}"
    if schema.find(f"{_XS}complexType[@name='{required}']") is None:
        copy = deepcopy(declared)
        copy.set("name", required)
        base = _required(schema, extension.get("base", ""))
        for inner in copy.iterfind(f"{_XS}simpleContent/{_XS}extension"):
            inner.set("base", base)
        schema.append(copy)
    return f"iodef:{required}"
