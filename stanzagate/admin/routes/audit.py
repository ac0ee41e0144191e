"""Reading and verifying the audit record."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from component.base.audit import AuditFilter, AuditRow, Verification, verify
from stanzagate.admin.models import AuditRowOut, FindingOut, VerificationOut
from stanzagate.admin.routes import Asked, By
from stanzagate.admin.services import Services
from stanzagate.admin.streams import JSON_LINES, JsonLines, line
from stanzagate.admin.times import moment

router = APIRouter(prefix="/v1/audit", tags=["audit"])

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {JSON_LINES: {}}, "description": "A row in each line, as it is written."}
}


def _filter(
    services: Asked, actor: str = "", action: str = "", subject: str = "", since: str = "", until: str = ""
) -> AuditFilter:
    now = services.clock()
    return AuditFilter(
        actor=actor,
        action=action,
        subject=subject,
        since=moment(since or None, now, past=True),
        until=moment(until or None, now, past=True),
    )


After = Annotated[int, Query(ge=0, le=2**63 - 1)]
Wanted = Annotated[AuditFilter, Depends(_filter)]


@router.get("")
async def list_rows(
    services: Asked,
    by: By,
    wanted: Wanted,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    newest: bool = False,
) -> list[AuditRowOut]:
    """Rows in order, after the row `after`; with `newest` the last ones."""
    rows = await services.audit.rows(after=after, limit=limit, wanted=wanted, newest=newest)
    return [_row(row) for row in rows]


@router.get("/follow", responses=_STREAM, response_class=JsonLines)
async def follow(services: Asked, by: By, wanted: Wanted, after: After | None = None) -> JsonLines:
    """Rows as they are written, until the client goes away."""
    return JsonLines(_lines(services, wanted, after))


async def _lines(services: Services, wanted: AuditFilter, after: int | None) -> AsyncIterator[bytes]:
    async for row in services.audit.follow(after=after, wanted=wanted):
        yield line(_row(row).model_dump())


@router.get("/verification")
async def verification(services: Asked, by: By) -> VerificationOut:
    """Recompute the hash chain and name every row that was changed, removed, inserted, reordered or cut off."""
    audit = services.audit
    await audit.flush()
    return verified(await asyncio.to_thread(verify, services.store, audit.public_key, audit.head_file))


def verified(found: Verification) -> VerificationOut:
    """The same as JSON."""
    problems = [FindingOut(seq=problem.seq, kind=problem.kind.value, text=problem.text) for problem in found.problems]
    return VerificationOut(
        ok=found.ok, rows=found.rows, seq=found.seq, hash=found.hash, problems=problems, found=found.found
    )


def _row(row: AuditRow) -> AuditRowOut:
    return AuditRowOut(**{**asdict(row), "detail": dict(row.detail)})
