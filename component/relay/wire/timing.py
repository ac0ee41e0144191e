"""When a stream must do something by itself: what is due is asked (`deadline`), and done (`tick`)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from component.relay.wire import nonzas
from component.relay.wire.states import State

if TYPE_CHECKING:
    from component.relay.wire.core import StreamCore


class Timing:
    """The times of one stream, in seconds.

    :ivar traffic: of the last stanza, in either direction.
    :ivar written: of the last bytes that we sent.
    :ivar closing: of our end.
    """

    def __init__(self, stream: StreamCore) -> None:
        self._stream = stream
        self._started = self.traffic = self.written = self.closing = stream.now

    @property
    def deadline(self) -> float:
        """When there is something to do; infinite when there never will be."""
        stream = self._stream
        limits, acks = stream.federation.limits, stream.acks
        if stream.state is State.CLOSED:
            return math.inf
        if stream.state is State.CLOSING:
            return self.closing + limits.close_timeout
        if not stream.ready:
            first = self._started + limits.negotiation_timeout
        else:
            first = min(self.traffic + limits.idle, self.written + limits.keepalive)
            if acks.asked is not None:
                first = min(first, acks.asked + limits.negotiation_timeout)
            elif acks.due is not None:
                first = min(first, acks.due)
        asked = stream.dialback.deadline
        return first if asked is None else min(first, asked)

    def tick(self) -> None:
        """Do what is due."""
        stream = self._stream
        before = stream.state
        if before is State.CLOSING:
            if stream.now >= self.closing + stream.federation.limits.close_timeout:
                stream.abandon("The peer did not close its stream.")
        elif before is not State.CLOSED:
            stream.dialback.expire()  # which may end the stream
            if stream.ready:
                self._open()
            elif stream.state is not State.CLOSING:
                self._negotiating()

    def _negotiating(self) -> None:
        stream, timeout = self._stream, self._stream.federation.limits.negotiation_timeout
        if stream.now >= self._started + timeout:
            stream.fail("connection-timeout", f"Nothing was authorized in {timeout:g} seconds.")

    def _open(self) -> None:
        stream = self._stream
        now, limits, acks = stream.now, stream.federation.limits, stream.acks
        if acks.asked is not None and now >= acks.asked + limits.negotiation_timeout:
            stream.fail("connection-timeout", "What was sent is not acknowledged.")
        elif acks.due is not None and now >= acks.due:
            acks.ask(now)
            stream.write(nonzas.SM_REQUEST)
        elif now >= self.traffic + limits.idle:
            stream.finish("The stream was idle.")
        elif now >= self.written + limits.keepalive:
            stream.write(b" ")
