"""The sandbox as its users see it: what it offers, to whom, and that nothing of it stays behind."""

from __future__ import annotations

import base64
import json
import os
import signal
import ssl
import stat
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from component.base.errors import StanzagateError
from stanzagate.pki import Authority
from stanzagate.sandbox.seed import ADMIN, COMMANDS
from stanzagate.sandbox.wire import CLIENT, SASL, SERVER, TLS, Stream, StreamFailed, ask, attach, client_offer

from .cast import FORBIDDEN
from .clients import KINDS as LIBRARIES
from .clients import client
from .conftest import KINDS, Sandbox, read, running_sandbox, stanzagate
from .gridkit import BROKER, grid
from .gridpuppet import TOPIC
from .processes import Watch, children, command_lines, listening
from .puppet import condition

PATIENCE_S = 30.0
SCRAM = {"cpe.test": "SCRAM-SHA-1", "acs.test": "SCRAM-SHA-1", "grid.test": "SCRAM-SHA-256"}
KEYS = {
    "server", "version", "ca", "node_ca", "c2s", "s2s", "domains", "admin", "acs", "rogue", "cpes", "nodes",
}  # fmt: skip


# --- what it offers -------------------------------------------------------------------------------------------------


def test_sandbox_json_is_what_the_contract_says(sandbox: Sandbox) -> None:
    info = sandbox.info
    assert set(info) == KEYS
    assert info["domains"] == {
        "cpe": "cpe.test", "acs": "acs.test", "gate": "cr.cpe.test", "grid": "grid.test",
        "controller": "controller.grid.test", "pubsub": "pubsub.grid.test",
    }  # fmt: skip
    assert info["version"].startswith({"prosody": "0.12", "ejabberd": "23"}[sandbox.kind])
    assert [item["jid"] for item in info["acs"]] == [f"acs{number}@acs.test" for number in (1, 2, 3)]
    assert [item["id"] for item in info["cpes"]] == [f"00256D-000{number}" for number in (1, 2, 3, 4, 5)]
    assert [item["jid"] for item in info["cpes"]] == [f"cpe{number}@cpe.test/tr069" for number in (1, 2, 3, 4, 5)]
    assert [item["jid"] for item in info["nodes"]] == [f"soc{number}@grid.test" for number in (1, 2, 3, 4, 5)]
    paths = [info["ca"], info["node_ca"], info["admin"]["socket"]]
    paths += [node[key] for node in info["nodes"] for key in ("cert", "key")]
    assert all(Path(path).is_absolute() and Path(path).exists() for path in paths)
    assert stat.S_IMODE((sandbox.folder / "sandbox.json").stat().st_mode) == 0o600


def test_secrets_are_in_private_files_and_in_no_process_list(sandbox: Sandbox) -> None:
    info = sandbox.info
    people = [*info["acs"], info["rogue"], *info["cpes"], *info["nodes"]]
    secrets = [person["password"] for person in people] + [info["admin"]["token"]]
    secrets += [item["cr_password"] for item in info["cpes"]]
    secrets += [component["secret"] for component in sandbox.components.values()]
    cookies = list(sandbox.folder.rglob(".erlang.cookie"))
    secrets += [cookie.read_text() for cookie in cookies]
    seen = b"\0".join(command_lines())
    assert not [secret for secret in secrets if secret.encode() in seen]
    logs = b"".join(path.read_bytes() for path in (sandbox.folder / "log").iterdir())
    assert not [secret for secret in secrets if secret.encode() in logs]
    open_to_others = [
        path for path in sandbox.folder.rglob("*")
        if path.is_file() and path.suffix in (".json", ".key", ".secret", ".token") and path.stat().st_mode & 0o077
    ]  # fmt: skip
    assert not open_to_others
    assert len(cookies) == (sandbox.kind == "ejabberd")
    assert not any(cookie.stat().st_mode & 0o077 for cookie in cookies)


def test_everything_listens_on_loopback_only(sandbox: Sandbox) -> None:
    for pid in children(supervisor(sandbox.folder)):
        addresses = listening(pid)
        assert addresses
        assert all(address.startswith("127.") for address in addresses), addresses


def test_the_servers_own_shell_shows_the_plugin_and_bypasses_it(sandbox: Sandbox) -> None:
    def shell(prosody: str, *ejabberd: str) -> str:
        command = {
            "prosody": ["prosodyctl", "--config", f"{sandbox.folder}/prosody/prosody.cfg.lua", "shell", prosody],
            "ejabberd": [f"{sandbox.folder}/ejabberd/ejabberdctl", *ejabberd],
        }
        done = subprocess.run(command[sandbox.kind], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "enforce" in shell('stanzagate:status("cpe.test")', "stanzagate_status", "cpe.test")
    shell('stanzagate:bypass("cpe.test", 1)', "stanzagate_bypass", "cpe.test", "1")
    try:
        assert "bypass" in shell("stanzagate:status()", "stanzagate_status", "cpe.test")
    finally:
        shell('stanzagate:bypass("cpe.test", 0)', "stanzagate_bypass", "cpe.test", "0")
    assert "enforce" in shell("stanzagate:status()", "stanzagate_status", "cpe.test")


@pytest.mark.parametrize("domain", ["cpe.test", "acs.test", "grid.test"])
async def test_tls_is_mandatory_and_weak_mechanisms_are_off(sandbox: Sandbox, domain: str) -> None:
    offer = await client_offer(*sandbox.address, domain, Path(sandbox.info["ca"]))
    assert offer.tls_required
    assert offer.tls_version in ("TLSv1.2", "TLSv1.3")
    # of a hashed password a server has one hash: RFC 8600 §8.1 prefers SHA-256, devices may know SHA-1 alone
    scram = {name for name in offer.mechanisms if name.startswith("SCRAM-")}
    assert scram - {f"{SCRAM[domain]}-PLUS"} == {SCRAM[domain]}
    assert not offer.mechanisms & {"PLAIN", "X-OAUTH2", "OAUTHBEARER", "DIGEST-MD5", "LOGIN", "ANONYMOUS"}
    # ejabberd offers EXTERNAL on the grid host before it has seen a certificate
    assert "EXTERNAL" not in offer.mechanisms or (domain, sandbox.kind) == ("grid.test", "ejabberd")


@pytest.mark.parametrize("domain", ["cpe.test", "grid.test"])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_tls_before_1_2_is_refused(sandbox: Sandbox, domain: str) -> None:
    context = ssl.create_default_context(cafile=sandbox.info["ca"])
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    async with await Stream.connect(*sandbox.address) as stream:
        await stream.open(domain, CLIENT)
        await stream.element()
        with pytest.raises(StreamFailed):
            await stream.start_tls(domain, context)


async def test_the_server_presents_certificates_of_our_ca_to_other_servers(sandbox: Sandbox) -> None:
    endpoint = sandbox.info["s2s"]
    assert endpoint["host"].startswith("127.") and endpoint["host"] != "127.0.0.1" and endpoint["port"] == 5269
    for domain in ("cpe.test", "grid.test"):
        async with await Stream.connect(endpoint["host"], endpoint["port"]) as stream:
            await stream.open(domain, SERVER)
            features = await stream.element()
            assert features.find(f"{{{TLS}}}starttls/{{{TLS}}}required") is not None
            await stream.start_tls(domain, ssl.create_default_context(cafile=sandbox.info["ca"]))


@pytest.mark.parametrize("library", LIBRARIES)
async def test_every_kind_of_account_logs_in(sandbox: Sandbox, library: str) -> None:
    for name in ("acs1", "rogue", "cpe1", "soc1"):
        account = sandbox.account(name)
        bare = account["jid"].partition("/")[0]
        async with client(library, bare, account["password"], *sandbox.address, sandbox.info["ca"]) as requester:
            assert requester.jid.startswith(f"{bare}/")


# --- node certificates ----------------------------------------------------------------------------------------------


async def log_in_externally(
    sandbox: Sandbox, domain: str, certificate: Path, key: Path, authzid: str
) -> tuple[frozenset[str], str]:
    """The mechanisms that were offered, and ``success`` or the condition of the failure."""
    context = ssl.create_default_context(cafile=sandbox.info["ca"])
    context.load_cert_chain(certificate, key)
    async with await Stream.connect(*sandbox.address) as stream:
        await stream.open(domain, CLIENT)
        await stream.element()
        await stream.start_tls(domain, context)
        await stream.open(domain, CLIENT)
        features = await stream.element()
        mechanisms = frozenset(item.text or "" for item in features.iter(f"{{{SASL}}}mechanism"))
        initial = base64.b64encode(authzid.encode()).decode() or "="
        await stream.send(f"<auth xmlns='{SASL}' mechanism='EXTERNAL'>{initial}</auth>")
        try:
            answer = await stream.element()
        except StreamFailed as error:
            return mechanisms, str(error)
        if answer.tag != f"{{{SASL}}}success":
            return mechanisms, answer[0].tag.partition("}")[2]
        await stream.open(domain, CLIENT)
        await stream.element()
        await stream.send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
        bound = await stream.element()
        assert "".join(bound.itertext()).startswith(f"{authzid or 'soc1@grid.test'}/")
        return mechanisms, "success"


def node(sandbox: Sandbox, name: str) -> tuple[Path, Path]:
    account = sandbox.account(name)
    return Path(account["cert"]), Path(account["key"])


@pytest.mark.parametrize("authzid", ["soc1@grid.test", ""])
async def test_a_node_logs_in_with_its_certificate(sandbox: Sandbox, authzid: str) -> None:
    mechanisms, outcome = await log_in_externally(sandbox, "grid.test", *node(sandbox, "soc1"), authzid)
    assert ("EXTERNAL" in mechanisms, "SCRAM-SHA-256" in mechanisms, outcome) == (True, True, "success")


async def test_a_node_cannot_log_in_as_another_one(sandbox: Sandbox) -> None:
    _, outcome = await log_in_externally(sandbox, "grid.test", *node(sandbox, "soc1"), "soc2@grid.test")
    assert outcome != "success"


async def test_node_certificates_are_good_on_the_grid_host_only(sandbox: Sandbox, tmp_path: Path) -> None:
    authority = Authority.load(Path(sandbox.info["node_ca"]), sandbox.folder / "node-ca.key")
    authority.node("acs1@acs.test").write(tmp_path / "crt", tmp_path / "key")
    mechanisms, outcome = await log_in_externally(
        sandbox, "acs.test", tmp_path / "crt", tmp_path / "key", "acs1@acs.test"
    )
    assert "EXTERNAL" not in mechanisms
    assert outcome != "success"


async def test_clients_are_accepted_from_the_node_ca_only(sandbox: Sandbox, tmp_path: Path) -> None:
    servers = Authority.load(Path(sandbox.info["ca"]), sandbox.folder / "ca.key")
    stranger = Authority.create("stranger")
    for authority in (servers, stranger):
        authority.node("soc1@grid.test").write(tmp_path / "crt", tmp_path / "key")
        _, outcome = await log_in_externally(
            sandbox, "grid.test", tmp_path / "crt", tmp_path / "key", "soc1@grid.test"
        )
        assert outcome != "success"


# --- attached domains -----------------------------------------------------------------------------------------------


def add_user(sender: str) -> str:
    return (
        f"<iq type='set' id='pose' from='{sender}' to='acs.test'>"
        f"<command xmlns='{COMMANDS}' node='{ADMIN}#add-user' action='execute'/></iq>"
    )


async def test_a_component_cannot_send_as_another_one(sandbox: Sandbox) -> None:
    """With the secret and the port of one domain, try to be the one that may make accounts."""
    for sender in ("seeder.test", "cr.cpe.test", "gate@cr.cpe.test/gate", "acs1@acs.test/x"):
        stream = await attach_as(sandbox, "spare1.test")
        async with stream:
            with pytest.raises(StreamFailed, match=r"invalid-from|closed"):
                await ask(stream, {"pose": add_user(sender)})


async def test_a_secret_opens_its_own_domain_only(sandbox: Sandbox) -> None:
    spare, seeder = sandbox.components["spare1.test"], sandbox.components["seeder.test"]
    for host, port in ((spare["host"], spare["port"]), (seeder["host"], seeder["port"])):
        with pytest.raises(StanzagateError):
            await attach(host, port, "seeder.test", spare["secret"])
    if sandbox.kind == "ejabberd":
        ports = [component["port"] for component in sandbox.components.values()]
        assert len(set(ports)) == len(ports)


async def test_only_the_seeding_component_may_make_accounts(sandbox: Sandbox) -> None:
    for name, allowed in (("seeder.test", True), ("spare1.test", False)):
        async with await attach_as(sandbox, name) as stream:
            answer = (await ask(stream, {"pose": add_user(name)}))["pose"]
            assert (answer.get("type") == "result") is allowed


async def attach_as(sandbox: Sandbox, jid: str) -> Stream:
    component = sandbox.components[jid]
    return await attach(component["host"], component["port"], jid, component["secret"])


async def test_the_broker_shows_its_topics_to_nodes_and_to_nobody_else(sandbox: Sandbox) -> None:
    """What the server's own service would tell everybody the controller tells those who may know."""
    info, items = (f"<query xmlns='http://jabber.org/protocol/disco#{name}'/>" for name in ("info", "items"))
    async with grid(sandbox) as world:
        who = await world.member()
        await world.permit(who, "subscribe", TOPIC)
        async with world.online(who) as node:
            for content, told in ((info, "XMPP-Grid broker"), (items, TOPIC)):
                answer = await node.ask(content, to=BROKER)
                assert (answer.get("from"), told in ET.tostring(answer, "unicode")) == (BROKER, True)
    request = f"<iq type='get' id='i' from='spare1.test' to='{BROKER}'>{items}</iq>"
    async with await attach_as(sandbox, "spare1.test") as stream:
        refused = (await ask(stream, {"i": request}))["i"]
    assert (refused.get("from"), condition(refused)) == (BROKER, FORBIDDEN)


# --- from the first to the last process -----------------------------------------------------------------------------


def supervisor(folder: Path) -> int:
    return int(json.loads((folder / "sandbox.pid").read_text())["pid"])


@pytest.mark.parametrize("kind", KINDS)
def test_down_leaves_no_process_and_a_second_down_says_so(tmp_path: Path, kind: str) -> None:
    with running_sandbox(tmp_path, kind) as running:
        pid = supervisor(tmp_path)
        processes = Watch({pid, *children(pid)})
        again = stanzagate("sandbox", "up", "--dir", str(tmp_path), "--server", kind, "--detach")
        assert (again.returncode, "runs in" in again.stderr) == (1, True)
        assert running.run("sandbox", "down").returncode == 0
        assert processes.all_end(0)
        assert not (tmp_path / "sandbox.json").exists()
        assert running.run("sandbox", "down").returncode == 3


def test_down_without_a_sandbox_is_exit_code_3(tmp_path: Path) -> None:
    assert stanzagate("sandbox", "down", "--dir", str(tmp_path)).returncode == 3
    assert stanzagate("sandbox", "down", "--dir", str(tmp_path / "no")).returncode == 3


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_supervisor_takes_its_parts_along_and_the_folder_can_be_used_again(
    tmp_path: Path, kind: str
) -> None:
    with running_sandbox(tmp_path, kind) as first:
        pid = supervisor(tmp_path)
        processes = Watch({pid, *children(pid)})
        os.kill(pid, signal.SIGKILL)
        assert processes.all_end(PATIENCE_S)
        with running_sandbox(tmp_path, kind) as second:
            assert second.info["acs"] == first.info["acs"]
            pid = supervisor(tmp_path)
            processes = Watch({pid})
            os.kill(pid, signal.SIGKILL)
            assert processes.all_end(PATIENCE_S)
            assert second.run("sandbox", "down").returncode == 3
            assert not (tmp_path / "sandbox.json").exists()


def test_a_reused_process_number_is_never_killed(tmp_path: Path) -> None:
    innocent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        (tmp_path / "sandbox.pid").write_text(json.dumps({"pid": innocent.pid, "started": 1, "boot": "another"}))
        assert stanzagate("sandbox", "down", "--dir", str(tmp_path)).returncode == 3
        assert innocent.poll() is None
    finally:
        innocent.communicate(b"\n")


@pytest.mark.parametrize("kind", KINDS)
def test_when_a_part_dies_everything_stops_and_the_part_is_named(tmp_path: Path, kind: str) -> None:
    process = foreground(tmp_path, kind)
    parts = children(process.pid)
    server = next(pid for pid in parts if is_server(pid))
    processes = Watch({process.pid, *parts})
    os.kill(server, signal.SIGKILL)
    assert process.wait(PATIENCE_S) != 0
    assert processes.all_end(PATIENCE_S)
    assert process.stderr is not None
    said = process.stderr.read()
    assert "'server'" in said and "log" in said
    assert not (tmp_path / "sandbox.json").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_stop_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    process = foreground(tmp_path, "prosody")
    processes = Watch({process.pid, *children(process.pid)})
    process.send_signal(number)
    assert process.wait(PATIENCE_S) == 0
    assert processes.all_end(PATIENCE_S)
    assert not (tmp_path / "sandbox.json").exists()
    assert not (tmp_path / "sandbox.pid").exists()


def foreground(folder: Path, kind: str) -> subprocess.Popen[str]:
    """A sandbox in the foreground, up."""
    process = subprocess.Popen(
        [sys.executable, "-m", "stanzagate", "sandbox", "up", "--dir", str(folder), "--server", kind],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    assert "up" in line, process.stderr.read() if process.stderr else ""
    assert read(folder).kind == kind
    return process


def is_server(pid: int) -> bool:
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
    return b"prosody" in arguments.partition(b"stanzagate.yaml")[0] or b"ejabberd" in arguments


@pytest.mark.parametrize("kind", KINDS)
def test_with_devices_the_policy_of_the_contract_holds_and_survives_a_restart_of_the_server(
    tmp_path: Path, kind: str
) -> None:
    expected = {
        ("acs1", "00256D-0005"): "accepted", ("acs2", "00256D-0001"): "accepted", ("acs2", "00256D-0002"): "denied",
        ("acs3", "00256D-0001"): "denied", ("rogue", "00256D-0001"): "denied",
    }  # fmt: skip
    with running_sandbox(tmp_path, kind, "--with-cpes") as running:
        for (name, device), outcome in expected.items():
            assert running.json("wake", device, "--as", f"{name}@acs.test")["outcome"] == outcome
        before = children(supervisor(tmp_path))
        server = next(pid for pid in before if is_server(pid))
        old = Watch({server})
        running.restart_server()
        assert old.all_end(PATIENCE_S)
        while running.run("wake", "00256D-0003").returncode:  # the test's own timeout ends this
            pass
        after = children(supervisor(tmp_path))
        assert server not in after
        assert before - {server} < after


def test_a_start_that_fails_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "accounts.json").write_text("{}")
    refused = stanzagate("sandbox", "up", "--dir", str(tmp_path), "--detach")
    assert (refused.returncode, "accounts.json is damaged" in refused.stderr) == (2, True)
    assert not (tmp_path / "sandbox.json").exists()
    assert not (tmp_path / "sandbox.pid").exists()


def test_a_service_that_cannot_start_is_named_with_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "stanzagate.db").write_text("this is no database" * 1000)
    refused = stanzagate("sandbox", "up", "--dir", str(tmp_path), "--detach")
    assert refused.returncode == 1
    assert "'serve'" in refused.stderr and "serve.log" in refused.stderr and "database" in refused.stderr
    assert not (tmp_path / "sandbox.pid").exists()


def test_an_unusable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = stanzagate("sandbox", "up", "--dir", str(tmp_path / "file"), "--detach")
    assert (refused.returncode, str(tmp_path / "file") in refused.stderr.replace("\n", "")) == (2, True)


@pytest.mark.parametrize(("kind", "package"), [("prosody", "apt-get install prosody"), ("ejabberd", "ejabberd")])
def test_a_missing_server_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, package: str
) -> None:
    from stanzagate.config import ServerKind
    from stanzagate.sandbox import server
    from stanzagate.sandbox.plan import make_plan

    monkeypatch.setattr(server.shutil, "which", lambda *_arguments, **_options: None)
    with pytest.raises(StanzagateError, match="is not installed") as caught:
        server.prepare(make_plan(tmp_path, ServerKind(kind)))
    assert package in caught.value.hint
