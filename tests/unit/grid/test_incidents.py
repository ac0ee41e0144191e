"""XEP-0268 at the controller: what is published, what is answered, what is refused."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from grid import errors, iodef
from grid import incidents as incidents_module
from grid.errors import Refusal
from grid.incidents import TOPIC, Incidents, is_incident
from grid.iodef import incident, v1, v2
from grid.iodef.incident import Inquiry, Mention, Report, Request, Response
from grid.iodef.types import DateTime
from grid.model import Action, Clearance

INCIDENT = v1.Incident(
    purpose="reporting",
    incident_id=v1.IncidentID(name="csirt.example.com", value="189493"),
    report_time=DateTime("2001-09-13T23:19:24+00:00"),
    assessment=(v1.Assessment(impact=(v1.Impact(type="dos"),)),),
    contact=(v1.Contact(role="creator", type="person", email=(v1.Email(value="irt@example.com"),)),),
)
NUMBER = INCIDENT.incident_id
SOC1, SOC2 = "soc1@grid.test", "soc2@grid.test"


class Scene:
    def __init__(self) -> None:
        self.rights: dict[str, set[Action]] = {SOC1: {Action.PUBLISH}, SOC2: {Action.READ}}
        self.items: list[tuple[str, str, str, bytes]] = []
        self.rows: list[tuple[str, str, str, Mapping[str, Any]]] = []
        self.clearances: dict[str, Clearance] = {}
        self.refusal: Refusal | None = None
        self.incidents = Incidents(
            require=self.require, publish=self.publish, note=lambda *row: self.rows.append(row),
            clearance=self.clearances.get,
        )  # fmt: skip

    def require(self, jid: str, action: Action, topic: str) -> None:
        if topic != TOPIC or action not in self.rights.get(jid, set()):
            raise errors.forbidden() if self.rights.get(jid) else errors.item_not_found()

    async def publish(self, jid: str, topic: str, item: str, payload: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.items.append((jid, topic, item, payload.encode()))

    async def tell(self, exchange: incident.Exchange, jid: str = SOC1, kind: str = "") -> tuple[str, ...]:
        return await self.incidents.handle(jid, stanza(incident.dump(exchange).decode(), kind or exchange.iq_type))


def stanza(payload: str, kind: str) -> ET.Element:
    iq = ET.fromstring(f"<iq xmlns='jabber:component:accept' type='{kind}' id='1'>{payload}</iq>")
    assert is_incident(iq)
    return iq


async def condition(awaitable: Any) -> str:
    with pytest.raises(Refusal) as refused:
        await awaitable
    return refused.value.condition


@pytest.mark.parametrize("kind", [Report, Request, Response])
async def test_what_is_told_is_published_in_iodef_2(kind: Any) -> None:
    scene = Scene()
    assert await scene.tell(kind(INCIDENT)) == ()
    ((jid, topic, item, payload),) = scene.items
    assert (jid, topic) == (SOC1, "IODEF-1.0")
    document = iodef.load(payload)
    assert isinstance(document, v2.Document)
    assert document.incident[0].incident_id.value == "189493"
    ((actor, action, subject, detail),) = scene.rows
    assert (actor, action, subject) == (SOC1, f"incident.{kind.element}", "IODEF-1.0")
    assert detail == {"incident": "csirt.example.com 189493", "item": item}
    assert scene.incidents.handled == {(kind.element, "done"): 1}


@pytest.mark.parametrize(
    ("status", "made"),
    [("new", ("new", None)), ("resolved", ("resolved", None)), ("updated", ("ext-value", "updated"))],
)
async def test_the_status_of_a_report(status: Any, made: tuple[str, str | None]) -> None:
    scene = Scene()
    await scene.tell(Report(INCIDENT, status))
    document = iodef.load(scene.items[0][3])
    assert isinstance(document, v2.Document)
    assert (document.incident[0].status, document.incident[0].ext_status) == made


async def test_news_of_an_incident_take_the_place_of_what_the_same_node_said_of_it_alone() -> None:
    scene = Scene()
    scene.rights[SOC2] = {Action.PUBLISH}
    await scene.tell(Report(INCIDENT, "new"))
    await scene.tell(Report(INCIDENT, "updated"))
    await scene.tell(Report(INCIDENT), SOC2)
    await scene.tell(Response(INCIDENT))
    first, second, other, response = (item for _, _, item, _ in scene.items)
    assert first == second
    assert len({first, other, response}) == 3


async def test_an_inquiry_is_followed_by_reports() -> None:
    scene = Scene()
    await scene.tell(Report(INCIDENT, "new"))
    await scene.tell(Report(replace(INCIDENT, incident_id=v1.IncidentID(name="csirt.example.com", value="2"))))
    await scene.tell(Response(INCIDENT))
    for asked in (Mention(NUMBER), INCIDENT):
        reports = [incident.parse(text.encode()) for text in await scene.tell(Inquiry(asked), SOC2)]
        assert reports == [Report(INCIDENT, "new"), Report(INCIDENT)]
    assert [row[:3] for row in scene.rows[3:]] == [(SOC2, "item.read", "IODEF-1.0")] * 2


async def test_an_inquiry_about_what_is_not_known() -> None:
    scene = Scene()
    await scene.tell(Report(INCIDENT))
    other = v1.IncidentID(name="other.example.com", value="189493")
    assert await condition(scene.tell(Inquiry(Mention(other)), SOC2)) == "item-not-found"


async def test_an_inquiry_sees_what_the_node_is_cleared_for() -> None:
    scene = Scene()
    await scene.tell(Report(replace(INCIDENT, restriction="need-to-know")))
    scene.clearances[SOC2] = Clearance.GREEN
    assert await condition(scene.tell(Inquiry(Mention(NUMBER)), SOC2)) == "item-not-found"
    scene.clearances[SOC2] = Clearance.AMBER
    assert len(await scene.tell(Inquiry(Mention(NUMBER)), SOC2)) == 1
    await scene.tell(Report(INCIDENT))  # says nothing: private
    assert await condition(scene.tell(Inquiry(Mention(NUMBER)), SOC2)) == "item-not-found"


@pytest.mark.parametrize("kind", [Report, Request, Response])
async def test_the_right_to_publish_is_needed(kind: Any) -> None:
    scene = Scene()
    assert await condition(scene.tell(kind(INCIDENT), SOC2)) == "forbidden"
    assert await condition(scene.tell(kind(INCIDENT), "soc3@grid.test")) == "item-not-found"
    assert scene.items == []
    assert scene.incidents.handled == {(kind.element, "forbidden"): 1, (kind.element, "item-not-found"): 1}


async def test_the_right_to_read_is_needed() -> None:
    scene = Scene()
    await scene.tell(Report(INCIDENT))
    assert await condition(scene.tell(Inquiry(Mention(NUMBER)))) == "forbidden"


@pytest.mark.parametrize(
    ("exchange", "kind"), [(Report(INCIDENT), "get"), (Request(INCIDENT), "set"), (Response(INCIDENT), "get")]
)
async def test_the_wrong_type_of_iq(exchange: incident.Exchange, kind: str) -> None:
    scene = Scene()
    assert await condition(scene.tell(exchange, kind=kind)) == "bad-request"
    assert scene.items == []


async def test_what_is_not_valid_is_refused_with_the_reason() -> None:
    scene = Scene()
    payload = incident.dump(Report(INCIDENT)).decode().replace("ReportTime", "ReportDate")
    with pytest.raises(Refusal, match="ReportDate") as refused:
        await scene.incidents.handle(SOC1, stanza(payload, "set"))
    assert (refused.value.kind, refused.value.condition) == ("modify", "bad-request")


async def test_what_cannot_be_said_in_iodef_2_is_refused_with_the_reason() -> None:
    scene = Scene()
    system = v1.System(
        category="source", node=v1.Node(address=(v1.Address(category="ipv4-addr", value="192.0.2.7"),)),
        service=(v1.Service(ip_protocol=999, port=80),),
    )  # fmt: skip
    event = v1.EventData(flow=(v1.Flow(system=(system,)),))
    with pytest.raises(Refusal, match=r"cannot be said in IODEF 2.*protocol from 0 to 255") as refused:
        await scene.tell(Report(replace(INCIDENT, event_data=(event,))))
    assert refused.value.condition == "bad-request"
    assert scene.items == []


async def test_what_the_topic_refuses_is_not_remembered() -> None:
    scene = Scene()
    scene.refusal = errors.later()
    assert await condition(scene.tell(Report(INCIDENT))) == "internal-server-error"
    assert scene.rows == []
    assert await condition(scene.tell(Inquiry(Mention(NUMBER)), SOC2)) == "item-not-found"


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incidents_module, "REMEMBERED", 3)
    scene = Scene()
    for number in range(5):
        told = v1.IncidentID(name="csirt.example.com", value=f"{number}")
        await scene.tell(Report(replace(INCIDENT, incident_id=told)))
    found = []
    for number in range(5):
        asked = Inquiry(Mention(v1.IncidentID(name="csirt.example.com", value=f"{number}")))
        try:
            await scene.tell(asked, SOC2)
            found.append(number)
        except Refusal:
            pass
    assert found == [2, 3, 4]
    monkeypatch.setattr(incidents_module, "REMEMBERED_BYTES", 10)
    await scene.tell(Report(INCIDENT))
    assert scene.incidents._bytes == 0
