"""A sandbox for the time of the demonstration, and the command line on it."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from component.base.errors import StanzagateError

_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 30.0
_POLL_S = 0.05
_SHORT_PATH = 50  # a unix socket's path has at most 107 bytes, and the folder's name and the socket's come on top
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)
INFORM = "6 CONNECTION REQUEST"


@dataclass(frozen=True)
class Local:
    """A running sandbox: its folder and the content of its ``sandbox.json``."""

    folder: Path
    facts: dict[str, Any]

    async def command(self, *arguments: str, code: int = 0) -> str:
        """Run ``stanzagate ARGUMENTS --dir DIR`` and return what it prints.

        :raises StanzagateError: it ended with another exit code than `code`; the message is what it said.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "stanzagate", *arguments, "--dir", str(self.folder),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await process.communicate()
        if process.returncode != code:
            said = (err or out).decode(errors="replace").strip()
            raise StanzagateError(f"`stanzagate {' '.join(arguments)}` ended with {process.returncode}: {said}")
        return out.decode()

    async def informs(self, device: str, *, after: int = 0, count: int = 0) -> list[dict[str, Any]]:
        """The Informs with event ``6 CONNECTION REQUEST`` that the ACS side recorded of a device, oldest first.

        :param after: only those with a higher number.
        :param count: wait up to 30 s (TR-069 Annex K.2.3) until there are so many.
        """
        ready = json.loads(_read(self.folder / "devices-ready.json"))
        query: dict[str, str | int] = {"device": device, "after": after, "count": count, "timeout": 30}
        async with httpx.AsyncClient(timeout=40.0, trust_env=False) as client:
            answer = await client.get(ready["informs"], params=query)
        return [inform for inform in answer.json() if INFORM in inform["events"]]


@asynccontextmanager
async def sandbox(kind: str) -> AsyncIterator[Local]:
    """Bring up a sandbox with devices in a temporary folder; stop it and remove the folder afterwards.

    :raises StanzagateError: it does not come up; the message is what it said.
    """
    base = Path(tempfile.gettempdir())
    folder = Path(tempfile.mkdtemp(prefix="stanzagate-demo-", dir=base if len(str(base)) < _SHORT_PATH else "/tmp"))  # noqa: S108
    output = folder / "sandbox.out"
    try:
        process = await _start(kind, folder, output)
        try:
            yield Local(folder, await _until_up(process, folder / "sandbox.json", output))
        finally:
            await _stop(process)
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


async def _start(kind: str, folder: Path, output: Path) -> asyncio.subprocess.Process:
    parent = os.getpid()

    def in_child() -> None:
        # Should the demonstration be killed, the sandbox ends in good order.
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    with output.open("wb") as file:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "stanzagate", "sandbox", "up",
            "--dir", str(folder), "--server", kind, "--with-cpes",
            stdin=asyncio.subprocess.DEVNULL, stdout=file, stderr=file,
            start_new_session=True,  # Ctrl-C comes to the demonstration, which then stops the sandbox
            preexec_fn=in_child,
        )  # fmt: skip


async def _until_up(process: asyncio.subprocess.Process, report: Path, output: Path) -> dict[str, Any]:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not (found := _read(report)):
        if process.returncode is not None or time.monotonic() > deadline:
            raise StanzagateError(f"The sandbox did not come up: {_read(output).strip() or 'it said nothing'}")
        await asyncio.sleep(_POLL_S)
    facts: dict[str, Any] = json.loads(found)
    return facts


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


async def _stop(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), _STOP_TIMEOUT_S)
    except TimeoutError:
        with suppress(ProcessLookupError):
            process.kill()  # its parts end with it
        await process.wait()
