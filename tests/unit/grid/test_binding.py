"""Which certificate may speak for which node."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.hashes import SHA256

from grid.alerts import AlertKind
from grid.authority_certs import NodeCa
from grid.binding import Bindings, Known, moment
from grid.errors import Refusal
from grid.model import Credential, NodeState

from .nodekit import DAY, HOST, NOW, below, certified, node_ca, request, root, trust, world

SOC1, SOC2 = "soc1@grid.test", "soc2@grid.test"
NONE = Credential("SCRAM-SHA-1")


async def refused(work: object, kind: str, condition: str) -> None:
    with pytest.raises(Refusal) as caught:
        await work  # type: ignore[misc]
    assert (caught.value.kind, caught.value.condition) == (kind, condition)


async def test_the_certificate_that_a_node_registers_with_is_its_own(tmp_path: Path) -> None:
    authority = node_ca(tmp_path)
    mine, other = certified(authority, SOC1), certified(authority, SOC1)
    async with world(tmp_path) as here:
        await here.accounts.register(SOC1, mine)
        here.accounts.check_binding(SOC1, mine)
        here.accounts.check_binding(SOC1, NONE)
        await refused(here.accounts.register(SOC1, other), "cancel", "conflict")
        await refused(here.accounts.met(SOC1, other), "cancel", "conflict")
        with pytest.raises(Refusal):
            here.accounts.check_binding(SOC1, other)
        assert [alert.kind for alert in here.alerts] == [AlertKind.CERTIFICATE_MISMATCH] * 3
        assert here.alerts[0].subject == SOC1 and here.alerts[0].detail["fingerprint"] == other.fingerprint
        assert here.accounts.bindings.fingerprints(SOC1) == [mine.fingerprint]


async def test_a_node_without_one_is_bound_to_the_first_that_it_has(tmp_path: Path) -> None:
    authority = node_ca(tmp_path)
    first, second = certified(authority, SOC1), certified(authority, SOC1)
    async with world(tmp_path) as here:
        await here.accounts.add("unix:root", SOC1)
        await here.accounts.met(SOC1, NONE)
        assert not here.accounts.bindings.any(SOC1)
        await here.accounts.met(SOC1, first)
        assert (await here.actions())[-1] == ("node.bound", SOC1)
        assert (await here.audit.rows())[-1].detail["fingerprint"] == first.fingerprint
        epoch = here.epochs.current
        await here.accounts.met(SOC1, first)
        assert here.epochs.current == epoch
        await refused(here.accounts.met(SOC1, second), "cancel", "conflict")


async def test_what_our_authority_issues_is_bound_at_once_and_renews(tmp_path: Path) -> None:
    node_ca(tmp_path)
    async with world(tmp_path) as here:
        signed = [await here.authority.issue("unix:root", SOC1, request()) for _ in range(2)]
        assert here.accounts.bindings.fingerprints(SOC1) == [item.item.fingerprint for item in signed]
        for item in signed:
            here.accounts.check_binding(SOC1, Credential("EXTERNAL", item.item.fingerprint))
        stranger = certified(NodeCa.load(tmp_path / "node-ca.pem", tmp_path / "node-ca.key"), SOC1)
        await refused(here.accounts.register(SOC1, stranger), "cancel", "conflict")


async def test_deleted_nodes_are_not_bound_any_more(tmp_path: Path) -> None:
    authority = node_ca(tmp_path)
    async with world(tmp_path) as here:
        await here.accounts.register(SOC1, certified(authority, SOC1))
        await here.accounts.delete("unix:root", SOC1)
        assert not here.accounts.bindings.any(SOC1)
        assert (await here.accounts.register(SOC1, certified(authority, SOC1))).state is NodeState.PENDING


@pytest.mark.parametrize("case", ["expired", "not yet", "foreign", "other name", "revoked", "garbage", "another one"])
async def test_what_is_no_good_is_refused(tmp_path: Path, case: str) -> None:
    authority = node_ca(tmp_path)
    good = certified(authority, SOC1)
    bad = {
        "expired": lambda: certified(authority, SOC1, days=1, begins=NOW - 2 * DAY),
        "not yet": lambda: certified(authority, SOC1, begins=NOW + DAY),
        "foreign": lambda: certified(NodeCa.create("nodes", HOST, moment(NOW - DAY)), SOC1),
        "other name": lambda: certified(authority, SOC2),
        "revoked": lambda: good,
        "garbage": lambda: Credential("EXTERNAL", good.fingerprint, (b"\x30\x03\x02\x01\x01",)),
        "another one": lambda: Credential("EXTERNAL", good.fingerprint, certified(authority, SOC1).chain),
    }[case]()
    async with world(tmp_path) as here:
        if case == "revoked":
            await here.authority.revoke("unix:root", good.fingerprint)
        await refused(here.accounts.register(SOC1, bad), "auth", "forbidden")
        assert here.accounts.get(SOC1) is None and not here.accounts.bindings.any(SOC1)
        wanted = AlertKind.REVOKED_CERTIFICATE if case == "revoked" else AlertKind.CERTIFICATE_MISMATCH
        assert [alert.kind for alert in here.alerts] == [wanted]


async def test_a_certificate_that_was_good_expires(tmp_path: Path) -> None:
    authority = node_ca(tmp_path)
    mine = certified(authority, SOC1, days=2)
    async with world(tmp_path) as here:
        await here.accounts.register(SOC1, mine)
        here.time[0] += 5 * DAY
        with pytest.raises(Refusal):
            here.accounts.check_binding(SOC1, mine)


async def test_authorities_below_the_node_ca_count_and_pretenders_do_not(tmp_path: Path) -> None:
    top = root()
    trust(tmp_path, top)
    branch = below(top, room=1)
    twig = below(branch, "twig")
    leafy = below(top, "no authority", ca=False)
    narrow = below(top, "narrow", room=0)
    async with world(tmp_path) as here:
        check = here.accounts.check_binding
        check(SOC1, certified(branch, SOC1, above=[branch]))
        check(SOC1, certified(twig, SOC1, above=[branch, twig]))
        check(SOC1, certified(twig, SOC1, above=[twig, branch, top]))
        too_deep = below(narrow, "too deep")
        for bad in (
            certified(branch, SOC1),  # nobody knows the branch
            certified(leafy, SOC1, above=[leafy]),
            certified(too_deep, SOC1, above=[too_deep, narrow]),
            certified(root("nodes"), SOC1, above=[top]),
        ):
            with pytest.raises(Refusal):
                check(SOC1, bad)


async def test_the_file_of_the_node_ca_may_come_later(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        other = NodeCa.create("nodes", HOST, moment(NOW - DAY))
        mine = certified(other, SOC1)
        with pytest.raises(Refusal):
            here.accounts.check_binding(SOC1, mine)
        trust(tmp_path, other)
        here.accounts.check_binding(SOC1, mine)
        (tmp_path / "node-ca.pem").write_text("nothing")
        with pytest.raises(Refusal):
            here.accounts.check_binding(SOC1, mine)


async def test_without_a_node_ca_the_server_has_looked_at_the_path(tmp_path: Path) -> None:
    mine = certified(NodeCa.create("nodes", HOST, moment(NOW - DAY)), SOC1)
    async with world(tmp_path, node_ca=None, node_ca_key=None, crl=None) as here:
        here.accounts.check_binding(SOC1, mine)
        with pytest.raises(Refusal):
            here.accounts.check_binding(SOC2, mine)


@pytest.mark.parametrize("named", ["fingerprint", "colons", "subject", "root", "spoofed"])
async def test_nodes_of_one_issuer_are_approved(tmp_path: Path, named: str) -> None:
    top = root()
    trust(tmp_path, top)
    branch, rest = below(top, "branch"), below(top, "rest")
    fingerprint = branch.certificate.fingerprint(SHA256()).hex()
    issuer = {
        "fingerprint": fingerprint,
        "colons": ":".join(fingerprint[place : place + 2] for place in range(0, 64, 2)).upper(),
        "subject": branch.certificate.subject.rfc4514_string(),
        "root": top.certificate.fingerprint(SHA256()).hex(),
        "spoofed": "CN=spoofed",
    }[named]
    async with world(tmp_path, auto_approve=[{"issuer": issuer, "group": "trusted"}]) as here:
        node = await here.accounts.register(SOC1, certified(branch, SOC1, above=[branch]))
        expected = ("active", ("trusted",)) if named in ("fingerprint", "colons", "subject") else ("pending", ())
        assert (node.state, node.groups) == expected
        assert (await here.accounts.register(SOC2, certified(rest, SOC2, above=[rest]))).state is NodeState.PENDING
        assert (await here.accounts.register("c@grid.test", NONE)).state is NodeState.PENDING


async def test_a_subject_that_anybody_can_take_approves_nobody(tmp_path: Path) -> None:
    """Without a node CA there is nobody to vouch for the name of an issuer."""
    spoofed = root("trusted branch")
    rules = [{"issuer": "CN=trusted branch"}]
    async with world(tmp_path, node_ca=None, node_ca_key=None, crl=None, auto_approve=rules) as here:
        node = await here.accounts.register(SOC1, certified(spoofed, SOC1, above=[spoofed]))
        assert node.state is NodeState.PENDING


async def test_many_bindings_of_one_name(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        found = Bindings(here.store)
        found.use(Known({SOC1: bytes(range(64)), SOC2: bytes(32)}))
        assert found.fingerprints(SOC1) == [bytes(range(32)).hex(), bytes(range(32, 64)).hex()]
        assert found.allows(SOC1, bytes(range(32, 64)).hex())
        assert not found.allows(SOC1, bytes(range(16, 48)).hex())  # pieces, not substrings
        assert not found.allows("c@grid.test", bytes(32).hex())
