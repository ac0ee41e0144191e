"""Any order of registrations and decisions: the registry does what a small model says, also after a restart."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from component.base.errors import Conflict, NotFound
from grid.errors import Refusal
from grid.model import Credential, NodeState

from .nodekit import World, world

T = TypeVar("T")
JIDS = st.sampled_from(["a@grid.test", "b@grid.test", "auto@grid.test", "c@partner.test"])
GROUPS = st.sampled_from(["lab", "ops"])
NOBODY = Credential()
RULES = [{"pattern": "auto@*", "group": "ops"}]
TOLD = {NodeState.PENDING: "unknown", NodeState.ACTIVE: "active", NodeState.DISABLED: "disabled"}


class Registry(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.states: dict[str, NodeState] = {}
        self.groups: dict[str, set[str]] = {}
        self.registered: set[str] = set()
        self.plugin: dict[str, str] = {}  # what a plugin knows that looks now and then
        self.seen = 0

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize()
    def begin(self) -> None:
        self.stack = AsyncExitStack()
        self.here: World = self.wait(
            self.stack.enter_async_context(world(Path(self.folder.name), auto_approve=RULES, limits={"pending": 2}))
        )

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.wait(self.stack.aclose())
        self.runner.close()
        self.folder.cleanup()

    @rule()
    def restart(self) -> None:
        self.wait(self.stack.aclose())
        self.begin()

    def enters(self, jid: str) -> bool:
        """A newcomer; whether there was room."""
        if jid in self.states:
            return True
        automatic = jid.startswith("auto@")
        if not automatic and sum(state is NodeState.PENDING for state in self.states.values()) >= 2:
            return False
        self.states[jid] = NodeState.ACTIVE if automatic else NodeState.PENDING
        self.groups[jid] = {"ops"} if automatic else set()
        return True

    @rule(jid=JIDS)
    def register(self, jid: str) -> None:
        state = self.states.get(jid)
        try:
            node = self.wait(self.here.accounts.register(jid, NOBODY))
        except Refusal as refusal:
            expected = {NodeState.DISABLED: "forbidden", NodeState.ACTIVE: "conflict"}
            assert refusal.condition == (expected[state] if state else "resource-constraint")
            assert state is not NodeState.ACTIVE or jid in self.registered
            return
        assert self.enters(jid) and jid not in self.registered - {
            name for name, known in self.states.items() if known is NodeState.PENDING
        }
        self.registered.add(jid)
        assert node.state is self.states[jid]

    @rule(jid=JIDS)
    def meet(self, jid: str) -> None:
        try:
            node = self.wait(self.here.accounts.met(jid, NOBODY))
        except Refusal:
            assert not self.enters(jid)
            return
        assert self.enters(jid) and node is not None and node.state is self.states[jid]

    @rule(jid=JIDS, dry_run=st.booleans())
    def add(self, jid: str, dry_run: bool) -> None:
        possible = self.states.get(jid, NodeState.PENDING) is NodeState.PENDING
        if self.does(self.here.accounts.add("a", jid, dry_run=dry_run), possible) and not dry_run:
            self.states[jid] = NodeState.ACTIVE
            self.groups.setdefault(jid, set())

    @rule(jid=JIDS, group=GROUPS)
    def approve(self, jid: str, group: str) -> None:
        if self.moves(self.here.accounts.approve("a", jid, groups=[group]), jid, "pending", NodeState.ACTIVE):
            self.groups[jid].add(group)

    @rule(jid=JIDS)
    def reject(self, jid: str) -> None:
        self.moves(self.here.accounts.reject("a", jid), jid, "pending", None)

    @rule(jid=JIDS)
    def disable(self, jid: str) -> None:
        self.moves(self.here.accounts.disable("a", jid), jid, "active", NodeState.DISABLED)

    @rule(jid=JIDS)
    def enable(self, jid: str) -> None:
        self.moves(self.here.accounts.enable("a", jid), jid, "disabled", NodeState.ACTIVE)

    @rule(jid=JIDS)
    def delete(self, jid: str) -> None:
        self.moves(self.here.accounts.delete("a", jid), jid, self.states.get(jid, ""), None)

    @rule(jid=JIDS, group=GROUPS)
    def into(self, jid: str, group: str) -> None:
        possible = jid in self.states and group not in self.groups[jid]
        if self.does(self.here.accounts.group_add("a", jid, group), possible):
            self.groups[jid].add(group)

    @rule(jid=JIDS, group=GROUPS, dry_run=st.booleans())
    def out(self, jid: str, group: str, dry_run: bool) -> None:
        possible = group in self.groups.get(jid, ())
        if self.does(self.here.accounts.group_remove("a", jid, group, dry_run=dry_run), possible) and not dry_run:
            self.groups[jid].remove(group)

    @rule()
    def plugin_looks(self) -> None:
        for epoch, jid, state, _ in self.here.accounts.changes_since(self.seen):
            self.plugin[jid] = state
            self.seen = epoch
        for jid, state in self.states.items():
            assert self.plugin.get(jid, "unknown") == (TOLD[state] if jid.endswith("@grid.test") else "unknown")
        assert all(state == "unknown" for jid, state in self.plugin.items() if jid not in self.states)

    def moves(self, work: Coroutine[Any, Any, object], jid: str, before: str, after: NodeState | None) -> bool:
        if not self.does(work, bool(before) and self.states.get(jid) == before):
            return False
        if after is not None:
            self.states[jid] = after
        else:
            del self.states[jid], self.groups[jid]
            self.registered.discard(jid)
        return True

    def does(self, work: Coroutine[Any, Any, object], possible: bool) -> bool:
        try:
            self.wait(work)
        except (Conflict, NotFound):
            assert not possible
            return False
        assert possible
        return True

    @invariant()
    def as_the_model_says(self) -> None:
        if not hasattr(self, "here"):
            return
        accounts = self.here.accounts
        assert {node.jid: node.state for node in accounts.all()} == self.states
        assert {node.jid: set(node.groups) for node in accounts.all()} == self.groups
        assert {jid for jid in self.states if accounts.has_registered(jid)} == self.registered
        for group in ("lab", "ops"):
            assert set(accounts.members(group)) == {jid for jid, groups in self.groups.items() if group in groups}


TestRegistry = Registry.TestCase
TestRegistry.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
