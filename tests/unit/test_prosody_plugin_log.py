"""What mod_stanzagate says: to the log, and when the mode changes."""

from __future__ import annotations

from tests.unit.prosodyparts import prosody_installed, run

pytestmark = prosody_installed

# The parts that log or set timers find these in place of Prosody's own.
MODULE = """
local now, log, timers = 0, {}, {}
package.loaded["util.time"] = { monotonic = function () return now end }
module = {
    log = function (_, level, text, ...) log[#log + 1] = level .. " " .. text:format(...) end,
    add_timer = function (_, _, callback)
        timers[#timers + 1] = callback
        return { stop = function () end }
    end,
}
"""


def test_what_strangers_cause_is_logged_ten_times_a_minute_of_each_kind() -> None:
    found = run(
        MODULE
        + """
        local note = part "journal".note
        for i = 1, 13 do note("info", "forbidden", "Refused: %d", i) end
        note("warn", "forged", "Forged")
        local first_minute = #log
        now = 60
        note("info", "forbidden", "Refused: %d", 14)
        told { first_minute, log[10], log[11], log[12], log[13], #log }
    """
    )
    assert found == [
        11, "info Refused: 10", "warn Forged", "info (3 more like this: forbidden)", "info Refused: 14", 13,
    ]  # fmt: skip


def test_a_bypass_says_when_it_begins_and_ends() -> None:
    found = run(
        MODULE
        + """
        local said = {}
        local bypass = part "bypass".new(
            function () said[#said + 1] = "begun" end, function () said[#said + 1] = "ended" end)
        assert(not bypass:set(1.5) and not bypass:set(-1) and not bypass:set(1441) and not bypass:set(nil))
        bypass:set(0)
        bypass:set(2)
        local again, left = timers[1](), bypass.left
        timers[1]()
        bypass:set(5)
        bypass:set(0)
        bypass:set(5)
        bypass:finish("the module is unloaded")
        told { said, again, left, bypass.left }
    """
    )
    assert found == [["begun", "ended", "begun", "ended", "begun"], 60, 1, 0]
