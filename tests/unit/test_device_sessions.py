"""The reference device's sessions with the ACS, and the endpoint that records them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from stanzagate.sandbox.device import cwmp
from stanzagate.sandbox.device.recorder import Recorder
from stanzagate.sandbox.device.sessions import Event, Sessions, State
from stanzagate.sandbox.device.settings import InSession, Retry

REQUEST = Event.CONNECTION_REQUEST
CONTEXT = ssl.create_default_context()


class Acs:
    """Sessions begin and end when the test says so."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[tuple[Event, ...]] = asyncio.Queue()
        self.outcome: asyncio.Queue[Exception | None] = asyncio.Queue()

    async def hold(self, events: tuple[Event, ...]) -> None:
        self.begun.put_nowait(events)
        error = await self.outcome.get()
        if error is not None:
            raise error

    def end(self, error: Exception | None = None) -> None:
        self.outcome.put_nowait(error)


@asynccontextmanager
async def running(acs: Acs, in_session: InSession, wait: float = 3600.0) -> AsyncIterator[Sessions]:
    retry = Retry(initial=wait, maximum=wait)
    sessions = Sessions(acs.hold, in_session=in_session, uniform=lambda low, high: high, retry=retry)
    task = asyncio.create_task(sessions.run())  # noqa: TID251  a test may
    try:
        async with asyncio.timeout(20):
            yield sessions
    finally:
        task.cancel()


async def idle(sessions: Sessions) -> None:
    while sessions.state is not State.IDLE:
        await asyncio.sleep(0)


async def test_a_request_leads_to_a_session() -> None:
    acs = Acs()
    async with running(acs, InSession.REFUSE) as sessions:
        sessions.report(REQUEST)
        assert sessions.state is State.DUE and not sessions.busy
        assert await acs.begun.get() == (REQUEST,)
        assert sessions.busy
        acs.end()
        await idle(sessions)
        assert not sessions.busy and acs.begun.empty()


async def test_what_is_reported_before_a_session_begins_shares_it() -> None:
    acs = Acs()
    async with running(acs, InSession.REFUSE) as sessions:
        sessions.report(REQUEST)
        sessions.report(Event.VALUE_CHANGE, Event.BOOT)
        sessions.report(REQUEST)
        assert await acs.begun.get() == (Event.BOOT, Event.VALUE_CHANGE, REQUEST)


async def test_requests_in_session_lead_to_exactly_one_later_session() -> None:
    acs = Acs()
    async with running(acs, InSession.LATER) as sessions:
        sessions.report(Event.BOOT)
        await acs.begun.get()
        for _ in range(5):
            assert not sessions.busy
            sessions.report(REQUEST)
        acs.end()
        assert await acs.begun.get() == (REQUEST,)
        acs.end()
        await idle(sessions)
        assert acs.begun.empty()


async def test_a_failed_session_is_repeated_with_its_events() -> None:
    acs = Acs()
    async with running(acs, InSession.REFUSE, wait=0.001) as sessions:
        sessions.report(Event.BOOT)
        assert await acs.begun.get() == (Event.BOOT,)
        acs.end(OSError("gone"))
        assert await acs.begun.get() == (Event.BOOT,)


async def test_a_request_does_not_wait_for_the_retry_of_a_failed_session() -> None:
    acs = Acs()
    async with running(acs, InSession.REFUSE) as sessions:
        sessions.report(Event.BOOT)
        await acs.begun.get()
        acs.end(cwmp.CwmpError("no"))
        while sessions.state is not State.DUE:
            await asyncio.sleep(0)
        sessions.report(REQUEST)
        assert await acs.begun.get() == (Event.BOOT, REQUEST)


def message(id: str = "00256D-0001", *events: str) -> str:
    return cwmp.inform(id, events or (REQUEST,), {cwmp.CONN_REQ_JABBER_ID: "cpe1@cpe.test/<&>"}, now=0)


async def test_the_endpoint_records_a_session() -> None:
    async with Recorder(clock=lambda: 17.0).listen() as recorder, asyncio.timeout(20):
        await cwmp.session(recorder.url, message("00256D-0001", "1 BOOT", "4 VALUE CHANGE"), context=CONTEXT)
        await cwmp.session(recorder.url, message("no_oui"), context=CONTEXT)
        async with httpx.AsyncClient(base_url=recorder.url, trust_env=False) as http:
            first, second = (await http.get("/informs")).json()
            assert first == {
                "number": 1, "device": "00256D-0001", "events": ["1 BOOT", "4 VALUE CHANGE"],
                "jid": "cpe1@cpe.test/<&>", "received": 17.0,
            }  # fmt: skip
            assert (await http.get("/informs", params={"device": "no_oui", "count": 1})).json() == [second]
            assert (await http.get("/informs", params={"after": 1})).json() == [second]
            assert (await http.get("/informs", params={"count": 9, "timeout": 0})).status_code == 504
            assert (await http.get("/informs", params={"count": "x"})).status_code == 400


async def test_the_endpoint_can_hold_a_session_open() -> None:
    async with Recorder().listen() as recorder, httpx.AsyncClient(base_url=recorder.url, trust_env=False) as http:
        await http.post("/hold")
        session = asyncio.create_task(cwmp.session(recorder.url, message(), context=CONTEXT))  # noqa: TID251
        await recorder.wait()
        assert not session.done()
        await http.post("/release")
        async with asyncio.timeout(20):
            await session


@pytest.mark.parametrize(
    "body",
    ["<", "<a/>", f"<!DOCTYPE x><s:Envelope xmlns:s='{cwmp.SOAP}'/>", f"<s:Envelope xmlns:s='{cwmp.SOAP}'/>"],
)
async def test_the_endpoint_refuses_what_is_no_soap(body: str) -> None:
    async with Recorder().listen() as recorder, httpx.AsyncClient(trust_env=False) as http:
        assert (await http.post(recorder.url, content=body)).status_code == 400
        assert recorder.informs() == []


async def test_a_session_with_something_else_fails() -> None:
    async with Recorder().listen() as recorder:
        with pytest.raises(cwmp.CwmpError, match="404"):
            await cwmp.session(f"{recorder.url}elsewhere", message(), context=CONTEXT)
    with pytest.raises(cwmp.CwmpError, match=recorder.url):
        await cwmp.session(recorder.url, message(), context=CONTEXT)
