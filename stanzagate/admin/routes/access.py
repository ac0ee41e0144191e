"""Grid authorization: who may do what with which topic, and why."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from component.base.jid import prepare
from grid.controller import Grid
from grid.model import Action
from grid.topics_names import topic_or_subtopic
from stanzagate.admin.routes import By
from stanzagate.admin.services import grid_of
from stanzagate.admin.topic_models import AccessRuleOut, ExplanationOut, GridChangeOut, NewAccessRule, RightOut

router = APIRouter(prefix="/v1", tags=["access"])

OfGrid = Annotated[Grid, Depends(grid_of)]
"""The grid of the deployment."""


@router.get("/access")
async def list_rules(grid: OfGrid, by: By) -> list[AccessRuleOut]:
    """All rules, by id."""
    access = grid.access
    return [AccessRuleOut.of(rule, access.actions(rule)) for rule in access.rules()]


@router.post("/access")
async def add_rule(grid: OfGrid, by: By, body: NewAccessRule) -> GridChangeOut:
    """Permit or forbid. Returns when the change is in force; an equal rule is left as it is."""
    make = grid.access.permit if body.effect == "permit" else grid.access.forbid
    change = await make(by.actor, body.subject, body.action, body.topic, comment=body.comment, dry_run=body.dry_run)
    return GridChangeOut.of(change, "rule")


@router.delete("/access/{rule_id}")
async def remove_rule(grid: OfGrid, by: By, rule_id: int, dry_run: bool = False) -> GridChangeOut:
    """Remove a rule."""
    return GridChangeOut.of(await grid.access.remove(by.actor, rule_id, dry_run=dry_run), "rule")


@router.get("/access/roles")
async def list_roles(grid: OfGrid, by: By) -> dict[str, list[Action]]:
    """What each role stands for."""
    return {name: list(actions) for name, actions in sorted(grid.access.roles.items())}


@router.get("/access/explanation")
async def explain(grid: OfGrid, by: By, node: str, action: Action, topic: str) -> ExplanationOut:
    """Whether a node may do something, and which rules decide. The topic need not exist."""
    jid = prepare(node).bare
    name = topic_or_subtopic(topic)
    return ExplanationOut.of(jid, action, name, grid.access.decide(jid, action, name))


@router.get("/access/rights/{node}")
async def list_rights(grid: OfGrid, by: By, node: str) -> list[RightOut]:
    """Everything that a node may do with the topics that there are."""
    return [RightOut.of(right) for right in grid.access.rights(prepare(node).bare)]
