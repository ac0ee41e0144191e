"""Errors as JSON, in the manner of RFC 9457, and the HTTP status of each.

Every error has the same five members: `error` (a word for programs), `message`, `hint`, `details` and `exit_code`,
which is the exit code of the command line that gets it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from component.base.enforcement import NotConfirmed
from component.base.errors import Conflict, InputError, NotFound, StanzagateError, Unreachable

log = logging.getLogger(__name__)

_STATUS: tuple[tuple[type[StanzagateError], int], ...] = (
    (NotFound, 404),
    (Conflict, 409),
    (InputError, 400),
    (Unreachable, 503),
    (NotConfirmed, 504),
)
_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")


class Problem(BaseModel):
    """What went wrong.

    :ivar error: a word for programs, for example ``not-found``.
    :ivar message: what is wrong and where.
    :ivar hint: what to do about it; may be empty.
    :ivar details: further lines, for example one for each bad line of a file.
    :ivar exit_code: exit code of the command line: 1, 2 or 3.
    """

    error: str
    message: str
    hint: str = ""
    details: list[str] = []
    exit_code: int = 1


class Unauthenticated(StanzagateError):
    """Nobody said who asks."""


class Forbidden(StanzagateError):
    """Whoever asks may not do that."""


class TooLarge(InputError):
    """The body of a request is larger than this route takes."""


_STATUS_OF_OURS: dict[type[StanzagateError], int] = {Unauthenticated: 401, Forbidden: 403, TooLarge: 413}


def problem_of(error: StanzagateError) -> tuple[int, Problem]:
    """HTTP status and JSON of an expected error."""
    status = _STATUS_OF_OURS.get(type(error)) or next(
        (code for kind, code in _STATUS if isinstance(error, kind)), 500
    )
    name = _WORD.sub("-", type(error).__name__).lower().removesuffix("-error")
    if type(error) is StanzagateError:
        name = "failed"
    return status, Problem(
        error=name,
        message=error.message,
        hint=error.hint,
        details=list(error.details),
        exit_code=error.exit_code,
    )


def problem_response(error: StanzagateError) -> JSONResponse:
    """The response to an expected error."""
    status, problem = problem_of(error)
    headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else None
    return _response(status, problem, headers)


def install(app: FastAPI) -> None:
    """Have every error of an application answered in this form."""
    app.add_exception_handler(StanzagateError, _expected)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _defect)


async def _expected(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, StanzagateError)  # noqa: S101
    return problem_response(error)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    lines = [_line(item) for item in error.errors()]  # never the values: they may be secrets
    hint = "docs/admin-api.md and /openapi.json describe every field."
    return _response(
        422, Problem(error="invalid-request", message=f"{lines[0]}.", hint=hint, details=lines[1:], exit_code=2)
    )


def _line(item: dict[str, Any]) -> str:
    place: Sequence[Any] = item["loc"]
    return f"{'.'.join(str(part) for part in place)}: {item['msg']}".rstrip(".")


async def _http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    phrase = HTTPStatus(error.status_code).phrase
    name = phrase.lower().replace(" ", "-")
    hint = "/openapi.json lists every route." if error.status_code in (404, 405) else ""
    message = f"{error.detail}." if error.detail else f"{phrase}."
    return _response(
        error.status_code, Problem(error=name, message=message, hint=hint, exit_code=2), dict(error.headers or {})
    )


async def _gone(request: Request, _error: Exception) -> JSONResponse:
    log.info("The client of %s %s went away in the middle of it.", request.method, request.scope["path"])
    return problem_response(InputError("The body ended too early; nothing was changed."))


async def _defect(request: Request, error: Exception) -> JSONResponse:
    log.error("A request failed unexpectedly: %s %s", request.method, request.scope["path"], exc_info=error)
    message = "The service failed at this request; this is a defect."
    return _response(500, Problem(error="defect", message=message, hint="The service's log has the details."))


def _response(status: int, problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(
        problem.model_dump(), status_code=status, headers=headers, media_type="application/problem+json"
    )
