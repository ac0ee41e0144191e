"""``stanzagate relay status``, against a status server whose relay is played."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from component.base.errors import InputError, Unreachable
from component.relay.status import AttachmentState, AttachmentStatus, PolicyStatus, count
from component.relay.wire.policy import Direction
from stanzagate.cli import main
from stanzagate.cli.relay_page import duration, volume
from stanzagate.cli.relay_place import VARIABLE, find_relay
from stanzagate.relaystatus import status_servers
from tests.unit.relay.statuskit import NOW, REASON, Hub, absent, partner, serving

CONFIG = "relay:\n  status: {socket}\n"


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    played = Hub((partner(), absent()))
    (server,) = status_servers(played.status, played.counters, socket=tmp_path / "relay.sock", metrics=None)
    async with serving(server):
        yield played


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str]) -> Any:
    return capfd.readouterr


@pytest.fixture
def screen() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    for descriptor in (ours, theirs):
        os.close(descriptor)


async def run(*arguments: str) -> int:
    return await asyncio.to_thread(main, ["relay", *arguments])


async def follow(socket: Path, *arguments: str, **options: Any) -> asyncio.subprocess.Process:
    command = (sys.executable, "-m", "stanzagate", "relay", "status", "--follow", "--socket", str(socket), *arguments)
    return await asyncio.create_subprocess_exec(*command, **options)


def read_until(descriptor: int, *wanted: str) -> str:
    text = ""
    while not all(word in text for word in wanted):
        text += os.read(descriptor, 65536).decode()
    return text


# -- one page --------------------------------------------------------------------------------------------------------


async def test_the_page_tells_what_is_up_and_why_the_rest_is_not(hub: Hub, tmp_path: Path, said: Any) -> None:
    count(hub.counters.of("partner.test").bounced, "local", 2)
    hub.counters.of("partner.test").sent = 120
    assert await run("status", "--socket", str(tmp_path / "relay.sock")) == 0
    lines = said().out.splitlines()
    text = "\n".join(lines)
    assert lines.index("down.test  NOT CONNECTED") < next(
        number for number, line in enumerate(lines) if line.startswith("partner.test  connected since 2027-")
    )  # what is broken comes first
    assert "partners      1 of 2 connected, 1 in trouble" in text
    for part in (
        REASON, "by us, certificate", "in 12 s", "isp.test → down.test: 3 stanzas, 2.0 KiB, waiting for 12 s",
        "192.0.2.7:41234  external  TLSv1.3 TLS_AES_256_GCM_SHA384  bidi", "isp.test ⇄ partner.test",
        "attached since", "sent 120 stanzas", "bounced: 2 local", "direction both, bidi required",
        "certificate sha256 abababab",
    ):  # fmt: skip
        assert part in text, part


async def test_a_partner_to_whom_nobody_writes_is_no_trouble(hub: Hub, tmp_path: Path, said: Any) -> None:
    idle = {"streams": (), "pairs": ()}
    hub.partners = (partner("idle.test", **idle), partner("inbound.test", direction=Direction.INBOUND, **idle))
    assert await run("status", "--socket", str(tmp_path / "relay.sock")) == 0
    out = said().out
    assert "0 of 2 connected, 1 in trouble" in out
    assert out.index("inbound.test  NOT CONNECTED") < out.index("idle.test  not connected, idle")
    assert "We connect when there is something to send." in out


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"attachment": AttachmentStatus(AttachmentState.REFUSED, NOW - 5, 2, "Wrong secret.")}, "Wrong secret."),
        ({"streams": (), "pairs": (), "direction": Direction.INBOUND}, "we never do (direction: inbound)"),
    ],
)
async def test_each_trouble_has_its_words(
    hub: Hub, tmp_path: Path, said: Any, changes: dict[str, Any], wanted: str
) -> None:
    hub.partners = (partner(**changes),)
    assert await run("status", "--socket", str(tmp_path / "relay.sock")) == 0
    assert wanted in said().out


async def test_a_policy_that_is_away_is_said(hub: Hub, tmp_path: Path, said: Any) -> None:
    hub.policy = PolicyStatus(False, False, 12, ("cpe.test",), "Nobody answers at admin.sock.")
    assert await run("status", "--socket", str(tmp_path / "relay.sock")) == 0
    assert "NOT REACHABLE: Nobody answers at admin.sock. Guarded: cpe.test." in said().out
    hub.policy = PolicyStatus(False, False, reason="Nobody answers at admin.sock.")
    assert await run("status", "--socket", str(tmp_path / "relay.sock")) == 0
    assert "Nothing is let in before it has been heard of." in said().out
    hub.policy = PolicyStatus(True, False, 12, ("cpe.test",))
    assert await run("status", "--socket", str(tmp_path / "relay.sock")) == 0
    assert "changes are not told" in said().out


async def test_json_is_one_document(hub: Hub, tmp_path: Path, said: Any) -> None:
    assert await run("status", "--json", "--socket", str(tmp_path / "relay.sock")) == 0
    document = json.loads(said().out)
    assert [one["state"] for one in document["partners"]] == ["connected", "not-connected"]
    assert document["partners"][1]["why"] == REASON


async def test_what_a_partner_sent_plays_no_tricks_on_a_terminal(hub: Hub, tmp_path: Path, said: Any) -> None:
    hub.policy = PolicyStatus(False, False, reason="\x1b[31mred\u202e")
    assert await run("status", "--socket", str(tmp_path / "relay.sock")) == 0
    out = said().out
    assert "\x1b" not in out and "\u202e" not in out and "\\x1b[31mred" in out


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (61, "1 min"), (3720, "1 h 2 min"), (90_000, "1 d 1 h")])
def test_durations_are_readable(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(0, "0 B"), (1536, "1.5 KiB"), (2**21, "2.0 MiB"), (2**31, "2.0 GiB")])
def test_volumes_are_readable(size: int, text: str) -> None:
    assert volume(size) == text


# -- following -------------------------------------------------------------------------------------------------------


async def test_followers_in_a_pipe_get_a_line_for_each_change(hub: Hub, tmp_path: Path) -> None:
    process = await follow(tmp_path / "relay.sock", stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    first = [(await process.stdout.readline()).decode().split()[1:3] for _ in range(3)]
    assert first == [["partner.test", "connected"], ["down.test", "not-connected"], ["(policy)", "following"]]
    hub.time += 5  # time alone is no change
    hub.partners = (partner("down.test"),)
    later = [(await process.stdout.readline()).decode().split()[1:3] for _ in range(2)]
    assert later == [["down.test", "connected"], ["partner.test", "removed"]]
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 130


async def test_followers_get_json_lines(hub: Hub, tmp_path: Path) -> None:
    process = await follow(tmp_path / "relay.sock", "--json", stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    for state in ("connected", "not-connected"):
        snapshot = json.loads(await process.stdout.readline())
        assert snapshot["partners"][0]["state"] == state
        hub.partners = (absent(),)
    process.send_signal(signal.SIGINT)
    await process.communicate()


async def test_a_terminal_shows_a_live_view(hub: Hub, tmp_path: Path, screen: tuple[int, int]) -> None:
    process = await follow(
        tmp_path / "relay.sock", stdout=screen[1], env=os.environ | {"TERM": "xterm", "LINES": "60", "COLUMNS": "150"}
    )
    await asyncio.to_thread(read_until, screen[0], "1 of 2 connected", "NOT CONNECTED")
    hub.time += 1
    hub.counters.of("partner.test").sent += 50
    hub.partners = (partner(), partner("down.test"))
    await asyncio.to_thread(read_until, screen[0], "2 of 2 connected", "50/s")
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 130


async def test_a_relay_that_ends_is_told_to_followers(tmp_path: Path) -> None:
    hub = Hub((partner(),))
    (server,) = status_servers(hub.status, hub.counters, socket=tmp_path / "relay.sock", metrics=None)
    async with serving(server):
        process = await follow(
            tmp_path / "relay.sock", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        await process.stdout.readline()
        await server.stop()
        _, err = await process.communicate()
    assert process.returncode == 3
    assert b"The service is stopping" in err and b"Traceback" not in err


# -- where it is -----------------------------------------------------------------------------------------------------


async def test_the_relay_is_found_by_file_folder_and_environment(
    hub: Hub, tmp_path: Path, said: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "relay.yaml").write_text(CONFIG.format(socket="relay.sock"))
    file = str(tmp_path / "relay.yaml")
    for arguments in (
        ("status", "-c", file), ("-c", file, "status"), ("status", "--dir", str(tmp_path)),
        ("status", "--socket", str(tmp_path / "relay.sock")),
    ):  # fmt: skip
        assert await run(*arguments) == 0, arguments
        assert "The relay isp.test" in said().out
    monkeypatch.setenv(VARIABLE, str(tmp_path / "relay.sock"))
    assert await run("status") == 0
    monkeypatch.setenv("STANZAGATE_SOCKET", str(tmp_path / "other.sock"))  # that of the service, not ours
    assert await run("status") == 0


def test_where_the_socket_is(tmp_path: Path) -> None:
    (tmp_path / "stanzagate.yaml").write_text("relay: {status: run/r.sock}\n")
    assert find_relay(None, tmp_path, None) == tmp_path / "run" / "r.sock"
    (tmp_path / "relay.yaml").write_text("relay: {}\nserver: {kind: prosody}\n")
    assert find_relay(None, tmp_path, None) == tmp_path / "relay.sock"
    assert find_relay(None, tmp_path, Path("/given")) == Path("/given")


@pytest.mark.parametrize("text", ["relay: [", "- 1", "server: {}", "relay: 5", "\x00"])
def test_a_file_that_is_no_configuration_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "relay.yaml").write_text(text)
    with pytest.raises(InputError, match=r"relay\.yaml"):
        find_relay(tmp_path / "relay.yaml", None, None)


def test_a_sandbox_has_no_relay(tmp_path: Path) -> None:
    (tmp_path / "sandbox.json").write_text("{}")
    with pytest.raises(Unreachable, match="runs no relay"):
        find_relay(None, tmp_path, None)


async def test_who_cannot_be_reached_is_3(tmp_path: Path, said: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments in (("--socket", str(tmp_path / "none")), ("--dir", str(tmp_path / "none")), ("--dir", str(empty))):
        assert await run("status", *arguments) == 3, arguments
        err = said().err
        assert err.startswith("stanzagate: error: ") and "admin socket" not in err
    assert await run("status", "-c", str(tmp_path / "none.yaml")) == 2


async def test_without_a_configuration_nothing_runs(said: Any) -> None:
    assert await run() == 2
    assert "-c FILE" in said().err
    assert await run("--help") == 0
    assert "relay -c /etc/stanzagate/relay.yaml" in said().out
