"""The order in which a sandbox comes up, and the supervisor that holds it together."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Callable, Collection, Coroutine
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from component.base.files import write_atomic
from stanzagate.config import ServerKind
from stanzagate.plugin import DEFAULTS, Plugin
from stanzagate.render import render
from stanzagate.sandbox import policy
from stanzagate.sandbox.certificates import make_certificates
from stanzagate.sandbox.parts import NotReady, Part, PartDied, start, until_ready
from stanzagate.sandbox.plan import CONTROLLER, GATE, PUBSUB, SEEDER, SPARES, Component, Layout, Plan, make_plan
from stanzagate.sandbox.programs import python_command, python_environment
from stanzagate.sandbox.report import report
from stanzagate.sandbox.seed import seed_accounts, server_version
from stanzagate.sandbox.server import Command, prepare
from stanzagate.sandbox.wire import Stream, attach, client_offer
from stanzagate.signals import cancel_on_signals

T = TypeVar("T")

READY_TIMEOUT_S = 60.0


class Parts(StrEnum):
    """What a sandbox can consist of."""

    SERVER = "server"
    SERVE = "serve"
    CPES = "cpes"


@dataclass(frozen=True)
class Options:
    """What the user asked for.

    :ivar partners: domains that a relay attaches to.
    """

    folder: Path
    kind: ServerKind = ServerKind.PROSODY
    parts: frozenset[Parts] = frozenset({Parts.SERVER, Parts.SERVE})
    plugin: Plugin = DEFAULTS
    partners: tuple[str, ...] = ()


class Sandbox:
    """A sandbox that is coming up or runs. Use `run`.

    :ivar plan: where everything is.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.plan: Plan = make_plan(options.folder, options.kind, options.plugin, options.partners)
        self._parts: dict[Parts, Part] = {}
        self._group = asyncio.TaskGroup()
        self._restarting = False

    async def run(self, ready: Callable[[], None]) -> None:
        """Start everything, call `ready` once ``sandbox.json`` is written, and stay until cancelled.

        :raises StanzagateError: when a part cannot be started or ends by itself; everything is stopped then.
        """
        layout = self.plan.layout
        layout.report.unlink(missing_ok=True)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._stop)
            try:
                async with self._group:
                    await self._come_up()
                    ready()
                    await asyncio.get_running_loop().create_future()
            except ExceptionGroup as errors:  # except* would wrap what is raised here: Python 3.11.2 of Debian 12
                raise _first(errors) from None

    def restart_server(self) -> None:
        """Stop the XMPP server and start it again, as an operator would; the other parts stay."""
        if Parts.SERVER in self._parts and not self._restarting:
            self._restarting = True
            self._group.create_task(self._restart())

    async def _come_up(self) -> None:
        plan, layout = self.plan, self.plan.layout
        make_certificates(plan)
        await self._start(Parts.SERVER, await asyncio.to_thread(prepare, plan))
        version = await self._seed_accounts()
        _write_json(layout.components, {item.jid: asdict(item) for item in plan.components})
        if Parts.SERVE in self.options.parts:
            write_config(plan)
            await self._start(Parts.SERVE, _python(layout, "stanzagate", "serve", "-c", str(layout.config)))
            await self._ready(Parts.SERVE, lambda: policy.healthy(plan))
            await policy.seed(plan)
        if Parts.CPES in self.options.parts:
            await self._start_devices()
        _write_json(layout.report, report(plan, version, served=Parts.SERVE in self.options.parts))

    async def _start_devices(self) -> None:
        layout = self.plan.layout
        layout.devices_ready.unlink(missing_ok=True)
        _write_json(layout.devices, policy.device_settings(self.plan))
        arguments = ("stanzagate.sandbox.device", "--config", str(layout.devices))
        await self._start(Parts.CPES, _python(layout, *arguments))
        await self._ready(Parts.CPES, lambda: policy.devices_connected(layout))

    async def _seed_accounts(self) -> str:
        """Wait for the server, make the accounts, and see that each domain offers what it should."""
        component = self.plan.component(SEEDER)
        stream = await self._ready(Parts.SERVER, lambda: _attached(component))
        try:
            async with stream, asyncio.timeout(READY_TIMEOUT_S):
                await seed_accounts(stream, component.jid, self.plan.accounts.on_server)
                version = await server_version(stream, component.jid, self.plan.domains[0])
        except TimeoutError:
            raise NotReady(
                f"The server did not make the accounts within {READY_TIMEOUT_S:g} s.",
                hint=f"Its log: {self.plan.layout.log(str(Parts.SERVER))}",
            ) from None
        await self._ready(Parts.SERVER, lambda: self._server_answers({SEEDER, *SPARES}))
        return version

    async def _server_answers(self, free: Collection[str]) -> None:
        """See that each domain offers what it should.

        :param free: the component domains that nobody else attaches to: what a server hands to a probe is lost.
        """
        plan = self.plan
        for domain in plan.domains:
            await client_offer(plan.c2s.host, plan.c2s.port, domain, plan.layout.ca)
        for component in plan.components:
            if component.jid in free:
                await (await _attached(component)).close()
            else:
                (await Stream.connect(component.host, component.port)).abort()
        (await Stream.connect(plan.s2s.host, plan.s2s.port)).abort()

    async def _start(self, name: Parts, command: Command) -> None:
        part = await start(str(name), command, self.plan.layout.log(str(name)))
        self._parts[name] = part
        self._group.create_task(part.watch())

    async def _restart(self) -> None:
        try:
            part = self._parts.pop(Parts.SERVER)
            await part.stop()
            await self._start(Parts.SERVER, await asyncio.to_thread(prepare, self.plan))
            await self._ready(Parts.SERVER, lambda: self._server_answers({SEEDER}))
        finally:
            self._restarting = False

    async def _ready(self, name: Parts, probe: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return await until_ready(str(name), probe, self.plan.layout.log(str(name)), READY_TIMEOUT_S)

    async def _stop(self) -> None:
        self.plan.layout.report.unlink(missing_ok=True)
        for part in reversed(list(self._parts.values())):
            await part.stop()
        self.plan.layout.socket.unlink(missing_ok=True)


def _attached(component: Component) -> Coroutine[Any, Any, Stream]:
    return attach(component.host, component.port, component.jid, component.secret)


async def run(options: Options, ready: Callable[[], None]) -> None:
    """Run a sandbox until SIGINT or SIGTERM; SIGUSR1 restarts the XMPP server.

    :param ready: called when ``sandbox.json`` is written.
    :raises StanzagateError: as `Sandbox.run`.
    """
    sandbox = Sandbox(options)
    cancel_on_signals()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, sandbox.restart_server)
    with contextlib.suppress(asyncio.CancelledError):
        await sandbox.run(ready)


def write_config(plan: Plan) -> None:
    """Write ``stanzagate.yaml`` and the secrets that it names."""
    layout = plan.layout
    gate = plan.component(GATE)
    write_atomic(layout.gate_secret, gate.secret.encode())
    controller = plan.component(CONTROLLER)
    write_atomic(layout.grid_secret, controller.secret.encode())
    write_atomic(layout.token, plan.accounts.token.encode())
    values = {
        "kind": str(plan.kind),
        "component_host": gate.host,
        "database": "sqlite:///stanzagate.db",
        "gate": gate.jid,
        "gate_port": gate.port,
        "gate_secret": layout.gate_secret.name,
        "grid": {
            "jid": CONTROLLER,
            "port": controller.port,
            "secret": layout.grid_secret.name,
            "host": plan.domains[2],
            "pubsub": PUBSUB,
            "node_ca": layout.node_ca.name,
            "node_ca_key": layout.node_ca.with_suffix(".key").name,
            "crl": "node-crl.pem",
            "limits": "unlimited",
            "history": True,
            "federated": list(plan.partners),
        },
        "guarded": [plan.domains[0]],
        "plugin": plan.plugin,
        "limits": "unlimited",
        "socket": layout.socket.name,
        "listen": str(plan.admin),
        "tokens": [{"name": "sandbox", "file": layout.token.name, "role": "admin"}],
    }
    write_atomic(layout.config, render("stanzagate.yaml.j2", values).encode())


def _python(layout: Layout, *arguments: str) -> Command:
    return Command(python_command(*arguments), python_environment(), layout.folder)


def _write_json(path: Path, data: Any) -> None:
    write_atomic(path, (json.dumps(data, indent=1) + "\n").encode())


def _first(errors: BaseExceptionGroup[Exception]) -> Exception:
    """The error to tell: a part that died explains the others."""
    found: list[Exception] = []

    def collect(group: BaseExceptionGroup[Exception]) -> None:
        for error in group.exceptions:
            if isinstance(error, BaseExceptionGroup):
                collect(error)
            else:
                found.append(error)

    collect(errors)
    return min(found, key=lambda error: not isinstance(error, PartDied))
