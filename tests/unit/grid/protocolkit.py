"""What the tests of `grid.protocol` share: stanzas, the draft's samples, comparison, and trees of any kind."""

from pathlib import Path
from xml.etree import ElementTree as ET

from hypothesis import strategies as st

from component.base.jid import prepare
from grid import ns
from grid.protocol.families import Family

DRAFT = Path(__file__).parents[2] / "wire" / "draft"
XSI_TYPE = f"{{{ns.XSI}}}type"
STREAM = "jabber:component:accept"


def iq(content: str, kind: str = "get") -> ET.Element:
    """An IQ as a component link hands it over."""
    return ET.fromstring(f"<iq xmlns='{STREAM}' type='{kind}' id='q1' from='a@b/c' to='d'>{content}</iq>")


def sample(name: str, family: Family = Family.PUBLISH) -> ET.Element:
    """A stanza of the draft, as it comes over a component's stream, in the URIs of a family."""
    text = (DRAFT / f"{name}.xml").read_text()
    for prefix, uri in Family.PUBLISH.value:
        text = text.replace(f'"{uri}"', f'"{family.uri(prefix)}"')
    text = text.replace('xmlns="jabber:client"', "").replace("xmlns='jabber:client'", "")
    return ET.fromstring(f"<stream xmlns='{STREAM}'>{text}</stream>")[0]


def canonical(element: ET.Element) -> object:
    """What an element says: without white space around values, prefixes, order of attributes and unused declarations;
    of ``xsi:type`` the local part, which is all that anybody may look at."""
    attributes = {
        key: value.strip().rpartition(":")[2] if key == XSI_TYPE else value.strip() for key, value in element.items()
    }
    words = (element.text or "").strip()
    return element.tag, attributes, words, [canonical(child) for child in element]


def child(text: str) -> ET.Element:
    """What was written as the child of a stanza."""
    stanza = iq(text, "result")
    assert len(stanza) == 1 and not stanza.text and not stanza[0].tail
    return stanza[0]


CHARACTERS = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff")
WORDS = st.text(CHARACTERS, min_size=1, max_size=30).filter(lambda text: text == text.strip() and text.strip() != "")
"""Anything that XML can carry, without the white space that readers take off."""

LOCAL = st.from_regex(r"[a-zA-Zü_][a-z0-9ü_.-]{0,20}", fullmatch=True)
JIDS = st.sampled_from(
    ["soc1@grid.test", "soc1@grid.test/a b", "grid.test", "ü@grid.test/…", "a\\40b@grid.test"]
).map(prepare)

_NAMES = """
    iq grid AccountQuery DiscoveryQuery register login logout find param proof certificate signature
    username value getCapabilityListRequest initPublishRequest subscribeRequest unsubscribeRequest
    getFilterOptionsRequest isAuthorizedRequest historyRequest bulkRequest proxyQuery challengeRequest
    capability id name version filter filterable attribute query notification topicName since until
    identity certificateChain service set max after before index first last count pubsub create
    configure subscribe options unsubscribe items item publish field publish-options retract
    subscriptions subscription affiliations affiliation default delete redirect purge x option event
    delegation forwarded error text bad-request subtopic provider feature topic xmppDetails jid
    subscribeResponse initPublishResponse getCapabilityListResponse isAuthorizedResponse challenge
"""
NAMES = _NAMES.split()
NAMESPACES = (
    "", ns.GI, ns.XGRID, ns.CONTROLLER, ns.GRID, ns.PUBSUB, ns.PUBSUB_OWNER, ns.PUBSUB_EVENT, ns.DATA, ns.RSM,
    ns.DISCO_INFO, ns.DISCO_ITEMS, ns.DELEGATION, ns.FORWARD, ns.CLIENT, STREAM, "urn:foreign", "not a URI <&'",
    *(uri for family in Family for _, uri in family.value),
)  # fmt: skip
SAID = (
    "|  |1|0|-1|max|true|get|set|result|submit|form|request|response|ns5:X|ns5:|1.0|soc1@grid.test|@|publish|"
    "subscribed|pubsub#max_items|FORM_TYPE|2016-10-13T14:53:44.154-07:00|9999-99-99T99:99:99Z|0001-01-01T00:00:00+14:00|QUJD|"
    "QUJ|\uff11|1e400|nan|approved|created|permit|member|cancel"
)
VALUES = st.one_of(st.sampled_from([*SAID.split("|"), ns.NODE_CONFIG, "x" * 5000]), st.text(max_size=20))
ATTRIBUTE_NAMES = (
    "type id from to node jid var name operation max_items subid notify path values max-subtopics cacheable flow "
    "schema payload label details timeout service subscription affiliation event decision uri index"
)
ATTRIBUTES = st.dictionaries(
    st.sampled_from([*ATTRIBUTE_NAMES.split(), XSI_TYPE, "{urn:foreign}type"]), VALUES, max_size=5
)


def _element(
    name: str, namespace: str, attributes: dict[str, str], text: str, tail: str, children: list
) -> ET.Element:
    element = ET.Element(f"{{{namespace}}}{name}" if namespace else name, attributes)
    element.text = text
    element.tail = tail
    element.extend(children)
    return element


def _made(children: st.SearchStrategy[list[ET.Element]]) -> st.SearchStrategy[ET.Element]:
    blank = st.one_of(st.just(""), st.just(" \n"), VALUES)
    return st.builds(
        _element, st.sampled_from(NAMES), st.sampled_from(NAMESPACES), ATTRIBUTES, VALUES, blank, children
    )


TREES: st.SearchStrategy[ET.Element] = st.recursive(
    _made(st.just([])), lambda inner: _made(st.lists(inner, max_size=4)), max_leaves=12
)
"""Trees of elements that have much to do with the protocol, and make no sense."""
