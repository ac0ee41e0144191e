"""Sealed credentials: what opens, what does not, and rotation that is interrupted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from component.base.errors import InputError, StanzagateError
from component.base.secrets import SealError, Vault

SECRET = "correct horse"


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault.open(tmp_path / "credentials.key", create=True)


def test_it_opens_again_also_after_a_restart(vault: Vault) -> None:
    sealed = vault.seal(SECRET, "d1")
    assert SECRET.encode() not in sealed
    assert Vault.open(vault.path).unseal(sealed, "d1") == SECRET
    assert vault.seal(SECRET, "d1") != sealed
    assert vault.path.stat().st_mode & 0o777 == 0o600


@given(text=st.text(), context=st.text())
def test_any_text(text: str, context: str) -> None:
    key = b"k" * 32
    vault = Vault(Path("unused"), {b"abcd": key}, b"abcd")
    assert vault.unseal(vault.seal(text, context), context) == text


def test_it_belongs_to_its_context(vault: Vault) -> None:
    with pytest.raises(SealError, match="d2"):
        vault.unseal(vault.seal(SECRET, "d1"), "d2")


def test_every_flipped_bit_is_noticed(vault: Vault) -> None:
    sealed = vault.seal(SECRET, "d1")
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(SealError) as caught:
            vault.unseal(bytes(changed), "d1")
        assert SECRET not in str(caught.value)
    for length in range(len(sealed)):
        with pytest.raises(SealError):
            vault.unseal(sealed[:length], "d1")


def test_the_wrong_key_is_named(vault: Vault, tmp_path: Path) -> None:
    other = Vault.open(tmp_path / "other.key", create=True)
    with pytest.raises(SealError, match=r"which is not in .*other\.key"):
        other.unseal(vault.seal(SECRET, "d1"), "d1")


def test_rotation_can_be_interrupted_anywhere(vault: Vault) -> None:
    rows = {f"d{number}": vault.seal(SECRET, f"d{number}") for number in range(10)}
    vault.begin_rotation()
    for device in list(rows)[:4]:
        rows[device] = vault.seal(vault.unseal(rows[device], device), device)
    again = Vault.open(vault.path)  # the process was killed here
    assert again.rotating
    again.begin_rotation()
    assert [again.is_current(sealed) for sealed in rows.values()] == [True] * 4 + [False] * 6
    for device in list(rows)[4:]:
        rows[device] = again.seal(again.unseal(rows[device], device), device)
    old_keys = vault.path.read_bytes()
    again.finish_rotation()
    assert not again.rotating
    assert vault.path.read_bytes() != old_keys
    final = Vault.open(vault.path)
    assert {final.unseal(sealed, device) for device, sealed in rows.items()} == {SECRET}
    assert len(json.loads(vault.path.read_text())["keys"]) == 1
    again.finish_rotation()


def test_rotation_that_cannot_be_written_changes_nothing(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)  # a full disk cannot be had in a test folder
    before = vault.path.read_bytes()
    with pytest.raises(InputError, match="No space left"):
        vault.begin_rotation()
    assert vault.path.read_bytes() == before
    assert not vault.rotating
    assert list(vault.path.parent.iterdir()) == [vault.path]


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", "\0", '{"format":1,"current":"00","keys":[]}', '{"format":1,"keys":[{"id":"0"}]}']
)
def test_damaged_key_file(vault: Vault, content: str) -> None:
    vault.path.write_text(content)
    with pytest.raises(InputError, match="damaged"):
        Vault.open(vault.path, create=True)


def test_missing_and_open_key_file(tmp_path: Path, vault: Vault) -> None:
    with pytest.raises(InputError, match="restore it"):
        Vault.open(tmp_path / "none.key")
    vault.path.chmod(0o640)
    with pytest.raises(InputError, match="chmod 600") as caught:
        Vault.open(vault.path)
    assert isinstance(caught.value, StanzagateError)
    assert repr(vault) == f"Vault({vault.path})"
