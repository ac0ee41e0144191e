"""Nodes of a real grid: the controller that serves them is the product's own, on the sandbox's server.

::

    async with grid(sandbox) as world:
        node = await world.member()
        await world.permit(node, "publish", "Topic-*")
        async with world.online(node) as client:
            answer = await client.ask(login())

Every test has nodes and topics of its own, with names that nothing else has.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import ssl
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, Self
from xml.sax.saxutils import quoteattr

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from grid import ns
from stanzagate.sandbox.wire import Stream
from tests.interop.cast import GRID, HOST
from tests.interop.clients import CLIENT, Answer, read_answer
from tests.interop.conftest import Sandbox
from tests.interop.gridpuppet import controller
from tests.interop.puppet import PATIENCE, until
from tests.interop.rawclient import RawClient, authenticated, bind, reading
from tests.interop.realgate import OwnGate

CONTROLLER, BROKER, GATE = f"controller.{GRID}", f"pubsub.{GRID}", "spare1.test"
_NUMBERS = itertools.count(1)
_RUN = token_hex(2)


def fresh(name: str) -> str:
    """A name that nothing has had."""
    return f"{name}{_RUN}x{next(_NUMBERS)}"


@dataclass(frozen=True)
class Identity:
    """Who a node is, and what it can prove it with.

    :ivar password: of its account; empty when it has none.
    :ivar cert: files of its certificate and key.
    """

    jid: str
    password: str = ""
    cert: Path | None = None
    key: Path | None = None

    @property
    def name(self) -> str:
        """The local part."""
        return self.jid.partition("@")[0]


class Node(RawClient):
    """A node that is connected."""

    async def ask(self, content: str, *, to: str = CONTROLLER, kind: str = "get") -> ET.Element:
        """Ask something; the whole answer."""
        id = self.new_id()
        return await self.put(f"<iq type='{kind}' id='{id}' to={quoteattr(to)}>{content}</iq>", id)

    async def put(self, stanza: str, id: str) -> ET.Element:
        """Write an iq as it stands; the whole answer to its id, which may have been used before."""
        before = len(self.answers_to(id))
        await self.send_raw(stanza)
        await self.answer(id, count=before + 1)
        return self.stanza(id)

    def stanza(self, id: str) -> ET.Element:
        """The last result or error with an id that came."""
        kinds = ("result", "error")
        return next(
            item
            for item in reversed(self.stanzas)
            if item.tag == f"{{{CLIENT}}}iq" and item.get("id") == id and item.get("type") in kinds
        )

    async def refusal(self, content: str, *, to: str = CONTROLLER, kind: str = "get") -> tuple[str, str]:
        """Ask something that is refused: type and condition of the error; two empty texts when it is not."""
        return refused(await self.ask(content, to=to, kind=kind))

    async def pubsub(self, content: str, *, kind: str = "set", owner: bool = False, to: str = BROKER) -> ET.Element:
        """Ask the broker something of XEP-0060."""
        namespace = ns.PUBSUB_OWNER if owner else ns.PUBSUB
        return await self.ask(f"<pubsub xmlns='{namespace}'>{content}</pubsub>", to=to, kind=kind)

    async def publish(self, topic: str, item: str, payload: str = "<a xmlns='urn:test'/>") -> ET.Element:
        """Publish an item, as every library does."""
        return await self.pubsub(f"<publish node='{topic}'><item id='{item}'>{payload}</item></publish>")

    async def subscribe(self, topic: str) -> ET.Element:
        """Subscribe the account."""
        return await self.pubsub(f"<subscribe node='{topic}' jid='{self.jid.partition('/')[0]}'/>")

    async def caught_up(self) -> None:
        """Wait until everything that came before has reached this client."""
        id = self.new_id()
        await self.put(f"<iq type='get' id='{id}' to='{GRID}'><ping xmlns='urn:xmpp:ping'/></iq>", id)

    async def ready(self) -> Self:
        """Be available for messages."""
        await self.send_raw("<presence/>")
        await self.caught_up()
        return self

    async def asked(self, count: int = 1) -> list[ET.Element]:
        """Wait until others have asked this node so often; what they ask."""
        kinds = ("get", "set")

        def found() -> list[ET.Element]:
            return [item for item in self.stanzas if item.tag == f"{{{CLIENT}}}iq" and item.get("type") in kinds]

        await until(lambda: len(found()) >= count)
        return found()

    async def reply(self, asked: ET.Element, content: str) -> None:
        """Answer what another one has asked."""
        names = f"id={quoteattr(asked.get('id', ''))} to={quoteattr(asked.get('from', ''))}"
        await self.send_raw(f"<iq type='result' {names}>{content}</iq>")

    @property
    def items(self) -> list[str]:
        """Ids of the items that it has been notified of."""
        return [item.get("id", "") for stanza in self.stanzas for item in stanza.iter(f"{{{ns.PUBSUB_EVENT}}}item")]


class World:
    """The grid of a sandbox, as its administrator has it."""

    def __init__(self, sandbox: Sandbox, client: httpx.AsyncClient) -> None:
        self.sandbox = sandbox
        self._client = client

    async def call(self, method: str, path: str, **body: Any) -> Any:
        """Ask the admin API.

        :raises AssertionError: it refuses.
        """
        answer = await self._client.request(method, f"/v1/{path}", json=body or None)
        assert answer.is_success, answer.text
        return answer.json()

    async def member(self, *groups: str, name: str = "") -> Identity:
        """A platform that was admitted beforehand, with a password."""
        identity = Identity(f"{name or fresh('node')}@{GRID}", fresh("password-"))
        await self.call("POST", "nodes", jid=identity.jid, password=identity.password, groups=list(groups))
        return identity

    async def issued(self, jid: str = "") -> Identity:
        """Somebody of whom nothing is known; the node CA has given him a certificate."""
        bare = jid or f"{fresh('stranger')}@{GRID}"
        key = ec.generate_private_key(ec.SECP256R1())
        request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, SHA256())
        signed = await self.call(
            "POST", "ca/certificates", jid=bare, request=request.public_bytes(serialization.Encoding.PEM).decode()
        )
        cert, private = (self.sandbox.folder / f"{fresh('certificate')}.{kind}" for kind in ("crt", "key"))
        cert.write_text(signed["certificate"])
        private.touch(mode=0o600)
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return Identity(bare, cert=cert, key=private)

    async def topic(self, name: str = "", **more: Any) -> str:
        """Make a topic; its name."""
        capability = name or fresh("Topic")
        await self.call("POST", "topics", capability=capability, version="1.0", **more)
        return f"{capability}-1.0"

    async def permit(self, who: Identity | str, action: str, topic: str) -> int:
        """Give a right; the number of the rule."""
        return await self._rule("permit", who, action, topic)

    async def forbid(self, who: Identity | str, action: str, topic: str) -> int:
        """Take a right; the number of the rule."""
        return await self._rule("forbid", who, action, topic)

    async def _rule(self, effect: str, who: Identity | str, action: str, topic: str) -> int:
        subject = who if isinstance(who, str) else who.jid
        done = await self.call("POST", "access", effect=effect, subject=subject, action=action, topic=topic)
        return int(done["id"])

    async def node(self, who: Identity) -> dict[str, Any]:
        """What is known of a node."""
        return dict(await self.call("GET", f"nodes/{who.jid}"))

    async def audited(self, action: str, subject: str) -> list[dict[str, Any]]:
        """The rows of the record about something."""
        wanted = {"action": action, "subject": subject, "limit": 10}
        return list((await self._client.get("/v1/audit", params=wanted)).json())

    async def recorded(self, action: str, subject: str) -> dict[str, Any]:
        """Wait for a row of the record about something; the first one."""
        async with asyncio.timeout(PATIENCE):
            while not (rows := await self.audited(action, subject)):
                pass
        return rows[0]

    async def settled(self) -> None:
        """Wait until the controller is attached and knows the plugin."""
        async with asyncio.timeout(PATIENCE):
            while True:
                health = (await self._client.get("/healthz")).json()
                if (health["grid"], health["plugins"][GRID]) == ("attached", "enforce"):
                    return

    async def metric(self, name: str) -> float:
        """The sum of everything that is counted under a name; labels may stand behind it."""
        lines = (await self._client.get("/metrics")).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    @contextlib.asynccontextmanager
    async def online(self, who: Identity, resource: str = "one", *, external: bool = False) -> AsyncIterator[Node]:
        """A node, connected and available.

        :param external: by its certificate; it is shown in any case when there is one.
        """
        stream = await self.stream(who, external=external)
        node = Node(await bind(stream, resource), stream)
        async with reading(node, stream):
            yield await node.ready()

    async def stream(self, who: Identity, *, external: bool = False) -> Stream:
        """A stream that is authenticated.

        :raises StreamFailed: it is not let in.
        """
        return await authenticated(self.sandbox, who.jid, "" if external else who.password, self._tls(who))

    def _tls(self, who: Identity) -> ssl.SSLContext:
        tls = ssl.create_default_context(cafile=self.sandbox.info["ca"])
        if who.cert is not None:
            tls.load_cert_chain(who.cert, who.key)
        return tls


@contextlib.asynccontextmanager
async def grid(sandbox: Sandbox) -> AsyncIterator[World]:
    """The grid of a sandbox."""
    admin = sandbox.info["admin"]
    headers = {"Authorization": f"Bearer {admin['token']}"}
    async with httpx.AsyncClient(base_url=admin["url"], headers=headers, timeout=30) as client:
        yield World(sandbox, client)


def seeded(sandbox: Sandbox, name: str) -> Identity:
    """An account that the sandbox has made: ``soc1``."""
    row = sandbox.account(name)
    return Identity(row["jid"], row["password"], Path(row["cert"]), Path(row["key"]))


# What nodes ask


def account(word: str, content: str = "") -> str:
    """``register``, ``login``, ``logout``."""
    return (
        f"<grid xmlns='gi' type='request'><AccountQuery xmlns='{ns.CONTROLLER}'><{word}>{content}</{word}>"
        "</AccountQuery></grid>"
    )


def find(name: str) -> str:
    """Who provides something."""
    return (
        f"<grid xmlns='gi' type='request'><DiscoveryQuery xmlns='{ns.CONTROLLER}'><find><param>{name}</param></find>"
        "</DiscoveryQuery></grid>"
    )


def draft(name: str, content: str = "", attributes: str = "") -> str:
    """Any other request of the draft, or ours within its envelope."""
    base = "http://www.domain.com/xgrid"
    return (
        f"<grid xmlns='xgrid' type='request'><{name} xmlns='{base}' xmlns:xsi='{ns.XSI}'{attributes}>{content}"
        f"</{name}></grid>"
    )


def capability(name: str, version: str = "1.0") -> str:
    """What subscribeRequest and initPublishRequest are about."""
    return f"<capability xsi:type='x:{name}'><id>0</id><version>{version}</version></capability>"


def offering(query: str) -> str:
    """What a provider says of itself beside: a query that it answers."""
    return f"<capability xmlns='{ns.GRID}'><query name='{query}'/></capability>"


def answer(stanza: ET.Element) -> Answer:
    """A result or an error, read."""
    return read_answer(stanza)


def refused(stanza: ET.Element) -> tuple[str, str]:
    """Type and condition of an error; two empty texts of a result."""
    read = read_answer(stanza)
    return read.error_type, read.condition


def texts(stanza: ET.Element, name: str) -> list[str]:
    """What stands in all elements with a local name."""
    return [(item.text or "").strip() for item in stanza.iter() if item.tag.rpartition("}")[2] == name]


def document(text: str) -> Any:
    """JSON that a command has printed."""
    return json.loads(text)


@contextlib.asynccontextmanager
async def own_grid(server: Sandbox, folder: Path, **settings: object) -> AsyncIterator[World]:
    """A controller of this test alone, in the place of the one that `server` runs without.

    :param settings: of the section ``grid``.
    """
    where, place = server.components[CONTROLLER], server.components[GATE]
    for name, component in (("grid", where), ("gate", place)):
        (folder / f"{name}.secret").write_text(component["secret"])
    gate = {"jid": GATE, "component_port": place["port"], "guarded_hosts": [HOST], "secret": {"file": "gate.secret"}}
    section = {
        "jid": CONTROLLER, "component_port": where["port"], "secret": {"file": "grid.secret"}, "host": GRID,
        "pubsub": BROKER, "node_ca": server.info["node_ca"], "node_ca_key": str(server.folder / "node-ca.key"),
        "crl": str(folder / "node-ca.crl"),
    }  # fmt: skip
    database = {"server": {"kind": server.kind, "host": where["host"]}, "gate": gate, "grid": section | settings}
    (folder / "stanzagate.yaml").write_text(json.dumps(database))
    service = OwnGate(server, folder)
    transport = httpx.AsyncHTTPTransport(uds=str(folder / "admin.sock"))
    try:
        await service.start()
        async with httpx.AsyncClient(transport=transport, base_url="http://stanzagate", timeout=30) as client:
            world = World(server, client)
            await world.settled()
            yield world
    finally:
        if service.process is not None and service.process.returncode is None:
            await service.end(signal.SIGKILL)
        async with controller(server) as puppet:  # the plugins forget everything, at the beginning and at the end
            await puppet.iq(
                "set", f"<pubsub xmlns='{ns.PUBSUB_OWNER}'><delete node='IODEF-1.0'/></pubsub>", to=BROKER
            )
