"""Which devices are connected, as the in-server plugins tell it. Kept in memory: it is true only while it is told."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from component.base.clientsessions import ClientSession
from component.base.jid import Jid


class Reporting(StrEnum):
    """Whether anybody tells which sessions there are."""

    REPORTED = "reported"
    NOT_REPORTED = "not-reported"


class Sessions:
    """The connected full JIDs of the guarded hosts; a `SessionSink`. Without a plugin nobody tells, and nothing is
    online."""

    def __init__(self) -> None:
        self._hosts: dict[str, dict[Jid, list[ClientSession]]] = {}  # only hosts whose sessions are told

    def up(self, host: str, session: ClientSession) -> None:
        """A session began, or more is known of one."""
        known = self._hosts.setdefault(host, {})
        known[session.jid] = [other for other in known.get(session.jid, []) if other.sid != session.sid] + [session]

    def down(self, host: str, session: ClientSession) -> None:
        """A session ended; the JID stays online while it has another one."""
        known = self._hosts.get(host, {})
        left = [other for other in known.get(session.jid, []) if other.sid != session.sid]
        if left:
            known[session.jid] = left
        else:
            known.pop(session.jid, None)

    def replace(self, host: str, sessions: Iterable[ClientSession]) -> None:
        """These are all sessions: said whenever the component connects."""
        self._hosts[host] = {}
        for session in sessions:
            self.up(host, session)

    def forget(self, host: str) -> None:
        """Nobody tells any more."""
        self._hosts.pop(host, None)

    def since(self, jid: Jid) -> float | None:
        """When the session of a full JID began, in Unix time, or None when it is not connected.

        Of several, the one that began last holds the resource.
        """
        found = self._hosts.get(jid.domain, {}).get(jid)
        return max(session.since for session in found) if found else None

    def connected(self, jid: Jid) -> bool | None:
        """Whether a full JID is connected, or None when nobody tells."""
        known = self._hosts.get(jid.domain)
        return None if known is None else jid in known

    def reporting(self, host: str = "") -> Reporting:
        """Whether the sessions on `host` are told; without a host, whether those on any are."""
        told = host in self._hosts if host else bool(self._hosts)
        return Reporting.REPORTED if told else Reporting.NOT_REPORTED
