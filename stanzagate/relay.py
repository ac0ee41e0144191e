"""``stanzagate relay``: the composition root of the companion relay.

The relay has no database: it asks the admin API. SIGTERM and SIGINT drain: nothing new is taken, streams are ended in
good order, what waits is delivered or bounced, and the admin API is told goodbye. SIGHUP reads the configuration and
everything that it names again; when that fails, everything stays as it was.
"""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from component.base.errors import InputError, StanzagateError
from component.relay.settings import RelaySettings
from component.relay.status import RelayCounters, RelayStatus
from stanzagate import __version__
from stanzagate.admin.server import AdminServer
from stanzagate.config import STDIN
from stanzagate.process import Spawn, Tasks, calm_collector, failed, log_to_stderr, no_core_dumps
from stanzagate.relaymaterial import Material, load_material
from stanzagate.relaystatus import status_servers

log = logging.getLogger("stanzagate.relay")

DRAIN_SECONDS = 30.0
"""Longer than a stream may take to close; the unit gives the process more."""

FIXED = ("listen", "direct_tls", "server", "status", "metrics", "policy", "dialback_secret", "pass_through", "limits")
"""Keys that take effect at the next start only."""

LONGEST_NAME = 64
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")


class Hub(Protocol):
    """What this process runs; `stanzagate.relayparts` makes the real one."""

    @property
    def counters(self) -> RelayCounters: ...

    def open(self) -> None:
        """Open the listeners, so that a port that is taken is said before anything starts.

        :raises StanzagateError: one cannot be opened; none is.
        """

    async def run(self) -> None:
        """Serve until cancelled."""

    async def drain(self) -> None:
        """Take nothing new, end streams in good order, deliver or bounce what waits, say goodbye."""

    async def reload(self, material: Material) -> None:
        """Work with these partners, certificates and rules from now on."""

    def status(self) -> RelayStatus:
        """A snapshot."""


Assemble = Callable[[Material, str, str, Spawn], Hub]
"""Makes the hub from what was read, the relay's name, our version, and what starts tasks."""


def run(path: Path, assemble: Assemble | None = None) -> int:
    """Run the relay until SIGTERM or SIGINT.

    :param assemble: makes the hub; None for the real one.
    :returns: the exit code of the process.
    :raises StanzagateError: the relay cannot start; nothing was left running.
    """
    if path == STDIN:
        raise InputError("The relay needs a file: SIGHUP reads it again.", hint="Write the configuration to a file.")
    log_to_stderr()
    no_core_dumps()
    material, make = load_material(path), assemble or _assembler()
    calm_collector()
    return asyncio.run(_run(path, material, make))


def _assembler() -> Assemble:
    from stanzagate.relayparts import assemble  # noqa: PLC0415  # tests of this file do without

    return assemble


async def _run(path: Path, material: Material, assemble: Assemble) -> int:
    signals = Signals()
    signals.listen(asyncio.get_running_loop())
    try:
        async with asyncio.TaskGroup() as group:
            tasks = Tasks(group)
            try:
                hub = assemble(material, name_of(material.settings), __version__, tasks)
                await Process(path, material, hub, tasks).run(signals)
            finally:
                tasks.cancel()
    except BaseExceptionGroup as failures:
        return failed(failures)
    return 0


def name_of(settings: RelaySettings, host: str = "") -> str:
    """What the relay is called where there may be several: at the admin API, in the record.

    :param host: name of this machine; asked of the system when it is not given.
    """
    domain = next(iter(settings.domains)).encode("idna").decode("ascii")
    name = f"{domain}-{host or socket.gethostname()}"
    return _NOT_IN_NAMES.sub("-", name)[:LONGEST_NAME]


class Signals:
    """What the init system wants of us."""

    def __init__(self) -> None:
        self.stop = False
        self.reload = False
        self._something = asyncio.Event()

    def listen(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take SIGTERM, SIGINT and SIGHUP."""
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.ask_to_stop)
        loop.add_signal_handler(signal.SIGHUP, self.ask_to_reload)

    def ask_to_stop(self) -> None:
        """SIGTERM or SIGINT has come."""
        self.stop = True
        self._something.set()

    def ask_to_reload(self) -> None:
        """SIGHUP has come."""
        self.reload = True
        self._something.set()

    async def wait(self) -> None:
        """Return when something is wanted."""
        await self._something.wait()
        self._something.clear()


class Process:
    """The relay from its start to its end.

    :param material: what was read at the start.
    """

    def __init__(self, path: Path, material: Material, hub: Hub, spawn: Spawn) -> None:
        self._path = path
        self._material = material
        self._hub = hub
        self._spawn = spawn

    async def run(self, signals: Signals) -> None:
        """Start, obey the signals, end in good order.

        :raises StanzagateError: a listener cannot be opened.
        """
        servers = self._open()
        self._spawn("relay", self._hub.run())
        for server in servers:
            self._spawn("relay.status", server.run())
        for server in servers:
            await server.ready.wait()
        settings = self._material.settings
        log.info("The relay runs: %s for %s.", ", ".join(settings.domains), _partners(settings))
        while not signals.stop:
            await signals.wait()
            if signals.reload and not signals.stop:
                signals.reload = False
                await self._reload()
        log.info("Draining: streams are ended in good order, nothing new is taken.")
        await self._drain()
        for server in servers:
            await server.stop()

    def _open(self) -> tuple[AdminServer, ...]:
        settings, hub = self._material.settings, self._hub
        metrics = str(settings.metrics) if settings.metrics is not None else None
        servers = status_servers(hub.status, hub.counters, socket=settings.status, metrics=metrics)
        opened: list[AdminServer] = []
        try:
            for server in servers:
                server.open()
                opened.append(server)
            hub.open()
        except BaseException:
            for server in opened:
                server.close()
            raise
        return servers

    async def _reload(self) -> None:
        try:
            fresh = await asyncio.to_thread(load_material, self._path)
        except StanzagateError as error:
            log.error("The configuration was not reloaded, everything stays as it was: %s", error)
            for detail in error.details:
                log.error("  %s", detail)
            return
        except Exception:
            log.exception("The configuration was not reloaded, everything stays as it was: there is a defect.")
            return
        before, after = self._material.settings, fresh.settings
        for key in FIXED:
            if getattr(before, key) != getattr(after, key):
                log.warning("relay.%s has changed; that takes effect at the next start only.", key)
        self._material = fresh.after(self._material)
        await self._hub.reload(self._material)
        log.info("The configuration was reloaded: %s for %s.", ", ".join(after.domains), _partners(after))

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._hub.drain()
        except TimeoutError:
            log.warning("Draining took more than %d s and was given up.", DRAIN_SECONDS)


def _partners(settings: RelaySettings) -> str:
    return ", ".join(settings.partners) or "no partner"
