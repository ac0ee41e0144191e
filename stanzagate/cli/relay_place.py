"""Finding the relay: ``--socket``, ``-c FILE``, ``--dir``, ``STANZAGATE_RELAY_SOCKET``, or the usual place."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from component.base.errors import InputError, Unreachable
from stanzagate.cli.place import CONFIG_FILE, SANDBOX_FILE

VARIABLE = "STANZAGATE_RELAY_SOCKET"
DEFAULT = Path("/run/stanzagate-relay/relay.sock")
RELAY_FILE = "relay.yaml"
DEFAULT_NAME = "relay.sock"


def find_relay(config: Path | None, directory: Path | None, socket: Path | None) -> Path:
    """The path of the relay's status socket.

    :param socket: wins over `config`, that over `directory`, and that over the environment.
    :raises Unreachable: nothing says where the relay is, or there is no such folder.
    :raises InputError: a file cannot be understood.
    """
    if socket is not None:
        return socket
    if config is not None:
        return _of_config(config)
    if directory is not None:
        return _of_folder(directory)
    if variable := os.environ.get(VARIABLE):
        return Path(variable)
    if DEFAULT.exists():
        return DEFAULT
    raise Unreachable(
        "Nothing says where the relay is.", hint=f"Give -c FILE, --dir DIR or --socket PATH, or set {VARIABLE}."
    )


def _of_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise Unreachable(f"There is no folder {folder}.", hint="Name the folder of the relay's configuration.")
    try:
        if (file := folder / RELAY_FILE).exists():
            return _of_config(file)
        if (folder / SANDBOX_FILE).exists():
            raise Unreachable(f"The sandbox of {folder} runs no relay.", hint="Name the relay's own file: -c FILE.")
        if (file := folder / CONFIG_FILE).exists():
            return _of_config(file)
    except PermissionError as error:
        raise Unreachable(f"{error.filename} cannot be read: {error.strerror}.") from None
    raise Unreachable(
        f"{folder} holds neither {RELAY_FILE} nor {CONFIG_FILE}.", hint="Is it another folder? Use -c FILE."
    )


def _of_config(file: Path) -> Path:
    """Only where the socket is: a relay that runs can be asked, whatever the file has become since."""
    from ruamel.yaml import YAML  # noqa: PLC0415  # slow to import, and mostly not needed
    from ruamel.yaml.error import YAMLError  # noqa: PLC0415

    try:
        data: Any = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
        if data.get("relay") is None:
            raise InputError(
                f"{file} has no section relay.", hint="Name the file that `stanzagate relay -c` was given."
            )
        return file.parent / Path(data["relay"].get("status") or DEFAULT_NAME)
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}.") from None
    except (YAMLError, AttributeError, TypeError, UnicodeDecodeError):
        raise InputError(
            f"{file} is not a configuration.", hint="`stanzagate relay -c` says what is wrong."
        ) from None
