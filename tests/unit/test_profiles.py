"""JIDs are prepared as both servers prepare them: compared with their own libraries, code point by code point."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from component.base.jid import JidError, prepare
from component.base.profiles import ProfileError, nameprep, nodeprep, resourceprep

PROFILES: dict[str, Callable[[str], str]] = {
    "nodeprep": nodeprep, "nameprep": nameprep, "resourceprep": resourceprep,
}  # fmt: skip
CODE_POINTS = [
    code
    for code in range(0x80, 0x20000)
    if not (0x3400 < code < 0x4DB5 or 0x4E00 < code < 0x9FA5 or 0xAC00 < code < 0xD7A3 or 0xD800 <= code <= 0xDFFF)
]
"""All but the inside of the long ranges that no profile touches."""

PROSODY = """
package.path = "/usr/lib/prosody/?.lua;" .. package.path
package.cpath = "/usr/lib/prosody/?.so;" .. package.cpath
local stringprep = require "util.encodings".stringprep
for line in io.lines() do
    io.write(stringprep[arg[1]](line) or "", "\\n")
end
"""
EJABBERD = """
ok = stringprep:start(),
{ok, Text} = file:read_file("@path@"),
Prepared = [case stringprep:@profile@(Line) of error -> <<>>; Found -> Found end
            || Line <- binary:split(Text, <<10>>, [global, trim])],
ok = file:write_file("@path@", lists:join(<<10>>, Prepared)),
halt().
"""


TEXT = "".join(f"x{chr(code)}y\n" for code in CODE_POINTS)


def ours(profile: str, code: int) -> str:
    try:
        return PROFILES[profile](f"x{chr(code)}y")
    except ProfileError:
        return ""


@pytest.mark.parametrize("profile", PROFILES)
def test_preparation_is_that_of_prosody(profile: str, tmp_path: Path) -> None:
    script = tmp_path / "prepare.lua"
    script.write_text(PROSODY)
    done = subprocess.run(
        ["lua5.4", str(script), profile], input=TEXT.encode(), capture_output=True, timeout=60, check=True
    )
    theirs = dict(zip(CODE_POINTS, done.stdout.decode().removesuffix("\n").split("\n"), strict=True))
    # What one refuses reaches nobody; what both take must be the same.
    different = {hex(code) for code, text in theirs.items() if text and ours(profile, code) not in ("", text)}
    assert different == set()
    refused = {
        hex(code) for code, text in theirs.items() if text and not ours(profile, code) and set(text).isdisjoint("/@")
    }
    assert refused <= {"0x33c6"}  # others would split the address anew


@pytest.mark.parametrize("profile", PROFILES)
def test_preparation_is_that_of_ejabberd(profile: str, tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_bytes(TEXT.encode())
    code = EJABBERD.replace("@path@", str(file)).replace("@profile@", profile)
    subprocess.run(["erl", "-noinput", "-eval", code], cwd=tmp_path, stdin=subprocess.DEVNULL, timeout=60, check=True)
    theirs = dict(zip(CODE_POINTS, file.read_bytes().decode().split("\n"), strict=True))
    assert {hex(code) for code, text in theirs.items() if text and ours(profile, code) not in ("", text)} == set()


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("\uff21CS@acs.test/\uff32", "acs@acs.test/R"),
        ("stra\u00dfe@acs.test", "strasse@acs.test"),
        ("ac\u00ads@acs.test", "acs@acs.test"),
        ("\u1d43cs@acs.test", "\u1d43cs@acs.test"),
        ("\u1e9e@acs.test", "\u1e9e@acs.test"),
        ("acs@\u1d43cs.test", "acs@\u1d43cs.test"),
        ("acs@acs.test/\u1d43", "acs@acs.test/\u1d43"),
    ],
)
def test_look_alikes_are_equal_only_where_the_servers_say_so(text: str, full: str) -> None:
    assert prepare(text).full == full


@pytest.mark.parametrize(
    "text",
    [
        "\u00ad@acs.test", "acs@\u00ad", "acs@acs.test/\u00ad", "\u00e9@", "@\u00e9", "\u00e9@a@b", "\u00e9/",
        "a\uff20b@c", "a@b\uff20c", "a@b\uff0fc", "a@b/\ue000", "\ud800@b", "a\u0627@b", "\u00e9" * 512 + "@b",
        "a\u33c6@b", "a@b\u3002c",
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(JidError):
        prepare(text)
