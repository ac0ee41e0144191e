"""Waking one device, or a group of them at a given rate."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import asdict
from typing import Any, cast

from fastapi import APIRouter

from component.base.errors import InputError, NotFound
from component.base.settings import Rate, parse_rate
from component.gate.campaign import Campaign
from component.gate.wakes import WakeResult
from stanzagate.admin.models import CampaignOut, NewCampaign, Wake, WakeOut
from stanzagate.admin.routes import Asked, By
from stanzagate.admin.services import Services
from stanzagate.admin.streams import JSON_LINES, JsonLines, line

router = APIRouter(prefix="/v1", tags=["wakes"])

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {JSON_LINES: {}}, "description": "Lines: campaign, result for each device, campaign."}
}


@router.post("/wakes")
async def wake(services: Asked, by: By, body: Wake) -> WakeOut:
    """Send a connection request and wait for what becomes of it. A refusal is an outcome, not an error."""
    result = await services.gateway.wake(body.device, actor=by.actor, requester=body.requester, timeout=body.timeout)
    return WakeOut(**asdict(result))


@router.post("/campaigns", responses=_STREAM, response_class=JsonLines)
async def wake_group(services: Asked, by: By, body: NewCampaign) -> JsonLines:
    """Wake every device of a group. Closing the connection interrupts the campaign; it can be resumed."""
    try:
        rate = parse_rate(body.rate)
    except ValueError as error:
        raise InputError(f"{error}.") from None
    campaign = await services.campaigns.start(by.actor, body.group, resume=body.resume)
    results = services.campaigns.run(campaign, by.actor, rate, answer_timeout=body.timeout)
    return JsonLines(_told(services, campaign, results, rate))


async def _told(
    services: Services, campaign: Campaign, results: AsyncIterator[WakeResult], rate: Rate
) -> AsyncIterator[bytes]:
    # The generator of `Campaigns.run` interrupts the campaign when it is closed.
    async with contextlib.aclosing(cast("AsyncGenerator[WakeResult, None]", results)) as running:
        yield line({"campaign": _campaign(campaign).model_dump(), "rate": str(rate)})
        async for result in running:
            yield line({"result": asdict(result)})
    latest = await services.campaigns.latest(campaign.group)
    yield line({"campaign": _campaign(latest or campaign).model_dump()})


@router.get("/campaigns/{group}")
async def show_campaign(services: Asked, by: By, group: str) -> CampaignOut:
    """The latest campaign of a group."""
    campaign = await services.campaigns.latest(group)
    if campaign is None:
        raise NotFound(f"Group {group} was never woken.", hint="Start with `stanzagate wake --group`.")
    return _campaign(campaign)


def _campaign(campaign: Campaign) -> CampaignOut:
    return CampaignOut(
        id=campaign.id,
        group=campaign.group,
        state=campaign.state.value,
        started=campaign.started,
        total=campaign.total,
        done=campaign.done,
        left=campaign.total - campaign.done,
        outcomes=campaign.outcomes,
    )
