"""Backup of everything, and rotation of the key that seals device credentials."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from sqlalchemy import Connection, distinct, func, select

from component.gate.registry import device_table
from stanzagate import backup
from stanzagate.admin.models import RotatedOut
from stanzagate.admin.routes import Asked, By

router = APIRouter(prefix="/v1", tags=["upkeep"])

TAR = "application/x-tar"
CHUNK = 1 << 20


@router.post("/backups", response_class=StreamingResponse, responses={200: {"content": {TAR: {}}}})
async def create_backup(services: Asked, by: By) -> StreamingResponse:
    """An archive of the whole deployment. It holds every key and secret."""

    def record(connection: Connection) -> None:
        services.audit.append(connection, actor=by.actor, action="backup.created", subject="backup", detail={})

    await services.audit.flush()
    await services.store.write(record)
    file = await asyncio.to_thread(_archive, services.deployment)
    size = file.seek(0, 2)
    file.seek(0)
    return StreamingResponse(_chunks(file), media_type=TAR, headers={"Content-Length": str(size)})


def _archive(deployment: backup.Deployment) -> IO[bytes]:
    folder = Path(tempfile.mkdtemp(prefix=".backup.", dir=deployment.state))
    try:
        info = backup.create(deployment, folder / "archive.tar")
        return info.archive.open("rb")  # the file goes with its last reader, whatever happens to us
    finally:
        shutil.rmtree(folder)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(CHUNK):
            yield chunk


@router.post("/credentials/rotation")
async def rotate_key(services: Asked, by: By, dry_run: bool = False) -> RotatedOut:
    """Seal every stored credential with a new key. An interrupted rotation is gone on with."""
    if dry_run:
        return RotatedOut(sealed=await services.store.read(_sealed), dry_run=True)
    return RotatedOut(sealed=await services.devices.rotate_key(by.actor), dry_run=False)


def _sealed(connection: Connection) -> int:
    columns = device_table.c
    statement = select(func.count(distinct(columns.key))).where(columns.credentials.is_not(None))
    return connection.execute(statement).scalar_one()
