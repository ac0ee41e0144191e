"""Who plays in the tests of plugin and component: a component under the test's control, a requester, a device."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tests.interop.cast import TARGET, outcome
from tests.interop.conftest import Sandbox
from tests.interop.puppet import Puppet, puppet
from tests.interop.rawclient import RawClient, online

SECRET = "typed-by-the-requester"
"""The password of every request of these tests; no log may hold it."""


@dataclass
class Scene:
    """A component, a requester and a device."""

    gate: Puppet
    acs1: RawClient
    cpe1: RawClient

    async def outcome(self, to: str = TARGET) -> tuple[str, str]:
        """What a request of acs1 comes to."""
        return await asked(self.acs1, to)

    def asked(self) -> list[tuple[str, str]]:
        """What the component was asked, without resources."""
        return [(check.requester.partition("/")[0], check.device.partition("/")[0]) for check in self.gate.checks]


@contextlib.asynccontextmanager
async def scene(server: Sandbox) -> AsyncIterator[Scene]:
    """All three, online."""
    async with (
        puppet(server) as gate,
        online(server, "acs1", "console") as acs1,
        online(server, "cpe1") as cpe1,
    ):
        yield Scene(gate, acs1, cpe1)


async def asked(client: RawClient, to: str = TARGET) -> tuple[str, str]:
    """What a request of a client comes to."""
    return outcome(await client.request(to, "u", SECRET))


def names(prefix: str, count: int) -> list[str]:
    """Ids for so many requests."""
    return [f"{prefix}{number}" for number in range(count)]
