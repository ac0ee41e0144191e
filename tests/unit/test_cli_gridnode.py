"""A node from the shell: what `publish` and `watch` say when they are not told who, where and how."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stanzagate.cli import main


def sandbox(folder: Path, **more: object) -> Path:
    """A folder that describes a sandbox in which nothing runs."""
    node = {"jid": "soc1@grid.test", "password": "p", "cert": str(folder / "c"), "key": str(folder / "k")}
    info = {
        "c2s": {"host": "127.0.0.1", "port": 1}, "ca": str(folder / "ca"), "nodes": [node],
        "domains": {"pubsub": "pubsub.grid.test"},
    }  # fmt: skip
    (folder / "sandbox.json").write_text(json.dumps(info | more))
    return folder


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["watch", "T"], 2, "which node"),
        (["watch", "T", "--jid", "a@b"], 2, "--password-file"),
        (["watch", "T", "--jid", "a@b", "--cert", "none.pem"], 2, "none.pem"),
        (["watch", "T", "--jid", "a@b", "--cert", "x", "--password-file", "y"], 2, "--password-file"),
        (["watch", "T", "--jid", "a@b", "--password-file", "none"], 2, "cannot be read"),
        (["watch", "T", "--dir", "none"], 3, "sandbox.json"),
        (["watch", "T", "--count", "0"], 2, "--count"),
        (["watch", "T", "--filter", "A=V"], 2, "--filter"),
        (["publish", "T"], 2, "FILE"),
        (["publish", "T", "a", "b", "--id", "x"], 2, "--id"),
        (["publish", "T", "-", "-"], 2, "only once"),
    ],
)
def test_what_is_missing_or_wrong(
    arguments: list[str], code: int, words: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    out, err = capfd.readouterr()
    assert words in err
    assert "Traceback" not in err
    assert not out


def test_a_node_that_the_sandbox_does_not_have(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "T", "--dir", str(sandbox(tmp_path)), "--jid", "soc9@grid.test"]) == 1
    assert "Its nodes: soc1@grid.test." in capfd.readouterr().err


def test_a_sandbox_that_is_none(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", "T", "--dir", str(sandbox(tmp_path, nodes=3))]) == 2
    assert "not the description of a sandbox" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        ([], 3, "cannot be reached"),
        (["--host", "127.0.0.1:99999"], 2, "not an address"),
        (["--host", "a b"], 2, "not an address"),
        (["--pin", "ab"], 2, "fingerprint"),
        (["--strip", "a b"], 2, "not a path"),
        (["--jid", "@"], 2, "not a JID"),
    ],
)
def test_nothing_is_published(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], more: list[str], code: int, words: str
) -> None:
    from stanzagate.pki import Authority

    folder = sandbox(tmp_path)
    (tmp_path / "password").write_text("p")
    (tmp_path / "item").write_text("<a/>")
    Authority.create("test").issued().write(tmp_path / "ca", tmp_path / "ca.key")
    arguments = ["publish", "T", str(tmp_path / "item"), "--dir", str(folder), "--json"]
    assert main([*arguments, "--password-file", str(tmp_path / "password"), *more]) == code
    assert words in capfd.readouterr().err
