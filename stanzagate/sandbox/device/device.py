"""The reference device: an Annex K client with a stream, a list, credentials, a limit and sessions.

It is connected before it reports ``1 BOOT`` (seed requirement of Annex K.2.1): the first Inform leaves only when the
stream is up, and carries the ConnReqJabberID as bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import random
import ssl
import time
from collections import deque
from collections.abc import Callable
from xml.etree.ElementTree import Element

from component.base.jid import Jid, JidError, prepare
from stanzagate.sandbox.device import cwmp, request
from stanzagate.sandbox.device.limit import Bucket
from stanzagate.sandbox.device.quirks import Quirk
from stanzagate.sandbox.device.request import Credentials, Reading, Reply
from stanzagate.sandbox.device.sessions import SESSION_RETRY, Event, Sessions
from stanzagate.sandbox.device.settings import Connection, DeviceSettings, Retry
from stanzagate.sandbox.device.stream import DeviceStream
from stanzagate.sandbox.device.uplink import Status, Uplink

log = logging.getLogger(__name__)

RECEIVED = 100
"""Connection requests that a device remembers, the latest."""


class ReferenceDevice:
    """One device. Make it in the event loop that runs it; `run` is its life.

    :param address: host and port of the XMPP server.
    :param context: verifies the server; shared by all devices of a process.
    :param acs: URL of the CWMP endpoint; without one the device holds no sessions.
    :param timers: used unless `settings` has its own.
    :param clock: seconds since the epoch.
    :param monotonic: seconds for the limit.
    :param uniform: like `random.uniform`.
    :param slots: held while connecting.
    :ivar conn_req_jabber_id: ``ManagementServer.ConnReqJabberID``: the JID as bound, kept while the link is down.
    :ivar received: (sender, whether it was in normal form) of the latest connection requests of type get.
    """

    def __init__(
        self,
        settings: DeviceSettings,
        *,
        address: tuple[str, int],
        context: ssl.SSLContext,
        acs: str,
        timers: Connection | None = None,
        session_retry: Retry = SESSION_RETRY,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
        slots: contextlib.AbstractAsyncContextManager[object] | None = None,
    ) -> None:
        self.settings = settings
        self.conn_req_jabber_id = settings.reported_jid
        self.received: deque[tuple[str, bool]] = deque(maxlen=RECEIVED)
        self._acs, self._context, self._clock = acs, context, clock
        self._limit = Bucket(settings.limit, monotonic)
        self._booted = False
        self._last_id = ""
        self._online = asyncio.Event()
        self.sessions = Sessions(self._hold, in_session=settings.in_session, uniform=uniform, retry=session_retry)
        self._stream = DeviceStream(
            settings.jid, settings.password.get_secret_value(), context=context, on_stanza=self._handle
        )
        self.uplink = Uplink(
            self._stream,
            address,
            settings.connection or timers or Connection(),
            on_up=self._up,
            uniform=uniform,
            slots=slots or contextlib.nullcontext(),
        )

    @property
    def online(self) -> bool:
        """Whether the stream is up."""
        return self.uplink.status is Status.ENABLED

    async def wait_online(self) -> None:
        """Wait until the stream has been up for the first time."""
        await self._online.wait()

    async def run(self) -> None:
        """Be a device until cancelled; the stream is closed in order then."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.sessions.run(), name=f"{self.settings.id} sessions")
            group.create_task(self.uplink.run(), name=f"{self.settings.id} uplink")

    def _up(self, jid: str) -> None:
        events = [] if self._booted else [Event.BOOT]
        if jid != self.conn_req_jabber_id:
            events.append(Event.VALUE_CHANGE)
        self._booted, self.conn_req_jabber_id = True, jid
        self._online.set()
        if events:
            self.sessions.report(*events)

    async def _hold(self, events: tuple[Event, ...]) -> None:
        if not self._acs:
            return
        parameters = {
            "Device.DeviceInfo.HardwareVersion": "1",
            "Device.DeviceInfo.SoftwareVersion": "1",
            "Device.DeviceInfo.ProvisioningCode": "",
            "Device.ManagementServer.ParameterKey": "",
            "Device.ManagementServer.ConnReqXMPPConnection": "Device.XMPP.Connection.1",
            cwmp.CONN_REQ_JABBER_ID: self.conn_req_jabber_id,
        }
        message = cwmp.inform(self.settings.id, events, parameters, now=self._clock())
        await cwmp.session(self._acs, message, context=self._context)

    # Connection requests

    def _handle(self, stanza: Element) -> None:
        if stanza.tag != f"{{{request.CLIENT}}}iq":
            return
        quirks = self.settings.quirks
        any_type = Quirk.ANY_TYPE in quirks and request.carries_request(stanza)
        reading, credentials = request.read(stanza, any_type=any_type)
        if reading is Reading.IGNORED:
            return
        if request.carries_request(stanza) and stanza.get("type") == "get":
            normal = request.in_normal_form(stanza)
            self.received.append((stanza.get("from", ""), normal))
            if Quirk.CRASH_ON_WHITESPACE in quirks and not normal:
                self._stream.abort()
                return
        if Quirk.SILENT in quirks:
            return
        if Quirk.LATE in quirks:
            self._stream.loop.call_later(self.settings.late, self._respond, stanza, reading, credentials)
        else:
            self._respond(stanza, reading, credentials)

    def _respond(self, stanza: Element, reading: Reading, credentials: Credentials) -> None:
        reply = self._judge(stanza, reading, credentials)
        quirks, id = self.settings.quirks, stanza.get("id", "")
        if reply is Reply.NOT_AUTHORIZED and Quirk.MISSPELT in quirks:
            reply = Reply.NOT_AUTORIZED
        shown = (self._last_id or f"{id}-other") if Quirk.FOREIGN_ID in quirks else id
        self._last_id = id
        text = request.answer(stanza, reply, id=shown)
        sent = self._stream.write(text * 2 if Quirk.TWICE in quirks else text)
        if reply is Reply.RESULT and sent:
            self.sessions.report(Event.CONNECTION_REQUEST)

    def _judge(self, stanza: Element, reading: Reading, credentials: Credentials) -> Reply:
        if reading is Reading.UNSUPPORTED:
            return Reply.REFUSED
        if reading is Reading.MALFORMED:
            return Reply.BAD_REQUEST
        if not self._knows(stanza.get("from", "")) or not self._limit.take():
            return Reply.REFUSED
        if not self._authentic(credentials):
            return Reply.NOT_AUTHORIZED
        return Reply.REFUSED if self.sessions.busy else Reply.RESULT

    def _knows(self, sender: str) -> bool:
        try:
            # without `from` it is the device's own account that speaks (RFC 6120 §8.1.2.1)
            jid = prepare(sender) if sender else Jid(self._stream.boundjid.bare, "")
        except JidError:
            return False
        allowed = self.settings.allowed
        return allowed.begins(jid) if Quirk.PREFIX_MATCH in self.settings.quirks else allowed.allows(jid)

    def _authentic(self, given: Credentials) -> bool:
        expected = self.settings.cr_password.get_secret_value()
        # both are always compared: the time must not tell which one was wrong
        name = hmac.compare_digest(given.username.encode(), self.settings.cr_username.encode())
        password = hmac.compare_digest(given.password.encode(), expected.encode())
        return name and password
