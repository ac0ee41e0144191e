"""The exceptions of Stanzagate.

::

    StanzagateError            exit code 1: refused, denied, failed
    ├── NotFound               exit code 1: the thing that was named does not exist
    ├── Conflict               exit code 1: it exists already, or another one stands in its way
    ├── InputError             exit code 2: malformed input; nothing was changed
    │   └── ConfigError        exit code 2: a configuration file, with the line and the key
    ├── Unreachable            exit code 3: a service or a server does not answer
    └── StanzaError            an answer of type 'error' to an IQ (RFC 6120 §8.3)

Every message says what is wrong, where, and what to do about it. No message ever contains a secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


class StanzagateError(Exception):
    """Something that was asked for did not happen.

    :param message: what is wrong and where, one sentence.
    :param hint: what to do about it, one sentence; empty when the message says it.
    :param details: further lines, for example one for each bad line of a file.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = tuple(details)

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class NotFound(StanzagateError):
    """The thing that was named does not exist."""


class Conflict(StanzagateError):
    """The change contradicts what is there."""


class InputError(StanzagateError):
    """The input is malformed; nothing was changed."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration file cannot be used.

    :param file: path of the file.
    :param line: line of the offending key, counted from 1, or 0 when there is none.
    :param key: dotted path of the key, for example ``gate.limits.device``.
    """

    def __init__(
        self,
        message: str,
        *,
        file: str = "",
        line: int = 0,
        key: str = "",
        hint: str = "",
        details: Sequence[str] = (),
    ) -> None:
        place = ":".join(part for part in (file, str(line) if line else "") if part)
        where = f"{place}: " if place else ""
        super().__init__(f"{where}{key + ': ' if key else ''}{message}", hint=hint, details=details)
        self.file = file
        self.line = line
        self.key = key


class Unreachable(StanzagateError):
    """A service or a server does not answer."""

    exit_code = 3


@dataclass(frozen=True)
class StanzaErrorInfo:
    """The content of an ``<error/>`` (RFC 6120 §8.3.2).

    :ivar type: ``auth``, ``cancel``, ``continue``, ``modify`` or ``wait``.
    :ivar condition: the defined condition, for example ``forbidden``.
    :ivar text: optional text for people.
    """

    type: str
    condition: str
    text: str = field(default="")


class StanzaError(StanzagateError):
    """The other side answered an IQ with an error."""

    def __init__(self, info: StanzaErrorInfo) -> None:
        super().__init__(f"{info.type}/{info.condition}{': ' + info.text if info.text else ''}")
        self.info = info
