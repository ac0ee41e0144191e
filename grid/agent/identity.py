"""Who a node is and what it shows for it: whether its certificate can be used, and whether it is the node's own.

The server, not the node, decides for whom a certificate is good (RFC 6120 §13.7.2). What is looked at here are
mistakes of whoever starts the node, so that they are named before anything is sent: a server lets in whomever the
certificate names, whatever name the node believes to have.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509

from component.base.errors import ConfigError, InputError
from component.base.jid import prepare
from grid.agent import trust
from grid.agent.stream import Login
from grid.xmppaddr import addresses

RESOURCE = "agent"


def login(
    jid: str,
    *,
    host: str,
    port: int,
    ca: Path | str | None,
    cert: Path | str | None,
    key: Path | str | None,
    password: str,
    pin: str | Sequence[str],
    crl: Path | str | None,
) -> Login:
    """As whom, and to whom, to connect; the parameters are those of `grid.agent.Agent`.

    :raises InputError: they cannot be used.
    """
    address = prepare(jid)
    if not address.local:
        raise InputError(f"{jid} is not the JID of a node.", hint="Write local@domain.")
    if not (cert or password):
        raise InputError(f"{jid} has neither a certificate nor a password to log in with.")
    tls = trust.context(ca=ca, pins=[pin] if isinstance(pin, str) else list(pin), crl=crl)
    if cert is not None:
        show(tls, address.bare, cert, key)
    return Login(f"{address.bare}/{address.resource or RESOURCE}", tls, host, port, cert is not None, password)


def show(tls: ssl.SSLContext, jid: str, cert: Path | str, key: Path | str | None = None) -> None:
    """Have a context show the certificate of a node.

    :param jid: the node's bare JID, which the certificate must carry as xmppAddr (RFC 6120 §13.7.1.4).
    :param cert: PEM file of the certificate; further ones of its chain may follow it.
    :param key: PEM file of its private key, without a pass phrase; left out when it is in `cert`.
    :raises ConfigError: a file cannot be used, they do not belong together, or it is somebody else's certificate.
    """
    certificates, keys = _text(cert), _text(cert if key is None else key)
    if "BEGIN CERTIFICATE-----" not in certificates:
        raise ConfigError("holds no certificate in PEM.", file=str(cert))
    if "PRIVATE KEY-----" not in keys:
        hint = "" if key is not None else "Say which file does (`key`, or --key)."
        raise ConfigError("holds no private key in PEM.", file=str(key or cert), hint=hint)
    if "ENCRYPTED" in keys:
        raise ConfigError("is a key with a pass phrase; use one without.", file=str(key or cert))
    try:
        tls.load_cert_chain(cert, key, password="")  # an empty one: OpenSSL would ask for it on the terminal
    except ssl.SSLError as error:
        if error.reason in ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH"):
            other = "in it" if key is None else f"in {key}"
            raise ConfigError(f"does not belong to the private key {other}.", file=str(cert)) from None
        files = str(cert) if key is None else f"{cert} or {key}"
        raise ConfigError(f"{files} cannot be read as PEM: {error.reason or error}.") from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or error}.", file=str(cert)) from None
    _check(certificates, jid, cert)


def _text(file: Path | str) -> str:
    try:
        return Path(file).read_text(encoding="ascii", errors="replace")
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror or error}.", file=str(file)) from None


def _check(text: str, jid: str, file: Path | str) -> None:
    try:
        known = addresses(x509.load_pem_x509_certificates(text.encode())[0])
    except ValueError:  # OpenSSL can use it; who it is for, the server will say
        return
    if jid not in known:
        whose = f"is the certificate of {', '.join(known)}, not of {jid}." if known else f"does not name {jid}."
        hint = "`stanzagate ca issue` makes one that carries the JID as xmppAddr."
        raise ConfigError(whose, file=str(file), hint=hint)
