"""The node CA: what it signs, what openssl says to that, what is revoked and published."""

from __future__ import annotations

import asyncio
import stat
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from component.base.clientsessions import ClientSession
from component.base.enforcement import NotConfirmed
from component.base.errors import Conflict, InputError, NotFound
from component.base.jid import prepare
from grid.authority import RevocationChange
from grid.authority_certs import NodeCa, read_request
from grid.binding import moment
from grid.model import Action, Right
from grid.xmppaddr import addresses

from .nodekit import DAY, HOST, NOW, certified, new_key, node_ca, request, world

SOC1, SOC2 = "soc1@grid.test", "soc2@grid.test"


def openssl(*arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def written(path: Path, certificate: x509.Certificate) -> Path:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return path


AT = ("-attime", f"{NOW:.0f}", "-x509_strict")


async def test_init_makes_a_ca_and_never_replaces_one(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        with pytest.raises(InputError, match="There is no node CA yet"):
            await here.authority.issue("unix:root", SOC1, request())
        tried = await here.authority.init("unix:root", dry_run=True)
        assert tried.dry_run and not (tmp_path / "node-ca.pem").exists()
        await here.authority.init("unix:root", name="SOC nodes")
        assert stat.S_IMODE((tmp_path / "node-ca.key").stat().st_mode) == 0o600
        made = x509.load_pem_x509_certificate((tmp_path / "node-ca.pem").read_bytes())
        assert made.subject.rfc4514_string() == "CN=SOC nodes,DC=grid,DC=test"
        for taken in ("node-ca.pem", "node-ca.key"):
            with pytest.raises(Conflict, match="There is a node CA already"):
                await here.authority.init("unix:root")
            (tmp_path / taken).rename(tmp_path / f"{taken}.away")
        assert await here.actions() == [("ca.made", HOST)]


async def test_a_configuration_without_files_says_what_is_missing(tmp_path: Path) -> None:
    async with world(tmp_path, node_ca=None, node_ca_key=None, crl=None) as here:
        for work in (
            here.authority.init("a"),
            here.authority.issue("a", SOC1, request()),
            here.authority.publish("a"),
        ):
            with pytest.raises(InputError, match="names no node CA"):
                await work


async def test_openssl_accepts_what_it_signs(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.authority.init("unix:root")
        key = new_key()
        signed = await here.authority.issue("unix:root", "SOC1@Grid.Test", request(key), life=90 * DAY)
        certificate = x509.load_pem_x509_certificate(signed.certificate.encode())
        assert addresses(certificate) == [SOC1]
        assert certificate.public_key() == key.public_key()
        assert certificate.not_valid_after_utc == moment(NOW + 90 * DAY)
        leaf = written(tmp_path / "soc1.crt", certificate)
        code, said = openssl("verify", *AT, "-purpose", "sslclient", "-CAfile", tmp_path / "node-ca.pem", leaf)
        assert code == 0, said
        assert openssl("verify", *AT, "-purpose", "sslserver", "-CAfile", tmp_path / "node-ca.pem", leaf)[0] != 0
        text = openssl("x509", "-in", leaf, "-noout", "-text")[1]
        assert f"XmppAddr::{SOC1}" in text or "othername" in text
        assert (await here.actions())[-1] == ("certificate.issued", SOC1)


async def test_the_name_constraints_keep_it_to_nodes_of_its_grid(tmp_path: Path) -> None:
    authority = node_ca(tmp_path)
    key = new_key().public_key()
    foreign = written(tmp_path / "foreign.crt", authority.sign(key, "a@evil.test", timedelta(days=9), moment(NOW)))
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(authority.certificate.subject)
    builder = builder.public_key(key).serial_number(7)
    builder = builder.not_valid_before(moment(NOW)).not_valid_after(moment(NOW + DAY))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), critical=True)
    server = written(tmp_path / "server.crt", builder.sign(authority.key, hashes.SHA256()))
    for leaf, why in ((foreign, "permitted subtree violation"), (server, "excluded subtree violation")):
        code, said = openssl("verify", "-attime", f"{NOW:.0f}", "-CAfile", tmp_path / "node-ca.pem", leaf)
        assert code != 0 and why in said


@pytest.mark.parametrize("jid", ["a@other.test", "grid.test", "soc1@grid.test/x", "a@partner.test", ""])
async def test_it_signs_accounts_of_the_grid_host_only(tmp_path: Path, jid: str) -> None:
    node_ca(tmp_path)
    async with world(tmp_path) as here:
        with pytest.raises(InputError):
            await here.authority.issue("unix:root", jid, request())
        assert await here.actions() == []


def pem_request(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> str:
    signing = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    asked = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, signing)
    return asked.public_bytes(serialization.Encoding.PEM).decode()


def test_requests_of_good_keys_are_read() -> None:
    for key in (new_key(), ec.generate_private_key(ec.SECP384R1()), ed25519.Ed25519PrivateKey.generate()):
        assert read_request(pem_request(key)) == key.public_key()


@pytest.mark.parametrize("case", ["nothing", "certificate", "short", "curve", "tampered"])
def test_other_requests_are_refused(case: str) -> None:
    text = {
        "nothing": lambda: "hello",
        "certificate": lambda: (
            NodeCa.create("x", HOST, moment(NOW)).certificate.public_bytes(serialization.Encoding.PEM).decode()
        ),
        "short": lambda: pem_request(rsa.generate_private_key(65537, 1024)),
        "curve": lambda: pem_request(ec.generate_private_key(ec.SECP256K1())),
        "tampered": tampered,
    }[case]()
    with pytest.raises(InputError):
        read_request(text)


def tampered() -> str:
    der = bytearray(x509.load_pem_x509_csr(request().encode()).public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    return x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM).decode()


@given(st.text(max_size=200))
def test_any_text_as_a_request_is_an_error_of_input(text: str) -> None:
    with pytest.raises(InputError):
        read_request(text)


async def test_nothing_outlives_the_authority(tmp_path: Path) -> None:
    authority = node_ca(tmp_path)
    async with world(tmp_path) as here:
        signed = await here.authority.issue("unix:root", SOC1, request(), life=5000 * DAY)
        end = authority.certificate.not_valid_after_utc
        assert x509.load_pem_x509_certificate(signed.certificate.encode()).not_valid_after_utc == end
        here.time[0] = end.timestamp() + 1
        with pytest.raises(InputError, match="has expired"):
            await here.authority.issue("unix:root", SOC1, request())


async def test_a_revocation_is_told_published_and_kept(tmp_path: Path) -> None:
    node_ca(tmp_path)
    async with world(tmp_path) as here:
        told: list[RevocationChange] = []

        async def listener(change: RevocationChange) -> None:
            told.append(change)

        here.authority.listeners.append(listener)
        one, two = [(await here.authority.issue("a", SOC1, request())).item for _ in range(2)]
        change = await here.authority.revoke("unix:root", one.serial.upper(), reason="stolen")
        assert here.authority.is_revoked(one.fingerprint) and not here.authority.is_revoked(two.fingerprint)
        assert told[0].fingerprints == (one.fingerprint,) and told[0].jids == (SOC1,)
        assert (change.epoch, told[0].epoch) == (here.epochs.current, here.epochs.current)
        assert here.authority.revocations_since(0) == [(change.epoch, one.fingerprint)]
        assert here.authority.revocations_since(change.epoch) == []
        listed = x509.load_pem_x509_crl((tmp_path / "node-ca.crl").read_bytes())
        assert [item.serial_number for item in listed] == [int(one.serial, 16)]
        assert await here.actions() == [
            ("certificate.issued", SOC1), ("certificate.issued", SOC1), ("certificate.revoked", SOC1),
            ("ca.crl.published", HOST),
        ]  # fmt: skip
        with pytest.raises(Conflict, match="revoked already"):
            await here.authority.revoke("unix:root", one.fingerprint)
    async with world(tmp_path) as again:
        assert again.authority.is_revoked(one.fingerprint)
        shown = await again.authority.certificates(SOC1)
        reasons = {item.fingerprint: gone and gone.reason for item, gone in shown}
        assert reasons == {one.fingerprint: "stolen", two.fingerprint: None}


async def test_a_name_is_revoked_with_everything_that_it_has(tmp_path: Path) -> None:
    authority = node_ca(tmp_path)
    foreign = certified(authority, SOC1)  # signed by the same authority, but not by this service
    async with world(tmp_path) as here:
        await here.accounts.register(SOC1, foreign)
        ours = (await here.authority.issue("a", SOC1, request())).item.fingerprint
        await here.accounts.approve("a", SOC1)
        here.rights[SOC1] = [Right(SOC1, Action.READ, "T")]
        for fingerprint, resource in ((ours, "new"), (foreign.fingerprint, "old"), ("", "password")):
            jid = prepare(f"{SOC1}/{resource}")
            here.sessions.append(ClientSession(resource, jid, NOW, "EXTERNAL", fingerprint))
        partly = await here.authority.revoke("a", ours, dry_run=True)
        assert (partly.data["sessions"], here.authority.is_revoked(ours)) == ([f"{SOC1}/new"], False)
        tried = await here.authority.revoke("a", SOC1, dry_run=True)
        assert tried.losses == 0  # it may come by password, and has its rights then
        assert tried.summary.startswith(f"2 certificates would be revoked of {SOC1}. {SOC1} stays active,")
        assert (tried.data["sessions"], tried.data["active"]) == ([f"{SOC1}/new", f"{SOC1}/old"], [SOC1])
        await here.authority.revoke("a", SOC1)
        assert here.authority.is_revoked(ours) and here.authority.is_revoked(foreign.fingerprint)
        assert len(x509.load_pem_x509_crl((tmp_path / "node-ca.crl").read_bytes())) == 2


async def test_a_certificate_that_nobody_knows_is_revoked_by_its_fingerprint(tmp_path: Path) -> None:
    node_ca(tmp_path)
    async with world(tmp_path) as here:
        change = await here.authority.revoke("a", ":".join(["AB"] * 32))
        assert here.authority.revocations_since(0) == [(change.epoch, "ab" * 32)]
        for unknown, error in ((SOC1, NotFound), ("1234", NotFound), ("hello", InputError), ("", InputError)):
            with pytest.raises(error):
                await here.authority.revoke("a", unknown)


async def test_a_revocation_that_is_not_confirmed_counts(tmp_path: Path) -> None:
    node_ca(tmp_path)
    async with world(tmp_path) as here:

        async def silent(_change: RevocationChange) -> None:
            raise NotConfirmed("No answer.")

        here.authority.listeners.append(silent)
        with pytest.raises(NotConfirmed):
            await here.authority.revoke("a", "cd" * 32)
        assert here.authority.is_revoked("cd" * 32)


async def test_openssl_refuses_what_the_list_names(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.authority.init("a")
        bad, good = [await here.authority.issue("a", SOC1, request()) for _ in range(2)]
        await here.authority.revoke("a", bad.item.serial)
        check = [
            "verify",
            "-crl_check",
            *AT,
            "-CRLfile",
            tmp_path / "node-ca.crl",
            "-CAfile",
            tmp_path / "node-ca.pem",
        ]
        for signed, fine in ((bad, False), (good, True)):
            leaf = tmp_path / "leaf.crt"
            leaf.write_text(signed.certificate)
            code, said = openssl(*check, leaf)
            assert (code == 0) == fine, said
            assert fine or "certificate revoked" in said


async def test_lists_are_numbered_across_restarts_and_forget_the_expired(tmp_path: Path) -> None:
    node_ca(tmp_path)
    async with world(tmp_path) as here:
        item = (await here.authority.issue("a", SOC1, request(), life=DAY)).item
        await here.authority.revoke("a", item.fingerprint)
        assert (await here.authority.publish("a", dry_run=True)).number == 2
        assert (await here.authority.publish("a")).number == 2
    async with world(tmp_path) as again:
        again.time[0] += 2 * DAY
        made = await again.authority.publish("a")
        assert (made.number, made.revoked) == (3, 0)
        listed = x509.load_pem_x509_crl(made.text.encode())
        assert listed.next_update_utc == moment(made.next_update) == moment(again.time[0] + 7 * DAY)
        assert listed.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 3


@pytest.mark.parametrize(("age", "missing", "number"), [(3.4, False, 1), (3.6, False, 2), (0.0, True, 2)])
async def test_the_list_is_renewed_long_before_it_runs_out(
    tmp_path: Path, age: float, missing: bool, number: int
) -> None:
    node_ca(tmp_path)
    crl = tmp_path / "node-ca.crl"
    async with world(tmp_path) as here:
        await here.authority.publish("a")
        here.time[0] += age * DAY
        if missing:
            crl.unlink()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(here.authority.run())
            async with asyncio.timeout(20):
                while list_number(crl) != number:
                    await asyncio.sleep(0.005)
            task.cancel()
        assert list_number(crl) == number


def list_number(crl: Path) -> int:
    if not crl.exists():
        return 0
    listed = x509.load_pem_x509_crl(crl.read_bytes())
    return listed.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


async def test_a_list_that_cannot_be_written_is_an_error_and_does_not_undo_the_revocation(tmp_path: Path) -> None:
    node_ca(tmp_path)
    async with world(tmp_path, crl=tmp_path / "none" / "node-ca.crl") as here:
        await here.authority.revoke("a", "ef" * 32)
        assert here.authority.is_revoked("ef" * 32)
        with pytest.raises(InputError, match="cannot be written"):
            await here.authority.publish("a")


async def test_the_plugin_is_told_of_each_certificate_that_a_node_gets(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.authority.init("a")
        await here.authority.issue("a", SOC2, request())  # nobody knows it yet: nothing to tell
        assert list(here.accounts.changes_since(0)) == []
        await here.accounts.add("a", SOC1)
        seen = here.epochs.settled
        assert list(here.accounts.changes_since(0)) == [(seen, SOC1, "active", [])]
        told: list[tuple[str, int]] = []

        async def hear(jid: str) -> None:
            told.append((jid, len(list(here.accounts.changes_since(seen)))))

        here.authority.bound.append(hear)
        one, two = [(await here.authority.issue("a", SOC1, request())).item.fingerprint for _ in range(2)]
        assert told == [(SOC1, 1), (SOC1, 1)]
        now = here.epochs.settled
        assert now == here.epochs.current == seen + 2
        assert list(here.accounts.changes_since(seen)) == [(now, SOC1, "active", [one, two])]
        assert list(here.accounts.changes_since(now)) == []
        await here.accounts.disable("a", SOC1)
        assert [(jid, state, bound) for _, jid, state, bound in here.accounts.changes_since(now)] == [
            (SOC1, "disabled", ())
        ]
        await here.accounts.enable("a", SOC1)
    async with world(tmp_path) as again:
        assert [(jid, bound) for _, jid, _, bound in again.accounts.changes_since(now)] == [(SOC1, [one, two])]
        assert again.accounts.bindings.changes_after(seen) == {SOC1: now}
        await again.accounts.delete("a", SOC1)
        assert [(jid, state, bound) for _, jid, state, bound in again.accounts.changes_since(0)] == [
            (SOC1, "unknown", ())
        ]
        assert again.accounts.bindings.changes_after(seen) == {}


async def test_a_certificate_is_handed_out_though_the_plugin_has_not_confirmed_it(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        await here.authority.init("a")

        async def away(_jid: str) -> None:
            raise NotConfirmed("The plugin is away.")

        here.authority.bound.append(away)
        signed = await here.authority.issue("a", SOC1, request())
        assert "BEGIN CERTIFICATE" in signed.certificate
        assert signed.change.summary.endswith("But The plugin is away.")
