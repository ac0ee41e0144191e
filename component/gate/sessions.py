"""Which devices are connected, as the in-server plugin tells it. Kept in memory: it is true only while it is told."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from component.base.jid import Jid


class Reporting(StrEnum):
    """Whether anybody tells which sessions there are."""

    REPORTED = "reported"
    NOT_REPORTED = "not-reported"


class Sessions:
    """The connected full JIDs of one guarded server. Without a plugin nobody tells, and nothing is online."""

    def __init__(self) -> None:
        self._since: dict[Jid, float] = {}
        self.reporting = Reporting.NOT_REPORTED
        """When nobody tells, it is not known who is online; `since` then says None for everyone."""

    def up(self, jid: Jid, since: float) -> None:
        """A session began, at a Unix time in seconds."""
        self._since[jid] = since
        self.reporting = Reporting.REPORTED

    def down(self, jid: Jid) -> None:
        """A session ended."""
        self._since.pop(jid, None)
        self.reporting = Reporting.REPORTED

    def replace(self, sessions: Iterable[tuple[Jid, float]]) -> None:
        """These are all sessions: said whenever the component connects."""
        self._since = dict(sessions)
        self.reporting = Reporting.REPORTED

    def forget(self) -> None:
        """Nobody tells any more."""
        self._since = {}
        self.reporting = Reporting.NOT_REPORTED

    def since(self, jid: Jid) -> float | None:
        """When the session of a full JID began, or None when it is not connected."""
        return self._since.get(jid)
