"""One guarded host, as seen from the component: what its in-server plugin does, owes and reports."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from xml.etree.ElementTree import Element

from component.base import ns
from component.base.clientsessions import SessionBook, SessionSink
from component.base.errors import StanzaError, StanzagateError
from component.base.link import Link, LinkState
from component.base.pluginstatus import Guard, PluginMode, PluginStatus, read_status
from component.base.stanzas import quote

log = logging.getLogger(__name__)

_SESSION = f"{{{ns.POLICY}}}session"
_SESSIONS = f"{{{ns.POLICY}}}sessions"
_STATUS = f"{{{ns.POLICY}}}status"

CONFIRM_SECONDS = 3.0
"""So long a change waits for the plugins; one that is there confirms within milliseconds."""

RETRY_SECONDS = 1.0
POLL_SECONDS = 10.0
MISSES = 2
"""After so many unanswered questions in a row nothing is taken for known any more."""

_NOBODY_THERE = frozenset({"service-unavailable", "feature-not-implemented", "item-not-found"})
"""What a server without the plugin answers to its namespace."""

CatchUp = Callable[["GuardedHost"], Awaitable[None]]
"""Tells a plugin what it has missed, by `GuardedHost.ask`; its `status` is what it has just said of itself."""

ModeListener = Callable[[str, PluginMode, PluginMode], None]
"""Told when a plugin is in another mode than it was last known to be in: host, new mode, mode before."""


class GuardedHost:
    """What is known of the plugin on one host.

    :param guard: what it should guard; one that differs is named in the log.
    :param catch_up: tells it what it has missed, whenever it was asked how it is. Without one it is made to forget
        what it has cached.
    :ivar status: its figures, or None while nobody can say.
    :ivar owed: the number of the policy that it has not confirmed to obey, or 0.
    """

    def __init__(
        self, host: str, sink: SessionSink, guard: Guard, on_mode: ModeListener, catch_up: CatchUp | None = None
    ) -> None:
        self.host = host
        self.mode = PluginMode.UNKNOWN
        self.status: PluginStatus | None = None
        self.owed = 0
        self._sessions = SessionBook(host, sink)
        self._guard = guard
        self._on_mode = on_mode
        self._catch_up = catch_up
        self._told = PluginMode.UNKNOWN
        self._complaint = ""
        self._wake = asyncio.Event()

    def hurry(self) -> None:
        """Have it looked after at once."""
        self._wake.set()

    def attach(self, link: Link) -> None:
        """Say which link leads to the host's server."""
        self._link = link
        link.watchers.append(self._attached_or_lost)

    def take(self, payload: Element) -> bool:
        """Take what the plugin tells unasked; whether it was something of its own."""
        if payload.tag in (_STATUS, _SESSION, _SESSIONS) and self.mode is PluginMode.ABSENT:
            self._is(PluginMode.UNKNOWN)  # it has just been loaded
            self._wake.set()
        if payload.tag == _STATUS:
            self._note(read_status(payload))
        elif payload.tag in (_SESSION, _SESSIONS):
            self._sessions.take(payload)
            if not self._sessions.complete:
                self._wake.set()  # an event was lost: the plugin is asked for everything
        else:
            return False
        return True

    async def confirm(self, epoch: int, requester: str, device: str) -> str:
        """Have the plugin forget what it has cached, and wait until it has.

        :returns: why it has not, or the empty string.
        """
        attachments = self._link.counters.attached
        why = await self._flush(epoch, requester, device)
        # Without a plugin nothing is cached, and one forgets everything when its component connects.
        reattached = self._link.state is LinkState.ATTACHED and self._link.counters.attached > attachments
        if not why or reattached or self.mode is PluginMode.ABSENT:
            return ""
        self.owed = max(self.owed, epoch)
        self._wake.set()
        return why

    async def _flush(self, epoch: int, requester: str, device: str) -> str:
        try:
            async with asyncio.timeout(CONFIRM_SECONDS):
                await self._link.attached.wait()
                await self.ask(flush(epoch, requester, device), "set")
        except TimeoutError:
            away = self._link.state is not LinkState.ATTACHED
            return "the link to its server is down" if away else f"no answer within {CONFIRM_SECONDS:g} s"
        except StanzagateError as error:
            return error.message.rstrip(".")
        return ""

    async def run(self) -> None:
        """Look after the plugin until cancelled: repeat what was not confirmed, ask how it is."""
        misses = 0
        while True:
            await self._link.attached.wait()
            self._wake.clear()
            try:
                await self._look_after()
                misses = 0
            except StanzagateError as error:
                misses += 1
                if misses >= MISSES and self.mode is not PluginMode.ABSENT and self._link.attached.is_set():
                    self._lose_sight(str(error))
            hurry = self.owed or (misses and self.mode is not PluginMode.ABSENT)
            try:
                async with asyncio.timeout(RETRY_SECONDS if hurry else POLL_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _look_after(self) -> None:
        if (owed := self.owed) and self._catch_up is None:
            await self.ask(flush(owed), "set")
            if self.owed == owed:  # a later one may have failed meanwhile
                self.owed = 0
        self._note(read_status((await self.ask(f"<status xmlns='{ns.POLICY}'/>")).find(_STATUS)))
        if self._catch_up is not None and self.status is not None:
            await self._catch_up(self)
        if self.status is not None:
            self._sessions.compare(self.status.seq, self.status.sessions)
        if not self._sessions.complete:
            found = (await self.ask(f"<sessions xmlns='{ns.POLICY}'/>")).find(_SESSIONS)
            if found is not None:
                self._sessions.take(found)

    async def ask(self, payload: str, kind: str = "get") -> Element:
        """Ask the plugin, or tell it something.

        :param payload: the serialised child of the iq.
        :param kind: ``get`` or ``set``.
        :raises StanzagateError: there is none, it refused, or did not answer.
        """
        try:
            return await self._link.iq(self.host, payload, timeout=2 * CONFIRM_SECONDS, kind=kind)
        except StanzaError as error:
            if error.info.condition in _NOBODY_THERE:
                self._absent()
            raise

    def _absent(self) -> None:
        self._is(PluginMode.ABSENT)
        self.status, self.owed = None, 0
        self._sessions.forget()
        self._complain(
            "there is no in-server plugin: devices there are guarded by their own lists alone. "
            "docs/install-prosody.md and docs/install-ejabberd.md tell how to add it."
        )

    def _lose_sight(self, why: str) -> None:
        self._is(PluginMode.UNKNOWN)
        self.status = None
        self._sessions.forget()
        hint = " Does its configuration name another component?" if "forbidden" in why else ""
        self._complain(f"the in-server plugin cannot be asked: {why}{hint}")

    def _note(self, status: PluginStatus | None) -> None:
        if status is None:
            self._complain("the in-server plugin says something that cannot be understood.")
            return
        self.status = status
        self._is(status.mode)
        if status.guard is self._guard:
            self._complaint = ""
        else:
            self._complain(
                f"the in-server plugin guards {status.guard}, but the configuration here says {self._guard}."
            )

    def _is(self, mode: PluginMode) -> None:
        self.mode = mode
        if mode in (PluginMode.UNKNOWN, self._told):
            return
        before, self._told = self._told, mode
        if mode is not PluginMode.ABSENT:
            level = logging.INFO if mode is PluginMode.ENFORCE else logging.WARNING
            log.log(level, "%s: the in-server plugin is in mode %s.", self.host, mode)
        self._on_mode(self.host, mode, before)

    def _complain(self, what: str) -> None:
        """Warn, once until something else is the matter."""
        if what != self._complaint:
            self._complaint = what
            log.warning("%s: %s", self.host, what)

    def _attached_or_lost(self, attached: bool) -> None:
        self._sessions.forget()
        self.status = None
        self._is(PluginMode.UNKNOWN)
        if attached:
            self.owed = 0  # a plugin forgets everything when its component connects
        self._wake.set()


def flush(epoch: int, requester: str = "", device: str = "") -> str:
    """The order to forget decisions from before `epoch`: about a requester, a device (bare JIDs), or all."""
    only = "".join(
        f" {name}='{quote(value)}'" for name, value in (("requester", requester), ("device", device)) if value
    )
    return f"<flush xmlns='{ns.POLICY}' epoch='{epoch}'{only}/>"
