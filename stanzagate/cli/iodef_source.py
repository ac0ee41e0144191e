"""Files with incidents: read with bounds, and told apart by what is in them, not by their names."""

from __future__ import annotations

import codecs
import errno
import os
import select
import stat
import sys
from enum import StrEnum

from component.base.errors import InputError
from stanzagate.cli.files import STANDARD
from stanzagate.cli.output import plain

WRITER_SECONDS = 10
"""So long a FIFO may have nobody who writes to it; without this, one stray FIFO would hold everything up for ever."""

CHUNK = 1024 * 1024

_MARKS = {  # the longer ones first: the mark of UTF-32 begins like that of UTF-16
    codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF32_LE: "utf-32-le", codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be",
}  # fmt: skip


class Form(StrEnum):
    """How an incident is written down."""

    XML = "xml"
    JSON = "json"


def read(name: str, limit: int) -> bytes:
    """The content of a file, of a pipe, or of standard input (``-``).

    :param limit: bytes that it may have.
    :raises InputError: it cannot be read, or has more.
    """
    try:
        if name == STANDARD:
            if sys.stdin is None:  # it was closed before we began
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            return _bounded(sys.stdin.fileno(), name, limit)
        # without O_NONBLOCK, opening a FIFO would wait until somebody opens the other end
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            return _opened(descriptor, name, limit)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror}.") from None


def _opened(descriptor: int, name: str, limit: int) -> bytes:
    found = os.fstat(descriptor)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if stat.S_ISFIFO(found.st_mode):
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(WRITER_SECONDS * 1000):
            raise InputError(f"{name} cannot be read: it is a FIFO, and for {WRITER_SECONDS} s nobody wrote to it.")
    if stat.S_ISREG(found.st_mode) and found.st_size > limit:
        raise _too_large(name, limit)
    os.set_blocking(descriptor, True)
    return _bounded(descriptor, name, limit)


def _bounded(descriptor: int, name: str, limit: int) -> bytes:
    content = bytearray()
    while piece := os.read(descriptor, CHUNK):
        content += piece
        if len(content) > limit:
            raise _too_large(name, limit)
    return bytes(content)


def _too_large(name: str, limit: int) -> InputError:
    return InputError(f"{name} has more than {limit:,} bytes; documents that large are not read.")


def form_of(content: bytes) -> Form:
    """XML or JSON, by the first character.

    :raises InputError: it is neither.
    """
    start = _beginning(content)
    if not start:
        raise InputError("It is empty; an IODEF document in XML or JSON is expected.")
    if start[0] == "<":
        return Form.XML
    if start[0] in "{[":
        return Form.JSON
    raise InputError(f"It is neither XML nor JSON: it begins with '{plain(start[:12])}'.")


def _beginning(content: bytes) -> str:
    """The first characters that are not white space, whatever the encoding."""
    encoding, mark = next(((name, mark) for mark, name in _MARKS.items() if content.startswith(mark)), ("", b""))
    start = content[len(mark) : len(mark) + 4096]
    if not encoding:
        # without a mark, the zero bytes tell (XML 1.0 appendix F, RFC 4627 §3)
        encoding = {b"<\0": "utf-16-le", b"\0<": "utf-16-be", b"{\0": "utf-16-le", b"\0{": "utf-16-be"}.get(
            start[:2], "latin-1"
        )
    found = start.decode(encoding, "replace").lstrip(" \t\r\n")
    if found or len(content) <= len(mark) + 4096:
        return found
    rest = content[len(mark) :].decode(encoding, "replace").lstrip(" \t\r\n")
    return rest[:4096]
