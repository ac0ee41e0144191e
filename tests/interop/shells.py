"""The servers' own shells, as an administrator of a sandbox uses them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from tests.interop.conftest import Sandbox

NODE = "ejabberd@localhost"
PATIENCE = 60.0


def prosody(sandbox: Sandbox, line: str) -> str:
    """Enter a line into ``prosodyctl shell``; what it prints. With ``> `` before it, any Lua in the server."""
    return _run("prosodyctl", "--config", str(sandbox.folder / "prosody" / "prosody.cfg.lua"), "shell", line)


def ejabberdctl(sandbox: Sandbox, *arguments: str) -> str:
    """Run a command of ejabberd; what it prints."""
    return _run(str(sandbox.folder / "ejabberd" / "ejabberdctl"), *arguments)


def erlang(sandbox: Sandbox, body: str) -> str:
    """Evaluate Erlang expressions in ejabberd, without the last full stop; the value as it is printed."""
    folder = sandbox.folder / "ejabberd"
    port = re.search(r"-erl_epmd_port (\d+)", (folder / "ejabberdctl").read_text())
    assert port is not None
    code = f"io:format(\"~0tp\", [rpc:call('{NODE}', erlang, apply, [fun() -> {body} end, []])]), halt()."
    return _run(
        "erl", "-sname", f"test-{os.getpid()}@localhost", "-hidden", "-noinput", "-dist_listen", "false",
        "-start_epmd", "false", "-erl_epmd_port", port[1], "-eval", code, home=folder,
    )  # fmt: skip


def plugin_status(sandbox: Sandbox, host: str) -> str:
    """What the plugin tells the administrator."""
    if sandbox.kind == "prosody":
        return prosody(sandbox, f'stanzagate:status("{host}")')
    return ejabberdctl(sandbox, "stanzagate_status", host)


def bypass(sandbox: Sandbox, host: str, minutes: int) -> str:
    """Open the guard for some minutes, or close it with 0."""
    if sandbox.kind == "prosody":
        return prosody(sandbox, f'stanzagate:bypass("{host}", {minutes})')
    return ejabberdctl(sandbox, "stanzagate_bypass", host, str(minutes))


@contextlib.asynccontextmanager
async def bypassed(sandbox: Sandbox, host: str) -> AsyncIterator[None]:
    """The guard is open for as long as the block lasts."""
    await asyncio.to_thread(bypass, sandbox, host, 5)
    try:
        yield
    finally:
        await asyncio.to_thread(bypass, sandbox, host, 0)


def reload_plugin(sandbox: Sandbox, host: str, module: str = "stanzagate") -> None:
    """Unload the plugin and load it again."""
    if sandbox.kind == "prosody":
        prosody(sandbox, f'module:reload("{module}", "{host}")')
    else:
        erlang(sandbox, f'[gen_mod:Do(<<"{host}">>, mod_{module}) || Do <- [stop_module_keep_config, start_module]]')


def load_plugin(sandbox: Sandbox, host: str, module: str = "stanzagate") -> None:
    """Have a host be guarded, by what its configuration says."""
    if sandbox.kind == "prosody":
        prosody(sandbox, f'module:load("{module}", "{host}")')
    else:
        erlang(sandbox, f'gen_mod:start_module(<<"{host}">>, mod_{module})')


def unload_plugin(sandbox: Sandbox, host: str, module: str = "stanzagate") -> None:
    """Have a host be as it was without us."""
    if sandbox.kind == "prosody":
        prosody(sandbox, f'module:unload("{module}", "{host}")')
    else:
        erlang(sandbox, f'gen_mod:stop_module_keep_config(<<"{host}">>, mod_{module})')


@contextlib.contextmanager
def reconfigured(sandbox: Sandbox, *changes: tuple[str, str]) -> Iterator[None]:
    """Pieces of the server's configuration are others for as long as the block lasts, and the server has read it.

    Prosody's modules have to be reloaded after that.

    :param changes: what stands there, and what is to stand there.
    :raises AssertionError: the server does not take it.
    """
    file = {"prosody": "prosody.cfg.lua", "ejabberd": "ejabberd.yml"}[sandbox.kind]
    config = sandbox.folder / sandbox.kind / file
    before = text = config.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    try:
        config.write_text(text)
        _read_configuration(sandbox)
        yield
    finally:
        config.write_text(before)
        _read_configuration(sandbox)


def _read_configuration(sandbox: Sandbox) -> None:
    if sandbox.kind == "prosody":
        prosody(sandbox, "config:reload()")
    else:
        ejabberdctl(sandbox, "reload_config")


def server_log(sandbox: Sandbox) -> str:
    """What the server has logged so far."""
    return (sandbox.folder / "log" / ("server.log" if sandbox.kind == "prosody" else "ejabberd.log")).read_text()


def _run(*arguments: str, home: Path | None = None) -> str:
    environment = os.environ | ({"HOME": str(home)} if home else {})
    done = subprocess.run(
        arguments, capture_output=True, text=True, timeout=PATIENCE, env=environment, stdin=subprocess.DEVNULL,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
