"""Finding the service: ``--socket PATH``, ``--dir DIR``, ``STANZAGATE_SOCKET``, or where a package puts it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from component.base.errors import InputError, Unreachable

VARIABLE = "STANZAGATE_SOCKET"
DEFAULT = Path("/run/stanzagate/admin.sock")
SANDBOX_FILE = "sandbox.json"
CONFIG_FILE = "stanzagate.yaml"
DEFAULT_NAME = "admin.sock"


def find_socket(directory: Path | None, socket: Path | None) -> Path:
    """The path of the admin socket.

    :param socket: wins over `directory`, and that over the environment.
    :raises Unreachable: nothing says where the service is, or there is no such folder.
    :raises InputError: the folder's files cannot be understood.
    """
    if socket is not None:
        return socket
    if directory is not None:
        return _of_folder(directory)
    if variable := os.environ.get(VARIABLE):
        return Path(variable)
    if DEFAULT.exists():
        return DEFAULT
    raise Unreachable(
        "Nothing says where the service is.", hint=f"Give --dir DIR or --socket PATH, or set {VARIABLE}."
    )


def _of_folder(folder: Path) -> Path:
    try:
        if (sandbox := folder / SANDBOX_FILE).exists():
            return _of_sandbox(sandbox)
        if (config := folder / CONFIG_FILE).exists():
            return _of_config(config)
    except OSError as error:
        raise Unreachable(f"{error.filename} cannot be read: {error.strerror}.") from None
    if not folder.is_dir():
        raise Unreachable(f"There is no folder {folder}.", hint="Start a sandbox there, or name another folder.")
    raise Unreachable(
        f"{folder} holds neither {SANDBOX_FILE} nor {CONFIG_FILE}.", hint="Is the sandbox up? Is it another folder?"
    )


def _of_sandbox(file: Path) -> Path:
    try:
        admin = json.loads(file.read_text(encoding="utf-8"))["admin"]
        socket = None if admin is None else Path(admin["socket"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{file} is not the description of a sandbox.") from None
    if socket is None:
        raise Unreachable(f"The sandbox of {file.parent} runs no service.", hint="Take it down and up again.")
    return file.parent / socket


def _of_config(file: Path) -> Path:
    from ruamel.yaml import YAML  # noqa: PLC0415  # slow to import, and mostly not needed
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    try:
        data: Any = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
        socket = ((data.get("admin") or {}).get("socket")) or DEFAULT_NAME
        return file.parent / Path(socket)
    except (YAMLError, AttributeError, TypeError, UnicodeDecodeError):
        raise InputError(
            f"{file} is not a configuration.", hint=f"`stanzagate check-config {file}` says what is wrong."
        ) from None
