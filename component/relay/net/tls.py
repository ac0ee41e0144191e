"""TLS for S2S streams: pyOpenSSL over memory BIOs, so that a driver can begin it in the middle of a connection.

The standard library's `ssl` cannot ask for a certificate without refusing those that it does not like; here they are
judged later, for a domain that only the stream tells (`component.relay.net.certs`).

TLS 1.2 and later, forward secrecy only (RFC 9325), no compression, no renegotiation. Sessions are never resumed,
neither by tickets nor from a cache: a resumed session brings no chain, and the peer would have to be believed for
what it showed on another connection. S2S connections are few and long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto

from component.base.errors import ConfigError, StanzagateError

ALPN: Final = b"xmpp-server"
"""What direct TLS between servers is asked for with (XEP-0368 §3)."""

HANDSHAKE_LIMIT = 64 * 1024
"""Bytes that a peer may send before TLS is established."""

_RECORD = 16 * 1024
"""Plaintext of one TLS record at most (RFC 8446 §5.1); one call of `recv` never gives more."""

_CHUNK = 64 * 1024
_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2; those of 1.3 are all good."""

_OPTIONS = SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET | SSL.OP_CIPHER_SERVER_PREFERENCE
_MODE_RELEASE_BUFFERS = 0x10
"""SSL_MODE_RELEASE_BUFFERS: an idle connection keeps no buffers of 34 KiB. pyOpenSSL has no name for it."""


class TlsFailed(StanzagateError):
    """TLS with a peer came to nothing, or broke. What `TlsChannel.outgoing` gives is still to be sent: the alert."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Files of one local domain, PEM: the certificate with its chain, and the private key."""

    certificate: Path
    key: Path


class TlsContexts:
    """What the local domains show of themselves.

    :param domains: files by prepared domain; at least one.
    :raises ConfigError: a file cannot be used.
    """

    def __init__(self, domains: Mapping[str, KeyPair]) -> None:
        self._accepting: dict[str, SSL.Context] = {}
        self._connecting: dict[str, SSL.Context] = {}
        self._by_name: dict[bytes, SSL.Context] = {}
        self.load(domains)

    def load(self, domains: Mapping[str, KeyPair]) -> None:
        """Read the files again: new connections show what is in them now, connections that stand are left alone.

        :raises ConfigError: a file cannot be used; everything stays as it was.
        """
        accepting = {domain: self._context(SSL.TLS_SERVER_METHOD, domain, pair) for domain, pair in domains.items()}
        connecting = {domain: self._context(SSL.TLS_CLIENT_METHOD, domain, pair) for domain, pair in domains.items()}
        self._accepting, self._connecting = accepting, connecting
        self._by_name = {server_name(domain): context for domain, context in accepting.items()}

    def replace(self, fresh: TlsContexts) -> None:
        """Show what others show, which were read anew, from now on."""
        self._accepting, self._connecting, self._by_name = fresh._accepting, fresh._connecting, fresh._by_name

    def accepting(self, domain: str = "") -> TlsChannel:
        """TLS with a peer that connected to us. It is shown the domain's certificate that it names (SNI).

        :param domain: shown when it names none, or none of ours; empty: the first that is configured.
        """
        context = self._accepting[domain] if domain else next(iter(self._accepting.values()))
        connection = SSL.Connection(context, None)
        connection.set_accept_state()
        return TlsChannel(connection)

    def connecting(self, domain: str, partner: str, *, direct: bool = False) -> TlsChannel:
        """TLS with a peer that we connected to.

        :param domain: whose certificate is shown.
        :param partner: the domain that is named to the peer (SNI).
        :param direct: TLS comes first on this connection (XEP-0368), and says what it is for.
        """
        connection = SSL.Connection(self._connecting[domain], None)
        connection.set_connect_state()
        connection.set_tlsext_host_name(server_name(partner))
        if direct:
            connection.set_alpn_protos([ALPN])
        return TlsChannel(connection)

    def _context(self, method: int, domain: str, pair: KeyPair) -> SSL.Context:
        context = SSL.Context(method)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(_OPTIONS)
        context.set_mode(_MODE_RELEASE_BUFFERS)
        context.set_cipher_list(_CIPHERS)
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_verify(SSL.VERIFY_PEER, _take_any)
        _show(context, domain, pair)
        if method == SSL.TLS_SERVER_METHOD:
            context.set_tlsext_servername_callback(self._named)
            context.set_alpn_select_callback(_select)
        return context

    def _named(self, connection: SSL.Connection) -> None:
        context = self._by_name.get((connection.get_servername() or b"").lower())
        if context is not None and context is not connection.get_context():
            connection.set_context(context)


def server_name(domain: str) -> bytes:
    """A domain as SNI has it: in A-labels (RFC 6066 §3). One that DNS has no name for stands as it is."""
    try:
        return domain.encode("idna").lower()
    except UnicodeError:
        return domain.encode("utf-8")


def _take_any(*_: object) -> bool:
    """Every certificate is good enough to talk; `component.relay.net.certs` says what it proves."""
    return True


def _select(_: SSL.Connection, offered: Sequence[bytes]) -> bytes:
    """:raises TlsFailed: the peer wants to talk something else; it is sent the alert of RFC 7301 §3.2."""
    if ALPN in offered:
        return ALPN
    shown = ", ".join(name[:32].decode("ascii", "backslashreplace") for name in offered[:4])
    raise TlsFailed(f"The peer wants to talk {shown!r} (ALPN); only {ALPN.decode()} is spoken here.")


def _show(context: SSL.Context, domain: str, pair: KeyPair) -> None:
    certificate, key = (_content(file, domain) for file in (pair.certificate, pair.key))
    try:
        first, *above = x509.load_pem_x509_certificates(certificate)
        context.use_certificate(first)
        for one in above:
            context.add_extra_chain_cert(one)
    except (ValueError, SSL.Error) as error:
        raise ConfigError(
            f"{pair.certificate} (of {domain}) holds no certificate that can be used: {_reason(error)}.",
            hint="It must be PEM, the domain's certificate first, then those above it.",
        ) from error
    try:
        private = load_pem_private_key(key, password=None)
        if not isinstance(private, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey):
            raise ValueError("keys of this kind sign nothing here")
        context.use_privatekey(private)
        context.check_privatekey()
    except (ValueError, TypeError, UnsupportedAlgorithm, SSL.Error) as error:
        # What the libraries say of a key is left out: nobody knows what they quote.
        raise ConfigError(
            f"{pair.key} (of {domain}) is not the key of {pair.certificate}.",
            hint="It must be the certificate's private key, PEM, without a password.",
        ) from error


def _content(file: Path, domain: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{file} (of {domain}) cannot be read: {error.strerror}.",
            hint="Check relay.domains and the permissions of the file.",
        ) from error


def _reason(error: Exception) -> str:
    """What OpenSSL says, without its inner names."""
    queue = error.args[0] if error.args else None
    if isinstance(queue, list) and queue:
        return str(queue[-1][-1])
    if len(error.args) == 2:  # SysCallError: number and text
        return str(error.args[1])
    return str(queue or type(error).__name__)


class TlsChannel:
    """One TLS session, without a socket. Make one with `TlsContexts`.

    Give it what arrives (`feed`), take what is to be sent (`outgoing`), take and give plaintext (`read`, `write`).
    When a method raises `TlsFailed`, the alert for the peer is in `outgoing`; nothing else may be called afterwards.

    :ivar established: the handshake is done. Plaintext may be there already.
    :ivar ended: nothing more comes from the peer: it has said so (close_notify), or TLS is broken.
    :ivar failure: how TLS broke, one sentence; empty when it did not.
    """

    def __init__(self, connection: SSL.Connection) -> None:
        self._connection = connection
        self._handshake_bytes = 0
        self.established = False
        self.ended = False
        self.failure = ""

    def start(self) -> None:
        """Begin the handshake: the connecting side speaks first."""
        self._shake_hands()

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take ciphertext from the peer.

        :raises TlsFailed: the handshake failed, or is too long.
        """
        if data:
            self._connection.bio_write(data)
        if not self.established:
            self._handshake_bytes += len(data)
            self._shake_hands()

    def _shake_hands(self) -> None:
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            if self._handshake_bytes > HANDSHAKE_LIMIT:
                raise TlsFailed(
                    f"The peer sent {self._handshake_bytes} bytes without coming to the end of the TLS handshake."
                ) from None
        except TlsFailed:
            raise
        except SSL.Error as error:
            raise TlsFailed(f"TLS could not be agreed on: {_reason(error)}.") from error
        else:
            self.established = True

    def read(self) -> bytes:
        """All plaintext that is there; look at `ended` afterwards."""
        if not self.established or self.ended:
            return b""
        receive = self._connection.recv
        parts: list[bytes] = []
        try:
            while True:
                parts.append(receive(_RECORD))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self.ended = True
        except SSL.Error as error:
            self.ended, self.failure = True, f"TLS broke: {_reason(error)}."
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, data: bytes) -> None:
        """Encrypt plaintext; any size.

        :raises TlsFailed: TLS is not established, or broken.
        """
        try:
            self._connection.sendall(data)
        except SSL.Error as error:
            raise TlsFailed(f"TLS broke: {_reason(error)}.") from error

    def outgoing(self) -> bytes:
        """Ciphertext to be sent to the peer; empty when there is none."""
        parts: list[bytes] = []
        with suppress(SSL.WantReadError):  # it is empty
            while not parts or len(parts[-1]) == _CHUNK:
                parts.append(self._connection.bio_read(_CHUNK))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def shutdown(self) -> None:
        """Say that nothing more is sent (close_notify); it lies in `outgoing`."""
        if self.established:
            with suppress(SSL.Error):  # it broke before: there is nobody to tell
                self._connection.shutdown()

    @property
    def peer_chain(self) -> tuple[bytes, ...]:
        """The certificates that the peer has shown, DER, its own first; empty when there are none."""
        leaf = self._connection.get_peer_certificate()
        if leaf is None:
            return ()
        # Not as certificates of `cryptography`: it refuses some that OpenSSL takes, and this is no place to judge.
        first = crypto.dump_certificate(crypto.FILETYPE_ASN1, leaf)
        above = self._connection.get_peer_cert_chain() or []
        chain = [crypto.dump_certificate(crypto.FILETYPE_ASN1, one) for one in above]
        # OpenSSL leaves the peer's own out on the accepting side.
        return (first, *(chain[1:] if chain and chain[0] == first else chain))

    @property
    def version(self) -> str:
        """The version that was agreed on, for example ``TLSv1.3``; empty before."""
        return self._connection.get_protocol_version_name() if self.established else ""

    @property
    def cipher(self) -> str:
        """The cipher suite that was agreed on; empty before."""
        return self._connection.get_cipher_name() or "" if self.established else ""

    @property
    def protocol(self) -> str:
        """What was agreed on by ALPN; empty when nothing was."""
        return self._connection.get_alpn_proto_negotiated().decode("ascii", "backslashreplace")
