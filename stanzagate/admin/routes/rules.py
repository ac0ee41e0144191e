"""Rules and suspensions: who may wake which device."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse

from component.base.errors import InputError, Unreachable
from component.gate.render import Via, render
from component.gate.rules import Effect
from stanzagate.admin.models import (
    AllowedListOut,
    ChangeOut,
    DecisionOut,
    NewRule,
    NewSuspension,
    PolicyRowOut,
    RuleOut,
    RulesOut,
    SuggestionOut,
    SuspensionOut,
)
from stanzagate.admin.routes import CSV, CSV_BODY, Asked, By
from stanzagate.admin.times import moment

router = APIRouter(prefix="/v1", tags=["rules"])


@router.get("/rules")
async def list_rules(services: Asked, by: By) -> RulesOut:
    """All rules and suspensions that count, by id."""
    policy = services.policy
    return RulesOut(
        epoch=policy.epoch,
        rules=[RuleOut.of(rule) for rule in await policy.rules()],
        suspensions=[SuspensionOut.of(suspension) for suspension in await policy.suspensions()],
    )


@router.get("/policy")
async def list_policy(services: Asked, by: By) -> list[PolicyRowOut]:
    """Everything that `/v1/rules` tells, in one list: the rules by id, then the suspensions by id."""
    rules = [PolicyRowOut.of(rule) for rule in await services.policy.rules()]
    return rules + [PolicyRowOut.of(suspension) for suspension in await services.policy.suspensions()]


@router.post("/rules")
async def add_rule(services: Asked, by: By, body: NewRule) -> ChangeOut:
    """Allow or deny. Returns when the change is in force everywhere."""
    change = await services.policy.add_rule(
        by.actor,
        Effect(body.effect),
        body.requester,
        body.target,
        expires=moment(body.expires, services.clock()),
        comment=body.comment,
        dry_run=body.dry_run,
    )
    return ChangeOut.of(change, int)


@router.delete("/rules/{rule_id}")
async def remove_rule(services: Asked, by: By, rule_id: int, dry_run: bool = False) -> ChangeOut:
    """Remove a rule."""
    return ChangeOut.of(await services.policy.remove_rule(by.actor, rule_id, dry_run=dry_run))


@router.get("/rules.csv", response_class=PlainTextResponse)
async def export_rules(services: Asked, by: By) -> PlainTextResponse:
    """All rules and suspensions as CSV, which the import reads."""
    return PlainTextResponse(await services.policy.export_rules(), media_type=CSV)


@router.post("/rules.csv", openapi_extra=CSV_BODY)
async def import_rules(services: Asked, by: By, request: Request, dry_run: bool = False) -> ChangeOut:
    """Add rules and suspensions from CSV, all or none; those that are there already are skipped."""
    try:
        text = (await request.body()).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"The file is not UTF-8: byte {error.start} cannot be read.", hint="Save it as UTF-8."
        ) from None
    return ChangeOut.of(await services.policy.import_rules(by.actor, text, dry_run=dry_run))


@router.post("/suspensions")
async def suspend(services: Asked, by: By, body: NewSuspension) -> ChangeOut:
    """Let a requester wake nothing, whatever the rules say."""
    change = await services.policy.suspend(
        by.actor,
        body.requester,
        expires=moment(body.expires, services.clock()),
        comment=body.comment,
        dry_run=body.dry_run,
    )
    return ChangeOut.of(change, int)


@router.delete("/suspensions/{requester:path}")
async def resume(services: Asked, by: By, requester: str, dry_run: bool = False) -> ChangeOut:
    """End a suspension."""
    return ChangeOut.of(await services.policy.resume(by.actor, requester, dry_run=dry_run))


@router.get("/check")
async def check(services: Asked, by: By, requester: str, device: str) -> DecisionOut:
    """What the policy says about a requester and a device, which need not be registered."""
    if not services.policy.available:
        raise Unreachable("The policy cannot be had.", hint="The service's log says why.")
    return DecisionOut(**asdict(services.policy.check(requester, device)))


@router.get("/render")
async def render_list(services: Asked, by: By, device: str, via: Via = Via.GATE) -> AllowedListOut:
    """The entries of a device's own list of allowed JIDs: the gate's first, never an empty list."""
    entries = render(services.policy, device, services.gateway.jid, via)
    return AllowedListOut(device=device, via=via.value, entries=entries)


@router.get("/suggestions")
async def suggest(services: Asked, by: By) -> list[SuggestionOut]:
    """Rules that would allow what was refused for want of one."""
    return [SuggestionOut(**asdict(item)) for item in services.observations.suggest(services.policy)]
