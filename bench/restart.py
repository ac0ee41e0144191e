"""``script/bench restart``: how long after its server the gate is back.

The baseline is the server itself: the time from the restart until it accepts connections for components again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import time
from pathlib import Path
from typing import Any

import httpx

from bench.gate import REQUESTER, SERVERS, sandbox

POLL = 0.01


async def restarted(server: str, rounds: int) -> dict[str, Any]:
    """Restart the server `rounds` times; seconds until it is back, and until the gate is back after it."""
    with sandbox(server) as (folder, _, components):
        supervisor = json.loads((folder / "sandbox.pid").read_text())["pid"]
        port = components[REQUESTER]["port"]
        server_times: list[float] = []
        gate_times: list[float] = []
        for _ in range(rounds):
            started = time.perf_counter()
            while (
                await _gate(folder) == "attached"
            ):  # the supervisor takes no order while it still looks after the last
                os.kill(supervisor, signal.SIGUSR1)
                started = time.perf_counter()
                await changed(folder, "attached", 1.0)
            await listening(port)
            back = time.perf_counter()
            await changed(folder, "detached", 60)
            server_times.append(back - started)
            gate_times.append(time.perf_counter() - back)
    return {
        "bench": "gate.restart", "server": server, "rounds": rounds,
        "server_s": round(statistics.median(server_times), 2),
        "gate_after_server_s": round(statistics.median(gate_times), 2),
        "gate_after_server_max_s": round(max(gate_times), 2), "required_s": 5,
    }  # fmt: skip


async def _gate(folder: Path) -> str:
    transport = httpx.AsyncHTTPTransport(uds=str(folder / "admin.sock"))
    async with httpx.AsyncClient(transport=transport, base_url="http://stanzagate") as http:
        return str((await http.get("/healthz")).json()["gate"])


async def changed(folder: Path, state: str, limit: float) -> None:
    """Wait until the gate is not in `state` any more, at most `limit` seconds."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit):
            while True:
                if await _gate(folder) != state:
                    return
                await asyncio.sleep(POLL)


async def listening(port: int) -> None:
    """Wait until the server accepts components."""
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(POLL)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for server in SERVERS:
        print(json.dumps(await restarted(server, options.rounds)), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
