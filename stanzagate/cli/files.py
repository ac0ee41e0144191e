"""Files that are named on the command line; ``-`` is standard input or output."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from component.base.errors import Conflict, InputError
from stanzagate.cli import output

STANDARD = "-"


@contextlib.contextmanager
def opened(name: str) -> Iterator[BinaryIO]:
    """A file to read.

    :raises InputError: it cannot be read.
    """
    if name == STANDARD:
        if sys.stdin is None:  # it was closed before we began
            raise InputError(f"{name} cannot be read: {os.strerror(errno.EBADF)}.")
        yield sys.stdin.buffer
        return
    try:
        file = Path(name).open("rb")  # noqa: SIM115
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}.") from None
    with file:
        yield file


def read_secret(name: str) -> str:
    """The first line of a file.

    :raises InputError: it cannot be read, or is empty.
    """
    with opened(name) as file:
        try:
            text = file.read(64 * 1024).decode("utf-8")
        except (UnicodeDecodeError, OSError):
            raise InputError(f"{name} cannot be read as text.") from None
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise InputError(f"{name} is empty.", hint="Write the password into it, in one line.")
    return secret


@contextlib.contextmanager
def private_output(name: str, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A file to write that only its owner may read; it appears when it is whole.

    :raises Conflict: it exists.
    :raises InputError: it cannot be written.
    :raises OSError: it is standard output, and that is closed.
    """
    if name == STANDARD:
        yield output.data()
        return
    path = Path(name)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.exists() and not overwrite:
            raise _taken(name)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if overwrite or not _linked(part, path):
                part.replace(path)
        except FileExistsError:  # it came while we wrote
            raise _taken(name) from None
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{name} cannot be written: {error.strerror}.") from None


def _linked(part: Path, path: Path) -> bool:
    """Give a file its name unless that is taken; false where the file system has no links.

    :raises FileExistsError: it is taken.
    """
    try:
        path.hardlink_to(part)
    except FileExistsError:
        raise
    except OSError:
        return False
    return True


def _taken(name: str) -> Conflict:
    return Conflict(f"{name} exists already.", hint="Choose another name, or give --overwrite.")
