"""The processes of a sandbox: started, watched and stopped together.

Each part is the leader of a session of its own, so that a Ctrl-C on the terminal reaches the supervisor alone, which
then stops the parts in order. Should the supervisor be killed outright, the kernel kills its parts
(PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from component.base.errors import StanzagateError
from stanzagate.sandbox.server import Command

T = TypeVar("T")

PR_SET_PDEATHSIG = 1  # prctl(2)
STOP_PATIENCE_S = 20.0  # `serve` answers what is outstanding first: up to its answer_timeout
PROBE_INTERVAL_S = 0.05
_TAIL_LINES = 5
_TAIL_BYTES = 16_384

_libc = ctypes.CDLL(None, use_errno=True)


class PartDied(StanzagateError):
    """A part ended although nobody stopped it."""


class NotReady(StanzagateError):
    """A part runs but does not answer as it should."""


@dataclass
class Part:
    """A running process.

    :ivar stopping: its end is expected.
    """

    name: str
    process: asyncio.subprocess.Process
    log: Path
    stopping: bool = field(default=False)

    async def watch(self) -> None:
        """Wait for the end of the process.

        :raises PartDied: when nobody wanted it to end; the message names the part and its log.
        """
        code = await self.process.wait()
        if not self.stopping:
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            raise PartDied(
                f"The part {self.name!r} of the sandbox {how}.", hint=f"Its log: {self.log}", details=tail(self.log)
            )

    async def stop(self) -> None:
        """Ask the process to end, and kill it and its children when it does not."""
        self.stopping = True
        with contextlib.suppress(ProcessLookupError):
            if self.process.returncode is None:
                self.process.terminate()
        try:
            await asyncio.wait_for(self.process.wait(), STOP_PATIENCE_S)
        except TimeoutError:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()


async def start(name: str, command: Command, log: Path) -> Part:
    """Start a part; what it prints goes to `log`.

    :raises StanzagateError: when the program cannot be started.
    """
    supervisor = os.getpid()

    def in_child() -> None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:  # it died between fork and prctl
            os._exit(1)

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        process = await asyncio.create_subprocess_exec(
            *command.arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            cwd=command.folder,
            env=dict(command.environment),
            start_new_session=True,
            preexec_fn=in_child,  # two system calls; the library was loaded before the fork
        )
    except OSError as error:
        raise StanzagateError(f"The part {name!r} cannot be started: {error.strerror}.") from None
    finally:
        os.close(descriptor)
    return Part(name, process, log)


async def until_ready(name: str, probe: Callable[[], Awaitable[T]], log: Path, timeout: float) -> T:
    """Try `probe` until it does not raise, and return what it returned.

    :param timeout: seconds.
    :raises NotReady: it still raised after that; the message says why, and where the log of the part is.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    while True:
        try:
            async with asyncio.timeout_at(deadline):
                return await probe()
        except (StanzagateError, OSError, TimeoutError) as error:
            if loop.time() + PROBE_INTERVAL_S >= deadline:
                raise NotReady(
                    f"The part {name!r} of the sandbox is not ready after {timeout:g} s: {error or 'no answer'}",
                    hint=f"Its log: {log}",
                    details=tail(log),
                ) from None
        await asyncio.sleep(PROBE_INTERVAL_S)


def tail(log: Path) -> tuple[str, ...]:
    """The last lines of a log, for an error message."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ()
    return tuple(line for line in lines if line.strip())[-_TAIL_LINES:]
