"""Nodes of a grid that are made of a library's own code for XEP-0030 and XEP-0060, and of nothing of ours.

::

    async with plain_client("aioxmpp", sandbox, "soc5@grid.test", password) as node:
        await node.create("Plain", {"access_model": "authorize"})
        state = await node.subscribe("Plain")

What a library hands out is turned into words and lists; what it raises into `Refused`.
"""

from __future__ import annotations

import contextlib
import io
import xml.etree.ElementTree as ET
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aioxmpp
import aioxmpp.forms
import aioxmpp.pubsub.xso
import aioxmpp.xml
from aioxmpp import xso
from slixmpp.exceptions import IqError
from slixmpp.plugins.xep_0004.stanza.form import Form

from tests.interop.clients import Requester, client
from tests.interop.conftest import Sandbox
from tests.interop.plain import BROKER, CONFIG, INCIDENT, IODEF, appear

LIBRARIES = ("slixmpp", "aioxmpp")


class Refused(Exception):
    """The broker has refused; type and condition are the library's reading of the error."""

    def __init__(self, kind: str, condition: str) -> None:
        super().__init__(f"{kind}/{condition}")


class PlainNode(ABC):
    """What a platform does that knows RFC 8600 and nothing else. Everything raises `Refused`.

    :ivar wire: the same connection, and all that came over it.
    :ivar told: ids of the items that the library has told of.
    """

    def __init__(self, wire: Requester) -> None:
        self.wire = wire
        self.told: list[str] = []

    @abstractmethod
    async def discover(self) -> dict[str, str]:
        """disco#items: the topics' names and titles."""

    @abstractmethod
    async def info(self, node: str = "") -> tuple[set[str], set[str], str]:
        """disco#info: identities (category/type), features, and ``pubsub#type``."""

    @abstractmethod
    async def create(self, node: str, config: dict[str, str] | None = None) -> None:
        """Create a topic."""

    @abstractmethod
    async def configuration(self, node: str) -> dict[str, str]:
        """What a topic of one's own is like, without ``pubsub#``."""

    @abstractmethod
    async def configure(self, node: str, config: dict[str, str]) -> None:
        """Change it."""

    @abstractmethod
    async def delete(self, node: str) -> None:
        """Delete it."""

    @abstractmethod
    async def subscribe(self, node: str) -> str:
        """Subscribe; the state of the subscription."""

    @abstractmethod
    async def unsubscribe(self, node: str) -> None:
        """Unsubscribe."""

    @abstractmethod
    async def subscriptions(self) -> dict[str, str]:
        """Topics that are subscribed, and the states."""

    @abstractmethod
    async def publish(self, node: str, id: str) -> None:
        """Publish RFC 8600's example."""

    @abstractmethod
    async def items(self, node: str, most: int | None = None) -> list[str]:
        """The ids of the items that are kept."""

    @abstractmethod
    async def retract(self, node: str, id: str) -> None:
        """Take an item back, and have everybody told."""


@contextlib.asynccontextmanager
async def plain_client(
    kind: str, sandbox: Sandbox, jid: str, password: str, *, present: bool = True
) -> AsyncIterator[PlainNode]:
    """A node of the library `kind`, online."""
    async with client(kind, jid, password, *sandbox.address, sandbox.info["ca"]) as wire:
        node = _Slixmpp(wire) if kind == "slixmpp" else _Aioxmpp(wire)
        if present:
            await appear(wire)
        yield node


class _Slixmpp(PlainNode):
    def __init__(self, wire: Requester) -> None:
        super().__init__(wire)
        self._xmpp: Any = wire._stream  # type: ignore[attr-defined]
        for name in ("xep_0004", "xep_0030", "xep_0059", "xep_0060"):
            self._xmpp.register_plugin(name)
        self._disco, self._pubsub = self._xmpp.plugin["xep_0030"], self._xmpp.plugin["xep_0060"]
        self._xmpp.add_event_handler("pubsub_publish", self._published)

    def _published(self, message: Any) -> None:
        self.told.append(message["pubsub_event"]["items"]["item"]["id"])

    async def discover(self) -> dict[str, str]:
        found: dict[str, str] = {}
        pages = await self._disco.get_items(jid=BROKER, iterator=True)
        pages.amount = 2
        async for page in pages:
            found |= {node: name for _, node, name in page["disco_items"]["items"]}
        return found

    async def info(self, node: str = "") -> tuple[set[str], set[str], str]:
        with _slixmpp_errors():
            answer = await self._disco.get_info(jid=BROKER, node=node, cached=False)
        known = answer["disco_info"]
        values: dict[str, Any] = {}
        for form in known.xml.findall("{jabber:x:data}x"):
            values |= Form(xml=form).get_values()  # type: ignore[no-untyped-call]
        identities = {f"{category}/{kind}" for category, kind, *_ in known["identities"]}
        return identities, set(known["features"]), values.get("pubsub#type", "")

    async def create(self, node: str, config: dict[str, str] | None = None) -> None:
        with _slixmpp_errors():
            await self._pubsub.create_node(BROKER, node, config=self._form(config) if config else None)

    async def configuration(self, node: str) -> dict[str, str]:
        with _slixmpp_errors():
            answer = await self._pubsub.get_node_config(BROKER, node)
        values = answer["pubsub_owner"]["configure"]["form"].get_values()
        return {name.removeprefix("pubsub#"): value for name, value in values.items()}

    async def configure(self, node: str, config: dict[str, str]) -> None:
        with _slixmpp_errors():
            await self._pubsub.set_node_config(BROKER, node, self._form(config))

    async def delete(self, node: str) -> None:
        with _slixmpp_errors():
            await self._pubsub.delete_node(BROKER, node)

    async def subscribe(self, node: str) -> str:
        with _slixmpp_errors():
            answer = await self._pubsub.subscribe(BROKER, node)
        return str(answer["pubsub"]["subscription"]["subscription"])

    async def unsubscribe(self, node: str) -> None:
        with _slixmpp_errors():
            await self._pubsub.unsubscribe(BROKER, node)

    async def subscriptions(self) -> dict[str, str]:
        with _slixmpp_errors():
            answer = await self._pubsub.get_subscriptions(BROKER)
        return {item["node"]: item["subscription"] for item in answer["pubsub"]["subscriptions"]}

    async def publish(self, node: str, id: str) -> None:
        with _slixmpp_errors():
            await self._pubsub.publish(BROKER, node, id=id, payload=ET.fromstring(INCIDENT))

    async def items(self, node: str, most: int | None = None) -> list[str]:
        with _slixmpp_errors():
            answer = await self._pubsub.get_items(BROKER, node, max_items=most)
        return [item["id"] for item in answer["pubsub"]["items"]]

    async def retract(self, node: str, id: str) -> None:
        with _slixmpp_errors():
            await self._pubsub.retract(BROKER, node, id, notify="true")

    def _form(self, config: dict[str, str]) -> Any:
        form = self._xmpp.plugin["xep_0004"].make_form("submit")
        form.add_field(var="FORM_TYPE", ftype="hidden", value=CONFIG)
        for name, value in config.items():
            form.add_field(var=f"pubsub#{name}", value=value)
        return form


@contextlib.contextmanager
def _slixmpp_errors() -> Iterator[None]:
    try:
        yield
    except IqError as error:
        raise Refused(error.etype, error.condition) from None


# aioxmpp reads payloads that it knows; so it is told of the document of RFC 8600.


def _element(name: str, *children: Any, text: bool = False, attributes: tuple[str, ...] = ()) -> Any:
    """A class for an element of IODEF."""
    body: dict[str, Any] = {"TAG": (IODEF, name)}
    body |= {child.__name__: xso.Child([child]) for child in children}
    body |= {attribute: xso.Attr(attribute, default=None) for attribute in attributes}
    if text:
        body["text"] = xso.Text(default=None)
    return type(xso.XSO)(name, (xso.XSO,), body)


_EmailTo = _element("EmailTo", text=True)
_Email = _element("Email", _EmailTo)
_Contact = _element("Contact", _Email, attributes=("type", "role"))
_IncidentID = _element("IncidentID", text=True, attributes=("name",))
_GenerationTime = _element("GenerationTime", text=True)
_Incident = _element("Incident", _IncidentID, _GenerationTime, _Contact, attributes=("purpose", "restriction"))


class _Document(xso.XSO):  # type: ignore[misc]
    TAG = (IODEF, "IODEF-Document")
    UNKNOWN_ATTR_POLICY = xso.UnknownAttrPolicy.DROP
    version = xso.Attr("version")
    lang = xso.LangAttr()
    incident = xso.Child([_Incident])


aioxmpp.pubsub.xso.as_payload_class(_Document)


def _document() -> _Document:
    """The document, as the library's own parser reads it."""
    made: _Document = aioxmpp.xml.read_single_xso(io.BytesIO(INCIDENT.encode()), _Document)
    return made


class _Aioxmpp(PlainNode):
    def __init__(self, wire: Requester) -> None:
        super().__init__(wire)
        self._xmpp: Any = wire._library  # type: ignore[attr-defined]
        self._disco = self._xmpp.summon(aioxmpp.DiscoClient)
        self._pubsub = self._xmpp.summon(aioxmpp.PubSubClient)
        self._broker = aioxmpp.JID.fromstr(BROKER)
        self._pubsub.on_item_published.connect(self._published)

    def _published(self, jid: object, node: str, item: Any, **_: object) -> None:
        self.told.append(item.id_)

    async def discover(self) -> dict[str, str]:
        with _aioxmpp_errors():  # its get_nodes() would answer from a cache
            found = await self._disco.query_items(self._broker, require_fresh=True)
        return {item.node: item.name for item in found.items}

    async def info(self, node: str = "") -> tuple[set[str], set[str], str]:
        with _aioxmpp_errors():
            known = await self._disco.query_info(self._broker, node=node or None, require_fresh=True)
        identities = {f"{item.category}/{item.type_}" for item in known.identities}
        values = {field.var: field.values for form in known.exts for field in form.fields}
        return identities, set(known.features), "".join(values.get("pubsub#type", ()))

    async def create(self, node: str, config: dict[str, str] | None = None) -> None:
        if config is None:
            with _aioxmpp_errors():
                await self._pubsub.create(self._broker, node)
            return
        create = aioxmpp.pubsub.xso.Create()
        create.node = node
        request = aioxmpp.pubsub.xso.Request(create)
        request.configure = aioxmpp.pubsub.xso.Configure()
        request.configure.data = _form(config)
        with _aioxmpp_errors():
            await self._xmpp.send(aioxmpp.IQ(type_=aioxmpp.IQType.SET, to=self._broker, payload=request))

    async def configuration(self, node: str) -> dict[str, str]:
        with _aioxmpp_errors():
            form = await self._pubsub.get_node_config(self._broker, node)
        return {field.var.removeprefix("pubsub#"): "".join(field.values) for field in form.fields}

    async def configure(self, node: str, config: dict[str, str]) -> None:
        with _aioxmpp_errors():
            await self._pubsub.set_node_config(self._broker, _form(config), node)

    async def delete(self, node: str) -> None:
        with _aioxmpp_errors():
            await self._pubsub.delete(self._broker, node)

    async def subscribe(self, node: str) -> str:
        with _aioxmpp_errors():
            return str((await self._pubsub.subscribe(self._broker, node)).payload.subscription)

    async def unsubscribe(self, node: str) -> None:
        with _aioxmpp_errors():
            await self._pubsub.unsubscribe(self._broker, node)

    async def subscriptions(self) -> dict[str, str]:
        with _aioxmpp_errors():
            answer = await self._pubsub.get_subscriptions(self._broker)
        return {item.node: item.subscription for item in answer.subscriptions}

    async def publish(self, node: str, id: str) -> None:
        with _aioxmpp_errors():
            await self._pubsub.publish(self._broker, node, _document(), id_=id)

    async def items(self, node: str, most: int | None = None) -> list[str]:
        with _aioxmpp_errors():
            answer = await self._pubsub.get_items(self._broker, node, max_items=most)
        return [item.id_ for item in answer.payload.items]

    async def retract(self, node: str, id: str) -> None:
        with _aioxmpp_errors():
            await self._pubsub.retract(self._broker, node, id, notify=True)


def _form(config: dict[str, str]) -> aioxmpp.forms.Data:
    form = aioxmpp.forms.Data(aioxmpp.forms.DataType.SUBMIT)
    head = {"FORM_TYPE": (aioxmpp.forms.FieldType.HIDDEN, CONFIG)}
    rest = {f"pubsub#{name}": (aioxmpp.forms.FieldType.TEXT_SINGLE, value) for name, value in config.items()}
    for name, (kind, value) in (head | rest).items():
        form.fields.append(aioxmpp.forms.Field(type_=kind, values=[value], var=name))
    return form


@contextlib.contextmanager
def _aioxmpp_errors() -> Iterator[None]:
    try:
        yield
    except aioxmpp.errors.XMPPError as error:
        raise Refused(error.TYPE.value, error.condition.value[1]) from None
