"""The parts of mod_stanzagate that stand alone, run by Prosody's own interpreter with Prosody's libraries."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from stanzagate.render import deploy_folder

LUA = shutil.which("lua5.4")
PROSODY = Path("/usr/lib/prosody")

prosody_installed = pytest.mark.skipif(LUA is None or not PROSODY.is_dir(), reason="Prosody is not installed")

FRAME = """
package.path, package.cpath = "{prosody}/?.lua;" .. package.path, "{prosody}/?.so;" .. package.cpath
local function part(name) return dofile("{module}/" .. name .. ".lib.lua") end
local function told(value) print(require "util.json".encode(value)) end
local decisions = part "decisions"
local function decision(allow, change)
    local made = {{ allow = allow, every_resource = true, epoch = 1, ttl = 10, stale = 100 }}
    for name, value in pairs(change or {{}}) do made[name] = value end
    return made
end
"""


def run(body: str) -> Any:
    """What a piece of Lua tells with ``told``."""
    assert LUA is not None
    frame = FRAME.format(prosody=PROSODY, module=deploy_folder() / "prosody" / "mod_stanzagate")
    done = subprocess.run([LUA, "-"], input=frame + body, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
