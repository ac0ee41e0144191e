"""Responses without a known end: lines of JSON, one at a time, as things happen."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from component.base.errors import StanzagateError, Unreachable
from stanzagate.admin.access import CLOSING
from stanzagate.admin.problems import problem_of

log = logging.getLogger(__name__)

JSON_LINES = "application/jsonl"
STOPPING = Unreachable("The service is stopping.", hint="Try again when it is back.")


def line(item: Mapping[str, Any]) -> bytes:
    """One line."""
    return json.dumps(item, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def problem_line(error: StanzagateError) -> bytes:
    """The line with which a stream ends that cannot go on: ``{"problem": {...}}``."""
    return line({"problem": problem_of(error)[1].model_dump()})


class JsonLines(StreamingResponse):
    """Sends lines until there are no more, the client goes away, or the service stops.

    An expected error ends the stream with a line of its own; the status was sent long before.

    """

    def __init__(self, lines: AsyncIterator[bytes], status_code: int = 200) -> None:
        super().__init__(_guarded(lines), status_code, media_type=JSON_LINES)
        self._closing = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response (ASGI)."""
        self._closing = scope.get(CLOSING, self._closing)
        await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        """Send everything (Starlette calls this)."""
        async with asyncio.TaskGroup() as group:
            feed = group.create_task(super().stream_response(send), name="admin.stream")
            cut = group.create_task(self._cut(feed), name="admin.stream.end")
            feed.add_done_callback(lambda _: cut.cancel())
        if feed.cancelled():
            body = problem_line(STOPPING)
            await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _cut(self, feed: asyncio.Task[None]) -> None:
        await self._closing.wait()
        feed.cancel()


async def _guarded(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        async for item in lines:
            yield item
    except StanzagateError as error:
        yield problem_line(error)
    except Exception:
        log.exception("A stream of the admin API failed.")
        yield problem_line(StanzagateError("The service failed at this request; this is a defect."))
