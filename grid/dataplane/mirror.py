"""What is known to be at the server: filled by reading, kept up to date by what is programmed, forgotten when the
link is lost. It saves requests and is never believed where it matters: revocations are read back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from grid.dataplane.pubsub import Subscriber


@dataclass(slots=True)
class Known:
    """A node of the publish-subscribe service as it is known to be.

    :ivar config: by name without ``pubsub#``.
    :ivar affiliations: by bare JID, without those that are none.
    :ivar subscribers: by JID in the server's spelling; bare and full ones.
    """

    config: dict[str, str] = field(default_factory=dict)
    affiliations: dict[str, str] = field(default_factory=dict)
    subscribers: dict[str, Subscriber] = field(default_factory=dict)

    @classmethod
    def of(
        cls, config: Mapping[str, str], affiliations: Mapping[str, str], subscribers: Iterable[Subscriber]
    ) -> Known:
        """What was read."""
        return cls(dict(config), dict(affiliations), {item.jid: item for item in subscribers})

    @property
    def persists(self) -> bool:
        """Whether the server keeps its items."""
        return self.config.get("persist_items", "1") not in ("0", "false")

    def bare_subscribers(self) -> frozenset[str]:
        """Whose subscriptions they are."""
        return frozenset(item.bare for item in self.subscribers.values())

    def concerns(self, jid: str) -> bool:
        """Whether a bare JID has anything here."""
        return (
            jid in self.affiliations
            or jid in self.subscribers
            or any(item.bare == jid for item in self.subscribers.values())
        )


class Mirror:
    """All nodes that are known."""

    def __init__(self) -> None:
        self._nodes: dict[str, Known] = {}

    def get(self, name: str) -> Known | None:
        """A node; None when it has to be read first."""
        return self._nodes.get(name)

    def put(self, name: str, known: Known) -> None:
        """Take what was read or made."""
        self._nodes[name] = known

    def drop(self, name: str) -> None:
        """Forget a node: it has gone, or it is not certain how it is."""
        self._nodes.pop(name, None)

    def names(self) -> set[str]:
        """The nodes that are known."""
        return set(self._nodes)

    def concerning(self, jid: str) -> set[str]:
        """The nodes where a bare JID has anything."""
        return {name for name, known in self._nodes.items() if known.concerns(jid)}
