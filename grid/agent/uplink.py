"""Keeps a node's connection up, and its requests alive over all the connections that it takes.

After a loss it reconnects with jitter and resumes the session. When the server has forgotten the session, a new one
is begun, `on_session` makes it what the old one was, and requests that may be repeated are sent again. So a request
ends with an answer, or with an error that says that there is none.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from secrets import token_hex
from xml.etree.ElementTree import Element

from grid.agent import stanzas
from grid.agent.errors import AgentError, LoginRefused, NotConnected, Refused, Unconfirmed, refused
from grid.agent.stream import AgentStream, Login

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 15.0
FIRST_DELAY = 0.2
LONGEST_DELAY = 30.0
LASTING = 5.0
"""Seconds. A connection that lasts so long was a good one: the next delay is the first one again."""
PROBE = 60.0
"""Seconds of silence after which the server is asked to say something."""
PROBE_TIMEOUT = 15.0
MOST_REQUESTS = 10_000


@dataclass(slots=True)
class _Request:
    to: str
    text: str
    answered: asyncio.Future[Element]
    repeat: bool
    written: bool = False


class Uplink:
    """
    :param login: as whom.
    :param on_session: awaited with every new session, before anything else is sent; it may use `ask`.
    :param on_stanza: called with every stanza that is not the answer to a request, and what to call once it is
        handled.
    :param uniform: like `random.uniform`.
    :ivar connections: how often the stream has come up; `resumptions`: how often with the session of before.
    :ivar failed: what ended it for good, if anything.
    """

    def __init__(
        self,
        login: Login,
        *,
        on_session: Callable[[], Awaitable[None]],
        on_stanza: Callable[[Element, Callable[[], None]], None],
        on_failed: Callable[[AgentError], None],
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._login = login
        self._on_session = on_session
        self._on_stanza = on_stanza
        self._on_failed = on_failed
        self._uniform = uniform
        self._stream: AgentStream | None = None
        self.connections = 0
        self.resumptions = 0
        self.failed: AgentError | None = None
        self._requests: dict[str, _Request] = {}
        self._prefix = token_hex(4)
        self._number = 0
        self._ready = False

    @property
    def stream(self) -> AgentStream:
        """The stream; it belongs to the event loop in which it is first asked for."""
        if self._stream is None:
            self._stream = AgentStream(self._login, on_stanza=self._received)
        return self._stream

    @property
    def jid(self) -> str:
        """The full JID, as bound."""
        return self._login.jid if self._stream is None else str(self._stream.boundjid.full)

    @property
    def online(self) -> bool:
        """Whether the connection is up."""
        return self._stream is not None and self._stream.online

    # Connecting

    async def begin(self) -> None:
        """Connect for the first time, and begin the session.

        :raises AgentError: it does not work; nothing is tried again.
        """
        await self.stream.open(CONNECT_TIMEOUT)
        self.connections += 1
        await self._on_session()
        self._go()

    async def stay(self) -> None:
        """Stay connected until cancelled, or until the server does not want us any more (see `failed`)."""
        delay, said = FIRST_DELAY, ""
        clock = asyncio.get_running_loop().time
        while self.failed is None:
            since = clock()
            reason = await self._until_lost()
            self._ready = False
            if clock() - since > LASTING:
                delay = FIRST_DELAY
            log.info("%s lost its connection: %s.", self._login.jid, reason)
            if reason == "stream error conflict":
                replaced = f"{self.jid} was replaced by another connection of the same name."
                self.fail(AgentError(replaced, hint="Give each agent of a node a resource of its own."))
            while not self._ready and self.failed is None:
                await asyncio.sleep(self._uniform(delay / 4, delay))
                delay = min(delay * 2, LONGEST_DELAY)
                try:
                    await self._again()
                except (LoginRefused, Refused) as error:
                    self.fail(error)
                except AgentError as error:
                    self.stream.abort()
                    if str(error) != said:
                        log.warning("%s is not connected: %s Trying again.", self._login.jid, error)
                    said = str(error)
                else:
                    said = ""

    async def _again(self) -> None:
        await self.stream.open(CONNECT_TIMEOUT)
        self.connections += 1
        if self.stream.resumed:
            self.resumptions += 1
        else:
            for request in self._requests.values():
                if request.written and not request.repeat:
                    _fail(request, Unconfirmed("The session with its answer was lost.", hint="Ask again."))
                request.written = False
            await self._on_session()
        self._go()

    def _go(self) -> None:
        """Send what has waited."""
        self._ready = True
        for request in self._requests.values():
            if not request.written:
                self._write(request)

    def _write(self, request: _Request) -> None:
        request.written = True
        self.stream.transmit(request.text)

    async def _until_lost(self) -> str:
        """Wait for the end of the connection; end it when the server is there but dead."""
        while self.stream.online:
            heard = self.stream.heard
            try:
                async with asyncio.timeout(PROBE):
                    return await self.stream.lost()
            except TimeoutError:
                if heard != self.stream.heard:
                    continue
            self.stream.probe()
            try:
                async with asyncio.timeout(PROBE_TIMEOUT):
                    return await self.stream.lost()
            except TimeoutError:
                if heard == self.stream.heard:
                    self.stream.give_up("the server does not answer any more")
        return await self.stream.lost()

    def fail(self, error: AgentError) -> None:
        """End for good: whoever waits gets `error`."""
        self.failed = error
        self._ready = False
        self.stream.abort()
        for request in self._requests.values():
            _fail(request, error)
        self._on_failed(error)

    async def close(self) -> None:
        """End the session in order."""
        self._ready = False
        await self.stream.close()
        if self.failed is None:
            self.failed = NotConnected(f"{self._login.jid} has closed its connection.")
        for request in self._requests.values():
            _fail(request, self.failed)

    # Asking

    async def ask(
        self,
        to: str,
        payload: str,
        *,
        what: str,
        timeout: float,
        kind: str = "get",
        repeat: bool = True,
        right: str = "",
    ) -> Element:
        """Send an IQ and wait for its result.

        :param what: what this does, for errors: ``publishing to X``.
        :param timeout: seconds for all of it, reconnecting included.
        :param right: what the node must be permitted for it: ``publish X``.
        :param repeat: whether it may be sent again when a session is lost with its answer.
        :raises Refused: the answer is an error.
        :raises Unconfirmed: there is none.
        :raises NotConnected: it was not even sent.
        """
        if self.failed is not None:
            raise self.failed
        if len(self._requests) >= MOST_REQUESTS:
            raise NotConnected(f"{what[:1].upper()}{what[1:]}: {MOST_REQUESTS} requests wait for an answer already.")
        self._number += 1
        id = f"{self._prefix}-{self._number}"
        answered: asyncio.Future[Element] = asyncio.get_running_loop().create_future()
        request = _Request(to, stanzas.iq(kind, id, to, payload), answered, repeat)
        self._requests[id] = request
        if self._ready:
            self._write(request)
        try:
            async with asyncio.timeout(timeout):
                answer = await answered
        except TimeoutError:
            if request.written:
                raise Unconfirmed(
                    f"{what[:1].upper()}{what[1:]}: no answer within {timeout:g} s.",
                    hint="It may have arrived; repeat it with the same id.",
                ) from None
            raise NotConnected(f"{what[:1].upper()}{what[1:]}: not connected within {timeout:g} s.") from None
        finally:
            self._requests.pop(id, None)
        if answer.get("type") == "error":
            raise refused(what, answer, jid=str(self.stream.requested_jid.bare), right=right)
        return answer

    def send(self, stanza: str) -> None:
        """Send a stanza to which there is no answer; it is lost when there is no session."""
        self.stream.transmit(stanza)

    def _received(self, stanza: Element, handled: Callable[[], None]) -> None:
        if stanza.tag != stanzas.IQ or stanza.get("type") not in ("result", "error"):
            self._on_stanza(stanza, handled)
            return
        handled()
        request = self._requests.get(stanza.get("id", ""))
        if request is None or request.answered.done():
            return
        # without `from` it is the own account that answers (RFC 6120 §8.1.2.1)
        sender = stanza.get("from") or str(self.stream.boundjid.bare)
        if stanzas.same(sender, request.to):
            request.answered.set_result(stanza)


def _fail(request: _Request, error: AgentError) -> None:
    if not request.answered.done():
        request.answered.set_exception(error)
