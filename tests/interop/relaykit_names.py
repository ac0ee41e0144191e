"""A name server that knows what the test says. Where there is none, servers would wait for the machine's own one."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from typing import Self

import dns.exception
import dns.message
import dns.rcode
import dns.rrset
from dns.flags import Flag

from stanzagate.sandbox.network import LOOPBACK


class NameServer:
    """Answers SRV questions over UDP, in a thread of its own, because it outlives the loops of tests.

    :ivar services: owner, as ``_xmpp-server._tcp.DOMAIN``, to the records' texts, as ``0 0 5269 127.0.0.9.``.
        Any other name does not exist. A target may be an address: resolvers hand it on as it stands.
    :ivar asked: every name that was asked for, oldest first.
    """

    def __init__(self) -> None:
        self.services: Mapping[str, list[str]] = {}
        self.asked: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((LOOPBACK, 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return int(self._socket.getsockname()[1])

    def reach(self, places: Mapping[str, tuple[str, int]]) -> None:
        """Know these domains, and no others, from now on."""
        self.services = {
            f"_xmpp-server._tcp.{domain}": [f"0 0 {port} {host}."] for domain, (host, port) in places.items()
        }

    def close(self) -> None:
        """End it."""
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _serve(self) -> None:
        while True:
            data, asker = self._socket.recvfrom(4096)
            if not data:
                return
            try:
                question = dns.message.from_wire(data)
            except dns.exception.DNSException:
                continue
            self._socket.sendto(self._answer(question).to_wire(), asker)

    def _answer(self, question: dns.message.Message) -> dns.message.Message:
        answer = dns.message.make_response(question)
        answer.flags |= Flag.RA
        asked = question.question[0]
        name = str(asked.name).removesuffix(".")
        self.asked.append(name)
        records = self.services.get(name)
        if records is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        else:
            answer.answer.append(dns.rrset.from_text(asked.name, 0, "IN", "SRV", *records))
        return answer
