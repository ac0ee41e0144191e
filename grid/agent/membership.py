"""How a node becomes a member of the grid, and stays one: register, wait for approval, log in (§2.4 of the draft)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from xml.etree.ElementTree import Element

from grid.agent.errors import AgentError, Conflict, LimitReached, NotConnected, NotRegistered, Pending, Refused
from grid.agent.uplink import Uplink
from grid.errors import Refusal
from grid.model import NodeState
from grid.ns import GRID
from grid.protocol import asking, replies, requests

log = logging.getLogger(__name__)

FIRST_LOOK = 1.0
LONGEST_LOOK = 30.0
"""Seconds between two looks whether an administrator has decided; whatever the controller says makes us look."""
SPREAD = 10.0
"""Seconds within which the nodes of a controller that was started anew log in again."""


class Membership:
    """
    :param controller: JID of the controller.
    :param be_present: makes the node available (RFC 6121 §4.2).
    :param timeout: seconds for one request.
    :param patience: seconds to wait for approval; None for as long as it takes, 0 for not at all.
    :param on_state: told when the state is known.
    :ivar logged_in: whether the session is logged in, as far as the node knows.
    """

    def __init__(
        self,
        uplink: Uplink,
        controller: str,
        *,
        be_present: Callable[[], None],
        timeout: float,
        patience: float | None,
        on_state: Callable[[NodeState], None] | None = None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._uplink = uplink
        self._controller = controller
        self._be_present = be_present
        self._timeout = timeout
        self._patience = patience
        self._on_state = on_state
        self._uniform = uniform
        self._news = asyncio.Event()
        self._refused: Refused | None = None
        self._out = False
        self.logged_in = False

    async def enter(self) -> None:
        """Log in; register before that, and wait for approval, where it must be.

        :raises Pending: nobody has approved the node in time.
        :raises Refused: it is disabled, rejected, or its name belongs to another certificate.
        """
        try:
            async with asyncio.timeout(self._patience or None):
                await self._enter()
        except TimeoutError:
            raise self._refused or NotConnected(
                f"{self._uplink.jid} could not log in within {self._patience:g} s."
            ) from None

    async def _enter(self) -> None:
        registered, delay = False, FIRST_LOOK
        while True:
            try:
                await self.login()
            except (NotRegistered, Pending) as error:
                self._refused = error
                if not registered:
                    registered = True
                    if await self.register() is NodeState.ACTIVE:
                        continue
                    self._tell(NodeState.PENDING)
                    self._be_present()  # what the controller says to the bare JID reaches only who is
                elif isinstance(error, NotRegistered):
                    raise
                if self._patience == 0:
                    raise
            else:
                self._tell(NodeState.ACTIVE)
                return
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._uniform(delay / 2, delay)):
                    await self._news.wait()
            delay = min(delay * 2, LONGEST_LOOK)

    async def again(self, spread: float = 0) -> None:
        """Log in to a new session. The controller may be away: data flows without it, so this goes on until it works.

        :param spread: seconds within which to begin, at random.
        :raises Refused: it does not want us any more.
        """
        delay = FIRST_LOOK
        if spread:
            await asyncio.sleep(self._uniform(0, spread))
        while not self._out:
            try:
                await self.login()
                return
            except LimitReached:
                pass
            except Refused as error:
                if error.info.type not in ("wait", "cancel"):  # `cancel`: nobody there, as some servers say it
                    raise
            except NotConnected:
                pass
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._uniform(delay / 2, delay)):
                    await self._news.wait()
            delay = min(delay * 2, LONGEST_LOOK)

    def news(self, stanza: Element) -> bool:
        """The controller has said something: look whether it has decided.

        :returns: whether it is to be logged in to again: it was started anew, and has met our session as a stranger.
        """
        self._news.set()
        said = stanza.find(f"{{{GRID}}}node")
        return said is not None and said.get("state") == NodeState.ACTIVE and not self._out

    async def register(self) -> NodeState:
        """Register the account. One that is registered already is pending, or is told at the next login."""
        try:
            state = replies.registered(await self._ask(requests.Register(), "registering", "set"))
        except Conflict:
            return NodeState.PENDING
        except Refusal as error:
            raise AgentError(f"The controller's answer to a registration cannot be understood: {error}") from None
        log.info("%s is registered: %s.", self._uplink.jid, state)
        return state

    async def login(self) -> None:
        """Log the session in."""
        self.logged_in = False
        await self._ask(requests.Login(), "logging in", "get")
        self.logged_in = not self._out

    async def renew(self) -> bool:
        """Log in again when the controller says that we are not: one that was started anew knows nobody.

        :returns: False when it is right, because the node has logged out.
        :raises Refused: it does not want us any more.
        """
        if self._out:
            return False
        await self.login()
        return True

    async def logout(self) -> None:
        """Log it out, and those that follow it; subscriptions stay."""
        self.logged_in, self._out = False, True
        await self._ask(requests.Logout(), "logging out", "get")

    async def _ask(self, request: requests.DraftRequest, what: str, kind: str) -> Element:
        return await self._uplink.ask(
            self._controller, asking.write(request), what=what, timeout=self._timeout, kind=kind
        )

    def _tell(self, state: NodeState) -> None:
        if self._on_state is not None:
            self._on_state(state)
