"""Every constraint that the model's description states, broken in every way, at every place where it applies.

A `Constraint` is one sentence about a class ("Contact has the attribute role"); `constraints` lists them all by
walking the model, `mutations` breaks one. A mutation knows where its error must be told and what the message must
name. What only the standards' prose says is in `mutations_prose` and `mutations_document`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from lxml import etree

from grid.iodef.fields import Class, Item, Part, Shape, fields_of, is_class
from grid.iodef.names import V1, V2
from grid.iodef.types import Foreign
from tests.unit.iodef import generator, lexical, prose, walk
from tests.unit.iodef.sites import Element, Mutation, Site, broken, place, short, sites


@dataclass(frozen=True)
class Constraint:
    """One constraint of one class.

    :ivar kind: a key of `KINDS`.
    :ivar part: what of the class it is about: an `Item`, several of them, or None for the class as a whole.
    """

    declared: type[Class]
    kind: str
    part: Any

    def __str__(self) -> str:
        every = [short(item.name) for item in items_of(self.part)]
        names = ",".join(every[:3]) + (f",{len(every) - 3}_more" if len(every) > 3 else "")
        return "-".join(part for part in (self.declared.__name__, self.kind, names) if part).replace(" ", "_")


def items_of(part: Any) -> tuple[Item, ...]:
    return part if isinstance(part, tuple) else () if part is None else (part,)


#: How a message may call a text that says nothing.
NOTHING = ("empty", "found no text", "found ''")


# Attributes


def _drop_attribute(site: Site, item: Item) -> Iterator[Mutation]:
    element = site.full()
    del element.attrib[item.name]
    yield broken(f"without @{item.name}", element, short(item.name))


def _wrong_values(item: Item) -> tuple[str, ...]:
    if item.values:
        cased = tuple(value.upper() for value in item.values[:1] if value.upper() not in item.values)
        return tuple(value for value in (*lexical.WRONG_ENUMERATION, *cased) if value.strip() not in item.values)
    if item.name == "version" and item.required and item.type is str:
        return ()
    return lexical.WRONG.get(getattr(item.type, "__name__", ""), ())


def _wrong_attribute(site: Site, item: Item) -> Iterator[Mutation]:
    for value in _wrong_values(item)[: None if site.thorough else 2]:
        element = site.full()
        element.set(item.name, value)
        yield broken(f"@{item.name}={value!r}", element, f"found {_shown(value)}", "found ''", attribute=item.name)


def _shown(value: str) -> str:
    return repr(" ".join(value.split()) if value.strip() else value)


def _extension_without_partner(site: Site, item: Item) -> Iterator[Mutation]:
    partner = prose.extended_by(site.shape, item)
    assert partner is not None
    others = [value for value in partner.values if value != "ext-value"][: None if site.thorough else 1]
    for value in others:
        element = site.full()
        element.set(partner.name, value)
        element.set(item.name, "an-extension")
        _settle(site, element, item, partner)
        yield broken(f"@{item.name} beside {value!r}", element, item.name, attribute=item.name)
    if not partner.required:
        element = site.full()
        element.attrib.pop(partner.name, None)
        element.set(item.name, "an-extension")
        yield broken(f"@{item.name} alone", element, item.name, attribute=item.name)


def _settle(site: Site, element: Element, *but: Item) -> None:
    """Repair what a changed value demands besides, so that one constraint only is broken."""
    kept = {item.name: element.get(item.name) for item in but}
    maker = generator.Builder(site.document, generator.Choices())
    prose.repair(prose.Place(element, site.shape, maker))
    for name, value in kept.items():
        element.attrib.pop(name, None)
        if value is not None:
            element.set(name, value)


def _extension_missing(site: Site, item: Item) -> Iterator[Mutation]:
    for value in (None, "", " ")[: None if site.thorough else 1]:
        element = site.full()
        element.set(item.name, "ext-value")
        _settle(site, element)
        element.attrib.pop(f"ext-{item.name}", None)
        if value is not None:
            element.set(f"ext-{item.name}", value)
        paths = {place(element), place(element, item.name), place(element, f"ext-{item.name}")}
        root = element.getroottree().getroot()
        yield Mutation(f"ext-value with ext-{item.name} {value!r}", root, frozenset(paths), (f"ext-{item.name}",))


def _unknown_attribute(site: Site, _part: None) -> Iterator[Mutation]:
    for name in ("no-such-attribute", "Restriction", f"{{{site.shape.namespace}}}restriction"):
        element = site.full()
        element.set(name, "public")
        yield broken(f"with @{name}", element, short(name), attribute=name)


def _foreign_attribute(site: Site, _part: None) -> Iterator[Mutation]:
    # RFC 7970 §5: "Adding additional attributes to existing classes is not supported."
    element = site.full()
    element.set("{urn:example:foreign}attribute", "x")
    yield broken("with an attribute of a foreign namespace", element, "attribute", attribute="attribute")


# Children


def _drop_child(site: Site, item: Item) -> Iterator[Mutation]:
    element = site.with_parts(item.name)
    following = None
    for child in list(element.iterchildren(item.name)):
        following = child.getnext()
        element.remove(child)
    also = () if following is None else (following,)
    yield broken(f"without {item.name}", element, short(item.name), also=also)


def _repeat_child(site: Site, item: Item) -> Iterator[Mutation]:
    for times in (2, 3) if site.thorough else (2,):
        element = site.with_parts(item.name)
        child = element.find(item.name)
        assert child is not None
        for _ in range(times - 1):
            child.addnext(with_new_identifiers(child))
        second = list(element.iterchildren(item.name))[1]
        yield broken(f"{times} times {item.name}", second, short(item.name), also=(element,))


def with_new_identifiers(element: Element, prefix: str = "copy") -> Element:
    """A copy in which no identifier occurs a second time: all begin with a prefix and are numbered."""
    copied = etree.fromstring(etree.tostring(element, with_tail=False))
    for number, each in enumerate(copied.iter()):
        if "observable-id" in each.attrib:
            each.set("observable-id", f"{prefix}{number}")
        if short(str(each.tag)) == "IndicatorID":
            each.text = f"{prefix}{number}"
    return copied


def _swap(site: Site, pair: tuple[Item, Item]) -> Iterator[Mutation]:
    first, second = pair
    element = site.with_parts(first.name, second.name)
    early, late = element.find(first.name), element.find(second.name)
    assert early is not None
    assert late is not None
    early.addprevious(late)
    words = (short(first.name), short(second.name))
    yield broken(f"{second.name} before {first.name}", early, *words, also=(late, element))


def _none_of(site: Site, group: tuple[Item, ...]) -> Iterator[Mutation]:
    names = [item.name for item in group]
    for name in names if site.thorough else names[:1]:  # from each member as the last one of the group
        element = site.full(*(other for other in names if other != name))
        following = None
        for child in list(element.iterchildren(*names)):
            following = child.getnext()
            element.remove(child)
        also = () if following is None else (following,)
        yield broken(f"without {name}, the last of its group", element, *map(short, names), also=also)


def _two_of(site: Site, group: tuple[Item, ...]) -> Iterator[Mutation]:
    pairs = list(itertools.permutations(group, 2))
    for first, second in pairs if site.thorough else pairs[:1]:
        element = site.with_parts(first.name)
        other = site.with_parts(second.name).find(second.name)
        present = element.find(first.name)
        assert present is not None
        assert other is not None
        added = with_new_identifiers(other)
        present.addnext(added)
        words = (short(second.name), short(first.name))
        yield broken(f"{first.name} and {second.name}", added, *words, also=(element, present))


def _text_among_children(site: Site, _part: None) -> Iterator[Mutation]:
    element = site.full()
    element.text = "stray text"
    yield broken("with text", element, "text")
    if site.thorough and len(element):
        element = site.full()
        element[-1].tail = "\n stray &<> text \n"
        yield broken("with text at the end", element, "text")
        element = site.full()
        element.text = "\u00a0"  # white space for people, not for XML
        yield broken("with a no-break space", element, "text")


def _at_each_position(
    site: Site, name: str, what: str, nsmap: dict[str | None, str] | None = None
) -> Iterator[Mutation]:
    count = len(site.full())
    for index in sorted({0, count // 2, count}) if site.thorough else (count,):
        element = site.full()
        added = etree.Element(name, nsmap=nsmap)
        element.insert(index, added)
        yield broken(f"{what} at {index}", added, short(name), "text", also=(element,))


def _unknown_child(site: Site, _part: None) -> Iterator[Mutation]:
    yield from _at_each_position(site, f"{{{site.shape.namespace}}}NoSuchElement", "an unknown element")
    yield from _at_each_position(site, f"{{{site.shape.namespace}}}IODEF-Document", "a root")


def _foreign_child(site: Site, _part: None) -> Iterator[Mutation]:
    yield from _at_each_position(
        site, "{urn:example:foreign}Description", "a foreign element", {"f": "urn:example:foreign"}
    )
    yield from _at_each_position(
        site, f"{{{generator.NONE}}}Description", "an element without namespace", {None: generator.NONE}
    )
    other = V1 if site.shape.namespace == V2 else V2
    yield from _at_each_position(site, f"{{{other}}}Description", "an element of the other version", {"o": other})


# Values


def _wrong_child(site: Site, item: Item) -> Iterator[Mutation]:
    for value in _wrong_values(item)[: None if site.thorough else 2]:
        element = site.with_parts(item.name)
        child = element.find(item.name)
        assert child is not None
        child.text = value or None
        yield broken(f"{item.name}: {value!r}", child, f"found {_shown(value)}", "found ''", *NOTHING)


def _markup_in_child(site: Site, item: Item) -> Iterator[Mutation]:
    element = site.with_parts(item.name)
    child = element.find(item.name)
    assert child is not None
    child.append(etree.Element(f"{{{site.shape.namespace}}}Description"))
    yield broken(f"an element in {item.name}", child, short(item.name), "Description", also=(child[0],))
    element = site.with_parts(item.name)
    child = element.find(item.name)
    assert child is not None
    child.set("restriction", "public")
    yield broken(f"an attribute in {item.name}", child, "restriction", attribute="restriction")


def _wrong_content(site: Site, item: Item) -> Iterator[Mutation]:
    for value in _wrong_values(item)[: None if site.thorough else 2]:
        element = site.full()
        if not item.required:
            element.set("rating", "numeric")  # Confidence, the only class whose content may be absent
            if not value:
                continue
        element.text = value or None
        yield broken(f"content {value!r}", element, f"found {_shown(value)}", "found ''", *NOTHING)


def _element_in_content(site: Site, item: Item) -> Iterator[Mutation]:
    element = site.full()
    added = etree.SubElement(element, f"{{{site.shape.namespace}}}Description")
    yield broken("an element in the content", element, "Description", "text", also=(added,))


def _empty_child(site: Site, item: Item) -> Iterator[Mutation]:
    for text in (None, " \n\t") if site.thorough else (None,):
        element = site.with_parts(item.name)
        child = element.find(item.name)
        assert child is not None
        child.text = text
        yield broken(f"{item.name} with {text!r}", child, *NOTHING)


def _empty_content(site: Site, item: Item) -> Iterator[Mutation]:
    for text in (None, " \n\t") if site.thorough else (None,):
        element = site.full()
        element.text = text
        yield broken(f"content {text!r}", element, *NOTHING)


def _is_text(item: Item) -> bool:
    return item.type is str or getattr(item.type, "__name__", "") == "MLString"


def _extended(shape: Shape) -> list[Item]:
    return [item for item in shape.attributes if prose.extended_by(shape, item)]


def _pairs(shape: Shape) -> list[tuple[Item, Item]]:
    apart = [set(group) for group in shape.one_of]
    pairs = itertools.combinations(shape.children, 2)
    return [(a, b) for a, b in pairs if not any({a.name, b.name} <= group for group in [*apart, shape.any_order])]


def _groups(shape: Shape, groups: tuple[tuple[str, ...], ...]) -> list[tuple[Item, ...]]:
    return [tuple(shape.child_named[name] for name in group) for group in groups]


def _simple(shape: Shape) -> list[Item]:
    return [item for item in shape.children if not is_class(item.type) and item.type is not Foreign]


def _content(shape: Shape) -> list[Item]:
    return [shape.content] if shape.content is not None and shape.content.part is Part.CONTENT else []


def _closed(shape: Shape) -> list[None]:
    """Classes with children, or with nothing at all: no text among them, no other elements."""
    return [None] if shape.content is None else []


Parts = Callable[[Shape], Iterable[Any]]
Break = Callable[[Site, Any], Iterator[Mutation]]
KINDS: dict[str, tuple[Parts, Break]] = {
    "required attribute": (lambda shape: [item for item in shape.attributes if item.required], _drop_attribute),
    "attribute value": (lambda shape: [item for item in shape.attributes if _wrong_values(item)], _wrong_attribute),
    "extension attribute": (_extended, _extension_without_partner),
    "ext-value": (
        lambda shape: [
            item
            for item in shape.attributes
            if f"ext-{item.name}" in shape.attribute_named and "ext-value" in item.values
        ],
        _extension_missing,
    ),
    "unknown attribute": (lambda _: [None], _unknown_attribute),
    "foreign attribute": (lambda _: [None], _foreign_attribute),
    "required child": (lambda shape: [item for item in shape.children if item.required], _drop_child),
    "single child": (lambda shape: [item for item in shape.children if not item.many], _repeat_child),
    "order": (_pairs, _swap),
    "any of": (lambda shape: _groups(shape, shape.any_of), _none_of),
    "one of, none": (lambda shape: _groups(shape, shape.one_of), _none_of),
    "one of, two": (lambda shape: _groups(shape, shape.one_of), _two_of),
    "no text": (_closed, _text_among_children),
    "unknown child": (_closed, _unknown_child),
    "foreign child": (_closed, _foreign_child),
    "child value": (lambda shape: [item for item in _simple(shape) if _wrong_values(item)], _wrong_child),
    "child is text": (_simple, _markup_in_child),
    "content value": (lambda shape: [item for item in _content(shape) if _wrong_values(item)], _wrong_content),
    "content is text": (_content, _element_in_content),
    "child not empty": (
        lambda shape: [item for item in shape.children if item.required and _is_text(item)],
        _empty_child,
    ),
    "content not empty": (
        lambda shape: [
            item
            for item in _content(shape)
            if item.required and item.type is str and shape.type.__name__ != "MLString"
        ],
        _empty_content,
    ),
}
_ONCE = frozenset({"order"})
"""Kinds that are tried at the first place of a class only, there are so many."""


@cache
def constraints(document: type[Class]) -> tuple[Constraint, ...]:
    """Every constraint of every class that a document can hold."""
    return tuple(
        Constraint(declared, kind, part)
        for declared in walk.shortest_paths(document)
        for kind, (parts, _) in KINDS.items()
        for part in parts(fields_of(declared))
    )


def mutations(document: type[Class], constraint: Constraint) -> Iterator[Mutation]:
    """The constraint, broken in every way at the class's first place and in one way at each other."""
    everywhere = sites(document, constraint.declared)
    for site in everywhere[:1] if constraint.kind in _ONCE else everywhere:
        yield from KINDS[constraint.kind][1](site, constraint.part)
