"""XEP-0060 and XEP-0030 as plain clients speak them, and what the plugin hands over of it (XEP-0355)."""

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from component.base.jid import prepare
from grid import ns
from grid.errors import Refusal, forbidden, item_not_found, registration_required, unsupported
from grid.protocol import delegation, disco, errors
from grid.protocol.forms import Form, FormType, MetaData, write_meta_data
from grid.protocol.rsm import Page
from grid.protocol.xep0060 import (
    Affiliation,
    Affiliations,
    Condition,
    Configure,
    Create,
    DefaultConfig,
    DefaultOptions,
    Delete,
    Items,
    OptionsRequest,
    OwnerAffiliations,
    OwnerSubscriptions,
    Publish,
    PublishItem,
    PubsubRequest,
    Purge,
    Retract,
    Subscribe,
    Subscriptions,
    SubscriptionState,
    Unsubscribe,
    answers,
    asking,
    is_pubsub,
    kind_of,
    read_event,
    read_pubsub,
    refusal,
    write_pubsub,
)
from grid.protocol.xep0060.conditions import instant_nodes
from tests.unit.grid.protocolkit import JIDS, STREAM, WORDS, canonical, child, iq
from tests.unit.grid.test_protocol_roundtrip import PAGES

JID = prepare("soc1@grid.test")


def user(content: str, kind: str = "set") -> ET.Element:
    return iq(f"<pubsub xmlns='{ns.PUBSUB}'>{content}</pubsub>", kind)


def owner(content: str, kind: str = "set") -> ET.Element:
    return iq(f"<pubsub xmlns='{ns.PUBSUB_OWNER}'>{content}</pubsub>", kind)


# RFC 8600 §5 and §6


def test_the_requests_of_rfc_8600() -> None:
    assert read_pubsub(user("<create node='MILEHost'/>")) == Create("MILEHost")
    configured = read_pubsub(
        user(
            "<create node='MILEHost'/><configure><x xmlns='jabber:x:data' type='submit'>"
            f"<field var='FORM_TYPE' type='hidden'><value>{ns.NODE_CONFIG}</value></field>"
            "<field var='pubsub#access_model'><value>authorize</value></field></x></configure>"
        )
    )
    assert configured == Create(
        "MILEHost", Form(FormType.SUBMIT, ns.NODE_CONFIG, {"pubsub#access_model": ("authorize",)})
    )
    assert read_pubsub(user("<subscribe node='MILEHost' jid='xmpp-grid-client@mile-host.example'/>")) == Subscribe(
        "MILEHost", prepare("xmpp-grid-client@mile-host.example")
    )
    publish = read_pubsub(
        user("<publish node='MILEHost'><item id='8bh1'>"
             "<IODEF-Document xmlns='urn:ietf:params:xml:ns:iodef-2.0'/></item></publish>")
    )  # fmt: skip
    assert isinstance(publish, Publish) and publish.items[0].id == "8bh1"
    assert publish.items[0].payload is not None
    assert disco.read_disco(iq(f"<query xmlns='{ns.DISCO_ITEMS}'/>")) == disco.ItemsRequest()
    assert disco.read_disco(iq(f"<query xmlns='{ns.DISCO_INFO}' node='MILEHost'/>")) == disco.InfoRequest("MILEHost")


def test_the_answers_of_rfc_8600() -> None:
    broker = "broker.security-grid.example"
    items = disco.items(
        "",
        [
            disco.Item(broker, "NEA1", "Endpoint Posture Information"),
            disco.Item(broker, "MILEHost", "MILE Host Data"),
        ],
    )
    assert canonical(child(items)) == canonical(
        ET.fromstring(
            f"<query xmlns='{ns.DISCO_ITEMS}'>"
            f"<item node='NEA1' name='Endpoint Posture Information' jid='{broker}'/>"
            f"<item node='MILEHost' name='MILE Host Data' jid='{broker}'/></query>"
        )
    )
    info = disco.info(
        "MILEHost",
        [disco.Identity("pubsub", "leaf")],
        [ns.PUBSUB],
        write_meta_data(MetaData(type="urn:ietf:params:xml:ns:iodef-2.0")),
    )
    assert canonical(child(info)) == canonical(
        ET.fromstring(
            f"<query xmlns='{ns.DISCO_INFO}' node='MILEHost'><identity category='pubsub' type='leaf'/>"
            f"<feature var='{ns.PUBSUB}'/><x xmlns='jabber:x:data' type='result'>"
            f"<field var='FORM_TYPE' type='hidden'><value>{ns.META_DATA}</value></field>"
            "<field var='pubsub#type' label='Payload type' type='text-single'>"
            "<value>urn:ietf:params:xml:ns:iodef-2.0</value></field></x></query>"
        )
    )
    told = disco.read_info(iq(info, "result"))
    assert told.meta_data == MetaData(type="urn:ietf:params:xml:ns:iodef-2.0")
    subscribed = answers.subscription("MILEHost", "a@b", SubscriptionState.SUBSCRIBED)
    assert canonical(child(subscribed)) == canonical(
        ET.fromstring(
            f"<pubsub xmlns='{ns.PUBSUB}'><subscription node='MILEHost' jid='a@b' subscription='subscribed'/>"
            "</pubsub>"
        )
    )


# Every request, both ways


FORMS = st.builds(
    Form,
    st.just(FormType.SUBMIT),
    st.just("urn:form") | WORDS,
    st.dictionaries(
        WORDS.filter(lambda name: name != "FORM_TYPE"), st.lists(WORDS, max_size=2).map(tuple), max_size=3
    ),
)
NO_FORM = st.none() | FORMS
IDS = st.lists(WORDS, max_size=3).map(tuple)
CHANGED = st.lists(JIDS, min_size=1, max_size=3, unique=True)
REQUESTS: st.SearchStrategy[PubsubRequest] = st.one_of(
    st.builds(Create, WORDS, NO_FORM),
    st.builds(Subscribe, WORDS, JIDS, NO_FORM),
    st.builds(Unsubscribe, WORDS, JIDS, st.just("") | WORDS),
    st.builds(OptionsRequest, WORDS, JIDS, st.just("") | WORDS, NO_FORM),
    st.builds(DefaultOptions, st.just("") | WORDS),
    st.builds(Subscriptions, st.just("") | WORDS, PAGES),
    st.builds(Affiliations, st.just("") | WORDS, PAGES),
    st.builds(Items, WORDS, IDS, st.none() | st.integers(1, 10**6), st.just("") | WORDS, PAGES),
    st.builds(
        Publish,
        WORDS,
        st.lists(st.builds(PublishItem, WORDS, st.none()), max_size=3, unique_by=lambda item: item.id).map(tuple),
        NO_FORM,
    ),
    st.builds(Retract, WORDS, st.lists(WORDS, min_size=1, max_size=3).map(tuple), st.booleans()),
    st.builds(Configure, WORDS, NO_FORM),
    st.just(DefaultConfig()),
    st.builds(Delete, WORDS, st.just("") | WORDS),
    st.builds(Purge, WORDS),
    st.builds(OwnerSubscriptions, WORDS, st.none(), PAGES),
    st.builds(OwnerAffiliations, WORDS, st.none(), PAGES),
    CHANGED.flatmap(
        lambda jids: st.builds(
            OwnerSubscriptions, WORDS, st.just(tuple((jid, SubscriptionState.NONE) for jid in jids))
        )
    ),
    CHANGED.flatmap(
        lambda jids: st.builds(OwnerAffiliations, WORDS, st.just(tuple((jid, Affiliation.PUBLISHER) for jid in jids)))
    ),
)


@settings(max_examples=300, deadline=None)
@given(REQUESTS)
def test_requests_both_ways(request: PubsubRequest) -> None:
    stanza = iq(write_pubsub(request), kind_of(request))
    assert is_pubsub(stanza)
    assert read_pubsub(stanza) == request


def test_payloads_both_ways() -> None:
    payload = ET.fromstring("<a xmlns='urn:a'><b>c</b></a>")
    request = read_pubsub(iq(write_pubsub(Publish("n", (PublishItem("i", payload),))), "set"))
    assert isinstance(request, Publish) and request.items[0].payload is not None
    assert canonical(request.items[0].payload) == canonical(payload)


# Malformed


BAD = {
    "nothing": user(""),
    "unknown": user("<eat node='a'/>"),
    "foreign": user("<create xmlns='urn:foreign' node='a'/>"),
    "text": user("words<create node='a'/>"),
    "two operations": user("<create node='a'/><subscribe node='a' jid='a@b'/>"),
    "twice": user("<create node='a'/><create node='b'/>"),
    "options with create": user("<create node='a'/><options/>"),
    "create as get": user("<create node='a'/>", "get"),
    "items as set": user("<items node='a'/>"),
    "configure alone": user("<configure/>"),
    "two forms": user("<create node='a'/><configure><x xmlns='jabber:x:data' type='submit'/>"
                      "<x xmlns='jabber:x:data' type='submit'/></configure>"),
    "a result form": user("<create node='a'/><configure><x xmlns='jabber:x:data' type='result'/></configure>"),
    "long node": user(f"<create node='{'a' * 1024}'/>"),
    "max_items 0": user("<items node='a' max_items='0'/>", "get"),
    "not an item": user("<items node='a'><thing/></items>", "get"),
    "an item twice": user("<publish node='a'><item id='1'/><item id='1'/></publish>"),
    "text in an item": user("<publish node='a'><item id='1'>words</item></publish>"),
    "odd notify": user("<retract node='a' notify='x'><item id='1'/></retract>"),
    "too many": user("<items node='a'>" + "<item id='1'/>" * 1001 + "</items>", "get"),
    "configure without form": owner("<configure node='a'/>"),
    "no change": owner("<subscriptions node='a'/>"),
    "odd state": owner("<subscriptions node='a'><subscription jid='a@b' subscription='maybe'/></subscriptions>"),
    "odd affiliation": owner("<affiliations node='a'><affiliation jid='a@b' affiliation='king'/></affiliations>"),
    "somebody twice": owner("<affiliations node='a'><affiliation jid='a@b' affiliation='owner'/>"
                            "<affiliation jid='A@b' affiliation='none'/></affiliations>"),
    "two redirects": owner("<delete node='a'><redirect uri='a'/><redirect uri='b'/></delete>"),
    "create of owners": owner("<create node='a'/>"),
    "delete as get": owner("<delete node='a'/>", "get"),
}  # fmt: skip


@pytest.mark.parametrize("stanza", BAD.values(), ids=BAD)
def test_malformed(stanza: ET.Element) -> None:
    with pytest.raises(Refusal) as refused:
        read_pubsub(stanza)
    assert (refused.value.kind, refused.value.condition) == ("modify", "bad-request")
    assert refused.value.text


@pytest.mark.parametrize(
    ("stanza", "condition"),
    [
        (user("<subscribe jid='a@b'/>"), Condition.NODEID_REQUIRED),
        (user("<items/>", "get"), Condition.NODEID_REQUIRED),
        (owner("<purge/>"), Condition.NODEID_REQUIRED),
        (user("<subscribe node='a'/>"), Condition.JID_REQUIRED),
        (user("<options node='a'/>", "get"), Condition.JID_REQUIRED),
        (user("<subscribe node='a' jid='@'/>"), Condition.INVALID_JID),
        (
            user("<publish node='a'><item><a xmlns='urn:a'/><b xmlns='urn:b'/></item></publish>"),
            Condition.INVALID_PAYLOAD,
        ),
        (user("<retract node='a'/>"), Condition.ITEM_REQUIRED),
        (user("<retract node='a'><item/></retract>"), Condition.ITEM_REQUIRED),
        (user("<options node='a' jid='a@b'/>"), Condition.INVALID_OPTIONS),
        (user("<create/>"), Condition.NODEID_REQUIRED),
    ],
)
def test_conditions_of_their_own(stanza: ET.Element, condition: Condition) -> None:
    with pytest.raises(Refusal) as refused:
        read_pubsub(stanza)
    error = ET.fromstring(errors.error(refused.value))
    assert error.find(f"{{{ns.PUBSUB_ERRORS}}}{condition.value}") is not None


@pytest.mark.parametrize("condition", Condition)
def test_every_condition_has_its_error(condition: Condition) -> None:
    refused = refusal(condition, "why")
    again = errors.read_refusal(ET.fromstring(errors.refuse(iq(""), refused)))
    assert (again.kind, again.condition, again.text) == (refused.kind, refused.condition, "why")
    assert condition.value in again.extra


# Answers


def test_lists() -> None:
    entries = [
        answers.SubscriptionEntry("a@b", SubscriptionState.SUBSCRIBED, "n<1>"),
        answers.SubscriptionEntry("a@b", SubscriptionState.PENDING, "n2", "id"),
    ]
    for written in (answers.subscriptions(entries), answers.owner_subscriptions("n", entries)):
        assert list(asking.read_subscriptions(iq(written, "result"))) == entries
    nameless = [replace(entry, node="") for entry in entries]
    around = asking.read_subscriptions(iq(answers.subscriptions(nameless, node="n3"), "result"))
    assert [entry.node for entry in around] == ["n3", "n3"]
    one = asking.read_subscriptions(iq(answers.subscription("n", "a@b", SubscriptionState.PENDING), "result"))
    assert one == (answers.SubscriptionEntry("a@b", SubscriptionState.PENDING, "n"),)
    affiliations = child(answers.affiliations([answers.AffiliationEntry(Affiliation.PUBLISHER, node="n")]))
    assert affiliations[0][0].attrib == {"node": "n", "affiliation": "publisher"}
    owners = child(answers.owner_affiliations("n", [answers.AffiliationEntry(Affiliation.OWNER, jid="a@b")]))
    assert owners[0].get("node") == "n" and owners[0][0].attrib == {"jid": "a@b", "affiliation": "owner"}


def test_items() -> None:
    written = answers.items("n", [answers.ItemEntry("i&1", "<a xmlns='urn:a'/>", "p@b"), answers.ItemEntry("2", "")])
    first, second = asking.read_items(iq(written, "result"))
    assert first.id == "i&1" and first.payload is not None and first.payload.tag == "{urn:a}a"
    assert second == PublishItem("2")
    assert asking.read_items(iq(answers.published("n", ["x"]), "result")) == (PublishItem("x"),)
    assert asking.read_items(iq(f"<pubsub xmlns='{ns.PUBSUB}'/>", "result")) == ()


def test_configurations() -> None:
    form = "<x xmlns='jabber:x:data' type='form'/>"
    assert child(answers.configuration("n", form))[0].get("node") == "n"
    assert child(answers.default_configuration(form))[0][0].tag == "{jabber:x:data}x"


@pytest.mark.parametrize(
    ("content", "attribute", "value"),
    [
        ("<items node='n'><retract id='1'/><retract id='2'/></items>", "retracted", ("1", "2")),
        ("<delete node='n'/>", "deleted", True),
        ("<purge node='n'/>", "purged", True),
        ("<subscription node='n' jid='a@b' subscription='none'/>", "subscription", SubscriptionState.NONE),
        ("<configuration node='n'/>", "other", "configuration"),
    ],
)
def test_events(content: str, attribute: str, value: object) -> None:
    event = read_event(ET.fromstring(f"<message><event xmlns='{ns.PUBSUB_EVENT}'>{content}</event></message>"))
    assert event is not None and event.node == "n" and getattr(event, attribute) == value
    assert read_event(ET.fromstring("<message><body>x</body></message>")) is None


# Service discovery


@given(st.just("") | WORDS, PAGES)
def test_discovery_both_ways(node: str, page: Page) -> None:
    for request in (disco.InfoRequest(node), disco.ItemsRequest(node, page)):
        stanza = iq(disco.ask(request))
        assert disco.is_disco(stanza) and disco.read_disco(stanza) == request


@given(st.lists(st.builds(disco.Item, WORDS, st.just("") | WORDS, st.just("") | WORDS), max_size=4), WORDS)
def test_items_both_ways(items: list[disco.Item], node: str) -> None:
    page = f"<set xmlns='{ns.RSM}'><count>7</count></set>"
    read, info = disco.read_items(iq(disco.items(node, items, page), "result"))
    assert list(read) == items and info is not None and info.count == 7


def test_malformed_discovery() -> None:
    for stanza in (
        iq(f"<query xmlns='{ns.DISCO_INFO}'/>", "set"),
        iq(f"<query xmlns='{ns.DISCO_INFO}'>words</query>"),
        iq(f"<query xmlns='{ns.DISCO_INFO}'/><query xmlns='{ns.DISCO_INFO}'/>"),
        iq(f"<query xmlns='{ns.DISCO_INFO}' node='{'a' * 2000}'/>"),
        iq(f"<query xmlns='{ns.DISCO_ITEMS}'><set xmlns='{ns.RSM}'><max>x</max></set></query>"),
    ):
        with pytest.raises(Refusal):
            disco.read_disco(stanza)


# Delegation


def delegated(inner: str) -> ET.Element:
    return iq(
        f"<delegation xmlns='{ns.DELEGATION}'><forwarded xmlns='{ns.FORWARD}'>{inner}</forwarded></delegation>", "set"
    )


ASKED = (
    f"<iq xmlns='jabber:client' type='get' id='i&amp;1' from='soc1@grid.test/x' to='pubsub.grid.test'>"
    f"<query xmlns='{ns.DISCO_ITEMS}'/></iq>"
)


def test_delegated_requests() -> None:
    outer = delegated(ASKED)
    assert delegation.is_delegated(outer)
    inner = delegation.unwrap(outer)
    assert (inner.get("from"), inner.get("id")) == ("soc1@grid.test/x", "i&1")
    assert disco.read_disco(inner) == disco.ItemsRequest()


def test_their_answers() -> None:
    outer = delegated(ASKED)
    answer = ET.fromstring(delegation.wrap_answer(outer, disco.items("", [])))
    assert answer.attrib == {"type": "result", "id": "q1", "from": "d", "to": "a@b/c"}
    inner = answer[0][0][0]
    assert answer[0].tag == delegation.DELEGATION and inner.tag == "{jabber:client}iq"
    assert inner.attrib == {"type": "result", "id": "i&1", "from": "pubsub.grid.test", "to": "soc1@grid.test/x"}
    assert inner[0].tag == f"{{{ns.DISCO_ITEMS}}}query"
    refused = ET.fromstring(delegation.wrap_refusal(outer, item_not_found()))[0][0][0]
    assert refused.get("type") == "error" and refused[0].tag == "{jabber:client}error"
    assert errors.read_refusal(refused).condition == "item-not-found"


@pytest.mark.parametrize(
    "inner",
    [
        "",
        ASKED + ASKED,
        ASKED.replace("jabber:client", STREAM),
        ASKED.replace("type='get'", "type='result'"),
        ASKED.replace(" from='soc1@grid.test/x'", ""),
        ASKED.replace(" id='i&amp;1'", " id=''"),
        "<message xmlns='jabber:client' from='a@b' to='c' id='1'/>",
    ],
)
def test_malformed_delegation(inner: str) -> None:
    with pytest.raises(Refusal):
        delegation.unwrap(delegated(inner))
    assert not delegation.is_delegated(iq(f"<pubsub xmlns='{ns.PUBSUB}'/>"))


# Errors


def test_errors_echo_nothing() -> None:
    stanza = iq("<register><password>hunter2</password></register>", "set")
    written = errors.refuse(stanza, forbidden("No."))
    assert "hunter2" not in written
    answer = ET.fromstring(written)
    assert answer.attrib == {"type": "error", "id": "q1", "from": "d", "to": "a@b/c"}


def test_registration_required() -> None:
    for pending in (True, False):
        again = errors.read_refusal(ET.fromstring(errors.refuse(iq(""), registration_required(pending=pending))))
        assert (again.kind, again.condition) == ("auth", "registration-required")
        assert errors.is_pending(again) is pending


def test_errors_that_say_little_or_much() -> None:
    assert errors.read_refusal(iq("")).condition == "undefined-condition"
    assert errors.read_refusal(iq("<error type='strange'/>")).kind == "cancel"
    assert len(ET.fromstring(errors.error(forbidden("x" * 5000))).findtext(
        "{urn:ietf:params:xml:ns:xmpp-stanzas}text", "")) < 2000  # fmt: skip
    feature = errors.read_refusal(ET.fromstring(errors.refuse(iq(""), unsupported("config-node"))))
    assert feature.condition == "feature-not-implemented" and "config-node" in feature.extra
    assert instant_nodes().condition == "not-acceptable"


def test_results() -> None:
    answer = ET.fromstring(errors.result(iq("<a/>"), "<b xmlns='urn:b'/>"))
    assert answer.attrib == {"type": "result", "id": "q1", "from": "d", "to": "a@b/c"} and answer[0].tag == "{urn:b}b"
    assert ET.fromstring(errors.result(ET.fromstring("<iq type='get' id='&lt;&apos;'/>"))).get("id") == "<'"
