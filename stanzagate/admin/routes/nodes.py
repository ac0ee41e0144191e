"""The nodes of the grid."""

from __future__ import annotations

import itertools
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from component.base.audit import AuditFilter
from component.base.errors import NotFound, Unreachable
from component.base.jid import prepare
from grid.controller import Grid
from grid.model import Node, NodeState
from stanzagate.admin.node_models import (
    AccessOut,
    Approve,
    CertificateOut,
    Cleared,
    Decided,
    NewNode,
    NodeChangeOut,
    NodeOut,
    NodeRowOut,
    NodesOut,
    SessionOut,
    SubscriptionOut,
)
from stanzagate.admin.routes import Asked, By
from stanzagate.admin.services import grid_of
from stanzagate.admin.topic_models import RightOut

router = APIRouter(prefix="/v1", tags=["nodes"])

TheGrid = Annotated[Grid, Depends(grid_of)]
SHOWN_ACCESSES = 20


@router.get("/nodes")
async def list_nodes(
    grid: TheGrid,
    by: By,
    state: NodeState | None = None,
    group: str | None = None,
    after: str = "",
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> NodesOut:
    """Nodes by JID, a page at a time."""
    found = (node for node in grid.accounts.all(state) if node.jid > after)
    wanted = list(itertools.islice((node for node in found if group is None or group in node.groups), limit + 1))
    page = [_row(grid, node) for node in wanted[:limit]]
    return NodesOut(nodes=page, next=page[-1].jid if len(wanted) > limit else "")


@router.post("/nodes")
async def add_node(grid: TheGrid, by: By, body: NewNode) -> NodeChangeOut:
    """Admit a platform before it was ever seen. The server alone keeps its password, so it must be there for that."""
    if body.password.get_secret_value() and not body.dry_run and not grid.link.attached.is_set():
        raise Unreachable(
            f"The server is away, so {body.jid} cannot get its password.",
            hint="Nothing has changed. Try again when the server is back.",
        )
    change = await grid.accounts.add(
        by.actor,
        body.jid,
        groups=body.groups,
        clearance=body.clearance,
        password=body.password.get_secret_value(),
        reason=body.reason,
        dry_run=body.dry_run,
    )
    return NodeChangeOut.made(change)


@router.post("/nodes/{jid:path}/approve")
async def approve_node(grid: TheGrid, by: By, jid: str, body: Approve) -> NodeChangeOut:
    """Let a node in that waits."""
    change = await grid.accounts.approve(by.actor, jid, groups=body.groups, reason=body.reason, dry_run=body.dry_run)
    return NodeChangeOut.made(change)


@router.post("/nodes/{jid:path}/reject")
async def reject_node(grid: TheGrid, by: By, jid: str, body: Decided) -> NodeChangeOut:
    """Send a node away that waits."""
    return NodeChangeOut.made(await grid.accounts.reject(by.actor, jid, reason=body.reason, dry_run=body.dry_run))


@router.post("/nodes/{jid:path}/disable")
async def disable_node(grid: TheGrid, by: By, jid: str, body: Decided) -> NodeChangeOut:
    """Shut a node out. Returns when the server obeys."""
    return NodeChangeOut.made(await grid.accounts.disable(by.actor, jid, reason=body.reason, dry_run=body.dry_run))


@router.post("/nodes/{jid:path}/enable")
async def enable_node(grid: TheGrid, by: By, jid: str, body: Decided) -> NodeChangeOut:
    """Let a node in again."""
    return NodeChangeOut.made(await grid.accounts.enable(by.actor, jid, reason=body.reason, dry_run=body.dry_run))


@router.put("/nodes/{jid:path}/groups/{group}")
async def put_into_group(grid: TheGrid, by: By, jid: str, group: str, dry_run: bool = False) -> NodeChangeOut:
    """Put a node into a group."""
    return NodeChangeOut.made(await grid.accounts.group_add(by.actor, jid, group, dry_run=dry_run))


@router.delete("/nodes/{jid:path}/groups/{group}")
async def take_out_of_group(grid: TheGrid, by: By, jid: str, group: str, dry_run: bool = False) -> NodeChangeOut:
    """Take a node out of a group."""
    return NodeChangeOut.made(await grid.accounts.group_remove(by.actor, jid, group, dry_run=dry_run))


@router.put("/nodes/{jid:path}/clearance")
async def clear_node(grid: TheGrid, by: By, jid: str, body: Cleared) -> NodeChangeOut:
    """Say up to which restriction a node may see incidents."""
    return NodeChangeOut.made(await grid.accounts.clear(by.actor, jid, body.level, dry_run=body.dry_run))


@router.delete("/nodes/{jid:path}")
async def delete_node(grid: TheGrid, by: By, jid: str, reason: str = "", dry_run: bool = False) -> NodeChangeOut:
    """Forget a node, its account, subscriptions and bindings."""
    return NodeChangeOut.made(await grid.accounts.delete(by.actor, jid, reason=reason, dry_run=dry_run))


@router.get("/nodes/{jid:path}")
async def show_node(services: Asked, grid: TheGrid, by: By, jid: str) -> NodeOut:
    """Everything about a node: who it is, what it may do, what it does."""
    bare = prepare(jid).bare
    node: Node | None = grid.accounts.get(bare)
    if node is None:
        raise NotFound(f"There is no node {bare!a}.", hint="`stanzagate node list` shows all nodes.")
    logins = dict(grid.sessions.logins(bare)) if grid.sessions is not None else {}
    rows = await services.audit.rows(wanted=AuditFilter(actor=bare), limit=SHOWN_ACCESSES, newest=True)
    return NodeOut(
        **_row(grid, node).model_dump(),
        registered=grid.accounts.has_registered(bare),
        account_made=node.account,
        epoch=node.epoch,
        sessions=_sessions(grid, bare, logins),
        logins=sorted(logins),
        certificates=await _certificates(grid, bare),
        rights=[RightOut.of(right) for right in grid.access.rights(bare)] if grid.access is not None else [],
        subscriptions=_subscriptions(grid, bare),
        provides=sorted(topic.name for topic in grid.topics.provided(bare)) if grid.topics is not None else [],
        accesses=[AccessOut(time=row.time, action=row.action, subject=row.subject) for row in reversed(rows)],
    )


def _row(grid: Grid, node: Node) -> NodeRowOut:
    sessions = grid.sessions
    online = sessions is not None and sessions.online(node.jid)
    return NodeRowOut.of(node, online=online, logged_in=sessions is not None and bool(sessions.logins(node.jid)))


def _sessions(grid: Grid, bare: str, logins: dict[str, float]) -> list[SessionOut]:
    if grid.sessions is None:
        return []
    return [
        SessionOut(
            jid=session.jid.full, since=session.since, mechanism=session.mechanism, fingerprint=session.fingerprint,
            logged_in=logins.get(session.jid.full),
        )
        for session in grid.sessions.of(bare)
    ]  # fmt: skip


def _subscriptions(grid: Grid, bare: str) -> list[SubscriptionOut]:
    if grid.topics is None:
        return []
    found: Any = grid.topics.subscriptions(jid=bare)
    rows = [SubscriptionOut(topic=item.topic, state=str(item.state), since=item.since) for item in found]
    return sorted(rows, key=lambda row: row.topic)


async def _certificates(grid: Grid, bare: str) -> list[CertificateOut]:
    bound = grid.accounts.bindings.fingerprints(bare)
    issued = await grid.authority.certificates(bare)
    return [CertificateOut.of(item, gone, bound=item.fingerprint in bound) for item, gone in issued]
