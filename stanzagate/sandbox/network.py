"""Free addresses and ports on loopback.

Ports are picked below the range that the kernel gives to outgoing connections: a server that is restarted must find
its port free again.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from component.base.errors import StanzagateError

LOOPBACK = "127.0.0.1"
S2S_PORT = 5269
_PORTS = range(10_240, 32_768)
_ATTEMPTS = 200


@dataclass(frozen=True)
class Endpoint:
    """Where something listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def free_ports(count: int, *, pick: Callable[[range], int] = random.choice) -> list[int]:
    """Different ports of 127.0.0.1 on which nothing listens.

    :param pick: chooses one of a range.
    :raises StanzagateError: when none can be found.
    """
    ports: list[int] = []
    for _ in range(_ATTEMPTS * count):
        port = pick(_PORTS)
        if port not in ports and _is_free(LOOPBACK, port):
            ports.append(port)
        if len(ports) == count:
            return ports
    raise StanzagateError("No free port was found on 127.0.0.1.", hint="Stop programs that listen on many ports.")


def free_address(port: int = S2S_PORT, *, pick: Callable[[range], int] = random.choice) -> str:
    """A loopback address other than 127.0.0.1 on whose `port` nothing listens.

    :raises StanzagateError: when none can be found.
    """
    for address in _addresses(pick):
        if _is_free(address, port):
            return address
    raise StanzagateError(f"Port {port} is taken on every loopback address that was tried.")


def _addresses(pick: Callable[[range], int]) -> Iterator[str]:
    for _ in range(_ATTEMPTS):
        yield f"127.{pick(range(1, 255))}.{pick(range(256))}.{pick(range(1, 255))}"


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
