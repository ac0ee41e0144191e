"""The configuration file: every error names file, line and key, and nothing is accepted by accident."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from component.base.errors import ConfigError
from component.base.settings import parse_address, parse_duration, parse_rate, parse_size
from stanzagate.config import load, read_secret, state_folder

GOOD = """\
server: {kind: prosody}
gate:
  jid: cr.cpe.test
  secret: {file: gate.secret}
  guarded_hosts: [cpe.test]
  limits:
    device: 4/min
admin:
  listen: 127.0.0.1:8470
  tokens:
    ops: {file: ops.token, role: admin}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "stanzagate.yaml"
    path.write_text(text)
    return path


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    config = load(written(tmp_path, GOOD))
    assert config.gate.secret.file == tmp_path / "gate.secret"
    assert config.admin.tokens["ops"].secret().file == tmp_path / "ops.token"
    assert config.admin.socket == tmp_path / "admin.sock"
    assert state_folder(config) == tmp_path
    assert (config.gate.answer_timeout, config.gate.decision_ttl, config.gate.stale_limit) == (10, 300, 3600)
    assert str(config.gate.limits.requester) == "100/s"


ROLES = """\
grid:
  jid: controller.grid.test
  secret: {file: grid.secret}
  host: grid.test
  pubsub: pubsub.grid.test
  roles:
    analyst: [read, subscribe]
"""


@pytest.mark.parametrize(
    ("old", "new", "key", "says"),
    [
        ("analyst", "An alyst", "grid.roles.An alyst", "is not a role"),
        ("analyst", "sensor", "grid.roles.sensor", "built in"),
        ("analyst", "publish", "grid.roles.publish", "built in"),
        ("[read, subscribe]", "[]", "grid.roles.analyst", "at least 1"),
        ("subscribe]", "subscrbe]", "grid.roles.analyst.1", "'publish', 'subscribe'"),
    ],
)
def test_a_role_that_is_mistyped_is_an_error_of_the_configuration(
    tmp_path: Path, old: str, new: str, key: str, says: str
) -> None:
    grid = load(written(tmp_path, GOOD + ROLES)).grid
    assert grid is not None and grid.roles == {"analyst": ("read", "subscribe")}
    with pytest.raises(ConfigError) as error:
        load(written(tmp_path, GOOD + ROLES.replace(old, new)))
    assert (error.value.file, error.value.line, error.value.key) == (str(tmp_path / "stanzagate.yaml"), 18, key)
    assert says in str(error.value)


def test_the_relays_section_is_not_looked_at(tmp_path: Path) -> None:
    load(written(tmp_path, GOOD + "relay: {anything: [goes, here]}\n"))


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "says"),
    [
        ("kind: prosody", "kind: openfire", 1, "server.kind", "prosody"),
        ("  jid: cr", "  jjid: cr", 3, "gate.jjid", "Unknown key"),
        ("  jid: cr.cpe.test\n", "", 2, "gate.jid", "missing"),
        ("jid: cr.cpe.test", "jid: gate@cr.cpe.test", 3, "gate.jid", "not a domain"),
        ("{file: gate.secret}", "hunter2", 4, "gate.secret", "{file: PATH} or {env: NAME}"),
        (
            "server: {kind: prosody}",
            "database: mysql://a/b\nserver: {kind: prosody}",
            1,
            "database",
            "no driver for mysql",
        ),
        ("server: {kind: prosody}", "database: 'sqlite://'\nserver: {kind: prosody}", 1, "database", "in memory"),
        (
            "server: {kind: prosody}",
            "database: nonsense\nserver: {kind: prosody}",
            1,
            "database",
            "not a database URL",
        ),
        ("{file: gate.secret}", "{}", 4, "gate.secret", "exactly one source"),
        ("{file: gate.secret}", "{file: a, env: B}", 4, "gate.secret", "exactly one source"),
        ("[cpe.test]", "[]", 5, "gate.guarded_hosts", "at least 1"),
        ("[cpe.test]", "[cpe.test, 'a b']", 5, "gate.guarded_hosts", "not a JID"),
        ("4/min", "4/hour", 7, "gate.limits.device", "not a rate"),
        ("4/min", "0/min", 7, "gate.limits.device", "at least 1"),
        ("listen: 127.0.0.1:8470", "listen: 8470", 9, "admin.listen", ""),
        ("listen: 127.0.0.1:8470", "listen: localhost:99999", 9, "admin.listen", "HOST:PORT"),
        ("role: admin", "role: root", 11, "admin.tokens.ops.role", "admin"),
        ("admin:\n", "grid: {}\nadmin:\n", 8, "grid.jid", "missing"),
        ("admin:\n", "base: /tmp\nadmin:\n", 8, "base", "Unknown key"),
        ("gate:\n", "gate: {}\ngate:\n", 3, "", "duplicate key"),
        ("gate:\n", "gate: [\n", 3, "", ""),
    ],
)
def test_an_error_names_file_line_and_key(tmp_path: Path, old: str, new: str, line: int, key: str, says: str) -> None:
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load(path)
    text = "\n".join([str(caught.value), *caught.value.details])
    assert text.startswith(f"{path}:"), text
    assert any(f":{number}:" in text for number in (line, line + 1)), text
    assert key in text and says in text, text
    assert "hunter2" not in text


def test_tokens_are_needed_for_tcp(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least one token"):
        load(written(tmp_path, GOOD.split("  tokens:", maxsplit=1)[0]))


@pytest.mark.parametrize("content", ["", "- a\n", "text\n", "\x00", "a: \ufffe"])
def test_what_is_no_mapping(tmp_path: Path, content: str) -> None:
    with pytest.raises(ConfigError, match=r"stanzagate\.yaml"):
        load(written(tmp_path, content))


@pytest.mark.parametrize("content", ["- " * 5000, "{a: " * 5000, "relay: 2001-99-99", "relay: !!binary 'x'"])
def test_what_the_yaml_library_fails_on(tmp_path: Path, content: str) -> None:
    """However it does: a service that reads its file again must go on."""
    path = tmp_path / "stanzagate.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError):
        load(path)


def test_what_is_not_utf8_or_not_there(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"server: \xe9")
    with pytest.raises(ConfigError, match="UTF-8"):
        load(tmp_path / "latin")
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "missing")


@pytest.mark.parametrize(
    ("text", "seconds"), [("10s", 10), ("500ms", 0.5), ("5min", 300), ("1h", 3600), ("30d", 2592000)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["10", "", "s", "-1s", "0s", "1y", "1 hour", "\u0661s", 10, None])
def test_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["100/s", "4/min", "unlimited"])
def test_rates_round_trip(text: str) -> None:
    assert str(parse_rate(text)) == text


@pytest.mark.parametrize(
    ("text", "place"),
    [("127.0.0.1:1", ("127.0.0.1", 1)), ("[::1]:80", ("::1", 80)), ("localhost:0", ("localhost", 0))],
)
def test_addresses(text: str, place: tuple[str, int]) -> None:
    address = parse_address(text)
    assert (address.host, address.port) == place
    assert str(address) == text and parse_address(address) is address


@pytest.mark.parametrize(
    "text", ["", "host", ":1", "host:", "host:1:2", "[::1:80", "[x]:1", "[1:2]:3", "a b:1", "h:65536", 5269, None]
)
def test_what_is_no_address(text: object) -> None:
    with pytest.raises(ValueError, match="not an address"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "size"), [(1, 1), ("1", 1), ("512KiB", 524_288), ("16 MiB", 16_777_216), ("1GiB", 1_073_741_824)]
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "1.5MiB", "-1", "1MB", "KiB", True, None, 1.0])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)


def test_secrets_are_named_by_line_when_they_cannot_be_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = written(tmp_path, GOOD)
    config = load(path)
    with pytest.raises(ConfigError, match=r":4: gate\.secret: .*No such file"):
        read_secret(path, "gate.secret", config.gate.secret)
    (tmp_path / "ops.token").write_text("short")
    read_secret(path, "admin.tokens.ops", config.admin.tokens["ops"].secret())
    assert "admin.tokens.ops has less than 16 characters" in caplog.text and "short" not in caplog.text
    (tmp_path / "gate.secret").write_text("s3cret\n")
    (tmp_path / "gate.secret").chmod(0o644)
    assert read_secret(path, "gate.secret", config.gate.secret) == "s3cret"
    assert "everybody" in caplog.text and "s3cret" not in caplog.text


def test_standard_input_is_a_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(GOOD.encode())))
    assert load(Path("-")).gate.secret.file == tmp_path / "gate.secret"
