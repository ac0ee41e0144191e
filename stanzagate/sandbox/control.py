"""Starting and stopping a sandbox from outside: who runs in a folder, `up` in the fore- and background, `down`."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from component.base.errors import Conflict, InputError, StanzagateError, Unreachable
from component.base.files import write_atomic
from stanzagate.sandbox.parts import tail
from stanzagate.sandbox.plan import Layout
from stanzagate.sandbox.programs import python_command, python_environment
from stanzagate.sandbox.up import Options, Parts, run

DOWN_PATIENCE_S = 45.0
_KILL_PATIENCE_S = 10.0
_DEAD = ("Z", "X")  # states of a process that has ended and that its parent has not looked at
_HINT = "Start one: stanzagate sandbox up --dir DIR"


@dataclass(frozen=True)
class Identity:
    """A process, told from a later one that got the same number.

    :ivar started: clock ticks after boot (field 22 of ``/proc/PID/stat``).
    :ivar boot: which boot of the machine that was.
    """

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Identity | None:
        """The process with that number now; none when there is none that still runs."""
        try:
            text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        except OSError:
            return None
        # The program's name is in parentheses and may contain anything; field 3 follows the last one.
        fields = text.rpartition(")")[2].split()
        return None if fields[0] in _DEAD else cls(pid, int(fields[19]), boot)


@contextlib.contextmanager
def claimed(layout: Layout) -> Iterator[None]:
    """Hold a folder for one supervisor.

    :raises Conflict: another one runs there.
    :raises InputError: the folder cannot be written.
    """
    try:
        layout.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputError(f"{layout.folder} cannot be used: {error.strerror}.", hint="Choose another --dir.") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                f"A sandbox runs in {layout.folder} already.",
                hint=f"Stop it first: stanzagate sandbox down --dir {layout.folder}",
            ) from None
        identity = Identity.of(os.getpid())
        write_atomic(layout.pid_file, json.dumps(asdict(identity) if identity else {}).encode())
        try:
            yield
        finally:
            layout.pid_file.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def up(options: Options, ready: Callable[[], None]) -> None:
    """Run a sandbox in this process until it is told to stop.

    :param ready: called when everything answers; what it raises stops the sandbox.
    :raises StanzagateError: it could not start, or a part ended; nothing is left running.
    """
    with claimed(Layout(options.folder)):
        asyncio.run(run(options, ready))


def up_detached(options: Options) -> None:
    """Start a sandbox that outlives this process, and return when it is up.

    The supervisor has a session of its own and holds none of the caller's files open.

    :raises StanzagateError: it could not start; nothing is left running.
    """
    layout = Layout(options.folder)
    try:
        layout.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
        log = os.open(layout.log("supervisor"), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputError(f"{layout.folder} cannot be used: {error.strerror}.", hint="Choose another --dir.") from None
    reading, writing = os.pipe()
    plugin = options.plugin
    arguments = (
        "--dir", str(layout.folder), "--server", str(options.kind), "--status", str(writing),
        "--mode", str(plugin.mode), "--guard", str(plugin.guard), "--cache-size", str(plugin.cache_size),
    )  # fmt: skip
    parts = [item for part in sorted(options.parts) for item in ("--part", str(part))]
    parts += [item for partner in options.partners for item in ("--partner", partner)]
    try:
        process = subprocess.Popen(
            python_command("stanzagate.sandbox", *arguments, *parts), env=python_environment(), cwd=layout.folder,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, pass_fds=(writing,),
        )  # fmt: skip
    finally:
        os.close(writing)
        os.close(log)
    with os.fdopen(reading, encoding="utf-8") as status:
        try:
            _understand(status.read(), layout)
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise


def down(folder: Path) -> None:
    """Stop the sandbox of a folder and wait until it is gone.

    :raises Unreachable: none runs there; what a killed one left behind is cleaned up.
    """
    layout = Layout(folder)
    recorded = _recorded(layout)
    try:
        process = os.pidfd_open(recorded.pid)
    except OSError:
        raise _gone(layout) from None
    try:
        if Identity.of(recorded.pid) != recorded:  # the number belongs to somebody else now
            raise _gone(layout)
        try:
            signal.pidfd_send_signal(process, signal.SIGTERM)
            if not _ended(process, DOWN_PATIENCE_S):
                signal.pidfd_send_signal(process, signal.SIGKILL)  # the kernel kills its parts with it
                _ended(process, _KILL_PATIENCE_S)
        except ProcessLookupError:  # it was faster
            pass
        except PermissionError:
            raise StanzagateError(f"The sandbox in {layout.folder} belongs to another user.") from None
        _clean(layout)
    finally:
        os.close(process)


def _recorded(layout: Layout) -> Identity:
    if not layout.folder.is_dir():
        raise Unreachable(f"{layout.folder} does not exist, so no sandbox runs there.", hint=_HINT)
    try:
        return Identity(**json.loads(layout.pid_file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise Unreachable(f"No sandbox runs in {layout.folder}.", hint=_HINT) from None
    except PermissionError:
        raise StanzagateError(f"The sandbox in {layout.folder} belongs to another user.") from None
    except (OSError, ValueError, TypeError):
        raise _gone(layout) from None


def _gone(layout: Layout) -> Unreachable:
    _clean(layout)
    return Unreachable(f"The sandbox in {layout.folder} does not run any more; it was killed.", hint=_HINT)


def _clean(layout: Layout) -> None:
    for path in (layout.report, layout.pid_file, layout.socket):
        path.unlink(missing_ok=True)


def _ended(process: int, patience: float) -> bool:
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(patience * 1000))


def _understand(status: str, layout: Layout) -> None:
    if not status:
        raise StanzagateError(
            "The supervisor of the sandbox ended without a word.",
            hint=f"Its log: {layout.log('supervisor')}",
            details=tail(layout.log("supervisor")),
        )
    answer = json.loads(status)
    if "error" in answer:
        error = StanzagateError(answer["error"], hint=answer["hint"], details=answer["details"])
        error.exit_code = int(answer["exit_code"])
        raise error


__all__ = ["Options", "Parts", "down", "up", "up_detached"]
