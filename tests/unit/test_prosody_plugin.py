"""What mod_stanzagate keeps, whom it asks about, and what waits for that."""

from __future__ import annotations

import pytest

from tests.unit.prosodyparts import prosody_installed, run

pytestmark = prosody_installed

CHECKS = """
local now, sent, settled, denied, timers = 0, {}, {}, {}, {}
local cache, attached = decisions.new(1000), true
local counters = { asked = 0, discarded = 0 }
local checks = part "checks".new {
    cache = cache, turns = part "turns".new(), counters = counters, clock = function () return now end,
    send = function (id, requester, to)
        if attached then sent[#sent + 1] = { id, requester, to } end
        return attached
    end,
    settle = function (item, allowed, reason) settled[#settled + 1] = { item.name, reason or allowed } end,
    denied = function (check) denied[#denied + 1] = check.requester end,
    after = function (_, callback)
        local timer = { due = callback, stop = function (self) self.due = nil end }
        timers[#timers + 1] = timer
        return timer
    end,
}
local device = "cpe1@cpe.test"
local function hold(requester, name, size, of)
    of = of or device
    return checks:hold({ requester = requester, name = name, size = size or 100 },
        requester:match("^[^/]*"), of .. "/r", of)
end
local function hold_many(requester, count)
    for i = 1, count do hold(requester, requester .. i, 100, "d" .. i) end
end
local function left()
    local counted = next(checks.of_domain) or next(checks.of_requester)
    local idle = not (counted or next(checks.by_id) or checks.turns:take()) and checks.sent == 0
    return { checks.count, checks.waiting, checks.bytes, idle }
end
"""


def test_a_flood_of_strangers_pushes_out_only_strangers() -> None:
    found = run("""
        local cache = decisions.new(100)
        for i = 1, 60 do cache:put("a/" .. i, "a", "d" .. i, decision(true), 0) end
        for i = 1, 5000 do cache:put("s" .. i, "s" .. i, "d", decision(false), 0) end
        local kept, queued = 0, cache.denied.last - cache.denied.first + 1
        for i = 1, 60 do if cache:find("a/x", "a", "d" .. i, 1) then kept = kept + 1 end end
        told { cache.count, kept, cache.evicted, cache:find("s4961", "s4961", "d", 1) ~= nil, queued }
    """)
    assert found == [100, 60, 4960, True, 40]


def test_permissions_push_out_denials_and_then_the_oldest_of_themselves() -> None:
    found = run("""
        local cache = decisions.new(3)
        cache:put("a", "a", "d1", decision(true), 0)
        cache:put("s", "s", "d", decision(false), 0)
        for i = 2, 4 do cache:put("a", "a", "d" .. i, decision(true), 0) end
        local there = {}
        for i = 1, 4 do there[i] = cache:find("a", "a", "d" .. i, 1) ~= nil end
        told { cache.count, cache:find("s", "s", "d", 1) ~= nil, there }
    """)
    assert found == [3, False, [False, True, True, True]]


def test_what_is_decided_again_and_again_leaves_nothing_behind() -> None:
    found = run("""
        local cache = decisions.new(1000)
        for i = 1, 20000 do cache:put("a", "a", "d" .. i % 3, decision(i % 2 == 0), i) end
        local function length(queue) return queue.last - queue.first + 1 end
        told { cache.count, cache.evicted, length(cache.allowed) < 200, length(cache.denied) < 200 }
    """)
    assert found == [3, 0, True, True]


@pytest.mark.parametrize(
    ("flush", "kept"),
    [
        ("5", ["b/x d1"]),
        ("1", ["a d1", "a d2", "a/x d1", "b d1", "b/x d1"]),
        ("5, 'a'", ["b d1", "b/x d1"]),
        ("5, nil, 'd1'", ["a d2", "b/x d1"]),
        ("5, 'a', 'd1'", ["a d2", "b d1", "b/x d1"]),
    ],
)
def test_a_flush_drops_what_it_names_and_what_is_older(flush: str, kept: list[str]) -> None:
    found = run(f"""
        local cache = decisions.new(100)
        local one = {{ every_resource = false }}
        cache:put("a", "a", "d1", decision(true), 0)
        cache:put("a", "a", "d2", decision(false), 0)
        cache:put("a/x", "a", "d1", decision(true, one), 0)
        cache:put("b", "b", "d1", decision(true), 0)
        cache:put("b/x", "b", "d1", decision(true, {{ every_resource = false, epoch = 7 }}), 0)
        cache:flush({flush})
        local kept = {{}}
        for _, index in ipairs {{ cache.bare, cache.full }} do
            for requester, of in pairs(index) do
                for device in pairs(of) do kept[#kept + 1] = requester .. " " .. device end
            end
        end
        table.sort(kept)
        told {{ kept, cache.count == #kept }}
    """)
    assert found == [kept, True]


def test_a_pair_is_asked_once_and_the_queue_keeps_its_order_over_resources() -> None:
    found = run(
        CHECKS
        + """
        hold("a@x/1", "one"); hold("a@x/2", "two"); hold("a@x/1", "three")
        checks:answered(sent[1][1], decision(true, { every_resource = false }))
        local first = #settled
        checks:answered(sent[2][1], decision(false, { every_resource = false }))
        told { #sent, first, settled, left() }
    """
    )
    assert found == [2, 1, [["one", True], ["two", False], ["three", True]], [0, 0, 0, True]]


def test_an_outdated_decision_is_asked_for_three_times_more_and_then_given_up() -> None:
    found = run(
        CHECKS
        + """
        hold("a@x/1", "one")
        cache:flush(5)
        for i = 1, 4 do checks:answered(sent[i][1], decision(true)) end
        told { #sent, settled, counters.discarded, cache.count, left() }
    """
    )
    assert found == [4, [["one", "no-decision"]], 4, 0, [0, 0, 0, True]]


def test_when_nothing_is_decided_in_time_all_are_settled_by_what_is_usable() -> None:
    found = run(
        CHECKS
        + """
        cache:put("a@x/2", "a@x", device, decision(true, { every_resource = false }), now)
        now = 50
        hold("a@x/1", "one"); hold("a@x/2", "two")
        timers[1].due()
        local late = checks:answered(sent[1][1], decision(true))
        told { #sent, settled, late, cache.count, left() }
    """
    )
    assert found == [1, [["one", "no-decision"], ["two", True]], False, 1, [0, 0, 0, True]]


def test_those_who_have_waited_long_enough_are_not_asked_for_any_more() -> None:
    found = run(
        CHECKS
        + """
        hold("a@x/1", "one"); hold("a@x/2", "two")
        now = 5
        checks:answered(sent[1][1], decision(true, { every_resource = false }))
        told { #sent, settled, left() }
    """
    )
    assert found == [1, [["one", True], ["two", "no-decision"]], [0, 0, 0, True]]


def test_what_waits_is_bounded() -> None:
    found = run(
        CHECKS
        + """
        local refused = {}
        local function try(name, ...)
            local ok, reason = hold(...)
            if not ok then refused[name] = (refused[name] or 0) + 1; assert(reason == "overload") end
        end
        for i = 1, 300 do try("pair", "a@x/1", i) end
        for i = 1, 1500 do try("requester", "s@elsewhere", i, 100, "d" .. i) end
        for i = 1, 5000 do try("domain", "s" .. i .. "@strangers", i) end
        for i = 1, 30000 do try("all", "s" .. i % 200 .. "@y", i) end
        local waiting = checks.waiting
        attached = false
        checks:fail_all("not-attached")
        local after = left()
        told { refused, waiting, #settled, after, hold("a@x/1", 1) or false }
    """
    )
    waiting = 10_000
    refused = {"pair": 44, "requester": 476, "domain": 904, "all": 30_000 - (waiting - 256 - 1024 - 4096)}
    assert found == [refused, waiting, waiting, [0, 0, 0, True], False]


def test_the_bytes_that_wait_are_bounded() -> None:
    found = run(
        CHECKS
        + """
        local held = 0
        for i = 1, 100 do if hold("a@x/1", i, 1024 * 1024) then held = held + 1 end end
        checks:answered(sent[1][1], decision(true))
        told { held, #settled, left() }
    """
    )
    assert found == [16, 16, [0, 0, 0, True]]


def test_a_denial_that_nobody_waited_for_is_told() -> None:
    found = run(
        CHECKS
        + """
        checks:watch("a@x/1", "a@x", device .. "/r", device)
        checks:watch("a@x/2", "a@x", device .. "/r", device)
        checks:answered(sent[1][1], decision(false))
        checks:refresh("a@x/1", "a@x", device .. "/r", device)
        checks:answered(sent[2][1], decision(false))
        told { #sent, denied, #settled }
    """
    )
    assert found == [2, ["a@x/1"], 0]


def test_only_so_many_checks_are_sent_at_a_time() -> None:
    found = run(
        CHECKS
        + """
        hold_many("a@x/1", 300)
        local first = { #sent, checks.count, counters.asked }
        for i = 1, 100 do checks:answered(sent[i][1], decision(true)) end
        local then_sent, order = #sent, true
        for i = 101, 300 do checks:answered(sent[i][1], decision(true)) end
        for i = 1, 300 do order = order and sent[i][3] == "d" .. i .. "/r" and settled[i][1] == "a@x/1" .. i end
        told { first, then_sent, #sent, order, counters.asked, left() }
    """
    )
    assert found == [[128, 300, 128], 228, 300, True, 300, [0, 0, 0, True]]


def test_turns_go_round_among_requesters() -> None:
    found = run(
        CHECKS
        + """
        hold_many("many@x/1", 1000); hold_many("some@x/1", 3); hold_many("other@y/1", 1)
        checks:refresh("idle@z", "idle@z", "d1/r", "d1")
        for i = 1, 10 do checks:answered(sent[i][1], decision(true)) end
        local order = {}
        for i = 129, 138 do order[#order + 1] = sent[i][2]:match("^[^@]*") end
        told(order)
    """
    )
    assert found == ["many", "some", "other", "idle", "many", "some", "many", "some", "many", "many"]


def test_who_asks_for_another_resource_or_again_lines_up_like_the_others() -> None:
    found = run(
        CHECKS
        + """
        hold("a@x/1", "one"); hold("a@x/2", "two"); hold("b@x/1", "three", 100, "d0")
        hold_many("many@x/1", 500)
        local before = #sent
        checks:answered(sent[1][1], decision(true, { every_resource = false }))
        cache:flush(5)
        checks:answered(sent[2][1], decision(true))
        checks:answered(sent[3][1], decision(true, { epoch = 5 }))
        local order = {}
        for i = before + 1, #sent do order[#order + 1] = sent[i][2] end
        told { before, order, counters.discarded, checks.sent }
    """
    )
    assert found == [128, ["many@x/1", "a@x/2", "many@x/1"], 1, 128]


def test_what_was_not_sent_yet_is_settled_when_its_time_is_up() -> None:
    found = run(
        CHECKS
        + """
        cache:put("b@x", "b@x", "d1", decision(true), now)
        hold_many("a@x/1", 200); hold_many("b@x/1", 1); hold_many("b@x/1", 1)
        timers[200].due(); timers[201].due()
        local unsent = { #sent, settled }
        settled = {}
        timers[1].due()
        told { unsent, settled, #sent, sent[129][3], checks.count }
    """
    )
    unsent = [["a@x/1200", "no-decision"], ["b@x/11", True], ["b@x/11", True]]
    assert found == [[128, unsent], [["a@x/11", "no-decision"]], 129, "d129/r", 198]


def test_when_the_component_goes_all_are_settled_whether_sent_or_not() -> None:
    found = run(
        CHECKS
        + """
        hold_many("a@x/1", 300)
        checks:fail_all("not-attached")
        local reasons = {}
        for _, item in ipairs(settled) do reasons[item[2]] = (reasons[item[2]] or 0) + 1 end
        local after = left()
        hold_many("a@x/1", 1)
        told { #sent, reasons, after, checks:answered(sent[129][1], decision(true)) }
    """
    )
    assert found == [129, {"not-attached": 300}, [0, 0, 0, True], True]


def test_when_sending_fails_all_who_wait_for_their_turn_are_settled() -> None:
    found = run(
        CHECKS
        + """
        hold_many("a@x/1", 300)
        attached = false
        checks:answered(sent[1][1], decision(true))
        local count = #settled
        for i = 2, 128 do checks:answered(sent[i][1], decision(true)) end
        told { #sent, count, settled[2], left() }
    """
    )
    assert found == [128, 1 + 172, ["a@x/1129", "not-attached"], [0, 0, 0, True]]


OUTGOING = """
local st = require "util.stanza"
local filters = require "util.filters"
local payload, refused, open, noted = part "payload", {}, false, 0
local outgoing = part "outgoing".new {
    payload = payload, is_open = function () return open end, note = function () noted = noted + 1 end,
    refuse = function (stanza, reason) refused[#refused + 1] = { stanza.name, reason } end,
}
local xmlns = "urn:broadband-forum-org:cwmp:xmppConnReq-1-0"
local function with_request(stanza)
    return stanza:tag("connectionRequest", { xmlns = xmlns })
        :text_tag("username", "u", { xmlns = xmlns }):text_tag("password", "p", { xmlns = xmlns }):reset()
end
local function request() return with_request(st.iq { type = "get", id = "1", from = "a@x/1", to = "d@y/1" }) end
local session = {}
local function sent(stanza) return session.filter("stanzas/out", stanza) == stanza end
outgoing:guard(session)
"""


def test_only_what_the_guard_has_let_through_leaves_with_a_request_in_it() -> None:
    found = run(
        OUTGOING
        + """
        local set, wrapped = request(), st.iq { type = "result", id = "1", from = "a@x", to = "d@y/1" }
        set.attr.type = "set"
        with_request(wrapped:tag("vCard", { xmlns = "vcard-temp" }))
        local kept = with_request(st.message { from = "a@x", to = "d@y" })
        local plain = st.message { to = "d@y" }:text_tag("body", "connectionRequest")
        told { sent(request()), sent(plain), sent(st.stanza("r")), sent(set), sent(wrapped), sent(kept),
            sent(request():tag("more"):reset()), refused }
    """
    )
    refused = [["iq", "answer"], ["iq", "answer"], ["message", "answer"], ["iq", "answer"]]
    assert found == [True, True, True, False, False, False, False, refused]


def test_what_is_dropped_on_its_way_out_is_not_counted_by_stream_management() -> None:
    found = run(
        OUTGOING
        + """
        local counted = 0
        filters.add_filter(session, "stanzas/out", function (stanza) counted = counted + 1 return stanza end, -999)
        outgoing:guard(session)
        sent(request())
        sent(with_request(st.message {}))
        outgoing:finish()
        told { counted, sent(with_request(st.message {})), #refused }
    """
    )
    assert found == [1, True, 1]


def test_everything_leaves_where_nothing_is_refused_and_nothing_when_the_guard_fails() -> None:
    found = run(
        OUTGOING
        + """
        open = true
        local opened = sent(with_request(st.message {}))
        local broken = { name = "message", attr = {}, { name = "body" } }
        local passed = sent(broken)
        open = false
        told { opened, passed, #refused, sent(broken), refused, noted }
    """
    )
    assert found == [True, True, 0, False, [["message", "crashed"]], 1]
