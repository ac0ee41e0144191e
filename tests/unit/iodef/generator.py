"""Documents made from the typed model's own description: smallest, full, random, or steered to what is new.

The documents are trees of lxml, not instances of the model: so they hold every lexical form, and the model is not
tested with itself. `Choices` decides; `Builder` does what it says, keeps to the cardinalities and groups, lets
`prose` repair what only the standard's text demands, and ties references to identifiers at the end.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from lxml import etree

from grid.iodef.fields import Class, Item, Part, Shape, fields_of, is_class
from grid.iodef.names import PREFIXES, V2
from grid.iodef.types import ID, Foreign, IDRef
from tests.unit.iodef import lexical, prose, walk

Element = etree._Element
DS = PREFIXES["ds"]

#: Strings that the standard restricts by more than their type, by the local name of attribute or element.
BY_NAME: dict[str, tuple[str, ...]] = {
    "Port": lexical.PORTS,
    "ip-protocol": lexical.SMALL,
    "ip_protocol": lexical.SMALL,
    "currency": ("EUR", "USD", "XTS"),
    "private-enum-name": ("csirt.example.com",),
    "FileType": ("application/pdf",),
    "IANAService": ("xmpp-client",),
}
_SHA256 = "http://www.w3.org/2001/04/xmlenc#sha256"
_C14N = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"
_RSA = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"
#: Instances of the classes of XML-Signature that RFC 7970 names, written from that recommendation.
FOREIGN: dict[str, tuple[str, ...]] = {
    "X509Data": (
        "<ds:X509Data {0}><ds:X509SubjectName>CN=example, O=ä &amp; ö</ds:X509SubjectName></ds:X509Data>",
        "<ds:X509Data {0}><ds:X509Certificate>MIIB\nAQID</ds:X509Certificate></ds:X509Data>",
    ),
    "DigestMethod": (f'<ds:DigestMethod {{0}} Algorithm="{_SHA256}"/>',),
    "DigestValue": ("<ds:DigestValue {0}>3q2+7w==</ds:DigestValue>",),
    "CanonicalizationMethod": (f'<ds:CanonicalizationMethod {{0}} Algorithm="{_C14N}"/>',),
    "Signature": (
        f'<ds:Signature {{0}}><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{_C14N}"/><ds:SignatureMethod '
        f'Algorithm="{_RSA}"/><ds:Reference URI=""><ds:DigestMethod Algorithm="{_SHA256}"/><ds:DigestValue>3q2+7w=='
        "</ds:DigestValue></ds:Reference></ds:SignedInfo><ds:SignatureValue>3q2+7w==</ds:SignatureValue></ds:Signature>",
    ),
}
#: Stands for no namespace in a tree: libxml2 would write such an element into the default namespace around it.
NONE = "urn:example:no-namespace"
#: Content of extensions with dtype "xml": one namespace, several, none, default declarations, mixed content, xml:*.
EXTENSIONS: tuple[str, ...] = (
    '<n:newdata xmlns:n="urn:example:n" n:a="1">Field that could not be represented elsewhere</n:newdata>',
    '<x:newdata xmlns:x="iodef-extension1.xsd">Field that could not be represented elsewhere</x:newdata>',
    f'<event xmlns="urn:example:e" a="1" xml:lang="de"><part xmlns="{NONE}">none</part>tail'
    '<p:q xmlns:p="urn:p" p:b="2"/></event>',
    f'<bare xmlns="{NONE}">no namespace <b>at</b> all</bare>',
    '<d:deep xmlns:d="urn:d"><d:a><d:b><d:c d:x="&lt;&#10;&quot;">\U0001f4a9 &amp; ]]&gt;</d:c></d:b></d:a></d:deep>',
    '<q xmlns="urn:q" xmlns:t="urn:t" type="t:qname-in-content">t:value</q>',
)


class Choices:
    """Decides what a document has: here the least that is allowed."""

    def present(self, shape: Shape, item: Item, depth: int) -> bool:
        """Whether an optional attribute (or optional text) is there."""
        return False

    def count(self, shape: Shape, item: Item, depth: int) -> int:
        """How many of a child there are; the builder puts it within what is allowed."""
        return 0

    def member(self, shape: Shape, group: tuple[str, ...], depth: int) -> str:
        """Which member of a group is there, when one must be and none has been chosen."""
        return walk.cheapest(shape, group)

    def value(self, shape: Shape, item: Item) -> str:
        """A value of an enumeration."""
        return next(value for value in item.values if value not in {"ext-value", "numeric", "not"})

    def mix(self, children: list[Element]) -> list[Element]:
        """Children that may stand in any order, in some order."""
        return children

    def pick(self, texts: tuple[str, ...]) -> str:
        """One of several texts."""
        return texts[0]


class Full(Choices):
    """One element with every attribute and every child once; everything else as little as is allowed.

    :param declared: the class of the element.
    :param depth: where it is, counted from the root: what is nested in it is not made full again.
    :param but: Clark names of attributes and children that it does not have.
    """

    def __init__(self, declared: type[Class], depth: int, but: Iterable[str] = ()) -> None:
        self._at = (declared, depth)
        self._but = set(but)

    def present(self, shape: Shape, item: Item, depth: int) -> bool:
        return (shape.type, depth) == self._at and item.name not in self._but

    def count(self, shape: Shape, item: Item, depth: int) -> int:
        return int(self.present(shape, item, depth))

    def member(self, shape: Shape, group: tuple[str, ...], depth: int) -> str:
        here = (shape.type, depth) == self._at
        allowed = tuple(name for name in group if not (here and name in self._but))
        return super().member(shape, allowed or group, depth)


class Chance(Choices):
    """By chance, thinner with depth; the least once there are many elements."""

    def __init__(self, source: random.Random, size: int = 120, plain: bool = False) -> None:
        self.source = source
        self._left = size
        self._plain = plain

    def present(self, shape: Shape, item: Item, depth: int) -> bool:
        return self.source.random() < 0.4

    def count(self, shape: Shape, item: Item, depth: int) -> int:
        if self._left <= 0 or self.source.random() > max(0.55 * 0.8**depth, 0.04):
            return 0
        wanted = self.source.choice((1, 1, 1, 2, 3))
        self._left -= wanted * walk.cost(item.type)
        return wanted

    def member(self, shape: Shape, group: tuple[str, ...], depth: int) -> str:
        return super().member(shape, group, depth) if self._left <= 0 else self.source.choice(group)

    def value(self, shape: Shape, item: Item) -> str:
        return self.source.choice(item.values)

    def mix(self, children: list[Element]) -> list[Element]:
        return self.source.sample(children, len(children))

    def pick(self, texts: tuple[str, ...]) -> str:
        return texts[0] if self._plain else self.source.choice(texts)


class Steered(Chance):
    """In one class, what has been used least so far; by chance elsewhere."""

    def __init__(self, source: random.Random, declared: type[Class], used: Counter[Any]) -> None:
        super().__init__(source, size=40)
        self._declared = declared
        self._used = used
        self._at: int | None = None

    def present(self, shape: Shape, item: Item, depth: int) -> bool:
        if not self._steers(shape, depth):
            return super().present(shape, item, depth)
        return bool(self._least([(shape.type, item.name, there) for there in (False, True)])[2])

    def count(self, shape: Shape, item: Item, depth: int) -> int:
        if not self._steers(shape, depth):
            return super().count(shape, item, depth + 4)
        options = range(walk.low_of(item), 4 if item.many else 2)
        return int(self._least([(shape.type, item.name, number) for number in options])[2])

    def member(self, shape: Shape, group: tuple[str, ...], depth: int) -> str:
        if not self._steers(shape, depth):
            return super().member(shape, group, depth)
        return str(self._least([(shape.type, name, 1) for name in group])[1])

    def _steers(self, shape: Shape, depth: int) -> bool:
        """Only the outermost instance: one that steered below itself could nest without end."""
        if shape.type is self._declared and self._at is None:
            self._at = depth
        return shape.type is self._declared and self._at == depth

    def value(self, shape: Shape, item: Item) -> str:
        if shape.type is not self._declared:
            return super().value(shape, item)
        return str(self._least([(shape.type, item.name, value) for value in item.values])[2])

    def _least(self, keys: list[Any]) -> Any:
        fewest = min(self._used[key] for key in keys)
        return self.source.choice([key for key in keys if self._used[key] == fewest])


class Builder:
    """Builds one document."""

    def __init__(self, document: type[Class], choices: Choices) -> None:
        self._document = document
        self._choices = choices
        self._identifiers = 0
        namespace = fields_of(document).namespace
        self._nsmap: dict[str | None, str] = {None: namespace} | {
            prefix: uri for prefix, uri in PREFIXES.items() if prefix != "xml" and namespace == V2
        }

    def build(self, path: walk.Path = ()) -> Element:
        """A document, with an element at the end of the path."""
        root = self._element(walk.root_item(self._document), 0, path)
        self._tie(root)
        etree.cleanup_namespaces(root)
        return root

    # What rules of `prose` may ask for.

    def pick(self, texts: tuple[str, ...]) -> str:
        """See `prose.Maker`."""
        return self._choices.pick(texts)

    def minimal(self, item: Item) -> Element:
        """See `prose.Maker`."""
        kept, self._choices = self._choices, Choices()
        made = self._element(item, 0, ())
        self._choices = kept
        return made

    def xml(self) -> list[Element]:
        """See `prose.Maker`."""
        return [etree.fromstring(self.pick(EXTENSIONS))]

    def _element(self, item: Item, depth: int, path: walk.Path) -> Element:
        if item.type is Foreign:
            return etree.fromstring(self.pick(FOREIGN[item.name.rpartition("}")[2]]).format(f'xmlns:ds="{DS}"'))
        element = etree.Element(item.name, nsmap=self._nsmap)
        if not is_class(item.type):
            element.text = self._text(item)
            return element
        shape = fields_of(item.type)
        for attribute in shape.attributes:
            if attribute.required or self._choices.present(shape, attribute, depth):
                element.set(attribute.name, self._attribute(shape, attribute))
        content = shape.content
        if content is not None and content.part is Part.CONTENT:
            if content.required or self._choices.present(shape, content, depth):
                element.text = self._text(content)
        else:
            self._children(element, shape, depth, path)
        prose.repair(prose.Place(element, shape, self))
        return element

    def _children(self, element: Element, shape: Shape, depth: int, path: walk.Path) -> None:
        counts = {item.name: self._count(shape, item, depth) for item in shape.children}
        if path:
            counts[path[0].name] = max(1, counts[path[0].name])
        for group in shape.one_of:
            chosen = [name for name in group if counts[name]] or [self._choices.member(shape, group, depth)]
            kept = path[0].name if path and path[0].name in group else self.pick(tuple(chosen))
            counts |= {name: max(counts[name], 1) if name == kept else 0 for name in group}
        for group in shape.any_of:
            if not any(counts[name] for name in group):
                counts[self._choices.member(shape, group, depth)] = 1
        for item in shape.children:
            for number in range(counts[item.name]):
                leads = path and item.name == path[0].name and not number
                element.append(self._element(item, depth + 1, path[1:] if leads else ()))
        self._mix(element, shape)

    def _mix(self, element: Element, shape: Shape) -> None:
        """Children that may come in any order stand beside each other: exchange them."""
        mixed = [child for child in element if child.tag in shape.any_order]
        if len(mixed) > 1:
            before = element.index(mixed[0])
            for child in self._choices.mix(mixed):
                element.insert(before + len(mixed), child)

    def _count(self, shape: Shape, item: Item, depth: int) -> int:
        wanted = max(self._choices.count(shape, item, depth), walk.low_of(item))
        return wanted if item.many else min(wanted, 1)

    def _attribute(self, shape: Shape, item: Item) -> str:
        if item.values:
            return self._choices.value(shape, item)
        if item.name == "version" and shape.type is self._document:
            return "2.00" if shape.namespace == V2 else "1.00"
        return self._text(item)

    def _text(self, item: Item) -> str:
        if item.values:
            return self.pick(item.values)
        if item.type in {ID, IDRef}:  # a reference is tied to an identifier when all are known
            self._identifiers += 1
            return f"{self.pick(('i', '_', 'é.-', 'I'))}{self._identifiers}"
        named = BY_NAME.get(item.name.rpartition("}")[2])
        return self.pick(named or lexical.VALID[item.type.__name__])

    def _tie(self, root: Element) -> None:
        """RFC 7970 §3.29.6 and §3.29.7: references name an identifier of the document."""
        observables = [str(each) for each in root.xpath("//@observable-id")]
        indicators = [str(each.text) for each in root.iter("{*}IndicatorID")]
        for reference in root.iter("{*}ObservableReference"):
            if not observables:
                observables = ["the-incident"]
                root[0].set("observable-id", observables[0])
            reference.set("uid-ref", self.pick(tuple(observables)))
        for reference in root.iter("{*}IndicatorReference"):
            if "uid-ref" in reference.attrib and indicators:
                reference.set("uid-ref", self.pick(tuple(indicators)))
            elif "uid-ref" in reference.attrib:
                del reference.attrib["uid-ref"]
                reference.set("euid-ref", "indicator-of-another-document")


def written(root: Element) -> bytes:
    """A document of this module as bytes."""
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8").replace(NONE.encode(), b"")


def minimal(document: type[Class], path: walk.Path) -> Element:
    """The smallest document with an element at that path."""
    return Builder(document, Choices()).build(path)


def full(document: type[Class], path: walk.Path, but: Iterable[str] = ()) -> Element:
    """The smallest document with an element at that path that has all its attributes, and all its children once.

    :param but: Clark names of attributes and children that are left out.
    """
    declared = path[-1].type if path else document
    return Builder(document, Full(declared, len(path), but)).build(path)


def by_chance(document: type[Class], source: random.Random, size: int = 120, plain: bool = False) -> Element:
    """A document as chance has it.

    :param size: about so many elements at most.
    :param plain: with the first lexical form of each type only, which is one that the model keeps as it is.
    """
    return Builder(document, Chance(source, size, plain)).build()


def used_in(document: type[Class], root: Element) -> Iterator[Any]:
    """What a document uses: ``(class, name, present)``, ``(class, name, value)``, ``(class, name, count to 3)``."""
    waiting = [(root, document)]
    while waiting:
        element, declared = waiting.pop()
        shape = fields_of(declared)
        for item in shape.attributes:
            value = element.get(item.name)
            yield (declared, item.name, value is not None)
            if item.values and value is not None:
                yield (declared, item.name, value)
        if not shape.children:
            continue
        counts = Counter(str(child.tag) for child in element)
        for item in shape.children:
            yield (declared, item.name, min(counts[item.name], 3))
        waiting += [
            (child, item.type)
            for child in element
            if str(child.tag) in shape.child_named and is_class((item := shape.child_named[str(child.tag)]).type)
        ]


def usable(document: type[Class]) -> set[Any]:
    """All that documents can use, in the form of `used_in`."""
    return {key for declared in walk.shortest_paths(document) for key in _usable(fields_of(declared))}


def _usable(shape: Shape) -> Iterator[Any]:
    for item in shape.attributes:
        partner = prose.extended_by(shape, item)
        if partner is None or "ext-value" in partner.values:
            yield (shape.type, item.name, True)
        if not item.required:
            yield (shape.type, item.name, False)
        yield from ((shape.type, item.name, value) for value in item.values)
    alone = {group[0] for group in (*shape.any_of, *shape.one_of) if len(group) == 1}
    for item in shape.children:
        low = 1 if item.name in alone else walk.low_of(item)
        yield from ((shape.type, item.name, number) for number in range(low, 4 if item.many else 2))


def covering(
    document: type[Class], declared: type[Class], source: random.Random, used: Counter[Any]
) -> Iterator[Element]:
    """Documents with one class, until all that it can have has been used (or a bound is reached).

    :param used: what earlier documents used; what these use is added.
    """
    goals = set(_usable(fields_of(declared)))
    places = walk.places_of(document, declared) or (walk.Edge(None, walk.root_item(document)),)
    for number in range(200):
        if number >= len(places) and all(used[goal] for goal in goals):
            return
        path = walk.path_of_edge(document, places[number % len(places)])
        root = Builder(document, Steered(source, declared, used)).build(path)
        used.update(used_in(document, root))
        yield root
