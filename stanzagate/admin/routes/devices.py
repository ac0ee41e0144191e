"""The device registry."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import SecretStr

from stanzagate.admin.access import Role
from stanzagate.admin.models import ChangeOut, DeviceChange, DeviceOut, DeviceRowOut, DevicesOut, NewDevice
from stanzagate.admin.problems import Forbidden
from stanzagate.admin.routes import CSV, CSV_BODY, Asked, By

router = APIRouter(prefix="/v1", tags=["devices"])


@router.get("/devices")
async def list_devices(
    services: Asked,
    by: By,
    online: bool | None = None,
    group: str | None = None,
    after: str = "",
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
) -> DevicesOut:
    """Devices by id, a page at a time."""
    page = await services.devices.list(online=online, group=group, after=after, limit=limit)
    found = [DeviceRowOut.of(device) for device in page.devices]
    return DevicesOut(devices=found, next=page.next, sessions=page.sessions)


@router.post("/devices")
async def add_device(services: Asked, by: By, body: NewDevice) -> ChangeOut:
    """Register a device."""
    change = await services.devices.add(
        by.actor,
        body.id,
        body.jid,
        groups=body.groups,
        cr_username=body.cr_username.get_secret_value(),
        cr_password=body.cr_password.get_secret_value(),
        dry_run=body.dry_run,
    )
    return ChangeOut.of(change, str)


@router.get("/devices.csv", response_class=StreamingResponse, responses={200: {"content": {CSV: {}}}})
async def export_devices(services: Asked, by: By, credentials: bool = False) -> StreamingResponse:
    """All devices as CSV. Credentials in clear are included only when asked for, by an administrator, on record."""
    if credentials:
        if by.role is not Role.ADMIN:
            raise Forbidden(f"{by.actor} may not see credentials.", hint="Use a token with the role admin.")
        await services.store.write(
            lambda connection: services.audit.append(
                connection, actor=by.actor, action="credentials.exported", subject="devices", detail={}
            )
        )
    return StreamingResponse(services.devices.export(credentials=credentials), media_type=CSV)


@router.post("/devices.csv", openapi_extra=CSV_BODY)
async def import_devices(services: Asked, by: By, request: Request, dry_run: bool = False) -> ChangeOut:
    """Register and replace devices from CSV, all or none. The body may have any size."""
    return ChangeOut.of(await services.devices.import_csv(by.actor, request.stream(), dry_run=dry_run))


@router.get("/devices/{device:path}")
async def show_device(services: Asked, by: By, device: str) -> DeviceOut:
    """A device by id or JID, with the rules that reach it; never its credentials."""
    return DeviceOut.of(await services.devices.show(device))


@router.patch("/devices/{device:path}")
async def change_device(services: Asked, by: By, device: str, body: DeviceChange) -> ChangeOut:
    """Change a device."""
    change = await services.devices.update(
        by.actor,
        device,
        jid=body.jid,
        groups=body.groups,
        cr_username=_clear(body.cr_username),
        cr_password=_clear(body.cr_password),
        dry_run=body.dry_run,
    )
    return ChangeOut.of(change)


@router.delete("/devices/{device:path}")
async def remove_device(services: Asked, by: By, device: str, dry_run: bool = False) -> ChangeOut:
    """Remove a device, and the rules that name it."""
    return ChangeOut.of(await services.devices.remove(by.actor, device, dry_run=dry_run))


def _clear(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
