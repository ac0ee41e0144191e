"""Rules: made, tried, removed, explained, recorded, kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from component.base.enforcement import NotConfirmed
from component.base.errors import InputError, NotFound
from grid.access import AccessChange
from grid.access_impact import QUESTIONS
from grid.access_rules import ROLES
from grid.model import SHOWN, Action, NodeState, Right, Topic
from tests.unit.grid.registrykit import node, registries

SOC = "soc1@grid.test"


async def test_nothing_is_permitted_without_a_rule_and_forbid_wins(tmp_path: Path) -> None:
    async with registries(tmp_path, [node(SOC, "lab")]) as here:
        decide = here.access.decide
        assert decide(SOC, Action.PUBLISH, "IODEF-1.0").reason == "no rule permits it"
        await here.access.permit("root", "group:lab", "publish", "IODEF-*")
        assert decide(SOC, Action.PUBLISH, "IODEF-1.0").policies == ("rule 1",)
        assert decide(SOC, Action.PUBLISH, "IODEF-1.0/ab12").permitted
        assert not decide(SOC, Action.SUBSCRIBE, "IODEF-1.0").permitted
        await here.access.forbid("root", SOC, "publish", "IODEF-1.0")
        assert decide(SOC, Action.PUBLISH, "IODEF-1.0").policies == ("rule 2",)
        assert decide(SOC, Action.PUBLISH, "IODEF-2.0").permitted  # there is no such topic yet
        await here.access.remove("root", 2)
        assert decide(SOC, Action.PUBLISH, "IODEF-1.0").permitted


@pytest.mark.parametrize("state", [NodeState.PENDING, NodeState.DISABLED])
async def test_only_active_nodes_are_permitted_anything(tmp_path: Path, state: NodeState) -> None:
    async with registries(tmp_path, [node(SOC, "lab", state=state)]) as here:
        await here.access.permit("root", "group:lab", "member", "*")
        await here.access.permit("root", "soc9@grid.test", "member", "*")
        for action in Action:
            assert here.access.decide(SOC, action, "IODEF-1.0").reason == f"{SOC} is {state}"
            assert not here.access.decide("soc9@grid.test", action, "IODEF-1.0").permitted
        assert not here.access.any_right(SOC, "IODEF-1.0") and here.access.rights(SOC) == []
        here.nodes[SOC] = node(SOC, "lab")
        assert here.access.any_right(SOC, "IODEF-1.0")
        here.nodes[SOC] = node(SOC)
        assert not here.access.any_right(SOC, "IODEF-1.0")  # it has left the group


async def test_a_disabled_topic_denies_until_it_is_enabled(tmp_path: Path) -> None:
    async with registries(tmp_path, [node(SOC)]) as here:
        await here.access.permit("root", SOC, "member", "*")
        await here.topics.disable("root", "IODEF-1.0")
        verdict = here.access.decide(SOC, Action.READ, "IODEF-1.0/ab12")
        assert (verdict.permitted, verdict.reason) == (False, "IODEF-1.0 is disabled")
        assert here.access.by_rules(SOC, Action.READ, "IODEF-1.0").permitted
        assert here.access.holders(Action.READ, "IODEF-1.0") == []
        rights = [Right(SOC, action, "IODEF-1.0") for action in Action]
        assert here.access.standing("IODEF-1.0") == (rights, 5) and here.access.standing("IODEF-1.0", 2) == (
            rights[:2],
            5,
        )
        await here.topics.enable("root", "IODEF-1.0")
        assert here.access.holders(Action.READ, "IODEF-1.0") == [SOC]


@pytest.mark.parametrize("role", [*ROLES, "auditor"])
async def test_a_role_is_its_actions(tmp_path: Path, role: str) -> None:
    mine = {"auditor": (Action.READ, Action.BULK)}
    async with registries(tmp_path, [node(SOC)], roles=mine) as here:
        await here.access.permit("root", SOC, role, "IODEF-1.0")
        permitted = {action for action in Action if here.access.decide(SOC, action, "IODEF-1.0").permitted}
        assert permitted == set({**ROLES, **mine}[role])


async def test_who_is_not_named_or_not_registered_may_nothing_and_the_reason_says_so(tmp_path: Path) -> None:
    async with registries(tmp_path, [node(SOC)]) as here:
        for jid, reason in (("", "nobody is named"), ("x@grid.test", "x@grid.test is not registered")):
            verdict = here.access.decide(jid, Action.READ, "IODEF-1.0")
            assert (verdict.permitted, verdict.reason) == (False, reason)


async def test_the_roles_that_everybody_knows() -> None:
    assert ROLES["sensor"] == (Action.PUBLISH,)
    assert set(ROLES["read-only"]) == {Action.SUBSCRIBE, Action.READ, Action.BULK}
    assert set(ROLES["member"]) == set(Action)


@pytest.mark.parametrize(
    "roles", [{"sensor": (Action.READ,)}, {"read": (Action.READ,)}, {"X Y": (Action.READ,)}, {"x": ()}]
)
async def test_a_role_that_cannot_be_is_refused(tmp_path: Path, roles: dict[str, tuple[Action, ...]]) -> None:
    with pytest.raises(InputError):
        async with registries(tmp_path, roles=roles):
            pass


async def test_a_dry_run_tells_who_and_changes_nothing(tmp_path: Path) -> None:
    nodes = [node(f"n{number}@grid.test", "lab") for number in range(3)]
    nodes += [node("off@grid.test", "lab", state=NodeState.DISABLED), node("other@grid.test")]
    async with registries(tmp_path, nodes) as here:
        await here.topics.add("root", Topic("", "Host", "1.0", type="urn:x"))
        tried = await here.access.permit("root", "group:lab", "sensor", "*", dry_run=True)
        assert tried.dry_run and tried.won == 6 and tried.losses == 0
        assert Right("n1@grid.test", Action.PUBLISH, "Host-1.0") in tried.gains
        assert here.access.rules() == [] and here.epochs.current == tried.epoch
        made = await here.access.permit("root", "group:lab", "sensor", "*")
        assert (made.gains, made.won) == (tried.gains, tried.won) and made.data == {"rule": 1}
        tried = await here.access.forbid("root", "n1@grid.test", "member", "Host-*", dry_run=True)
        assert tried.loses == (Right("n1@grid.test", Action.PUBLISH, "Host-1.0"),) and tried.won == 0
        await here.access.forbid("root", "n1@grid.test", "member", "Host-*")
        assert (await here.access.remove("root", 2, dry_run=True)).gains == tried.loses
        tried = await here.access.remove("root", 1, dry_run=True)
        assert tried.losses == 5 and len(here.access.rules()) == 2  # n1 has lost Host-1.0 already
        assert [row for row in await here.actions() if row[1].startswith("access.")] == [
            ("root", "access.permitted", "1"),
            ("root", "access.forbidden", "2"),
        ]


async def test_many_nodes_and_topics_are_counted_few_are_shown(tmp_path: Path) -> None:
    nodes = [node(f"n{number}@grid.test", "all") for number in range(2000)]
    async with registries(tmp_path, nodes) as here:
        change = await here.access.permit("root", "group:all", "member", "*")
        assert change.won == 2000 * len(Action) and len(change.gains) == SHOWN
        assert "not all were looked at" not in change.summary


async def test_a_change_of_more_than_can_be_looked_at_says_so(tmp_path: Path) -> None:
    nodes = [node(f"n{number}@grid.test", f"g{number}", "all") for number in range(QUESTIONS // len(Action) + 1)]
    async with registries(tmp_path, nodes) as here:
        change = await here.access.permit("root", "group:all", "member", "*")
        assert "not all were looked at" in change.summary and change.won == QUESTIONS
        assert here.access.decide(nodes[-1].jid, Action.BULK, "IODEF-1.0").permitted


async def test_an_equal_rule_is_left_as_it_is(tmp_path: Path) -> None:
    async with registries(tmp_path, [node(SOC)]) as here:
        first = await here.access.permit("root", "SOC1@Grid.test", "publish", "A**", comment=" why ")
        again = await here.access.permit("ops", SOC, "publish", "A*")
        assert again.data == {"rule": 1} and again.epoch == first.epoch and "already" in again.summary
        (rule,) = here.access.rules()
        assert (rule.subject, rule.topic, rule.comment, rule.by, rule.created) == (SOC, "A*", "why", "root", 1000.0)
        change = await here.access.forbid("root", SOC, "publish", "A*")
        assert "Rule 1 says the opposite; this one wins" in change.summary


@pytest.mark.parametrize(
    ("subject", "action", "topic"),
    [
        ("", "publish", "T"),
        ("grid.test", "publish", "T"),
        ("soc1@grid.test/x", "publish", "T"),
        ("*@grid.test", "publish", "T"),
        ("group:", "publish", "T"),
        ("group:a b", "publish", "T"),
        ('group:x"', "publish", "T"),
        (SOC, "delete", "T"),
        (SOC, "", "T"),
        (SOC, "Publish", "T"),
        (SOC, "publish", ""),
        (SOC, "publish", "a b"),
        (SOC, "publish", 'T"); permit(principal, action, resource);'),
        (SOC, "publish", "T\n"),
        (SOC, "publish", "T/"),
        (SOC, "publish", "x" * 2000 + "*"),
        (SOC, "publish", "ﬁ"),
    ],
)
async def test_what_cannot_be_meant_is_refused(tmp_path: Path, subject: str, action: str, topic: str) -> None:
    async with registries(tmp_path) as here:
        for change in (here.access.permit, here.access.forbid):
            with pytest.raises(InputError) as caught:
                await change("root", subject, action, topic)
            assert caught.value.message.isprintable()
        with pytest.raises(InputError):
            await here.access.permit("root", SOC, "publish", "T", comment="two\nlines")
        with pytest.raises(NotFound):
            await here.access.remove("root", 7)
        assert here.access.rules() == []


async def test_rules_are_there_again_after_a_restart_and_ids_are_not_used_twice(tmp_path: Path) -> None:
    async with registries(tmp_path, [node(SOC)]) as here:
        for topic in ("A", "B", "C"):
            await here.access.permit("root", SOC, "publish", topic)
        await here.access.remove("root", 3)
        rules, epoch = here.access.rules(), here.epochs.current
    async with registries(tmp_path, [node(SOC)]) as here:
        assert here.access.rules() == rules and here.epochs.current == epoch
        assert (await here.access.permit("root", SOC, "publish", "D")).data == {"rule": 4}


async def test_listeners_hear_it_and_a_change_that_is_not_confirmed_stays(tmp_path: Path) -> None:
    heard: list[AccessChange] = []

    async def deaf(_change: AccessChange) -> None:
        raise NotConfirmed("The plugin is silent.")

    async def listener(change: AccessChange) -> None:
        assert here.access.decide(SOC, Action.PUBLISH, "T").permitted  # it is in force already
        heard.append(change)

    async with registries(tmp_path, [node(SOC)]) as here:
        here.access.listeners += [deaf, listener]
        with pytest.raises(NotConfirmed, match="silent"):
            await here.access.permit("root", SOC, "sensor", "T*")
        assert [(each.subject, each.action, each.topic, each.rule, each.actions) for each in heard] == [
            (SOC, "sensor", "T*", 1, (Action.PUBLISH,))
        ]
        assert heard[0].covers("T1/x") and not heard[0].covers("U") and heard[0].epoch == here.epochs.current
        assert len(here.access.rules()) == 1
        await here.access.permit("root", SOC, "sensor", "T*", dry_run=True)
        assert len(heard) == 1


async def test_who_may_and_what_decided(tmp_path: Path) -> None:
    nodes = [node("b@grid.test", "lab"), node("a@grid.test"), node("c@grid.test", state=NodeState.PENDING)]
    async with registries(tmp_path, nodes) as here:
        await here.access.permit("root", "group:lab", "subscribe", "IODEF-*")
        await here.access.permit("root", "a@grid.test", "subscribe", "*")
        await here.access.permit("root", "c@grid.test", "subscribe", "*")
        assert here.access.holders(Action.SUBSCRIBE, "IODEF-1.0/x") == ["a@grid.test", "b@grid.test"]
        assert here.access.holders(Action.READ, "IODEF-1.0") == []
        assert [rule.id for rule in here.access.deciding("b@grid.test", Action.SUBSCRIBE, "IODEF-1.0")] == [1]
        assert here.access.deciding("b@grid.test", Action.READ, "IODEF-1.0") == ()
