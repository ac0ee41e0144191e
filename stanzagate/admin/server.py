"""uvicorn as a guest in somebody else's event loop: no signal handlers, no logging set-up, a clean end.

There are two servers with one application: the unix socket and, when configured, TCP. Only the first one's
connections carry the peer's user; only the second one's requests are asked for a token.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp, Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

from component.base.errors import ConfigError
from stanzagate.admin.access import Access, Caller, Tokens, token_of, unix_caller
from stanzagate.admin.listeners import ADMIN, Called, open_tcp, open_unix, remove_unix

log = logging.getLogger(__name__)

PEER = "stanzagate.peer"
HEADER_SECONDS = 20.0
"""A TCP connection that has sent no whole request head by then is closed."""

TCP_CONNECTIONS = 256
GRACE_SECONDS = 10
_PEERCRED = struct.Struct("3i")


class _Protocol(H11Protocol):
    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.access_log = False  # it has query strings; `Access` keeps a log without them


class _UnixProtocol(_Protocol):
    """Knows the user at the other end (unix(7), SO_PEERCRED)."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        peer = transport.get_extra_info("socket")
        credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEERCRED.size)
        _pid, uid, _gid = _PEERCRED.unpack(credentials)
        self.app_state = {**self.app_state, PEER: unix_caller(uid)}


class _TcpProtocol(_Protocol):
    """Does not wait for ever for a request."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._first_request = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._first_request.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if self.scope is None and not self.transport.is_closing():
            self.transport.close()


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, closing: asyncio.Event) -> None:
        super().__init__(config)
        self.up = asyncio.Event()
        self._closing = closing

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._closing.set()  # streams that have no end of their own end now
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to `serve`."""
        yield


class AdminServer:
    """The listeners of the admin API.

    :param app: the application of `stanzagate.admin.app.create_app`.
    :param socket: path of the unix socket, or None.
    :param listen: ``HOST:PORT``, or None.
    :param tokens: secret and role (``admin``, ``read`` or ``relay``) by name, for TCP.
    :param everybody: who everybody on TCP is, in place of tokens; for an application that shows what anybody may see.
    :param called: what errors and the log call it.
    :ivar ready: set once every listener answers.
    :ivar address: host and port of the TCP listener once it is open.
    :raises ConfigError: TCP without tokens, or two equal tokens.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        socket: Path | None = None,
        listen: str | None = None,
        tokens: Mapping[str, tuple[str, str]] | None = None,
        everybody: Caller | None = None,
        called: Called = ADMIN,
    ) -> None:
        self._app = app
        self._path = socket
        self._listen = listen
        self._tokens = Tokens(tokens or {})
        self._everybody = everybody
        self._called = called
        if listen is not None and not self._tokens and everybody is None:
            raise ConfigError(
                "There are no tokens, so anybody could use the API.", key="admin.listen", hint="Add admin.tokens."
            )
        self.ready = asyncio.Event()
        self.address: tuple[str, int] | None = None
        self._closing = asyncio.Event()
        self._ended = asyncio.Event()
        self._opened: list[tuple[_Server, Any]] = []
        self._inode = 0
        self._running = False

    def open(self) -> None:
        """Open the listeners; from now on clients can connect, and are answered once `run` runs.

        :raises Conflict: the port is taken, or another service answers at the socket.
        :raises InputError: the address or the path cannot be used.
        """
        try:
            if self._path is not None:
                listener = open_unix(self._path, self._called)
                self._inode = self._path.lstat().st_ino
                self._opened.append((self._server(_UnixProtocol, _unix_peer), listener))
            if self._listen is not None:
                listener = open_tcp(self._listen, self._called)
                self.address = cast(tuple[str, int], listener.getsockname()[:2])
                self._opened.append((self._server(_TcpProtocol, self._token_holder, TCP_CONNECTIONS), listener))
        except BaseException:
            self.close()
            raise

    def _token_holder(self, scope: Scope) -> Caller | None:
        return self._everybody or self._tokens.caller(token_of(scope))

    def _server(self, protocol: type[_Protocol], identify: Any, connections: int | None = None) -> _Server:
        config = uvicorn.Config(
            cast(Any, Access(self._app, identify, self._closing)),
            http=protocol, ws="none", lifespan="off", loop="none", log_config=None, access_log=False,
            server_header=False, proxy_headers=False, timeout_graceful_shutdown=GRACE_SECONDS,
            limit_concurrency=connections, workers=1,
        )  # fmt: skip
        return _Server(config, self._closing)

    async def run(self) -> None:
        """Answer requests until `stop`; opens the listeners when `open` was not called.

        :raises StanzagateError: the listeners cannot be opened.
        """
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        self._running = True
        try:
            if not self._opened:
                self.open()
            async with asyncio.TaskGroup() as group:
                for server, listener in self._opened:
                    group.create_task(server.serve(sockets=[listener]), name="admin.listener")
                for server, _ in self._opened:
                    await server.up.wait()
                self.ready.set()
                log.info("The %s answers at %s.", self._called.service, " and ".join(self._places()))
        finally:
            self.close()
            self._ended.set()

    def _places(self) -> Iterator[str]:
        if self._path is not None:
            yield str(self._path)
        if self.address is not None:
            yield f"{self.address[0]} port {self.address[1]}"

    async def stop(self) -> None:
        """Take no new requests, finish those under way, close the listeners, and return when that is done."""
        self._closing.set()
        for server, _ in self._opened:
            server.should_exit = True
        if self._running:
            await self._ended.wait()
        self.close()

    def close(self) -> None:
        """Close the listeners at once."""
        for _, listener in self._opened:
            listener.close()
        if self._inode and self._path is not None:
            remove_unix(self._path, self._inode)
            self._inode = 0


def _unix_peer(scope: Scope) -> Caller | None:
    peer = scope.get("state", {}).get(PEER)
    return peer if isinstance(peer, Caller) else None
