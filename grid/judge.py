"""Every decision of the control plane: asked of the rule engine, recorded, and told so that nobody learns of topics
that he has no right on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from component.base.audit import Audit
from grid import errors
from grid.access import Access
from grid.honey import Honey, Touch
from grid.model import AccessModel, Action, Topic, Verdict
from grid.topics import Topics

_TOUCHES = {
    Action.PUBLISH: Touch.PUBLISH,
    Action.SUBSCRIBE: Touch.SUBSCRIBE,
    Action.READ: Touch.READ,
    Action.WRITE: Touch.QUERY,
    Action.BULK: Touch.BULK,
}


class Judge:
    """Says what a node may do with a topic.

    :ivar decisions: by action and outcome, for the metrics.
    """

    def __init__(self, access: Access, topics: Topics, audit: Audit, honey: Honey) -> None:
        self._access = access
        self._topics = topics
        self._audit = audit
        self._honey = honey
        self.decisions: Counter[tuple[str, str]] = Counter()

    def visible(self, jid: str, topic: Topic) -> bool:
        """Whether a topic exists for a node: it has any right on it, provides it, or may ask to subscribe."""
        return topic.enabled and (
            topic.access_model is AccessModel.AUTHORIZE
            or self._access.any_right(jid, topic.name)
            or jid in self._topics.providers(topic.name)
        )

    def topics(self, jid: str) -> Iterator[Topic]:
        """The topics that exist for a node, by name."""
        return (topic for topic in sorted(self._topics.all(), key=_name) if self.visible(jid, topic))

    def seen(self, jid: str, name: str) -> Topic:
        """The topic of that name.

        :raises Refusal: item-not-found.
        """
        topic = self._topics.get(name)
        if topic is None or not self.visible(jid, topic):
            raise errors.item_not_found()
        return topic

    def ask(self, jid: str, action: Action, name: str, *, items: tuple[str, ...] = ()) -> Verdict:
        """Decide and record, whether or not there is such a topic."""
        verdict = self._access.decide(jid, action, name)
        self.decisions[action.value, "permit" if verdict.permitted else "deny"] += 1
        rule = ", ".join(verdict.policies) or "none"
        if verdict.permitted:
            detail = {"action": action.value, "policies": list(verdict.policies), "reason": verdict.reason}
            self._audit.note(jid, "grid.permitted", name, detail)
        else:
            self._audit.refusal(jid, name, f"{action}: {rule}", verdict.reason, action="grid.denied")
        topic = self._topics.get(name)
        if topic is not None:
            self._honey.touched(jid, _TOUCHES[action], topic, items=items, permitted=verdict.permitted)
        return verdict

    def tell(self, asker: str, jid: str, action: Action, name: str) -> Verdict:
        """Decide for somebody who asks whether another one may; it is he who stands in the record, and nobody has
        touched anything by it."""
        verdict = self._access.decide(jid, action, name)
        decision = "permit" if verdict.permitted else "deny"
        self._audit.note(asker, "grid.asked", name, {"identity": jid, "action": action.value, "decision": decision})
        return verdict

    def permits(self, jid: str, action: Action, name: str) -> bool:
        """Decide without a record: for what is only shown, or was decided before."""
        return self._access.decide(jid, action, name).permitted

    def require(self, jid: str, action: Action, name: str, *, items: tuple[str, ...] = ()) -> Topic:
        """The topic, when the node may do that with it.

        :raises Refusal: item-not-found when it does not exist for the node, else forbidden.
        """
        verdict = self.ask(jid, action, name, items=items)
        topic = self.seen(jid, name)
        if not verdict.permitted:
            raise errors.forbidden(f"You may not {action} this topic.")
        return topic


def _name(topic: Topic) -> str:
    return topic.name
