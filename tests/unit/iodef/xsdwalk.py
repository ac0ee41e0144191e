"""Reads what one of our schemas says of each element, in the words in which `fields_of` describes a class.

This is not a validator: it resolves references, groups and derivations, and adds up how often a child may stand in an
element. Tests compare the outcome with the typed model, name by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations, product
from pathlib import Path

from lxml import etree

XS = "{http://www.w3.org/2001/XMLSchema}"
XML = "http://www.w3.org/XML/1998/namespace"

Alternatives = frozenset[frozenset[str]]
"""The sets of children that suffice, each as small as possible."""


@dataclass(frozen=True)
class Simple:
    """A simple type.

    :ivar base: the type of XML Schema that it goes back to, ``string`` for example; ``union`` for a union.
    :ivar names: its own name and those of the types between it and the base.
    :ivar values: of an enumeration.
    """

    base: str
    names: tuple[str, ...] = ()
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Attribute:
    """An attribute; its name is in Clark notation."""

    name: str
    required: bool
    default: str | None
    type: Simple


@dataclass(frozen=True)
class Child:
    """An element in another: how often at least, and at most (None: any number)."""

    name: str
    minimum: int
    maximum: int | None


@dataclass(frozen=True)
class Particle:
    """What the content of an element may be: the children in order, and which go together."""

    children: tuple[Child, ...] = ()
    alternatives: Alternatives = frozenset({frozenset()})
    together: frozenset[frozenset[str]] = frozenset()
    open: bool = False


@dataclass(frozen=True)
class Element:
    """A global element.

    :ivar section: the first section that its documentation names.
    :ivar text: the type of its text; None when it holds elements, or anything.
    :ivar mixed: it may hold anything.
    """

    name: str
    section: str
    attributes: dict[str, Attribute]
    particle: Particle
    text: Simple | None
    mixed: bool

    @property
    def plain(self) -> bool:
        """It is one value and nothing else."""
        return self.text is not None and not self.attributes

    @property
    def exclusive(self) -> frozenset[frozenset[str]]:
        """The pairs of children that cannot both be there."""
        names = [child.name for child in self.particle.children]
        return frozenset(map(frozenset, combinations(names, 2))) - self.particle.together


class Schema:
    """A schema file with all that it includes and imports.

    :ivar elements: the global elements of its target namespace, by Clark name.
    """

    def __init__(self, path: Path) -> None:
        self._known: dict[tuple[str, str], etree._Element] = {}
        self._target = _load(path, self._known)
        self.elements = {
            name: self._element(node)
            for (kind, name), node in self._known.items()
            if kind == "element" and name.startswith(f"{{{self._target}}}")
        }

    def _find(self, kind: str, node: etree._Element, reference: str) -> etree._Element | None:
        return self._known.get((kind, _clark(node, reference)))

    def _element(self, node: etree._Element) -> Element:
        attributes: dict[str, Attribute] = {}
        named = node.get("type")
        inner = node.find(f"{XS}complexType")
        if inner is None and named is not None:
            inner = self._find("complexType", node, named)
        name = _own(node)
        section = "".join(node.xpath("string(*[local-name()='annotation'])")).partition("section")[2]
        section = section.removeprefix("s").split(":")[0].split(",")[0].split(" and ")[0].strip().rstrip(".")
        if inner is None:
            return Element(name, section, {}, Particle(), self._simple_of(node), False)
        text, particle, mixed = self._complex(inner, attributes)
        return Element(name, section, attributes, particle, text, mixed)

    def _complex(
        self, node: etree._Element, attributes: dict[str, Attribute]
    ) -> tuple[Simple | None, Particle, bool]:
        text, particle, mixed = None, Particle(), node.get("mixed") == "true"
        for derived in node.iterfind(f"*/{XS}extension"):
            base = self._find("complexType", derived, derived.get("base", ""))
            if base is None:
                text = self._named(derived, derived.get("base", ""))
            else:
                text, particle, mixed = self._complex(base, attributes)
            particle = _sequence([particle, self._content(derived)])
            self._attributes(derived, attributes)
        for derived in node.iterfind(f"*/{XS}restriction"):
            base = self._find("complexType", derived, derived.get("base", ""))
            if base is not None:
                text = self._complex(base, attributes)[0]
            particle = self._content(derived)
            self._attributes(derived, attributes)
        particle = _sequence([particle, self._content(node)])
        self._attributes(node, attributes)
        return text, particle, mixed

    def _attributes(self, node: etree._Element, attributes: dict[str, Attribute]) -> None:
        for group in node.iterfind(f"{XS}attributeGroup"):
            found = self._find("attributeGroup", group, group.get("ref", ""))
            assert found is not None, group.get("ref")
            self._attributes(found, attributes)
        for each in node.iterfind(f"{XS}attribute"):
            reference = each.get("ref")
            if reference is None:
                name, declared = each.get("name", ""), each
            else:
                name = _clark(each, reference)
                declared = self._known.get(("attribute", name), each)
            if each.get("use") == "prohibited":
                attributes.pop(name, None)
                continue
            attributes[name] = Attribute(
                name, each.get("use") == "required", each.get("default"), self._simple_of(declared)
            )

    def _simple_of(self, node: etree._Element) -> Simple:
        inner = node.find(f"{XS}simpleType")
        if inner is not None:
            return self._simple(inner)
        return self._named(node, node.get("type", "xs:anySimpleType"))

    def _named(self, node: etree._Element, reference: str) -> Simple:
        found = self._find("simpleType", node, reference)
        if found is None:
            return Simple(reference.rpartition(":")[2])
        simple = self._simple(found)
        return replace(simple, names=(found.get("name", ""), *simple.names))

    def _simple(self, node: etree._Element) -> Simple:
        restriction = node.find(f"{XS}restriction")
        if restriction is None:
            return Simple("union" if node.find(f"{XS}union") is not None else "list")
        inner = restriction.find(f"{XS}simpleType")
        base = self._simple(inner) if inner is not None else self._named(restriction, restriction.get("base", ""))
        values = tuple(each.get("value", "") for each in restriction.iterfind(f"{XS}enumeration"))
        return replace(base, values=values or base.values)

    def _content(self, node: etree._Element) -> Particle:
        return _sequence(self._particles(node))

    def _particles(self, node: etree._Element) -> Iterator[Particle]:
        for each in node:
            kind = etree.QName(each).localname if isinstance(each.tag, str) else ""
            if kind == "any":
                yield Particle(open=True)
                continue
            if kind == "element":
                name = _clark(each, each.get("ref", "")) if each.get("ref") else _own(each)
                once = Particle((Child(name, 1, 1),), frozenset({frozenset({name})}))
            elif kind == "group":
                found = self._find("group", each, each.get("ref", ""))
                assert found is not None, each.get("ref")
                once = self._content(found)
            elif kind in {"sequence", "all"}:
                once = self._content(each)
            elif kind == "choice":
                once = _choice(list(self._particles(each)))
            else:
                continue
            most = each.get("maxOccurs", "1")
            yield _repeated(once, int(each.get("minOccurs", "1")), None if most == "unbounded" else int(most))


@cache
def schema(path: Path) -> Schema:
    """The schema of a file, read once."""
    return Schema(path)


def _load(path: Path, known: dict[tuple[str, str], etree._Element]) -> str:
    root = etree.parse(path).getroot()
    target = root.get("targetNamespace", "")
    for each in root:
        if not isinstance(each.tag, str):
            continue
        kind = etree.QName(each).localname
        if kind in {"include", "import"} and each.get("schemaLocation"):
            _load(path.parent / each.get("schemaLocation", ""), known)
        elif each.get("name"):
            known.setdefault((kind, f"{{{target}}}{each.get('name')}"), each)
    return target


def _own(node: etree._Element) -> str:
    return f"{{{node.getroottree().getroot().get('targetNamespace')}}}{node.get('name')}"


def _clark(node: etree._Element, reference: str) -> str:
    prefix, _, local = reference.rpartition(":")
    return f"{{{XML if prefix == 'xml' else node.nsmap.get(prefix or None, '')}}}{local}"


def _smallest(sets: Iterable[frozenset[str]]) -> Alternatives:
    found = frozenset(sets)
    return frozenset(each for each in found if not any(other < each for other in found))


def _sequence(parts: Iterable[Particle]) -> Particle:
    parts = list(parts)
    children: dict[str, Child] = {}
    for child in (child for part in parts for child in part.children):
        before = children.get(child.name, Child(child.name, 0, 0))
        most = None if before.maximum is None or child.maximum is None else before.maximum + child.maximum
        children[child.name] = Child(child.name, before.minimum + child.minimum, most)
    together = {pair for part in parts for pair in part.together}
    for one, other in combinations(parts, 2):
        together |= {frozenset({a.name, b.name}) for a, b in product(one.children, other.children)}
    sets = (frozenset().union(*chosen) for chosen in product(*(part.alternatives for part in parts)))
    return Particle(tuple(children.values()), _smallest(sets), frozenset(together), any(part.open for part in parts))


def _choice(parts: list[Particle]) -> Particle:
    children: dict[str, Child] = {}
    for name in dict.fromkeys(child.name for part in parts for child in part.children):
        found = [next((child for child in part.children if child.name == name), None) for part in parts]
        most = [child.maximum if child else 0 for child in found]
        children[name] = Child(
            name,
            min(child.minimum if child else 0 for child in found),
            None if None in most else max(each or 0 for each in most),
        )
    return Particle(
        tuple(children.values()),
        _smallest(each for part in parts for each in part.alternatives),
        frozenset(pair for part in parts for pair in part.together),
        any(part.open for part in parts),
    )


def _repeated(once: Particle, minimum: int, maximum: int | None) -> Particle:
    children = tuple(
        Child(
            child.name,
            child.minimum * minimum,
            None if maximum is None or child.maximum is None else child.maximum * maximum,
        )
        for child in once.children
    )
    together = once.together
    if maximum is None or maximum > 1:
        together = frozenset(map(frozenset, combinations([child.name for child in children], 2)))
    alternatives = once.alternatives if minimum else frozenset({frozenset[str]()})
    return Particle(children, alternatives, together, once.open)
