"""Opening listeners for HTTP, those of the admin API and others, with errors that say what to do."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from component.base.errors import Conflict, InputError
from stanzagate.sockets import short_name

SOCKET_MODE = 0o660
"""The service's user and group; who else may use it is a matter of the folder and of `chmod`."""

PATIENCE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Called:
    """What errors call the listeners, and the keys of the configuration that they name."""

    service: str = "admin API"
    socket: str = "admin socket"
    socket_key: str = "admin.socket"
    listen_key: str = "admin.listen"


ADMIN = Called()


def open_unix(path: Path, called: Called = ADMIN) -> socket.socket:
    """A listening unix socket. One that a dead service left behind is replaced; one that answers is not.

    :raises Conflict: somebody answers there.
    :raises InputError: the path cannot be used.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with short_name(path) as name:
            _remove_stale(path, name, called)
            os.fchmod(listener.fileno(), SOCKET_MODE)  # the file is made with these, so nobody gets in meanwhile
            listener.bind(name)
        path.chmod(SOCKET_MODE)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise InputError(
            f"The {called.socket} {path} cannot be opened: {error.strerror}.",
            hint=f"Check that its folder exists and belongs to the service's user ({called.socket_key}).",
        ) from None
    except BaseException:
        listener.close()
        raise
    return listener


def _remove_stale(path: Path, name: str, called: Called) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise InputError(
            f"The {called.socket} {path} cannot be opened: there is something else of that name.",
            hint=f"Move it away, or configure another path ({called.socket_key}).",
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PATIENCE_SECONDS)
        try:
            probe.connect(name)
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            if error.errno == errno.ENOENT:
                return
            if not isinstance(error, TimeoutError | BlockingIOError):
                raise
        raise Conflict(
            f"Another service answers at {path}.", hint=f"Stop it, or configure another path ({called.socket_key})."
        )


def remove_unix(path: Path, inode: int) -> None:
    """Remove the socket's file, unless it is another one by now."""
    with contextlib.suppress(OSError):
        if path.lstat().st_ino == inode:
            path.unlink()


def split_address(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` or ``[v6]:PORT``.

    :raises InputError: the text has another form.
    """
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdecimal() and int(port) <= 65535):
        raise InputError(f"{text!r} is not an address to listen on.", hint="Write HOST:PORT, like 127.0.0.1:8470.")
    return host.removeprefix("[").removesuffix("]"), int(port)


def open_tcp(address: str, called: Called = ADMIN) -> socket.socket:
    """A listening TCP socket.

    :param address: ``HOST:PORT``; with port 0 the system chooses one.
    :raises Conflict: the port is taken.
    :raises InputError: the address is not of this machine, or the port may not be used.
    """
    host, port = split_address(address)
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise InputError(
            f"The {called.service} cannot listen on {address}: {error.strerror}.",
            hint=f"Correct {called.listen_key}.",
        ) from None
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise _cannot_listen(host, port, error, called) from None
    return listener


def _cannot_listen(host: str, port: int, error: OSError, called: Called) -> InputError | Conflict:
    if error.errno == errno.EADDRINUSE:
        return Conflict(
            f"The {called.service} cannot listen on {host} port {port}: the port is taken.",
            hint=f"See who has it with `ss -ltnp sport = :{port}`; stop that program or change {called.listen_key}.",
        )
    hint = f"Use an address of this machine in {called.listen_key}."
    if error.errno == errno.EACCES:
        hint = f"Ports below 1024 need root; choose a higher one in {called.listen_key}."
    return InputError(f"The {called.service} cannot listen on {host} port {port}: {error.strerror}.", hint=hint)
