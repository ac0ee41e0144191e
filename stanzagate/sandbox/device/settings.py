"""What a device is told, in Python and in the file of the device process."""

from __future__ import annotations

import json
import stat
from collections import Counter
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from component.base.errors import ConfigError, InputError
from component.base.settings import UNLIMITED, RateSetting
from stanzagate.sandbox.device.allowed import AllowedList
from stanzagate.sandbox.device.quirks import Quirk, parse_quirks


class _Model(BaseModel):
    # hide_input_in_errors: what was typed may be a password
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True)


class InSession(StrEnum):
    """What a device does with a valid connection request while it is in a session with the ACS (Annex K.2.3)."""

    REFUSE = "refuse"
    LATER = "later"


class Retry(_Model):
    """When to try again: the wait before attempt n is random, growing by a factor up to a limit.

    :ivar initial: seconds within which the first retry happens (``ServerRetryInitialInterval``).
    :ivar multiplier: growth of that interval in thousandths (``ServerRetryIntervalMultiplier``).
    :ivar maximum: seconds that it never exceeds (``ServerRetryMaxInterval``).
    """

    initial: float = Field(default=60, gt=0)
    multiplier: float = Field(default=2000, ge=1000)
    maximum: float = Field(default=30720, gt=0)

    def wait(self, failures: int, uniform: Callable[[float, float], float]) -> float:
        """Seconds to wait after the `failures`-th failure in a row, counted from 1 (RFC 6120 §3.3: unpredictable, and
        backing off).

        :param uniform: like `random.uniform`.
        """
        ceiling = min(self.initial * (self.multiplier / 1000) ** min(failures - 1, 64), self.maximum)
        return uniform(0 if failures == 1 else ceiling / 2, ceiling)


class Connection(Retry):
    """``XMPP.Connection.{i}.``

    :ivar keep_alive: seconds between white-space keep-alives; -1 leaves it to the device, 0 sends none
        (``KeepAliveInterval``).
    :ivar timeout: seconds from the TCP connection to the bound resource.
    """

    keep_alive: float = Field(default=-1, ge=-1)
    timeout: float = Field(default=30, gt=0)


def _allowed(value: Any) -> AllowedList:
    if isinstance(value, AllowedList):
        return value
    try:
        return AllowedList.parse(value) if isinstance(value, str) else AllowedList.of(list(value))
    except InputError as error:
        raise ValueError(str(error)) from None


def _quirks(value: Any) -> Quirk:
    if isinstance(value, Quirk):
        return value
    try:
        return parse_quirks(value)
    except InputError as error:
        raise ValueError(str(error)) from None


def _endpoint(value: Any) -> tuple[str, int] | None:
    if value is None or isinstance(value, tuple):
        return value
    host, _, port = str(value).rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise ValueError("write a port, host:port or null")
    return host or "127.0.0.1", int(port)


class DeviceSettings(_Model):
    """One device.

    :ivar id: ``OUI-SERIAL``, what its Inform identifies it by.
    :ivar jid: what it binds; without a resource the server chooses one.
    :ivar cr_username: ConnectionRequestUsername; neither it nor the password may be empty, or everyone would know it.
    :ivar cr_password: ConnectionRequestPassword.
    :ivar reported_jid: the ConnReqJabberID that the ACS knows already; another one is reported as a value change.
    :ivar allowed: ConnReqAllowedJabberIDs, as a list or as the parameter's value; empty allows everyone.
    :ivar in_session: whether it refuses connection requests during a session, or holds one more afterwards.
    :ivar limit: how many connection requests it looks at; more are refused.
    :ivar late: seconds that an answer takes with `Quirk.LATE`.
    """

    id: str = Field(min_length=1)
    jid: str
    password: SecretStr
    cr_username: str = Field(min_length=1)
    cr_password: SecretStr = Field(min_length=1)
    allowed: Annotated[AllowedList, BeforeValidator(_allowed)] = AllowedList()
    quirks: Annotated[Quirk, BeforeValidator(_quirks)] = Quirk.NONE
    reported_jid: str = ""
    in_session: InSession = InSession.LATER
    limit: RateSetting = UNLIMITED
    late: float = Field(default=15, gt=0)
    connection: Connection | None = None


class ProcessSettings(_Model):
    """The file of ``python -m stanzagate.sandbox.device --config FILE``.

    :ivar ca: the CA that signs the server; a path relative to the file.
    :ivar endpoint: ``cwmp`` in the file: where the recording endpoint listens, a port of 127.0.0.1 or ``host:port``,
        and port 0 is a free one; null for no endpoint, then the devices hold no sessions.
    :ivar ready_file: written when the endpoint listens and every device is connected.
    :ivar connection: timers of every device that has none of its own. The first retry is within 2 s here, not 60 as
        in the data model: this is a sandbox.
    :ivar connecting: how many devices connect at a time.
    """

    ca: Path
    host: str
    port: int = Field(ge=1, le=65535)
    endpoint: Annotated[tuple[str, int] | None, BeforeValidator(_endpoint), Field(alias="cwmp")] = ("127.0.0.1", 0)
    ready_file: Path | None = None
    connection: Connection = Connection(initial=2, maximum=30)
    connecting: int = Field(default=16, ge=1)
    devices: tuple[DeviceSettings, ...]


def load(path: Path) -> ProcessSettings:
    """Read the file of the device process.

    :raises ConfigError: when it cannot be read, is open to others, is not JSON or says something wrong; no message
        shows a value from the file.
    """
    try:
        with path.open(encoding="utf-8") as file:
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise ConfigError("it holds passwords and others can read it.", file=str(path), hint="chmod 600 it.")
            content = json.load(file)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"it cannot be read: {error}", file=str(path)) from None
    except json.JSONDecodeError as error:
        raise ConfigError(f"it is not JSON: {error.msg}.", file=str(path), line=error.lineno) from None
    try:
        settings = ProcessSettings.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{first['msg']}.", file=str(path), key=key) from None
    counts = Counter(device.id for device in settings.devices)
    duplicates = {id for id, count in counts.items() if count > 1}
    if duplicates:
        raise ConfigError(f"{', '.join(sorted(duplicates))} appears more than once.", file=str(path), key="devices")
    return settings.model_copy(update={"ca": path.parent / settings.ca})
