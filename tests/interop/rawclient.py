"""A client in which every byte is the test's: certificate, stream management, a socket that is cut.

It logs in over TLS by SCRAM or EXTERNAL, answers connection requests as a device does that accepts all of them, and
otherwise says only what it is told to say. As a `Requester` it asks like those of the libraries.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import secrets
import ssl
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from stanzagate.sandbox.wire import SASL, Stream, StreamFailed
from tests.interop.clients import CLIENT, CONNECTION_REQUEST, Answer, Requester, payload_xml
from tests.interop.conftest import Sandbox

BIND = "urn:ietf:params:xml:ns:xmpp-bind"
MANAGEMENT = "urn:xmpp:sm:3"
SCRAM = {"sha256": "SCRAM-SHA-256", "sha1": "SCRAM-SHA-1"}
"""Best first."""


class RawClient(Requester):
    """A client that is online.

    :ivar woken: what came with a connection request in it, of any type.
    :ivar ended: why the stream ended; empty while it has not.
    """

    def __init__(self, jid: str, stream: Stream) -> None:
        super().__init__(jid)
        self.woken: list[ET.Element] = []
        self.ended = ""
        self._stream = stream

    async def send_raw(self, xml: str) -> None:
        await self._stream.send(xml)

    async def _send_request(self, to: str, username: str, password: str, id: str) -> Callable[[Answer], None]:
        await self.send_raw(request(to, id, username, password))
        return lambda answer: None

    async def ask(self, to: str, *ids: str) -> list[Answer]:
        """Send a request for each id in one piece, and wait for all answers."""
        await self.send_raw("".join(request(to, id) for id in ids))
        return [await self.answer(id) for id in ids]

    async def read(self) -> None:
        """Take what comes until the stream ends."""
        try:
            while True:
                stanza = await self._stream.element()
                self._received(stanza)
                if stanza.find(f".//{{{CONNECTION_REQUEST}}}connectionRequest") is not None:
                    await self._wake(stanza)
        except StreamFailed as error:
            self.ended = str(error)
            self.lost()

    async def _wake(self, stanza: ET.Element) -> None:
        if stanza.get("type") == "error":
            return  # an answer to this client
        self.woken.append(stanza)
        if stanza.tag == f"{{{CLIENT}}}iq" and stanza.get("type") == "get":
            names = f"id={quoteattr(stanza.get('id', ''))} to={quoteattr(stanza.get('from', ''))}"
            await self.send_raw(f"<iq type='result' {names}/>")

    def cut(self) -> None:
        """Break the connection without a word."""
        self._stream.abort()


def request(to: str, id: str, username: str = "u", password: str = "p") -> str:
    """A connection request in normal form, as it is written."""
    return f"<iq type='get' id={quoteattr(id)} to={quoteattr(to)}>{payload_xml(username, password)}</iq>"


def context(sandbox: Sandbox, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """TLS that verifies the sandbox's server, with a client certificate if one is given."""
    made = ssl.create_default_context(cafile=sandbox.info["ca"])
    if certificate is not None:
        made.load_cert_chain(certificate, key)
    return made


async def authenticated(sandbox: Sandbox, bare: str, password: str, tls: ssl.SSLContext) -> Stream:
    """A stream that is logged in but not bound.

    :param password: empty for EXTERNAL with the certificate that `tls` has.
    """
    user, _, domain = bare.partition("@")
    stream = await Stream.connect(*sandbox.address)
    await stream.open(domain, CLIENT)
    await stream.element()
    await stream.start_tls(domain, tls)
    await stream.open(domain, CLIENT)
    features = await stream.element()
    if password:
        offered = {item.text for item in features.iter(f"{{{SASL}}}mechanism")}
        await _scram(stream, user, password, next(name for name in SCRAM if SCRAM[name] in offered))
    else:
        await _sasl(stream, f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>=</auth>", "success")
    await stream.open(domain, CLIENT)
    await stream.element()
    return stream


async def bind(stream: Stream, resource: str) -> str:
    """Bind a resource (one of the server's choice when it is empty); the full JID."""
    wish = f"<resource>{escape(resource)}</resource>" if resource else ""
    await stream.send(f"<iq type='set' id='bind'><bind xmlns='{BIND}'>{wish}</bind></iq>")
    return "".join((await stream.element()).itertext())


@contextlib.asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do something else for as long as the block lasts. Unlike a task group it leaves a failed assertion as it is."""
    task = asyncio.ensure_future(work)  # noqa: TID251
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        task.result()


@contextlib.asynccontextmanager
async def reading(client: RawClient, stream: Stream) -> AsyncIterator[RawClient]:
    """Have a client take what comes for as long as the block lasts; then it closes the stream."""
    async with beside(client.read()):
        try:
            yield client
        finally:
            await stream.close()


@contextlib.asynccontextmanager
async def online(
    sandbox: Sandbox, name: str, resource: str = "", *, certificate: bool = False, external: bool = False
) -> AsyncIterator[RawClient]:
    """An account of the sandbox, online; devices bind ``tr069`` unless told otherwise.

    :param certificate: show the certificate of a node.
    :param external: log in by it.
    """
    row = sandbox.account(name)
    bare, _, usual = row["jid"].partition("/")
    files = (Path(row["cert"]), Path(row["key"])) if certificate or external else ()
    stream = await authenticated(sandbox, bare, "" if external else row["password"], context(sandbox, *files))
    client = RawClient(await bind(stream, resource or usual), stream)
    async with reading(client, stream):
        yield client


async def _sasl(stream: Stream, xml: str, expected: str) -> bytes:
    await stream.send(xml)
    answer = await stream.element()
    if answer.tag != f"{{{SASL}}}{expected}":
        raise StreamFailed(f"not let in: {ET.tostring(answer, encoding='unicode')}")
    return base64.b64decode(answer.text or "")


async def _scram(stream: Stream, user: str, password: str, name: str) -> None:
    """SCRAM without channel binding (RFC 5802, RFC 7677).

    :param name: of the hash, as Python knows it.
    """
    first = f"n={user},r={secrets.token_hex(12)}"
    begin = base64.b64encode(f"n,,{first}".encode()).decode()
    offer = await _sasl(stream, f"<auth xmlns='{SASL}' mechanism='{SCRAM[name]}'>{begin}</auth>", "challenge")
    values = dict(item.split("=", 1) for item in offer.decode().split(","))
    last = f"c=biws,r={values['r']}"
    salted = hashlib.pbkdf2_hmac(name, password.encode(), base64.b64decode(values["s"]), int(values["i"]))
    key = hmac.digest(salted, b"Client Key", name)
    signed = f"{first},{offer.decode()},{last}".encode()
    signature = hmac.digest(hashlib.new(name, key, usedforsecurity=False).digest(), signed, name)
    proof = base64.b64encode(bytes(one ^ other for one, other in zip(key, signature, strict=True))).decode()
    end = base64.b64encode(f"{last},p={proof}".encode()).decode()
    await _sasl(stream, f"<response xmlns='{SASL}'>{end}</response>", "success")
