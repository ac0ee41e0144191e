"""Building blocks of the configuration: durations, rates, secrets, and the model every section derives from.

Each package declares the section that it owns as a subclass of `Section`; the program composes them.
"""

from __future__ import annotations

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

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|min|m|h|d|w)", re.ASCII)
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*/\s*(s|min)", re.ASCII)


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


def _duration(value: Any) -> float:
    return float(value) if isinstance(value, float) else parse_duration(value)


Duration = Annotated[float, BeforeValidator(_duration)]
"""Seconds, written as a number with a unit."""

RateSetting = Annotated[Rate, BeforeValidator(parse_rate), PlainSerializer(str)]
"""A `Rate`, written ``N/s``, ``N/min`` or ``unlimited``."""


def _beside_the_file(value: Path, info: ValidationInfo) -> Path:
    base = (info.context or {}).get("base")
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
