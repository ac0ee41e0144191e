"""One connection of a node: STARTTLS, SASL, then the session of before resumed or a new one bound.

slixmpp finds the server and has the parser. The rest is here, because the agent must refuse a stream without TLS,
tell a server that is not trusted from one that is away, never offer a password in the clear, and count stanzas by
what was handled and not by what was received.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast
from xml.etree.ElementTree import Element, ParseError
from xml.sax.saxutils import escape

from slixmpp import ClientXMPP
from slixmpp.xmlstream.stanzabase import StanzaBase

from component.base.jid import JidError, prepare
from component.base.stanzas import quote
from component.base.tags import WholeTags
from grid.agent import sasl
from grid.agent.errors import AgentError, LoginRefused, NotConnected, UntrustedServer
from grid.agent.management import Management
from grid.ns import CLIENT

log = logging.getLogger(__name__)

STREAMS = "http://etherx.jabber.org/streams"
TLS = "urn:ietf:params:xml:ns:xmpp-tls"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
SM = "urn:xmpp:sm:3"
STREAM_ERROR = f"{{{STREAMS}}}error"
STANZAS = frozenset(f"{{{CLIENT}}}{name}" for name in ("iq", "message", "presence"))

CLOSE_TIMEOUT = 2.0
LONGEST_TAG = 4 * 1024 * 1024
TEMPORARY = frozenset({"temporary-auth-failure"})

# slixmpp logs every stanza, and on a parse error the input
logging.getLogger("slixmpp").setLevel(logging.CRITICAL + 1)

OnStanza = Callable[[Element, Callable[[], None]], None]
"""Takes a stanza, and what to call once it is handled."""


@dataclass(frozen=True, slots=True)
class Login:
    """As whom to log in.

    :ivar jid: bare, or with the resource to bind.
    :ivar tls: verifies the server and shows the own certificate.
    :ivar certificate: whether it shows one.
    :ivar host: address of the server; empty to look it up.
    """

    jid: str
    tls: ssl.SSLContext
    host: str = ""
    port: int = 5222
    certificate: bool = False
    password: str = field(default="", repr=False)


class AgentStream(ClientXMPP):
    """A node's stream. It outlives its connections.

    :param on_stanza: called with every stanza of the session, in order.
    :ivar session: what can be resumed, if anything.
    :ivar resumed: whether the last `open` resumed the session.
    :ivar heard: grows with everything that comes in.
    """

    def __init__(self, login: Login, *, on_stanza: OnStanza) -> None:
        super().__init__(login.jid, "", ssl_context=login.tls)
        self.enable_direct_tls = False
        self._login = login
        self._on_stanza = on_stanza
        self._tags = WholeTags()
        self._live = False
        self._elements: asyncio.Queue[Element | None] = asyncio.Queue()
        self._lost: asyncio.Future[str] = self.loop.create_future()
        self._reason = ""
        self.session: Management | None = None
        self.resumed = False
        self.heard = 0
        self.mechanism = ""

    # Opening

    async def open(self, timeout: float) -> None:
        """Connect, secure, authenticate, resume or bind.

        :param timeout: seconds that all of it may take.
        :raises NotConnected: the server is away or does not play by the rules.
        :raises UntrustedServer: its certificate is refused.
        :raises LoginRefused: the credentials are.
        """
        self._elements = asyncio.Queue()
        self._lost = self.loop.create_future()
        self._live, self._reason = False, ""
        try:
            async with asyncio.timeout(timeout):
                await self._connect()
                await self._secure()
                await self._authenticate()
                self.resumed = await self._begin()
        except TimeoutError:
            self.abort()
            raise NotConnected(
                f"{self._place} did not let {self.requested_jid.bare} in within {timeout:g} s."
            ) from None
        except AgentError:
            self.abort()
            raise
        except OSError as error:
            self.abort()
            raise NotConnected(f"{self._place} cannot be reached: {error.strerror or error}.") from None
        self._live = True
        while not self._elements.empty():  # what came in one piece with the last answer
            if (element := self._elements.get_nowait()) is not None:
                self._take(element)

    @property
    def _place(self) -> str:
        return f"{self._login.host}:{self._login.port}" if self._login.host else str(self.default_domain)

    async def _connect(self) -> None:
        if self._login.host:
            places = [(self._login.host, self._login.port)]
        else:
            records = await self.get_dns_records(self.default_domain, self._login.port)
            places = [(address, port) for _, _, address, port in records]
        problem: OSError | None = None
        for host, port in places or [(str(self.default_domain), self._login.port)]:
            try:
                await self.loop.create_connection(lambda: cast(asyncio.Protocol, self), host, port)
            except OSError as error:
                problem = error
            else:
                return
        raise problem or OSError("no address")

    async def _secure(self) -> None:
        features = await self._next("features")
        if features.find(f"{{{TLS}}}starttls") is None:
            raise UntrustedServer(
                f"{self._place} offers no TLS.", hint="Credentials and incidents are sent over TLS only."
            )
        self.write(f"<starttls xmlns='{TLS}'/>")
        if (await self._next()).tag != f"{{{TLS}}}proceed":
            raise NotConnected(f"{self._place} refuses TLS for {self.default_domain}.")
        transport = self.transport
        if transport is None:
            raise NotConnected(f"{self._place} closed the connection.")
        try:
            secured = await self.loop.start_tls(
                transport,
                cast(asyncio.Protocol, self),
                self._login.tls,
                server_hostname=str(self.default_domain),
                ssl_handshake_timeout=None,
            )
        except ssl.SSLCertVerificationError as error:
            raise UntrustedServer(
                f"{self._place} is not trusted as {self.default_domain}: its certificate is refused"
                f" ({error.verify_message if hasattr(error, 'verify_message') else error.args[-1]}).",
                hint="Nothing was sent. Is this the right server, and `ca` (and the pin) its?",
            ) from None
        except ssl.SSLError as error:
            raise NotConnected(f"TLS with {self._place} failed: {error.reason or error}.") from None
        if secured is None:
            raise NotConnected(f"{self._place} closed the connection in the TLS handshake.")
        self.connection_made(secured, send_event=False)

    async def _authenticate(self) -> None:
        features = await self._next("features")
        offered = {(item.text or "").strip() for item in features.iter(f"{{{SASL}}}mechanism")}
        binding = self._binding()
        login = self._login
        chosen = sasl.choose(
            offered, certificate=login.certificate, password=bool(login.password), binding=binding is not None
        )
        if not chosen:
            raise LoginRefused(
                f"{self._place} offers {', '.join(sorted(offered)) or 'no mechanism'};"
                f" {login.jid} logs in by EXTERNAL with a certificate, or SCRAM with a password.",
                hint="Is the certificate one of the node CA of that host? Give a password otherwise.",
            )
        self.mechanism = chosen
        if chosen == sasl.EXTERNAL:
            await self._answer(f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>=</auth>")
        else:
            await self._scram(chosen, binding)
        self.init_parser()
        self._tags = WholeTags()
        self.write(self.stream_header)

    async def _scram(self, mechanism: str, binding: bytes | None) -> None:
        user = str(self.requested_jid.user)
        scram = sasl.Scram(mechanism, user, self._login.password, nonce=secrets.token_hex(16), binding=binding)
        try:
            done, data = await self._answer(
                f"<auth xmlns='{SASL}' mechanism='{mechanism}'>{_base64(scram.first())}</auth>"
            )
            if done:
                raise sasl.SaslError("it let us in without a challenge")
            done, data = await self._answer(f"<response xmlns='{SASL}'>{_base64(scram.respond(data))}</response>")
            scram.verify(data)
            if not done:
                await self._answer(f"<response xmlns='{SASL}'/>")
        except sasl.SaslError as error:
            raise UntrustedServer(f"{self._place} failed at {mechanism}: {error}.") from None

    async def _answer(self, message: str) -> tuple[bool, bytes]:
        """Send a SASL message; whether it was the last one, and what the server says."""
        self.write(message)
        element = await self._next()
        if element.tag == f"{{{SASL}}}failure":
            names = [child.tag.rpartition("}")[2] for child in element]
            condition = next((name for name in names if name != "text"), "not-authorized")
            text = (element.findtext(f"{{{SASL}}}text") or "").strip()
            what = (
                f"{self._place} did not let {self.requested_jid.bare} in: {condition}{f' ({text})' if text else ''}."
            )
            if condition in TEMPORARY:
                raise NotConnected(what)
            raise LoginRefused(what, hint="Is it the right account, and its certificate or password still valid?")
        if element.tag not in (f"{{{SASL}}}success", f"{{{SASL}}}challenge"):
            raise NotConnected(f"{self._place} does not speak SASL.")
        try:
            data = base64.b64decode((element.text or "").strip().rstrip("=") + "==")
        except binascii.Error:
            raise sasl.SaslError("its message is malformed") from None
        return element.tag == f"{{{SASL}}}success", data

    def _binding(self) -> bytes | None:
        """Channel binding data; Python 3.11 has none for TLS 1.3."""
        tls = self.transport.get_extra_info("ssl_object") if self.transport is not None else None
        if tls is None or tls.version() == "TLSv1.3":
            return None
        return cast("bytes | None", tls.get_channel_binding("tls-unique"))

    async def _begin(self) -> bool:
        """Resume the session, or begin one; whether it was resumed."""
        features = await self._next("features")
        manages = features.find(f"{{{SM}}}sm") is not None
        session, self.session = self.session, None
        if manages and session is not None and session.id:
            self.write(f"<resume xmlns='{SM}' h='{session.tell()}' previd='{quote(session.id)}'/>")
            element = await self._next()
            if element.tag == f"{{{SM}}}resumed":
                again = session.resumed(_number(element))
                if again is None:
                    raise NotConnected(f"{self._place} cannot count the stanzas of {self.requested_jid.bare}.")
                self.session = session
                for stanza in again:
                    self.write(stanza)
                return True
        await self._bind()
        if manages:
            self.write(f"<enable xmlns='{SM}' resume='true'/>")
            element = await self._next()
            if element.tag == f"{{{SM}}}enabled":
                resumable = element.get("resume") in ("true", "1")
                self.session = Management(element.get("id", "") if resumable else "")
        return False

    async def _bind(self) -> None:
        resource = str(self.requested_jid.resource)
        wish = f"<resource>{escape(resource)}</resource>" if resource else ""
        self.write(f"<iq type='set' id='bind'><bind xmlns='{BIND}'>{wish}</bind></iq>")
        element = await self._next()
        bound = element.findtext(f"{{{BIND}}}bind/{{{BIND}}}jid")
        if element.get("type") != "result" or not bound:
            raise NotConnected(f"{self._place} gave {self.requested_jid.bare} no resource.")
        try:
            given = prepare(bound.strip())
        except JidError as error:
            raise NotConnected(f"{self._place} gave {self.requested_jid.bare} no JID: {error.message}") from None
        if given.bare != prepare(self._login.jid).bare:  # servers go by the certificate alone
            raise LoginRefused(
                f"{self._place} takes these credentials for {given.bare}, not for {self.requested_jid.bare}.",
                hint="Give the node its own certificate or password.",
            )
        self.set_jid(given.full)

    async def _next(self, name: str = "") -> Element:
        """The next element of the negotiation."""
        element = await self._elements.get()
        if element is None:
            raise NotConnected(f"{self._place} ended the stream: {self._reason or 'the connection was closed'}.")
        if name and element.tag != f"{{{STREAMS}}}{name}":
            raise NotConnected(f"{self._place} is not an XMPP server.")
        return element

    # Being connected

    @property
    def online(self) -> bool:
        """Whether stanzas can be sent."""
        return self._live and self.transport is not None

    async def lost(self) -> str:
        """Wait until the connection is lost; why."""
        return await asyncio.shield(self._lost)

    def transmit(self, xml: str) -> None:
        """Send a stanza. With stream management it survives the connection."""
        session = self.session
        asks = session is not None and session.sent(xml)
        self.write(xml + f"<r xmlns='{SM}'/>" if asks else xml)

    def write(self, xml: str) -> None:
        """Send `xml` as it stands; nothing happens when there is no connection."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(xml.encode())

    def probe(self) -> None:
        """Have the server say something, if it is alive."""
        if self.session is not None:
            self.write(f"<r xmlns='{SM}'/>")
        else:
            self.write(
                f"<iq type='get' id='probe' to='{quote(str(self.default_domain))}'><ping xmlns='urn:xmpp:ping'/></iq>"
            )

    def give_up(self, reason: str) -> None:
        """End the connection at once; the session can still be resumed."""
        self._reason = self._reason or reason
        self.abort()

    async def close(self) -> None:
        """End the session in order (RFC 6120 §4.4), waiting a moment for the server."""
        if not self.online:
            self.abort()
            return
        self._acknowledge()
        self.write(self.stream_footer)
        self.session = None
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self.lost()
        except TimeoutError:
            self.abort()

    # What slixmpp calls

    def send(self, data: StanzaBase | str, use_filters: bool = True) -> None:
        raise NotImplementedError("the agent sends text")

    def send_raw(self, data: str | bytes) -> None:
        self.write(data if isinstance(data, str) else data.decode())

    def connection_made(self, transport: asyncio.BaseTransport, send_event: bool = True) -> None:
        self._tags = WholeTags()
        self.transport = cast(asyncio.Transport, transport)
        self.init_parser()
        self.write(self.stream_header)

    def data_received(self, data: bytes | str) -> None:
        self.heard += 1
        whole = self._tags.take(data.encode() if isinstance(data, str) else data)
        parser = self.parser
        if parser is None:
            return
        if self.xml_depth == 0 and b"<!" in whole:  # restricted-xml, RFC 6120 §11.1
            self.give_up("it sent a DOCTYPE or a comment")
            return
        try:
            parser.feed(whole)
            for event, element in cast(Any, parser.read_events()):
                if self.parser is not parser:
                    return
                self._event(event, element)
        except ParseError as error:
            self.give_up(f"it sent XML that is not well-formed ({error})")
        if len(self._tags) > LONGEST_TAG:
            self.give_up("it sent a tag without an end")

    def _event(self, event: str, element: Element) -> None:
        if event == "start":
            if self.xml_depth == 0:
                self.xml_root = element
            self.xml_depth += 1
            return
        self.xml_depth -= 1
        if self.xml_depth == 0:
            self.give_up("it closed the stream")
        elif self.xml_depth == 1:
            if self.xml_root is not None:
                self.xml_root.remove(element)
            if element.tag == STREAM_ERROR:
                names = [child.tag.rpartition("}")[2] for child in element]
                self._reason = f"stream error {', '.join(name for name in names if name != 'text')}"
            elif self._live:
                self._take(element)
            else:
                self._elements.put_nowait(element)

    def _take(self, element: Element) -> None:
        if element.tag in STANZAS:
            session = self.session
            number = session.received() if session is not None else 0
            if number is None:
                return
            try:
                self._on_stanza(element, lambda: self._handled(session, number))
            except Exception:
                log.exception("A stanza was dropped because its handler failed.")
                self._handled(session, number)
        elif element.tag == f"{{{SM}}}r":
            self._acknowledge()
        elif (
            element.tag == f"{{{SM}}}a"
            and self.session is not None
            and not self.session.acknowledged(_number(element))
        ):
            self.give_up("it acknowledged what was never sent")

    def _handled(self, session: Management | None, number: int) -> None:
        if session is not None and session.handled(number) and session is self.session and self.online:
            self._acknowledge()

    def _acknowledge(self) -> None:
        if self.session is not None:
            self.write(f"<a xmlns='{SM}' h='{self.session.tell()}'/>")

    def connection_lost(self, exception: BaseException | None) -> None:
        self._live = False
        self.parser = None
        self.transport = None
        self._elements.put_nowait(None)
        if not self._lost.done():
            self._lost.set_result(self._reason or (str(exception) if exception else "it closed the connection"))

    def abort(self) -> None:
        """Drop the connection without a word."""
        if self.transport is not None:
            self.transport.abort()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _number(element: Element) -> int:
    text = element.get("h", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else -1
