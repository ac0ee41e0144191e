"""Addresses of devices behind the gate (contract, section 4)."""

import pytest

from component.base.jid import JidError, escape_local, prepare, unescape_local
from component.gate.address import Address, address_of


@pytest.mark.parametrize(
    ("to", "jid", "device_id", "resource"),
    [
        ("cpe1\\40cpe.test@gate.test", "cpe1@cpe.test", "", ""),
        ("CPE1\\40CPE.test@GATE.test/Res", "cpe1@cpe.test", "", "Res"),
        ("00256D-0001@gate.test", "", "00256d-0001", ""),
        ("home\\20gateway@gate.test/r", "", "home gateway", "r"),
        ("gate.test", "", "", ""),
        ("gate@gate.test/gate", "", "", "gate"),
        ("a\\5c40b@gate.test", "", "a\\40b", ""),  # unescaped once, not twice
        ("x\\40y\\2fres@gate.test", "", "x\\40y\\2fres", ""),  # a full JID is nobody's
        ("x\\40\\40y@gate.test", "", "x\\40\\40y", ""),
    ],
)
def test_addresses(to: str, jid: str, device_id: str, resource: str) -> None:
    assert address_of(to) == Address(jid, device_id, resource, prepare(to).full)


@pytest.mark.parametrize("text", ["cpe1@cpe.test", "a\\40b", "a b", "/onlyX", "a\\5cb", "\\", "d'artagnan@x"])
def test_escaping_is_undone(text: str) -> None:
    assert unescape_local(escape_local(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "@a", "a@", "a@b/", "a b@c", "a@b..c", "a@b.", "a@b。c", "x" * 1024 + "@a", "a@-b", "a@b@c", "\x00@b"],
)
def test_malformed_jids_are_named(text: str) -> None:
    with pytest.raises(JidError) as caught:
        prepare(text)
    assert "is not a JID" in str(caught.value)
    assert "\x00" not in str(caught.value)


def test_different_jids_stay_different() -> None:
    allowed = prepare("acs@acs.test")
    for other in ("acs@acs.test.evil", "acs@sub.acs.test", "acs2@acs.test", "acs.test", "acs@acs"):
        assert prepare(other).bare != allowed.bare
    assert prepare("acs@acs.test/onlyX").resource != prepare("acs@acs.test/only").resource


def test_spellings_of_one_jid_are_equal() -> None:
    assert prepare("ACS@Acs.Test/R") == prepare("acs@acs.test/R")
    assert prepare("\u212bngstr\u00f6m@x.test") == prepare("a\u030angstro\u0308m@x.test")
    assert prepare("a@x.test/R") != prepare("a@x.test/r")
