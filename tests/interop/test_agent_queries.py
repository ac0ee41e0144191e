"""Nodes that ask each other, on both servers; the controller decides, and a test is the controller."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from grid.agent import Forbidden, Question, Refused
from grid.errors import Refusal
from grid.iodef import incident, v1
from grid.model import Action
from grid.protocol import answers, requests
from tests.interop.agentkit import admit, agent, puppet
from tests.interop.conftest import Sandbox

IDENTITY = "http://www.domain.com/xgrid/identity"
ASK = f"<getIdentityGroupRequest xmlns='{IDENTITY}'><user>user1</user></getIdentityGroupRequest>"


async def groups(question: Question) -> str:
    """Answer as the draft's sample does."""
    assert question.element.findtext(f"{{{IDENTITY}}}user") == "user1"
    return f"<getIdentityGroupResponse xmlns='{IDENTITY}'><type>Identity</type></getIdentityGroupResponse>"


async def test_a_query_is_answered_when_the_controller_permits_it(server: Sandbox) -> None:
    async with puppet(server, "soc1", "soc2") as grid, agent(server, "soc1") as one, agent(server, "soc2") as two:
        two.answer("getIdentityGroupRequest", groups)
        for _ in range(3):
            answer = await one.query(two.jid, ET.fromstring(ASK))
            assert answer.findtext(f"{{{IDENTITY}}}type") == "Identity"
        asked = [request for _, request in grid.asked if isinstance(request, requests.IsAuthorized)]
        assert [(each.operation, each.service, each.identity.bare if each.identity else "") for each in asked] == [
            (Action.READ, "getIdentityGroupRequest", "soc1@grid.test")
        ]  # once: the decision is kept for a moment
        with pytest.raises(Refused, match="service-unavailable"):
            await one.query(two.jid, ET.fromstring(ASK.replace("IdentityGroup", "Other")))


async def test_a_query_is_refused_when_the_controller_says_so_or_nothing(server: Sandbox) -> None:
    async with puppet(server, "soc1", "soc2") as grid, agent(server, "soc1") as one, agent(server, "soc2") as two:
        two.answer("getIdentityGroupRequest", groups)

        def denied(request: requests.DraftRequest, sender: str) -> str:
            if isinstance(request, requests.IsAuthorized) and request.operation is Action.WRITE:
                raise Refusal("wait", "internal-server-error")
            if isinstance(request, requests.IsAuthorized):
                return answers.is_authorized(request, False, "no rule")
            return admit(request, sender)

        grid.decide = denied
        with pytest.raises(Forbidden):
            await one.query(two.jid, ET.fromstring(ASK))
        with pytest.raises(Refused, match="remote-server-timeout"):
            await one.query(two.jid, ET.fromstring(ASK), changes=True)


async def test_without_a_controller_the_node_itself_decides(server: Sandbox) -> None:
    async with (
        puppet(server, "soc1", "soc2"),
        agent(server, "soc1", controller=None) as one,
        agent(server, "soc2", controller=None) as two,
    ):
        two.answer("getIdentityGroupRequest", groups)
        with pytest.raises(Forbidden):
            await one.query(two.jid, ET.fromstring(ASK))
        two.authorize(lambda jid, action, service: (jid, action) == ("soc1@grid.test", Action.WRITE))
        assert (await one.query(two.jid, ET.fromstring(ASK), changes=True)).tag.endswith("Response")


async def test_an_incident_is_reported_by_xep_0268(server: Sandbox) -> None:
    told = incident.Inquiry(incident.Mention(v1.IncidentID(name="csirt.example.com", value="908711")))
    heard: list[tuple[incident.Exchange, str]] = []

    async def take(exchange: incident.Exchange, sender: str) -> None:
        heard.append((exchange, sender))

    async with puppet(server, "soc1", "soc2"), agent(server, "soc1") as one, agent(server, "soc2") as two:
        with pytest.raises(Refused, match="service-unavailable"):
            await one.tell(told, two.jid)
        two.incidents(take)
        await one.tell(told, two.jid)
        assert heard == [(told, one.jid)]
