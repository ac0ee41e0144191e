"""Telling a web service of something: JSON documents, one POST each, in order.

The queue is bounded, nothing here waits for anybody, and what cannot be delivered is tried again with growing pauses:
for as long as the service cannot be reached, `ANSWERED_TRIES` times when it answers with an error that may pass. A
redirect is not followed, so no address but the configured one is ever asked, and TLS certificates are verified. The
address may carry a secret in its path; it appears in no log.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import ssl
from collections import deque
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import httpx

from component.base.errors import InputError

log = logging.getLogger(__name__)

QUEUE = 1_000
"""Documents that wait; what comes while so many wait is dropped and counted."""

DELAYS = (1.0, 2.0, 5.0, 15.0, 60.0)
"""Seconds between two tries; the last one again and again."""

ANSWERED_TRIES = 5
PATIENCE = 1.0
TIMEOUT = 10.0
"""Seconds for one try, all in all."""

_PASSING = frozenset((408, 425, 429, 500, 502, 503, 504))


class _Result(Enum):
    DELIVERED = "delivered"
    UNREACHABLE = "unreachable"
    LATER = "later"
    REFUSED = "refused"


class Webhook:
    """One web service.

    :param address: ``https://…``, or ``http://…`` of a loopback address.
    :param context: what TLS certificates are verified with; by default the authorities of the machine.
    :param delays: seconds between tries, for tests.
    :ivar where: scheme, host and port, for people.
    :raises InputError: the address cannot be used.
    """

    def __init__(
        self, address: str, *, context: ssl.SSLContext | None = None, delays: Sequence[float] = DELAYS
    ) -> None:
        self._url = parse_address(address)
        self.where = f"{self._url.scheme}://{self._url.netloc.decode()}"
        self._context = context
        self._delays = tuple(delays)
        self._queue: deque[bytes] = deque()
        self._wanted = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._failing = False
        self.delivered = 0
        self.refused = 0
        """Documents that the service would not take."""
        self.dropped = 0
        """Documents for which there was no room."""

    @property
    def waiting(self) -> int:
        """How many documents wait."""
        return len(self._queue)

    def put(self, document: Mapping[str, Any]) -> None:
        """Queue a document; never blocks, and never raises."""
        if len(self._queue) >= QUEUE:
            self.dropped += 1
            return
        self._queue.append(json.dumps(document, ensure_ascii=True, default=str).encode())
        self._idle.clear()
        self._wanted.set()

    async def run(self) -> None:
        """Deliver what is queued, until cancelled."""
        context = self._context or ssl.create_default_context()
        # The transport alone: no redirects, cookies, proxies of the environment, and no log line with the address.
        async with httpx.AsyncHTTPTransport(verify=context, retries=0) as transport:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                while self._queue:
                    await self._deliver(transport, self._queue[0])
                    self._queue.popleft()
                self._idle.set()

    async def drain(self, timeout: float) -> None:
        """Wait until everything is delivered, `timeout` seconds at most; a moment only while deliveries fail."""
        try:
            async with asyncio.timeout(min(timeout, PATIENCE) if self._failing else timeout):
                await self._idle.wait()
        except TimeoutError:
            log.warning("%d alerts were not delivered to %s.", len(self._queue), self.where)

    async def _deliver(self, transport: httpx.AsyncHTTPTransport, body: bytes) -> None:
        """Try until the document is delivered, or it is clear that it will not be."""
        tries = answered = 0
        while True:
            result, reason = await self._post(transport, body)
            if result is _Result.DELIVERED:
                self._recovered()
                self.delivered += 1
                return
            self._complain(reason)
            answered += result is _Result.LATER
            if result is _Result.REFUSED or answered >= ANSWERED_TRIES:
                self.refused += 1
                return
            await asyncio.sleep(self._delays[min(tries, len(self._delays) - 1)])
            tries += 1

    async def _post(self, transport: httpx.AsyncHTTPTransport, body: bytes) -> tuple[_Result, str]:
        headers = {"content-type": "application/json", "user-agent": "stanzagate", "accept": "*/*"}
        timeouts = httpx.Timeout(TIMEOUT).as_dict()
        request = httpx.Request("POST", self._url, headers=headers, content=body, extensions={"timeout": timeouts})
        try:
            async with asyncio.timeout(TIMEOUT):
                response = await transport.handle_async_request(request)
                await response.aclose()  # what it says is not read: it could be long
        except (TimeoutError, httpx.TimeoutException):
            return _Result.UNREACHABLE, f"no answer within {TIMEOUT:g} s"
        except (httpx.HTTPError, OSError) as error:
            return _Result.UNREACHABLE, str(error) or type(error).__name__
        return _judge(response.status_code)

    def _complain(self, reason: str) -> None:
        if not self._failing:
            log.warning("Alerts cannot be delivered to %s: %s. This is said once.", self.where, reason)
        self._failing = True

    def _recovered(self) -> None:
        if self._failing:
            log.info("Alerts are delivered to %s again.", self.where)
        self._failing = False


def parse_address(address: str) -> httpx.URL:
    """The address of a web service.

    :raises InputError: it is not ``https``, nor ``http`` on a loopback address, or carries a user name. The message
        does not show it.
    """
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        raise InputError("The webhook's address is not a URL.") from None
    if not url.host or url.scheme not in ("https", "http"):
        raise InputError("The webhook's address must begin with https:// and name a host.")
    if url.scheme == "http" and not _loopback(url.host):
        raise InputError("The webhook's address must be https://; plain http:// is for loopback addresses.")
    if url.userinfo:
        raise InputError("The webhook's address must not hold a user name.", hint="Put a token into its path.")
    return url.copy_with(fragment=None)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _judge(status: int) -> tuple[_Result, str]:
    if 200 <= status < 300:
        return _Result.DELIVERED, ""
    if 300 <= status < 400:
        return _Result.REFUSED, f"it redirects ({status}), which is not followed; configure the address itself"
    if status in _PASSING:
        return _Result.LATER, f"it answers {status}"
    return _Result.REFUSED, f"it answers {status}"
