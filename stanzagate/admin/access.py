"""Who asks, and what he may do.

On the unix socket the permissions of the file decide who gets in, and the kernel says who it is (SO_PEERCRED). On TCP
only a bearer token counts (RFC 6750 §2.1): no cookies, no addresses, so a page in somebody's browser can do nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import pwd
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from component.base.errors import ConfigError, StanzagateError
from stanzagate.admin.problems import Forbidden, TooLarge, Unauthenticated, problem_response

log = logging.getLogger(__name__)

CALLER = "stanzagate.caller"
CLOSING = "stanzagate.closing"
"""An event in the scope of each request: set when the service is about to end, so that endless streams end too."""

OPEN_PATHS = frozenset({"/healthz", "/openapi.json"})
"""What anybody may read: it tells nothing about the deployment but whether it is up, and its version."""
RELAY_PATHS = "/v1/relay/"
"""What only relays need: the role `relay` may nothing else, and the role `read` nothing here."""

STREAMED_PATHS = frozenset({"/v1/devices.csv"})
"""Routes that take a body of any size and never hold it in memory."""

BODY_LIMIT = 16 * 1024 * 1024
STRANGERS_SECONDS = 60.0
READING = frozenset({"GET", "HEAD", "OPTIONS"})


class Role(StrEnum):
    """What a caller may do."""

    ADMIN = "admin"
    READ = "read"
    RELAY = "relay"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    :ivar actor: for the audit record: ``unix:root``, ``token:ops``.
    """

    actor: str
    role: Role


class Tokens:
    """The named tokens of the TCP listener. Only their hashes are kept.

    :param tokens: secret and role by name.
    :raises ConfigError: two names have the same secret, so nobody could tell who it was.
    """

    def __init__(self, tokens: Mapping[str, tuple[str, str]]) -> None:
        self._known = [
            (_digest(secret.encode()), Caller(f"token:{name}", Role(role))) for name, (secret, role) in tokens.items()
        ]
        if len({digest for digest, _ in self._known}) < len(self._known):
            raise ConfigError("Two tokens are the same secret.", key="admin.tokens", hint="Make one for each name.")

    def __bool__(self) -> bool:
        return bool(self._known)

    def caller(self, header: str) -> Caller | None:
        """Whose token the value of an ``Authorization`` header is, or None. Takes equally long for all."""
        scheme, _, secret = header.partition(" ")
        digest = _digest(secret.strip().encode("latin-1"))  # which is how the bytes of headers are read
        found = None
        for known, caller in self._known:
            if hmac.compare_digest(known, digest):
                found = caller
        return found if scheme.lower() == "bearer" else None


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def unix_caller(uid: int) -> Caller:
    """The caller behind a unix socket; whom the file's permissions let in may do everything."""
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = str(uid)
    return Caller(f"unix:{name}", Role.ADMIN)


def caller_of(request: Request) -> Caller:
    """Who sent a request.

    :raises Unauthenticated: nobody was seen to; the application runs behind no `Access`.
    """
    caller = request.scope.get(CALLER)
    if not isinstance(caller, Caller):
        raise Unauthenticated("Nobody said who asks.")
    return caller


class _Strangers:
    """Says in the log that somebody tries tokens, but not so often that it fills the disk."""

    def __init__(self) -> None:
        self._count = 0
        self._next = float("-inf")

    def note(self, scope: Scope) -> None:
        """One more request without a known token."""
        self._count += 1
        now = time.monotonic()
        if now >= self._next:
            address = (scope.get("client") or ("unknown",))[0]
            log.warning("Requests without a known token: %d, the last one from %s.", self._count, address)
            self._count, self._next = 0, now + STRANGERS_SECONDS


class Access:
    """Stands before the application: says who asks, lets nobody do what he may not, bounds bodies, keeps the log.

    :param identify: who sent a request, from its scope; None for nobody known.
    :param closing: set when the service is about to end.
    """

    def __init__(self, app: ASGIApp, identify: Callable[[Scope], Caller | None], closing: asyncio.Event) -> None:
        self._app = app
        self._identify = identify
        self._closing = closing
        self._strangers = _Strangers()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request (ASGI)."""
        if scope["type"] != "http":
            return
        started = time.monotonic()
        caller = self._identify(scope)
        status = [0]

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
            await send(message)

        try:
            self._check(scope, caller)
            await self._app({**scope, CALLER: caller, CLOSING: self._closing}, _bounded(scope, receive), watched)
        except StanzagateError as error:
            await _refuse(error, scope, receive, watched)
        finally:
            _log(scope, caller, status[0], time.monotonic() - started)

    def _check(self, scope: Scope, caller: Caller | None) -> None:
        if scope["path"] in OPEN_PATHS and scope["method"] in READING:
            return
        if caller is None:
            self._strangers.note(scope)
            raise Unauthenticated(
                "This needs a token of the admin API.", hint="Send the header 'Authorization: Bearer TOKEN'."
            )
        if caller.role is Role.READ and scope["method"] not in READING:
            raise Forbidden(f"{caller.actor} may only read.", hint="Use a token with the role admin.")
        relays_own = scope["path"].startswith(RELAY_PATHS)
        if caller.role is Role.RELAY and not relays_own:
            raise Forbidden(f"{caller.actor} may only use {RELAY_PATHS}.", hint="Use a token with the role admin.")
        if caller.role is Role.READ and relays_own:
            raise Forbidden(f"{caller.actor} is no relay.", hint="Use a token with the role relay.")
        length = _header(scope, b"content-length")
        if scope["path"] not in STREAMED_PATHS and length.isdecimal() and int(length) > BODY_LIMIT:
            raise _too_large()


def _bounded(scope: Scope, receive: Receive) -> Receive:
    if scope["path"] in STREAMED_PATHS:
        return receive
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > BODY_LIMIT:
            raise HTTPException(413, _too_large().message.rstrip("."))  # FastAPI lets nothing else through from here
        return message

    return bounded


def _too_large() -> TooLarge:
    return TooLarge(f"The body is larger than {BODY_LIMIT // 1024 // 1024} MiB.", hint="Send it in parts.")


async def _refuse(error: StanzagateError, scope: Scope, receive: Receive, send: Send) -> None:
    response: JSONResponse = problem_response(error)
    await response(scope, receive, send)


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def token_of(scope: Scope) -> str:
    """The value of the ``Authorization`` header."""
    return _header(scope, b"authorization")


def _log(scope: Scope, caller: Caller | None, status: int, seconds: float) -> None:
    routine = scope["method"] in READING or scope["path"].startswith(RELAY_PATHS)  # relays say something all the time
    changed = caller is not None and not routine
    path = scope.get("raw_path", b"").decode("latin-1")  # percent-encoded, so it is one line; never the query
    who = caller.actor if caller is not None else "nobody known"
    log.log(
        logging.INFO if changed else logging.DEBUG,
        "%s: %s %s: %d in %d ms", who, scope["method"], path, status, seconds * 1000,
    )  # fmt: skip
