"""Reads an XML Schema of ours as data: what attributes, content and children each element has.

Only what our schemas use is understood; anything else is an error, so that nothing is overlooked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from lxml import etree

from tests.unit.iodef.languages import EMPTY, Term, alt, one, seq, times

Node = etree._Element

XS = "{http://www.w3.org/2001/XMLSchema}"
XML = "{http://www.w3.org/XML/1998/namespace}"
_IMPORTED = {f"{XML}lang": "language"}
"""Attributes of other namespaces and their types."""

_PARTICLES = {"sequence", "choice", "group", "element"}


@dataclass(frozen=True)
class Attribute:
    """An attribute of an element: `type` and enumerated `values`, whether it is required, its default."""

    type: str
    values: tuple[str, ...]
    required: bool
    default: str | None


@dataclass
class Element:
    """What an element may have.

    :ivar text: the type of its text, when it has text and no children.
    :ivar words: the sequences of children; `children` are their declarations by name.
    :ivar open: any element may stand in it, between text.
    :ivar open_attributes: it may have any attribute.
    """

    section: str
    attributes: dict[str, Attribute] = field(default_factory=dict)
    text: str = ""
    words: Term = EMPTY
    children: dict[str, Node] = field(default_factory=dict)
    open: bool = False
    open_attributes: bool = False


class Schema:
    """A schema and what it imports."""

    def __init__(self, path: Path) -> None:
        self.declared: dict[tuple[str, str], Node] = {}
        self._seen: set[Path] = set()
        self._load(path)

    def _load(self, path: Path) -> None:
        if path in self._seen:
            return
        self._seen.add(path)
        root = etree.parse(path).getroot()
        for node in root.iterchildren(etree.Element):
            kind = _kind(node)
            if kind == "import":
                self._load(path.parent / str(node.get("schemaLocation")))
            elif kind != "annotation":
                kind = "type" if kind.endswith("Type") else kind
                self.declared[kind, f"{{{root.get('targetNamespace')}}}{node.get('name')}"] = node

    @cached_property
    def elements(self) -> dict[str, Node]:
        """The global elements by name."""
        return {name: node for (kind, name), node in self.declared.items() if kind == "element"}

    def element(self, node: Node) -> Element:
        """What the element of a declaration may have."""
        if node.get("ref"):
            node = self.declared["element", _clark(node, "ref")]
        inline = next((part for part in node if _kind(part).endswith("Type")), None)
        if inline is None and not _clark(node, "type").startswith(XS):
            inline = self.declared["type", _clark(node, "type")]
        if inline is None or _kind(inline) == "simpleType":
            return Element(_section(node), text=self.basic(inline if inline is not None else _clark(node, "type")))
        made = Element(_section(node) or _section(inline))
        self._complex(inline, made)
        return made

    def basic(self, type_: Node | str) -> str:
        """The type that gives a simple type its meaning: of XML Schema, or one of ours with a pattern."""
        if isinstance(type_, str):
            if type_.startswith(XS):
                return type_.removeprefix(XS)
            return self.basic(self.declared["type", type_])
        if type_.find(f"{XS}union") is not None:
            # REAL or nothing: the only union that there is
            return _local(_clark(type_[-1], "memberTypes"))
        restriction = type_.find(f"{XS}restriction")
        if restriction is None:
            raise NotImplementedError(type_.get("name"))
        if restriction.find(f"{XS}pattern") is not None and type_.get("name"):
            return str(type_.get("name"))
        return self.basic(_clark(restriction, "base"))

    def values(self, type_: Node | str) -> tuple[str, ...]:
        """The values of an enumeration, in order; empty for other types."""
        if isinstance(type_, str):
            return () if type_.startswith(XS) else self.values(self.declared["type", type_])
        restriction = type_.find(f"{XS}restriction")
        if restriction is None:
            return ()
        found = tuple(str(part.get("value")) for part in restriction.iterchildren(f"{XS}enumeration"))
        return found or self.values(_clark(restriction, "base"))

    def _complex(self, node: Node, made: Element) -> None:
        made.open = made.open or node.get("mixed") == "true"
        for part in node.iterchildren(etree.Element):
            kind = _kind(part)
            if kind in {"simpleContent", "complexContent"}:
                (derived,) = part.iterchildren(f"{XS}extension", f"{XS}restriction")
                base = _clark(derived, "base")
                if base.startswith(XS) or _kind(self.declared["type", base]) == "simpleType":
                    made.text = self.basic(base)
                else:
                    self._complex(self.declared["type", base], made)
                self._complex(derived, made)
            elif kind == "attribute":
                self._attribute(part, made)
            elif kind == "attributeGroup":
                for inner in self.declared[kind, _clark(part, "ref")].iterchildren(f"{XS}attribute"):
                    self._attribute(inner, made)
            elif kind in _PARTICLES:
                if not made.open:
                    made.words = self._words(part, made)
            elif kind == "anyAttribute":
                made.open_attributes = True
            elif kind != "annotation":
                raise NotImplementedError(kind)

    def _attribute(self, node: Node, made: Element) -> None:
        if node.get("use") == "prohibited":
            made.attributes.pop(str(node.get("name")), None)
            return
        if node.get("ref"):
            name = _clark(node, "ref")
            made.attributes[name] = Attribute(_IMPORTED[name], (), node.get("use") == "required", None)
            return
        inline = node.find(f"{XS}simpleType")
        type_ = inline if inline is not None else _clark(node, "type")
        values = (str(node.get("fixed")),) if node.get("fixed") else self.values(type_)
        made.attributes[str(node.get("name"))] = Attribute(
            "" if values else self.basic(type_), values, node.get("use") == "required", node.get("default")
        )

    def _words(self, node: Node, made: Element) -> Term:
        low, high = int(node.get("minOccurs", "1")), node.get("maxOccurs", "1")
        if high not in {"1", "unbounded"} or low > 1:
            raise NotImplementedError(high)
        kind = _kind(node)
        if kind == "element":
            name = _clark(node, "ref") if node.get("ref") else self._named(node)
            made.children[name] = node
            inner = one(name)
        elif kind == "group":
            (part,) = self.declared[kind, _clark(node, "ref")].iterchildren(f"{XS}sequence", f"{XS}choice")
            inner = self._words(part, made)
        else:
            parts = [
                self._words(part, made) for part in node.iterchildren(etree.Element) if _kind(part) in _PARTICLES
            ]
            inner = alt(parts) if kind == "choice" else seq(*parts)
        return times(inner, low, high == "unbounded")

    @staticmethod
    def _named(node: Node) -> str:
        return f"{{{node.getroottree().getroot().get('targetNamespace')}}}{node.get('name')}"


def _kind(node: Node) -> str:
    return str(node.tag).removeprefix(XS)


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _section(node: Node) -> str:
    return " ".join(str(node.findtext(f"{XS}annotation/{XS}documentation") or "").split())


def _clark(node: Node, attribute: str) -> str:
    prefix, _, local = str(node.get(attribute, "xs:string")).rpartition(":")
    return f"{XML}{local}" if prefix == "xml" else f"{{{node.nsmap[prefix or None]}}}{local}"
