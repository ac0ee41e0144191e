"""The configuration file: one YAML document, composed of the sections that each package declares.

Every error names the file, the line and the key. Secrets are never in the file itself, so nothing here hides them.
"""

from __future__ import annotations

import logging
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from component.base.errors import ConfigError
from component.base.settings import PathSetting, Secret, Section, parse_address
from component.gate.settings import GateSettings
from component.relay.settings import RelaySettings
from grid.settings import GridSettings

log = logging.getLogger(__name__)

_SectionT = TypeVar("_SectionT", bound=Section)

STDIN = Path("-")
SHORT_TOKEN = 16


class ServerKind(StrEnum):
    """Which XMPP server the components attach to."""

    PROSODY = "prosody"
    EJABBERD = "ejabberd"


class ServerSettings(Section):
    """The XMPP server beside us. Component streams are plain text: loopback, or a tunnel of the operator's."""

    kind: ServerKind
    host: str = "127.0.0.1"


class Token(Section):
    """One bearer token of the admin API."""

    file: PathSetting | None = None
    env: str | None = None
    role: Literal["admin", "read", "relay"]

    @model_validator(mode="after")
    def _one_source(self) -> Token:
        self.secret()
        return self

    def secret(self) -> Secret:
        """Where the token is kept."""
        return Secret(file=self.file, env=self.env)


class AdminSettings(Section):
    """Where the admin API listens, and who may use it over TCP."""

    socket: PathSetting = Path("admin.sock")
    listen: str | None = None
    tokens: dict[str, Token] = Field(default_factory=dict)

    @field_validator("listen")
    @classmethod
    def _host_and_port(cls, value: str | None) -> str | None:
        if value is not None:
            parse_address(value)
        return value

    @model_validator(mode="after")
    def _tokens_for_tcp(self) -> AdminSettings:
        if self.listen is not None and not self.tokens:
            raise ValueError("listen needs at least one token under tokens:, or anybody could use the API")
        return self


class Config(Section):
    """The whole file as ``serve`` reads it. `relay` belongs to ``stanzagate relay`` and is not looked at here."""

    server: ServerSettings
    database: str = "sqlite:///stanzagate.db"
    gate: GateSettings
    admin: AdminSettings
    grid: GridSettings | None = None
    relay: Any = None
    base: Path = Field(default=Path(), exclude=True, repr=False)

    @field_validator("database")
    @classmethod
    def _known_database(cls, value: str) -> str:
        try:
            url = make_url(value)
        except ArgumentError:
            raise ValueError(f"{value!r} is not a database URL; write sqlite:///stanzagate.db") from None
        if url.get_backend_name() != "sqlite":
            raise ValueError(
                f"this version has no driver for {url.get_backend_name()}; write sqlite:///stanzagate.db"
            )
        if not url.database or url.database == ":memory:":
            raise ValueError("a database in memory loses every change; write sqlite:///stanzagate.db")
        return value

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, data: Any) -> Any:
        return {"admin": {}, **data} if isinstance(data, Mapping) else data


class RelayFile(Section):
    """The whole file as ``relay`` reads it: the sections of ``serve`` may be there, and are not looked at."""

    relay: RelaySettings
    server: Any = None
    database: Any = None
    gate: Any = None
    admin: Any = None
    grid: Any = None


def state_folder(config: Config) -> Path:
    """The folder of keys and audit head: that of the SQLite file, else that of the configuration."""
    url = make_url(config.database)
    if url.get_backend_name() == "sqlite" and url.database:
        return (config.base / url.database).parent
    return config.base


def load(path: Path, *, base: Path | None = None) -> Config:
    """Read and validate a configuration file for ``serve``; secrets are located, not read.

    :param path: the file, or ``-`` for standard input; then relative paths are relative to the current folder.
    :param base: what relative paths are relative to instead of the folder of the file.
    :raises ConfigError: the file is missing, is not YAML, or has an unknown key or a bad value. The first problem is
        the message, further ones are its details.
    """
    return _config(path, _sections(path), base or _base(path))


def load_relay(path: Path, *, base: Path | None = None) -> RelaySettings:
    """Read a configuration file and validate its section ``relay:``; what is probably not meant is logged.

    :param path: as for `load`.
    :param base: as for `load`.
    :raises ConfigError: as `load` does.
    """
    return _relay(path, _sections(path), base or _base(path))


def load_all(path: Path) -> tuple[Config | None, RelaySettings | None]:
    """Read a configuration file and validate all that is in it.

    :return: what ``serve`` would read, None when the file is for ``relay`` alone; and what ``relay`` would read, None
        when there is nothing for it.
    :raises ConfigError: as `load` does.
    """
    data, base = _sections(path), _base(path)
    relay = _relay(path, data, base) if "relay" in data else None
    return None if relay and set(data) <= {"relay", "server"} else _config(path, data, base), relay


def _base(path: Path) -> Path:
    return Path.cwd() if path == STDIN else path.absolute().parent


def _sections(path: Path) -> Mapping[str, Any]:
    data = _parse(path)
    if not isinstance(data, Mapping):
        raise ConfigError(
            "The file must be a mapping of sections.", file=str(path), line=1, hint="Start with server: or relay:."
        )
    if "base" in data:
        raise ConfigError("Unknown key.", file=str(path), line=_line(data, ("base",)), key="base")
    return data


def _config(path: Path, data: Mapping[str, Any], base: Path) -> Config:
    return _validated(Config, path, data, base).model_copy(update={"base": base})


def _relay(path: Path, data: Mapping[str, Any], base: Path) -> RelaySettings:
    relay = _validated(RelayFile, path, data, base).relay
    for remark in relay.remarks():
        log.warning("%s:%d: %s: %s", path, _line(data, remark.location), ".".join(remark.location), remark.text)
    return relay


def _validated(model: type[_SectionT], path: Path, data: Mapping[str, Any], base: Path) -> _SectionT:
    try:
        return model.model_validate(data, context={"base": base})
    except ValidationError as error:
        problems = [_problem(path, data, item) for item in error.errors(include_url=False)]
        first = problems[0]
        raise ConfigError(
            first.message_only, file=str(path), line=first.line, key=first.key,
            hint=first.hint, details=[str(problem) for problem in problems[1:]],
        ) from None  # fmt: skip


def read_secret(path: Path, key: str | Sequence[str], secret: Secret) -> str:
    """The secret behind a key.

    :param key: with dots, or in parts when a part has dots itself.
    :raises ConfigError: it is missing, unreadable or empty; the message never shows it.
    """
    parts = tuple(key.split(".")) if isinstance(key, str) else tuple(key)
    key = ".".join(parts)
    try:
        text = secret.read()
    except ValueError as error:
        line = _line(_parse(path), parts) if path != STDIN else 0
        raise ConfigError(f"{error}.", file=str(path), line=line, key=key) from None
    if key.startswith("admin.tokens.") and len(text) < SHORT_TOKEN:
        log.warning("%s has less than %d characters, so it could be guessed.", key, SHORT_TOKEN)
    if secret.file is not None and secret.file.stat().st_mode & stat.S_IROTH:
        log.warning("%s can be read by everybody on this machine; chmod 600 it.", secret.file)
    return text


def secrets_of(config: Config | None, relay: RelaySettings | None) -> Iterator[tuple[tuple[str, ...], Secret]]:
    """Every secret of a configuration, with the parts of its key."""
    if config is not None:
        yield ("gate", "secret"), config.gate.secret
        for name, token in config.admin.tokens.items():
            yield ("admin", "tokens", name), token.secret()
        if config.grid is not None:
            yield ("grid", "secret"), config.grid.secret
    if relay is not None:
        if relay.dialback_secret is not None:
            yield ("relay", "dialback_secret"), relay.dialback_secret
        if relay.policy.token is not None:
            yield ("relay", "policy", "token"), relay.policy.token
        for name, partner in relay.partners.items():
            yield ("relay", "partners", name, "secret"), partner.secret


def _parse(path: Path) -> Any:
    try:
        text = sys.stdin.buffer.read() if path == STDIN else path.read_bytes()
        return YAML(typ="rt", pure=True).load(text.decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}.", file=str(path)) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8: {error.reason}.", file=str(path)) from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        problem = (error.problem or str(error)).splitlines()[0]
        raise ConfigError(f"{problem}.", file=str(path), line=line) from None
    except YAMLError as error:
        raise ConfigError(f"is not YAML: {error}.", file=str(path)) from None
    except Exception as error:  # the library fails in many ways on what is nearly YAML
        raise ConfigError(f"is not YAML that could be read ({type(error).__name__}).", file=str(path)) from None


class _Problem(ConfigError):
    message_only: str = ""


def _problem(path: Path, data: Any, item: Any) -> _Problem:
    location: tuple[Any, ...] = item["loc"]
    key = ".".join(str(part) for part in location if part != "[key]")
    hint = ""
    match item["type"]:
        case "extra_forbidden":
            text, hint = "Unknown key.", "Remove it, or look it up in docs/configuration.md."
        case "model_type" | "model_attributes_type":
            text, hint = "This is not a mapping.", "Write {key: value, …}; a secret is {file: PATH} or {env: NAME}."
        case "missing":
            text = "This key is missing."
        case "value_error":
            text = str(item["ctx"]["error"]).rstrip(".") + "."
        case _:
            text = f"{item['msg']}."
    problem = _Problem(text, file=str(path), line=_line(data, location), key=key, hint=hint)
    problem.message_only = text
    return problem


def _line(data: Any, location: tuple[Any, ...]) -> int:
    """The line of the deepest key of `location` that is in the file, counted from 1."""
    line = 1
    for key in location:
        part = _as_written(data, key)
        try:
            line = int((data.lc.key(part) if isinstance(data, CommentedMap) else data.lc.item(part))[0]) + 1
            data = data[part]
        except (AttributeError, KeyError, IndexError, TypeError):  # the key is missing, or its value is a scalar
            break
    return line


def _as_written(data: Any, key: Any) -> Any:
    """A key as the file has it: names of domains are prepared when they are read."""
    if not isinstance(data, Mapping) or key in data:
        return key
    return next((written for written in data if isinstance(written, str) and written.strip().lower() == key), key)
