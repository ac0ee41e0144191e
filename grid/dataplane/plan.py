"""What has to change at the server for one topic: how what is known of it differs from what it should be."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from grid.dataplane.mirror import Known
from grid.dataplane.pubsub import Subscriber, configuration, differing
from grid.model import Topic

NONE, MEMBER, PUBLISHER = "none", "member", "publisher"
_RANKS = {"outcast": -1, NONE: 0, MEMBER: 1, "publish-only": 2, PUBLISHER: 2, "owner": 3}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a topic's node should be.

    :ivar only: the bare JIDs that it is about; None for all.
    """

    topic: Topic
    publishers: frozenset[str]
    subscribers: frozenset[str]
    only: frozenset[str] | None = None

    def affiliation(self, jid: str) -> str:
        """What a bare JID should be: publishers publish, and Prosody subscribes nobody who is not a member."""
        if jid in self.publishers:
            return PUBLISHER
        return MEMBER if jid in self.subscribers else NONE

    def about(self, jid: str) -> bool:
        """Whether a bare JID is looked at."""
        return self.only is None or jid in self.only


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps.

    :ivar config: fields to change.
    :ivar leaving: subscriptions to take away; those of full JIDs always are.
    :ivar losers: bare JIDs that have no subscription any more afterwards.
    :ivar demoted: affiliations that become less.
    :ivar promoted: affiliations that become more.
    :ivar joining: bare JIDs to subscribe.
    """

    config: dict[str, str] = field(default_factory=dict)
    leaving: tuple[Subscriber, ...] = ()
    losers: frozenset[str] = frozenset()
    demoted: dict[str, str] = field(default_factory=dict)
    promoted: dict[str, str] = field(default_factory=dict)
    joining: tuple[str, ...] = ()

    @property
    def revokes(self) -> bool:
        """Whether somebody loses something."""
        return bool(self.leaving or self.demoted)


def difference(known: Known, wanted: Wanted, owner: str) -> Plan:
    """What has to be done.

    :param owner: the controller's bare JID, whose affiliation is nobody's business.
    """
    leaving = tuple(
        item for item in known.subscribers.values() if wanted.about(item.bare) and item.jid not in wanted.subscribers
    )
    demoted: dict[str, str] = {}
    promoted: dict[str, str] = {}
    for jid in _concerned(known, wanted) - {owner}:
        has, should = known.affiliations.get(jid, NONE), wanted.affiliation(jid)
        if has == should:
            continue
        (demoted if _RANKS.get(has, 3) > _RANKS[should] else promoted)[jid] = should
    return Plan(
        differing(configuration(wanted.topic), known.config),
        leaving,
        frozenset(item.bare for item in leaving) - wanted.subscribers,
        demoted,
        promoted,
        tuple(sorted(wanted.subscribers - known.subscribers.keys())),
    )


def _concerned(known: Known, wanted: Wanted) -> AbstractSet[str]:
    if wanted.only is not None:
        return wanted.only
    return known.affiliations.keys() | wanted.publishers | wanted.subscribers
