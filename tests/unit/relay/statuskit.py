"""A relay that is played: its status is what a test says."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

from component.relay.status import (
    AttachmentState,
    AttachmentStatus,
    PairStatus,
    PartnerStatus,
    PolicyStatus,
    QueueStatus,
    Refusal,
    RefusalKind,
    RelayCounters,
    RelayStatus,
    Role,
    StreamStatus,
)
from component.relay.wire.policy import Authentication, Bidi, Direction
from stanzagate.admin.server import AdminServer

NOW = 1_800_000_000.0
PAIR = PairStatus("isp.test", "partner.test", sends=True, receives=True)
STREAM = StreamStatus(
    id="s1", role=Role.INCOMING, address="192.0.2.7:41234", pairs=(PAIR,),
    authentication=(Authentication.EXTERNAL,), bidi=True, tls_version="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384",
    fingerprint="ab" * 32, since=NOW - 7200, idle_seconds=3.0, sent=120, received=98, waiting_bytes=0,
)  # fmt: skip
POLICY = PolicyStatus(reachable=True, following=True, epoch=12, guarded_hosts=("cpe.test",))
REASON = "The certificate of down.test has expired on 2026-11-01: the partner must renew it."
REFUSAL = Refusal(NOW - 60, RefusalKind.CERTIFICATE, REASON, by_us=True, local="isp.test", address="192.0.2.8:5269")


def partner(domain: str = "partner.test", **changes: Any) -> PartnerStatus:
    """A partner that is connected, but for the changes."""
    attachment = AttachmentStatus(AttachmentState.ATTACHED, NOW - 9000)
    whole = PartnerStatus(
        domain, Direction.BOTH, Bidi.REQUIRED, attachment, streams=(STREAM,), pairs=(PAIR,)
    )  # fmt: skip
    return replace(whole, **changes)


def absent(domain: str = "down.test", **changes: Any) -> PartnerStatus:
    """A partner without a stream."""
    queue = QueueStatus("isp.test", domain, stanzas=3, bytes=2048, oldest_seconds=12.0)
    given: dict[str, Any] = {"streams": (), "pairs": (), "queues": (queue,), "next_attempt": NOW + 12}
    return partner(domain, **given | {"last_refusal": REFUSAL} | changes)


@dataclass
class Hub:
    """Stands for the relay's hub: real figures are not to be had without partners."""

    partners: tuple[PartnerStatus, ...] = ()
    policy: PolicyStatus = POLICY
    draining: bool = False
    unauthenticated: int = 0
    counters: RelayCounters = field(default_factory=RelayCounters)
    time: float = NOW

    def status(self) -> RelayStatus:
        """What the test says."""
        partners = tuple(replace(one, counters=self.counters.of(one.domain).copy()) for one in self.partners)
        return RelayStatus(
            "isp.test", "0.1.0", self.time, NOW - 10_000, self.policy, partners, ("isp.test",), ("127.0.0.1:5269",),
            self.unauthenticated, self.draining,
        )  # fmt: skip


@contextlib.asynccontextmanager
async def serving(*servers: AdminServer) -> AsyncIterator[None]:
    """Servers that answer inside the context."""
    async with asyncio.TaskGroup() as group:
        for server in servers:
            server.open()
            group.create_task(server.run())
        for server in servers:
            await server.ready.wait()
        try:
            yield
        finally:
            for server in servers:
                await server.stop()
