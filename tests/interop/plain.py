"""The grid of a sandbox, seen by those who know nothing but XMPP, and by its administrator.

::

    async with office(sandbox) as desk:
        soc = await desk.node()
        await desk.permit(soc, "publish", "Plain*")
        async with desk.online(soc) as client:
            answer = await ask(client, "<create node='Plain'/>")

What was made through the office is gone at its end: rules, topics, nodes that are in another state; the others serve
the next test again.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from tests.interop.clients import Answer, Requester
from tests.interop.conftest import Sandbox
from tests.interop.puppet import until
from tests.interop.rawclient import RawClient, authenticated, bind, context, reading

BROKER, CONTROLLER = "pubsub.grid.test", "controller.grid.test"
PUBSUB = "http://jabber.org/protocol/pubsub"
OWNER, EVENT, ERRORS, CONFIG = f"{PUBSUB}#owner", f"{PUBSUB}#event", f"{PUBSUB}#errors", f"{PUBSUB}#node_config"
ITEMS, INFO = "http://jabber.org/protocol/disco#items", "http://jabber.org/protocol/disco#info"
DATA, RSM, OURS = "jabber:x:data", "http://jabber.org/protocol/rsm", "urn:stanzagate:grid:1"
IODEF = "urn:ietf:params:xml:ns:iodef-2.0"

INCIDENT = f"""\
<IODEF-Document version="2.00" xml:lang="en"
  xmlns="{IODEF}"
  xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xsi:schemaLocation=
    "http://www.iana.org/assignments/xml-registry/
     schema/iodef-2.0.xsd">
  <Incident purpose="reporting" restriction="private">
    <IncidentID name="csirt.example.com">492382</IncidentID>
    <GenerationTime>2015-07-18T09:00:00-05:00</GenerationTime>
    <Contact type="organization" role="creator">
      <Email>
        <EmailTo>contact@csirt.example.com</EmailTo>
      </Email>
    </Contact>
  </Incident>
</IODEF-Document>"""
"""The document of RFC 8600 §6, which is RFC 7970's."""

FINE = ("", "", "")
NOT_FOUND = ("cancel", "item-not-found", "")
FORBIDDEN = ("auth", "forbidden", "")

_numbers = itertools.count(1)
_resting: dict[Path, dict[str, str]] = {}
"""Active nodes of a sandbox that wait for the next test, without rights or subscriptions; passwords by JID."""


class Office:
    """The administrator's, over the admin API.

    :ivar passwords: of the nodes that were admitted here, by bare JID.
    """

    def __init__(self, sandbox: Sandbox, http: httpx.AsyncClient) -> None:
        self.sandbox = sandbox
        self.passwords: dict[str, str] = {}
        self._http = http
        self._rules: list[int] = []
        self._topics: list[str] = []
        self._changed: set[str] = set()

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask the admin API; its answer must be a success."""
        answer = await self._http.request(method, f"/v1/{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json()

    # Nodes

    async def node(self) -> str:
        """An active node without any rights; its bare JID."""
        resting = _resting.setdefault(self.sandbox.folder, {})
        if resting:
            jid, self.passwords[jid] = resting.popitem()
            return jid
        jid = f"plain{next(_numbers)}-{secrets.token_hex(3)}@grid.test"
        self.passwords[jid] = secrets.token_urlsafe(12)
        await self.call("POST", "nodes", {"jid": jid, "password": self.passwords[jid]})
        return jid

    async def group(self, jid: str, group: str, method: str = "PUT") -> None:
        """Put a node into a group, or take it out by ``DELETE``."""
        self._changed.add(jid)
        await self.call(method, f"nodes/{quote(jid, safe='')}/groups/{group}")

    async def decide(self, jid: str, what: str) -> None:
        """``approve``, ``disable``, ``enable``, …"""
        self._changed.add(jid)
        await self.call("POST", f"nodes/{quote(jid, safe='')}/{what}", {})

    async def forget(self, jid: str) -> None:
        """Delete a node."""
        self._changed.add(jid)
        await self.call("DELETE", f"nodes/{quote(jid, safe='')}")

    async def state(self, jid: str) -> str:
        """The state of a node; empty when there is none."""
        found = (await self.call("GET", "nodes"))["nodes"]
        return next((str(item["state"]) for item in found if item["jid"] == jid), "")

    @contextlib.asynccontextmanager
    async def online(self, jid: str, resource: str = "", *, present: bool = True) -> AsyncIterator[RawClient]:
        """A session of a node that was admitted here."""
        tls = context(self.sandbox)
        stream = await authenticated(self.sandbox, jid, self.passwords[jid], tls)
        client = RawClient(await bind(stream, resource), stream)
        async with reading(client, stream):
            if present:
                await appear(client)
            yield client

    # Rules and topics

    async def permit(self, jid: str, action: str, topic: str, effect: str = "permit") -> int:
        """Make a rule; its id."""
        body = {"effect": effect, "subject": jid, "action": action, "topic": topic}
        rule = int((await self.call("POST", "access", body))["id"])
        self._rules.append(rule)
        return rule

    async def remove(self, rule: int) -> None:
        """Remove a rule."""
        self._rules.remove(rule)
        await self.call("DELETE", f"access/{rule}")

    async def topic(self, **fields: Any) -> str:
        """Make a topic; its name."""
        made = await self.call("POST", "topics", {"capability": self.name(), **fields})
        return str(made["id"])

    def name(self) -> str:
        """A name for a topic that nobody else has; the topic is deleted at the end."""
        self._topics.append(f"Plain{next(_numbers)}-{secrets.token_hex(3)}")
        return self._topics[-1]

    async def change(self, topic: str, **fields: Any) -> None:
        """Configure, enable, disable."""
        await self.call("PATCH", f"topics/{topic}", fields)

    async def told(self, topic: str) -> Any:
        """All that the controller knows of a topic."""
        return await self.call("GET", f"topics/{topic}")

    async def close(self) -> None:
        """Remove what was made."""
        for topic in self._topics:
            await self._http.delete(f"/v1/topics/{topic}")  # most are there
        for rule in self._rules:
            await self._http.delete(f"/v1/access/{rule}")
        for jid, password in self.passwords.items():
            if jid in self._changed:
                await self._http.delete(f"/v1/nodes/{quote(jid, safe='')}")
            else:
                _resting[self.sandbox.folder][jid] = password


@contextlib.asynccontextmanager
async def office(sandbox: Sandbox) -> AsyncIterator[Office]:
    """The administrator's office of a sandbox."""
    admin = sandbox.info["admin"]
    headers = {"Authorization": f"Bearer {admin['token']}"}
    async with httpx.AsyncClient(base_url=admin["url"], headers=headers, timeout=30) as http:
        desk = Office(sandbox, http)
        try:
            yield desk
        finally:
            await desk.close()


# What clients do


async def appear(client: Requester) -> None:
    """Be available, so that what is sent to the account arrives here; returns when the server has taken it."""
    await client.send_raw("<presence/>")
    await settled(client)


async def settled(client: Requester) -> None:
    """Returns when everything has arrived that the server had for this session before."""
    id = client.new_id()
    ping = f"<iq type='get' id='{id}' to='grid.test'><ping xmlns='urn:xmpp:ping'/></iq>"
    await client.send_raw_iq(ping, id=id)


async def ask(client: Requester, content: str, kind: str = "set", *, ns: str = PUBSUB, to: str = BROKER) -> Answer:
    """Send a request of XEP-0060 (of XEP-0030, when `ns` is one of its namespaces)."""
    id = client.new_id()
    wrapped = content if ns in (ITEMS, INFO) else f"<pubsub xmlns='{ns}'>{content}</pubsub>"
    return await client.send_raw_iq(f"<iq type='{kind}' id='{id}' to='{to}'>{wrapped}</iq>", id=id)


async def topics(client: Requester, to: str = BROKER) -> list[str]:
    """The names of the topics that the client is shown."""
    answer = await ask(client, f"<query xmlns='{ITEMS}'/>", "get", ns=ITEMS, to=to)
    return [item.get("node", "") for item in ET.fromstring(answer.payload)]


async def info(client: Requester, topic: str) -> Answer:
    """disco#info of a topic."""
    return await ask(client, f"<query xmlns='{INFO}' node='{topic}'/>", "get", ns=INFO)


async def subscribe(client: Requester, topic: str, *, jid: str = "", to: str = BROKER) -> Answer:
    """Subscribe the client's account, or `jid`."""
    jid = jid or bare(client)
    return await ask(client, f"<subscribe node='{topic}' jid='{jid}'/>", to=to)


async def publish(client: Requester, topic: str, id: str, payload: str = INCIDENT) -> Answer:
    """Publish an item."""
    return await ask(client, f"<publish node='{topic}'><item id='{id}'>{payload}</item></publish>")


async def items(client: Requester, topic: str, content: str = "", after: str = "", **attributes: object) -> Answer:
    """Retrieve items.

    :param content: of the element.
    :param after: beside it: result set management.
    """
    words = "".join(f" {name}='{value}'" for name, value in attributes.items())
    return await ask(client, f"<items node='{topic}'{words}>{content}</items>{after}", "get")


def refusal(answer: Answer) -> tuple[str, str, str]:
    """Type, condition and XEP-0060's own condition of an error; three empty strings for a result."""
    return answer.error_type, answer.condition, answer.app_condition.rpartition("}")[2]


def ids(answer: Answer) -> list[str]:
    """The ids of the items in an answer."""
    return [item.get("id", "") for item in ET.fromstring(answer.payload).iter(f"{{{PUBSUB}}}item")]


def subscription(answer: Answer) -> dict[str, str]:
    """The attributes of the subscription in an answer."""
    (found,) = ET.fromstring(answer.payload).iter(f"{{{PUBSUB}}}subscription")
    return dict(found.attrib)


def events(client: Requester, topic: str) -> list[str]:
    """The ids of the items that a client was told of, in order."""
    return [
        item.get("id", "")
        for stanza in client.stanzas
        for found in stanza.iter(f"{{{EVENT}}}items")
        if found.get("node") == topic
        for item in found.iter(f"{{{EVENT}}}item")
    ]


def states(client: Requester, topic: str) -> list[str]:
    """What a client was told of its subscription, in order; only by headlines of the controller."""
    return [
        found.get("subscription", "")
        for stanza in client.stanzas
        if stanza.get("from") == CONTROLLER
        for found in stanza.iter(f"{{{EVENT}}}subscription")
        if found.get("node") == topic
    ]


async def received(client: Requester, topic: str, *expected: str) -> None:
    """Wait until a client was told of these items, once each and in this order, and of nothing else."""
    await until(lambda: len(events(client, topic)) >= len(expected))
    await settled(client)
    assert events(client, topic) == list(expected)


def options(**fields: str) -> str:
    """What a publisher says of the node that it publishes to (XEP-0060 §7.1.5)."""
    return f"<publish-options>{form(f'{PUBSUB}#publish-options', **fields)}</publish-options>"


def form(of: str = CONFIG, **fields: str) -> str:
    """A form that configures a node, or one of another FORM_TYPE."""
    values = "".join(f"<field var='pubsub#{name}'><value>{value}</value></field>" for name, value in fields.items())
    head = f"<field var='FORM_TYPE' type='hidden'><value>{of}</value></field>"
    return f"<x xmlns='{DATA}' type='submit'>{head}{values}</x>"


@dataclass
class Scene:
    """A topic with a node that made it and publishes, one that may subscribe, and one that may nothing."""

    desk: Office
    topic: str
    publisher: RawClient
    subscriber: RawClient
    outsider: RawClient

    async def publish(self, *ids: str) -> None:
        """Publish items."""
        for id in ids:
            assert refusal(await publish(self.publisher, self.topic, id)) == FINE

    async def subscribe(self) -> None:
        """Have the subscriber subscribe."""
        assert subscription(await subscribe(self.subscriber, self.topic))["subscription"] == "subscribed"


@contextlib.asynccontextmanager
async def scene(sandbox: Sandbox, **config: str) -> AsyncIterator[Scene]:
    """A scene whose topic is configured so."""
    async with contextlib.AsyncExitStack() as stack:
        desk = await stack.enter_async_context(office(sandbox))
        name = desk.name()
        people = [await desk.node() for _ in range(3)]
        clients = [await stack.enter_async_context(desk.online(jid)) for jid in people]
        await desk.permit(people[0], "publish", name)
        await desk.permit(people[1], "subscribe", name)
        made = await ask(clients[0], f"<create node='{name}'/><configure>{form(**config)}</configure>")
        assert refusal(made) == FINE
        yield Scene(desk, name, *clients)


def bare(client: Requester) -> str:
    """The JID of a client's account."""
    return client.jid.partition("/")[0]
