"""Whom a node trusts: TLS 1.2 or newer, the server's certificate verified for the domain of the JID, and pins.

The certificate must be signed by the authorities of `ca` and name the domain as a DNS name of its own (RFC 6125 §6.4;
the common name is not looked at). With pins it must also be one of those (draft-ietf-mile-xmpp-grid-01 §5.3.6). Both
are checked within the handshake: with TLS 1.3 not even the own certificate has left by then.
"""

from __future__ import annotations

import hashlib
import re
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

from component.base.errors import ConfigError, InputError

_PIN = re.compile(r"[0-9a-f]{64}")


def fingerprint(text: str) -> str:
    """A SHA-256 fingerprint as it is compared: 64 lower-case hexadecimal digits.

    :param text: with or without colons, in either case, ``SHA256:`` before it or not.
    :raises InputError: it is something else.
    """
    found = text.strip().lower().removeprefix("sha256:").removeprefix("sha-256:").replace(":", "").replace(" ", "")
    if _PIN.fullmatch(found) is None:
        raise InputError(
            f"{text[:80]!r} is not the SHA-256 fingerprint of a certificate.",
            hint="`openssl x509 -in FILE -noout -fingerprint -sha256` gives one.",
        )
    return found


class NotPinned(ssl.SSLCertVerificationError):
    """The server showed another certificate than the pinned one."""


def context(
    *,
    ca: Path | str | None = None,
    pins: Sequence[str] = (),
    crl: Path | str | None = None,
) -> ssl.SSLContext:
    """What verifies the server.

    :param ca: PEM file of the authorities; those of the system when it is left out.
    :param pins: fingerprints, one of which the server's certificate must have.
    :param crl: PEM file of the authority's revocation list; an expired one refuses every certificate.
    :raises ConfigError: a file cannot be used.
    :raises InputError: a pin is no fingerprint.
    """
    wanted = frozenset(map(fingerprint, pins))
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies chain and name
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.hostname_checks_common_name = False
    if ca is None:
        made.load_default_certs()
    else:
        _use(ca, "the authorities of the server", lambda: made.load_verify_locations(cafile=str(ca)))
    if crl is not None:
        _use(crl, "a revocation list", lambda: made.load_verify_locations(cafile=str(crl)))
        made.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    if wanted:
        made.sslobject_class = _pinned(wanted)
    return made


def _pinned(pins: frozenset[str]) -> type[ssl.SSLObject]:
    class Pinned(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            shown = hashlib.sha256(self.getpeercert(binary_form=True) or b"").hexdigest()
            if shown not in pins:
                raise NotPinned(1, f"it is not pinned; its SHA-256 fingerprint is {shown}")

    return Pinned


def _use(file: Path | str, what: str, load: Callable[[], None]) -> None:
    try:
        load()
    except ssl.SSLError as error:
        raise ConfigError(f"is not {what} in PEM: {error.reason or error}.", file=str(file)) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or error}.", file=str(file)) from None
