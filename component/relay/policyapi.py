"""The relay's connection to the admin API: HTTP on a unix socket, or on TCP with a token.

The one place where the relay speaks HTTP. Whatever can go wrong there becomes one of three errors: `Away`,
nobody answers, so what is known may be used a while longer; `NotAllowed`, we are not let in; `BadAnswer`, somebody
answers what nobody should, so nothing of it is believed. Answers are bounded in size and, by the callers, in time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from component.base.errors import Conflict, StanzagateError, Unreachable

QUESTIONS = 8
"""Connections for questions. More would not be answered faster, and would only crowd out who else uses the API."""

KEPT_SECONDS = 4.0
"""So long an unused connection is kept: less than the five seconds after which the API closes it."""

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 5.0
ANSWER_BYTES = 64 * 1024
LINE_BYTES = 64 * 1024
_LONGEST_NAME = 107  # of a unix socket: unix(7), sun_path


class Away(Unreachable):
    """The admin API does not answer, or cannot do its work."""


class BadAnswer(StanzagateError):
    """The admin API has answered what it should not."""


class NotAllowed(StanzagateError):
    """The admin API does not let us in: an administrator must mend that."""


class PolicyApi:
    """What the relay asks of the admin API. Use one for everything; close it at the end.

    :param name: under which this relay follows and reports; no two relays may have the same.
    :param socket: path of the API's unix socket, or
    :param url: its address, with
    :param token: a token of the role ``relay`` (or ``admin``).
    :raises Unreachable: the folder of a socket with a long path cannot be opened.
    """

    def __init__(self, name: str, *, socket: Path | None = None, url: str = "", token: str = "") -> None:
        self.name = name
        self.where = str(socket) if socket is not None else url
        self._stack = contextlib.ExitStack()
        self._uds = self._short(socket) if socket is not None else None
        self._url = "http://stanzagate" if socket is not None else url
        self._headers = {"Accept-Encoding": "identity", **({"Authorization": f"Bearer {token}"} if token else {})}
        self._asking = self._client(QUESTIONS)
        self._turns = asyncio.Semaphore(QUESTIONS)  # httpx's own queue takes time that grows with its square
        self._following = self._client(4)  # questions must never keep a change from being confirmed
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every address with its query

    def _short(self, socket: Path) -> str:
        if len(os.fsencode(socket)) <= _LONGEST_NAME:
            return str(socket)
        try:
            folder = os.open(socket.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Unreachable(
                f"The folder of the admin socket {socket} cannot be opened: {error.strerror}.",
                hint="Correct relay.policy.socket.",
            ) from None
        self._stack.callback(os.close, folder)
        return f"/proc/self/fd/{folder}/{socket.name}"

    def _client(self, connections: int) -> httpx.AsyncClient:
        limits = httpx.Limits(
            max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=KEPT_SECONDS
        )
        timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
        transport = httpx.AsyncHTTPTransport(uds=self._uds, limits=limits)
        return httpx.AsyncClient(
            transport=transport, base_url=self._url, headers=self._headers, timeout=timeout, trust_env=False
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._asking.aclose()
        await self._following.aclose()
        self._stack.close()

    async def decision(self, requester: str, device: str, partner: str) -> Any:
        """Ask whether a requester may reach a device; whatever JSON is answered, see docs/admin-api.md.

        :raises Away: nobody answers.
        :raises BadAnswer: what is answered is none.
        """
        wanted = {"requester": requester, "device": device, "partner": partner}
        async with self._turns:
            return await self._once_more(self._asking, "GET", "/v1/relay/decision", wanted)

    async def confirm(self, stream: str, epoch: int) -> None:
        """Say that whatever the changes up to an epoch touch is forgotten.

        :raises Conflict: the stream is not the latest one of this relay.
        """
        body = {"relay": self.name, "stream": stream, "epoch": epoch}
        await self._once_more(self._following, "POST", "/v1/relay/confirmations", content=json.dumps(body).encode())

    async def goodbye(self, stream: str) -> None:
        """Say that nothing is remembered any more.

        :raises Conflict: the stream is not the latest one of this relay.
        """
        await self._once_more(self._following, "DELETE", "/v1/relay/changes", {"relay": self.name, "stream": stream})

    async def report(self, batch: str, events: bytes) -> None:
        """Report events for the audit record.

        :param batch: the same when it is repeated.
        :param events: a list, as JSON.
        """
        await self._once_more(
            self._following, "POST", "/v1/relay/events", {"relay": self.name, "batch": batch}, events
        )

    async def changes(self, patience: float) -> AsyncIterator[Any]:
        """The stream of changes, a line at a time, as JSON. Close the generator (`contextlib.aclosing`).

        :param patience: seconds of silence after which the stream is given up.
        :raises Away: it has ended, or cannot be had.
        :raises BadAnswer: it is none.
        """
        timeout = httpx.Timeout(patience, connect=CONNECT_SECONDS)
        with self._mapped():
            async with self._following.stream(
                "GET", "/v1/relay/changes", params={"relay": self.name}, timeout=timeout
            ) as response:
                if not response.is_success:
                    raise _refused(response.status_code, await _bounded(response))
                async for line in _lines(response):
                    yield _json(line)
        raise Away("The stream of changes has ended.")

    async def _once_more(
        self,
        client: httpx.AsyncClient,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> Any:
        """Send a request; a second time when the connection turns out to have been closed meanwhile."""
        try:
            return await self._send(client, method, path, parameters, content)
        except httpx.RemoteProtocolError:  # everything that is asked here may be asked twice
            with self._mapped():
                return await self._send(client, method, path, parameters, content)

    async def _send(
        self,
        client: httpx.AsyncClient,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None,
        content: bytes | None,
    ) -> Any:
        headers = {"Content-Type": "application/json"} if content is not None else None
        with self._mapped(httpx.RemoteProtocolError):
            async with (
                asyncio.timeout(ANSWER_SECONDS),
                client.stream(method, path, params=parameters, content=content, headers=headers) as response,
            ):
                body = await _bounded(response)
        if not response.is_success:
            raise _refused(response.status_code, body)
        return _json(body) if body else None

    @contextlib.contextmanager
    def _mapped(self, *passed: type[Exception]) -> Any:
        """Turn httpx's errors into ours, but those of the types `passed`."""
        try:
            yield
        except passed:
            raise
        except httpx.ConnectError:
            raise Away(f"Nobody answers at {self.where}.", hint="Is `stanzagate serve` running?") from None
        except (httpx.TimeoutException, TimeoutError):
            raise Away(f"The admin API at {self.where} does not answer in time.") from None
        except httpx.TransportError as error:
            raise Away(f"The connection to the admin API at {self.where} broke: {type(error).__name__}.") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise BadAnswer(f"The admin API at {self.where} cannot be used: {type(error).__name__}.") from None


async def _bounded(response: httpx.Response) -> bytes:
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > ANSWER_BYTES:
            raise BadAnswer(f"The admin API has answered more than {ANSWER_BYTES} bytes.")
    return bytes(body)


async def _lines(response: httpx.Response) -> AsyncIterator[bytes]:
    rest = b""
    async for piece in response.aiter_raw():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > LINE_BYTES:
            raise BadAnswer(f"The admin API has sent a line of more than {LINE_BYTES} bytes.")


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise BadAnswer("The admin API has answered what is not JSON.") from None


def _refused(status: int, body: bytes) -> StanzagateError:
    """The error behind an answer that is none. Its text is the API's own."""
    try:
        problem = json.loads(body)
        message, hint = str(problem["message"])[:500], str(problem.get("hint", ""))[:500]
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        message, hint = f"The admin API has answered with the status {status}.", ""
    if status >= 500:
        return Away(message, hint=hint)
    if status == 409:
        return Conflict(message, hint=hint)
    return NotAllowed(message, hint=hint) if status in (401, 403) else BadAnswer(message, hint=hint)
