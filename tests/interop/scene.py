"""Who plays in the tests of plugin and component: a component under the test's control, a requester, a device."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from tests.interop.clients import Answer
from tests.interop.conftest import KINDS, Sandbox, bare_sandbox
from tests.interop.puppet import Puppet, puppet
from tests.interop.rawclient import RawClient, online

ACS1, ACS2 = "acs1@acs.test", "acs2@acs.test"
CPE1, CPE2 = "cpe1@cpe.test", "cpe2@cpe.test"
TARGET = f"{CPE1}/tr069"

FORBIDDEN = ("auth", "forbidden")
UNDECIDED = ("wait", "internal-server-error")
AWAY = ("wait", "remote-server-timeout")
OVERLOAD = ("wait", "resource-constraint")
PASSED = ("", "")


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """The server of a sandbox, one for all tests of a module; the gate's place is free."""
    with bare_sandbox(tmp_path_factory.mktemp(request.param), request.param) as running:
        yield running


@dataclass
class Scene:
    """A component, a requester and a device."""

    gate: Puppet
    acs1: RawClient
    cpe1: RawClient

    async def outcome(self, to: str = TARGET) -> tuple[str, str]:
        """What a request of acs1 comes to."""
        return outcome(await self.acs1.request(to, "u", "p"))

    def asked(self) -> list[tuple[str, str]]:
        """What the component was asked, without resources."""
        return [(check.requester.partition("/")[0], check.device.partition("/")[0]) for check in self.gate.checks]


@contextlib.asynccontextmanager
async def scene(server: Sandbox) -> AsyncIterator[Scene]:
    async with (
        puppet(server) as gate,
        online(server, "acs1", "console") as acs1,
        online(server, "cpe1") as cpe1,
    ):
        yield Scene(gate, acs1, cpe1)


def outcome(answer: Answer) -> tuple[str, str]:
    return answer.error_type, answer.condition


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]
