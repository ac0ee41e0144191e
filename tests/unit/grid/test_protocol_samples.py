"""The draft's own samples (tests/wire/draft): read, answered, and the answers compared with those it shows."""

from xml.etree import ElementTree as ET

import pytest

from grid import ns
from grid.model import NodeState
from grid.protocol import answers, asking, replies
from grid.protocol.answers import CapabilityEntry
from grid.protocol.draft import is_draft, read_draft
from grid.protocol.families import BASE, Family
from grid.protocol.requests import (
    DirectedQuery,
    DraftRequest,
    Find,
    InitPublish,
    ListCapabilities,
    Login,
    Logout,
    Register,
    SubscribeRequest,
)
from grid.protocol.xep0060 import Publish, read_event, read_pubsub
from tests.unit.grid.protocolkit import DRAFT, canonical, child, iq, sample

CAPABILITIES = (
    "TrustSecMetaDataCapability",
    "EndpointProfileMetaDataCapability",
    "IdentityGroupCapability",
    "TDAnalysisServiceCapability",
    "NetworkCaptureCapability",
    "EndpointProtectionServiceCapability",
    "GridControllerAdminServiceCapability",
    "SessionDirectoryCapability",
)
ENTRIES = tuple(CapabilityEntry(name, "1.0", f"{name}-1.0") for name in CAPABILITIES)
PROVIDERS = ("ise-mnt-XMPP-Grid-004@xgrid.domain.com/gcl", "ise-mnt-XMPP-Grid-005@xgrid.domain.com/gcl")

REQUESTS: dict[str, type[DraftRequest]] = {
    "register": Register,
    "login": Login,
    "logout": Logout,
    "capabilities": ListCapabilities,
    "find": Find,
    "init-publish": InitPublish,
    "subscribe": SubscribeRequest,
    "directed-query": DirectedQuery,
}


@pytest.mark.parametrize("kind", ["get", "set"])
@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("name", REQUESTS)
def test_every_request_of_the_draft_is_understood(name: str, family: Family, kind: str) -> None:
    stanza = sample(f"{name}.request", family)
    stanza.set("type", kind)
    assert is_draft(stanza)
    assert type(read_draft(stanza)) is REQUESTS[name]


def test_every_sample_is_used() -> None:
    used = {f"{name}.request" for name in REQUESTS} | {"publish.request", "publish.notification"}
    used |= {f"{name}.response" for name in ("login", "capabilities", "find", "subscribe", "directed-query")}
    assert {path.stem for path in DRAFT.glob("*.xml")} == used


@pytest.mark.parametrize("family", Family)
def test_what_the_requests_say(family: Family) -> None:
    find = read_draft(sample("find.request", family))
    assert isinstance(find, Find) and find.name == "com.domain.ise.session.SessionQuery"
    offer = read_draft(sample("init-publish.request", family))
    assert isinstance(offer, InitPublish)
    assert (offer.capability, offer.version, offer.offers, offer.filterable) == ("SessionCapability", "1.0", (), None)
    subscribe = read_draft(sample("subscribe.request", family))
    assert isinstance(subscribe, SubscribeRequest)
    assert (subscribe.capability, subscribe.version, subscribe.filter) == ("SessionCapability", "1.0", None)
    query = read_draft(sample("directed-query.request", family))
    assert isinstance(query, DirectedQuery)
    assert query.name == "getIdentityGroupRequest"
    assert query.envelope.family is family
    assert query.element.findtext(f".//{{{BASE}}}name") == "user1"


def _identity_groups(request: DraftRequest) -> str:
    """What a provider would answer: every element in the namespace that the request's family has for it."""
    family = request.envelope.family
    return answers.directed(
        request,
        f"<ns5:getIdentityGroupResponse{family.declarations}><ns5:user><ns2:name>user1</ns2:name><ns3:groupList>"
        "<ns3:object><ns2:name>User Identity Groups:Employee</ns2:name><ns3:type>Identity</ns3:type></ns3:object>"
        "</ns3:groupList></ns5:user></ns5:getIdentityGroupResponse>",
    )


ANSWERS = {
    "login": answers.login,
    "capabilities": lambda request: answers.capabilities(request, ENTRIES),
    "find": lambda request: answers.find(request, ["ise@syam-06.domain.com/syam-mac"]),
    "subscribe": lambda request: answers.subscribe(request, "SessionCapability-1.0", PROVIDERS),
    "directed-query": _identity_groups,
}


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("name", ANSWERS)
def test_the_answers_are_those_that_the_draft_shows(name: str, family: Family) -> None:
    written = ANSWERS[name](read_draft(sample(f"{name}.request", family)))
    assert canonical(child(written)) == canonical(sample(f"{name}.response", family)[0])


def test_a_node_understands_the_answers_that_the_draft_shows() -> None:
    replies.logged_in(sample("login.response"))
    assert replies.capabilities(sample("capabilities.response")) == (ENTRIES, None)
    assert replies.found(sample("find.response")) == ("ise@syam-06.domain.com/syam-mac",)
    told = replies.Subscribed("SessionCapability-1.0", PROVIDERS, topics=("SessionCapability-1.0",))
    assert replies.subscribed(sample("subscribe.response")) == told
    assert replies.directed(sample("directed-query.response")).tag.endswith("getIdentityGroupResponse")


@pytest.mark.parametrize(
    ("name", "request_"),
    [
        ("register", Register()),
        ("login", Login()),
        ("logout", Logout()),
        ("capabilities", ListCapabilities()),
        ("init-publish", InitPublish("SessionCapability", "1.0")),
        ("subscribe", SubscribeRequest("SessionCapability", "1.0")),
    ],
)
def test_a_node_asks_as_the_draft_shows(name: str, request_: DraftRequest) -> None:
    assert canonical(child(asking.write(request_))) == canonical(sample(f"{name}.request")[0])


def test_the_answer_to_a_registration() -> None:
    """The draft shows none; contract, section 5."""
    request = read_draft(sample("register.request"))
    for state, value in ((NodeState.ACTIVE, "approved"), (NodeState.PENDING, "pending")):
        written = answers.register(request, state)
        expected = (
            f"<grid xmlns='gi' type='response'><AccountQuery xmlns='{ns.CONTROLLER}'>"
            f"<register xmlns=''><value>{value}</value></register></AccountQuery></grid>"
        )
        assert canonical(child(written)) == canonical(ET.fromstring(expected))
        assert replies.registered(iq(written, "result")) is state


def test_the_publish_sample_is_a_plain_publish() -> None:
    request = read_pubsub(sample("publish.request"))
    assert isinstance(request, Publish)
    assert request.node == "SessionDirectory" and request.options is None
    (item,) = request.items
    assert item.id == "" and item.payload is not None and item.payload.tag == "{xgrid}grid"


def test_the_notification_sample_is_an_event() -> None:
    event = read_event(sample("publish.notification"))
    assert event is not None and event.node == "SessionDirectoryCapability-1.0"
    (item,) = event.items
    assert item.id == "64350fcd-3fc3-4f00-b0f2-a7bcf4038813"
    assert item.payload is not None and item.payload.get("type") == "notification"
    inner = replies.notification(item.payload)
    assert inner.tag.endswith("}sessionNotification") and replies.notification(inner) is inner
    assert canonical(child(asking.notification(inner))) == canonical(item.payload)
