"""A device's user name and password, as one sealed value that belongs to its prepared id."""

from __future__ import annotations

import json

from component.base.connreq import LONGEST_CREDENTIAL
from component.base.errors import InputError
from component.base.secrets import Vault


def check_credentials(username: str, password: str) -> None:
    """Refuse what is too long or cannot stand in XML; the text itself is never told.

    :raises InputError: for such a text.
    """
    for what, text in (("user name", username), ("password", password)):
        if len(text) > LONGEST_CREDENTIAL:
            raise InputError(f"The {what} has {len(text)} characters.", hint=f"Use at most {LONGEST_CREDENTIAL}.")
        if not text.isprintable():
            raise InputError(f"The {what} has a character that cannot be sent.", hint="Use printable characters.")


def sealed(vault: Vault, key: str, username: str, password: str) -> bytes | None:
    """Credentials as they are stored; None for none.

    :param key: the prepared id of the device; they open for no other one.
    """
    if not username and not password:
        return None
    return vault.seal(json.dumps([username, password]), key)


def opened(vault: Vault, key: str, stored: bytes) -> tuple[str, str]:
    """The opposite of `sealed`."""
    username, password = json.loads(vault.unseal(stored, key))
    return username, password
