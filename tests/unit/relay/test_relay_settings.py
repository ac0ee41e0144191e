"""The section `relay:`: every error names file, line and key; what is probably not meant is told."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import pytest

from component.base.errors import ConfigError
from component.base.settings import Address
from component.relay.partnersettings import CertificateRule, StanzaKind
from component.relay.settings import RelaySettings, federation
from component.relay.wire.policy import Authentication, Bidi, Direction, PartnerPolicy
from stanzagate.cli import main
from stanzagate.config import load_all, load_relay

GOOD = """\
relay:
  listen: ["127.0.0.22:5269", "[::1]:5269"]
  direct_tls: ["127.0.0.22:5270"]
  domains:
    isp.test: {certificate: isp.crt, key: isp.key}
    cpe.test: {certificate: isp.crt, key: isp.key}
  trust: ca.pem
  server: {host: 127.0.0.2}
  status: relay.sock
  metrics: 127.0.0.1:9470
  policy: {socket: admin.sock}
  dialback_secret: {file: dialback.secret}
  pass_through: 127.0.0.2:5269
  nameservers: ["127.0.0.1:5353", "[::1]:53"]
  limits:
    connections: 100
    per_address: 5
    stanza_bytes: 64KiB
    queue_stanzas: 10
    queue_bytes: 1MiB
    queue_time: 5s
    idle: 20s
    keepalive: 10s
    connect_timeout: 4s
    close_timeout: 2s
    negotiation_timeout: 3s
  partners:
    partner.test:
      component_port: 5348
      secret: {file: partner.secret}
      connect: 127.0.0.21:5269
      direct_tls: true
      bidi: required
      authentication: [external, dialback]
      direction: both
      trust: partner-ca.pem
      certificate: verify
      early_bidi: false
      offer_legacy_bidi: true
      domains: [isp.test]
      stanzas: [iq]
      rate: 10/s
    other.test: {secret: {env: OTHER_SECRET}}
"""

SMALL = """\
relay:
  domains: {isp.test: {certificate: isp.crt, key: isp.key}}
  trust: ca.pem
  policy: {url: "https://gate.test:8470", token: {env: TOKEN}}
  partners: {partner.test: {secret: {env: SECRET}}}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "relay.yaml"
    path.write_text(text)
    return path


def test_every_key_arrives(tmp_path: Path) -> None:
    relay = load_relay(written(tmp_path, GOOD))
    assert relay.listen == (Address("127.0.0.22", 5269), Address("::1", 5269))
    assert relay.direct_tls == (Address("127.0.0.22", 5270),)
    assert relay.domains["isp.test"].certificate == tmp_path / "isp.crt"
    assert relay.domains["isp.test"].key == tmp_path / "isp.key"
    assert (relay.trust, relay.status) == (tmp_path / "ca.pem", tmp_path / "relay.sock")
    assert relay.policy.socket == tmp_path / "admin.sock" and relay.server.host == "127.0.0.2"
    assert relay.dialback_secret is not None and relay.dialback_secret.file == tmp_path / "dialback.secret"
    assert (str(relay.metrics), str(relay.pass_through)) == ("127.0.0.1:9470", "127.0.0.2:5269")
    assert [str(server) for server in relay.nameservers] == ["127.0.0.1:5353", "[::1]:53"]
    limits = relay.limits
    assert (limits.connections, limits.per_address, limits.stanza_bytes) == (100, 5, 65_536)
    assert (limits.queue_stanzas, limits.queue_bytes, limits.queue_time) == (10, 1_048_576, 5)
    assert (limits.idle, limits.keepalive, limits.connect_timeout) == (20, 10, 4)
    partner = relay.partners["partner.test"]
    assert (partner.component_port, partner.connect) == (5348, Address("127.0.0.21", 5269))
    assert partner.trust == tmp_path / "partner-ca.pem" and partner.certificate is CertificateRule.VERIFY
    assert (partner.domains, partner.stanzas) == (("isp.test",), (StanzaKind.IQ,))
    assert str(partner.rate) == "10/s" and relay.remarks() == []


def test_what_is_left_out_has_a_default(tmp_path: Path) -> None:
    relay = load_relay(written(tmp_path, SMALL))
    assert (relay.listen, relay.direct_tls, relay.pass_through, relay.nameservers) == ((), (), None, ())
    assert relay.status == tmp_path / "relay.sock" and relay.server.host == "127.0.0.1"
    partner = relay.partners["partner.test"]
    assert (partner.component_port, partner.connect, partner.domains) == (5347, None, None)
    assert partner.stanzas == ("iq", "message", "presence") and partner.rate.unlimited
    assert partner.policy("partner.test") == PartnerPolicy("partner.test")


def test_the_machines_get_what_they_must_know(tmp_path: Path) -> None:
    made = federation(load_relay(written(tmp_path, GOOD)), "s3cret")
    assert made.domains == {"isp.test", "cpe.test"} and made.secret == "s3cret" and "s3cret" not in repr(made)
    assert made.partners["partner.test"] == PartnerPolicy(
        "partner.test", Bidi.REQUIRED, (Authentication.EXTERNAL, Authentication.DIALBACK), Direction.BOTH,
        verify_certificate=True, early_bidi=False, offer_legacy_bidi=True,
    )  # fmt: skip
    assert made.partners["other.test"] == PartnerPolicy("other.test")
    limits = made.limits
    assert (limits.unauthenticated_bytes, limits.stanza_bytes) == (8192, 65_536)
    assert (limits.negotiation_timeout, limits.idle, limits.keepalive, limits.close_timeout) == (3, 20, 10, 2)


def test_a_certificate_may_be_left_unverified_when_dialback_is_asked_for(tmp_path: Path) -> None:
    text = SMALL.replace("{env: SECRET}", "{env: SECRET}, certificate: ignore, authentication: [dialback]")
    policy = federation(load_relay(written(tmp_path, text)), "s").partners["partner.test"]
    assert not policy.verify_certificate and policy.authentication == (Authentication.DIALBACK,)


def test_names_are_prepared(tmp_path: Path) -> None:
    text = SMALL.replace("isp.test:", "ISP.Test:").replace("partner.test:", "STRASSE.Bücher.test:")
    text = text.replace("{env: SECRET}", "{env: SECRET}, domains: [iSP.tEST]")
    relay = load_relay(written(tmp_path, text))
    assert set(relay.domains) == {"isp.test"} and set(relay.partners) == {"strasse.bücher.test"}
    assert relay.partners["strasse.bücher.test"].domains == ("isp.test",)


def test_partners_may_share_a_port(tmp_path: Path) -> None:  # as they do on Prosody
    text = SMALL.replace("SECRET}}", "SECRET}, component_port: 5347}, b.test: {secret: {env: B}}")
    assert len(load_relay(written(tmp_path, text)).partners) == 2


def test_the_sections_of_serve_are_not_looked_at(tmp_path: Path) -> None:
    other = "server: 1\ndatabase: [x]\ngate: nonsense\nadmin:\ngrid: {a: b}\n"
    assert load_relay(written(tmp_path, other + SMALL)).partners


def test_standard_input_is_a_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(SMALL.encode())))
    assert load_relay(Path("-")).trust == tmp_path / "ca.pem"


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "says"),
    [
        # -- the section itself
        ("relay:\n", "relais:\n", 1, "relais", "Unknown key"),
        ("relay:\n", "base: /tmp\nrelay:\n", 1, "base", "Unknown key"),
        ("  trust: ca.pem\n", "", 1, "relay.trust", "missing"),
        ("  trust: ca.pem\n", "  trust: ca.pem\n  truss: ca.pem\n", 8, "relay.truss", "Unknown key"),
        ("  policy: {socket: admin.sock}\n", "", 1, "relay.policy", "missing"),
        ("  partners:\n", "  partnerz:\n", 27, "relay.partnerz", "Unknown key"),
        ("  status: relay.sock", "  status: [a]", 9, "relay.status", "path"),
        ("{host: 127.0.0.2}", "{kind: prosody}", 8, "relay.server.kind", "Unknown key"),
        # -- addresses
        ("127.0.0.22:5270", "5270", 3, "relay.direct_tls.0", "HOST:PORT"),
        ("127.0.0.22:5269", "127.0.0.22:99999", 2, "relay.listen.0", "HOST:PORT"),
        ("[::1]:5269", "127.0.0.22:5269", 2, "relay.listen", "there twice"),
        ("127.0.0.22:5270", "127.0.0.22:5269", 3, "relay.direct_tls", "under listen, too"),
        ("9470", "http", 10, "relay.metrics", "HOST:PORT"),
        ("127.0.0.2:5269", "127.0.0.2:0", 13, "relay.pass_through", "leads nowhere"),
        ("127.0.0.2:5269", "127.0.0.22:5269", 13, "relay.pass_through", "relay itself listens"),
        ("127.0.0.2:5269", "127.0.0.22:5270", 13, "relay.pass_through", "relay itself listens"),
        ("127.0.0.1:5353", "ns.test:53", 14, "relay.nameservers", "IP address"),
        ("127.0.0.1:5353", "127.0.0.1", 14, "relay.nameservers.0", "HOST:PORT"),
        ("127.0.0.1:5353", "127.0.0.1:0", 14, "relay.nameservers", "leads nowhere"),
        # -- local domains
        ("isp.test: {", "a@isp.test: {", 5, "relay.domains.a@isp.test", "not a domain"),
        ("isp.test: {", "'isp test': {", 5, "relay.domains.isp test", "not a JID"),
        ("isp.test: {", "CPE.TEST: {", 4, "relay.domains", "same domain"),
        ("isp.test: {certificate: isp.crt, ", "isp.test: {", 5, "relay.domains.isp.test.certificate", "missing"),
        ("isp.test: {certificate: isp.crt", "isp.test: {cert: isp.crt", 5, "relay.domains.isp.test.cert", "Unknown"),
        # -- policy
        ("{socket: admin.sock}", "{}", 11, "relay.policy", "exactly one"),
        ("{socket: admin.sock}", "{socket: a, url: 'https://a'}", 11, "relay.policy", "exactly one"),
        ("{socket: admin.sock}", "{url: 'https://a'}", 11, "relay.policy", "token belongs to url"),
        ("{socket: admin.sock}", "{socket: a, token: {env: T}}", 11, "relay.policy", "token belongs to url"),
        ("{socket: admin.sock}", "{url: 'ftp://a', token: {env: T}}", 11, "relay.policy.url", "not a URL"),
        ("{socket: admin.sock}", "{url: 'https://', token: {env: T}}", 11, "relay.policy.url", "not a URL"),
        ("{socket: admin.sock}", "{url: 'http://[1', token: {env: T}}", 11, "relay.policy.url", "not a URL"),
        ("{socket: admin.sock}", "{url: 'http://a.test', token: {env: T}}", 11, "relay.policy.url", "in the clear"),
        ("{socket: admin.sock}", "{url: 'https://a:hunter2@b', token: {env: T}}", 11, "relay.policy.url", "password"),
        ("{socket: admin.sock}", "{url: 'https://a', token: hunter2}", 11, "relay.policy.token", "{file: PATH}"),
        ("{file: dialback.secret}", "hunter2", 12, "relay.dialback_secret", "{file: PATH}"),
        ("{file: dialback.secret}", "{}", 12, "relay.dialback_secret", "exactly one source"),
        # -- limits
        ("connections: 100", "connections: 0", 16, "relay.limits.connections", "greater than"),
        ("per_address: 5", "per_address: many", 17, "relay.limits.per_address", "integer"),
        ("stanza_bytes: 64KiB", "stanza_bytes: 64kb", 18, "relay.limits.stanza_bytes", "not a size"),
        ("stanza_bytes: 64KiB", "stanza_bytes: 9999", 18, "relay.limits.stanza_bytes", "greater than"),
        ("queue_stanzas: 10", "queue_stanzas: -1", 19, "relay.limits.queue_stanzas", "greater than"),
        ("queue_bytes: 1MiB", "queue_bytes: 63KiB", 20, "relay.limits.queue_bytes", "room for one stanza"),
        ("queue_time: 5s", "queue_time: 5", 21, "relay.limits.queue_time", "not a duration"),
        ("idle: 20s", "idle: 0s", 22, "relay.limits.idle", "longer than nothing"),
        ("keepalive: 10s", "keepalive: often", 23, "relay.limits.keepalive", "not a duration"),
        ("connect_timeout: 4s", "unauthenticated_bytes: 9", 24, "relay.limits.unauthenticated_bytes", "Unknown key"),
        # -- partners
        ("partner.test:\n", "partner.test/x:\n", 28, "relay.partners.partner.test/x", "not a domain"),
        ("partner.test:\n", "ISP.test:\n", 28, "relay.partners.isp.test", "one of our own"),
        ("partner.test:\n", "oTHER.test:\n", 27, "relay.partners", "same domain"),
        ("      secret: {file: partner.secret}\n", "", 28, "relay.partners.partner.test.secret", "missing"),
        ("{file: partner.secret}", "hunter2", 30, "relay.partners.partner.test.secret", "{file: PATH}"),
        ("{file: partner.secret}", "{file: a, env: B}", 30, "relay.partners.partner.test.secret", "exactly one"),
        ("port: 5348", "port: 0", 29, "relay.partners.partner.test.component_port", "greater than"),
        ("port: 5348", "port: 65536", 29, "relay.partners.partner.test.component_port", "less than"),
        ("connect: 127.0.0.21:5269", "connect: 127.0.0.21", 31, "relay.partners.partner.test.connect", "HOST:PORT"),
        ("connect: 127.0.0.21:5269", "connect: host:0", 31, "relay.partners.partner.test.connect", "leads nowhere"),
        ("      connect: 127.0.0.21:5269\n", "", 31, "relay.partners.partner.test.direct_tls", "belongs to connect"),
        ("direct_tls: true", "direct_tls: perhaps", 32, "relay.partners.partner.test.direct_tls", "boolean"),
        ("bidi: required", "bidi: always", 33, "relay.partners.partner.test.bidi", "'required'"),
        ("[external, dialback]", "[]", 34, "relay.partners.partner.test.authentication", "at least 1"),
        ("[external, dialback]", "[external, external]", 34, "relay.partners.partner.test.authentication", "twice"),
        ("[external, dialback]", "external", 34, "relay.partners.partner.test.authentication", "tuple"),
        ("external, dialback", "plain", 34, "relay.partners.partner.test.authentication.0", "'dialback'"),
        ("direction: both", "direction: in", 35, "relay.partners.partner.test.direction", "'inbound'"),
        ("certificate: verify", "certificate: no", 37, "relay.partners.partner.test.certificate", "'ignore'"),
        (
            "[external, dialback]\n      direction: both\n      trust: partner-ca.pem\n      certificate: verify",
            "[external]\n      certificate: ignore", 35, "relay.partners.partner.test.certificate", "only dialback",
        ),
        ("early_bidi: false", "early_bidi: 7", 38, "relay.partners.partner.test.early_bidi", "bool"),
        ("[isp.test]", "[]", 40, "relay.partners.partner.test.domains", "at least 1"),
        ("[isp.test]", "[isp.test, ISP.test]", 40, "relay.partners.partner.test.domains", "there twice"),
        ("[isp.test]", "[foreign.test]", 40, "relay.partners.partner.test.domains", "not one of relay.domains"),
        ("[isp.test]", "['a b']", 40, "relay.partners.partner.test.domains.0", "not a JID"),
        ("stanzas: [iq]", "stanzas: []", 41, "relay.partners.partner.test.stanzas", "at least 1"),
        ("stanzas: [iq]", "stanzas: [iq, iq]", 41, "relay.partners.partner.test.stanzas", "there twice"),
        ("stanzas: [iq]", "stanzas: [ping]", 41, "relay.partners.partner.test.stanzas.0", "'iq'"),
        ("rate: 10/s", "rate: 10", 42, "relay.partners.partner.test.rate", "not a rate"),
        ("rate: 10/s", "rates: 10/s", 42, "relay.partners.partner.test.rates", "Unknown key"),
        ("{secret: {env: OTHER_SECRET}}", "hunter2", 43, "relay.partners.other.test", "not a mapping"),
    ],
)  # fmt: skip
def test_an_error_names_file_line_and_key(tmp_path: Path, old: str, new: str, line: int, key: str, says: str) -> None:
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load_relay(path)
    places = [str(caught.value), *caught.value.details]
    assert any(text.startswith(f"{path}:{line}: {key}: ") and says in text for text in places), places
    assert "hunter2" not in "".join(places)


def test_somebody_must_listen_for_a_partner_that_only_connects(tmp_path: Path) -> None:
    path = written(tmp_path, SMALL.replace("{env: SECRET}", "{env: SECRET}, direction: inbound"))
    with pytest.raises(ConfigError, match=r":5: relay\.partners\.partner\.test\.direction: .*listen"):
        load_relay(path)


@pytest.mark.parametrize("wildcard", ['"0.0.0.0:5269"', '"[::]:5269"'])
def test_strangers_are_not_passed_on_to_the_relay_itself(tmp_path: Path, wildcard: str) -> None:
    extra = f"relay:\n  listen: [{wildcard}]\n  pass_through: 127.0.0.1:5269\n"
    with pytest.raises(ConfigError, match=r":3: relay\.pass_through: "):
        load_relay(written(tmp_path, SMALL.replace("relay:\n", extra)))


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1", "https://gate.test"])
def test_the_api_may_be_plain_on_loopback(tmp_path: Path, url: str) -> None:
    assert load_relay(written(tmp_path, SMALL.replace("https://gate.test:8470", url))).policy.url == url


@pytest.mark.parametrize(
    ("added", "key", "says"),
    [
        ("direction: inbound, connect: 'h:1'", "connect", "dialback keys only"),
        ("direction: inbound, bidi: 'off'", "bidi", "nothing can be sent"),
        ("direction: outbound, bidi: 'off'", "bidi", "can send nothing"),
        ("certificate: ignore, authentication: [dialback]", "certificate", "can pass for it"),
        ("direction: inbound, certificate: ignore, authentication: [dialback]", "direction", "although direction"),
    ],
)
def test_what_is_probably_not_meant_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, added: str, key: str, says: str
) -> None:
    text = SMALL.replace("relay:\n", "relay:\n  listen: ['127.0.0.1:5269']\n")
    path = written(tmp_path, text.replace("{env: SECRET}", "{env: SECRET}, " + added))
    with caplog.at_level(logging.WARNING):
        assert isinstance(load_relay(path), RelaySettings)
    told = [message for message in caplog.messages if f"{path}:6: relay.partners.partner.test.{key}: " in message]
    assert len(told) == 1 and says in told[0]


def test_nothing_to_do_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = SMALL.replace("{partner.test: {secret: {env: SECRET}}}", "{}") + "  pass_through: h:1\n"
    load_relay(written(tmp_path, text))
    assert "no partner" in caplog.text and "listen is missing" in caplog.text


# -- check-config ----------------------------------------------------------------------------------------------------

SERVE = "server: {kind: prosody}\ngate: {jid: gate.test, secret: {env: S}, guarded_hosts: [cpe.test]}\n"


def test_all_that_is_in_a_file_is_checked(tmp_path: Path) -> None:
    config, relay = load_all(written(tmp_path, SERVE + SMALL))
    assert config is not None and relay is not None
    config, relay = load_all(written(tmp_path, SERVE))
    assert config is not None and relay is None
    config, relay = load_all(written(tmp_path, SMALL))
    assert config is None and relay is not None


@pytest.mark.parametrize(
    "text", [SERVE + "relay: {}\n", SERVE + "relay:\n", "gate: {}\n" + SMALL, "server: {}\n", "{}"]
)
def test_half_a_file_is_not_enough(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError):
        load_all(written(tmp_path, text))


def test_check_config_checks_the_relay_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, SERVE + SMALL.replace("{env: SECRET}", "{file: partner.secret}"))
    assert main(["check-config", str(path)]) == 2
    assert f"{path}:7: relay.partners.partner.test.secret: " in capsys.readouterr().err
    (tmp_path / "partner.secret").write_text("secret\n")
    assert main(["check-config", str(path)]) == 0
    path.write_text(SERVE + SMALL.replace("policy", "polici"))
    assert main(["check-config", str(path)]) == 2
    assert "relay.polici" in capsys.readouterr().err
