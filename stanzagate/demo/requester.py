"""An ACS as the demonstration needs it: an XMPP client over TLS that sends connection requests (TR-069 Annex K)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement

from slixmpp import JID, ClientXMPP
from slixmpp.exceptions import IqError, IqTimeout

from component.base import ns
from component.base.errors import Unreachable

_CONNECT_TIMEOUT_S = 20.0
_ANSWER_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Answer:
    """What came back: ``result``, or ``TYPE/CONDITION`` of the error, or ``no answer``."""

    text: str

    @property
    def accepted(self) -> bool:
        return self.text == "result"


class Requester:
    """A client that is logged in. Made by `login`."""

    def __init__(self, stream: ClientXMPP) -> None:
        self._stream = stream

    async def request(self, to: str, username: str = "", password: str = "") -> Answer:
        """Send a connection request to `to` and wait for its answer; no credentials means: the gate fills them in."""
        # slixmpp compares the sender of an answer in prepared form, and ejabberd keeps the spelling that was sent.
        iq = self._stream.make_iq_get(ito=JID(to))
        request = Element(f"{{{ns.CONNECTION_REQUEST}}}connectionRequest")
        SubElement(request, f"{{{ns.CONNECTION_REQUEST}}}username").text = username
        SubElement(request, f"{{{ns.CONNECTION_REQUEST}}}password").text = password
        iq.xml.append(request)
        try:
            await iq.send(timeout=_ANSWER_TIMEOUT_S)  # type: ignore[no-untyped-call]
        except IqError as error:
            return Answer(f"{error.etype}/{error.condition}")
        except IqTimeout:
            return Answer("no answer")
        return Answer("result")


@asynccontextmanager
async def login(jid: str, password: str, host: str, port: int, ca: Path) -> AsyncIterator[Requester]:
    """Log in over STARTTLS with SCRAM; the server's certificate is verified against `ca`.

    :raises Unreachable: the server does not answer, or refuses the account.
    """
    stream = ClientXMPP(jid, password, ssl_context=ssl.create_default_context(cafile=str(ca)))
    stream.enable_direct_tls = False
    started: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def up(_: Any) -> None:
        if not started.done():
            started.set_result(None)

    def failed(_: Any) -> None:
        if not started.done():
            started.set_exception(Unreachable(f"{jid} cannot log in at {host}:{port}."))

    stream.add_event_handler("session_start", up)
    for event in ("connection_failed", "failed_all_auth", "disconnected"):
        stream.add_event_handler(event, failed)
    stream.connect(host, port)
    try:
        try:
            await asyncio.wait_for(started, _CONNECT_TIMEOUT_S)
        except TimeoutError:
            raise Unreachable(f"{jid} got no answer at {host}:{port}.") from None
        yield Requester(stream)
    finally:
        await stream.disconnect(wait=1.0)
