"""The border's rules and verdicts."""

from __future__ import annotations

import dataclasses

import pytest

from component.base.settings import parse_rate
from component.relay import ns
from component.relay.border import Drop, Forward, Hold, PartnerRules, Refuse
from component.relay.counters import DecisionOutcome
from tests.unit.relay.borderkit import PARTNER, REQUEST, XMLNS, Said, Scene
from tests.unit.relay.stanzas import stanza

ACS, CPE = "acs@partner.test", "cpe1@cpe.test"


@pytest.fixture
async def scene() -> Scene:
    return Scene()


def rules(scene: Scene, **change: object) -> None:
    scene.border.rules = {PARTNER: dataclasses.replace(scene.border.rules[PARTNER], **change)}  # type: ignore[arg-type]


async def test_what_the_rules_allow_passes_as_the_same_bytes(scene: Scene) -> None:
    for kind, type in (("iq", "get"), ("iq", "result"), ("iq", "error"), ("message", "chat"), ("presence", "")):
        there = stanza("<x xmlns='urn:x'/>", kind=kind, type=type, recipient="juliet@isp.test")
        assert scene.inbound(there) == Forward(there.raw)
        back = stanza("<x xmlns='urn:x'/>", kind=kind, type=type, sender="juliet@isp.test", recipient=ACS)
        assert scene.border.outbound(back, PARTNER) == Forward(back.raw)
    assert scene.refused == []


async def test_a_local_domain_that_is_not_open_to_the_partner_is_refused_both_ways(scene: Scene) -> None:
    verdict = scene.inbound(stanza(recipient="x@secret.test"))
    assert isinstance(verdict, Refuse)
    assert (verdict.type, verdict.condition) == ("auth", "forbidden")
    verdict = scene.border.outbound(stanza(sender="x@secret.test", recipient=ACS), PARTNER)
    assert isinstance(verdict, Refuse)
    assert [said[3] for said in scene.refused] == ["domains", "domains"]


async def test_a_partner_without_rules_gets_nothing(scene: Scene) -> None:
    verdict = scene.border.inbound(stanza(recipient="juliet@isp.test"), "other.test")
    assert isinstance(verdict, Refuse)
    assert verdict.condition == "forbidden"


@pytest.mark.parametrize("type", ["get", "result", "error"])
async def test_a_kind_that_is_not_open_is_refused_both_ways_answers_too(scene: Scene, type: str) -> None:
    rules(scene, stanzas=frozenset({"message"}))
    for verdict in (
        scene.inbound(stanza(type=type, recipient="juliet@isp.test")),
        scene.border.outbound(stanza(type=type, sender="juliet@isp.test", recipient=ACS), PARTNER),
    ):
        assert isinstance(verdict, Refuse)
        assert (verdict.type, verdict.condition) == ("modify", "policy-violation")
    message = stanza(kind="message", type="", recipient="juliet@isp.test")
    assert scene.inbound(message) == Forward(message.raw)


async def test_the_rate_holds_for_what_the_partner_sends() -> None:
    now = 100.0
    scene = Scene(clock=lambda: now)
    rules(scene, rate=parse_rate("2/s"))
    there = stanza(kind="message", type="", recipient="juliet@isp.test")
    back = stanza(kind="message", type="", sender="juliet@isp.test", recipient=ACS)
    verdicts = [scene.inbound(there) for _ in range(3)]
    assert [type(verdict) for verdict in verdicts] == [Forward, Forward, Refuse]
    assert verdicts[2] == Refuse("wait", "resource-constraint")
    assert all(scene.border.outbound(back, PARTNER) == Forward(back.raw) for _ in range(5))
    now += 0.5
    assert [type(scene.inbound(there)) for _ in range(2)] == [Forward, Refuse]


async def test_new_rules_do_not_fill_the_bucket_of_a_rate_that_stays() -> None:
    scene = Scene(clock=lambda: 0.0)
    rules(scene, rate=parse_rate("1/min"))
    there = stanza(kind="message", type="", recipient="juliet@isp.test")
    assert isinstance(scene.inbound(there), Forward)
    rules(scene, domains=frozenset({"isp.test"}))
    assert isinstance(scene.inbound(there), Refuse)
    rules(scene, rate=parse_rate("2/min"))
    assert isinstance(scene.inbound(there), Forward)


@pytest.mark.parametrize(
    "content",
    [
        f"<body xmlns='{ns.COMPONENT}'/>",
        f"<p:error xmlns:p='{ns.COMPONENT}'/>",
        f"<x xmlns='y'><body xmlns='{ns.COMPONENT}'/></x>",
        "<xml:x/>",
        "<x xmlns='y'><xml:x>z</xml:x></x>",
        "<body xml:odd='1'/>",
        "<body xml:language='de'/>",
    ],
)
async def test_what_would_not_arrive_as_what_it_is_does_not_pass(scene: Scene, content: str) -> None:
    for recipient in ("juliet@isp.test", CPE):
        one = stanza(content, kind="message", type="", recipient=recipient)
        assert scene.inbound(one) == Refuse("modify", "bad-request")


async def test_what_only_speaks_of_such_elements_passes(scene: Scene) -> None:
    for content in (
        f"<body>{ns.COMPONENT}</body>",
        "<body><![CDATA[<xml:x/>]]></body>",
        "<body xml:lang='de' xml:id='a'/>",
    ):
        one = stanza(content, kind="message", type="", recipient="juliet@isp.test")
        assert scene.inbound(one) == Forward(one.raw)


async def test_every_refusal_is_told_by_the_bare_address_of_its_sender(scene: Scene) -> None:
    for number in range(3):
        scene.inbound(stanza(sender=f"{ACS}/{number}", recipient="x@secret.test"))
    assert scene.refused == [
        (PARTNER, ACS, "x@secret.test", "domains", "secret.test is not open to partner.test"),
    ] * 3  # fmt: skip


# Connection requests


async def test_an_allowed_request_is_delivered_in_normal_form(scene: Scene) -> None:
    scene.policy.known[ACS, CPE] = Said(True)
    loose = "\n<c:connectionRequest xmlns:c='urn:broadband-forum-org:cwmp:xmppConnReq-1-0' a='b'> \
<c:password>p&lt;</c:password><c:username x='y'>u</c:username></c:connectionRequest>"
    verdict = scene.inbound(stanza(loose, id="o'1", sender="ACS@Partner.test/X", recipient="CPE1@cpe.test/tr069"))
    assert isinstance(verdict, Forward)
    assert verdict.raw.decode() == (
        "<iq type='get' id='o&apos;1' from='acs@partner.test/X' to='cpe1@cpe.test/tr069'>"
        f"<connectionRequest {XMLNS}><username>u</username><password>p&lt;</password></connectionRequest></iq>"
    )
    assert scene.decided == [(PARTNER, DecisionOutcome.ALLOWED)]


async def test_a_denied_request_is_forbidden_and_reported_with_its_rule(scene: Scene) -> None:
    scene.policy.known[ACS, CPE] = Said(False, "r9", "denied by rule 9")
    assert scene.inbound(stanza(REQUEST)) == Refuse("auth", "forbidden")
    assert scene.refused == [(PARTNER, ACS, "cpe1@cpe.test/tr069", "r9", "denied by rule 9")]
    assert scene.decided == [(PARTNER, DecisionOutcome.DENIED)]


@pytest.mark.parametrize(
    "content",
    [
        f"<connectionRequest {XMLNS}/>",
        f"<wrap xmlns='urn:x'>{REQUEST}</wrap>",
        f"{REQUEST}{REQUEST}",
        "<connectionRequest xmlns='urn:other'/>",
        f"<username {XMLNS}/>",
    ],
)
@pytest.mark.parametrize(("kind", "type"), [("iq", "get"), ("iq", "set"), ("message", "chat"), ("presence", "")])
async def test_a_malformed_request_tells_only_an_allowed_requester_that_it_is(
    scene: Scene, content: str, kind: str, type: str
) -> None:
    scene.policy.known[ACS, CPE] = Said(True)
    assert scene.inbound(stanza(content, kind=kind, type=type)) == Refuse("modify", "bad-request")
    scene.policy.known[ACS, CPE] = Said(False)
    assert scene.inbound(stanza(content, kind=kind, type=type)) == Refuse("auth", "forbidden")


@pytest.mark.parametrize(
    ("kind", "type"), [("iq", "result"), ("iq", "error"), ("message", "error"), ("presence", "error")]
)
async def test_an_answer_that_carries_a_request_is_dropped(scene: Scene, kind: str, type: str) -> None:
    scene.policy.known[ACS, CPE] = Said(True)
    assert scene.inbound(stanza(REQUEST, kind=kind, type=type)) == Drop("answer")
    assert scene.refused[0][3] == "answer"


async def test_a_request_without_an_id_is_malformed(scene: Scene) -> None:
    scene.policy.known[ACS, CPE] = Said(True)
    assert scene.inbound(stanza(REQUEST, id="")) == Refuse("modify", "bad-request")


async def test_requests_to_other_hosts_are_not_looked_at(scene: Scene) -> None:
    there = stanza(REQUEST, recipient="cpe1@isp.test/x")
    assert scene.inbound(there) == Forward(there.raw)


async def test_other_stanzas_to_devices_pass(scene: Scene) -> None:
    there = stanza("<query xmlns='jabber:iq:version'/>")
    assert scene.inbound(there) == Forward(there.raw)
    assert scene.decided == []


async def test_an_address_that_is_none_is_refused(scene: Scene) -> None:
    assert scene.inbound(stanza(REQUEST, recipient="a@b@cpe.test")) == Refuse("modify", "jid-malformed")


async def test_a_request_without_a_known_decision_waits(scene: Scene) -> None:
    assert isinstance(scene.inbound(stanza(REQUEST)), Hold)
    await scene.spawn.end()


async def test_nothing_passes_while_the_policy_is_not_known(scene: Scene) -> None:
    scene.policy.guarded_hosts = None
    for there in (stanza(REQUEST), stanza(), stanza(kind="message", type="", recipient="juliet@isp.test")):
        assert scene.inbound(there) == Refuse("wait", "internal-server-error")


# guard: everything


@pytest.mark.parametrize(("kind", "type"), [("iq", "get"), ("iq", "result"), ("message", ""), ("presence", "")])
async def test_with_guard_everything_each_stanza_to_a_device_passes_the_decision(
    scene: Scene, kind: str, type: str
) -> None:
    scene.policy.guard = "everything"
    there = stanza("<x xmlns='urn:x'/>", kind=kind, type=type)
    scene.policy.known[ACS, CPE] = Said(True)
    assert scene.inbound(there) == Forward(there.raw)
    scene.policy.known[ACS, CPE] = Said(False)
    assert scene.inbound(there) == Refuse("auth", "forbidden")


async def test_with_guard_everything_the_host_itself_can_be_reached(scene: Scene) -> None:
    scene.policy.guard = "everything"
    for address in ("cpe.test", "cpe.test/a@b"):
        there = stanza("<ping xmlns='urn:xmpp:ping'/>", recipient=address)
        assert scene.inbound(there) == Forward(there.raw)


def test_rules_are_open_to_all_kinds_unless_they_say_otherwise() -> None:
    rule = PartnerRules(frozenset({"isp.test"}))
    assert rule.stanzas == {"iq", "message", "presence"}
    assert rule.rate.unlimited
