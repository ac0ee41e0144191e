"""How classes are declared: cardinalities, types and groups out of annotations, and what the codec makes of them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal, TypeVar

import pytest
from lxml import etree

from grid.iodef import codec, v1, v2
from grid.iodef.errors import Invalid
from grid.iodef.fields import Class, Part, attribute, child, children, content, define, fields_of, in_order, mixed
from grid.iodef.types import DateTime, Foreign

C = TypeVar("C", bound=type[Class])
NAMESPACE = "urn:example:fields"
Kind = Literal["big", "small"]


def kind(element: str, **more: Any):  # type: ignore[no-untyped-def]
    """The decorator of a standard that exists here alone."""
    return define(NAMESPACE, element, section="1", **more)


@kind("Leaf")
class Leaf(Class):
    value: str = content()
    size: Kind = attribute("size", implied="big")


@kind(
    "Tree",
    any_of=("Leaf", "Seed"),
    one_of=(("Root", "Pot"), ("Height", "Width")),
    any_order=("Leaf", "Seed"),
)
class Tree(Class):
    age: int | None = attribute("age", default=None)
    alive: bool | None = attribute("alive", default=None)
    lang: str | None = attribute("xml:lang", default=None)
    planted: DateTime = child("Planted")
    root: tuple[Tree, ...] = children("Root", default=())
    pot: str | None = child("Pot", default=None)
    height: Decimal | None = child("Height", default=None)
    width: Decimal | None = child("Width", default=None)
    leaf: tuple[Leaf, ...] = children("Leaf", default=())
    seed: tuple[str, ...] = children("Seed", default=())
    digest: Foreign | None = child("ds:DigestValue", default=None)
    order: tuple[str, ...] = ()


@kind("Wood")
class Wood(Class):
    tree: tuple[Tree, ...] = children("Tree")


@kind("Note")
class Note(Class):
    content: tuple[str | Foreign, ...] = mixed()


def ours(*names: str) -> tuple[str, ...]:
    return tuple(f"{{{NAMESPACE}}}{name}" for name in names)


def test_cardinalities_and_types_are_those_of_the_annotations():
    shape = fields_of(Tree)
    found = {item.python: (item.type, item.required, item.many) for item in (*shape.attributes, *shape.children)}
    assert found == {
        "age": (int, False, False),
        "alive": (bool, False, False),
        "lang": (str, False, False),
        "planted": (DateTime, True, False),
        "root": (Tree, False, True),
        "pot": (str, False, False),
        "height": (Decimal, False, False),
        "width": (Decimal, False, False),
        "leaf": (Leaf, False, True),
        "seed": (str, False, True),
        "digest": (Foreign, False, False),
    }
    (trees,) = fields_of(Wood).children
    assert (trees.type, trees.required, trees.many) == (Tree, True, True)
    assert shape.content is None


def test_names_are_in_the_namespace_that_they_belong_to():
    shape = fields_of(Tree)
    assert (shape.element, shape.namespace, shape.section) == (*ours("Tree"), NAMESPACE, "1")
    assert list(shape.attribute_named) == ["age", "alive", "{http://www.w3.org/XML/1998/namespace}lang"]
    assert [item.name for item in shape.children][-1] == "{http://www.w3.org/2000/09/xmldsig#}DigestValue"
    assert shape.child_named[ours("Pot")[0]].python == "pot"


def test_enumerations_are_texts_with_their_values():
    (size,) = fields_of(Leaf).attributes
    assert (size.type, size.values, size.required, size.implied) == (str, ("big", "small"), True, "big")


def test_content():
    value, noted = fields_of(Leaf).content, fields_of(Note).content
    assert value is not None and (value.part, value.type, value.many) == (Part.CONTENT, str, False)
    assert noted is not None and (noted.part, noted.required, noted.many) == (Part.MIXED, True, False)


def test_one_group_or_several():
    shape = fields_of(Tree)
    assert shape.any_of == (ours("Leaf", "Seed"),)
    assert shape.one_of == (ours("Root", "Pot"), ours("Height", "Width"))
    assert shape.any_order == {*ours("Leaf", "Seed")}
    assert fields_of(Leaf).any_of == fields_of(Leaf).one_of == ()


def test_the_order_of_the_declaration():
    names = ours("Seed", "Leaf", "Planted", "Unknown", "Seed")
    assert in_order(fields_of(Tree), names) == [*ours("Planted", "Leaf", "Seed", "Seed", "Unknown")]


def test_a_description_is_made_once():
    assert fields_of(Tree) is fields_of(Tree)


@pytest.mark.parametrize("model", [v1, v2], ids=["1.0", "2.0"])
def test_groups_name_children_that_there_are(model: Any):
    for name in model.__all__:
        if name == "NAMESPACE":
            continue
        shape = fields_of(getattr(model, name))
        groups = [*shape.any_of, *shape.one_of, tuple(shape.any_order)]
        assert {each for group in groups for each in group} <= shape.child_named.keys(), name
        assert bool(shape.any_order) == ("order" in shape.type.__dataclass_fields__), name


def declared_badly(name: str) -> type[Class]:
    if name == "a prefix that nobody knows":

        @kind("Bad")
        class Prefix(Class):
            part: str = child("nobody:Part")

        return Prefix
    if name == "a type that nobody knows":

        @kind("Bad")
        class Type(Class):
            part: Nobody = child("Part")  # type: ignore[name-defined]  # noqa: F821

        return Type
    if name == "two types":

        @kind("Bad")
        class Two(Class):
            part: str | int = child("Part")

        return Two

    @kind("Bad", any_of=("nobody:Part",))
    class Group(Class):
        part: str = child("Part")

    return Group


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("a prefix that nobody knows", KeyError),
        ("a type that nobody knows", NameError),
        ("two types", ValueError),
        ("a group of a prefix that nobody knows", KeyError),
    ],
)
def test_a_declaration_that_is_wrong_is_an_error(name: str, error: type[Exception]):
    with pytest.raises(error):
        fields_of(declared_badly(name))


# What the codec makes of a declaration


def test_what_is_declared_goes_to_xml_and_back():
    sapling = Tree(planted=DateTime("2026-11-21T00:00:00Z"), pot="clay", seed=("a",))
    tree = Tree(
        age=7,
        alive=True,
        lang="de",
        planted=DateTime("2019-11-21T00:00:00Z"),
        root=(sapling,),
        height=Decimal("10.00"),
        leaf=(Leaf(value="one", size="small"), Leaf(value="two", size="big")),
        seed=("s1", "s2"),
        order=("Seed", "Leaf", "Seed", "Leaf"),
    )
    written = codec.dump(tree).decode()
    assert written == (
        f'<Tree xmlns="{NAMESPACE}" age="7" alive="true" xml:lang="de"><Planted>2019-11-21T00:00:00Z</Planted>'
        "<Root><Planted>2026-11-21T00:00:00Z</Planted><Pot>clay</Pot><Seed>a</Seed></Root><Height>10.00</Height>"
        '<Seed>s1</Seed><Leaf size="small">one</Leaf><Seed>s2</Seed><Leaf size="big">two</Leaf></Tree>'
    )
    read = codec.read(Wood, etree.fromstring(f'<Wood xmlns="{NAMESPACE}">{written}</Wood>'))
    assert read.tree == (tree,)


TREE = f'<Tree xmlns="{NAMESPACE}">{{}}</Tree>'


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (TREE.format(""), "/Tree: a part that is required is missing"),
        (TREE.format("<Planted/><Stone/>"), "/Tree/Stone: Stone is not one of the parts of Tree"),
        (TREE.format("<Planted/><Leaf size='big' x='1'/>"), "/Tree/Leaf: the attribute 'x' is not one of Leaf"),
        (TREE.format("<Planted/><Height>tall</Height>"), "/Tree/Height: 'tall' is too much for a number here"),
    ],
)
def test_what_the_declaration_does_not_have_is_told_with_its_place(source: str, message: str):
    with pytest.raises(Invalid) as caught:
        codec.read(Tree, etree.fromstring(source))
    assert [str(problem) for problem in caught.value.problems] == [f"line 1: {message}"]


@pytest.mark.parametrize("source", ["<Tree/>", b"<Tree/>", None])
def test_only_elements_are_read(source: Any):
    with pytest.raises(TypeError, match="element must be an element of lxml, not"):
        codec.read(Tree, source)


def test_comments_and_processing_instructions_of_somebody_elses_tree_mean_nothing():
    leaf = "<Leaf size='big'>o<!-- a -->n<?b c?>e</Leaf>"
    plain = codec.read(Tree, etree.fromstring(TREE.format("<Planted>x</Planted><Leaf size='big'>one</Leaf>")))
    assert codec.read(Tree, etree.fromstring(TREE.format(f"<!-- d --><Planted>x<!-- e --></Planted>{leaf}"))) == plain
    note = codec.read(Note, etree.fromstring("<Note>a<!-- f -->b<x/>c<?g h?></Note>"))
    assert note.content == ("ab", Foreign(b"<x></x>"), "c")
