"""Numbered stanzas without an end, and what has become of each."""

from __future__ import annotations

import asyncio
import contextlib
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import AsyncIterator

from stanzagate.sandbox.wire import Stream, StreamFailed
from tests.interop.clients import CLIENT
from tests.interop.conftest import Sandbox
from tests.interop.puppet import until
from tests.interop.rawclient import RawClient, authenticated, beside, bind, context, reading, request

WINDOW = 20


class Client(RawClient):
    """A client that counts what comes, by id.

    :ivar messages: those that were sent to it.
    :ivar asked: iqs that were sent to it; it answers each with a result.
    :ivar results: of its own iqs; `errors` of those, and of its messages.
    """

    def __init__(self, jid: str, stream: Stream) -> None:
        super().__init__(jid, stream)
        self.messages: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()
        self.results: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()

    def _received(self, stanza: ET.Element) -> None:
        kinds = {"result": self.results, "error": self.errors}
        others = self.messages if stanza.tag == f"{{{CLIENT}}}message" else self.asked
        if id := stanza.get("id"):
            kinds.get(stanza.get("type", ""), others)[id] += 1
        super()._received(stanza)

    async def over(self) -> None:
        """Wait until the connection is lost."""
        while not self.ended:
            self._arrived.clear()
            await self._arrived.wait()


@contextlib.asynccontextmanager
async def counting(sandbox: Sandbox, name: str) -> AsyncIterator[Client]:
    """An account, online and available."""
    row = sandbox.account(name)
    stream = await authenticated(sandbox, row["jid"], row["password"], context(sandbox))
    client = Client(await bind(stream, "numbers"), stream)
    async with reading(client, stream):
        await client.send_raw("<presence/>")
        yield client


class Receiver:
    """An account that comes online again when its server is back.

    :ivar sessions: the clients that it has been, oldest first; all have the same full JID.
    """

    def __init__(self, sandbox: Sandbox, name: str) -> None:
        self._sandbox, self._name = sandbox, name
        self.sessions: list[Client] = []

    @property
    def jid(self) -> str:
        """Its full JID."""
        return self.sessions[0].jid

    @property
    def messages(self) -> Counter[str]:
        """What has come to any of them."""
        return sum((client.messages for client in self.sessions), Counter())

    @property
    def asked(self) -> Counter[str]:
        """Likewise."""
        return sum((client.asked for client in self.sessions), Counter())

    async def run(self) -> None:
        """Be online until cancelled."""
        while True:
            with contextlib.suppress(StreamFailed, OSError):
                async with counting(self._sandbox, self._name) as client:
                    self.sessions.append(client)
                    await client.over()
            await asyncio.sleep(0.05)


class Traffic:
    """What one client sends to another: an iq and a message for each number.

    :ivar sent: how many numbers.
    """

    def __init__(self, sender: Client, receiver: Client | Receiver) -> None:
        self.sender, self.receiver = sender, receiver
        self.sent = self.forgotten = 0

    async def run(self) -> None:
        """Send until cancelled, a few at a time."""
        while True:
            await until(lambda: len(self._missing(self.forgotten, self.sent)) < WINDOW)
            number = self.sent
            self.sent += 1
            message = f"<message id='m{number}' to='{self.receiver.jid}' type='chat'><body>{number}</body></message>"
            await self.sender.send_raw(request(self.receiver.jid, f"i{number}") + message)

    def forget(self) -> int:
        """Wait no more for what is on its way now; the first number that was not yet sent."""
        self.forgotten = self.sent
        return self.sent

    def _missing(self, since: int, end: int) -> set[str]:
        """What has neither arrived nor come back of the numbers from one to before another."""
        sent = {f"{kind}{number}" for kind in "im" for number in range(since, end)}
        return sent.difference(self.receiver.messages, self.receiver.asked, self.sender.errors)

    async def passes(self, count: int = WINDOW) -> None:
        """Wait until so many more were answered by the other end."""
        before = len(self.sender.results)
        await until(lambda: len(self.sender.results) >= before + count)

    async def settled(self, since: int = 0, until_sent: int = 0) -> None:
        """Wait until something has become of everything, and see that nothing was delivered twice.

        An answer may be lost with who was to carry it: nobody answers an answer. What was on its way to somebody who
        broke down may come back twice, from both who had it.

        :param since: of smaller numbers some may be lost, though none below `until_sent`.
        """
        way = f"{self.sender.jid} to {self.receiver.jid}"

        def lost() -> set[str]:
            return self._missing(since, self.sent) | self._missing(0, until_sent)

        try:
            await until(lambda: not lost())
        except TimeoutError:
            raise AssertionError(f"{way}: of {self.sent} silently lost: {sorted(lost())}") from None
        for name, found in (
            ("messages", self.receiver.messages), ("iqs", self.receiver.asked), ("results", self.sender.results),
        ):  # fmt: skip
            twice = sorted(id for id, count in found.items() if count > 1)
            assert not twice, f"{way}: {name} that came more than once: {twice}"


@contextlib.asynccontextmanager
async def receiving(sandbox: Sandbox, name: str) -> AsyncIterator[Receiver]:
    """An account that is online for as long as the block lasts, whenever its server is."""
    made = Receiver(sandbox, name)
    async with beside(made.run()):
        await until(lambda: made.sessions)
        yield made


@contextlib.asynccontextmanager
async def flowing(sender: Client, receiver: Client | Receiver) -> AsyncIterator[Traffic]:
    """Traffic that is under way, for as long as the block lasts and at least until some more has passed."""
    traffic = Traffic(sender, receiver)
    async with beside(traffic.run()):
        await traffic.passes()
        yield traffic
        await traffic.passes()
