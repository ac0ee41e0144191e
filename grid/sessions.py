"""Who is connected to the grid, and who has logged in.

The in-server plugin tells which clients are connected (`component.base.clientsessions`). A login (draft-ietf-mile-
xmpp-grid-01 §2.6) belongs to one session and ends with it. Where nobody tells of sessions (a server without the
plugin, nodes of federated domains), it ends with the logout.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from component.base.clientsessions import ClientSession
from component.base.jid import Jid
from grid.model import Credential

Watcher = Callable[[ClientSession], None]
PresenceWatcher = Callable[[str, bool], None]
"""Told when a node comes (its first session) or goes (its last): bare JID, whether it is there."""

NOBODY = Credential()


class Sessions:
    """The sessions of the grid host, and all logins; a `SessionSink`.

    :ivar on_up: told of each session that begins, or of which more is known.
    :ivar on_found: told of each session that had begun before anybody told of it: the controller has just started.
    :ivar on_presence: told when a node comes or goes.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._open: dict[str, dict[str, ClientSession]] = {}  # by bare JID, by sid
        self._logins: dict[str, dict[str, tuple[str, float]]] = {}  # bare JID, resource: sid or empty, since
        self._told = False
        self._quiet: set[str] = set()  # sids that the plugin may hold back since a logout
        self.on_up: list[Watcher] = []
        self.on_found: list[Watcher] = []
        self.on_presence: list[PresenceWatcher] = []

    # What the plugin tells

    def up(self, host: str, session: ClientSession) -> None:
        """A session began, or more is known of one."""
        self._told = True
        first = not self._open.get(session.jid.bare)
        self._open.setdefault(session.jid.bare, {})[session.sid] = session
        for watcher in self.on_up:
            watcher(session)
        if first:
            self._present(session.jid.bare, True)

    def down(self, host: str, session: ClientSession) -> None:
        """A session ended; the JID may have another one already."""
        bare = session.jid.bare
        left = self._open.get(bare, {})
        left.pop(session.sid, None)
        self._quiet.discard(session.sid)
        login = self._logins.get(bare, {}).get(session.jid.resource)
        if login is not None and login[0] == session.sid:
            self.logout(session.jid)
        if not left:
            self._open.pop(bare, None)
            self._present(bare, False)

    def replace(self, host: str, sessions: Iterable[ClientSession]) -> None:
        """These are all sessions."""
        self._told = True
        there = {session.sid: session for session in sessions}
        for known in [session for sessions in self._open.values() for session in sessions.values()]:
            if known.sid not in there:
                self.down(host, known)
        known_sids = {sid for sessions in self._open.values() for sid in sessions}
        for sid, session in there.items():
            if sid not in known_sids:
                self._quiet.add(sid)  # it began while nobody told: it may have logged out, too
                self.up(host, session)
                for watcher in self.on_found:
                    watcher(session)
        for bare, logins in list(self._logins.items()):
            for resource in [resource for resource, (sid, _) in logins.items() if sid and sid not in there]:
                self.logout(Jid(bare, resource))

    def forget(self, host: str) -> None:
        """Nobody can tell at the moment; whoever was logged in stays so until it is known to have gone."""
        self._told = False

    def _present(self, bare: str, there: bool) -> None:
        for watcher in self.on_presence:
            watcher(bare, there)

    # Who is there

    @property
    def told(self) -> bool:
        """Whether it is known who is connected."""
        return self._told

    def of(self, bare: str) -> tuple[ClientSession, ...]:
        """The sessions of a node."""
        return tuple(self._open.get(bare, {}).values())

    def online(self, bare: str) -> bool:
        """Whether a node has a session."""
        return bare in self._open

    def all(self) -> Iterator[ClientSession]:
        """All sessions."""
        for sessions in self._open.values():
            yield from sessions.values()

    def session(self, jid: Jid) -> ClientSession | None:
        """The session of a full JID; of several, the one that began last holds the resource.

        Servers tell whole seconds: of two that began in the same one it is the one that was told of last.
        """
        found = [session for session in self.of(jid.bare) if session.jid.resource == jid.resource]
        return max(reversed(found), key=lambda session: session.since) if found else None

    def credential(self, jid: Jid) -> Credential:
        """How the sender of a stanza has authenticated; an empty one when nobody tells."""
        session = self.session(jid)
        return Credential(session.mechanism, session.fingerprint, session.chain) if session else NOBODY

    # Logins

    def login(self, jid: Jid) -> bool:
        """Log a full JID in.

        :returns: whether it was not yet.
        """
        session = self.session(jid)
        sid = session.sid if session else ""
        logins = self._logins.setdefault(jid.bare, {})
        if jid.resource in logins and logins[jid.resource][0] == sid:
            return False
        logins[jid.resource] = (sid, self._clock())
        return True

    def logout(self, jid: Jid) -> bool:
        """Log a full JID out; whether it was in."""
        logins = self._logins.get(jid.bare, {})
        found = logins.pop(jid.resource, None)
        if not logins:
            self._logins.pop(jid.bare, None)
        return found is not None

    def drop(self, bare: str) -> None:
        """Log all sessions of a node out."""
        self._logins.pop(bare, None)

    def quiet(self, jid: Jid) -> bool:
        """Whether the plugin may hold a session back, since it has logged out."""
        session = self.session(jid)
        return session is not None and session.sid in self._quiet

    def mark_quiet(self, jid: Jid, quiet: bool) -> None:
        """The plugin was told to hold a session back, or not to any more."""
        session = self.session(jid)
        if session is not None:
            (self._quiet.add if quiet else self._quiet.discard)(session.sid)

    def logged_in(self, jid: Jid) -> bool:
        """Whether a full JID has logged in."""
        return jid.resource in self._logins.get(jid.bare, {})

    def logins(self, bare: str) -> list[tuple[str, float]]:
        """The full JIDs of a node that are logged in, and since when."""
        return [(Jid(bare, resource).full, since) for resource, (_, since) in self._logins.get(bare, {}).items()]

    def all_logins(self) -> Iterator[Jid]:
        """Every full JID that is logged in."""
        for bare, logins in self._logins.items():
            for resource in logins:
                yield Jid(bare, resource)

    @property
    def count(self) -> tuple[int, int]:
        """Nodes that are connected, nodes that are logged in."""
        return len(self._open), len(self._logins)
