"""What a relay knows of the policy: nothing from before a change after it, and nothing when nobody can say."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from component.base.errors import Conflict
from component.base.jid import prepare
from component.base.pluginstatus import Guard
from component.relay.decisioncache import DecisionCache, read_decision
from component.relay.decisions import MAX_OF_DOMAIN, MAX_QUESTIONS, TRIES, Decision, Decisions, NoDecision
from component.relay.policyapi import Away, BadAnswer
from tests.unit.relay.policykit import Clock, FakeApi, asking, begun, decided, until

ACS = prepare("acs@partner.test/r")
OTHER = prepare("acs@partner.test/s")
STRANGER = prepare("new@partner.test/r")
DEVICE = prepare("cpe1@cpe.test/tr069")
DEVICE2 = prepare("cpe2@cpe.test/tr069")


def change(epoch: int, requester: str = "", device: str = "") -> dict[str, Any]:
    return {"epoch": epoch, "requester": requester, "device": device}


async def followed(api: FakeApi, decisions: Decisions, **fields: Any) -> None:
    streams = decisions.counters["streams"]
    api.lines.put_nowait(begun(**fields))
    await until(lambda: decisions.counters["streams"] > streams)


async def told(api: FakeApi, decisions: Decisions, line: dict[str, Any]) -> None:
    changes = decisions.counters["changes"]
    api.lines.put_nowait(line)
    await until(lambda: decisions.counters["changes"] > changes)


# -- remembering -----------------------------------------------------------------------------------------------------


async def test_before_anything_is_known_nothing_is_remembered_and_everything_is_guarded() -> None:
    api = FakeApi()
    async with asking(api, follow=False) as decisions:
        assert (
            decisions.guarded_hosts is None and decisions.guard is Guard.EVERYTHING and not decisions.ready.is_set()
        )
        assert decisions.decide(ACS, DEVICE) is None
        for _ in range(2):  # the answer counts for this once
            assert (await decisions.ask(ACS, DEVICE)).allowed
        assert len(api.asked) == 2 and len(decisions.cache) == 0


async def test_a_decision_is_remembered_for_every_resource_when_it_counts_for_all() -> None:
    api = FakeApi()
    async with asking(api) as decisions:
        await followed(api, decisions)
        assert decisions.guarded_hosts == frozenset({"cpe.test"}) and decisions.gate == "gate.test"
        assert (decisions.following, decisions.reachable, decisions.epoch, decisions.reason) == (True, True, 1, "")
        found = await decisions.ask(ACS, DEVICE)
        assert found == Decision(True, "1", "rule 1 allows it", 300.0, 3600.0, 1, True)
        assert decisions.decide(OTHER, DEVICE) is found
        assert decisions.decide(OTHER, DEVICE2) is None and decisions.decide(STRANGER, DEVICE) is None
        assert api.asked == [("acs@partner.test/r", "cpe1@cpe.test", "partner.test")]


async def test_those_who_want_the_same_share_one_question() -> None:
    going = asyncio.Event()

    async def answer(_requester: str, _device: str) -> Any:
        await going.wait()
        return decided()

    api = FakeApi(answer)
    async with asking(api) as decisions:
        await followed(api, decisions)
        async with asyncio.TaskGroup() as group:
            waiting = [
                group.create_task(decisions.ask(prepare(f"acs@partner.test/{number}"), DEVICE))
                for number in range(50)
            ]
            await until(lambda: decisions.counters["shared"] == 49)
            waiting[0].cancel()  # who asked first goes away; the others do not notice
            going.set()
        assert [task.result().allowed for task in waiting[1:]] == [True] * 49
        assert len(api.asked) == 1


async def test_what_counts_for_one_resource_is_asked_for_each() -> None:
    async def answer(requester: str, _device: str) -> Any:
        return decided(scope="full", effect="allow" if requester.endswith("/r") else "deny")

    api = FakeApi(answer)
    async with asking(api) as decisions:
        await followed(api, decisions)
        found = await asyncio.gather(*(decisions.ask(who, DEVICE) for who in (ACS, OTHER, ACS, OTHER)))
        assert [decision.allowed for decision in found] == [True, False, True, False]
        assert sorted(who for who, _, _ in api.asked) == [ACS.full, OTHER.full]
        assert [decisions.decide(who, DEVICE).allowed for who in (ACS, OTHER)] == [True, False]  # type: ignore[union-attr]


async def test_a_decision_in_use_is_asked_for_anew_before_it_ends() -> None:
    clock, api = Clock(), FakeApi()
    async with asking(api, now=clock) as decisions:
        await followed(api, decisions)
        first = await decisions.ask(ACS, DEVICE)
        clock.now += 149
        assert decisions.decide(ACS, DEVICE) is first and len(api.asked) == 1
        clock.now += 1
        assert decisions.decide(ACS, DEVICE) is first  # nobody waits
        assert decisions.decide(ACS, DEVICE) is first
        await until(lambda: decisions.decide(ACS, DEVICE) is not first)
        assert len(api.asked) == 2
        clock.now += 301
        assert decisions.decide(ACS, DEVICE) is None  # nobody has used it


async def test_too_many_questions_are_not_asked() -> None:
    never = asyncio.Event()

    async def answer(_requester: str, _device: str) -> Any:
        await never.wait()

    api = FakeApi(answer)
    async with asking(api) as decisions, asyncio.TaskGroup() as group:
        await followed(api, decisions)
        tasks = [
            group.create_task(decisions.ask(prepare(f"acs{number}@partner{partner}.test"), DEVICE))
            for partner in range(MAX_QUESTIONS // MAX_OF_DOMAIN)
            for number in range(MAX_OF_DOMAIN)
        ]
        await until(lambda: len(api.asked) == MAX_QUESTIONS)
        with pytest.raises(NoDecision, match="questions wait"):
            await decisions.ask(STRANGER, DEVICE)
        for task in tasks:
            task.cancel()


async def test_a_partner_whose_requesters_flood_leaves_room_for_the_others() -> None:
    going = asyncio.Event()

    async def answer(_requester: str, _device: str) -> Any:
        await going.wait()
        return decided()

    api = FakeApi(answer)
    async with asking(api) as decisions, asyncio.TaskGroup() as group:
        await followed(api, decisions)
        for number in range(MAX_OF_DOMAIN):
            group.create_task(decisions.ask(prepare(f"acs{number}@flood.test"), DEVICE))
        await until(lambda: len(api.asked) == MAX_OF_DOMAIN)
        with pytest.raises(NoDecision, match="questions wait"):
            await decisions.ask(prepare("new@flood.test"), DEVICE)
        other = group.create_task(decisions.ask(ACS, DEVICE))
        await until(lambda: len(api.asked) == MAX_OF_DOMAIN + 1)
        going.set()
        assert (await other).allowed
    assert not decisions._asking_for


# -- changes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "left"),
    [
        (change(2, "acs@partner.test"), {("new@partner.test", DEVICE.bare)}),
        (change(2, "", DEVICE.bare), {("acs@partner.test", DEVICE2.bare)}),
        (change(2, "acs@partner.test", DEVICE2.bare), {(who.bare, DEVICE.bare) for who in (ACS, STRANGER)}),
        (change(2), set()),
        (change(4, "x@partner.test"), set()),  # there was one that was not told
    ],
)  # fmt: skip
async def test_a_change_makes_forget_what_it_touches_and_is_confirmed_after_that(
    line: dict[str, Any], left: set[tuple[str, str]]
) -> None:
    api = FakeApi()
    async with asking(api) as decisions:
        await followed(api, decisions)
        await until(lambda: api.confirmed == [("s1", 1)])
        for who, device in ((ACS, DEVICE), (ACS, DEVICE2), (STRANGER, DEVICE)):
            await decisions.ask(who, device)
        remembered: list[int] = []
        api.on_confirm = lambda: remembered.append(len(decisions.cache))
        await told(api, decisions, line)
        await until(lambda: api.confirmed[-1] == ("s1", line["epoch"]))
        assert remembered == [len(left)]
        known = {
            (who.bare, device.bare)
            for who in (ACS, STRANGER) for device in (DEVICE, DEVICE2) if decisions.decide(who, device)
        }  # fmt: skip
        assert known == left


async def test_what_was_answered_before_a_change_is_not_remembered_after_it() -> None:
    epochs = iter([1, 2])
    answering: asyncio.Queue[None] = asyncio.Queue()

    async def answer(_requester: str, _device: str) -> Any:
        epoch = next(epochs)
        await answering.get()
        return decided(epoch, effect="allow" if epoch == 1 else "deny")

    api = FakeApi(answer)
    async with asking(api) as decisions, asyncio.TaskGroup() as group:
        await followed(api, decisions)
        task = group.create_task(decisions.ask(ACS, DEVICE))
        await until(lambda: len(api.asked) == 1)
        await told(api, decisions, change(2, "acs@partner.test"))
        answering.put_nowait(None)
        answering.put_nowait(None)
        assert not (await task).allowed
        assert len(api.asked) == 2 and decisions.counters["outdated"] == 1


async def test_a_change_that_is_heard_of_between_the_answer_and_its_use_counts() -> None:
    api = FakeApi()

    async def answer(_requester: str, _device: str) -> Any:
        if len(api.asked) == 1:
            api.lines.put_nowait(change(2, "acs@partner.test"))  # it is read after this answer, and before its use
            return decided(1)
        return decided(2, effect="deny")

    api.answer = answer
    async with asking(api) as decisions:
        await followed(api, decisions)
        assert not (await decisions.ask(ACS, DEVICE)).allowed
        assert len(api.asked) == 2


async def test_an_answer_from_before_a_stream_does_not_count_in_it() -> None:
    answering: asyncio.Queue[str] = asyncio.Queue()

    async def answer(_requester: str, _device: str) -> Any:
        return decided(9, effect=await answering.get())

    api = FakeApi(answer)
    async with asking(api) as decisions, asyncio.TaskGroup() as group:
        await followed(api, decisions)
        task = group.create_task(decisions.ask(ACS, DEVICE))
        await until(lambda: len(api.asked) == 1)
        api.lines.put_nowait(Away("It broke."))
        await followed(api, decisions, epoch=5, stream="s2")  # say, from a backup: the numbers go on from there
        answering.put_nowait("allow")
        answering.put_nowait("deny")
        assert not (await task).allowed and decisions.epoch == 5


async def test_answers_that_stay_older_than_the_last_change_are_none(caplog: pytest.LogCaptureFixture) -> None:
    api = FakeApi()
    async with asking(api) as decisions:
        await followed(api, decisions, epoch=7)
        with pytest.raises(NoDecision, match="before a change"):
            await decisions.ask(ACS, DEVICE)
        assert len(api.asked) == TRIES and decisions.decide(ACS, DEVICE) is None
    assert "before a change" in caplog.text


async def test_a_confirmation_is_repeated_until_it_is_heard() -> None:
    api = FakeApi()
    api.refuse_to_confirm = [Away("It hangs."), Away("It hangs.")]
    async with asking(api) as decisions:
        await followed(api, decisions)
        await until(lambda: api.confirmed == [("s1", 1)])
        api.refuse_to_confirm = [Conflict("That is not the latest stream.")]
        await told(api, decisions, change(2))
        await told(api, decisions, change(3))
        await until(lambda: api.confirmed[-1] == ("s1", 3))


# -- when nobody can say ---------------------------------------------------------------------------------------------


async def test_while_the_stream_is_lost_what_is_known_holds_until_it_is_stale_and_new_questions_are_asked() -> None:
    clock, api = Clock(), FakeApi()
    async with asking(api, now=clock) as decisions:
        await followed(api, decisions)
        await decisions.ask(ACS, DEVICE)
        clock.now += 100
        api.lines.put_nowait({})  # a sign of life
        await until(api.lines.empty)
        api.lines.put_nowait(Away("It broke."))
        await until(lambda: not decisions.following)
        assert not decisions.reachable and decisions.reason == "It broke."
        assert decisions.decide(ACS, DEVICE)
        assert (await decisions.ask(STRANGER, DEVICE)).allowed  # asked, and remembered for as long
        assert decisions.decide(STRANGER, DEVICE) and decisions.guarded_hosts == frozenset({"cpe.test"})
        clock.now += 3599  # nobody waits for this relay any more soon
        assert decisions.decide(ACS, DEVICE) is None  # stale by its own time
        clock.now += 1
        assert decisions.decide(STRANGER, DEVICE) is None
        await decisions.ask(STRANGER, DEVICE)
        assert decisions.decide(STRANGER, DEVICE) is None  # it counted for that once


async def test_while_nobody_answers_what_is_past_its_time_is_used_until_it_is_stale() -> None:
    clock, api = Clock(), FakeApi()

    async def away(_requester: str, _device: str) -> Any:
        raise Away("Nobody answers.")

    async with asking(api, now=clock) as decisions:
        await followed(api, decisions)
        await decisions.ask(ACS, DEVICE)
        api.answer = away
        clock.now += 300
        assert decisions.decide(ACS, DEVICE) is None  # so far the API answers
        assert (await decisions.ask(ACS, DEVICE)).allowed
        assert not decisions.reachable
        assert decisions.decide(ACS, DEVICE)  # without waiting
        with pytest.raises(NoDecision, match="Nobody answers"):
            await decisions.ask(STRANGER, DEVICE)
        for _ in range(3600):
            clock.now += 1
            api.lines.put_nowait({})
        await until(api.lines.empty)
        assert decisions.decide(ACS, DEVICE) is None
        with pytest.raises(NoDecision):
            await decisions.ask(ACS, DEVICE)


async def test_a_question_that_gets_no_answer_is_given_up() -> None:
    never = asyncio.Event()

    async def answer(_requester: str, _device: str) -> Any:
        await never.wait()

    api = FakeApi(answer)
    async with asking(api, patience=0.01) as decisions:
        await followed(api, decisions)
        with pytest.raises(NoDecision):
            await decisions.ask(ACS, DEVICE)
        await until(lambda: not decisions._questions)


@pytest.mark.parametrize(
    "line",
    [
        "no object", [1], {"epoch": "2"}, {"epoch": True}, {"epoch": -1}, {"epoch": 2, "requester": None},
        {"epoch": 2, "device": 7}, {"requester": "acs@partner.test"},
    ],
)  # fmt: skip
async def test_a_change_that_cannot_be_understood_may_have_touched_everything(
    line: Any, caplog: pytest.LogCaptureFixture
) -> None:
    api = FakeApi()
    async with asking(api) as decisions:
        await followed(api, decisions)
        await decisions.ask(ACS, DEVICE)
        api.lines.put_nowait(line)
        await until(lambda: api.streams == 2)
        assert len(decisions.cache) == 0 and not decisions.following
        await followed(api, decisions, epoch=2)
    assert "cannot be understood" in caplog.text


@pytest.mark.parametrize(
    "fields",
    [
        {"guarded_hosts": []}, {"guarded_hosts": None}, {"guarded_hosts": [""]}, {"guarded_hosts": "cpe.test"},
        {"guard": "nothing"}, {"guard": None}, {"gate": None}, {"epoch": None}, {"epoch": 1.5}, {"stale_limit": "1h"},
        {"stale_limit": float("inf")}, {"stale_limit": -1}, {"stream": ""}, {"stream": 5},
    ],
)  # fmt: skip
async def test_a_stream_that_begins_with_nonsense_is_none(fields: dict[str, Any]) -> None:
    api = FakeApi()
    async with asking(api) as decisions:
        api.lines.put_nowait(begun(**fields))
        await until(lambda: api.streams == 2)
        assert not decisions.following and decisions.guarded_hosts is None and not api.confirmed


async def test_another_relay_of_the_same_name_is_said_and_nothing_is_remembered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    api = FakeApi()
    async with asking(api) as decisions:
        await followed(api, decisions)
        await decisions.ask(ACS, DEVICE)
        problem = {"error": "conflict", "message": "Another relay of the name edge follows now.", "hint": "Rename."}
        api.lines.put_nowait({"problem": problem})
        await until(lambda: api.streams == 2)
        assert len(decisions.cache) == 0
    assert "Another relay of the name edge" in caplog.text


async def test_the_end_says_goodbye_and_decides_nothing_any_more() -> None:
    api = FakeApi()
    async with asking(api) as decisions:
        await followed(api, decisions)
        await decisions.ask(ACS, DEVICE)
        await decisions.close()
        assert api.gone == ["s1"] and decisions.decide(ACS, DEVICE) is None
        with pytest.raises(NoDecision):
            await decisions.ask(ACS, DEVICE)


async def test_the_same_trouble_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    api = FakeApi()
    async with asking(api) as decisions:
        for _ in range(5):
            api.lines.put_nowait(Away("Nobody answers at admin.sock."))
        await until(lambda: api.streams == 6)
        await followed(api, decisions)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2 and "Nobody answers at admin.sock" in said[0] and "again" in said[1]


# -- answers and memory ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"effect": "ALLOW"}, {"effect": None}, {"scope": "all"}, {"ttl": "300"}, {"ttl": -1}, {"ttl": float("nan")},
        {"stale": float("inf")}, {"stale": 1}, {"ttl": True}, {"epoch": 1.0}, {"epoch": True}, {"epoch": -1},
        {"epoch": 2**70}, {"rule": None}, {"reason": 5}, {"reason": "x" * 2000},
    ],
)  # fmt: skip
async def test_an_answer_that_is_not_understood_is_none(wrong: dict[str, Any]) -> None:
    async def answer(_requester: str, _device: str) -> Any:
        return decided(**wrong)

    with pytest.raises(BadAnswer):
        read_decision(decided(**wrong))
    api = FakeApi(answer)
    async with asking(api) as decisions:
        await followed(api, decisions)
        with pytest.raises(NoDecision):
            await decisions.ask(ACS, DEVICE)
        assert len(decisions.cache) == 0


@pytest.mark.parametrize("answer", [None, [], "allow", 1, {}, {"effect": "allow"}])
def test_what_is_no_decision_at_all_is_none(answer: Any) -> None:
    with pytest.raises(BadAnswer):
        read_decision(answer)


async def test_a_wrong_answer_makes_nothing_stale_usable() -> None:
    clock, api = Clock(), FakeApi()

    async def lie(_requester: str, _device: str) -> Any:
        return {"effect": "yes"}

    async with asking(api, now=clock) as decisions:
        await followed(api, decisions)
        await decisions.ask(ACS, DEVICE)
        api.answer = lie
        clock.now += 300
        with pytest.raises(NoDecision):
            await decisions.ask(ACS, DEVICE)


def test_denials_go_first_when_there_is_no_room_then_the_oldest() -> None:
    cache = DecisionCache(size=3)
    allow, deny = read_decision(decided()), read_decision(decided(effect="deny"))
    for number in range(2):
        cache.put(prepare(f"acs{number}@partner.test"), DEVICE.bare, allow, 0)
    for number in range(10):
        cache.put(prepare(f"new{number}@partner.test"), DEVICE.bare, deny, 0)
    assert len(cache) == 3 and cache.evicted == 9
    assert cache.find(prepare("acs0@partner.test"), DEVICE.bare, 1)
    assert cache.find(prepare("new9@partner.test"), DEVICE.bare, 1)
    for number in range(2, 5):
        cache.put(prepare(f"acs{number}@partner.test"), DEVICE.bare, allow, 0)
    assert [bool(cache.find(prepare(f"acs{number}@partner.test"), DEVICE.bare, 1)) for number in range(5)] == [
        False, False, True, True, True,
    ]  # fmt: skip


def test_nothing_is_left_behind_by_what_is_forgotten() -> None:
    cache = DecisionCache()
    for scope in ("bare", "full"):
        cache.put(ACS, DEVICE.bare, read_decision(decided(scope=scope)), 0)
        cache.put(ACS, DEVICE.bare, read_decision(decided(scope=scope, effect="deny")), 0)
    assert len(cache) == 2 and cache.drop("acs@partner.test", DEVICE2.bare) == 0
    assert cache.drop("acs@partner.test", DEVICE.bare) == 2
    assert not (cache._entries or cache._of_requester or cache._of_device or cache._ages[True] or cache._ages[False])
    cache.put(ACS, DEVICE.bare, read_decision(decided()), 0)
    assert cache.find(ACS, DEVICE.bare, 3600) is None and len(cache) == 0
