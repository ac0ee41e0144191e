"""Building blocks of the configuration: durations, rates, addresses, secrets, and what every section derives from.

Each package declares the section that it owns as a subclass of `Section`; the program composes them.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    ValidationInfo,
    model_validator,
)

from component.base.jid import JidError, prepare

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d|w)", re.ASCII)
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(s|min)", re.ASCII)
_SIZE = re.compile(r"(\d+)\s*(KiB|MiB|GiB)?", re.ASCII)
_SIZES = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]\s]+)):(?P<port>\d{1,5})", re.ASCII)


class Section(BaseModel):
    """A mapping in the configuration file. Unknown keys are errors; values never change after loading."""

    # validate_default: a default path is relative to the file, too
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, validate_default=True)


def parse_duration(value: object) -> float:
    """Seconds from ``10s``, ``500ms``, ``5min``, ``1h``, ``30d``, ``2w``.

    :raises ValueError: when the text has another form or is not positive.
    """
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a duration; write a number and a unit, like 10s, 5min, 1h or 30d")
    seconds = float(match[1]) * _UNITS[match[2]]
    if seconds <= 0:
        raise ValueError(f"{value!r} is not a duration; it must be longer than nothing")
    return seconds


@dataclass(frozen=True)
class Rate:
    """How often something may happen: `burst` at once, refilled at `per_second`."""

    per_second: float
    burst: float

    @property
    def unlimited(self) -> bool:
        return self.per_second == float("inf")

    def __str__(self) -> str:
        if self.unlimited:
            return "unlimited"
        return f"{self.burst:g}/s" if self.per_second == self.burst else f"{self.burst:g}/min"


UNLIMITED = Rate(float("inf"), float("inf"))


def parse_rate(value: object) -> Rate:
    """A `Rate` from ``N/s``, ``N/min`` or ``unlimited``; the burst is N.

    :raises ValueError: when the text has another form or N is less than 1.
    """
    if isinstance(value, Rate):
        return value
    if value == "unlimited":
        return UNLIMITED
    match = _RATE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a rate; write N/s, N/min or unlimited")
    count = float(match[1])
    if count < 1:
        raise ValueError(f"{value!r} allows nothing; N must be at least 1")
    return Rate(count if match[2] == "s" else count / 60, count)


def parse_size(value: object) -> int:
    """Bytes from a number, ``512KiB``, ``16MiB`` or ``1GiB``.

    :raises ValueError: when the text has another form.
    """
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    match = _SIZE.fullmatch(text.strip()) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"{value!r} is not a size; write a number of bytes, or one with KiB, MiB or GiB")
    return int(match[1]) * _SIZES.get(match[2], 1)


@dataclass(frozen=True)
class Address:
    """Where something listens.

    :ivar host: a name or an IP address, without brackets.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(value: object) -> Address:
    """An `Address` from ``HOST:PORT`` or ``[v6]:PORT``.

    :raises ValueError: when the text has another form.
    """
    if isinstance(value, Address):
        return value
    match = _ADDRESS.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None or int(match["port"]) > 65535 or (match["v6"] and not _is_v6(match["v6"])):
        raise ValueError(f"{value!r} is not an address; write HOST:PORT, like 127.0.0.1:8470")
    return Address(match["v6"] or match["host"], int(match["port"]))


def _is_v6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def parse_domain(text: str) -> str:
    """A domain, prepared as in a JID.

    :raises ValueError: when it is not a domain.
    """
    try:
        jid = prepare(text)
    except JidError as error:
        raise ValueError(error.message) from None
    if jid.full != jid.domain:
        raise ValueError(f"{text!r} is not a domain; write it without '@' and '/'")
    return jid.domain


def _duration(value: Any) -> float:
    return float(value) if isinstance(value, float) else parse_duration(value)


Duration = Annotated[float, BeforeValidator(_duration)]
"""Seconds, written as a number with a unit."""

RateSetting = Annotated[Rate, BeforeValidator(parse_rate), PlainSerializer(str)]
"""A `Rate`, written ``N/s``, ``N/min`` or ``unlimited``."""

SizeSetting = Annotated[int, BeforeValidator(parse_size)]
"""Bytes, written as a number that may have a unit."""

AddressSetting = Annotated[Address, BeforeValidator(parse_address), PlainSerializer(str)]
"""An `Address`, written ``HOST:PORT``."""

Domain = Annotated[str, AfterValidator(parse_domain)]
"""A prepared domain."""


def _beside_the_file(value: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base")
    if "\0" in str(value):
        raise ValueError("a path cannot contain the character U+0000")
    return Path(base) / value if base is not None else value


PathSetting = Annotated[Path, AfterValidator(_beside_the_file)]
"""A path; a relative one is relative to the configuration file (validation context ``{"base": folder}``)."""


class Secret(Section):
    """Where a secret is kept: in a file or in an environment variable, never in the configuration itself."""

    file: PathSetting | None = None
    env: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> Secret:
        if (self.file is None) == (self.env is None):
            raise ValueError("name exactly one source: {file: PATH} or {env: NAME}")
        return self

    def read(self) -> str:
        """The secret, without surrounding white space.

        :raises ValueError: when the source is missing, unreadable or empty; the message never shows the secret.
        """
        if self.file is None:
            text, source = os.environ.get(self.env or "", ""), f"environment variable {self.env}"
        else:
            source = f"file {self.file}"
            try:
                text = self.file.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"the secret cannot be read from {source}: {error}") from None
        if not text.strip():
            raise ValueError(f"the secret is empty: {source}")
        return text.strip()
