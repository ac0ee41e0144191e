"""Requests of the draft and of contract section 5: what is understood, and what is malformed."""

import base64
from xml.etree import ElementTree as ET

import pytest

from component.base.jid import prepare
from grid import ns
from grid.errors import Refusal
from grid.model import Action, Flow, Payload
from grid.protocol import answers, replies
from grid.protocol.answers import Subtopic
from grid.protocol.draft import is_draft, read_draft
from grid.protocol.families import BASE, KNOWN, Family
from grid.protocol.requests import (
    Bulk,
    Challenge,
    DirectedQuery,
    FilterAttribute,
    FilterOptions,
    Find,
    History,
    InitPublish,
    IsAuthorized,
    ListCapabilities,
    Offer,
    Proof,
    ProxyQuery,
    Register,
    SubscribeRequest,
    Unsubscribe,
)
from grid.protocol.rsm import Page
from tests.unit.grid.protocolkit import canonical, child, iq

OURS = f"xmlns='{ns.GRID}'"
XSI = f"xmlns:xsi='{ns.XSI}'"
CERTIFICATE = base64.b64encode(b"certificate").decode()


def account(content: str) -> ET.Element:
    return iq(
        f"<grid xmlns='gi' type='request'><AccountQuery xmlns='{ns.CONTROLLER}'>{content}</AccountQuery></grid>"
    )


def xgrid(content: str) -> ET.Element:
    return iq(f"<grid xmlns='xgrid' type='request'>{content}</grid>")


def capability(name: str = "ns5:SessionCapability", version: str = "<version>1.0</version>", more: str = "") -> str:
    return f"<capability {XSI} xsi:type='{name}'{more}><id>0</id>{version}</capability>"


def init_publish(content: str) -> str:
    return f"<initPublishRequest xmlns='{BASE}'>{content}</initPublishRequest>"


# Understood


@pytest.mark.parametrize(
    "stanza",
    [
        f"<a:grid xmlns:a='xgrid' type='request'><b:subscribeRequest xmlns:b='{BASE}'><b:capability {XSI} "
        "xsi:type='undeclared:SessionCapability'><b:version> 1.0\n</b:version></b:capability></b:subscribeRequest>"
        "</a:grid>",
        f"<grid xmlns='xgrid'><subscribeRequest xmlns='{BASE}' unknown='x'><capability {XSI} "
        "xsi:type='SessionCapability' y='z'><version>1.0</version></capability></subscribeRequest></grid>",
        f"<grid xmlns='xgrid' type='request'><subscribeRequest>{capability()}</subscribeRequest></grid>",
        f"<grid xmlns='xgrid' type='request'><subscribeRequest {OURS}>{capability()}</subscribeRequest></grid>",
        f"<subscribeRequest {OURS}>{capability()}</subscribeRequest>",
        f"<grid xmlns='xgrid' type='request'><subscribeRequest xmlns=''>{capability()}"
        "<later xmlns='urn:additive'>ignored</later></subscribeRequest></grid>",
        f"<grid xmlns='gi' type='request'><subscribeRequest xmlns='{BASE}'>{capability()}</subscribeRequest></grid>",
    ],
)
def test_prefixes_namespaces_and_additions_do_not_matter(stanza: str) -> None:
    request = read_draft(iq(stanza, "set"))
    assert isinstance(request, SubscribeRequest)
    assert (request.capability, request.version) == ("SessionCapability", "1.0")


@pytest.mark.parametrize("uri", sorted(KNOWN - {""}))
def test_both_families_of_uris_are_understood_and_echoed(uri: str) -> None:
    request = read_draft(
        xgrid(f"<p:subscribeRequest xmlns:p='{uri}'>{capability().replace('<', '<p:').replace('<p:/', '</p:')}"
              "</p:subscribeRequest>")
    )  # fmt: skip
    answer = child(answers.subscribe(request, "SessionCapability-1.0", ["soc1@grid.test/x"]))
    assert answer.find(f"{{{uri}}}subscribeResponse/{{{uri}}}topicName").text == "SessionCapability-1.0"  # type: ignore[union-attr]
    assert replies.subscribed(iq(ET.tostring(answer, "unicode"))).providers == ("soc1@grid.test/x",)


def test_a_request_without_namespace_is_answered() -> None:
    """``xmlns=''`` is the draft's own way in answers; no prefix can stand for it."""
    request = read_draft(xgrid(f"<subscribeRequest xmlns=''>{capability()}</subscribeRequest>"))
    assert request.envelope.namespace == ""
    assert replies.subscribed(iq(answers.subscribe(request, "A-1", []))).topic == "A-1"


def test_the_family_is_told_by_any_element() -> None:
    second = Family.NOTIFICATION.uri("ns5")
    request = read_draft(
        xgrid(f"<a:subscribeRequest xmlns:a='{BASE}'><b:capability xmlns:b='{second}' {XSI} xsi:type='b:X'>"
              "<b:version>1</b:version></b:capability></a:subscribeRequest>")
    )  # fmt: skip
    assert request.envelope.family is Family.NOTIFICATION and request.envelope.namespace == BASE


def test_registration_with_a_proof() -> None:
    request = read_draft(
        account(f"<register><proof {OURS}><certificate>\n {CERTIFICATE[:5]}\n {CERTIFICATE[5:]}\n</certificate>"
                f"<certificate>{CERTIFICATE}</certificate><signature>AQID</signature></proof></register>")
    )  # fmt: skip
    assert request == Register(Proof((b"certificate", b"certificate"), b"\1\2\3"))


def test_registration_may_name_the_account() -> None:
    for name in ("param", "username"):
        assert read_draft(account(f"<register><{name}>soc2@grid.test</{name}></register>")) == Register(
            username="soc2@grid.test"
        )


def test_challenges() -> None:
    bare = read_draft(iq(f"<challengeRequest {OURS}/>"))
    assert bare == Challenge()
    assert canonical(child(answers.challenge(bare, "n<o>nce"))) == canonical(
        ET.fromstring(f"<challenge {OURS}>n&lt;o&gt;nce</challenge>")
    )
    within = read_draft(account(f"<challengeRequest {OURS}/>"))
    assert replies.challenge(iq(answers.challenge(within, "nonce"))) == "nonce"


def test_offers() -> None:
    request = read_draft(
        xgrid(
            init_publish(
                capability()
                + f"<capability {OURS} type='urn:a' schema='ab' flow='direct' cacheable='false' payload='json'>"
                "<query name='q1'/><query name='q2'/><notification name='n1'/></capability>"
                f"<capability {OURS} type='urn:b' label='b'/>"
                f"<filterable {OURS} max-subtopics='5'><attribute name='severity' values=' low\n high '/>"
                "<attribute name='address' path='//Address'/></filterable>"
            )
        )
    )
    assert isinstance(request, InitPublish)
    assert request.offers == (
        Offer(
            "urn:a", "ab", flow=Flow.DIRECT, cacheable=False, payload=Payload.JSON,
            queries=("q1", "q2"), notifications=("n1",),
        ),
        Offer("urn:b", label="b"),
    )  # fmt: skip
    assert request.filterable is not None and request.filterable.max_subtopics == 5
    assert request.filterable.attributes == (
        FilterAttribute("severity", values=("low", "high")),
        FilterAttribute("address", "//Address"),
    )


def test_one_capability_may_be_named_and_offered_at_once() -> None:
    request = read_draft(xgrid(init_publish(capability(more=" type='urn:a' flow='proxy'"))))
    assert isinstance(request, InitPublish)
    assert request.offers == (Offer("urn:a", flow=Flow.PROXY),)


def test_our_own_requests() -> None:
    def read(content: str) -> object:
        enveloped = read_draft(xgrid(content))
        bare = read_draft(iq(content, "set"))
        assert type(enveloped) is type(bare)
        return bare

    own = {"envelope": read_draft(iq(f"<challengeRequest {OURS}/>")).envelope}
    assert read(f"<unsubscribeRequest {OURS}><topicName> A-1 </topicName></unsubscribeRequest>") == Unsubscribe(
        "A-1", **own
    )
    assert read(
        f"<getFilterOptionsRequest {OURS}><topicName>A</topicName></getFilterOptionsRequest>"
    ) == FilterOptions("A", **own)
    assert read(
        f"<isAuthorizedRequest {OURS} operation='read'><identity>SOC1@grid.test/x</identity><service>q</service>"
        "</isAuthorizedRequest>"
    ) == IsAuthorized(Action.READ, "q", prepare("soc1@grid.test/x"), **own)
    assert read(
        f"<isAuthorizedRequest {OURS} operation='bulk'><certificateChain><certificate>{CERTIFICATE}</certificate>"
        "</certificateChain><service>q</service></isAuthorizedRequest>"
    ) == IsAuthorized(Action.BULK, "q", chain=(b"certificate",), **own)
    page = f"<set xmlns='{ns.RSM}'><max>10</max></set>"
    span = "<topicName>A</topicName><since>1970-01-01T00:00:10Z</since><until>1970-01-01T01:00:20.5+01:00</until>"
    assert read(f"<historyRequest {OURS}>{span}{page}</historyRequest>") == History(
        "A", 10.0, 20.5, None, Page(max=10, asked=True), **own
    )
    bulk = read(f"<bulkRequest {OURS}><topicName>A</topicName><filter match='all'/></bulkRequest>")
    assert isinstance(bulk, Bulk) and bulk.filter is not None and bulk.since is None
    query = read(f"<proxyQuery {OURS} service='s' timeout='2.5'><q xmlns='urn:q'/></proxyQuery>")
    assert isinstance(query, ProxyQuery) and query.timeout == 2.5
    assert query.payload is not None and query.payload.tag == "{urn:q}q"
    assert read(f"<proxyQuery {OURS} service='s'>words</proxyQuery>") == ProxyQuery("s", None, "words", **own)


def test_a_filter_is_handed_on_as_it_came() -> None:
    request = read_draft(
        xgrid(f"<subscribeRequest xmlns='{BASE}'>{capability()}<filter {OURS} match='any'>"
              "<criterion attribute='a' op='eq'>v</criterion></filter></subscribeRequest>")
    )  # fmt: skip
    assert isinstance(request, SubscribeRequest) and request.filter is not None
    assert request.filter.get("match") == "any" and len(request.filter) == 1


def test_pages() -> None:
    page = f"<set xmlns='{ns.RSM}'><max>5</max><after>X-1</after></set>"
    wanted = Page(max=5, after="X-1", asked=True)
    listing = read_draft(xgrid(f"<getCapabilityListRequest xmlns='{BASE}'>{page}</getCapabilityListRequest>"))
    assert isinstance(listing, ListCapabilities) and listing.page == wanted and not listing.details
    found = read_draft(
        iq(f"<grid xmlns='gi' type='request'><DiscoveryQuery xmlns='{ns.CONTROLLER}'><find><param>x</param>{page}"
           "</find></DiscoveryQuery></grid>")
    )  # fmt: skip
    assert isinstance(found, Find) and found.page == wanted


def test_everything_else_is_a_directed_query() -> None:
    request = read_draft(xgrid("<q:getSessions xmlns:q='urn:whatever' since='1'/>"))
    assert isinstance(request, DirectedQuery) and request.name == "getSessions"
    answer = child(
        answers.directed(request, ET.fromstring("<q:sessions xmlns:q='urn:whatever' a='&lt;'>t</q:sessions>"))
    )
    assert answer.tag == "{xgrid}grid" and answer.get("type") == "response"
    assert canonical(answer[0]) == ("{urn:whatever}sessions", {"a": "<"}, "t", [])


# Malformed


ACCOUNT = f"<AccountQuery xmlns='{ns.CONTROLLER}'>"
MALFORMED = {
    "no child": "",
    "two children": f"<challengeRequest {OURS}/><challengeRequest {OURS}/>",
    "text": f"words<challengeRequest {OURS}/>",
    "empty envelope": "<grid xmlns='xgrid' type='request'/>",
    "two requests": f"<grid xmlns='xgrid' type='request'><subscribeRequest>{capability()}</subscribeRequest>"
    f"<subscribeRequest>{capability()}</subscribeRequest></grid>",
    "a response": "<grid xmlns='xgrid' type='response'><getCapabilityListRequest/></grid>",
    "a notification": "<grid xmlns='xgrid' type='notification'><getCapabilityListRequest/></grid>",
    "text in the envelope": "<grid xmlns='xgrid' type='request'>words<getCapabilityListRequest/></grid>",
    "envelope of another namespace": "<grid xmlns='urn:foreign' type='request'><getCapabilityListRequest/></grid>",
    "empty query": f"<grid xmlns='gi' type='request'><AccountQuery xmlns='{ns.CONTROLLER}'/></grid>",
    "unknown account request": f"<grid xmlns='gi'>{ACCOUNT}<delete/></AccountQuery></grid>",
    "find among accounts": f"<grid xmlns='gi'>{ACCOUNT}<find/></AccountQuery></grid>",
    "login as discovery": "<grid xmlns='gi'><DiscoveryQuery xmlns='gi'><login/></DiscoveryQuery></grid>",
    "unknown request of ours": f"<deleteEverything {OURS}/>",
    "request of another namespace": "<grid xmlns='xgrid'><subscribeRequest xmlns='urn:foreign'/></grid>",
    "no envelope": f"<subscribeRequest xmlns='{BASE}'>{capability()}</subscribeRequest>",
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED)
def test_malformed_stanzas(content: str) -> None:
    _refused(iq(content))


SIGNATURE = "<signature>AQID</signature>"


def proof(content: str) -> str:
    return f"<register><proof {OURS}>{content}</proof></register>"


BAD_ACCOUNTS = {
    "two names": "<register><username>a@b</username><param>c@d</param></register>",
    "name with children": "<register><username><a/></username></register>",
    "empty proof": proof(""),
    "no signature": proof("<certificate>AQID</certificate>"),
    "no certificate": proof(SIGNATURE),
    "no base64": proof("<certificate>***</certificate>" + SIGNATURE),
    "two proofs": f"<register><proof {OURS}/><proof {OURS}/></register>",
    "long chain": proof("<certificate>AQID</certificate>" * 11 + SIGNATURE),
    "long certificate": proof(f"<certificate>{'A' * 40_000}</certificate>" + SIGNATURE),
    "something of ours": f"<login><extra {OURS}/></login>",
    "text": "<login>words</login>",
}


@pytest.mark.parametrize("content", BAD_ACCOUNTS.values(), ids=BAD_ACCOUNTS)
def test_malformed_requests_about_accounts(content: str) -> None:
    _refused(account(content))


NAMED = "<attribute name='a'/>"
OFFER = f"<capability {OURS} type='urn:a'"
BAD_CAPABILITIES = {
    "none": init_publish(""),
    "unnamed": init_publish(OFFER + "/>"),
    "two": init_publish(capability() * 2),
    "no name": init_publish(capability("ns5:")),
    "empty name": init_publish(capability("")),
    "name with blanks": init_publish(capability("ns5:a b")),
    "name with a slash": init_publish(capability("a/b")),
    "long name": init_publish(capability("a" * 300)),
    "no version": init_publish(capability(version="")),
    "empty version": init_publish(capability(version="<version/>")),
    "two versions": init_publish(capability(version="<version>1</version><version>2</version>")),
    "odd version": init_publish(capability(version="<version>1/0</version>")),
    "long version": init_publish(capability(version=f"<version>{'1' * 33}</version>")),
    "unknown flow": init_publish(capability() + OFFER + " flow='sideways'/>"),
    "unknown payload": init_publish(capability() + OFFER + " payload='yaml'/>"),
    "not a boolean": init_publish(capability() + OFFER + " cacheable='perhaps'/>"),
    "unnamed query": init_publish(capability() + OFFER + "><query/></capability>"),
    "unknown part": init_publish(capability() + OFFER + "><quarry/></capability>"),
    "too many": init_publish(capability() + (OFFER + "/>") * 51),
    "empty filterable": init_publish(capability() + f"<filterable {OURS}/>"),
    "unnamed attribute": init_publish(capability() + f"<filterable {OURS}><attribute/></filterable>"),
    "attribute twice": init_publish(capability() + f"<filterable {OURS}>{NAMED}{NAMED}</filterable>"),
    "odd limit": init_publish(
        capability() + f"<filterable {OURS} max-subtopics='-1'><attribute name='a'/></filterable>"
    ),
    "misspelt filter": f"<subscribeRequest xmlns='{BASE}'>{capability()}<fliter {OURS}/></subscribeRequest>",
    "two filters": f"<subscribeRequest xmlns='{BASE}'>{capability()}<filter/><filter/></subscribeRequest>",
    "no topic": f"<unsubscribeRequest {OURS}/>",
    "empty topic": f"<unsubscribeRequest {OURS}><topicName> </topicName></unsubscribeRequest>",
    "two topics": f"<unsubscribeRequest {OURS}><topicName>a</topicName><topicName>b</topicName></unsubscribeRequest>",
    "long topic": f"<unsubscribeRequest {OURS}><topicName>{'a' * 1024}</topicName></unsubscribeRequest>",
    "odd page": f"<getCapabilityListRequest><set xmlns='{ns.RSM}'><max>many</max></set></getCapabilityListRequest>",
    "odd details": "<getCapabilityListRequest details='maybe'/>",
}


@pytest.mark.parametrize("content", BAD_CAPABILITIES.values(), ids=BAD_CAPABILITIES)
def test_malformed_requests_about_capabilities(content: str) -> None:
    _refused(xgrid(content))


ASK = f"<isAuthorizedRequest {OURS}"
BAD_OTHERS = {
    "no operation": f"{ASK}><identity>a@b</identity><service>s</service></isAuthorizedRequest>",
    "odd operation": f"{ASK} operation='eat'><identity>a@b</identity><service>s</service></isAuthorizedRequest>",
    "nobody": f"{ASK} operation='read'><service>s</service></isAuthorizedRequest>",
    "two ways": f"{ASK} operation='read'><identity>a@b</identity><certificateChain><certificate>AQID</certificate>"
    "</certificateChain><service>s</service></isAuthorizedRequest>",
    "no JID": f"{ASK} operation='read'><identity>@</identity><service>s</service></isAuthorizedRequest>",
    "no service": f"{ASK} operation='read'><identity>a@b</identity></isAuthorizedRequest>",
    "empty chain": f"{ASK} operation='read'><certificateChain/><service>s</service></isAuthorizedRequest>",
    "no zone": f"<historyRequest {OURS}><topicName>a</topicName><since>2016-10-13T14:53:44</since></historyRequest>",
    "no date": f"<historyRequest {OURS}><topicName>a</topicName><since>2016-13-13T14:53:44Z</since></historyRequest>",
    "backwards": f"<bulkRequest {OURS}><topicName>a</topicName><since>2016-10-13T14:53:44Z</since>"
    "<until>2016-10-13T14:53:43Z</until></bulkRequest>",
    "no service name": f"<proxyQuery {OURS}>q</proxyQuery>",
    "two questions": f"<proxyQuery {OURS} service='s'><a xmlns='urn:a'/><b xmlns='urn:b'/></proxyQuery>",
    "endless": f"<proxyQuery {OURS} service='s' timeout='inf'>q</proxyQuery>",
    "no time": f"<proxyQuery {OURS} service='s' timeout='0'>q</proxyQuery>",
}


@pytest.mark.parametrize("content", BAD_OTHERS.values(), ids=BAD_OTHERS)
def test_other_malformed_requests(content: str) -> None:
    _refused(iq(content))


@pytest.mark.parametrize("kind", ["result", "error", "", "delete"])
def test_only_get_and_set_ask(kind: str) -> None:
    _refused(iq(f"<challengeRequest {OURS}/>", kind))


def test_what_is_refused_is_not_echoed() -> None:
    refusal = _refused(account(f"<register><proof {OURS}><certificate>hunter2!</certificate><signature>hunter2!"
                               "</signature></proof></register>"))  # fmt: skip
    assert "hunter2" not in str(refusal)
    long = _refused(iq(f"<{'x' * 5000} {OURS}/>"))
    assert len(long.text) < 300


def _refused(stanza: ET.Element) -> Refusal:
    with pytest.raises(Refusal) as refused:
        read_draft(stanza)
    assert (refused.value.kind, refused.value.condition) == ("modify", "bad-request")
    assert refused.value.text
    return refused.value


def test_which_stanzas_are_the_drafts() -> None:
    assert is_draft(iq("<grid xmlns='gi'/>")) and is_draft(iq(f"<anything {OURS}/>"))
    assert not is_draft(iq(f"<pubsub xmlns='{ns.PUBSUB}'/>")) and not is_draft(iq("<grid xmlns='urn:foreign'/>"))
    assert not is_draft(iq(""))


# Answers that the contract fixes


def test_the_answer_to_a_provider() -> None:
    request = read_draft(xgrid(init_publish(capability())))
    filters = ET.fromstring(f"<filter {OURS} match='all'><criterion attribute='a' op='eq'>&lt;</criterion></filter>")
    written = answers.init_publish(request, ["A-1", "A-1-b"], [Subtopic("A-1/f00", filters)])
    expected = (
        f"<grid xmlns='xgrid' type='response'><initPublishResponse {OURS}><topicName>A-1</topicName>"
        "<topicName>A-1-b</topicName><subtopic node='A-1/f00'><filter match='all'><criterion attribute='a' op='eq'>"
        "&lt;</criterion></filter></subtopic></initPublishResponse></grid>"
    )
    assert canonical(child(written)) == canonical(ET.fromstring(expected))
    told = replies.enrolled(iq(written))
    assert told.topics == ("A-1", "A-1-b") and told.subtopics[0].node == "A-1/f00"
    assert canonical(told.subtopics[0].filter) == canonical(filters)  # type: ignore[arg-type]


def test_other_answers() -> None:
    ask = read_draft(iq(f"{ASK} operation='read'><identity>a@b</identity><service>s</service></isAuthorizedRequest>"))
    assert canonical(child(answers.is_authorized(ask, False, "rule 'x' & <y>"))) == canonical(
        ET.fromstring(f"<isAuthorizedResponse {OURS} decision='deny' reason=\"rule 'x' &amp; &lt;y>\"/>")
    )
    assert replies.decided(iq(answers.is_authorized(ask, True, "r"))) == replies.Decided(True, "r")
    request = read_draft(xgrid(f"<subscribeRequest xmlns='{BASE}'>{capability()}</subscribeRequest>"))
    waiting = replies.subscribed(iq(answers.subscribe(request, "A-1", [], pending=True)))
    assert waiting == replies.Subscribed("A-1", (), True, ("A-1",))
    several = replies.subscribed(iq(answers.subscribe(request, ("A-1-a", "A-1-b"), ["p@g/r"])))
    assert several == replies.Subscribed("A-1-a", ("p@g/r",), False, ("A-1-a", "A-1-b"))
    end = read_draft(iq(f"<unsubscribeRequest {OURS}><topicName>A-1</topicName></unsubscribeRequest>"))
    replies.unsubscribed(iq(answers.unsubscribe(end, "A-1")))


@pytest.mark.parametrize("created", [True, False])
def test_a_publisher_is_told_of_subtopics(created: bool) -> None:
    told = ET.fromstring(
        f"<message>{answers.subtopic_event(Subtopic('A-1/x', f'<filter {OURS}/>'), created=created)}</message>"
    )
    event = replies.subtopic_event(told)
    assert event is not None and event.created is created and event.subtopic.node == "A-1/x"
    assert told[0].get("event") == ("created" if created else "deleted")
    assert replies.subtopic_event(ET.fromstring("<message/>")) is None


def test_a_node_is_told_of_providers() -> None:
    told = ET.fromstring(f"<presence>{answers.provider_presence('soc1@grid.test', ['A-1', 'B & C'])}</presence>")
    assert replies.provider_presence(told) == replies.ProviderPresence(prepare("soc1@grid.test"), ("A-1", "B & C"))
    assert replies.provider_presence(ET.fromstring("<presence/>")) is None


@pytest.mark.parametrize(
    "answer",
    ["", "<login/>", "<grid xmlns='gi' type='response'/>", "<grid xmlns='gi'><register xmlns='urn:foreign'/></grid>",
     "<grid xmlns='gi'><register><value>perhaps</value></register></grid>"],
)  # fmt: skip
def test_answers_that_cannot_be_understood(answer: str) -> None:
    with pytest.raises(Refusal):
        replies.registered(iq(answer, "result"))
