"""Alerts: what an administrator should look at now (RFC 8600 §8.2.3, draft-ietf-mile-xmpp-grid-01 §5.3.2, §5.3.3).

An alert goes to the audit record, the metrics, the log, a web service and administrators' JIDs. The same alert about
the same subject is told at once, then at most once a minute, with how often it happened; so a flood of reasons makes
no flood of alerts, and no list here grows with it.
"""

from __future__ import annotations

import asyncio
import logging
import time
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from secrets import token_hex
from typing import Any, Protocol

from component.base.errors import InputError
from component.base.jid import JidError, prepare
from component.base.limits import Buckets
from component.base.settings import Rate
from component.base.stanzas import quote
from grid.settings import AlertSettings
from grid.webhook import Webhook

log = logging.getLogger(__name__)

PERIOD = 60.0
"""Seconds between two alerts that say the same."""

SUBJECTS = 100
"""Subjects of one kind that are told apart within `PERIOD`; further ones share the subject `MANY`."""

MANY = "*"
MESSAGES = Rate(per_second=1 / 3, burst=20)
"""Messages to each administrator; how many alerts were left out is said in the next one."""

KEPT = 20
"""Messages that wait while the link is not attached: that the controller has started, for example."""

LONGEST = 1_000
"""Characters of a text."""

ACTOR = "stanzagate"


class AlertKind(StrEnum):
    """What has happened."""

    CERTIFICATE_MISMATCH = "certificate-mismatch"
    """A registered name came with another certificate than it is bound to."""
    REVOKED_CERTIFICATE = "revoked-certificate"
    """Somebody came with a certificate that is revoked."""
    UNREGISTERED = "unregistered"
    """Somebody who is not a node goes on sending requests."""
    HONEYTOKEN = "honeytoken"
    """A topic or item was touched that nobody has a reason to touch."""
    LIMIT = "limit"
    """A node uses more than it may."""
    DISABLED = "disabled"
    """A node was disabled automatically."""
    DRIFT = "drift"
    """The server had something else than it should; it was put right."""
    NOT_CONFIRMED = "not-confirmed"
    """A change is made, but the server has not confirmed it."""
    PLUGIN = "plugin"
    """The in-server plugin is missing, only logs, or is in its emergency bypass."""
    RESTART = "restart"
    """The controller has started."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that an administrator should look at.

    :ivar subject: whom or what it is about: a bare JID, a topic, a host.
    :ivar text: one sentence for people.
    :ivar detail: whatever else helps; JSON, flat, no secrets.
    """

    kind: AlertKind
    subject: str
    text: str
    detail: Mapping[str, object] = field(default_factory=dict)


class Attachment(Protocol):
    """What is needed of `component.base.link.Link`."""

    attached: asyncio.Event
    watchers: list[Callable[[bool], None]]

    def send(self, stanza: str) -> None: ...


Note = Callable[[str, str, str, Mapping[str, Any]], None]
"""`component.base.audit.Audit.note`."""

Raise = Callable[[Alert], None]
"""`Alerts.raise_`, for those who raise them."""


@dataclass(slots=True)
class _Told:
    since: float
    first: float
    count: int
    latest: Alert


class Alerts:
    """Everybody who is to be told. Used on the event loop's thread.

    :param settings: whom to tell.
    :param note: writes into the audit record.
    :param sender: the controller's JID, from which messages come.
    :param now: seconds since 1970.
    :param clock: monotonic seconds.
    :param webhook: for tests, in place of that of `settings`.
    :raises InputError: the settings cannot be used.
    """

    def __init__(
        self,
        settings: AlertSettings,
        note: Note,
        *,
        sender: str,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        identify: Callable[[], str] = lambda: token_hex(16),
        webhook: Webhook | None = None,
    ) -> None:
        self.counts: dict[str, int] = dict.fromkeys(map(str, AlertKind), 0)
        """How often each kind was raised, repetitions included; for the metrics."""
        self.webhook = webhook or (Webhook(settings.webhook) if settings.webhook else None)
        self._note = note
        self._sender = sender
        self._jids = tuple(_administrator(jid) for jid in settings.jids)
        self._now = now
        self._clock = clock
        self._identify = identify
        self._link: Attachment | None = None
        self._messages = Buckets(MESSAGES)
        self._unsaid = 0
        self._kept: list[str] = []
        self._told: dict[tuple[str, str], _Told] = {}  # in the order in which they are due
        self._subjects: dict[str, int] = dict.fromkeys(map(str, AlertKind), 0)
        self._wanted = asyncio.Event()

    def attach(self, link: Attachment) -> None:
        """Send messages to administrators by this link, while it is attached."""
        self._link = link
        link.watchers.append(self._attached)

    def _attached(self, attached: bool) -> None:
        if attached and self._link is not None:
            kept, self._kept = self._kept, []
            for stanza in kept:
                self._link.send(stanza)

    def raise_(self, alert: Alert) -> None:
        """Tell of an alert, or count it when the same one was told within the last minute. Never blocks or fails."""
        alert = replace(alert, subject=_plain(alert.subject), text=_plain(alert.text), detail=_flat(alert.detail))
        self.counts[alert.kind] += 1
        key = self._key(alert)
        told = self._told.get(key)
        if told is not None:
            told.first = told.first if told.count else self._now()
            told.count += 1
            told.latest = alert
            return
        self._told[key] = _Told(self._clock(), self._now(), 0, alert)
        self._subjects[alert.kind] += key[1] != MANY
        self._tell(alert, 1, self._now())
        self._wanted.set()

    def _key(self, alert: Alert) -> tuple[str, str]:
        key = (str(alert.kind), alert.subject)
        if key in self._told or self._subjects[alert.kind] < SUBJECTS:
            return key
        return key[0], MANY

    def repeat(self, *, everything: bool = False) -> None:
        """Tell what was counted and is due; `run` calls it.

        :param everything: also what is not due yet.
        """
        now = self._clock()
        for key, told in list(self._told.items()):
            if now - told.since < PERIOD and not everything:
                break
            del self._told[key]
            if told.count == 0:
                self._subjects[key[0]] -= key[1] != MANY
                continue
            self._told[key] = _Told(now, self._now(), 0, told.latest)
            detail = {**told.latest.detail, "latest": told.latest.subject} if key[1] == MANY else told.latest.detail
            self._tell(replace(told.latest, subject=key[1], detail=detail), told.count, told.first)

    async def run(self) -> None:
        """Repeat and deliver, until cancelled."""
        async with asyncio.TaskGroup() as group:
            if self.webhook is not None:
                group.create_task(self.webhook.run(), name="grid.webhook")
            while True:
                await self._next()
                self.repeat()

    async def _next(self) -> None:
        """Wait until something is due."""
        if not self._told:
            self._wanted.clear()
            await self._wanted.wait()
        due = next(iter(self._told.values())).since + PERIOD
        await asyncio.sleep(max(due - self._clock(), 0.01))

    async def drain(self, timeout: float) -> None:
        """Tell what was counted, and give the web service `timeout` seconds; for the end of the process."""
        self.repeat(everything=True)
        if self.webhook is not None:
            await self.webhook.drain(timeout)

    def _tell(self, alert: Alert, count: int, since: float) -> None:
        """Tell everybody.

        :param since: when the first of `count` happened, in seconds since 1970.
        """
        log.warning("Alert %s, %s: %s%s", alert.kind, alert.subject, alert.text, _times(count))
        detail: dict[str, object] = {**alert.detail, "text": alert.text, "count": count, "since": round(since, 3)}
        self._note(ACTOR, f"alert.{alert.kind}", alert.subject, detail)
        if self.webhook is not None:
            self.webhook.put(self._document(alert, count, since))
        self._message(alert, count)

    def _document(self, alert: Alert, count: int, since: float) -> dict[str, object]:
        return {
            "id": self._identify(), "controller": self._sender, "time": _moment(self._now()), "kind": str(alert.kind),
            "subject": alert.subject, "text": alert.text, "count": count, "since": _moment(since),
            "detail": dict(alert.detail),
        }  # fmt: skip

    def _message(self, alert: Alert, count: int) -> None:
        if not self._jids:
            return
        attached = self._link is not None and self._link.attached.is_set()
        if (not attached and len(self._kept) >= KEPT) or not self._messages.take("", self._clock()):
            self._unsaid += 1
            return
        lines = [f"{alert.subject}: {alert.text}{_times(count)}"]
        lines += [f"{name}: {value}" for name, value in alert.detail.items()]
        if self._unsaid:
            lines.append(f"{self._unsaid} other alerts before this one are in the audit record only.")
            self._unsaid = 0
        body = quote("\n".join(lines)).replace("&#10;", "\n")
        for jid in self._jids:
            stanza = (
                f"<message from='{quote(self._sender)}' to='{quote(jid)}' type='normal'>"
                f"<subject>Stanzagate: {alert.kind}</subject><body>{body}</body></message>"
            )
            if attached and self._link is not None:
                self._link.send(stanza)
            else:
                self._kept.append(stanza)


def _administrator(text: str) -> str:
    try:
        return prepare(text).full
    except JidError as error:
        raise InputError(f"grid.alerts.jids: {text!r} is not a JID: {error.message}") from None


def _plain(text: str) -> str:
    """Text that may stand in XML, a log line and JSON; whatever strangers have put into it."""
    shown = text if len(text) <= LONGEST else text[:LONGEST] + "…"
    if shown.isascii() and shown.isprintable():
        return shown
    return "".join("\ufffd" if unicodedata.category(each) in ("Cc", "Cs", "Cn", "Cf", "Zl", "Zp") else each
                   for each in shown)  # fmt: skip


def _flat(detail: Mapping[str, object]) -> dict[str, object]:
    """Details that are JSON for certain, and not long."""
    return {
        _plain(str(name)): value if isinstance(value, bool | int | None) else _plain(str(value))
        for name, value in list(detail.items())[:20]
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _times(count: int) -> str:
    return f" ({count} times within a minute)" if count > 1 else ""
