"""The people and devices of a sandbox, with passwords made once for its folder."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from component.base.errors import InputError
from component.base.files import write_atomic

CPE_DOMAIN = "cpe.test"
ACS_DOMAIN = "acs.test"
GRID_DOMAIN = "grid.test"
ACS_COUNT, DEVICE_COUNT, NODE_COUNT = 3, 5, 5


@dataclass(frozen=True)
class Account:
    """An account of the server. Its password is never shown."""

    jid: str
    password: str

    def __repr__(self) -> str:
        return f"Account({self.jid!r})"


@dataclass(frozen=True)
class Device:
    """A device: its account, its full JID, and what a connection request must carry."""

    id: str
    jid: str
    password: str
    cr_username: str
    cr_password: str

    @property
    def account(self) -> Account:
        """The account it logs in with."""
        return Account(self.jid.partition("/")[0], self.password)

    def __repr__(self) -> str:
        return f"Device({self.id!r}, {self.jid!r})"


@dataclass(frozen=True)
class Accounts:
    """Everybody that the sandbox knows, and the secrets of its parts."""

    acs: tuple[Account, ...]
    rogue: Account
    devices: tuple[Device, ...]
    nodes: tuple[Account, ...]
    token: str
    component_secrets: dict[str, str]

    @property
    def on_server(self) -> tuple[Account, ...]:
        """Every account that must exist on the server."""
        return (*self.acs, self.rogue, *(device.account for device in self.devices), *self.nodes)

    def __repr__(self) -> str:
        return "Accounts(…)"


def make(components: tuple[str, ...], *, secret: Callable[[], str] = lambda: secrets.token_urlsafe(18)) -> Accounts:
    """New accounts with new secrets."""
    return Accounts(
        acs=tuple(Account(f"acs{number}@{ACS_DOMAIN}", secret()) for number in range(1, ACS_COUNT + 1)),
        rogue=Account(f"rogue@{ACS_DOMAIN}", secret()),
        devices=tuple(
            Device(f"00256D-{number:04}", f"cpe{number}@{CPE_DOMAIN}/tr069", secret(), f"cr{number}", secret())
            for number in range(1, DEVICE_COUNT + 1)
        ),
        nodes=tuple(Account(f"soc{number}@{GRID_DOMAIN}", secret()) for number in range(1, NODE_COUNT + 1)),
        token=secret(),
        component_secrets={domain: secret() for domain in components},
    )


def load_or_make(path: Path, components: tuple[str, ...]) -> Accounts:
    """The accounts of an earlier run in the same folder, or new ones; written with mode 0600.

    :raises InputError: when the file is damaged.
    """
    accounts = _parsed(path) if path.exists() else make(components)
    missing = tuple(domain for domain in components if domain not in accounts.component_secrets)
    if path.exists() and not missing:
        return accounts
    accounts = replace(accounts, component_secrets=make(missing).component_secrets | accounts.component_secrets)
    write_atomic(path, json.dumps(asdict(accounts), indent=1).encode())
    return accounts


def _parsed(path: Path) -> Accounts:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Accounts(
            acs=tuple(Account(**item) for item in data["acs"]),
            rogue=Account(**data["rogue"]),
            devices=tuple(Device(**item) for item in data["devices"]),
            nodes=tuple(Account(**item) for item in data["nodes"]),
            token=str(data["token"]),
            component_secrets={str(key): str(value) for key, value in data["component_secrets"].items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path} is damaged.", hint="Remove the folder of the sandbox and start it again.") from None
