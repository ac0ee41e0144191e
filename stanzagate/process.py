"""What all processes of ours have in common: how they start tasks, how they log, and how they end."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from component.base.errors import StanzagateError

log = logging.getLogger("stanzagate")

Spawn = Callable[[str, Coroutine[Any, Any, None]], asyncio.Task[None]]


def no_core_dumps() -> None:
    """Leave no image of the memory behind, which holds keys and credentials."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def calm_collector() -> None:
    """Have the collector of cycles look seldom, and never at what was made so far.

    Stanzas are trees of many small objects without cycles; at the default it spends a quarter of their time on them.
    """
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def log_to_stderr() -> None:
    """Log to stderr, where the init system collects it."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # slixmpp logs what it receives when it fails on it; that may carry a device's credentials.
    logging.getLogger("slixmpp").setLevel(logging.CRITICAL + 1)


class Tasks:
    """What the parts of a process start their tasks with.

    :param group: the one of the process.
    """

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._running: set[asyncio.Task[None]] = set()

    def __call__(self, name: str, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start a task."""
        task = self._group.create_task(coroutine, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def cancel(self) -> None:
        """End all that still run."""
        for task in list(self._running):
            task.cancel()


def failed(failures: BaseExceptionGroup[BaseException]) -> int:
    """Say why the process ends: what was expected goes to the caller, a defect to the log.

    :returns: the exit code after a defect.
    :raises StanzagateError: what was expected.
    """
    expected, defects = failures.split(StanzagateError)
    if defects is not None or expected is None:
        log.error("A part of the service failed; the process ends.", exc_info=defects)
        return 1
    error: BaseException = expected
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    raise error
