"""Servers in which every byte is the test's: an attacker that connects, a partner that accepts. Each step is a call.

Over real TLS, with certificates of every kind.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import socket
import ssl
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import Self
from xml.sax.saxutils import quoteattr

from component.relay import ns
from stanzagate.sandbox.network import S2S_PORT
from stanzagate.sandbox.wire import Stream, StreamFailed

PATIENCE = 20.0
STARTTLS = f"<starttls xmlns='{ns.TLS}'><required/></starttls>"
EXTERNAL = f"<mechanisms xmlns='{ns.SASL}'><mechanism>EXTERNAL</mechanism></mechanisms>"
BIDI = f"<bidi xmlns='{ns.BIDI_FEATURE}'/>"
DIALBACK = f"<dialback xmlns='{ns.DIALBACK_FEATURE}'><errors/></dialback>"
_CONDITION = re.compile(r"closed the stream: ([\w-]+)\.")


class Peer(Stream):
    """One end of a stream between servers.

    :ivar domain: who it says it is.
    :ivar other: who the other end is, as far as we are concerned.
    :ivar offered: the features that were offered last.
    :ivar seen: what came while something else was waited for.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, domain: str, other: str) -> None:
        super().__init__(reader, writer, other)
        self.domain, self.other = domain, other
        self.offered = ET.Element("none")
        self.seen: list[ET.Element] = []

    @classmethod
    async def to(cls, address: str, domain: str, other: str, origin: str = "") -> Self:
        """Connect, and say nothing.

        :param origin: the loopback address that it comes from.
        """
        reader, writer = await asyncio.open_connection(address, S2S_PORT, local_addr=(origin, 0) if origin else None)
        return cls(reader, writer, domain, other)

    # Writing

    async def write(self, *data: str | bytes) -> None:
        """Write bytes as they stand, in one piece."""
        self._writer.write(b"".join(item.encode() if isinstance(item, str) else item for item in data))
        with contextlib.suppress(OSError):
            await self._writer.drain()

    async def slowly(self, data: str) -> None:
        """Write one byte at a time, under TLS each in a record of its own."""
        for byte in data.encode():
            await self.write(bytes((byte,)))
            await asyncio.sleep(0)

    def header(self, **attributes: str | None) -> str:
        """A stream header; None leaves an attribute out."""
        usual = {"from": self.domain, "to": self.other, "version": "1.0", "xml:lang": "en"}
        given = usual | {name.removesuffix("_"): value for name, value in attributes.items()}
        text = " ".join(f"{name}={quoteattr(value)}" for name, value in given.items() if value is not None)
        return (
            f"<?xml version='1.0'?><stream:stream xmlns='{ns.SERVER}' xmlns:stream='{ns.STREAM}' "
            f"xmlns:db='{ns.DIALBACK}' {text}>"
        )

    def half_close(self) -> None:
        """End our side of the TCP connection, below TLS; the other side may go on."""
        self._writer.get_extra_info("socket").shutdown(socket.SHUT_WR)

    # Reading

    async def element(self) -> ET.Element:
        """The next child of the stream, stanza or not."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await super().element()
            except ET.ParseError as error:
                raise StreamFailed(f"{self.other} sent something else than XML: {error}") from None

    async def next(self, wanted: str | Callable[[ET.Element], object]) -> ET.Element:
        """The first element with that local name, or for which that is true; what came before is in `seen`."""
        check = wanted if callable(wanted) else lambda element: _local(element) == wanted
        while True:
            element = await self.element()
            if check(element):
                return element
            self.seen.append(element)

    async def ended(self) -> str:
        """Wait for the end of the stream: the condition of the stream error, empty when there was none."""
        try:
            while True:
                self.seen.append(await self.element())
        except StreamFailed as error:
            found = _CONDITION.search(str(error))
            return found[1] if found else ""

    async def _read_header(self) -> None:
        self._parser = ET.XMLPullParser(("start", "end"))
        self._depth = 0
        async with asyncio.timeout(PATIENCE):
            _, element = await self._event()
        assert element.tag == f"{{{ns.STREAM}}}stream", element.tag
        self._depth = 1
        self.attributes = dict(element.attrib)

    # The one that connects

    async def begin(self, **attributes: str | None) -> ET.Element:
        """Open the stream (again); the features that are offered."""
        await self.write(self.header(**attributes))
        await self._read_header()
        self.offered = await self.element()
        assert self.offered.tag == f"{{{ns.STREAM}}}features", self.offered.tag
        return self.offered

    async def secure(self, context: ssl.SSLContext) -> None:
        """STARTTLS, and open the stream again."""
        await self.start_tls(self.other, context)
        await self.begin()

    async def start_tls_as_asked(self, last: str, context: ssl.SSLContext) -> None:
        """Write the last bytes of a ``<starttls/>``, and negotiate."""
        await self.write(last)
        answer = await self.element()
        assert answer.tag == f"{{{ns.TLS}}}proceed", answer.tag
        async with asyncio.timeout(PATIENCE):
            await self._writer.start_tls(context, server_hostname=self.other)

    async def external(self, authzid: str | None = None) -> str:
        """SASL EXTERNAL; the condition of the failure, empty when it succeeded, and the stream is open again."""
        name = self.domain if authzid is None else authzid
        text = base64.b64encode(name.encode()).decode() or "="
        await self.write(f"<auth xmlns='{ns.SASL}' mechanism='EXTERNAL'>{text}</auth>")
        answer = await self.element()
        if _local(answer) == "failure":
            return _local(answer[0])
        assert answer.tag == f"{{{ns.SASL}}}success", answer.tag
        await self.begin()
        return ""

    async def ask_bidi(self) -> None:
        """Say that stanzas may come back on this stream."""
        await self.write(f"<bidi xmlns='{ns.BIDI}'/>")

    # Either

    async def result(self, key: str = "", *, type: str = "", sender: str = "", to: str = "", id: str = "") -> None:
        """Write a ``db:result``: with a key, or with an outcome."""
        await self.write(self._dialback("result", key, type, sender, to, id))

    async def verify(self, key: str = "", *, type: str = "", sender: str = "", to: str = "", id: str = "") -> None:
        """Write a ``db:verify``: with a key, or with an outcome."""
        await self.write(self._dialback("verify", key, type, sender, to, id))

    def _dialback(self, name: str, key: str, type: str, sender: str, to: str, id: str) -> str:
        given = {"from": sender or self.domain, "to": to or self.other, "type": type, "id": id}
        text = " ".join(f"{name}={quoteattr(value)}" for name, value in given.items() if value)
        return f"<db:{name} {text}>{key}</db:{name}>"

    # The one that accepts

    async def offer(self, *features: str, id: str = "stream-1", **attributes: str | None) -> None:
        """Read the header, answer it, offer these features. `domain` and `other` are those of the header."""
        await self._read_header()
        self.domain = self.attributes.get("to", self.domain)
        self.other = self.attributes.get("from", self.other)
        text = f"<stream:features>{''.join(features)}</stream:features>"
        await self.write(self.header(**{"id": id, **attributes}), text)

    async def take_starttls(self, context: ssl.SSLContext) -> None:
        """Read ``<starttls/>`` and negotiate."""
        asked = await self.element()
        assert asked.tag == f"{{{ns.TLS}}}starttls", asked.tag
        await self.write(f"<proceed xmlns='{ns.TLS}'/>")
        async with asyncio.timeout(PATIENCE):
            await self._writer.start_tls(context)

    async def take_external(self) -> ET.Element:
        """Read what comes up to ``<auth/>``, and accept it; `seen` has a ``<bidi/>`` that came before."""
        auth = await self.next("auth")
        await self.write(f"<success xmlns='{ns.SASL}'/>")
        return auth

    async def take_result(self, type: str = "valid") -> ET.Element:
        """Read what comes up to ``db:result``, and answer it."""
        asked = await self.next("result")
        await self.result(type=type, sender=asked.get("to", ""), to=asked.get("from", ""))
        return asked


def _local(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]
