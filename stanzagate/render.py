"""The one renderer of deployment files: `init`, the sandbox and the tests use the same templates.

Templates are jinja2 files under ``deploy/`` with the suffix ``.j2``. A variable that a template names and nobody
gave is an error, and values are quoted by the filters of the language that the file is written in.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, Undefined

from component.base.errors import InputError, StanzagateError

_UNIT_SPECIAL = re.compile(r'[\s"\'\\$%;]')


def deploy_folder() -> Path:
    """The folder of deployment files: beside the packages in a checkout, inside the package when installed.

    :raises StanzagateError: when neither is there, so the installation is incomplete.
    """
    package = Path(__file__).resolve().parent
    for folder in (package.parent / "deploy", package / "_data" / "deploy"):
        if (folder / "stanzagate.yaml.j2").is_file():
            return folder
    raise StanzagateError(
        f"The deployment files are missing beside {package}.", hint="Install the package again: pip install ."
    )


def render(template: str, values: Mapping[str, Any]) -> str:
    """Fill in a template.

    :param template: name under ``deploy/``, for example ``prosody/sandbox.cfg.lua.j2``.
    :raises StanzagateError: when the template is damaged or a value is missing; values are not shown.
    """
    try:
        return _environment(deploy_folder()).get_template(template).render(values)
    except TemplateError as error:
        raise StanzagateError(f"The template {template} cannot be filled in: {error}.") from None


def lua(value: Any) -> str:
    """A Lua literal of a string, number, boolean, or list of strings.

    :raises InputError: when a string has a control character: none of our values has a use for one.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "{ " + ", ".join(lua(item) for item in value) + " }" if value else "{ }"
    text = _printable(str(value))
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def yaml(value: Any) -> str:
    """A YAML flow value; JSON is a subset of it.

    :raises InputError: as `lua`.
    """
    if isinstance(value, str | Path | Undefined):  # the text of an undefined value is an error
        value = _printable(str(value))
    return json.dumps(value, ensure_ascii=False)


def erlang(value: Any) -> str:
    """An Erlang string literal.

    :raises InputError: as `lua`.
    """
    return '"' + _printable(str(value)).replace("\\", "\\\\").replace('"', '\\"') + '"'


def unit(value: Any) -> str:
    """A word of a systemd unit file.

    :raises InputError: when it would need quoting: paths like that are refused instead of guessed at.
    """
    text = _printable(str(value))
    if not text or _UNIT_SPECIAL.search(text):
        raise InputError(f"{text!r} cannot stand in a unit file.", hint="Choose one of letters, digits, ., - and _.")
    return text


def shell(value: Any) -> str:
    """A word of a shell script.

    :raises InputError: as `lua`.
    """
    return shlex.quote(_printable(str(value)))


def _printable(text: str) -> str:
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in text):
        raise InputError(f"{text!r} has a control character.", hint="Choose a name without one.")
    return text


@cache
def _environment(folder: Path) -> Environment:
    # Not HTML: every value is quoted by the filter of its own language.
    environment = Environment(  # noqa: S701
        loader=FileSystemLoader(folder), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {"lua": lua, "yaml": yaml, "erlang": erlang, "unit": unit, "shell": shell}
    return environment
