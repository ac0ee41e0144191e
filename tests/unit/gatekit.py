"""A policy and a registry on a real database, for tests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from component.base.audit import Audit, AuditKey
from component.base.secrets import Vault
from component.base.store import Store, metadata
from component.gate.devices import Devices
from component.gate.policy import Policy

HEADER = "id,jid,cr_username,cr_password,groups\n"


class Clock:
    """A clock that stands until it is set."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class Kit:
    """All parts that belong together."""

    store: Store
    audit: Audit
    policy: Policy
    devices: Devices
    vault: Vault
    clock: Clock = field(default_factory=Clock)

    async def import_text(self, text: str, **options: Any) -> Any:
        return await self.devices.import_csv("unix:test", [text.encode()], **options)


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Kit]:
    """Open, or open again, what lies in a folder."""
    store = Store("sqlite:///gate.db", folder)
    store.write_now(metadata.create_all)
    clock = Clock()
    audit = Audit(store, AuditKey.open(folder / "audit.key", create=True), folder / "audit.head", clock=clock)
    vault = Vault.open(folder / "credentials.key", create=True)
    try:
        async with asyncio.TaskGroup() as group:

            def spawn(name: str, coroutine: Coroutine[Any, Any, None]) -> object:
                return group.create_task(coroutine, name=name)

            policy = Policy(store, audit, spawn=spawn, clock=clock)
            devices = Devices(policy, vault)
            await policy.load()
            yield Kit(store, audit, policy, devices, vault, clock)
    finally:
        store.close()


def csv_of(rows: Iterable[tuple[str, str, str]]) -> str:
    """CSV of (id, jid, groups), with credentials made of the id."""
    return HEADER + "".join(f"{name},{jid},u-{name},p-{name},{groups}\n" for name, jid, groups in rows)
