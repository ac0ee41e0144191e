"""The registry of nodes: who has asked to join the grid, who may, and with which certificate.

Reading is from memory. Every change is one transaction with its audit row and the next epoch; then memory, then the
listeners. A node goes this way (draft-ietf-mile-xmpp-grid-01 §2.4.2):

    unknown ── first request ──> pending ── approve ──> active <── enable ── disabled
       ^ └───── add, or an approval rule ────────────────┘ └───── disable ─────^
       └── reject (pending), delete (any): forgotten, with a tombstone for plugins that were away
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from component.base.audit import Audit
from component.base.errors import Conflict, InputError, NotFound
from component.base.jid import prepare_often
from component.base.store import Store
from grid import accounts_rows as rows
from grid.accounts_ledger import Ledger, Listener, NodeChange, Step
from grid.accounts_rows import checked_group, checked_groups, checked_reason, clearance_from
from grid.alerts import Alert, AlertKind
from grid.approval import Approvals
from grid.binding import BadCertificate, Binding, Bindings, Bound, Certificates, Verified
from grid.epochs import Epochs
from grid.errors import conflict, forbidden, resource_constraint
from grid.model import Credential, GridChange, Node, NodeState, Right
from grid.settings import GridSettings

__all__ = ["UNKNOWN", "Accounts", "Listener", "NodeChange"]

UNKNOWN = "unknown"
"""What the in-server plugin is told of a node that is pending or has gone."""

_TOLD = {NodeState.PENDING: UNKNOWN, NodeState.ACTIVE: "active", NodeState.DISABLED: "disabled"}


class Accounts:
    """The registry. `load` must have been awaited before anything else.

    :param alert: told of certificates that do not belong to the name that they are used with.
    :param rights: the rights that a node has now; asked before and, on a trial, after a change.
    :param revoked: whether a certificate (SHA-256, hex) was revoked.
    :param clock: Unix time in seconds.
    :ivar bindings: which certificates are bound to which names.
    :ivar certificates: says which certificates are good.
    """

    def __init__(
        self,
        store: Store,
        audit: Audit,
        epochs: Epochs,
        *,
        settings: GridSettings,
        alert: Callable[[Alert], None],
        rights: Callable[[str], Sequence[Right]] = lambda _jid: (),
        revoked: Callable[[str], bool] = lambda _fingerprint: False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.bindings = Bindings(store)
        self.certificates = Certificates(settings.node_ca)
        self._ledger = Ledger(store, audit, epochs, self.bindings, rights=rights, clock=clock)
        self._approvals = Approvals(settings)
        self._host = settings.host
        self._domains = frozenset((settings.host, *settings.federated))
        self._most_pending = settings.limits.pending
        self._alert = alert
        self._revoked = revoked
        self._clock = clock

    @property
    def listeners(self) -> list[Listener]:
        """Awaited after each change, one after the other, before the change returns."""
        return self._ledger.listeners

    async def load(self) -> None:
        """Read everything from the database."""
        await self._ledger.load()

    # Looking

    def get(self, jid: str) -> Node | None:
        """A node by its bare JID, or None."""
        return self._ledger.registry.nodes.get(jid)

    def all(self, state: NodeState | None = None) -> Iterable[Node]:
        """Every node, or those in one state; by JID."""
        found = [node for node in self._ledger.registry.nodes.values() if state is None or node.state is state]
        return sorted(found, key=_by_jid)

    def members(self, group: str) -> Iterable[str]:
        """The bare JIDs of the nodes in a group, in whatever state."""
        return tuple(self._ledger.registry.members.get(group, ()))

    def groups(self) -> Iterable[str]:
        """Every group that has a member, in alphabetical order."""
        return sorted(self._ledger.registry.members)

    def counts(self) -> dict[NodeState, int]:
        """How many nodes there are in each state."""
        counted = dict.fromkeys(NodeState, 0)
        for node in self._ledger.registry.nodes.values():
            counted[node.state] += 1
        return counted

    def is_local(self, jid: str) -> bool:
        """Whether a bare JID belongs to the grid host, which has an account for it."""
        return jid.rpartition("@")[2] == self._host

    def is_ours(self, jid: str) -> bool:
        """Whether a bare JID may become a node: an account of the grid host or of a federated domain."""
        local, at, domain = jid.rpartition("@")
        return bool(at and local) and domain in self._domains

    def has_registered(self, jid: str) -> bool:
        """Whether a node that is known has registered itself."""
        return self.get(jid) is not None and not self._admitted(jid)

    def changes_since(self, epoch: int) -> Iterator[tuple[int, str, str, Sequence[str]]]:
        """What the plugin on the grid host must know of its accounts: epoch, bare JID, state, certificates; in order.

        The state is ``active``, ``disabled`` or ``unknown``. The fingerprints are those that an active node is bound
        to; with none any certificate will do. With 0 it is everything.
        """
        bound = self.bindings.changes_after(epoch)
        for number, jid, state in rows.changes_after(self._ledger.registry, epoch, bound, _TOLD, UNKNOWN):
            if self.is_local(jid):
                yield number, jid, state, self.bindings.fingerprints(jid) if state == NodeState.ACTIVE else ()

    # What nodes do

    async def register(self, jid: str, credential: Credential) -> Node:
        """A node asks to join (§2.4.2). Once; while it is pending it may ask again and gets the same answer.

        :param jid: its bare JID, prepared.
        :returns: the node, pending or active.
        :raises Refusal: conflict when it is registered already or the name belongs to another certificate; forbidden
            when it is disabled, the certificate is no good, or the domain is none of the grid; resource-constraint
            when too many are waiting.
        """
        if not self.is_ours(jid):
            raise forbidden("This domain is no part of the grid.")

        def plan() -> Step | Node:
            certificate = self._checked(jid, credential)
            node = self.get(jid)
            if node is not None and node.state is NodeState.DISABLED:
                raise forbidden("The node is disabled.")
            if node is not None and node.state is NodeState.ACTIVE and not self._admitted(jid):
                raise conflict("The name is registered already.")
            step = self._registering(jid, node, credential, certificate)
            if node is not None and not self._admitted(jid) and step.after == node and step.binds is None:
                return node  # it asks again while it waits
            return step

        return await self._ledger.enter(plan)

    async def met(self, jid: str, credential: Credential) -> Node | None:
        """Somebody has sent a request. Who is unknown becomes pending, or active where a rule approves it.

        :param jid: bare JID, prepared.
        :returns: the node; None when the domain is none of the grid.
        :raises Refusal: conflict or forbidden as `check_binding`; resource-constraint when too many are waiting.
        """
        if not self.is_ours(jid):
            return None
        certificate = self._checked(jid, credential)
        node = self.get(jid)
        if node is not None and not self._unbound(jid, certificate):
            return node

        def plan() -> Step | Node:
            certificate = self._checked(jid, credential)
            node = self.get(jid)
            if node is None:
                return self._meeting(jid, credential, certificate)
            return self._binding(node, credential, certificate) if self._unbound(jid, certificate) else node

        return await self._ledger.enter(plan)

    def check_binding(self, jid: str, credential: Credential) -> None:
        """Whether somebody may speak for a name with the certificate that he has; without one he may.

        :raises Refusal: conflict when the name is bound to another certificate; forbidden when this one is no good.
            Either raises an alert.
        """
        self._checked(jid, credential)

    def _checked(self, jid: str, credential: Credential) -> Verified | None:
        fingerprint = credential.fingerprint
        if not fingerprint:
            return None
        if self._revoked(fingerprint):
            self._mismatch(jid, credential, "The certificate was revoked.", AlertKind.REVOKED_CERTIFICATE)
            raise forbidden("The certificate was revoked.")
        if self.bindings.any(jid) and not self.bindings.allows(jid, fingerprint):
            self._mismatch(jid, credential, "The name is bound to another certificate.")
            raise conflict("The name is bound to another certificate.")
        if not credential.chain and self.bindings.allows(jid, fingerprint):
            return None  # it was looked at when it was bound, and the server has looked at it now
        try:
            return self.certificates.check(jid, credential, self._clock())
        except BadCertificate as error:
            self._mismatch(jid, credential, error.message)
            raise forbidden(error.message) from None

    def _mismatch(
        self, jid: str, credential: Credential, text: str, kind: AlertKind = AlertKind.CERTIFICATE_MISMATCH
    ) -> None:
        detail = {"fingerprint": credential.fingerprint, "mechanism": credential.mechanism}
        self._alert(Alert(kind, jid, text, detail))

    def _unbound(self, jid: str, certificate: Verified | None) -> bool:
        return certificate is not None and not self.bindings.any(jid)

    def _admitted(self, jid: str) -> bool:
        """Whether a node that is known has not registered itself yet."""
        return jid in self._ledger.registry.unregistered

    def _registering(self, jid: str, node: Node | None, credential: Credential, certificate: Verified | None) -> Step:
        """A node that has the right to registers, pending or active as it may be; again, if it is pending."""
        detail = _seen(credential)
        after = node if node is not None else self._newcomer(jid)
        if after.state is NodeState.PENDING:
            after = self._approved(after, certificate, detail)
        self._limit(node, after)
        binds = self._binds(jid, certificate, Bound.REGISTERED)
        summary = f"{jid} has registered and is {after.state}."
        detail |= {"state": str(after.state), "groups": list(after.groups)}
        return Step(node, after, jid, "node.registered", summary, detail, binds, registered=True)

    def _meeting(self, jid: str, credential: Credential, certificate: Verified | None) -> Step:
        """Somebody unknown has sent another request than to register."""
        detail = _seen(credential)
        after = self._approved(self._newcomer(jid), certificate, detail)
        self._limit(None, after)
        binds = self._binds(jid, certificate, Bound.REGISTERED)
        detail |= {"state": str(after.state), "groups": list(after.groups)}
        return Step(None, after, jid, "node.met", f"{jid} was met and is {after.state}.", detail, binds)

    def _binding(self, node: Node, credential: Credential, certificate: Verified | None) -> Step:
        """A node that came without a certificate has one now."""
        binds = self._binds(node.jid, certificate, Bound.FIRST)
        summary = f"{node.jid} is bound to its first certificate."
        return Step(node, node, node.jid, "node.bound", summary, _seen(credential), binds)

    def _newcomer(self, jid: str) -> Node:
        return Node(jid, NodeState.PENDING, since=self._clock())

    def _approved(self, node: Node, certificate: Verified | None, detail: dict[str, Any]) -> Node:
        """A pending node as the rules of approval leave it; `detail` says which."""
        approved = self._approvals.decide(node.jid, certificate)
        if approved is None:
            return node
        detail["approved_by"] = approved.why
        groups = checked_groups([*node.groups, approved.group] if approved.group else node.groups)
        return replace(node, state=NodeState.ACTIVE, groups=groups, account=self.is_local(node.jid))

    def _binds(self, jid: str, certificate: Verified | None, how: Bound) -> Binding | None:
        if certificate is None or self.bindings.any(jid):
            return None
        return Binding(jid, certificate.fingerprint, how, certificate.serial, certificate.ends)

    def _limit(self, before: Node | None, after: Node) -> None:
        waits = before is None and after.state is NodeState.PENDING
        if waits and self._ledger.registry.pending >= self._most_pending:
            raise resource_constraint("Too many nodes are waiting for approval.")

    # What administrators do

    async def add(
        self,
        actor: str,
        jid: str,
        *,
        groups: Sequence[str] = (),
        clearance: str = "",
        password: str = "",
        reason: str = "",
        dry_run: bool = False,
    ) -> GridChange:
        """Admit a platform, best before it has ever been seen; one that waits already is let in.

        :param groups: of one that waits these are added to those that it is in.
        :param clearance: a level, or empty for green; one that waits keeps what it has then.
        :param password: of its account on the server, which is made for it; it is handed on, and stored nowhere.
        :raises InputError: something is malformed, or the domain is none of the grid.
        :raises Conflict: it is active or disabled.
        """
        bare = self._own(jid)
        level = clearance_from(clearance) if clearance else None
        names, note = checked_groups(groups), checked_reason(reason)
        if password and not self.is_local(bare):
            raise InputError(f"{bare} has no account here.", hint=f"Passwords are for accounts of {self._host}.")

        def plan() -> Step:
            known = self.get(bare)
            if known is not None and known.state is not NodeState.PENDING:
                hint = f"Use `stanzagate node enable {bare}`." if known.state is NodeState.DISABLED else ""
                raise Conflict(f"{bare} is known already and {known.state}.", hint=hint)
            before = known or self._newcomer(bare)
            after = replace(
                before, state=NodeState.ACTIVE, groups=checked_groups([*before.groups, *names]), reason=note,
                clearance=before.clearance if level is None else level, account=self.is_local(bare),
            )  # fmt: skip
            waited = " It had been waiting." if known is not None else ""
            summary = f"{bare} is admitted{_into(names)}.{waited}"
            detail: dict[str, Any] = {"groups": list(after.groups), "clearance": after.clearance.name.lower()}
            detail |= {"reason": note, "waited": known is not None}
            registered = None if known is not None else False  # who was never seen may register once
            return Step(known, after, actor, "node.added", summary, detail, None, registered, password)

        return await self._ledger.change(plan, dry_run=dry_run)

    async def approve(
        self, actor: str, jid: str, *, groups: Sequence[str] = (), reason: str = "", dry_run: bool = False
    ) -> GridChange:
        """Let a node in that waits.

        :param groups: put it into these, too.
        :raises NotFound: there is no such node.
        :raises Conflict: it does not wait.
        """
        names, note = checked_groups(groups), checked_reason(reason)

        def plan() -> Step:
            node = self._in_state(jid, NodeState.PENDING, "approved")
            together = checked_groups([*node.groups, *names])
            after = replace(
                node, state=NodeState.ACTIVE, groups=together, account=self.is_local(node.jid), reason=note
            )
            detail = {"groups": list(together), "reason": note}
            return Step(node, after, actor, "node.approved", f"{node.jid} is approved{_into(names)}.", detail)

        return await self._ledger.change(plan, dry_run=dry_run)

    async def reject(self, actor: str, jid: str, *, reason: str = "", dry_run: bool = False) -> GridChange:
        """Send a node away that waits. It is forgotten and may ask again.

        :raises NotFound: there is no such node.
        :raises Conflict: it does not wait.
        """
        note = checked_reason(reason)

        def plan() -> Step:
            node = self._in_state(jid, NodeState.PENDING, "rejected")
            summary = f"{node.jid} is rejected.{self._left(node)}"
            return Step(node, None, actor, "node.rejected", summary, {"reason": note})

        return await self._ledger.change(plan, dry_run=dry_run)

    async def disable(self, actor: str, jid: str, *, reason: str = "", dry_run: bool = False) -> GridChange:
        """Shut a node out until it is enabled again.

        :raises NotFound: there is no such node.
        :raises Conflict: it is not active.
        """
        note = checked_reason(reason)

        def plan() -> Step:
            node = self._in_state(jid, NodeState.ACTIVE, "disabled")
            after = replace(node, state=NodeState.DISABLED, reason=note)
            return Step(node, after, actor, "node.disabled", f"{node.jid} is disabled.", {"reason": note})

        return await self._ledger.change(plan, dry_run=dry_run)

    async def enable(self, actor: str, jid: str, *, reason: str = "", dry_run: bool = False) -> GridChange:
        """Let a node in again that was disabled.

        :raises NotFound: there is no such node.
        :raises Conflict: it is not disabled.
        """
        note = checked_reason(reason)

        def plan() -> Step:
            node = self._in_state(jid, NodeState.DISABLED, "enabled")
            after = replace(node, state=NodeState.ACTIVE, reason=note)
            return Step(node, after, actor, "node.enabled", f"{node.jid} is enabled.", {"reason": note})

        return await self._ledger.change(plan, dry_run=dry_run)

    async def delete(self, actor: str, jid: str, *, reason: str = "", dry_run: bool = False) -> GridChange:
        """Forget a node in whatever state, what it was bound to, and its account, if that was made here. Unless its
        certificate is revoked it may ask again.

        :raises NotFound: there is no such node.
        """
        note = checked_reason(reason)

        def plan() -> Step:
            node = self._known(jid)
            summary = f"{node.jid} is deleted.{self._left(node)}"
            return Step(node, None, actor, "node.deleted", summary, {"reason": note})

        return await self._ledger.change(plan, dry_run=dry_run)

    async def group_add(self, actor: str, jid: str, group: str, *, dry_run: bool = False) -> GridChange:
        """Put a node into a group.

        :raises NotFound: there is no such node.
        :raises Conflict: it is in it.
        """
        name = checked_group(group)

        def plan() -> Step:
            node = self._known(jid)
            if name in node.groups:
                raise Conflict(f"{node.jid} is in group {name} already.")
            after = replace(node, groups=checked_groups([*node.groups, name]))
            return Step(node, after, actor, "node.grouped", f"{node.jid} is in group {name}.", {"group": name})

        return await self._ledger.change(plan, dry_run=dry_run)

    async def group_remove(self, actor: str, jid: str, group: str, *, dry_run: bool = False) -> GridChange:
        """Take a node out of a group.

        :raises NotFound: there is no such node, or it is not in that group.
        """
        name = checked_group(group)

        def plan() -> Step:
            node = self._known(jid)
            if name not in node.groups:
                raise NotFound(f"{node.jid} is not in group {name}.", hint=_of_groups(node.groups))
            after = replace(node, groups=tuple(item for item in node.groups if item != name))
            summary = f"{node.jid} is not in group {name} any more."
            return Step(node, after, actor, "node.ungrouped", summary, {"group": name})

        return await self._ledger.change(plan, dry_run=dry_run)

    async def clear(self, actor: str, jid: str, level: str, *, dry_run: bool = False) -> GridChange:
        """Say up to which restriction a node may see incidents.

        :param level: a name of `Clearance`, or of RFC 7970.
        :raises NotFound: there is no such node.
        :raises Conflict: it is cleared to that level already.
        """
        clearance = clearance_from(level)

        def plan() -> Step:
            node = self._known(jid)
            if node.clearance is clearance:
                raise Conflict(f"{node.jid} is cleared to {clearance.name.lower()} already.")
            after = replace(node, clearance=clearance)
            summary = f"{node.jid} is cleared to {clearance.name.lower()}."
            detail = {"clearance": clearance.name.lower(), "before": node.clearance.name.lower()}
            return Step(node, after, actor, "node.cleared", summary, detail)

        return await self._ledger.change(plan, dry_run=dry_run)

    async def note_account(self, jid: str, made: bool) -> None:
        """Keep whether the account of a node on the server was made by us; nobody is told, for nothing depends on it
        but what becomes of the account when the node is deleted.

        :raises NotFound: there is no such node.
        """
        async with self._ledger.lock:
            await self._ledger.ready()
            node = self._known(jid)
            if node.account is not made:
                await self._ledger.correct(replace(node, account=made))

    # How changes are made

    def _own(self, jid: str) -> str:
        prepared = prepare_often(jid)
        if prepared.resource or not prepared.local:
            raise InputError(f"{jid!a} is not a bare JID of an account.", hint="Write local@domain.")
        if prepared.domain not in self._domains:
            raise InputError(
                f"{prepared.domain} is no domain of this grid.",
                hint=f"Domains are {', '.join(sorted(self._domains))}.",
            )
        return prepared.bare

    def _known(self, jid: str) -> Node:
        node = self.get(prepare_often(jid).bare)
        if node is None:
            raise NotFound(f"There is no node {ascii(jid)[1:-1]}.", hint="`stanzagate node list` shows all nodes.")
        return node

    def _left(self, node: Node) -> str:
        """What the summary says of an account that outlives its node."""
        if node.account or not self.is_local(node.jid):
            return ""
        if node.state is NodeState.PENDING:
            return " If it has an account on the server, that stays: it was not made here."
        return " Its account on the server stays, with its password: it was not made here."

    def _in_state(self, jid: str, state: NodeState, verb: str) -> Node:
        node = self._known(jid)
        if node.state is not state:
            raise Conflict(
                f"{node.jid} is {node.state} and so cannot be {verb}.", hint=f"Only {state} nodes can be {verb}."
            )
        return node


def _seen(credential: Credential) -> dict[str, Any]:
    """What the audit record keeps of how somebody has authenticated."""
    seen: dict[str, Any] = {"mechanism": credential.mechanism}
    return seen | {"fingerprint": credential.fingerprint} if credential.fingerprint else seen


def _by_jid(node: Node) -> str:
    return node.jid


def _into(groups: Sequence[str]) -> str:
    if not groups:
        return ""
    return f" and put into {'group' if len(groups) == 1 else 'groups'} {', '.join(groups)}"


def _of_groups(groups: Sequence[str]) -> str:
    return f"It is in {', '.join(groups)}." if groups else "It is in no group."
