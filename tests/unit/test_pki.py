"""The two authorities: what their certificates say, who verifies them, how the files are kept."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store
from hypothesis import given
from hypothesis import strategies as st

from component.base.errors import InputError
from stanzagate.pki import SRV_NAME, XMPP_ADDR, Authority, Issued


def certificate(issued: Issued) -> x509.Certificate:
    return x509.load_pem_x509_certificate(issued.certificate)


def names(issued: Issued) -> x509.SubjectAlternativeName:
    return certificate(issued).extensions.get_extension_for_class(x509.SubjectAlternativeName).value


def other_names(issued: Issued, oid: x509.ObjectIdentifier) -> list[bytes]:
    return [name.value for name in names(issued).get_values_for_type(x509.OtherName) if name.type_id == oid]


def test_a_server_certificate_names_its_domains_both_ways_and_verifies() -> None:
    authority = Authority.create("servers")
    issued = authority.server(["cpe.test", "cr.cpe.test"])
    assert names(issued).get_values_for_type(x509.DNSName) == ["cpe.test", "cr.cpe.test"]
    assert other_names(issued, SRV_NAME) == [
        bytes([0x16, len(name)]) + name
        for domain in (b"cpe.test", b"cr.cpe.test")
        for name in (b"_xmpp-client." + domain, b"_xmpp-server." + domain)
    ]
    verifier = (
        PolicyBuilder().store(Store([authority.certificate])).build_server_verifier(x509.DNSName("cr.cpe.test"))
    )
    assert len(verifier.verify(certificate(issued), [])) == 2


def test_a_node_certificate_carries_its_jid_and_is_for_clients_only() -> None:
    issued = Authority.create("nodes").node("SOC1@Grid.Test")
    assert other_names(issued, XMPP_ADDR) == [b"\x0c\x0esoc1@grid.test"]
    usage = certificate(issued).extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


@given(st.integers(min_value=1, max_value=1023))
def test_a_jid_of_any_length_is_encoded_as_der(length: int) -> None:
    local = "a" * length
    issued = AUTHORITY.node(f"{local}@grid.test")
    (value,) = other_names(issued, XMPP_ADDR)
    content = f"{local}@grid.test".encode()
    header = value[: -len(content)]
    assert value.endswith(content)
    size = header[1] if len(header) == 2 else int.from_bytes(header[2:], "big")
    assert (header[0], size) == (0x0C, len(content))


@pytest.mark.parametrize("jid", ["grid.test", "soc1@grid.test/laptop", "", "@grid.test", "a b@grid.test"])
def test_what_is_not_an_account_gets_no_node_certificate(jid: str) -> None:
    with pytest.raises(InputError):
        AUTHORITY.node(jid)


@pytest.mark.parametrize("domain", ["a@b.test", "b.test/x", ""])
def test_what_is_not_a_domain_gets_no_server_certificate(domain: str) -> None:
    with pytest.raises(InputError):
        AUTHORITY.server([domain])


def test_a_node_ca_is_no_server_ca(tmp_path: Path) -> None:
    servers, nodes = Authority.create("servers"), Authority.create("nodes")
    verifier = PolicyBuilder().store(Store([nodes.certificate])).build_server_verifier(x509.DNSName("cpe.test"))
    with pytest.raises(Exception, match="candidates exhausted"):
        verifier.verify(certificate(servers.server(["cpe.test"])), [])


def test_certificates_are_valid_a_little_before_now_and_end(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    issued = certificate(Authority.create("nodes", now=now).node("soc1@grid.test", now=now))
    assert issued.not_valid_before_utc < now < issued.not_valid_after_utc < now + timedelta(days=400)


def test_files_are_private_loadable_and_belong_together(tmp_path: Path) -> None:
    first = Authority.load_or_create(tmp_path / "ca.pem", tmp_path / "ca.key", "servers")
    again = Authority.load_or_create(tmp_path / "ca.pem", tmp_path / "ca.key", "servers")
    assert again.certificate == first.certificate
    assert stat.S_IMODE((tmp_path / "ca.key").stat().st_mode) == 0o600
    first.server(["cpe.test"]).write(tmp_path / "cpe.crt", tmp_path / "cpe.key")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "ca.pem"))
    context.load_cert_chain(tmp_path / "cpe.crt", tmp_path / "cpe.key")
    with pytest.raises(InputError, match="is not the key of"):
        Authority.load(tmp_path / "ca.pem", tmp_path / "cpe.key")


@pytest.mark.parametrize("content", ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_damaged_ca_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "ca.pem").write_text(content)
    with pytest.raises(InputError, match=r"ca\.(pem|key)"):
        Authority.load_or_create(tmp_path / "ca.pem", tmp_path / "ca.key", "servers")


def test_keys_are_not_shown() -> None:
    issued = AUTHORITY.node("soc1@grid.test")
    assert "PRIVATE" not in repr(issued) + repr(AUTHORITY)


AUTHORITY = Authority.create("test")


def test_a_certificate_is_good_while_its_authority_is_the_same_and_time_is_left(tmp_path: Path) -> None:
    ours, theirs = Authority.create("ours"), Authority.create("theirs")
    file = tmp_path / "node.crt"
    issued = ours.node("soc1@grid.test")
    issued.write(file, tmp_path / "node.key")
    assert ours.is_good(file, timedelta(days=30))
    assert not ours.is_good(file, timedelta(days=400))
    assert not theirs.is_good(file, timedelta(days=30))
    file.write_text("not a certificate")
    assert not ours.is_good(file, timedelta(days=30)) and not ours.is_good(tmp_path / "none", timedelta(0))
