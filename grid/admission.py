"""Who may speak to the grid, before it is looked at what he says (contract, section 5, "Who may speak")."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from component.base.clientsessions import ClientSession
from component.base.jid import Jid
from grid import errors
from grid.accounts import Accounts
from grid.alerts import Alert, AlertKind
from grid.errors import Refusal
from grid.limits import Limiter
from grid.model import Credential, Node, NodeState
from grid.sessions import Sessions
from grid.settings import GridSettings

SESSION_PATIENCE = 2.0
"""Seconds. A server's plugin tells of a session before it hands over what the session sends, or a moment later."""


class Admission:
    """Decides who is listened to.

    :param reported: whether there is a plugin that tells of sessions.
    """

    def __init__(
        self,
        settings: GridSettings,
        accounts: Accounts,
        sessions: Sessions,
        limiter: Limiter,
        alert: Callable[[Alert], None],
        reported: Callable[[], bool],
    ) -> None:
        self._settings = settings
        self._accounts = accounts
        self._sessions = sessions
        self._limiter = limiter
        self._alert = alert
        self._reported = reported
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        sessions.on_up.append(self._up)

    def check(self, jid: Jid) -> None:
        """What costs nothing: the domain and the rate.

        :raises Refusal: forbidden, or resource-constraint.
        """
        if not jid.local or (jid.domain != self._settings.host and jid.domain not in self._settings.federated):
            self._alert(Alert(AlertKind.UNREGISTERED, jid.bare, "Somebody who is no node of this grid asked for it."))
            raise errors.forbidden("Only nodes of this grid are served.")
        refusal = self._limiter.spend(jid.bare)
        if refusal is not None:
            raise refusal

    async def credential(self, jid: Jid) -> Credential:
        """How the sender of a stanza has authenticated."""
        if jid.domain == self._settings.host and self._reported() and self._sessions.session(jid) is None:
            await self._session(jid)
        return self._sessions.credential(jid)

    async def active(self, jid: Jid) -> Node:
        """The node that speaks, if it is one that may; an unknown one becomes pending by this, or is approved.

        :raises Refusal: registration-required, forbidden, conflict.
        """
        credential = await self.credential(jid)
        node = await self._accounts.met(jid.bare, credential)
        if node is None:
            raise errors.forbidden("Only nodes of this grid are served.")
        return admitted(node)

    async def _session(self, jid: Jid) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(jid.full, []).append(waiting)
        try:
            async with asyncio.timeout(SESSION_PATIENCE):
                await waiting
        except TimeoutError:
            pass
        finally:
            left = [other for other in self._waiting.get(jid.full, []) if other is not waiting]
            self._waiting[jid.full] = left
            if not left:
                del self._waiting[jid.full]

    def _up(self, session: ClientSession) -> None:
        for waiting in self._waiting.get(session.jid.full, ()):
            if not waiting.done():
                waiting.set_result(None)


def admitted(node: Node) -> Node:
    """The node, when it is active.

    :raises Refusal: registration-required while it is pending, forbidden when it is disabled.
    """
    if node.state is NodeState.PENDING:
        raise errors.registration_required(pending=True)
    if node.state is NodeState.DISABLED:
        raise errors.forbidden("This node is disabled.")
    return node


__all__ = ["Admission", "Refusal", "admitted"]
