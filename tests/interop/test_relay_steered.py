"""What happens to the relay itself, its configuration and its local server's side, while partners are connected."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from component.relay import ns
from stanzagate.pki import Authority
from stanzagate.sandbox.network import S2S_PORT
from stanzagate.sandbox.programs import python_command, python_environment
from stanzagate.sandbox.wire import StreamFailed

from .cast import GATE, LEFT, RIGHT
from .conftest import Sandbox
from .owngrid import until
from .rawclient import online
from .relaykit import ACS
from .relaykit_peers import peer
from .relaykit_raw import Peer
from .relaykit_siege import QUICK, STEERED, Siege, answered, besieged, has, with_id

pytestmark = pytest.mark.parametrize("sandbox", ["prosody"], indirect=True, scope="session")

STARTTLS = f"<starttls xmlns='{ns.TLS}'/>"


@pytest.fixture(scope="module")
def running(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Siege]:
    """A relay that is told to change, for all tests here; its local domains do not include the gate's."""
    certs = sandbox.folder / "certs"
    folder = tmp_path_factory.mktemp("steered")
    local = folder / "local.crt"
    for ending in (".crt", ".key"):
        local.with_suffix(ending).write_bytes((certs / f"acs.test{ending}").read_bytes())
    with besieged(sandbox, folder, STEERED, local={ACS: local}, **QUICK) as made:
        yield made


@pytest.fixture
async def siege(running: Siege) -> AsyncIterator[Siege]:
    """The relay, as it was in the beginning."""
    config = running.relay.config.read_text()
    yield running
    running.relay.config.write_text(config)
    if not running.relay.process.alive():
        await running.relay.start()


def options(siege: Siege, *partners: str) -> dict[str, dict[str, str]]:
    """The configuration of these partners."""
    return {domain: {"connect": f"{siege.outside[domain]}:{S2S_PORT}"} for domain in partners}


async def said(siege: Siege, text: str, times: int = 1) -> None:
    """Wait for a line of the log."""

    async def so() -> None:
        assert siege.relay.log().count(text) >= times, text

    await until(so, siege.relay.process)


async def reloaded(siege: Siege, text: str = "The configuration was reloaded") -> None:
    """Have it read its configuration again, and wait for what it says."""
    before = siege.relay.log().count(text)
    siege.relay.process.signal(signal.SIGHUP)
    await said(siege, text, before + 1)


async def test_a_broken_file_changes_nothing(siege: Siege) -> None:
    """Not even a certificate that could have been read."""
    good = siege.relay.config.read_text()
    section = json.loads(good)["relay"]
    broken: list[str] = [
        "{", "", "relay: 5", "\0", "- " * 100_000,
        json.dumps({"relay": section | {"unknown": 1}}),
        json.dumps({"relay": section | {"trust": "/nowhere"}}),
        json.dumps({"relay": section | {"domains": {}}}),
        json.dumps({"relay": section | {"domains": {ACS: {"certificate": __file__, "key": __file__}}}}),
        json.dumps({"relay": section | {"partners": {LEFT: {"secret": {"file": "/nowhere"}}}}}),
    ]  # fmt: skip
    async with siege.partner(LEFT) as stream:
        try:
            for text in broken:
                siege.relay.config.write_text(text)
                await reloaded(siege, "The configuration was not reloaded")
            siege.relay.config.unlink()
            await reloaded(siege, "The configuration was not reloaded")
            await answered(stream)
            async with siege.partner(RIGHT) as other:
                await answered(other)
        finally:
            siege.relay.config.write_text(good)
    siege.unhurt()


async def test_a_partner_that_is_removed_is_gone_and_others_notice_nothing(siege: Siege) -> None:
    async with siege.partner(LEFT) as removed, siege.partner(RIGHT) as stays:
        siege.relay.configure(options(siege, RIGHT), **QUICK)
        await reloaded(siege)
        assert await removed.ended() == ""
        await answered(stays)
        with pytest.raises(StreamFailed):
            async with siege.partner(LEFT):
                pass
        siege.relay.configure(options(siege, *STEERED), **QUICK)
        await reloaded(siege)
        await siege.relay.ready()
        async with siege.partner(LEFT) as again:
            await answered(again)
        await answered(stays)


async def test_new_certificates_are_shown_and_streams_stay(siege: Siege) -> None:
    local, ca = siege.relay.local[ACS], Path(siege.sandbox.info["ca"])
    async with siege.partner(LEFT) as stream:
        before = await shown(siege)
        assert await shown(siege) == before
        Authority.load(ca, ca.with_suffix(".key")).server([ACS]).write(local, local.with_suffix(".key"))
        await reloaded(siege)
        assert await shown(siege) != before
        await answered(stream)


async def shown(siege: Siege) -> bytes:
    """The certificate that the relay shows now."""
    async with siege.behind_tls(RIGHT) as stream:
        tls: ssl.SSLObject = stream._writer.get_extra_info("ssl_object")
        found = tls.getpeercert(binary_form=True)
        assert found
        return found


async def test_stanzas_of_others_do_not_leave_by_the_attachment(siege: Siege) -> None:
    """Whoever can write to the local server can write to the partner's domain; only our own domains pass."""
    before = siege.relay.partner(LEFT)["counters"]["dropped"].get("foreign-sender", 0)
    async with (
        siege.partner(LEFT) as stream,
        online(siege.sandbox, "cpe1", "thief") as foreign,
        online(siege.sandbox, "acs1", "right") as ours,
    ):
        assert "cpe.test" not in siege.relay.status()["domains"] and GATE not in siege.relay.status()["domains"]
        await foreign.send_raw(f"<message to='somebody@{LEFT}/x' id='foreign'/>")
        await foreign.send_raw(f"<iq to='somebody@{LEFT}/x' id='foreign' type='get'><x xmlns='urn:x'/></iq>")
        await siege.relay.until(LEFT, lambda row: row["counters"]["dropped"].get("foreign-sender", 0) > before)
        await ours.send_raw(f"<message to='somebody@{LEFT}/x' id='ours'/>")
        await with_id(stream, "ours")
        assert not [element for element in stream.seen if element.get("id") == "foreign"]
    siege.unhurt()


async def test_it_can_be_killed_and_started_again(siege: Siege) -> None:
    """Its socket in the file system is still there; partners come back."""
    async with siege.partner(LEFT) as stream:
        await answered(stream)
        siege.relay.end(signal.SIGKILL)
        await stream.ended()
    await siege.relay.start()
    async with siege.partner(LEFT) as stream, online(siege.sandbox, "acs1", "after") as ours:
        await answered(stream)
        await ours.send_raw(f"<message to='somebody@{LEFT}/x' id='after'/>")
        await with_id(stream, "after")
    siege.unhurt()


async def test_it_ends_in_the_middle_of_handshakes(siege: Siege) -> None:
    """SIGTERM, while peers are in every phase; it ends by itself, and says goodbye where it can."""
    address = siege.address
    async with (
        peer(address, LEFT, ACS) as silent,
        peer(address, LEFT, ACS) as clear,
        peer(address, LEFT, ACS) as proceeding,
        siege.behind_tls(LEFT) as behind,
        siege.partner(LEFT) as through,
    ):
        await clear.begin()
        await proceeding.begin()
        await proceeding.write(STARTTLS)
        await proceeding.element()
        await proceeding.write(b"\x16\x03\x01")
        ending = asyncio.create_task(asyncio.to_thread(siege.relay.end))  # noqa: TID251
        for stream in (silent, clear, proceeding, behind, through):
            assert await ending_of(stream) == ""
        await ending
    assert "Traceback" not in siege.relay.log() and "given up" not in siege.relay.log()


async def ending_of(stream: Peer) -> str:
    """The stream error at its end; the header was not read yet in some."""
    try:
        return await stream.ended()
    except AssertionError:
        return ""


async def test_a_wrong_secret_is_told_and_put_right(siege: Siege) -> None:
    """The other partner is attached all the time."""
    secret = siege.relay.folder / f"{LEFT}.secret"
    good = secret.read_text()
    try:
        secret.write_text("wrong")
        await reloaded(siege)
        row = await siege.relay.until(LEFT, lambda row: row["attachment"]["state"] == "refused")
        assert "not-authorized" in row["attachment"]["reason"]
        assert "wrong" not in siege.relay.log()
        async with siege.partner(RIGHT) as other:
            await answered(other)
    finally:
        secret.write_text(good)
        await reloaded(siege)
    await siege.relay.ready()
    async with siege.partner(LEFT) as stream:
        await answered(stream)


async def test_a_second_relay_of_the_same_name_is_told_so(siege: Siege, tmp_path: Path) -> None:
    """The server refuses it, and the first one goes on; on the same addresses it does not even start."""
    losses = siege.attachments()[LEFT][1]
    code, said = await asyncio.to_thread(started, siege.relay.config)
    assert code != 0 and "Traceback" not in said
    assert "Another service answers" in said, said
    section = json.loads(siege.relay.config.read_text())
    section["relay"] |= {"listen": [], "status": str(tmp_path / "second.sock")}
    config = tmp_path / "second.yaml"
    config.write_text(json.dumps(section))
    with logged(command(config), tmp_path / "log") as (log, process):
        await wait(lambda: "conflict" in log() or "not attached" in log(), process)
    async with siege.partner(LEFT) as stream:
        await answered(stream)
    assert siege.attachments()[LEFT] == ("attached", losses)


def started(config: Path) -> tuple[int, str]:
    """Start a relay that cannot run: its exit code, and what it says."""
    done = subprocess.run(
        command(config), capture_output=True, text=True, timeout=30, env=python_environment(), check=False
    )
    return done.returncode, done.stderr


def command(config: Path) -> tuple[str, ...]:
    """How a relay is started."""
    return python_command("stanzagate", "relay", "-c", str(config))


class logged:
    """A process that writes to a file."""

    def __init__(self, arguments: tuple[str, ...], file: Path) -> None:
        self._arguments, self._file = arguments, file

    def __enter__(self) -> tuple[Callable[[], str], subprocess.Popen[bytes]]:
        with self._file.open("wb") as output:
            self._process = subprocess.Popen(self._arguments, stderr=output, env=python_environment())
        return self._file.read_text, self._process

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)


async def wait(holds: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(20):
        while not holds():
            assert process.poll() is None
            await asyncio.sleep(0.02)


async def test_a_log_that_is_full_stops_nothing(siege: Siege) -> None:
    """What is logged is lost, and that is all."""
    siege.relay.end()
    with logged(command(siege.relay.config), Path("/dev/full")) as (_, process):
        await ready(siege, process)
        async with siege.partner(LEFT) as stream, online(siege.sandbox, "acs1", "full") as ours:
            await answered(stream)
            await stream.write(f"<message from='a@{LEFT}' to='{ours.jid}' id='full'/>")
            await has(ours, "full")
        os.kill(process.pid, signal.SIGHUP)
        async with siege.partner(RIGHT) as stream:
            await answered(stream)
    assert process.returncode == 0


async def ready(siege: Siege, process: subprocess.Popen[bytes]) -> None:
    """Wait until a relay is attached that nobody listens to."""
    async with asyncio.timeout(20):
        while True:
            assert process.poll() is None
            try:
                assert all(state == "attached" for state, _ in siege.attachments().values())
                assert siege.relay.status()["policy"]["following"]
            except (AssertionError, httpx.TransportError):  # it does not answer yet
                await asyncio.sleep(0.05)
            else:
                return


@pytest.mark.parametrize("place", ["/nowhere/relay.sock", "/dev/full", "/proc/relay.sock", "x" * 200])
async def test_a_status_socket_that_cannot_be_made_is_told(siege: Siege, tmp_path: Path, place: str) -> None:
    """It does not start, and says what to correct."""
    section = json.loads(siege.relay.config.read_text())
    section["relay"] |= {"listen": [], "status": place}
    config = tmp_path / "relay.yaml"
    config.write_text(json.dumps(section))
    code, said = await asyncio.to_thread(started, config)
    assert code != 0
    assert "Traceback" not in said and place[:20] in said, said
