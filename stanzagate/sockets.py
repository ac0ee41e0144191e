"""Addresses of unix sockets: a path may be longer than the 107 bytes that the operating system takes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

LONGEST = 107


@contextlib.contextmanager
def short_name(path: Path) -> Iterator[str]:
    """A name for a socket that can be bound or connected to, valid inside the context.

    :raises OSError: when the folder of a long path cannot be opened.
    """
    text = str(path)
    if len(os.fsencode(text)) <= LONGEST:
        yield text
        return
    descriptor = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)
