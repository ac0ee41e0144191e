"""The parts of the grid's plugins for Prosody that stand alone: the ledger, and the requests that are handed on."""

from __future__ import annotations

import pytest

from stanzagate.render import deploy_folder
from tests.unit.prosodyparts import prosody_installed, run

pytestmark = prosody_installed

LEDGER = """
local library = dofile(grid .. "/ledger.lib.lua")
local files = {}
local function store(name)
    return {
        get = function (_, key) local kept = files[name .. (key or "")]; return kept and kept() end;
        set = function (_, key, value)
            if files.broken then return nil, "disk full" end
            local text = require "util.serialization".serialize(value)
            files[name .. (key or "")] = load("return " .. text)
            return true
        end;
    }
end
local now = 1000
local function opened()
    return library.new { nodes = store "n", certificates = store "c", clock = function () return now end }
end
local ledger = opened()
"""
DELEGATION = """
module = nil
local stanza = require "util.stanza"
local timers, sent, told = {}, {}, {}
local library = dofile(broker .. "/delegation.lib.lua")
local attached = true
local waiting = library.new {
    host = "b.test", component = "c.test",
    link = { is_attached = function () return attached end, send = function (_, iq) sent[#sent + 1] = iq end },
    deliver = function (iq) told[#told + 1] = iq.attr.id .. " " .. iq.attr.type end,
    fail = function (iq, reason) told[#told + 1] = iq.attr.id .. " " .. reason end,
    after = function (seconds, callback)
        local timer = { seconds = seconds, run = callback, stop = function (self) self.stopped = true end }
        timers[#timers + 1] = timer
        return timer
    end,
}
local function ask(id, from)
    waiting:ask(stanza.iq { type = "get", id = id, from = from or "a@x.test/r", to = "b.test" })
end
local function answer(number)
    local inner = stanza.iq { type = "result", id = "i", xmlns = "jabber:client" }
    return waiting:answered(stanza.iq { type = "result", id = sent[number].attr.id }
        :tag("delegation", { xmlns = "urn:xmpp:delegation:1" }):tag("forwarded", { xmlns = "urn:xmpp:forward:0" })
        :add_child(inner):reset())
end
"""


def of_grid(body: str, frame: str) -> object:
    """What a piece of Lua tells, with one of the frames above."""
    folder = deploy_folder() / "prosody"
    names = f'local grid, broker = "{folder}/mod_stanzagate_grid", "{folder}/mod_stanzagate_broker"\n'
    return run(names + frame + body)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("ledger:set_state('a', 'active', 5)", [True, True]),
        ("ledger:set_state('a', 'disabled', 5)", [True, False]),
        ("ledger:set_state('a', 'disabled', 4)", [False, True]),
    ],
)
def test_an_order_that_is_older_changes_nothing_and_an_equal_one_is_taken(order: str, expected: list[bool]) -> None:
    body = f"ledger:set_state('a', 'active', 5); local taken = {order}; told {{ taken, opened():is_active('a') }}"
    assert of_grid(body, LEDGER) == expected


def test_everything_is_read_again_from_the_store() -> None:
    body = """
    ledger:set_state("a", "active", 2); ledger:set_revoked("ff", true, 3); ledger:set_lost("a", "t", true, 4)
    ledger:reach(9); ledger:reach(7)
    local again = opened()
    local losses = again:losses("a")
    told { again.epoch, again:is_active("a"), again:is_revoked("ff"), again:is_revoked("aa"), losses.t.epoch,
           losses.t.at }
    """
    assert of_grid(body, LEDGER) == [9, True, True, False, 4, 1000]


@pytest.mark.parametrize(
    ("certificates", "fingerprint", "stranger"),
    [
        ("{ aa = true, bb = true }", "'aa'", False), ("{ aa = true }", "'bb'", True), ("{ aa = true }", "nil", False),
        ("nil", "'aa'", False), ("{}", "'aa'", True),
    ],
)  # fmt: skip
def test_who_comes_by_a_certificate_that_is_not_bound_is_a_stranger(
    certificates: str, fingerprint: str, stranger: bool
) -> None:
    body = f"""
    ledger:set_state("a", "active", 5, {certificates})
    told {{ ledger:is_stranger("a", {fingerprint}), opened():is_stranger("a", {fingerprint}),
            ledger:is_stranger("b", {fingerprint}) }}
    """
    assert of_grid(body, LEDGER) == [stranger, stranger, False]


def test_each_order_names_all_certificates_of_a_node_and_a_loss_none() -> None:
    body = """
    ledger:set_state("a", "active", 5, { aa = true })
    ledger:set_lost("a", "t", true, 6); ledger:set_state("a", "active", 4, { bb = true })
    local kept = ledger:is_stranger("a", "bb")
    ledger:set_state("a", "active", 7)
    told { kept, opened():is_stranger("a", "bb") }
    """
    assert of_grid(body, LEDGER) == [True, False]


REACH = (
    LEDGER
    + """
local sessions = {}
prosody = { hosts = {}, full_sessions = sessions }
local asked = 0
local reach = dofile(grid .. "/reach.lib.lua").new {
    host = "g.test", component = "c.test", broker = "b.test", ledger = ledger, is_lost = library.is_lost,
    events = { any = function () return false end }, is_heavy = function () return false end,
    fingerprint_of = function (session) asked = asked + 1; return session.conn and session.conn.fingerprint end,
}
ledger:set_state("a", "active", 5, { aa = true }); ledger:set_state("b", "active", 6)
local function session(fingerprint)
    local made = { type = "c2s", username = "a", full_jid = "a@g.test/r", conn = { fingerprint = fingerprint } }
    sessions[made.full_jid] = made
    return made
end
local stanza = require "util.stanza"
local function publish(to)
    return stanza.iq({ type = "set", id = "i", to = to })
        :tag("pubsub", { xmlns = "http://jabber.org/protocol/pubsub" }):tag("publish", { node = "t" }):reset()
end
local function said(kind, from) return stanza.stanza(kind, { from = from, to = "a@g.test/r" }) end
"""
)


@pytest.mark.parametrize(("own", "fingerprint"), [(True, "'aa'"), (True, "nil"), (False, "'bb'")])
def test_what_a_stranger_may_send_and_is_sent(own: bool, fingerprint: str) -> None:
    body = f"""
    local s, ask = session({fingerprint}), stanza.iq {{ type = "get", id = "i" }}
    local function try(to) ask.attr.to = to; return reach:sent(s, ask) == nil end
    local function heard(kind, from) return reach:leaving(s, said(kind, from)) == nil end
    told {{
        {{ try "c.test", try "b.test", try "g.test", heard("message", "c.test"), heard("iq", "b.test"),
          heard("iq", "g.test") }},
        {{ try(nil), try "a@g.test", try "b@g.test", reach:sent(s, publish "b.test") == nil,
          reach:sent(s, stanza.presence()) == nil, heard("message", "b.test"), heard("iq", "a@g.test"),
          heard("message", "b@g.test/r"), reach:departing(prosody.hosts, said("presence", "a@g.test/r")) == nil }},
    }}
    """
    assert of_grid(body, REACH) == [[True] * 6, [own] * 9]


def test_the_certificate_is_read_once_for_each_connection() -> None:
    """A stream that is resumed has another one; while it waits for that, it is who it was."""
    body = """
    local s = session("aa")
    local found = {}
    local function look() found[#found + 1] = reach:is_stranger(s); found[#found + 1] = asked end
    look(); look()
    s.conn = nil; look()
    s.conn = { fingerprint = "bb" }; look(); look()
    told(found)
    """
    assert of_grid(body, REACH) == [False, 1, False, 1, False, 1, True, 2, True, 2]


def test_a_reset_forgets_all_with_one_write() -> None:
    body = """
    ledger:set_state("a", "active", 50); ledger:set_revoked("ff", true, 60); ledger:reach(60)
    ledger:reset()
    local again = opened()
    told { ledger:is_active("a"), ledger:is_revoked("ff"), again:is_active("a"), again:is_revoked("ff"), again.epoch,
           again:set_state("a", "active", 1), again:is_active("a") }
    """
    assert of_grid(body, LEDGER) == [False, False, False, False, 0, True, True]


def test_an_order_that_cannot_be_stored_is_an_error_and_in_force() -> None:
    body = """
    ledger:set_state("a", "active", 5); files.broken = true
    local ok, problem = pcall(ledger.set_state, ledger, "a", "disabled", 6)
    told { ok, problem, ledger:is_active("a") }
    """
    assert of_grid(body, LEDGER) == [False, "disk full", False]


@pytest.mark.parametrize(
    ("node", "stamp", "lost"),
    [
        ("gone", "nil", True), ("gone/sub", "nil", True), ("gone/sub/sub", "nil", True), ("gonex", "nil", False),
        ("other", "nil", False), ("other/gone", "nil", False), ("back", "nil", False), ("back", "999", True),
        ("back", "1000", True), ("back", "1001", False), ("back/sub", "1000", True), ("deep/er", "nil", True),
        ("deep", "nil", False), ("deep/er/est", "nil", True),
    ],
)  # fmt: skip
def test_which_events_are_lost(node: str, stamp: str, lost: bool) -> None:
    body = f"""
    ledger:set_lost("a", "gone", true, 1); ledger:set_lost("a", "deep/er", true, 1)
    ledger:set_lost("a", "back", true, 1); now = 5000; ledger:set_lost("a", "back", false, 2)
    told(library.is_lost(ledger:losses("a"), "{node}", {stamp}))
    """
    assert of_grid(body, LEDGER) is lost


def test_each_request_has_one_answer() -> None:
    body = """
    for _, id in ipairs { "1", "2", "3" } do ask(id) end
    local found = { answer(2), answer(2) }
    timers[1].run(); timers[2].run()
    found[3] = answer(1)
    attached = false; waiting:fail_all(); ask("4")
    print(require "util.json".encode { told, found, waiting.count, timers[1].seconds, timers[2].stopped })
    """
    expected = [["2 result", "1 late", "3 away", "4 away"], [True, False, False], 0, 15, True]
    assert of_grid(body, DELEGATION) == expected


def test_so_many_wait_and_no_more() -> None:
    body = """
    for number = 1, 10001 do ask(tostring(number), "a" .. number .. "@x.test/r") end
    local before = waiting.count
    answer(1); ask("again")
    print(require "util.json".encode { before, waiting.count, told })
    """
    assert of_grid(body, DELEGATION) == [10000, 10000, ["10001 overload", "1 result"]]


def test_of_each_asker_so_many_wait_and_no_more() -> None:
    body = """
    for number = 1, 101 do ask(tostring(number), "a@x.test/" .. number) end
    ask("b", "b@x.test/r"); ask("server", "x.test")
    answer(1); timers[2].run()
    ask("again"); ask("again too"); ask("no more")
    local before = waiting.count
    attached = false; waiting:fail_all()
    print(require "util.json".encode { before, told[1], told[2], told[3], told[4], next(waiting.askers) == nil })
    """
    assert of_grid(body, DELEGATION) == [102, "101 overload", "1 result", "2 late", "no more overload", True]
