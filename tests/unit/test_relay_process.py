"""The relay's process: what it reads, how it starts, reloads, drains and ends."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from component.base.errors import ConfigError, Conflict, InputError
from stanzagate import relay
from stanzagate.cli import main
from stanzagate.pki import Authority
from stanzagate.process import Spawn, Tasks
from stanzagate.relay import Process, Signals, name_of, run
from stanzagate.relaymaterial import Material, load_material
from tests.unit.relay.statuskit import Hub, partner

ROOT = Path(__file__).parents[2]
CONFIG = """\
relay:
  listen: ["127.0.0.1:0"]
  domains:
    isp.test: {{certificate: isp.crt, key: isp.key}}
  trust: ca.pem
  status: relay.sock
  {metrics}
  policy: {{url: "http://127.0.0.1:1", token: {{file: relay.token}}}}
  partners:
    partner.test: {{component_port: {port}, secret: {{file: partner.secret}}}}
    {more}
"""


def write(folder: Path, metrics: str = "", port: int = 5347, more: str = "") -> Path:
    """The folder of a relay; what is there already is kept."""
    authority = Authority.load_or_create(folder / "ca.pem", folder / "ca.key", "CA")
    if not (folder / "isp.crt").exists():
        authority.server(["isp.test"]).write(folder / "isp.crt", folder / "isp.key")
    (folder / "partner.secret").write_text("s3cret\n")
    (folder / "relay.token").write_text("t0ken-of-the-relay\n")
    (folder / "relay.yaml").write_text(CONFIG.format(metrics=metrics, port=port, more=more))
    return folder / "relay.yaml"


@dataclass
class Played(Hub):
    """A hub that remembers what was asked of it."""

    happened: list[str] = field(default_factory=list)
    material: Material | None = None
    stirred: asyncio.Event = field(default_factory=asyncio.Event)
    refuses: bool = False
    hangs: bool = False

    def note(self, what: str) -> None:
        self.happened.append(what)
        self.stirred.set()

    async def until(self, what: str) -> None:
        while what not in self.happened:
            self.stirred.clear()
            await self.stirred.wait()

    def open(self) -> None:
        if self.refuses:
            raise Conflict("The port is taken.")
        self.note("open")

    async def run(self) -> None:
        self.note("run")
        await asyncio.Event().wait()

    async def drain(self) -> None:
        self.note("drain")
        if self.hangs:
            await asyncio.Event().wait()

    async def reload(self, material: Material) -> None:
        self.material = material
        self.note("reload")


@dataclass
class Scene:
    folder: Path
    hub: Played
    signals: Signals
    task: asyncio.Task[None]


async def started(path: Path, hub: Played, spawn: Spawn) -> tuple[Signals, Process]:
    signals = Signals()
    return signals, Process(path, load_material(path), hub, spawn)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Scene]:
    """A process that runs, and is asked to stop in the end."""
    hub = Played((partner(),))
    async with asyncio.TaskGroup() as group:
        tasks = Tasks(group)
        signals, process = await started(write(tmp_path), hub, tasks)
        task = group.create_task(process.run(signals))
        await hub.until("run")
        yield Scene(tmp_path, hub, signals, task)
        signals.ask_to_stop()
        await task
        tasks.cancel()


# -- what it reads ---------------------------------------------------------------------------------------------------


def test_everything_that_is_named_is_read(tmp_path: Path) -> None:
    material = load_material(write(tmp_path))
    assert material.partner_secrets == {"partner.test": "s3cret"}
    assert material.token == "t0ken-of-the-relay"
    assert material.trust.source == str(tmp_path / "ca.pem") and not material.partner_trust
    assert "s3cret" not in repr(material) and "t0ken" not in repr(material)


def test_without_a_dialback_secret_one_is_drawn_and_stays(tmp_path: Path) -> None:
    path = write(tmp_path)
    first, second = load_material(path), load_material(path)
    assert len(first.dialback_secret) >= 32
    assert first.dialback_secret != second.dialback_secret == second.dialback_secret
    assert second.after(first).dialback_secret == first.dialback_secret


@pytest.mark.parametrize("name", ["isp.crt", "isp.key", "ca.pem", "partner.secret", "relay.token"])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, name: str) -> None:
    path = write(tmp_path)
    for content in (None, ""):
        (tmp_path / name).unlink() if content is None else (tmp_path / name).write_text(content)
        with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
            load_material(path)


def test_the_name_is_one_that_the_admin_api_takes(tmp_path: Path) -> None:
    settings = load_material(write(tmp_path)).settings
    assert name_of(settings, "gw1") == "isp.test-gw1"
    assert name_of(settings, "gw_1.lan ") == "isp.test-gw_1.lan-"
    assert len(name_of(settings, "x" * 300)) == 64
    assert name_of(settings).startswith("isp.test-")


# -- start and end ---------------------------------------------------------------------------------------------------


async def test_it_serves_its_status_until_it_has_drained(here: Scene, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = ["relay", "status", "--json", "--dir", str(here.folder)]
    assert await asyncio.to_thread(main, arguments) == 0
    assert json.loads(capfd.readouterr().out)["partners"][0]["domain"] == "partner.test"
    here.signals.ask_to_stop()
    await here.task
    assert here.hub.happened == ["open", "run", "drain"]
    assert not (here.folder / "relay.sock").exists()
    assert await asyncio.to_thread(main, arguments) == 3


async def test_a_drain_that_hangs_is_given_up(here: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "DRAIN_SECONDS", 0.01)
    here.hub.hangs = True
    here.signals.ask_to_stop()
    await here.task
    assert here.hub.happened[-1] == "drain"


async def test_a_port_that_is_taken_leaves_nothing_behind(tmp_path: Path) -> None:
    hub = Played(refuses=True)
    async with asyncio.TaskGroup() as group:
        signals, process = await started(write(tmp_path), hub, Tasks(group))
        with pytest.raises(Conflict):
            await process.run(signals)
    assert hub.happened == []
    assert not (tmp_path / "relay.sock").exists()


async def test_a_second_relay_is_refused_and_the_first_goes_on(
    here: Scene, capfd: pytest.CaptureFixture[str]
) -> None:
    async with asyncio.TaskGroup() as group:
        signals, process = await started(here.folder / "relay.yaml", Played(), Tasks(group))
        with pytest.raises(Conflict, match=r"relay\.sock"):
            await process.run(signals)
    assert await asyncio.to_thread(main, ["relay", "status", "--dir", str(here.folder)]) == 0


def test_standard_input_is_no_configuration() -> None:
    with pytest.raises(InputError, match="needs a file"):
        run(Path("-"))


def test_a_bad_configuration_is_2_and_names_the_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, metrics="colour: blue")
    assert main(["relay", "-c", str(path)]) == 2
    assert f"{path}:7: relay.colour: Unknown key." in capsys.readouterr().err
    assert main(["relay", "-c", str(tmp_path / "none.yaml")]) == 2


# -- reloading -------------------------------------------------------------------------------------------------------


async def test_a_reload_hands_over_what_was_read_anew(here: Scene) -> None:
    write(here.folder, more="other.test: {secret: {file: partner.secret}}")
    here.signals.ask_to_reload()
    await here.hub.until("reload")
    assert here.hub.material is not None
    assert list(here.hub.material.settings.partners) == ["partner.test", "other.test"]


@pytest.mark.parametrize("content", ["relay: {", "relay: {colour: blue}", "server: {}"])
async def test_a_reload_of_a_bad_file_changes_nothing(
    here: Scene, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    (here.folder / "relay.yaml").write_text(content)
    here.signals.ask_to_reload()
    while "everything stays as it was" not in caplog.text:
        await asyncio.sleep(0)
    write(here.folder)
    here.signals.ask_to_reload()
    await here.hub.until("reload")
    assert here.hub.happened == ["open", "run", "reload"]


async def test_what_takes_a_restart_is_said(here: Scene, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        write(here.folder, metrics='metrics: "127.0.0.1:0"', port=5999)
        here.signals.ask_to_reload()
        await here.hub.until("reload")
    said = [record.getMessage() for record in caplog.records if "next start" in record.getMessage()]
    assert said == ["relay.metrics has changed; that takes effect at the next start only."]


# -- a process of its own --------------------------------------------------------------------------------------------

PROGRAM = """
import resource, sys
from pathlib import Path
from stanzagate.relay import run
from tests.unit.test_relay_process import Told
sys.exit(run(Path(sys.argv[1]), lambda material, name, version, spawn: Told((), name=name)))
"""


@dataclass
class Told(Played):
    """Says on stdout what was asked of it."""

    name: str = ""

    def note(self, what: str) -> None:
        super().note(what)
        core = resource.getrlimit(resource.RLIMIT_CORE)
        print(json.dumps([what, self.name, core]), flush=True)


async def test_signals_reload_and_drain(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, str(write(tmp_path)),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    out: Any = process.stdout
    assert [json.loads(await out.readline())[0] for _ in range(2)] == ["open", "run"]
    process.send_signal(signal.SIGHUP)
    what, name, core = json.loads(await out.readline())
    assert (what, name.startswith("isp.test-"), core) == ("reload", True, [0, 0])
    process.send_signal(signal.SIGTERM)
    assert json.loads(await out.readline())[0] == "drain"
    _, err = await process.communicate()
    assert process.returncode == 0
    assert b"The relay runs: isp.test for partner.test." in err and b"Traceback" not in err
    assert b"s3cret" not in err and b"t0ken" not in err


async def test_the_real_relay_says_what_ails_it_and_ends_in_order(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither the local server nor the admin API is there."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "stanzagate", "relay", "-c", str(write(tmp_path, port=1)),
        stderr=asyncio.subprocess.PIPE, cwd=ROOT,
    )  # fmt: skip
    err: Any = process.stderr
    said = b""
    while b"The relay runs" not in said or b"not attached" not in said:
        said += await err.readline()
    assert await asyncio.to_thread(main, ["relay", "status", "--json", "--dir", str(tmp_path)]) == 0
    status = json.loads(capfd.readouterr().out)
    (found,) = status["partners"]
    assert (found["state"], found["attachment"]["state"]) == ("not-connected", "waiting")
    assert found["attachment"]["reason"] and status["policy"]["reason"]
    assert (status["policy"]["reachable"], status["policy"]["epoch"]) == (False, None)
    assert status["listeners"][0].startswith("127.0.0.1:")
    process.send_signal(signal.SIGHUP)
    while b"was reloaded" not in said:
        said += await err.readline()
    process.send_signal(signal.SIGTERM)
    _, rest = await process.communicate()
    assert process.returncode == 0, rest
    assert b"Traceback" not in said + rest and b"s3cret" not in said + rest and b"t0ken" not in said + rest
    assert not (tmp_path / "relay.sock").exists()
