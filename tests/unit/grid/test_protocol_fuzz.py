"""Nothing that anybody sends does more than be refused: any tree of elements is either understood or a `Refusal`."""

from collections.abc import Callable
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grid import ns
from grid.errors import Refusal
from grid.protocol import delegation, disco, errors, replies
from grid.protocol.draft import is_draft, read_draft
from grid.protocol.elements import DEEPEST, serialise
from grid.protocol.families import BASE
from grid.protocol.forms import read_config, read_form, read_meta_data
from grid.protocol.rsm import read_page, read_set
from grid.protocol.xep0060 import is_pubsub, read_event, read_pubsub
from grid.protocol.xep0060.asking import read_items, read_subscriptions
from tests.unit.grid.protocolkit import ATTRIBUTES, CHARACTERS, TREES, canonical, iq

READERS: dict[str, Callable[[ET.Element], object]] = {
    "draft": read_draft,
    "is_draft": is_draft,
    "pubsub": read_pubsub,
    "is_pubsub": is_pubsub,
    "disco": disco.read_disco,
    "is_disco": disco.is_disco,
    "unwrap": delegation.unwrap,
    "page": read_page,
    "set": read_set,
    "event": read_event,
    "items": read_items,
    "subscriptions": read_subscriptions,
    "info": disco.read_info,
    "disco items": disco.read_items,
    "refusal": errors.read_refusal,
}
READERS |= {
    reader.__name__: reader
    for reader in (
        replies.registered,
        replies.logged_in,
        replies.logged_out,
        replies.challenge,
        replies.found,
        replies.capabilities,
        replies.enrolled,
        replies.subscribed,
        replies.unsubscribed,
        replies.decided,
        replies.directed,
        replies.subtopic_event,
        replies.provider_presence,
    )
}


def _tried(stanza: ET.Element) -> None:
    for read in READERS.values():
        try:
            read(stanza)
        except Refusal as refused:
            assert refused.text or refused.extra
            assert len(refused.text) < 1000
            written = ET.fromstring(errors.refuse(stanza, refused))
            assert written.get("type") == "error"


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["get", "set", "result", "error"]), st.lists(TREES, max_size=2), ATTRIBUTES)
def test_any_stanza(kind: str, children: list[ET.Element], attributes: dict[str, str]) -> None:
    stanza = ET.Element("{jabber:component:accept}iq", {**attributes, "type": kind})
    stanza.extend(children)
    _tried(stanza)


@pytest.mark.parametrize(
    "around",
    [
        "<grid xmlns='xgrid' type='request'/>",
        f"<grid xmlns='gi' type='request'><AccountQuery xmlns='{ns.CONTROLLER}'/></grid>",
        f"<grid xmlns='xgrid' type='request'><initPublishRequest xmlns='{BASE}'/></grid>",
        f"<initPublishResponse xmlns='{ns.GRID}'/>",
        f"<pubsub xmlns='{ns.PUBSUB}'/>",
        f"<pubsub xmlns='{ns.PUBSUB_OWNER}'/>",
        f"<pubsub xmlns='{ns.PUBSUB}'><create node='a'/><configure/></pubsub>",
        f"<event xmlns='{ns.PUBSUB_EVENT}'/>",
        f"<query xmlns='{ns.DISCO_ITEMS}'/>",
        f"<delegation xmlns='{ns.DELEGATION}'><forwarded xmlns='{ns.FORWARD}'/></delegation>",
    ],
)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_anything_in_what_is_known(around: str, data: st.DataObject) -> None:
    stanza = iq(around, data.draw(st.sampled_from(["get", "set"])))
    innermost = stanza
    while len(innermost):
        innermost = innermost[-1]
    inner = data.draw(st.lists(TREES, min_size=1, max_size=3))
    if data.draw(st.booleans()):
        namespace = innermost.tag.partition("}")[0][1:]
        for child in inner:
            child.tag = f"{{{namespace}}}{child.tag.rpartition('}')[2]}"
    innermost.extend(inner)
    _tried(stanza)


@settings(max_examples=100, deadline=None)
@given(TREES)
def test_any_form(tree: ET.Element) -> None:
    tree.tag = f"{{{ns.DATA}}}x"
    for child in tree:
        child.tag = f"{{{ns.DATA}}}field"
    try:
        form = read_form(tree)
    except Refusal:
        return
    for read in (read_config, read_meta_data):
        try:
            read(form)
        except Refusal as refused:
            assert refused.text


def test_depth_costs_no_stack() -> None:
    """A stanza of 512 KiB has room for 70,000 levels."""
    for outer in ("<grid xmlns='xgrid' type='request'>", f"<pubsub xmlns='{ns.PUBSUB}'><publish node='a'><item>"):
        levels = 30_000
        inner = "<a xmlns='urn:a'>" + "<a>" * levels + "</a>" * levels + "</a>"
        closing = "".join(f"</{name}>" for name in reversed([part.split()[0] for part in outer.split("<")[1:]]))
        closing = closing.replace(">>", ">")
        stanza = iq(outer + inner + closing, "set")
        _tried(stanza)
        with pytest.raises(Refusal):
            serialise(stanza)
        while len(
            stanza
        ):  # take it apart from the outside: the garbage collector's own recursion is not ours to test
            stanza = stanza[0]


def _nested(levels: int) -> ET.Element:
    root = inner = ET.Element("a")
    for _ in range(levels - 1):
        inner = ET.SubElement(inner, "a")
    return root


def test_how_deep_it_may_be() -> None:
    assert ET.fromstring(serialise(_nested(DEEPEST))) is not None
    with pytest.raises(Refusal):
        serialise(_nested(DEEPEST + 1))


@settings(max_examples=100, deadline=None)
@given(TREES)
def test_what_is_written_is_what_was_read(tree: ET.Element) -> None:
    """Values that XML cannot carry, and namespaces that are not ASCII-clean, become something that it can."""
    written = serialise(tree)
    again = ET.fromstring(f"<stream xmlns='jabber:client'>{written}</stream>")[0]
    texts = "".join([*tree.itertext(), *(value for each in tree.iter() for value in each.attrib.values())])
    if all(char in "\t\n\r" or (char.isprintable() and char < "\ud800") for char in texts):
        assert canonical(again) == canonical(tree)
    assert serialise(again) == serialise(ET.fromstring(serialise(again)))


@given(st.text(CHARACTERS, max_size=50), st.text(CHARACTERS, max_size=50))
def test_text_goes_through_as_it_is(text: str, value: str) -> None:
    element = ET.Element(
        "{urn:a}b", {"c": value, "{urn:d}e": value, "{http://www.w3.org/XML/1998/namespace}lang": "en"}
    )
    element.text = text
    again = ET.fromstring(serialise(element))
    assert again.attrib == element.attrib and (again.text or "") == text and again.tag == element.tag
