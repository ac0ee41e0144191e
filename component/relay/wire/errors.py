"""What goes wrong on a stream."""

from __future__ import annotations

from component.base.errors import StanzagateError


class WireError(StanzagateError):
    """A peer has sent what ends the stream.

    :ivar condition: of the stream error that tells the peer (RFC 6120 §4.9.3).
    :ivar text: one sentence for people; never what was received, which may be secret.
    """

    def __init__(self, condition: str, text: str) -> None:
        super().__init__(f"{condition}: {text}")
        self.condition = condition
        self.text = text
