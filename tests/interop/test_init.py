"""What `init` writes is put beside a server that is configured already: the server takes it, the gate attaches, the
plugin is there, and what the server did before it still does. And the plugin is removed as the guides say."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from component.base import ns
from component.base.errors import StanzagateError
from grid.ns import PUBSUB
from stanzagate.config import load
from stanzagate.plugin import ejabberd_code
from stanzagate.sandbox.accounts import Account
from stanzagate.sandbox.parts import until_ready
from stanzagate.sandbox.seed import VERSION, seed_accounts
from stanzagate.sandbox.wire import ask, attach, client_offer

from .cast import FORBIDDEN, GRID, PASSED
from .cast import HOST as GUARDED
from .conftest import KINDS, Sandbox, stanzagate
from .gridpuppet import controller
from .rawclient import online
from .realgate import real_gate
from .scene import asked
from .servers import free_port
from .shells import erlang, load_plugin, prosody, reconfigured, unload_plugin

PATIENCE_S = 30.0
HOST = "127.0.0.1"
PING = "urn:xmpp:ping"

PROSODY = """
run_as_root = true
data_path = "{folder}/data"
certificates = "{deployment}/certs"
plugin_paths = {{ "{deployment}/prosody" }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {c2s} }}
c2s_direct_tls_ports = {{ }}
s2s_ports = {{ }}
component_ports = {{ {component} }}
http_ports = {{ }}
https_ports = {{ }}
log = {{ info = "{folder}/log" }}
modules_enabled = {{ "roster"; "saslauth"; "tls"; "disco"; "posix"; "version" }}
VirtualHost "cpe.isp.test"
	admins = {{ "operator@cpe.isp.test" }}
VirtualHost "acs.isp.test"
Include "{deployment}/prosody/stanzagate.cfg.lua"
"""

EJABBERD = """
hosts: [cpe.isp.test, acs.isp.test, grid.isp.test]
certfiles: ["{deployment}/certs/*"]
acme: {{auto: false}}
acl:
  admin: {{user: [operator@cpe.isp.test]}}
access_rules:
  configure: [{{allow: admin}}{controller}]
listen:
  -
    module: ejabberd_c2s
    ip: 127.0.0.1
    port: {c2s}
    starttls_required: true
    tls_verify: true
modules:
  mod_adhoc: {{}}
  mod_caps: {{}}
  mod_disco: {{}}
  mod_roster: {{}}
  mod_pubsub: {{plugins: [flat, pep]}}
  mod_version: {{}}
append_host_config:
  cpe.isp.test:
    modules:
      mod_ping: {{}}
include_config_file: {deployment}/ejabberd/stanzagate.yml
"""


@contextmanager
def existing_server(
    kind: str, folder: Path, deployment: Path, c2s: int, component: int, *, grid: bool = False
) -> Iterator[None]:
    template, name = {"prosody": (PROSODY, "prosody.cfg.lua"), "ejabberd": (EJABBERD, "ejabberd.yml")}[kind]
    (folder / "data").mkdir(parents=True)
    config = folder / name
    allowed = ", {allow: stanzagate_controller}" if grid else ""  # as NEXT-STEPS.txt says
    config.write_text(
        template.format(folder=folder, deployment=deployment, c2s=c2s, component=component, controller=allowed)
    )
    if kind == "prosody":
        command = ["prosody", *(["--root"] if os.geteuid() == 0 else []), "-F", "--config", str(config)]
    else:
        command = [
            "erl", "-noinput", "-mnesia", "dir", f'"{folder}/data"', "-ejabberd", "config", f'"{config}"',
            "log_path", f'"{folder}/log"', "-pa", str(ejabberd_code()), f"{deployment}/ejabberd/beams",
            "-s", "ejabberd",
        ]  # fmt: skip
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | {"HOME": str(folder)})
        try:
            yield
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("grid", [(), ("--grid-domain", "grid.isp.test")], ids=["", "grid"])
@pytest.mark.parametrize("plugin", [(), ("--mode", "enforce", "--guard", "everything")], ids=["", "strict"])
async def test_an_existing_server_takes_the_snippet(
    tmp_path: Path, kind: str, grid: tuple[str, ...], plugin: tuple[str, ...]
) -> None:
    deployment, component, c2s = tmp_path / "deployment", two_free_ports(), free_port()
    written = stanzagate(
        "init", str(deployment), "--server", kind, "--cpe-domain", "cpe.isp.test", "--acs-domain", "acs.isp.test",
        "--component-port", str(component), *grid, *plugin,
    )  # fmt: skip
    assert written.returncode == 0, written.stderr
    assert stanzagate("check-config", str(deployment / "stanzagate.yaml")).returncode == 0
    secret = (deployment / "gate.secret").read_text().strip()
    with existing_server(kind, tmp_path / "server", deployment, c2s, component, grid=bool(grid)):
        stream = await until_ready(
            kind,
            lambda: attach(HOST, component, "cr.cpe.isp.test", secret),
            tmp_path / "server" / "output",
            PATIENCE_S,
        )
        answers = await ask(
            stream,
            {
                "status": question("status", "status", ns.POLICY),
                "version": question("version", "query", VERSION),
                "ping": question("ping", "ping", PING),
            },
        )
        await stream.close()
        assert {name: answer.get("type") for name, answer in answers.items()} == {
            "status": "result", "version": "result", "ping": "result" if kind == "ejabberd" else "error",
        }  # fmt: skip
        status = answers["status"][0]
        assert (status.get("mode"), status.get("guard")) == (
            ("enforce", "everything") if plugin else ("log-only", "connection-requests")
        )
        with pytest.raises(StanzagateError):
            await attach(HOST, component, "cr.cpe.isp.test", "wrong")
        for domain in ("cpe.isp.test", *grid[1:]):
            offer = await client_offer(HOST, c2s, domain, deployment / "ca.pem")
            assert offer.tls_required
            assert ("SCRAM-SHA-256" if domain in grid else "SCRAM-SHA-1") in offer.mechanisms
            assert not offer.mechanisms & {"PLAIN", "X-OAUTH2"}
        if grid:
            await the_controller_can_work(deployment, component + (kind == "ejabberd"))


def two_free_ports() -> int:
    """The first of two ports, one after the other; ejabberd has one for each component."""
    while True:
        port = free_port()
        with contextlib.suppress(OSError, OverflowError), socket.socket() as probe:
            probe.bind((HOST, port + 1))
            return port


async def the_controller_can_work(deployment: Path, port: int) -> None:
    """The plugin believes it and enforces; it may make topics, and accounts of nodes."""
    config = load(deployment / "stanzagate.yaml").grid
    assert config is not None and config.component_port == port
    frame = f"from='{config.jid}' to"
    form = "<x xmlns='jabber:x:data' type='submit'/>"
    async with await attach(HOST, port, config.jid, config.secret.read()) as stream:
        await seed_accounts(stream, config.jid, [Account("sensor1@grid.isp.test", "sesam")])
        answers = await ask(
            stream,
            {
                "status": f"<iq type='get' id='status' {frame}='{config.host}'><status xmlns='{ns.POLICY}'/></iq>",
                "topic": f"<iq type='set' id='topic' {frame}='{config.pubsub}'><pubsub xmlns='{PUBSUB}'>"
                f"<create node='IODEF-1.0'/><configure>{form}</configure></pubsub></iq>",
            },
        )
    assert answers["topic"].get("type") == "result"
    assert answers["status"][0].get("mode") == "enforce"


def question(identifier: str, name: str, namespace: str) -> str:
    """What the gate may ask the guarded host."""
    addresses = "from='cr.cpe.isp.test' to='cpe.isp.test'"
    return f"<iq type='get' id='{identifier}' {addresses}><{name} xmlns='{namespace}'/></iq>"


def test_init_without_a_choice_is_a_usage_error(tmp_path: Path) -> None:
    refused = stanzagate("init", str(tmp_path / "x"), "--server", "prosody")
    assert refused.returncode == 2
    assert not (tmp_path / "x").exists()
    refused = stanzagate("init", str(tmp_path / "x"), "--server", "openfire")
    assert refused.returncode == 2


# --- and away again -------------------------------------------------------------------------------------------------

TOPICS = f"pubsub.{GRID}"
WITHOUT = {
    "prosody": ('modules_enabled = { "stanzagate" }', "modules_enabled = { }"),
    "ejabberd": (
        "    modules:\n"
        "      mod_stanzagate:    # holds every connection request until the policy has spoken\n"
        '        component: "cr.cpe.test"\n'
        '        mode: "enforce"\n'
        '        guard: "connection-requests"\n'
        "        cache_size: 100000\n",
        "    modules: {}\n",
    ),
}
"""The plugin's part of a server's configuration, and what an administrator leaves of it."""


@asynccontextmanager
async def removed(server: Sandbox) -> AsyncIterator[None]:
    """The server without the plugin for as long as the block lasts; Prosody has to be told to unload it."""
    try:
        with reconfigured(server, WITHOUT[server.kind]):
            if server.kind == "prosody":
                await asyncio.to_thread(unload_plugin, server, GUARDED)
            yield
    finally:
        if server.kind == "prosody":
            await asyncio.to_thread(load_plugin, server, GUARDED)


def make_topic(server: Sandbox, name: str) -> None:
    """Make a pubsub node, which nobody may do over the wire."""
    if server.kind == "prosody":
        prosody(server, f"> prosody.hosts['{TOPICS}'].modules.pubsub.service:create('{name}', true)")
    else:
        owner = f'jid:make(<<"soc1">>, <<"{GRID}">>)'
        created = erlang(
            server,
            f'mod_pubsub:create_node(<<"{TOPICS}">>, <<"{GRID}">>, <<"{name}">>, {owner}, <<"flat">>, all, [])',
        )
        assert "result" in created


async def topics(server: Sandbox) -> list[str]:
    """The pubsub nodes, as the controller sees them."""
    async with controller(server, keep=True) as grid:
        found = await grid.iq("get", "<query xmlns='http://jabber.org/protocol/disco#items'/>", to=TOPICS)
        return sorted(item.get("node") or "" for item in found.iter() if item.tag.endswith("}item"))


async def test_the_plugin_is_removed_and_accounts_and_topics_stay(server: Sandbox, tmp_path: Path) -> None:
    await asyncio.to_thread(make_topic, server, "kept")
    async with (
        real_gate(server, tmp_path) as gate,
        online(server, "cpe1") as cpe1,
        online(server, "rogue") as rogue,
    ):
        before = await topics(server)
        assert "kept" in before
        assert (await asked(rogue), cpe1.woken) == (FORBIDDEN, [])
        async with removed(server):
            await gate.api("POST", "/suspensions", json={"requester": "nobody@acs.test"})  # the plugin is to forget
            assert (await gate.health())["plugins"] == {GUARDED: "absent"}
            assert await asked(rogue) == PASSED
            assert [stanza.get("from") for stanza in cpe1.woken] == [rogue.jid]
            assert await topics(server) == before
            async with online(server, "cpe2") as cpe2:
                assert await asked(rogue, cpe2.jid) == PASSED
        assert await asked(rogue) == FORBIDDEN
