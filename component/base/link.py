"""The link: the attachment of one component to its server (XEP-0114), kept up for as long as the service runs.

A link connects, reconnects with jittered back-off, asks and is answered (`component.base.correlate`), keeps a bounded
number of stanzas while the server is away, and drains before it closes. It knows nothing about what it carries.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from enum import Enum
from secrets import token_hex
from typing import Any
from xml.etree.ElementTree import Element

from component.base.correlate import Answer, OnAnswer, Requests
from component.base.errors import StanzaError, StanzagateError, Unreachable
from component.base.stanzas import IQ, error_info, quote
from component.base.stream import ComponentStream

log = logging.getLogger(__name__)

Spawn = Callable[[str, Coroutine[Any, Any, None]], object]
"""Starts a background task in the task group of `serve`."""

FIRST_DELAY = 0.1
LONGEST_DELAY = 2.0
CONNECT_TIMEOUT = 4.0
"""Seconds, like the delays: together they bring a link back within five seconds of its server."""

CLOSE_TIMEOUT = 2.0
QUIET = 0.25
"""Seconds without a new request after which a stream that drains is closed."""

WATCH = 30.0
"""Seconds after which a link looks whether its server is still alive."""

LARGEST = 500_000
"""Bytes of a stanza. Prosody ends the stream of a component that sends more than 512 KiB in one (its
`component_stanza_size_limit`), and everybody's requests with it."""

ROOM = 10_000
"""Bytes of a request beside its payload, at most: two addresses of 3,071 and an id."""

QUEUE_LIMIT = 10_000
QUEUE_BYTES = 16 * 1024 * 1024
PENDING_LIMIT = 100_000


class LinkState(Enum):
    """Where a link stands."""

    DETACHED = "detached"
    ATTACHED = "attached"
    DRAINING = "draining"
    CLOSED = "closed"


class NoAnswer(StanzagateError):
    """A request was not answered in time."""


@dataclass(slots=True)
class LinkCounters:
    """What a link has done; plain integers, read when metrics are scraped."""

    attached: int = 0
    lost: int = 0
    queued_dropped: int = 0
    too_large: int = 0


class Link:
    """One attachment.

    :param jid: the component's domain.
    :param secret: the shared secret (XEP-0114 §3).
    :param host: the server's address; component streams are plain text, so loopback or a tunnel.
    :param port: the port of the component listener.
    :param on_stanza: called with every stanza that is not an answer to a request of this link; returns whether it
        was claimed. What nobody claims goes to slixmpp's plugins.
    :param spawn: starts a background task.
    :param plugins: slixmpp plugins with their configuration, for example ``{"xep_0092": {...}}``.
    :param name: what log lines call this link, for example ``gate``.
    """

    def __init__(
        self,
        jid: str,
        secret: str,
        host: str,
        port: int,
        *,
        on_stanza: Callable[[Element], bool],
        spawn: Spawn,
        plugins: dict[str, dict[str, Any]] | None = None,
        name: str = "component",
    ) -> None:
        self.jid = jid
        self.host = host
        self.port = port
        self.name = name
        self.state = LinkState.DETACHED
        self.counters = LinkCounters()
        self.attached = asyncio.Event()
        self.watchers: list[Callable[[bool], None]] = []
        """Told when the link has been attached (True) or lost (False); they must not fail."""
        self.stream = ComponentStream(jid, secret, on_stanza=self._received, on_ready=self._ready, on_lost=self._lost)
        for plugin, settings in (plugins or {}).items():
            self.stream.register_plugin(plugin, settings)
        self.stream.init_plugins()  # type: ignore[no-untyped-call]
        self._on_stanza = on_stanza
        self._spawn = spawn
        self.requests = Requests()
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._opened: asyncio.Future[bool] | None = None
        self._ended = asyncio.Event()
        self._reason = ""
        self._said = ""
        self._taken = 0
        self._ended_by_us = False

    # Connecting

    async def run(self) -> None:
        """Keep the attachment up until `close` is called or the task is cancelled."""
        sending = self._spawn(f"{self.name}.stream", self.stream.run_filters())
        delay = FIRST_DELAY
        try:
            while not self.closed:
                if await self._attach():
                    delay = FIRST_DELAY
                    await self._stay()
                if self.closed:
                    break
                if self.state is not LinkState.DRAINING:
                    self._complain()
                await asyncio.sleep(random.uniform(delay / 2, delay))  # noqa: S311  # spreads load, protects nothing
                delay = min(delay * 2, LONGEST_DELAY)
        finally:
            self.stream.abort()
            if isinstance(sending, asyncio.Task):
                sending.cancel()  # slixmpp's loop never ends by itself, and the task group would wait for it

    @property
    def closed(self) -> bool:
        """Whether the link has ended for good."""
        return self.state is LinkState.CLOSED

    async def _attach(self) -> bool:
        self._ended.clear()
        loop = asyncio.get_running_loop()
        self._opened = loop.create_future()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await loop.create_connection(lambda: self.stream, self.host, self.port)
                return await self._opened
        except TimeoutError:
            self._reason = f"no answer within {CONNECT_TIMEOUT:g} s"
            self.stream.abort()
        except OSError as error:
            self._reason = error.strerror or str(error)
        return False

    async def _stay(self) -> None:
        """Wait for the end of the connection; end it when the server is there but dead."""
        while not self._ended.is_set():
            try:
                async with asyncio.timeout(WATCH):
                    await self._ended.wait()
            except TimeoutError:
                if self.state is LinkState.ATTACHED and not await self._barrier() and self.attached.is_set():
                    self.stream.give_up(f"the server did not answer within {CONNECT_TIMEOUT:g} s")

    def _ready(self) -> None:
        if self.state is LinkState.DETACHED:
            self.state = LinkState.ATTACHED
        self.counters.attached += 1
        self._said = ""
        self.attached.set()
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(True)
        log.info("%s: attached to %s:%d as %s.", self.name, self.host, self.port, self.jid)
        queued, self._queue, self._queued_bytes = self._queue, deque(), 0
        for data in queued:
            self.stream.write(data)
        for watcher in self.watchers:
            watcher(True)

    def _lost(self, reason: str) -> None:
        self._reason = reason
        was_attached = self.attached.is_set()
        self.counters.lost += was_attached
        self.attached.clear()
        if self.state is LinkState.ATTACHED:
            self.state = LinkState.DETACHED
        if was_attached:
            for watcher in self.watchers:
                watcher(False)
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(False)
        self.requests.wake()
        self._ended.set()

    def _complain(self) -> None:
        """Say why the link is down, once; what the server itself says against us is worth a second line."""
        hint = ""
        if "not-authorized" in self._reason:
            hint = " Is the secret the one in the server's configuration?"
        elif "conflict" in self._reason:
            hint = " Is another program attached under this name?"
        what = hint or "away"
        if self._said == what or (self._said and not hint):
            return
        self._said = what
        log.warning(
            "%s: not attached to %s:%d as %s: %s.%s Trying again until it works; this is said once.",
            self.name, self.host, self.port, self.jid, self._reason.rstrip("."), hint,
        )  # fmt: skip

    # Sending

    def send(self, stanza: str) -> None:
        """Send a serialised stanza, or keep it while the server is away (the newest `QUEUE_LIMIT` are kept).

        :param stanza: one complete element without namespace declaration of its own; one of more than `LARGEST` bytes
            is dropped, because it would end the stream.
        """
        data = stanza.encode()
        if len(data) > LARGEST:
            self.counters.too_large += 1
            log.error("%s: a stanza of %d bytes was not sent; %d is the limit.", self.name, len(data), LARGEST)
            return
        if self.attached.is_set():
            self.stream.write(data)
            return
        self._queue.append(data)
        self._queued_bytes += len(data)
        while len(self._queue) > QUEUE_LIMIT or self._queued_bytes > QUEUE_BYTES:
            self._queued_bytes -= len(self._queue.popleft())
            self.counters.queued_dropped += 1

    def request(
        self, to: str, payload: str, on_answer: OnAnswer, *, timeout: float, sender: str, kind: str = "get"
    ) -> None:
        """Send an IQ and call `on_answer` exactly once: with the answering stanza, or with `Answer`.

        :param to: prepared address; the answer must come from exactly there.
        :param payload: the serialised child element.
        :param timeout: seconds.
        :param sender: an address of this component.
        :param kind: ``get`` or ``set``.
        """
        # A request that waited for the server could reach the device after its time was over.
        if self.closed or not self.attached.is_set():
            on_answer(Answer.UNREACHABLE)
            return
        if len(self.requests) >= PENDING_LIMIT:
            on_answer(Answer.OVERLOAD)
            return
        if len(payload) > LARGEST // 2 and len(payload.encode()) > LARGEST - ROOM:
            on_answer(Answer.OVERLOAD)
            return
        request_id = self.requests.add(to, on_answer, timeout)
        self.send(f"<iq type='{kind}' id='{request_id}' from='{quote(sender)}' to='{quote(to)}'>{payload}</iq>")

    async def iq(self, to: str, payload: str, *, timeout: float, sender: str = "", kind: str = "get") -> Element:
        """Send an IQ and wait for its result.

        :returns: the answering stanza, of type ``result``.
        :raises StanzaError: the answer was an error.
        :raises NoAnswer: nobody answered within `timeout` seconds.
        :raises Unreachable: the link is not attached.
        """
        if not self.attached.is_set():
            raise Unreachable(f"The server at {self.host}:{self.port} is away.", hint="Is it running?")
        answered: asyncio.Future[Element | Answer] = asyncio.get_running_loop().create_future()

        def on_answer(answer: Element | Answer) -> None:
            if not answered.done():
                answered.set_result(answer)

        self.request(to, payload, on_answer, timeout=timeout, sender=sender or self.jid, kind=kind)
        answer = await answered
        if answer is Answer.OVERLOAD:
            raise NoAnswer(f"{to} was not asked: too many requests are outstanding, or this one is too large.")
        if isinstance(answer, Answer):
            raise NoAnswer(f"{to} did not answer within {timeout:g} s.")
        if answer.get("type") == "error":
            raise StanzaError(error_info(answer))
        return answer

    # Receiving

    def _received(self, element: Element) -> bool:
        if element.tag == IQ and element.get("type") in ("result", "error"):
            self.requests.answered(element)
            return True
        self._taken += 1
        return self._on_stanza(element)

    @property
    def pending(self) -> int:
        """How many requests wait for an answer."""
        return len(self.requests)

    @property
    def queued(self) -> int:
        """How many stanzas wait for the server to come back."""
        return len(self._queue)

    # Closing

    async def drain(self, timeout: float) -> None:
        """Answer what has been asked, `timeout` seconds at most, then close the stream.

        `on_stanza` goes on being called, so that every request that the server hands over before it has seen the end
        of the stream can be answered; it should refuse new work by now. Answers to what came after we had said our
        last word on a stream are sent on one more.
        """
        self.state = LinkState.DRAINING
        try:
            async with asyncio.timeout(timeout):
                await self._settle()
                await self._end()
                while self._queue and not self._reason_to_give_up:
                    await self.attached.wait()
                    await self._settle()
                    await self._end()
        except TimeoutError:
            log.warning("%s: %d requests were still without an answer.", self.name, self.pending + self.queued)
        self.state = LinkState.CLOSED
        self.requests.give_up()
        await self._end()
        self.stream.abort()
        self._ended.set()

    @property
    def _reason_to_give_up(self) -> bool:
        """Whether the server went away by itself, and the requesters with it."""
        return not self.attached.is_set() and not self._ended_by_us

    async def _settle(self) -> None:
        """Wait until nothing is outstanding and nothing new came in for a moment, or the server has gone.

        ejabberd's component process ends at our last word and takes with it what it has not written yet, so the
        stream is not closed in the middle of a burst.
        """
        while self.attached.is_set():
            await self._answers()
            taken = self._taken
            await asyncio.sleep(QUIET)
            await self._barrier()
            if taken == self._taken and not self.requests:
                return

    async def _end(self) -> None:
        """Close the stream, and read on until the server has closed it, too (RFC 6120 §4.4)."""
        self._ended_by_us = self.attached.is_set()
        if not self._ended_by_us:
            return
        self.attached.clear()  # what is sent from now on waits in the queue
        self.stream.end()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT):
                await self._ended.wait()
        except TimeoutError:
            self.stream.abort()
            await self._ended.wait()

    async def _answers(self) -> None:
        """Wait until nothing is outstanding, or the connection is lost."""
        while self.requests and self.attached.is_set():
            await self.requests.change()

    async def _barrier(self) -> bool:
        """Wait until everything has arrived that the server had for us when this was called.

        A result that nobody asked for, from us to us, comes back behind it, because the server writes to one
        connection.

        :returns: whether it came back in time.
        """
        answers: list[Element | Answer] = []
        address = f"drain@{self.jid}/{token_hex(4)}"
        request_id = self.requests.add(address, answers.append, CONNECT_TIMEOUT)
        self.send(f"<iq type='result' id='{request_id}' from='{address}' to='{address}'/>")
        while not answers and self.attached.is_set():
            await self.requests.change()
        return bool(answers) and not isinstance(answers[0], Answer)
