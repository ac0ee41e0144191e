"""Who may wake a device, step by step, and what each step must show."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from component.base.jid import escape_local
from stanzagate.demo.local import INFORM, Local
from stanzagate.demo.requester import Requester, login
from stanzagate.demo.step import Clock, Step, command

FORBIDDEN = "auth/forbidden"


class Devices:
    """The steps, on a running sandbox."""

    def __init__(self, local: Local) -> None:
        self._local = local
        facts = local.facts
        self._gate: str = facts["domains"]["gate"]
        self._devices: list[dict[str, Any]] = facts["cpes"]
        accounts = [*facts["acs"], facts["rogue"]]
        self._accounts = {account["jid"].partition("@")[0]: account for account in accounts}
        self._requesters: dict[str, Requester] = {}
        self._woken: Counter[str] = Counter()

    async def run(self) -> AsyncGenerator[Step]:
        """All steps, each yielded when it is over.

        :raises StanzagateError: a step could not even be tried.
        """
        async with AsyncExitStack() as stack:
            for name, account in self._accounts.items():
                client = login(
                    account["jid"], account["password"],
                    self._local.facts["c2s"]["host"], self._local.facts["c2s"]["port"], Path(self._local.facts["ca"]),
                )  # fmt: skip
                self._requesters[name] = await stack.enter_async_context(client)
            async for step in self._allowed_and_refused():
                yield step
            async for step in self._around_the_gate():
                yield step
            async for step in self._suspended():
                yield step
        yield await self._only_these_were_woken()

    async def _allowed_and_refused(self) -> AsyncIterator[Step]:
        first, second, third = self._devices[:3]
        yield await self._ask("acs1", first, "wakes {}", "accepted", known=True)
        yield await self._ask("acs1", second, "wakes {}, password from the gate", "accepted")
        yield await self._ask("acs2", first, "wakes {}", "accepted")
        yield await self._ask("acs2", second, "asks for {}, has no rule for it", FORBIDDEN)
        yield await self._ask("acs3", first, "asks for {}, has no rule", FORBIDDEN)
        yield await self._ask("rogue", first, "asks for {}, knows its password", FORBIDDEN, known=True)
        yield await self._operator(third)

    async def _around_the_gate(self) -> AsyncIterator[Step]:
        """The last device lets everybody in: only the plugin in the server refuses what is sent straight to it."""
        last = self._devices[-1]
        yield await self._ask("rogue", last, "goes around the gate to {}", FORBIDDEN, direct=True)
        yield await self._ask("acs1", last, "goes straight to {}, which it may", "accepted", direct=True)

    async def _suspended(self) -> AsyncIterator[Step]:
        jid = self._accounts["acs1"]["jid"]
        yield await command(self._local, f"jid suspend {jid}", "done")
        yield await self._ask("acs1", self._devices[0], "asks for {}, is suspended", FORBIDDEN)
        yield await self._ask("acs1", self._devices[-1], "goes straight to {}, is suspended", FORBIDDEN, direct=True)
        yield await command(self._local, f"jid resume {jid}", "done")
        yield await self._ask("acs1", self._devices[0], "wakes {} again", "accepted")

    async def _ask(
        self, who: str, device: dict[str, Any], what: str, expected: str, *, known: bool = False, direct: bool = False
    ) -> Step:
        before = await self._last_inform(device["id"])
        # An ACS may name the device to the gate by its escaped JID or by its id.
        bare, _, resource = device["jid"].partition("/")
        to = f"{escape_local(bare)}@{self._gate}/{resource}" if known else f"{device['id']}@{self._gate}"
        credentials = (device["cr_username"], device["cr_password"]) if known or direct else ("", "")
        if direct:
            to = device["jid"]
        clock = Clock()
        answer = await self._requesters[who].request(to, *credentials)
        elapsed = clock.ms
        informed = ""
        if answer.accepted:
            informed = await self._wait_for_inform(device["id"], before)
        seen = "accepted" if answer.accepted else answer.text
        return Step(who, what.format(bare.partition("@")[0]), expected, seen, elapsed, informed)

    async def _operator(self, device: dict[str, Any]) -> Step:
        before = await self._last_inform(device["id"])
        step = await command(self._local, f"wake {device['id']}", "accepted")
        informed = await self._wait_for_inform(device["id"], before) if step.seen == "accepted" else ""
        return replace(step, informed=informed)

    async def _only_these_were_woken(self) -> Step:
        """Whoever was refused woke nobody: there are exactly as many Informs as accepted requests."""
        clock = Clock()
        found = {device["id"]: len(await self._local.informs(device["id"])) for device in self._devices}
        expected = {device["id"]: self._woken[device["id"]] for device in self._devices}
        return Step("recorder", "Informs of all devices", _counted(expected), _counted(found), clock.ms)

    async def _last_inform(self, device: str) -> int:
        informs = await self._local.informs(device)
        return int(informs[-1]["number"]) if informs else 0

    async def _wait_for_inform(self, device: str, before: int) -> str:
        self._woken[device] += 1
        return INFORM if await self._local.informs(device, after=before, count=1) else ""


def _counted(informs: dict[str, int]) -> str:
    return f"{sum(informs.values())} ({', '.join(str(count) for count in informs.values())})"
