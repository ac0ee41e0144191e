"""How far long work is: a bar on stderr when that is a terminal, nothing elsewhere. Stdout is left alone."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from component.base.errors import InputError
from stanzagate.cli import output

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

CHUNK = 256 * 1024
UNNOTICED_SECONDS = 0.7
"""What takes no longer needs no bar."""


def _bar(*columns: ProgressColumn) -> Progress:
    """A bar that is gone when it is over. Redirected to it, results would never reach a pipe or a file."""
    from rich.console import Console  # noqa: PLC0415  # only terminals need it
    from rich.progress import Progress  # noqa: PLC0415

    console = Console(stderr=True, highlight=False)
    return Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)


@contextmanager
def sending(file: BinaryIO, what: str) -> Iterator[Iterator[bytes]]:
    """A file piece by piece. The bar stays until the context ends: the service works on when it has everything.

    :param what: what is being done.
    """
    if not sys.stderr.isatty():
        yield _pieces(file)
        return
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    size = 0
    with contextlib.suppress(OSError, ValueError):
        size = os.fstat(file.fileno()).st_size
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with _bar(*columns) as bar:
        task = bar.add_task(what, total=size or None)

        def shown() -> Iterator[bytes]:
            for piece in _pieces(file):
                yield piece
                bar.advance(task, len(piece))
            bar.update(task, description="finishing", total=None)

        yield shown()


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := _read(file):
        yield piece


def _read(file: BinaryIO) -> bytes:
    try:
        return file.read(CHUNK)
    except OSError as error:
        raise InputError(f"{file.name} cannot be read: {error.strerror}.") from None


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show that something goes on whose end is not known, once it takes long enough to be noticed.

    :param what: what is being done.
    """
    if not sys.stderr.isatty():
        yield
        return
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    bar = _bar(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    bar.add_task(what, total=None)
    later = threading.Timer(UNNOTICED_SECONDS, bar.start)
    later.start()
    try:
        yield
    finally:
        later.cancel()
        later.join()
        bar.stop()


def reading(what: str) -> contextlib.AbstractContextManager[None]:
    """The same for results that go to stdout meanwhile: on a terminal they show themselves how far it is."""
    return contextlib.nullcontext() if sys.stdout.isatty() else waiting(what)


@contextmanager
def counting(lines: bool) -> Iterator[Callable[[int, int, str], None]]:
    """Something to call with total, done and a line of text: it writes the line to stdout and moves the bar.

    :param lines: whether the lines are written.
    """

    def simple(_total: int, _done: int, text: str) -> None:
        if text and lines:
            output.say(text)
            sys.stdout.flush()

    if not sys.stderr.isatty():
        yield simple
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn  # noqa: PLC0415

    with _bar(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()) as bar:
        task = bar.add_task("", total=None)

        def on_terminal(total: int, done: int, text: str) -> None:
            if sys.stdout.isatty() and text and lines:  # both are the same screen: the bar must make room
                bar.console.print(output.plain(text), markup=False, soft_wrap=True)
            else:
                simple(total, done, text)
            bar.update(task, total=total, completed=done)

        yield on_terminal
