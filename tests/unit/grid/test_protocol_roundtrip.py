"""What a node writes the controller reads as it was meant, and the other way round."""

from dataclasses import fields, replace
from xml.etree import ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st

from grid import ns
from grid.model import Action, Flow, NodeState, Payload
from grid.protocol import answers, asking, replies
from grid.protocol.answers import CapabilityEntry, Subtopic
from grid.protocol.draft import read_draft
from grid.protocol.families import BASE, Family
from grid.protocol.requests import (
    ACCOUNT,
    CAPABILITY,
    OWN,
    Bulk,
    Challenge,
    DirectedQuery,
    DraftRequest,
    Filterable,
    FilterAttribute,
    FilterOptions,
    Find,
    History,
    InitPublish,
    IsAuthorized,
    ListCapabilities,
    Login,
    Logout,
    Offer,
    Proof,
    ProxyQuery,
    Register,
    SubscribeRequest,
    Unsubscribe,
)
from grid.protocol.rsm import EVERYTHING, Page
from tests.unit.grid.protocolkit import JIDS, LOCAL, WORDS, canonical, iq

BYTES = st.binary(min_size=1, max_size=200)
CHAINS = st.lists(BYTES, min_size=1, max_size=10).map(tuple)
VERSIONS = st.from_regex(r"[0-9A-Za-z][0-9A-Za-z._+-]{0,31}", fullmatch=True)
NUMBERS = st.integers(0, 2**31 - 1)
PAGES = st.one_of(
    st.just(EVERYTHING),
    st.builds(Page, max=st.none() | NUMBERS, asked=st.just(True)),
    st.builds(Page, max=st.none() | NUMBERS, after=WORDS, asked=st.just(True)),
    st.builds(Page, max=st.none() | NUMBERS, before=st.just("") | WORDS, asked=st.just(True)),
    st.builds(Page, max=st.none() | NUMBERS, index=NUMBERS, asked=st.just(True)),
)
TIMES = st.none() | st.integers(0, 4_000_000_000).map(lambda ms: ms / 8)
WORD = WORDS.filter(lambda text: len(text.split()) == 1)
FILTER = ET.fromstring(
    f"<filter xmlns='{ns.GRID}' match='all'><criterion attribute='a' op='eq'>&lt;v&gt; </criterion></filter>"
)
FILTERS = st.sampled_from([None, FILTER])
NAMED = st.lists(WORDS, max_size=3).map(tuple)
OFFERS = st.builds(
    Offer,
    type=st.just("") | WORDS,
    schema=st.just("") | WORDS,
    label=st.just("") | WORDS,
    flow=st.none() | st.sampled_from(Flow),
    cacheable=st.none() | st.booleans(),
    payload=st.none() | st.sampled_from(Payload),
    queries=NAMED,
    notifications=NAMED,
)
FILTERABLES = st.builds(
    Filterable,
    st.lists(
        st.builds(FilterAttribute, WORDS, st.just("") | WORDS, st.lists(WORD, max_size=3).map(tuple)),
        min_size=1,
        max_size=4,
        unique_by=lambda attribute: attribute.name,
    ).map(tuple),
    st.none() | NUMBERS,
)
REQUESTS = st.one_of(
    st.builds(Register, st.none() | st.builds(Proof, CHAINS, BYTES), st.just("") | WORDS),
    st.builds(Challenge, envelope=st.sampled_from([OWN, ACCOUNT, CAPABILITY])).map(
        lambda request: replace(request, envelope=replace(request.envelope, namespace=ns.GRID))
    ),
    st.sampled_from([Login(), Logout()]),
    st.builds(Find, WORDS, PAGES),
    st.builds(ListCapabilities, PAGES, st.booleans()),
    st.builds(InitPublish, LOCAL, VERSIONS, st.lists(OFFERS, max_size=4).map(tuple), st.none() | FILTERABLES),
    st.builds(SubscribeRequest, LOCAL, VERSIONS, st.just("") | WORDS, FILTERS),
    st.builds(Unsubscribe, WORDS, envelope=st.just(OWN)),
    st.builds(FilterOptions, WORDS, envelope=st.just(OWN)),
    st.builds(IsAuthorized, st.sampled_from(Action), WORDS, JIDS, envelope=st.just(OWN)),
    st.builds(IsAuthorized, st.sampled_from(Action), WORDS, chain=CHAINS, envelope=st.just(OWN)),
    st.builds(History, WORDS, TIMES, st.none(), FILTERS, PAGES, envelope=st.just(OWN)),
    st.builds(Bulk, WORDS, st.none(), TIMES, FILTERS, PAGES, envelope=st.just(OWN)),
    st.builds(
        ProxyQuery, WORDS, st.just(None), WORDS, st.none() | st.integers(1, 3600).map(float), envelope=st.just(OWN)
    ),
)


def comparable(request: DraftRequest) -> list[object]:
    values = [getattr(request, field.name) for field in fields(request)]
    return [type(request), *(canonical(each) if isinstance(each, ET.Element) else each for each in values)]


@settings(max_examples=300, deadline=None)
@given(REQUESTS, st.sampled_from(["get", "set"]))
def test_requests(request: DraftRequest, kind: str) -> None:
    assert comparable(read_draft(iq(asking.write(request), kind))) == comparable(request)


@given(LOCAL, st.sampled_from([None, *Family]))
def test_directed_queries(name: str, family: Family | None) -> None:
    namespace = family.uri("ns5") if family is not None else "urn:whatever"
    request = DirectedQuery(name, ET.Element(f"{{{namespace}}}x{name}", {"a": "b"}))
    again = read_draft(iq(asking.write(request)))
    assert isinstance(again, DirectedQuery) and again.name == f"x{name}"
    assert again.envelope.family is (family or Family.PUBLISH)
    assert canonical(again.element) == canonical(request.element)


NAMES = st.lists(WORDS, min_size=1, max_size=4).map(tuple)
ENTRIES = st.lists(st.builds(CapabilityEntry, LOCAL, VERSIONS, WORDS, st.none() | OFFERS), max_size=4).map(tuple)


@settings(max_examples=100, deadline=None)
@given(
    NAMES,
    NAMES,
    ENTRIES,
    st.booleans(),
    st.sampled_from(["", BASE, ns.XGRID, ns.GRID, Family.NOTIFICATION.uri("ns5")]),
)
def test_answers(first: tuple[str, ...], second: tuple[str, ...], entries: object, yes: bool, namespace: str) -> None:
    envelope = replace(CAPABILITY, namespace=namespace)
    assert isinstance(entries, tuple)
    listed = answers.capabilities(ListCapabilities(envelope=envelope), entries)
    assert replies.capabilities(iq(listed)) == (entries, None)
    assert replies.found(iq(answers.find(Find("x"), first))) == first
    subscribed = answers.subscribe(SubscribeRequest("X", "1", envelope=envelope), first, second, pending=yes)
    assert replies.subscribed(iq(subscribed)) == replies.Subscribed(first[0], second, yes, first)
    enrolled = replies.enrolled(
        iq(
            answers.init_publish(
                InitPublish("X", "1", envelope=envelope), first, [Subtopic(name, FILTER) for name in second]
            )
        )
    )
    assert enrolled.topics == first
    assert tuple(subtopic.node for subtopic in enrolled.subtopics) == second
    state = NodeState.ACTIVE if yes else NodeState.PENDING
    assert replies.registered(iq(answers.register(Register(), state))) is state
    decision = answers.is_authorized(IsAuthorized(Action.READ, "x", envelope=OWN), yes, first[0])
    assert replies.decided(iq(decision)) == replies.Decided(yes, first[0])
    assert replies.challenge(iq(answers.challenge(Challenge(), first[0]))) == first[0]
    replies.logged_in(iq(answers.login(Login())))
    replies.logged_out(iq(answers.logout(Logout())))
