"""The command line's side of the admin API: HTTP on the unix socket, errors as exceptions."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from component.base.errors import Conflict, InputError, NotFound, StanzagateError, Unreachable
from stanzagate.sockets import short_name

if TYPE_CHECKING:
    import httpx

PATIENCE_SECONDS = 60.0
"""For everything that is not known to take long."""

CONNECT_SECONDS = 5.0


class ServiceError(StanzagateError):
    """The service said no.

    :ivar exit_code: as the service wants it.
    """

    def __init__(self, message: str, *, hint: str = "", details: Iterable[str] = (), exit_code: int = 1) -> None:
        super().__init__(message, hint=hint, details=tuple(details))
        self.exit_code = exit_code


_KINDS: dict[str, type[StanzagateError]] = {"not-found": NotFound, "conflict": Conflict, "unreachable": Unreachable}


class Client:
    """A connection to the service. Use it as a context.

    :param socket: path of the admin socket.
    :param service: what errors call whoever answers there, and `called` the socket.
    """

    def __init__(self, socket: Path, *, service: str = "service", called: str = "admin socket") -> None:
        self.socket = socket
        self._service = service
        self._called = called
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        import httpx  # noqa: PLC0415  # a quarter of the time that a command takes; not for --help

        try:
            name = self._stack.enter_context(short_name(self.socket))
        except OSError:
            raise self._nobody() from None
        transport = httpx.HTTPTransport(uds=name)
        timeout = httpx.Timeout(PATIENCE_SECONDS, connect=CONNECT_SECONDS)
        self._http = self._stack.enter_context(
            httpx.Client(transport=transport, base_url="http://stanzagate", timeout=timeout, trust_env=False)
        )
        return self

    def __exit__(self, *_details: object) -> None:
        self._stack.close()

    def get(self, path: str, **parameters: Any) -> Any:
        """What the service has at a path."""
        return self.send("GET", path, parameters)

    def send(
        self,
        method: str,
        path: str,
        parameters: dict[str, Any] | None = None,
        *,
        body: Any = None,
        content: bytes | Iterable[bytes] | None = None,
        patience: float | None = PATIENCE_SECONDS,
    ) -> Any:
        """Send a request and return the JSON that answers it.

        :param body: sent as JSON; `content` is sent as it is.
        :param patience: seconds until the answer must have begun; None for no limit.
        :raises StanzagateError: the service said no; its exit code is that of the error.
        :raises Unreachable: the service does not answer.
        """
        with self.stream(method, path, parameters, body=body, content=content, patience=patience) as response:
            return json.loads(response.read() or b"null")

    @contextlib.contextmanager
    def stream(
        self,
        method: str,
        path: str,
        parameters: dict[str, Any] | None = None,
        *,
        body: Any = None,
        content: bytes | Iterable[bytes] | None = None,
        patience: float | None = PATIENCE_SECONDS,
    ) -> Iterator[httpx.Response]:
        """Send a request and give its response while it is still arriving; see `send`."""
        import httpx  # noqa: PLC0415

        wanted = {name: value for name, value in (parameters or {}).items() if value is not None}
        headers = {"Content-Type": "text/csv"} if content is not None else None
        timeout = httpx.Timeout(patience, connect=CONNECT_SECONDS)
        try:
            with self._http.stream(
                method, path, params=wanted, json=body, content=content, headers=headers, timeout=timeout
            ) as response:
                if not response.is_success:
                    raise _refused(response.status_code, response.read())
                yield response
        except UnicodeEncodeError:
            raise InputError("Something on the command line is not UTF-8.", hint="Check its encoding.") from None
        except httpx.ConnectError:
            raise self._nobody() from None
        except httpx.TimeoutException:
            raise Unreachable(
                f"The {self._service} at {self.socket} does not answer in time.", hint="Its log may say why."
            ) from None
        except httpx.TransportError:
            raise Unreachable(
                f"The {self._service} at {self.socket} stopped in the middle of its answer.",
                hint="Look whether what you asked for has happened before you ask again.",
            ) from None

    def _nobody(self) -> Unreachable:
        try:
            mode = self.socket.stat().st_mode
        except FileNotFoundError:
            return Unreachable(
                f"There is no {self._called} {self.socket}.",
                hint=f"Is the {self._service} running? Is it another folder?",
            )
        except OSError as error:
            return Unreachable(f"The {self._called} {self.socket} cannot be reached: {error.strerror}.")
        if not stat.S_ISSOCK(mode):
            return Unreachable(
                f"{self.socket} is not a socket.", hint=f"Name the {self._service}'s {self._called}, or use --dir."
            )
        if not os.access(self.socket, os.W_OK):
            return Unreachable(
                f"You may not use the {self._called} {self.socket}.",
                hint=f"The {self._service}'s user and group may, and root: use sudo, or join that group.",
            )
        return Unreachable(f"Nobody answers at {self.socket}.", hint=f"Is the {self._service} running?")


def lines_of(response: httpx.Response) -> Iterator[dict[str, Any]]:
    """The JSON lines of a stream.

    :raises StanzagateError: the stream ended with a problem.
    """
    for text in response.iter_lines():
        item = json.loads(text)
        if "problem" in item and len(item) == 1:
            raise error_of(item["problem"])
        yield item


def segment(text: str) -> str:
    """Any text as the last part of a path."""
    return quote(text, safe="").replace(".", "%2E")


def error_of(problem: dict[str, Any]) -> StanzagateError:
    """The error that the service describes."""
    message, hint = str(problem.get("message", "")), str(problem.get("hint", ""))
    details = [str(item) for item in problem.get("details", ())]
    exit_code = int(problem.get("exit_code", 1))
    kind = _KINDS.get(str(problem.get("error")))
    if kind is None and exit_code == InputError.exit_code:
        kind = InputError
    if kind is not None and kind.exit_code == exit_code:
        return kind(message, hint=hint, details=details)
    return ServiceError(message, hint=hint, details=details, exit_code=exit_code)


def _refused(status: int, body: bytes) -> StanzagateError:
    try:
        problem = json.loads(body)
        return error_of(problem)
    except (ValueError, AttributeError, TypeError):
        return StanzagateError(f"The service answered with HTTP status {status} and nothing that can be understood.")
