"""One process at a time works on a deployment.

The lock is that of the operating system on a file beside the database: it ends with the process, however that ends.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from component.base.errors import Conflict, InputError
from component.base.files import own_like_folder


class DeploymentLock:
    """Holds a deployment for as long as the context lasts.

    :param database: the database's file; the lock is ``<database>.lock``.
    :raises Conflict: on entering, when another process holds it; the message names that process.
    :raises InputError: on entering, when the folder cannot be written.
    """

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".lock")
        self._descriptor = -1

    def __enter__(self) -> Self:
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            own_like_folder(self.path)
        except OSError as error:
            raise InputError(
                f"The lock {self.path} cannot be taken: {error.strerror}.",
                hint="Check that the folder exists and belongs to the service's user.",
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise Conflict(
                f"The deployment {self.path.parent} is in use by process {holder or 'of unknown number'}.",
                hint="Stop that `stanzagate serve` first, or ask it instead.",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor  # the file stays: removing it would let two processes lock two files
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
        self._descriptor = -1
