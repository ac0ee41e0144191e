"""What the grid refuses, as stanza errors (contract, section 5); raised anywhere, answered at the entry points."""

from __future__ import annotations

from component.base.errors import StanzagateError
from component.base.stanzas import quote
from grid import ns

PENDING = f"<pending xmlns='{ns.GRID}'/>"


class Refusal(StanzagateError):
    """A request is refused.

    :param kind: the type of the stanza error (RFC 6120 §8.3.2).
    :param condition: its defined condition.
    :param text: for people; it must not tell what the requester may not know.
    :param extra: a serialised element beside the condition, or empty.
    """

    def __init__(self, kind: str, condition: str, text: str = "", *, extra: str = "") -> None:
        super().__init__(f"{kind}/{condition}{': ' + text if text else ''}")
        self.kind = kind
        self.condition = condition
        self.text = text
        self.extra = extra


def registration_required(*, pending: bool = False) -> Refusal:
    """Not registered; with `pending` while approval is outstanding."""
    return Refusal("auth", "registration-required", extra=PENDING if pending else "")


def not_authorized() -> Refusal:
    """A draft request by a registered node that is not logged in."""
    return Refusal("auth", "not-authorized", "Log in first.")


def forbidden(text: str = "") -> Refusal:
    """Some right on the topic but not this one; a disabled node."""
    return Refusal("auth", "forbidden", text)


def item_not_found() -> Refusal:
    """No such capability, topic or provider, or no right on it at all: nobody can tell which."""
    return Refusal("cancel", "item-not-found")


def conflict(text: str) -> Refusal:
    """The name is registered already, or bound to another certificate; a topic exists."""
    return Refusal("cancel", "conflict", text)


def not_acceptable(text: str, *, extra: str = "") -> Refusal:
    """Understood, but not offered: a filter, a configuration."""
    return Refusal("modify", "not-acceptable", text, extra=extra)


def resource_constraint(text: str) -> Refusal:
    """A limit."""
    return Refusal("wait", "resource-constraint", text)


def bad_request(text: str = "", *, extra: str = "") -> Refusal:
    """Malformed."""
    return Refusal("modify", "bad-request", text, extra=extra)


def pubsub_error(name: str, feature: str = "") -> str:
    """An application-specific condition of XEP-0060, for `extra`."""
    named = f" feature='{quote(feature)}'" if feature else ""
    return f"<{name} xmlns='{ns.PUBSUB_ERRORS}'{named}/>"


def unsupported(feature: str) -> Refusal:
    """An operation of XEP-0060 that the broker does not offer."""
    return Refusal("cancel", "feature-not-implemented", extra=pubsub_error("unsupported", feature))


def unsupported_yet(text: str) -> Refusal:
    """A request that is understood, and that this version does not carry out."""
    return Refusal("cancel", "feature-not-implemented", text)


def unavailable() -> Refusal:
    """Nothing that we know."""
    return Refusal("cancel", "service-unavailable")


def later(text: str = "") -> Refusal:
    """It cannot be decided or done at the moment."""
    return Refusal("wait", "internal-server-error", text)
