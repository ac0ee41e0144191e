"""XEP-0268 over real servers: two slixmpp clients tell each other of an incident, and what was sent arrives."""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from typing import Any

from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from grid.iodef import Invalid, v1, xmpp
from grid.iodef.incident import (
    KINDS,
    NAMESPACE,
    Exchange,
    Inquiry,
    Mention,
    Report,
    Request,
    Response,
    dump,
    parse,
    refusal,
)
from grid.iodef.types import DateTime
from tests.interop.clients import CLIENT, Answer, Requester, client
from tests.interop.conftest import Sandbox

NUMBER = v1.IncidentID(name="acs.test", value="2026-17")
INCIDENT = v1.Incident(
    purpose="mitigation",
    incident_id=NUMBER,
    report_time=DateTime("2026-11-21T09:30:00Z"),
    description=(v1.MLString(value="  Spam\n\tin rooms: “buy” <now> & 'here'  "),),
    assessment=(v1.Assessment(impact=(v1.Impact(type="dos", severity="medium"),)),),
    contact=(
        v1.Contact(role="admin", type="person", additional_data=(xmpp.jid_data("admin@acs.test"),)),
        xmpp.chatroom("operators@rooms.acs.test"),
    ),
    event_data=(
        v1.EventData(
            flow=(
                v1.Flow(
                    system=(v1.System(category="source", node=v1.Node(address=(xmpp.address("spam@rogue.test"),))),)
                ),
            ),
            expectation=(v1.Expectation(action="block-host"),),
        ),
    ),
)


class Desk:
    """Reads what arrives at a client, and answers as XEP-0268 says."""

    def __init__(self, online: Requester) -> None:
        self.online = online
        self.received: list[Exchange] = []
        self._stream: Any = online._stream  # type: ignore[attr-defined]
        for tag in KINDS:
            self._stream.register_handler(Callback(tag, MatchXPath(f"{{{CLIENT}}}iq/{tag}"), self._read))

    def _read(self, iq: Any) -> None:
        if iq["type"] not in {"get", "set"}:
            return
        answer = iq.reply()
        try:
            exchange = parse(ET.fromstring(ET.tostring(iq.xml[0])))
        except Invalid as error:
            problem = refusal(error)
            answer = iq.reply(clear=True).error()
            answer["error"]["type"], answer["error"]["condition"] = problem.type, problem.condition
            answer["error"]["text"] = problem.text
        else:
            assert iq["type"] == exchange.iq_type
            self.received.append(exchange)
        answer.send()

    async def tell(self, other: Desk, exchange: Exchange) -> Answer:
        """Send it in the IQ that it belongs into, and wait for the answer."""
        return await self.send(other, exchange.iq_type, dump(exchange).decode())

    async def send(self, other: Desk, iq_type: str, payload: str) -> Answer:
        """Send a payload as it stands, and wait for the answer."""
        id = self.online.new_id()
        return await self.online.send_raw_iq(
            f"<iq type='{iq_type}' to='{other.online.jid}' id='{id}'>{payload}</iq>", id=id
        )


@contextlib.asynccontextmanager
async def desk(sandbox: Sandbox, name: str) -> AsyncIterator[Desk]:
    """An account of the sandbox, online."""
    account = sandbox.account(name)
    async with client("slixmpp", account["jid"], account["password"], *sandbox.address, sandbox.info["ca"]) as online:
        yield Desk(online)


async def test_the_four_arrive_as_they_were_sent(sandbox: Sandbox) -> None:
    asks = [Report(INCIDENT), Report(INCIDENT, "updated"), Inquiry(INCIDENT), Request(INCIDENT)]
    replies = [Report(INCIDENT), Response(INCIDENT)]
    async with desk(sandbox, "acs1") as one, desk(sandbox, "acs2") as two:
        answers = [await one.tell(two, exchange) for exchange in [Inquiry(Mention(NUMBER)), *asks]]
        answers += [await two.tell(one, exchange) for exchange in replies]
    assert two.received == [Inquiry(Mention(NUMBER)), *asks]
    assert one.received == replies
    assert {(answer.type, answer.payload) for answer in answers} == {("result", "")}


async def test_what_is_malformed_is_an_error(sandbox: Sandbox) -> None:
    async with desk(sandbox, "acs1") as one, desk(sandbox, "acs2") as two:
        answer = await one.send(two, "set", f"<report xmlns='{NAMESPACE}'/>")
    assert (answer.type, answer.error_type, answer.condition) == ("error", "modify", "bad-request")
    assert "expected an Incident" in answer.text
    assert two.received == []
