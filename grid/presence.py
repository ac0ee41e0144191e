"""Nodes see whether the providers are there that they may use (draft-ietf-mile-xmpp-grid-01 §2.1).

The controller sends ordinary presence to those who have logged in, from an address of its own for each provider, the
provider's JID in XEP-0106 escaping: ``soc1\\40grid.test@controller.grid.test``. Every XMPP library understands it.
"""

from __future__ import annotations

from collections.abc import Iterable

from component.base.jid import Jid, escape_local
from component.base.link import Link
from component.base.stanzas import quote
from grid.judge import Judge
from grid.model import Topic
from grid.protocol.answers import provider_presence
from grid.sessions import Sessions
from grid.topics import Topics

MOST_NAMES = 1000
"""Topics that a presence names; of a provider of more, discovery tells the others."""


class Providers:
    """Tells of providers that come and go."""

    def __init__(self, link: Link, topics: Topics, judge: Judge, sessions: Sessions) -> None:
        self._link = link
        self._topics = topics
        self._judge = judge
        self._sessions = sessions
        sessions.on_presence.append(self.moved)

    def greet(self, jid: Jid) -> None:
        """Somebody has logged in: tell him who is there."""
        provided: dict[str, list[str]] = {}
        for topic in self._judge.topics(jid.bare):
            for provider in self._topics.providers(topic.name):
                if provider != jid.bare and self._sessions.online(provider):
                    provided.setdefault(provider, []).append(topic.name)
        for provider, names in provided.items():
            self._tell(provider, names, jid, True)

    def moved(self, provider: str, there: bool) -> None:
        """A node has come or gone: tell those who may use what it provides."""
        self.changed(provider, self._topics.provided(provider), there)

    def changed(self, provider: str, topics: Iterable[Topic], there: bool) -> None:
        """A node provides topics from now on, or not any more."""
        found = list(topics)
        if not found:
            return
        for jid in list(self._sessions.all_logins()):
            names = [topic.name for topic in found if self._judge.visible(jid.bare, topic)]
            if names and jid.bare != provider:
                self._tell(provider, names, jid, there)

    def _tell(self, provider: str, names: list[str], jid: Jid, there: bool) -> None:
        kind = "" if there else " type='unavailable'"
        sender = f"{escape_local(provider)}@{self._link.jid}/grid"
        content = provider_presence(provider, names[:MOST_NAMES])
        self._link.send(f"<presence from='{quote(sender)}' to='{quote(jid.full)}'{kind}>{content}</presence>")
