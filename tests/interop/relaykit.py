"""A relay as its operator has it: a configuration file, a process, and what it says about itself.

::

    async with relay(sandbox, folder, {PARTNER: {"connect": partner.connect(PARTNER)}}, listen=[address]) as running:
        await running.until(lambda status: …)
"""

from __future__ import annotations

import contextlib
import json
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from stanzagate.sandbox.network import S2S_PORT
from stanzagate.sandbox.programs import python_command, python_environment
from stanzagate.sandbox.server import Command
from tests.interop.cast import GATE, GRID, HOST
from tests.interop.conftest import Sandbox
from tests.interop.owngrid import CONTROLLER, Process, until

ACS = "acs.test"
LOCAL = {HOST: HOST, GATE: HOST, ACS: ACS, GRID: GRID, CONTROLLER: GRID, f"pubsub.{GRID}": GRID}
"""The local domains, and for each the name of its certificate in the sandbox."""


class Relay:
    """A relay beside the server of a sandbox. Use `relay`.

    :ivar folder: of its configuration.
    :ivar listen: the addresses on which it listens, port 5269.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        folder: Path,
        partners: Mapping[str, Mapping[str, Any]],
        *,
        listen: Sequence[str] = (),
        local: Mapping[str, Path] | None = None,
        **options: Any,
    ) -> None:
        """:param partners: by domain, what differs from the defaults of the configuration.
        :param local: the local domains with the certificate of each, its key beside it; None for all of the sandbox.
        :param options: further keys of the section, such as ``limits``.
        """
        folder.mkdir(exist_ok=True)
        certificates = sandbox.folder / "certs"
        self.local = local or {domain: certificates / f"{name}.crt" for domain, name in LOCAL.items()}
        self.sandbox, self.folder, self.listen = sandbox, folder, tuple(listen)
        self.config, self._socket = folder / "relay.yaml", folder / "relay.sock"
        self.configure(partners, **options)
        command = python_command("stanzagate", "relay", "-c", str(self.config))
        self.process = Process(Command(command, python_environment(), folder), folder / "relay.log")

    def configure(self, partners: Mapping[str, Mapping[str, Any]], **options: Any) -> None:
        """Write its configuration. A relay that runs reads it at SIGHUP."""
        section = {
            "listen": [f"{address}:{S2S_PORT}" for address in self.listen],
            "domains": {
                domain: {"certificate": str(path), "key": str(path.with_suffix(".key"))}
                for domain, path in self.local.items()
            },
            "trust": self.sandbox.info["ca"],
            "status": str(self._socket),
            "policy": {"socket": str(self.sandbox.folder / "admin.sock")},
            "partners": {domain: self._attached(domain) | dict(given) for domain, given in partners.items()},
        }
        self.partners = tuple(partners)
        self.config.write_text(json.dumps({"relay": section | options}))  # JSON is YAML

    def _attached(self, domain: str) -> dict[str, Any]:
        component = self.sandbox.components[domain]
        secret = self.folder / f"{domain}.secret"
        secret.write_text(component["secret"])
        secret.chmod(0o600)
        return {"component_port": component["port"], "secret": {"file": str(secret)}}

    async def start(self) -> None:
        """Start it, and wait until it is attached as every partner's domain and follows the policy."""
        self.process.start()
        await self.ready()

    async def ready(self) -> None:
        """Wait until it is so."""

        async def attached() -> None:
            status = self.status()
            states = {row["domain"]: row["attachment"]["state"] for row in status["partners"]}
            assert states == dict.fromkeys(self.partners, "attached"), states
            assert status["policy"]["following"], status["policy"]

        await until(attached, self.process)

    def end(self, number: int = signal.SIGTERM) -> None:
        """End it; it may be started again."""
        self.process.end(number)

    async def reloaded(self) -> None:
        """Have it read its configuration again, and wait until it has done so."""
        words = "The configuration was reloaded"
        before = self.log().count(words)
        self.process.signal(signal.SIGHUP)

        async def done() -> None:
            assert self.log().count(words) > before

        await until(done, self.process)

    def status(self) -> dict[str, Any]:
        """What ``relay status --json`` prints.

        :raises httpx.TransportError: it does not answer (yet).
        """
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(self._socket)), base_url="http://relay") as client:
            answer = client.get("/v1/status")
            assert answer.is_success, answer.text
            found: dict[str, Any] = answer.json()
            return found

    def partner(self, domain: str) -> dict[str, Any]:
        """Of its status, the row of one partner."""
        return next(row for row in self.status()["partners"] if row["domain"] == domain)

    async def until(self, domain: str, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Wait until a partner's row is as it should be; the row."""
        rows: list[dict[str, Any]] = []

        async def so() -> None:
            rows.append(self.partner(domain))
            assert condition(rows[-1]), rows[-1]

        await until(so, self.process)
        return rows[-1]

    def metrics(self) -> dict[str, float]:
        """Its figures, by name and labels."""
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(self._socket)), base_url="http://relay") as client:
            lines = client.get("/metrics").text.splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}

    def log(self) -> str:
        """What it has logged."""
        return self.process.log()


@contextlib.asynccontextmanager
async def relay(
    sandbox: Sandbox, folder: Path, partners: Mapping[str, Mapping[str, Any]], **options: Any
) -> AsyncIterator[Relay]:
    """A relay for as long as the block lasts."""
    made = Relay(sandbox, folder, partners, **options)
    try:
        await made.start()
        yield made
    finally:
        made.end()
