"""The grid, step by step: nodes join, an incident goes from one to the other, who has no right gets nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

from grid.agent import Agent, AgentError, Item, Refused, Stream, SubscriptionEnded
from grid.iodef import build, v2
from grid.model import NodeState
from stanzagate.cli.watch import lines
from stanzagate.demo.local import Local
from stanzagate.demo.step import Clock, Step, command

TOPIC = "IODEF-1.0"
PATIENCE_S = 30.0
"""How long a node waits for its approval, and a subscriber for an incident."""

ENDED = "subscription ended"
SENSOR, READER, STRANGER = "soc1", "soc2", "soc3"


class Grid:
    """The steps, on a running sandbox whose grid is empty."""

    def __init__(self, local: Local) -> None:
        self._local = local
        self._nodes: dict[str, dict[str, Any]] = {row["jid"].partition("@")[0]: row for row in local.facts["nodes"]}
        self._agents: dict[str, Agent] = {}
        self._now = datetime.now(UTC).replace(microsecond=0)

    async def run(self) -> AsyncGenerator[Step]:
        """All steps, each yielded when it is over.

        :raises StanzagateError: a step could not even be tried.
        """
        async with AsyncExitStack() as stack:
            for step in await self._approved_by_hand(stack):
                yield step
            for name in (READER, STRANGER):
                yield await self._command(f"node add {self._jid(name)}", "done")
                yield await self._admitted(name, stack)
            yield await self._command(f"access permit group:sensors sensor {TOPIC}", "done")
            yield await self._command(f"access permit {self._jid(READER)} read-only 'IODEF*'", "done")
            async for step in self._published_and_refused():
                yield step

    async def _published_and_refused(self) -> AsyncIterator[Step]:
        stream = self._agents[READER].subscribe(TOPIC)
        yield await _tried(READER, f"subscribes to {TOPIC}", "subscribed", stream.open())
        yield await _tried(SENSOR, "publishes incident 17", "published", self._publish(SENSOR, "17"))
        yield await self._received("17", stream)
        for name, why, expected in (
            (SENSOR, "may only publish", "auth/forbidden"),
            (STRANGER, "has no right on it", "cancel/item-not-found"),
        ):
            refused = self._agents[name].subscribe(TOPIC).open()
            yield await _tried(name, f"subscribes to {TOPIC}, {why}", expected, refused, "subscribed")
            yield await self._explained(name)
        published = self._publish(READER, "18")
        yield await _tried(READER, "publishes incident 18, may only read", "auth/forbidden", published, "published")
        yield await self._command(f"access forbid {self._jid(READER)} subscribe {TOPIC}", "done")
        yield await _tried(SENSOR, "publishes incident 19", "published", self._publish(SENSOR, "19"))
        yield await _tried(READER, "receives nothing more", ENDED, _next(stream), "an incident")

    async def _approved_by_hand(self, stack: AsyncExitStack) -> list[Step]:
        """A node that nobody knows asks by its certificate, waits, and is approved meanwhile."""
        heard = asyncio.Event()
        states: list[NodeState] = []
        clock = Clock()

        def told(state: NodeState) -> None:
            states.append(state)
            heard.set()

        async def administrator() -> tuple[Step, Step]:
            await heard.wait()
            asked = Step(SENSOR, "registers, by its certificate", "pending", str(states[0]), clock.ms)
            return asked, await self._command(f"node approve {self._jid(SENSOR)} --group sensors", "done")

        async with asyncio.TaskGroup() as group:
            work = group.create_task(administrator())
            self._agents[SENSOR] = await stack.enter_async_context(self._agent(SENSOR, told))
        return [*work.result(), Step(SENSOR, "was waiting, and logs in", "active", str(states[-1]), clock.ms)]

    async def _admitted(self, name: str, stack: AsyncExitStack) -> Step:
        """A node that an administrator has admitted before it ever came."""
        states: list[NodeState] = []
        clock = Clock()
        self._agents[name] = await stack.enter_async_context(self._agent(name, states.append))
        seen = ", ".join(str(state) for state in states)
        return Step(name, "comes, by its certificate", "active", seen, clock.ms)

    async def _received(self, number: str, stream: Stream) -> Step:
        """The incident comes, and is what was published."""
        clock = Clock()
        try:
            item = await _next(stream)
            seen = (
                f"incident {number}"
                if (item.id, item.iodef.incident) == (number, self._incident(number).incident)
                else "another item"
            )
            told = "\n".join(lines(item))
        except AgentError as error:
            seen, told = _failure(error), ""
        return Step(READER, "receives it", f"incident {number}", seen, clock.ms, told=told)

    async def _publish(self, name: str, number: str) -> str:
        return await self._agents[name].publish(TOPIC, self._incident(number), number)

    def _incident(self, number: str) -> v2.Document:
        return build.report(
            authority="csirt.example.org", id=number, contact="soc@example.org", generated=self._now,
            restriction="green", description="Password guessing against our mail servers", severity="high",
            sources=["192.0.2.7", "2001:db8::1"], targets=["mail.example.org"], ports=[25, 587],
        )  # fmt: skip

    async def _explained(self, name: str) -> Step:
        line = f"access explain {self._jid(name)} subscribe {TOPIC}"
        return await self._command(line, "deny", code=1, seen=lambda out: out.partition(":")[0])

    async def _command(self, line: str, expected: str, **more: Any) -> Step:
        return await command(self._local, line, expected, **more)

    def _jid(self, name: str) -> str:
        return str(self._nodes[name]["jid"])

    def _agent(self, name: str, on_state: Callable[[NodeState], None]) -> Agent:
        facts, node = self._local.facts, self._nodes[name]
        return Agent(
            node["jid"], host=facts["c2s"]["host"], port=facts["c2s"]["port"], ca=facts["ca"],
            cert=node["cert"], key=node["key"], patience=PATIENCE_S, on_state=on_state,
        )  # fmt: skip


async def _tried(who: str, what: str, expected: str, work: Awaitable[object], worked: str = "") -> Step:
    """A step of a node.

    :param worked: what it shows when `work` ends well; without it `expected`.
    """
    clock = Clock()
    try:
        await work
        seen = worked or expected
    except AgentError as error:
        seen = _failure(error)
    return Step(who, what, expected, seen, clock.ms)


def _failure(error: AgentError) -> str:
    match error:
        case Refused():
            return f"{error.info.type}/{error.info.condition}"
        case SubscriptionEnded():
            return ENDED
    return str(error)


async def _next(stream: Stream) -> Item:
    """What comes next.

    :raises AgentError: nothing came in time, or nothing will.
    """
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await anext(stream)
    except TimeoutError:
        raise AgentError(f"nothing within {PATIENCE_S:g} s") from None
