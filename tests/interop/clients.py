"""Requesters of two independent libraries, slixmpp and aioxmpp, behind one small interface.

::

    async with client("aioxmpp", "acs1@acs.test", password, host, port, ca) as c:
        answer = await c.request("cpe1@cpe.test/tr069", "user", "secret")
        assert (answer.type, answer.condition) == ("error", "not-authorized")

An `Answer` is read from the stanza as it came over the wire, because libraries hide what the tests are about: the
`code` attribute, the echo, a misspelt condition. Where a library has an opinion about the answer, it must agree.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import ssl
import xml.etree.ElementTree as ET
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

import aioxmpp
import aioxmpp.connector
import aioxmpp.security_layer
import OpenSSL.SSL
from cryptography import x509
from slixmpp import ClientXMPP

from component.base.tags import WholeTags

KINDS = ("slixmpp", "aioxmpp")
CONNECTION_REQUEST = "urn:broadband-forum-org:cwmp:xmppConnReq-1-0"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"
CLIENT = "jabber:client"
TIMEOUT = 20.0

logging.getLogger("aioxmpp").setLevel(logging.CRITICAL)  # a failed assertion shows captured logs, and those stanzas
logging.getLogger("slixmpp").setLevel(logging.CRITICAL)


@dataclass(frozen=True)
class Answer:
    """An iq of type result or error.

    :ivar condition: local name of the defined condition, as spelt; empty for a result.
    :ivar error_type: ``auth``, ``cancel``, ``modify``, ``wait``; empty for a result.
    :ivar code: the legacy ``code`` attribute, for example ``503``; empty when there is none.
    :ivar app_condition: ``{namespace}name`` of the application-specific condition, or empty.
    :ivar payload_echoed: whether a connectionRequest stands beside the error.
    :ivar payload: the children of the iq except ``<error/>``, as XML; empty when there are none.
    :ivar sender: the ``from`` of the answer.
    """

    type: str
    id: str
    condition: str = ""
    error_type: str = ""
    code: str = ""
    app_condition: str = ""
    text: str = ""
    payload_echoed: bool = False
    payload: str = ""
    sender: str = ""


def read_answer(iq: ET.Element) -> Answer:
    """The `Answer` that an iq of type result or error is."""
    error = iq.find(f"{{{CLIENT}}}error")
    others = [child for child in iq if child is not error]
    fields: dict[str, Any] = {
        "type": iq.get("type", ""),
        "id": iq.get("id", ""),
        "sender": iq.get("from", ""),
        "payload": "".join(ET.tostring(child, encoding="unicode").strip() for child in others),
        "payload_echoed": any(child.tag == f"{{{CONNECTION_REQUEST}}}connectionRequest" for child in others),
    }
    if error is None:
        return Answer(**fields)
    fields |= {"error_type": error.get("type", ""), "code": error.get("code", "")}
    for child in error:
        namespace, _, name = child.tag[1:].rpartition("}")
        if namespace == STANZAS and name == "text":
            fields["text"] = child.text or ""
        elif namespace == STANZAS:
            fields["condition"] = name
        else:
            fields["app_condition"] = child.tag
    return Answer(**fields)


def payload_xml(username: str, password: str, extra: str = "") -> str:
    """A connectionRequest in normal form; `extra` is raw XML after the password."""
    return (
        f"<connectionRequest xmlns='{CONNECTION_REQUEST}'><username>{escape(username)}</username>"
        f"<password>{escape(password)}</password>{extra}</connectionRequest>"
    )


class Requester(ABC):
    """A client that is online.

    :ivar jid: its full JID, as bound.
    :ivar stanzas: every stanza received since it was bound, oldest first.
    """

    def __init__(self, jid: str) -> None:
        self.jid = jid
        self.stanzas: list[ET.Element] = []
        self._arrived = asyncio.Event()
        self._lost = False
        self._ids = itertools.count(1)

    @abstractmethod
    async def send_raw(self, xml: str) -> None:
        """Write `xml` to the stream as it stands."""

    @abstractmethod
    async def _send_request(self, to: str, username: str, password: str, id: str) -> Callable[[Answer], None]:
        """Send a get by the library's own means; the result checks that the library read the same answer."""

    async def request(
        self,
        to: str,
        username: str,
        password: str,
        type: str = "get",
        extra: str = "",
        *,
        id: str = "",
        timeout: float = TIMEOUT,
    ) -> Answer:
        """Send a connectionRequest and return its answer.

        :param type: the type of the iq; anything but ``get`` is written raw.
        :param extra: raw XML after the password; written raw.
        :param id: the id of the iq; a fresh one by default.
        :raises TimeoutError: when there is no answer within `timeout` seconds.
        """
        id = id or self.new_id()
        if type == "get" and not extra:
            check = await self._send_request(to, username, password, id)
            answer = await self.answer(id, timeout=timeout)
            check(answer)
            return answer
        xml = f"<iq type={quoteattr(type)} to={quoteattr(to)} id={quoteattr(id)}>"
        return await self.send_raw_iq(f"{xml}{payload_xml(username, password, extra)}</iq>", id=id, timeout=timeout)

    async def send_raw_iq(self, xml: str, *, id: str = "", timeout: float = TIMEOUT) -> Answer:
        """Write a whole iq (malformed as you like) and wait for the answer to `id` (by default the one in `xml`)."""
        await self.send_raw(xml)
        return await self.answer(id or ET.fromstring(xml).get("id", ""), timeout=timeout)

    async def answer(self, id: str, *, count: int = 1, timeout: float = TIMEOUT) -> Answer:
        """Wait until `count` answers to `id` are here; the last of them.

        :raises TimeoutError: after `timeout` seconds.
        :raises ConnectionError: the connection was lost (seen with slixmpp only).
        """
        async with asyncio.timeout(timeout):
            while len(found := self.answers_to(id)) < count:
                if self._lost:
                    raise ConnectionError(f"{self.jid} lost its connection")
                self._arrived.clear()
                await self._arrived.wait()
        return found[count - 1]

    def answers_to(self, id: str) -> list[Answer]:
        """The answers to `id` that have arrived so far."""
        return [
            read_answer(stanza)
            for stanza in self.stanzas
            if stanza.tag == f"{{{CLIENT}}}iq"
            and stanza.get("id") == id
            and stanza.get("type") in {"result", "error"}
        ]

    def new_id(self) -> str:
        """An id that this client has not used."""
        return f"t{next(self._ids)}-{id(self) & 0xFFFF:04x}"

    def lost(self, _event: object = None) -> None:
        """Called when the connection is lost."""
        self._lost = True
        self._arrived.set()

    def _received(self, stanza: ET.Element) -> None:
        self.stanzas.append(stanza)
        self._arrived.set()


@contextlib.asynccontextmanager
async def client(
    kind: str, jid: str, password: str, host: str, port: int, ca: Path | str, *, timeout: float = TIMEOUT
) -> AsyncIterator[Requester]:
    """A client of the library `kind` ("slixmpp" or "aioxmpp"), connected over TLS that verifies against `ca`.

    :raises ConnectionError: when it could not connect or log in.
    """
    factory = {"slixmpp": _slixmpp_client, "aioxmpp": _aioxmpp_client}[kind]
    async with factory(jid, password, host, port, str(ca), timeout) as requester:
        yield requester


class _SlixmppRequester(Requester):
    def __init__(self, stream: _SlixmppStream) -> None:
        super().__init__(stream.boundjid.full)
        self._stream = stream
        stream.tap = self._received
        stream.add_event_handler("disconnected", self.lost)

    async def send_raw(self, xml: str) -> None:
        self._stream.send_raw(xml)

    async def _send_request(self, to: str, username: str, password: str, id: str) -> Callable[[Answer], None]:
        iq = self._stream.make_iq_get(ito=to)
        iq["id"] = id
        request = ET.SubElement(iq.xml, f"{{{CONNECTION_REQUEST}}}connectionRequest")
        ET.SubElement(request, f"{{{CONNECTION_REQUEST}}}username").text = username
        ET.SubElement(request, f"{{{CONNECTION_REQUEST}}}password").text = password
        self._stream.send(iq)  # not iq.send(): its matcher would keep a timer for answers that never come
        return lambda answer: None


class _SlixmppStream(ClientXMPP):  # type: ignore[misc]
    tap: Callable[[ET.Element], None] | None = None
    tags = WholeTags()

    def connection_made(self, transport: asyncio.BaseTransport, send_event: bool = True) -> None:
        self.tags = WholeTags()
        super().connection_made(transport, send_event)

    def data_received(self, data: bytes) -> None:
        super().data_received(self.tags.take(data))

    def incoming_filter(self, xml: ET.Element) -> ET.Element:
        if self.tap is not None:
            self.tap(ET.fromstring(ET.tostring(xml)))  # a copy: slixmpp empties the element afterwards
        return xml


@contextlib.asynccontextmanager
async def _slixmpp_client(
    jid: str, password: str, host: str, port: int, ca: str, timeout: float
) -> AsyncIterator[Requester]:
    stream = _SlixmppStream(jid, password, ssl_context=ssl.create_default_context(cafile=ca))
    stream.enable_direct_tls = False
    started: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(event: Any) -> None:
        if not started.done():
            stream.cancel_connection_attempt()
            started.set_exception(ConnectionError(f"{jid} could not log in: {event}"))

    stream.add_event_handler("session_start", lambda _: started.done() or started.set_result(None))
    for event in ("connection_failed", "failed_all_auth", "disconnected"):
        stream.add_event_handler(event, fail)
    stream.connect(host, port)
    try:
        try:
            async with asyncio.timeout(timeout):
                await started
        except TimeoutError:
            raise ConnectionError(f"{jid} was not let in within {timeout:g} s") from None
        yield _SlixmppRequester(stream)
    finally:
        await stream.disconnect(wait=1.0)
        sender = stream._run_out_filters  # slixmpp leaves its sending task behind
        if sender is not None:
            sender.cancel()
            await asyncio.wait([sender])


class _ConnectionRequest(aioxmpp.xso.XSO):  # type: ignore[misc]
    TAG = (CONNECTION_REQUEST, "connectionRequest")
    username = aioxmpp.xso.ChildText((CONNECTION_REQUEST, "username"), default=None)
    password = aioxmpp.xso.ChildText((CONNECTION_REQUEST, "password"), default=None)


aioxmpp.IQ.as_payload_class(_ConnectionRequest)


class _PrivateCaVerifier(aioxmpp.security_layer.CertificateVerifier):  # type: ignore[misc]
    """Trusts one CA. aioxmpp's own verifier reads host names with calls that pyOpenSSL no longer has."""

    def __init__(self, ca: str) -> None:
        self._ca = ca

    def setup_context(self, ctx: OpenSSL.SSL.Context, transport: Any) -> None:
        super().setup_context(ctx, transport)
        ctx.load_verify_locations(self._ca)

    def verify_callback(self, conn: Any, cert: Any, errno: int, depth: int, preverified: int) -> bool:
        if not preverified or depth > 0:
            return bool(preverified)
        names = cert.to_cryptography().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return self.transport.get_extra_info("server_hostname") in names.get_values_for_type(x509.DNSName)

    async def post_handshake(self, transport: Any) -> None:
        """Nothing is left to check."""


class _AioxmppClient(aioxmpp.Client):  # type: ignore[misc]
    """Without stream management (XEP-0198): stanzas that are written raw are not counted by the library, so that it
    would take the server's acknowledgements for an error."""

    async def _negotiate_stream(self, xmlstream: Any, features: Any) -> tuple[Any, bool]:
        with contextlib.suppress(KeyError):
            del features[aioxmpp.nonza.StreamManagementFeature]
        result: tuple[Any, bool] = await super()._negotiate_stream(xmlstream, features)
        return result


class _AioxmppRequester(Requester):
    def __init__(self, library: aioxmpp.Client) -> None:
        super().__init__(str(library.local_jid))
        self._library = library
        self._wire = library.stream._xmlstream  # there is no public way to the stream under the stanzas
        self._parser = ET.XMLPullParser(("start", "end"))
        self._parser.feed(f"<stream:stream xmlns='{CLIENT}' xmlns:stream='http://etherx.jabber.org/streams'>")
        self._depth = 0
        deliver = self._wire.data_received

        def tapped(blob: bytes) -> None:
            deliver(blob)
            self._feed(blob)

        self._wire.data_received = tapped

    async def send_raw(self, xml: str) -> None:
        self._wire.transport.write(xml.encode())

    async def _send_request(self, to: str, username: str, password: str, id: str) -> Callable[[Answer], None]:
        payload = _ConnectionRequest()
        payload.username, payload.password = username, password
        iq = aioxmpp.IQ(aioxmpp.IQType.GET, to=aioxmpp.JID.fromstr(to), payload=payload)
        iq.id_ = id
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._library.stream.register_iq_response_future(iq.to, id, reply)
        reply.add_done_callback(lambda future: future.cancelled() or future.exception())
        self._library.enqueue(iq)

        def check(answer: Answer) -> None:
            if not reply.done() or answer.condition not in _CONDITIONS:
                return  # a misspelt condition: aioxmpp has no word for it
            error = reply.exception()
            seen = error.condition.value[1] if isinstance(error, aioxmpp.errors.XMPPError) else ""
            assert seen in {answer.condition, ""}, f"aioxmpp read {seen}, the wire says {answer.condition}"

        return check

    def _feed(self, blob: bytes) -> None:
        self._parser.feed(blob)
        for event, element in self._parser.read_events():
            self._depth += 1 if event == "start" else -1
            if event == "end" and self._depth == 1:
                self._received(element)


_CONDITIONS = {condition.value[1] for condition in aioxmpp.ErrorCondition}


@contextlib.asynccontextmanager
async def _aioxmpp_client(
    jid: str, password: str, host: str, port: int, ca: str, timeout: float
) -> AsyncIterator[Requester]:
    security = aioxmpp.make_security_layer(password)._replace(
        certificate_verifier_factory=lambda: _PrivateCaVerifier(ca)
    )
    peer = (host, port, aioxmpp.connector.STARTTLSConnector())
    library = _AioxmppClient(aioxmpp.JID.fromstr(jid), security, override_peer=[peer], max_initial_attempts=1)
    started: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def up() -> bool:
        if not started.done():
            started.set_result(None)
        return True

    def failed(error: Exception) -> bool:
        if not started.done():
            started.set_exception(ConnectionError(f"{jid} could not log in: {error}"))
        return True

    library.on_stream_established.connect(up)
    library.on_failure.connect(failed)
    library.start()
    try:
        async with asyncio.timeout(timeout):
            await started
        yield _AioxmppRequester(library)
    finally:
        stopped = asyncio.Event()
        library.on_stopped.connect(lambda: stopped.set() or True)
        library.on_failure.connect(lambda _: stopped.set() or True)
        if library.running:
            library.stop()
            async with asyncio.timeout(timeout):
                await stopped.wait()
