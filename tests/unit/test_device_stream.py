"""The reference device's stream against servers that it must not trust, and its configuration file."""

from __future__ import annotations

import asyncio
import datetime
import json
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from component.base.errors import ConfigError, Unreachable
from stanzagate.sandbox.device.quirks import Quirk
from stanzagate.sandbox.device.settings import DeviceSettings, InSession, load
from stanzagate.sandbox.device.stream import DeviceStream

HEADER = (
    "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='1' version='1.0'"
    " from='cpe.test'>"
)
PLAIN = (
    "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism>"
    "<mechanism>SCRAM-SHA-1</mechanism></mechanisms>"
)
STARTTLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
PROCEED = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"


class FakeServer:
    """Says what the test tells it to; it stands in for servers that no package would configure like this.

    :ivar said: everything that clients have said before TLS.
    """

    def __init__(self, greeting: str, certificate: ssl.SSLContext | None = None) -> None:
        self.said = b""
        self.port = 0
        self._greeting = greeting
        self._certificate = certificate

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(self._greeting.encode())
            while data := await reader.read(4096):
                self.said += data
                if b"<starttls" in data:
                    writer.write(PROCEED.encode())
                    assert self._certificate is not None
                    await writer.start_tls(self._certificate)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def server(greeting: str, certificate: ssl.SSLContext | None = None) -> AsyncIterator[FakeServer]:
    fake = FakeServer(greeting, certificate)
    listener = await asyncio.start_server(fake.serve, "127.0.0.1", 0)
    fake.port = listener.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        listener.close()


def stream(on_stanza: Any = None) -> DeviceStream:
    def ignore(stanza: Element) -> None:
        pass

    context = ssl.create_default_context()
    return DeviceStream("cpe1@cpe.test/r", "topsecret", context=context, on_stanza=on_stanza or ignore)


async def test_a_stream_without_tls_is_refused_before_anything_is_said() -> None:
    async with server(f"{HEADER}<stream:features>{PLAIN}</stream:features>") as fake:
        with pytest.raises(Unreachable, match="it offers no TLS"):
            await stream().open("127.0.0.1", fake.port, 20)
        assert b"<auth" not in fake.said


async def test_a_certificate_of_an_unknown_ca_is_refused(tmp_path: Path) -> None:
    features = f"{HEADER}<stream:features>{STARTTLS}{PLAIN}</stream:features>"
    async with server(features, self_signed(tmp_path)) as fake:
        with pytest.raises(Unreachable, match="certificate is not valid"):
            await stream().open("127.0.0.1", fake.port, 20)
        assert b"<auth" not in fake.said


@pytest.mark.parametrize(
    ("greeting", "why"),
    [
        ("<!DOCTYPE a [<!ENTITY b 'c'>]>" + HEADER, "DOCTYPE"),
        (
            f"{HEADER}<stream:error><host-unknown xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
            "</stream:stream>",
            "stream error host-unknown",
        ),
        ("</x>", "closed the stream|did not let"),
    ],
)
async def test_other_streams_are_given_up(greeting: str, why: str) -> None:
    async with server(greeting) as fake:
        with pytest.raises(Unreachable, match=why):
            await stream().open("127.0.0.1", fake.port, 20)


async def test_a_server_that_says_nothing_is_given_up() -> None:
    async with server("") as fake:
        with pytest.raises(Unreachable, match=r"within 0\.05 s"):
            await stream().open("127.0.0.1", fake.port, 0.05)


async def test_a_server_that_is_not_there_is_named(unused_tcp_port: int) -> None:
    with pytest.raises(Unreachable, match=f"127.0.0.1:{unused_tcp_port} cannot be reached"):
        await stream().open("127.0.0.1", unused_tcp_port, 20)


async def test_nothing_of_a_stream_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with server(f"{HEADER}<stream:features>{PLAIN}</stream:features><notwellformed topsecret") as fake:
        with pytest.raises(Unreachable):
            await stream().open("127.0.0.1", fake.port, 20)
    assert "topsecret" not in caplog.text and "SEND" not in caplog.text


def self_signed(folder: Path) -> ssl.SSLContext:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cpe.test")])
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("cpe.test")]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "both.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "both.pem")
    return context


# The file

DEVICE = {"id": "00256D-1", "jid": "a@b/c", "password": "topsecret", "cr_username": "u", "cr_password": "hush"}
FILE: dict[str, Any] = {"ca": "ca.pem", "host": "127.0.0.1", "port": 5222, "devices": [DEVICE]}


def write(path: Path, content: Any, mode: int = 0o600) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(mode)
    return path


def test_the_file_is_read(tmp_path: Path) -> None:
    device = DEVICE | {"allowed": ["x@y"], "quirks": ["late"], "limit": "4/min", "in_session": "later"}
    content = FILE | {"cwmp": 0, "devices": [device], "connection": {"initial": 0.1, "keep_alive": 5}}
    settings = load(write(tmp_path / "devices.json", content))
    assert (settings.ca, settings.endpoint) == (tmp_path / "ca.pem", ("127.0.0.1", 0))
    assert settings.connection.keep_alive == 5
    only = settings.devices[0]
    assert only.password.get_secret_value() == "topsecret"
    assert (str(only.allowed), only.quirks, only.in_session) == ("x@y", Quirk.LATE, InSession.LATER)
    assert "topsecret" not in repr(settings) and "hush" not in repr(settings)
    assert load(write(tmp_path / "devices.json", FILE | {"cwmp": None})).endpoint is None
    assert load(write(tmp_path / "devices.json", FILE | {"cwmp": "127.0.0.9:80"})).endpoint == ("127.0.0.9", 80)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"devices": [{"password": "topsecret"', "not JSON"),
        (FILE | {"cwmp": "here"}, "cwmp: .*write a port"),
        (FILE | {"unknown": "topsecret"}, "unknown: Extra inputs"),
        (FILE | {"devices": [DEVICE | {"cr_password": ["topsecret"]}]}, r"devices\.0\.cr_password"),
        (FILE | {"devices": [DEVICE | {"cr_password": ""}]}, r"devices\.0\.cr_password"),
        (FILE | {"devices": [DEVICE | {"quirks": ["x"]}]}, "'x' is not a quirk"),
        (FILE | {"devices": [DEVICE | {"allowed": ["acs.test"]}]}, "whole domain"),
        (FILE | {"devices": [DEVICE, DEVICE]}, "00256D-1 appears more than once"),
    ],
)
def test_what_is_wrong_in_the_file_is_named_without_showing_it(tmp_path: Path, content: Any, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint) as caught:
        load(write(tmp_path / "devices.json", content))
    assert "devices.json" in str(caught.value)
    assert "topsecret" not in str(caught.value)


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="others can read it"):
        load(write(tmp_path / "devices.json", FILE, 0o640))
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "missing.json")


def test_settings_hide_passwords() -> None:
    assert "topsecret" not in repr(DeviceSettings.model_validate(DEVICE))
