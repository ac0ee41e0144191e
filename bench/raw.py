"""The baseline: a component of thirty lines on raw expat that answers every IQ, and nothing else.

``python -m bench.raw DOMAIN HOST PORT`` reads its secret from standard input and says
``ready`` when it is attached. It judges nothing and keeps nothing, so
it is the most that a Python component could do on the same server.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
from xml.parsers import expat

ANSWER = (
    "<iq type='error' id='%s' from='%s' to='%s'><error type='auth'>"
    "<forbidden xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
)


class Raw(asyncio.Protocol):
    def __init__(self, domain: str, secret: str) -> None:
        self.domain, self.secret, self.out, self.depth = domain, secret, [], 0
        self.done = asyncio.get_running_loop().create_future()
        self.parser = expat.ParserCreate()
        self.parser.StartElementHandler, self.parser.EndElementHandler = self.start, self.end

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        transport.write(
            b"<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='%s'>"
            % self.domain.encode()
        )

    def data_received(self, data: bytes) -> None:
        self.parser.Parse(data)
        if self.out:
            self.transport.write("".join(self.out).encode())
            self.out.clear()

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if self.depth == 0:
            digest = hashlib.sha1((attributes["id"] + self.secret).encode()).hexdigest()
            self.out.append(f"<handshake>{digest}</handshake>")
        elif name == "handshake":
            print("ready", flush=True)
        elif self.depth == 1 and name == "iq" and attributes["type"] in ("get", "set"):
            self.out.append(ANSWER % (attributes["id"], attributes["to"], attributes["from"]))
        self.depth += 1

    def end(self, _name: str) -> None:
        self.depth -= 1

    def connection_lost(self, _error: Exception | None) -> None:
        self.done.set_result(None)


async def main() -> None:
    domain, host, port = sys.argv[1:]
    secret = sys.stdin.readline().strip()
    _, raw = await asyncio.get_running_loop().create_connection(lambda: Raw(domain, secret), host, int(port))
    await raw.done


if __name__ == "__main__":
    asyncio.run(main())
