"""TLS over memory: against itself, against the standard library, against bare pyOpenSSL with odd wishes."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL

from component.base.errors import ConfigError
from component.relay.net.tls import HANDSHAKE_LIMIT, KeyPair, TlsChannel, TlsContexts, TlsFailed
from tests.unit.relay.certkit import CLIENT, SERVER, Made, dns, make, srv

# TLS of the standard library looks at the clock, so these are valid now.
START, END = datetime.now(UTC) - timedelta(days=2), datetime.now(UTC) + timedelta(days=2)
ROOT = make("Authority", ca=True, start=START, end=END)
LOCAL = make("local", srv("isp.test") + dns("isp.test"), by=ROOT, start=START, end=END)
SECOND = make("second", dns("xn--bcher-kva.test"), by=ROOT, start=START, end=END)
PARTNER = make("partner", srv("partner.test") + dns("partner.test"), by=ROOT, start=START, end=END)


@pytest.fixture
def local(tmp_path: Path) -> TlsContexts:
    return TlsContexts({"isp.test": LOCAL.write(tmp_path, "local"), "bücher.test": SECOND.write(tmp_path, "second")})


def contexts(folder: Path, made: Made, domain: str = "partner.test") -> TlsContexts:
    return TlsContexts({domain: made.write(folder, "peer")})


def talk(one: TlsChannel, other: TlsChannel) -> None:
    """Carry what both have to say until both are silent."""
    while True:
        there, back = one.outgoing(), other.outgoing()
        if not there and not back:
            return
        if there:
            other.feed(there)
        if back:
            one.feed(back)


def established(accepting: TlsChannel, connecting: TlsChannel) -> None:
    connecting.start()
    talk(connecting, accepting)
    assert accepting.established
    assert connecting.established


def test_both_sides_see_the_chain_of_the_other_and_talk(local: TlsContexts, tmp_path: Path) -> None:
    accepting, connecting = local.accepting(), contexts(tmp_path, PARTNER).connecting("partner.test", "isp.test")
    established(accepting, connecting)
    assert accepting.peer_chain == PARTNER.chain
    assert connecting.peer_chain == LOCAL.chain
    assert {accepting.version, connecting.version} == {"TLSv1.3"}
    assert accepting.cipher == connecting.cipher != ""
    connecting.write(b"<stream>")
    connecting.write(b"<features/>")
    talk(connecting, accepting)
    assert accepting.read() == b"<stream><features/>"
    assert accepting.read() == b""
    accepting.write(b"x" * 1_000_000)
    talk(connecting, accepting)
    assert connecting.read() == b"x" * 1_000_000


@pytest.mark.parametrize("extensions", [[], [(SERVER, False)], [(CLIENT, False)]])
@pytest.mark.parametrize("authority", ["root", "self", "unknown", "intermediate"])
def test_no_certificate_breaks_the_handshake_and_the_whole_chain_is_seen(
    local: TlsContexts, tmp_path: Path, extensions: list[tuple[x509.ExtensionType, bool]], authority: str
) -> None:
    above = {
        "root": ROOT, "self": None, "unknown": make("Odd", ca=True, start=START, end=END),
        "intermediate": make("Middle", ca=True, by=ROOT, start=START, end=END),
    }[authority]  # fmt: skip
    for end in (END, START + timedelta(hours=1)):
        peer = make(
            "p", dns("partner.test"), by=above, extensions=extensions, start=START, end=end,
            send_issuer=authority == "intermediate",
        )  # fmt: skip
        theirs = contexts(tmp_path, peer)
        accepting, connecting = local.accepting(), theirs.connecting("partner.test", "isp.test")
        established(accepting, connecting)
        assert accepting.peer_chain == peer.chain
        accepting, connecting = theirs.accepting(), local.connecting("isp.test", "partner.test")
        established(accepting, connecting)
        assert connecting.peer_chain == peer.chain


def test_a_peer_needs_no_certificate_to_talk(local: TlsContexts) -> None:
    connection = _bare(lambda _: None)
    channel, accepting = TlsChannel(connection), local.accepting()
    established(accepting, channel)
    assert accepting.peer_chain == ()


def test_a_short_rsa_key_of_a_peer_comes_to_be_judged(local: TlsContexts) -> None:
    weak = make("w", dns("partner.test"), by=ROOT, key=rsa.generate_private_key(65537, 1024), start=START, end=END)

    def show(context: SSL.Context) -> None:
        context.set_cipher_list(b"ECDHE+AESGCM:@SECLEVEL=0")
        context.use_certificate(weak.certificate)
        context.use_privatekey(weak.key)

    accepting = local.accepting()
    try:
        established(accepting, TlsChannel(_bare(show)))
    except TlsFailed as failed:
        assert "key too small" in str(failed)  # OpenSSL is free to be stricter
    else:
        assert accepting.peer_chain[0] == weak.der


# SNI and ALPN


@pytest.mark.parametrize(
    ("named", "shown"),
    [("isp.test", LOCAL), ("bücher.test", SECOND), ("ISP.Test", LOCAL), ("other.test", LOCAL)],
)
def test_the_certificate_that_is_asked_for_is_shown(
    local: TlsContexts, tmp_path: Path, named: str, shown: Made
) -> None:
    accepting, connecting = local.accepting(), contexts(tmp_path, PARTNER).connecting("partner.test", named)
    established(accepting, connecting)
    assert connecting.peer_chain == shown.chain
    assert accepting.peer_chain == PARTNER.chain


@pytest.mark.parametrize(("default", "shown"), [("", LOCAL), ("isp.test", LOCAL), ("bücher.test", SECOND)])
def test_who_names_nobody_is_shown_the_default(local: TlsContexts, default: str, shown: Made) -> None:
    channel = TlsChannel(_bare(lambda _: None))
    established(local.accepting(default), channel)
    assert channel.peer_chain == shown.chain


def test_direct_tls_says_what_it_is_for(local: TlsContexts, tmp_path: Path) -> None:
    theirs = contexts(tmp_path, PARTNER)
    for direct, protocol in ((True, "xmpp-server"), (False, "")):
        accepting, connecting = local.accepting(), theirs.connecting("partner.test", "bücher.test", direct=direct)
        established(accepting, connecting)
        assert accepting.protocol == connecting.protocol == protocol


def test_who_wants_another_protocol_is_told_so(local: TlsContexts) -> None:
    connection = _bare(lambda _: None)
    connection.set_alpn_protos([b"xmpp-client", b"h2"])
    accepting, connecting = local.accepting(), TlsChannel(connection)
    connecting.start()
    with pytest.raises(TlsFailed, match="xmpp-client, h2"):
        accepting.feed(connecting.outgoing())
    with pytest.raises(TlsFailed, match="no application protocol"):
        connecting.feed(accepting.outgoing())


# What is refused


@pytest.mark.parametrize("version", [SSL.TLS1_VERSION, SSL.TLS1_1_VERSION])
def test_old_versions_are_refused(local: TlsContexts, version: int) -> None:
    def old(context: SSL.Context) -> None:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
        context.set_cipher_list(b"ALL:@SECLEVEL=0")

    accepting, connecting = local.accepting(), TlsChannel(_bare(old))
    with pytest.raises(TlsFailed, match=r"unsupported protocol|no protocols available"):
        established(accepting, connecting)


@pytest.mark.parametrize("ciphers", [b"AES128-GCM-SHA256", b"ECDHE-ECDSA-AES128-SHA"])
def test_ciphers_without_forward_secrecy_or_authentication_are_refused(local: TlsContexts, ciphers: bytes) -> None:
    def poor(context: SSL.Context) -> None:
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        context.set_cipher_list(ciphers + b":@SECLEVEL=0")

    with pytest.raises(TlsFailed, match="no shared cipher"):
        established(local.accepting(), TlsChannel(_bare(poor)))


def test_tls_1_2_without_compression_and_without_renegotiation(local: TlsContexts, tmp_path: Path) -> None:
    connection = _bare(lambda context: context.set_max_proto_version(SSL.TLS1_2_VERSION))
    accepting, connecting = local.accepting(), TlsChannel(connection)
    established(accepting, connecting)
    assert accepting.version == "TLSv1.2"
    connection.renegotiate()
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
    accepting.feed(connecting.outgoing())
    assert accepting.read() == b""
    with pytest.raises(SSL.Error, match="no renegotiation"):
        connection.bio_write(accepting.outgoing())
        connection.recv(1)


def test_sessions_are_not_resumed_so_that_the_chain_is_always_seen(local: TlsContexts, tmp_path: Path) -> None:
    pair = PARTNER.write(tmp_path, "partner")
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.load_cert_chain(pair.certificate, pair.key)
        context.maximum_version = version
        session: ssl.SSLSession | None = None
        for _ in range(3):
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            peer = context.wrap_bio(incoming, outgoing, server_hostname="isp.test", session=session)
            accepting = local.accepting()
            _shake(peer, incoming, outgoing, accepting)
            accepting.write(b"hello")
            incoming.write(accepting.outgoing())
            assert peer.read() == b"hello"  # after what tickets there are
            assert not peer.session_reused
            assert accepting.peer_chain == PARTNER.chain
            session = peer.session


@pytest.mark.parametrize(
    "nonsense", [b"<stream:stream>", b"\x16\x03\x01\x40\x01", b"\x80" * 100, b"GET / HTTP/1.1\r\n"]
)
def test_what_is_no_tls(local: TlsContexts, nonsense: bytes) -> None:
    with pytest.raises(TlsFailed, match="TLS could not be agreed on"):
        local.accepting().feed(nonsense)


def test_a_handshake_without_end(local: TlsContexts) -> None:
    accepting, fed = local.accepting(), 0
    with pytest.raises(TlsFailed, match=r"without coming to the end|could not be agreed"):
        while fed <= 2 * HANDSHAKE_LIMIT:  # a ClientHello of 16 MiB, one empty record of it after the other
            accepting.feed(
                b"\x16\x03\x01\x00\x04\x01\xff\xff\xff" if not fed else b"\x16\x03\x01\x00\x40" + bytes(64)
            )
            fed += 69
    assert fed <= HANDSHAKE_LIMIT + 200


def test_certificates_beyond_measure_end_the_handshake(local: TlsContexts, tmp_path: Path) -> None:
    huge = make("h", dns(*(f"h{n}.hosting.test" for n in range(10_000))), by=ROOT, start=START, end=END)
    accepting, connecting = local.accepting(), contexts(tmp_path, huge).connecting("partner.test", "isp.test")
    with pytest.raises(TlsFailed):
        established(accepting, connecting)


def test_one_byte_at_a_time(local: TlsContexts, tmp_path: Path) -> None:
    accepting, connecting = local.accepting(), contexts(tmp_path, PARTNER).connecting("partner.test", "isp.test")
    connecting.start()
    while not (accepting.established and connecting.established):
        for one, other in ((connecting, accepting), (accepting, connecting)):
            for byte in one.outgoing():
                other.feed(bytes([byte]))
    connecting.write(b"hello")
    got = b""
    for byte in connecting.outgoing():
        accepting.feed(bytes([byte]))
        got += accepting.read()
    assert got == b"hello"


# The end


def test_the_end_is_said_and_heard(local: TlsContexts, tmp_path: Path) -> None:
    accepting, connecting = local.accepting(), contexts(tmp_path, PARTNER).connecting("partner.test", "isp.test")
    established(accepting, connecting)
    connecting.write(b"</stream:stream>")
    connecting.shutdown()
    accepting.feed(connecting.outgoing())
    assert accepting.read() == b"</stream:stream>"
    assert accepting.ended
    assert accepting.failure == ""


def test_forged_ciphertext_ends_it_after_what_was_whole(local: TlsContexts, tmp_path: Path) -> None:
    accepting, connecting = local.accepting(), contexts(tmp_path, PARTNER).connecting("partner.test", "isp.test")
    established(accepting, connecting)
    connecting.write(b"<iq/>")
    accepting.feed(connecting.outgoing() + b"\x17\x03\x03\x00\x20" + bytes(32))
    assert accepting.read() == b"<iq/>"
    assert accepting.ended
    assert accepting.failure.startswith("TLS broke: ")
    assert accepting.outgoing() != b""  # the alert
    accepting.shutdown()
    with pytest.raises(TlsFailed):
        accepting.write(b"x")


def test_nothing_is_written_before_it_is_established(local: TlsContexts) -> None:
    channel = local.accepting()
    channel.shutdown()
    assert (channel.outgoing(), channel.read(), channel.version, channel.cipher) == (b"", b"", "", "")
    with pytest.raises(TlsFailed):
        channel.write(b"x")


# Files


def test_new_files_are_shown_to_new_peers_only(tmp_path: Path) -> None:
    pair = LOCAL.write(tmp_path, "local")
    ours = TlsContexts({"isp.test": pair})
    old, theirs = ours.accepting(), contexts(tmp_path, PARTNER)
    renewed = make("renewed", dns("isp.test"), by=ROOT, start=START, end=END).write(tmp_path, "local")
    ours.load({"isp.test": renewed})
    for accepting, subject in ((old, "CN=local"), (ours.accepting(), "CN=renewed")):
        connecting = theirs.connecting("partner.test", "")
        established(accepting, connecting)
        assert x509.load_der_x509_certificate(connecting.peer_chain[0]).subject.rfc4514_string() == subject
    renewed.key.write_text("spoilt")
    with pytest.raises(ConfigError):
        ours.load({"isp.test": renewed})
    established(ours.accepting(), theirs.connecting("partner.test", "isp.test"))


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    pair, other = LOCAL.write(tmp_path, "local"), SECOND.write(tmp_path, "other")
    empty, locked = tmp_path / "empty.pem", tmp_path / "locked.key"
    empty.write_bytes(b"")
    locked.write_bytes(
        LOCAL.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    for bad, message in (
        (KeyPair(tmp_path / "gone.crt", pair.key), r"gone.crt \(of isp.test\) cannot be read: No such file"),
        (KeyPair(pair.certificate, tmp_path / "gone.key"), r"gone.key \(of isp.test\) cannot be read: No such file"),
        (KeyPair(empty, pair.key), r"empty.pem \(of isp.test\) holds no certificate"),
        (KeyPair(pair.key, pair.key), r"local.key \(of isp.test\) holds no certificate"),
        (KeyPair(pair.certificate, other.key), r"other.key \(of isp.test\) is not the key of .*local.crt"),
        (KeyPair(pair.certificate, locked), r"locked.key \(of isp.test\) is not the key of .*without a password"),
        (KeyPair(pair.certificate, pair.certificate), r"local.crt \(of isp.test\) is not the key"),
    ):
        with pytest.raises(ConfigError, match=message):
            TlsContexts({"isp.test": bad})


def _bare(prepare: Callable[[SSL.Context], None]) -> SSL.Connection:
    """A peer that connects with wishes of its own."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    prepare(context)
    connection = SSL.Connection(context, None)
    connection.set_connect_state()
    return connection


def _shake(peer: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, accepting: TlsChannel) -> None:
    while not accepting.established:
        with suppress(ssl.SSLWantReadError):
            peer.do_handshake()
        accepting.feed(outgoing.read())
        incoming.write(accepting.outgoing())
    peer.do_handshake()
