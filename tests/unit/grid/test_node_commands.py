"""`stanzagate node` and `stanzagate ca` against a real admin server with real registries."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import getpass
import json
import stat
import subprocess
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from component.base.clientsessions import ClientSession
from component.base.jid import prepare
from grid.access import Access
from grid.accounts import Accounts, NodeChange
from grid.authority import NodeAuthority
from grid.controller import Grid
from grid.epochs import Epochs
from grid.model import Credential, Provider, Right, Subscribed
from grid.payloads import Schemas
from grid.sessions import Sessions
from grid.topics import Topics
from grid.xmppaddr import addresses
from stanzagate.admin.app import create_app
from stanzagate.admin.server import AdminServer
from stanzagate.cli import main
from tests.unit.adminkit import TOKENS, Scene, scene

from .nodekit import grid_settings, request

SOC1 = "soc1@grid.test"
NOBODY = Credential("SCRAM-SHA-1")


@dataclass
class Operator:
    """Somebody at the command line."""

    socket: Path
    grid: Any
    told: list[NodeChange]
    capsys: pytest.CaptureFixture[str]
    alone: Scene

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        self.capsys.readouterr()
        code = await asyncio.to_thread(main, [*arguments, "--socket", str(self.socket)])
        return (code, *self.capsys.readouterr())

    async def json(self, *arguments: str) -> Any:
        """The document of a command that succeeds."""
        code, out, err = await self.run(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)


@contextlib.asynccontextmanager
async def operator(folder: Path, capsys: pytest.CaptureFixture[str]) -> AsyncIterator[Operator]:
    async with scene(folder) as here:
        told: list[NodeChange] = []
        grid = await grid_parts(folder, here, told)
        services = dataclasses.replace(here.services, grid=cast(Grid, grid))
        admin = AdminServer(create_app(services), socket=folder / "grid.sock", listen="127.0.0.1:0", tokens=TOKENS)
        tasks = contextlib.AsyncExitStack()
        async with tasks, asyncio.TaskGroup() as group:
            admin.open()
            task = group.create_task(admin.run())
            await admin.ready.wait()
            try:
                yield Operator(folder / "grid.sock", grid, told, capsys, here)
            finally:
                await admin.stop()
                task.cancel()


async def grid_parts(folder: Path, here: Scene, told: list[NodeChange]) -> SimpleNamespace:
    store, audit, settings = here.services.store, here.services.audit, grid_settings(folder)
    epochs = Epochs(store)

    def rights(jid: str) -> Sequence[Right]:
        return access.rights(jid)

    accounts = Accounts(store, audit, epochs, settings=settings, alert=lambda _alert: None, rights=rights)
    sessions = Sessions()
    authority = NodeAuthority(
        store, audit, epochs, settings=settings, bindings=accounts.bindings, node=accounts.get, sessions=sessions.all
    )
    topics = Topics(store, audit, epochs, schemas=Schemas())
    access = Access(
        store, audit, epochs, node=accounts.get, members=accounts.members, topics=topics.all, roles=settings.roles
    )

    async def listener(change: NodeChange) -> None:
        told.append(change)

    accounts.listeners.append(listener)
    for part in (epochs, accounts, authority, topics, access):
        await part.load()
    link = SimpleNamespace(attached=asyncio.Event())
    link.attached.set()
    return SimpleNamespace(
        accounts=accounts, authority=authority, topics=topics, access=access, sessions=sessions, programmer=None,
        alerts=None, link=link,
    )  # fmt: skip


async def test_the_life_of_a_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with operator(tmp_path, capsys) as here:
        await here.grid.accounts.register(SOC1, NOBODY)
        assert [node["jid"] for node in await here.json("node", "list", "--state", "pending")] == [SOC1]
        await here.grid.access.permit("unix:root", "group:lab", "subscribe", "IODEF-1.0")
        code, out, _ = await here.run("node", "approve", SOC1, "--group", "lab", "--dry-run")
        assert code == 0 and out.startswith("Nothing was changed")
        assert f"  gains  {SOC1}  subscribe  IODEF-1.0" in out
        told = await here.json("node", "approve", SOC1, "--group", "lab")
        assert (told["won"], told["gains"], told["data"]["state"]) == (
            1, [{"jid": SOC1, "action": "subscribe", "topic": "IODEF-1.0"}], "active",
        )  # fmt: skip
        assert (await here.run("node", "clear", SOC1, "amber"))[0] == 0
        assert (await here.run("node", "group", "add", SOC1, "ops"))[0] == 0
        code, out, _ = await here.run("node", "group", "remove", SOC1, "lab")
        assert f"  loses  {SOC1}  subscribe  IODEF-1.0" in out
        code, out, _ = await here.run("node", "list")
        assert out.split("\n")[1].split() == [SOC1, "active", "no", "amber", "ops"]
        assert (await here.run("node", "disable", SOC1, "--reason", "odd"))[0] == 0
        assert (await here.json("node", "show", SOC1))["reason"] == "odd"
        assert (await here.run("node", "enable", SOC1))[0] == 0
        assert (await here.run("node", "delete", SOC1))[0] == 0
        code, out, err = await here.run("node", "list")
        assert (code, out) == (0, "") and "No node has asked to join yet." in err
        assert "There is no such node." in (await here.run("node", "list", "--group", "lab"))[2]
        rows = [row for row in await here.alone.services.audit.rows() if row.subject == SOC1]
        assert {row.actor for row in rows[1:]} <= {"unix:root", f"unix:{getpass.getuser()}"}


async def test_a_platform_is_admitted_with_its_password(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pw").write_text("correct horse\n")
    async with operator(tmp_path, capsys) as here:
        code, out, err = await here.run(
            "node", "add", SOC1, "--group", "lab", "--clear", "need-to-know", "--password-file", str(tmp_path / "pw")
        )
        assert (code, here.told[0].password) == (0, "correct horse")
        assert "correct horse" not in out + err
        shown = await here.json("node", "show", SOC1)
        assert (shown["state"], shown["groups"], shown["clearance"], shown["registered"]) == (
            "active", ["lab"], "amber", False,
        )  # fmt: skip


async def test_a_password_needs_the_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pw").write_text("correct horse\n")
    async with operator(tmp_path, capsys) as here:
        here.grid.link.attached.clear()
        code, out, err = await here.run("node", "add", SOC1, "--password-file", str(tmp_path / "pw"))
        assert (code, out) == (3, "") and f"The server is away, so {SOC1} cannot get its password." in err
        assert "Nothing has changed." in err
        assert (here.grid.accounts.get(SOC1), here.told) == (None, [])
        assert (await here.run("node", "add", SOC1, "--password-file", str(tmp_path / "pw"), "--dry-run"))[0] == 0
        assert (await here.run("node", "add", SOC1))[0] == 0  # its certificate is its own


async def test_show_tells_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with operator(tmp_path, capsys) as here:
        await here.grid.authority.init("unix:root")
        await here.json("node", "add", SOC1, "--group", "lab")
        await here.grid.access.permit("unix:root", SOC1, "publish", "IODEF-1.0")
        fingerprint = (await here.grid.authority.issue("unix:root", SOC1, request())).item.fingerprint
        jid = prepare(f"{SOC1}/agent")
        here.grid.sessions.up("grid.test", ClientSession("s1", jid, 1_800_000_000.0, "EXTERNAL", fingerprint))
        here.grid.sessions.login(jid)
        await here.grid.topics.subscribe(SOC1, "IODEF-1.0", Subscribed.PENDING)
        await here.grid.topics.enroll(Provider(SOC1, "IODEF-1.0"))
        await here.grid.accounts.register(SOC1, Credential("EXTERNAL", fingerprint))
        shown = await here.json("node", "show", SOC1.upper())
        assert {
            "jid", "state", "groups", "clearance", "online", "logged_in", "sessions", "certificates", "rights",
            "subscriptions", "provides", "since", "accesses",
        } <= set(shown)  # fmt: skip
        assert (shown["jid"], shown["online"], shown["logged_in"], shown["registered"]) == (SOC1, True, True, True)
        assert [item["fingerprint"] for item in shown["certificates"]] == [fingerprint]
        assert shown["certificates"][0]["bound"] and shown["certificates"][0]["revoked"] is None
        assert shown["rights"] == [{"jid": SOC1, "action": "publish", "topic": "IODEF-1.0"}]
        assert [(item["topic"], item["state"]) for item in shown["subscriptions"]] == [("IODEF-1.0", "pending")]
        assert shown["provides"] == ["IODEF-1.0"]
        assert shown["sessions"][0]["mechanism"] == "EXTERNAL" and shown["sessions"][0]["logged_in"]
        assert shown["account_made"] is True
        assert "node.registered" in [row["action"] for row in shown["accesses"]]
        code, out, _ = await here.run("node", "show", SOC1)
        assert code == 0
        for line in (
            "online      logged in",
            "account     made here",
            "may         publish IODEF-1.0",
            "subscribed  IODEF-1.0 (pending)",
        ):
            assert line in out.splitlines()


async def test_many_nodes_come_in_pages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with operator(tmp_path, capsys) as here:
        for number in range(5):
            await here.grid.accounts.add("unix:root", f"n{number}@grid.test", groups=["lab"] if number % 2 else [])
        transport = httpx.AsyncHTTPTransport(uds=str(here.socket))
        async with httpx.AsyncClient(transport=transport, base_url="http://stanzagate") as client:
            first = (await client.get("/v1/nodes", params={"limit": 2})).json()
            assert [node["jid"] for node in first["nodes"]] == ["n0@grid.test", "n1@grid.test"]
            rest = (await client.get("/v1/nodes", params={"limit": 3, "after": first["next"]})).json()
            assert (len(rest["nodes"]), rest["next"]) == (3, "")
            assert (await client.get("/v1/nodes", params={"state": "gone"})).status_code == 422
        assert [node["jid"] for node in await here.json("node", "list", "--group", "lab")] == [
            "n1@grid.test", "n3@grid.test",
        ]  # fmt: skip


WRONG = [
    (("node", "show", "soc9@grid.test"), 1, "There is no node"),
    (("node", "approve", "soc9@grid.test"), 1, "There is no node"),
    (("node", "add", "soc9@elsewhere.test"), 2, "is no domain of this grid"),
    (("node", "add", "soc9@grid.test/x"), 2, "is not a bare JID"),
    (("node", "add", "a/b@grid.test"), 2, "is not a"),
    (("node", "group", "add", "soc9@grid.test", "a b"), 2, "is not a group name"),
    (("node", "clear", "soc9@grid.test", "blue"), 2, "blue"),
    (("node", "list", "--state", "gone"), 2, "gone"),
    (("ca", "issue", "soc9@grid.test", "--valid", "soon"), 2, "soon"),
    (("ca", "revoke", "soc9@grid.test"), 1, "has no certificate"),
    (("ca", "crl"), 2, "There is no node CA yet"),
]


async def test_errors_say_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with operator(tmp_path, capsys) as here:
        for arguments, code, said in WRONG:
            found, _, err = await here.run(*arguments)
            assert (found, said in err) == (code, True), (arguments, err)


async def test_without_a_grid_it_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with scene(tmp_path) as here:
        for command in (("node", "list"), ("ca", "crl")):
            assert await here.run(*command) == 1
            assert "This deployment has no grid." in capsys.readouterr().err


async def test_the_life_of_a_certificate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cert, key, crl = tmp_path / "soc1.crt", tmp_path / "soc1.key", tmp_path / "out.crl"
    files = ("--cert", str(cert), "--key", str(key))
    async with operator(tmp_path, capsys) as here:
        assert (await here.run("ca", "init"))[0] == 0
        code, _, err = await here.run("ca", "init")
        assert code == 1 and "There is a node CA already" in err
        assert (await here.run("ca", "issue", SOC1, *files, "--dry-run"))[0] == 0
        assert not cert.exists() and not key.exists()
        issued = await here.json("ca", "issue", SOC1, *files, "--valid", "90d")
        assert (issued["cert"], issued["key"]) == (str(cert), str(key))
        certificate = x509.load_pem_x509_certificate(cert.read_bytes())
        assert addresses(certificate) == [SOC1]
        assert load_pem_private_key(key.read_bytes(), None).public_key() == certificate.public_key()
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        before = key.read_bytes()
        code, _, err = await here.run("ca", "issue", SOC1, *files)
        assert code == 1 and "exists already" in err and key.read_bytes() == before
        assert [item["serial"] for item in await here.json("ca", "list", SOC1)] == [issued["serial"]]
        jid = prepare(f"{SOC1}/agent")
        here.grid.sessions.up("grid.test", ClientSession("s1", jid, 1.0, "EXTERNAL", issued["fingerprint"]))
        assert (await here.run("node", "add", SOC1))[0] == 0
        code, out, _ = await here.run("ca", "revoke", SOC1, "--dry-run")
        assert code == 0 and f"  ends  {jid.full}" in out and f"{SOC1} stays active" in out and "loses" not in out
        told = await here.json("ca", "revoke", SOC1, "--reason", "stolen")
        assert (told["data"]["sessions"], told["data"]["active"], told["losses"]) == ([jid.full], [SOC1], 0)
        assert told["data"]["fingerprints"] == [issued["fingerprint"]]
        published = await here.json("ca", "crl", "--out", str(crl))
        assert (published["number"], published["revoked"]) == (2, 1)
        assert published["next_update"] > published["issued"]
        show = ["openssl", "crl", "-in", crl, "-noout", "-text"]
        text = await asyncio.to_thread(subprocess.run, show, capture_output=True, check=True)
        assert issued["serial"].upper().encode() in text.stdout.replace(b":", b"")
        code, out, _ = await here.run("ca", "list")
        assert issued["fingerprint"] in out
        keys = [before, (tmp_path / "node-ca.key").read_bytes()]
        rows = str([row.detail for row in await here.alone.services.audit.rows()]).encode()
        assert not [secret for secret in keys if secret in rows]


async def test_a_request_from_elsewhere_is_signed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked, cert = tmp_path / "asked.csr", tmp_path / "soc1.crt"
    key = tmp_path / "elsewhere.key"
    made = [
        "openssl",
        "req",
        "-new",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        key,
        "-out",
        asked,
        "-subj",
        "/CN=x",
    ]
    await asyncio.to_thread(subprocess.run, made, capture_output=True, check=True)
    async with operator(tmp_path, capsys) as here:
        await here.run("ca", "init")
        issued = await here.json("ca", "issue", SOC1, "--request", str(asked), "--cert", str(cert))
        assert issued["key"] is None
        certificate = x509.load_pem_x509_certificate(cert.read_bytes())
        assert addresses(certificate) == [SOC1] and "CN=x" not in certificate.subject.rfc4514_string()
        asked.write_text("nothing")
        code, _, err = await here.run("ca", "issue", SOC1, "--request", str(asked), "--cert", str(tmp_path / "b"))
        assert code == 2 and "cannot be read" in err
        code, _, err = await here.run("ca", "issue", SOC1, "--request", str(asked), "--key", str(key))
        assert code == 2
