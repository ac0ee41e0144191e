"""Documents that obey the model are valid, and come back from the model (and from JSON) with the same meaning.

The examples are the same in every run. ``IODEF_EXAMPLES=5000 pytest tests/unit/iodef/test_generated.py`` looks at so
many documents of each kind instead, different ones each time.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from decimal import Decimal
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lxml import etree

from grid import iodef
from grid.iodef import v1, v2
from grid.iodef.fields import Class, Item, Part, fields_of, is_class
from grid.iodef.types import ID, Foreign, IDRef
from tests.unit.iodef import generator, lexical, sites, walk

Element = etree._Element
MODELS = [pytest.param(v2, id="v2"), pytest.param(v1, id="v1")]
EXAMPLES = int(os.environ.get("IODEF_EXAMPLES", "0"))
SEED = random.SystemRandom().randrange(1 << 32) if EXAMPLES else 7970
CLASSES = [
    pytest.param(model.Document, declared, id=f"{model.__name__[-2:]}-{declared.__name__}")
    for model in (v2, v1)
    for declared in walk.shortest_paths(model.Document)
]


def valid(root: Element) -> bytes:
    """The document as bytes, once it has been found valid."""
    source = generator.written(root)
    problems = iodef.validate(iodef.parse(source), source=source)
    assert not problems, f"{'; '.join(map(str, problems[:5]))}\n{source.decode()}"
    return source


def comes_back(root: Element) -> None:
    """A valid document means the same after the model has read and written it, and is the same model again."""
    source = valid(root)
    document = iodef.load(source)
    written = iodef.dump(document)
    again = iodef.load(written)
    assert again == document
    assert hash(again) == hash(document)
    assert iodef.dump(again) == written
    assert meaning(etree.fromstring(written), type(document)) == meaning(etree.fromstring(source), type(document))


def meaning(element: Element, declared: type[Class]) -> Any:
    """What an element says: names, values by their type, children, and extensions to the last character."""
    shape = fields_of(declared)
    attributes = {
        str(name): value_of(shape.attribute_named[str(name)], str(text)) if name in shape.attribute_named else text
        for name, text in element.items()
    }
    if shape.content is not None and shape.content.part is Part.CONTENT:
        return (element.tag, attributes, value_of(shape.content, element.text or ""))
    if shape.content is not None:
        return (element.tag, attributes, element.text or "", [(exactly(child), child.tail) for child in element])
    return (element.tag, attributes, [of_child(child, shape.child_named[str(child.tag)]) for child in element])


def of_child(child: Element, item: Item) -> Any:
    """What one child says."""
    if is_class(item.type):
        return meaning(child, item.type)
    if item.type is Foreign:
        return exactly(child)
    return (child.tag, value_of(item, child.text or ""))


def exactly(element: Element) -> Any:
    """A foreign element, with everything but the choice of prefixes and the white space between attributes.

    Not as canonical XML: libxml2 has none for a namespace like RFC 7970's own "iodef-extension1.xsd", a relative URI.
    """
    inside = [(exactly(child), child.tail) for child in element]
    prefixes = {prefix: uri for prefix, uri in element.nsmap.items() if prefix and prefix in (element.text or "")}
    return (element.tag, dict(element.attrib), element.text, inside, prefixes)


def value_of(item: Item, text: str) -> Any:
    """A value by its data type: two lexical forms of one value are the same."""
    if item.type is str and not item.values:
        return text
    text = " ".join(text.split())
    if item.type is Decimal and text:
        return text if text.endswith(("INF", "NaN")) else Decimal(text)
    return int(text) if item.type is int and text else text


@pytest.mark.parametrize(("document", "declared"), CLASSES)
def test_smallest_and_full(document: type[Class], declared: type[Class]) -> None:
    for edge in walk.places_of(document, declared) or (walk.Edge(None, walk.root_item(document)),):
        path = walk.path_of_edge(document, edge)
        comes_back(generator.minimal(document, path))
        comes_back(generator.full(document, path))


@pytest.mark.parametrize("model", MODELS)
def test_all_that_the_model_has(model: ModuleType) -> None:
    """Every class, attribute (there or not), enumerated value and number of children occurs, and comes back."""
    document = model.Document
    used: Counter[Any] = Counter()
    source = random.Random(SEED)
    for declared in walk.shortest_paths(document):
        for root in generator.covering(document, declared, source, used):
            comes_back(root)
    assert not [goal for goal in generator.usable(document) if not used[goal]]


@pytest.mark.parametrize(("document", "declared"), CLASSES)
def test_every_lexical_form(document: type[Class], declared: type[Class]) -> None:
    """Each form of each data type, in each attribute, simple child and content that has the type."""
    for edge in walk.places_of(document, declared)[:1]:
        path = walk.path_of_edge(document, edge)
        shape = fields_of(declared)
        for item in (*shape.attributes, *shape.children, *([shape.content] if shape.content else [])):
            for form in forms_of(item, edge.name):
                root = generator.full(document, path, others_in_group(item, shape.one_of))
                put(sites.target(root, path), item, form)
                comes_back(root)


def forms_of(item: Item, element: str) -> tuple[str, ...]:
    """The lexical forms that are right for an item, unless the standard's prose says more about it than its type."""
    short = (item.name or element).rpartition("}")[2]
    if item.values or item.part is Part.MIXED or item.type in {ID, IDRef}:
        return ()
    if short in {"version", "Address", "RecordPattern"}:
        return ()
    if short in {"TimeImpact", "MonetaryImpact"}:
        return lexical.POSITIVE
    known = lexical.VALID.get(getattr(item.type, "__name__", ""), ())
    return generator.BY_NAME.get(short, (*known, "") if may_be_empty(item) else known)


def may_be_empty(item: Item) -> bool:
    """Free text that nothing asks for may say nothing."""
    free = not item.required and item.type is str and not item.name.startswith("ext-")
    return free and item.name not in {"euid-ref", "private-enum-name", "name"} and not item.name.endswith("}EmailTo")


@pytest.mark.parametrize(("document", "declared"), CLASSES)
def test_white_space_around_tokens(document: type[Class], declared: type[Class]) -> None:
    """Values of enumerations, identifiers and references have none of their own (xs:NMTOKEN, xs:ID, xs:IDREF)."""
    for edge in walk.places_of(document, declared)[:1]:
        path = walk.path_of_edge(document, edge)
        plain = generator.full(document, path)
        padded = generator.full(document, path)
        element = sites.target(padded, path)
        for item in fields_of(declared).attributes:
            token = item.values or item.type in {ID, IDRef}
            if token and item.name in element.attrib and item.name != "version":  # a STRING, whatever the model has
                element.set(item.name, f" \n{element.get(item.name)}\t ")
        if element.text and declared is v2.IndicatorID:
            element.text = f"\n  {element.text}\n"
        comes_back(padded)
        assert iodef.load(valid(padded)) == iodef.load(valid(plain))


def others_in_group(item: Item, groups: tuple[tuple[str, ...], ...]) -> list[str]:
    """What must be absent so that a child can be there."""
    return [name for group in groups if item.name in group for name in group if name != item.name]


def put(element: Element, item: Item, form: str) -> None:
    """Give an item of an element this form, and its partner what goes with it."""
    if item.part is Part.ATTRIBUTE:
        element.set(item.name, form)
        if item.name.startswith("ext-") and item.name[4:] in element.attrib:
            element.set(item.name[4:], "ext-value")
    elif item.part is Part.CONTENT:
        element.text = form
        if "rating" in element.attrib:
            element.set("rating", "numeric")
            element.attrib.pop("ext-rating", None)
    else:
        for child in element.iterchildren(item.name):
            child.text = form


@pytest.mark.parametrize("model", MODELS)
@settings(
    max_examples=EXAMPLES or 60,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
)
@given(source=st.randoms(use_true_random=True), size=st.integers(0, 300))
def test_by_chance(model: ModuleType, source: random.Random, size: int) -> None:
    comes_back(generator.by_chance(model.Document, source, size))


@pytest.mark.parametrize("model", MODELS)
def test_canonical_xml_is_kept(model: ModuleType) -> None:
    """Of documents whose values have the form that the model writes: not one character differs."""
    source = random.Random(SEED)
    for _ in range(EXAMPLES or 60):
        root = generator.by_chance(model.Document, source, plain=True)
        written = iodef.dump(iodef.load(valid(root)))
        assert etree.tostring(etree.fromstring(written), method="c14n") == etree.tostring(root, method="c14n")


@pytest.mark.parametrize("model", MODELS)
def test_layout_means_nothing(model: ModuleType) -> None:
    """White space between elements, comments and processing instructions change nothing for the model."""
    source = random.Random(SEED)
    for _ in range(EXAMPLES or 30):
        root = generator.by_chance(model.Document, source, size=60, plain=True)
        document = iodef.load(valid(root))
        spread = spread_out(root, model.Document)
        assert iodef.load(valid(spread)) == document


def spread_out(root: Element, document: type[Class]) -> Element:
    """The document with line ends, blanks, comments and processing instructions where they mean nothing."""
    waiting = [(root, document)]
    while waiting:
        element, declared = waiting.pop()
        shape = fields_of(declared)
        if shape.content is not None or not shape.children:
            continue  # not even white space is allowed in an element that has no content at all
        for child in list(element):
            item = shape.child_named[str(child.tag)]
            if is_class(item.type):
                waiting.append((child, item.type))
            child.tail = "\n \t"
            child.addprevious(etree.Comment(" <Incident> "))
            child.addnext(etree.ProcessingInstruction("xml-model", "href='x'"))
        element.text = "\r\n"
    return root
