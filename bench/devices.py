"""A thousand devices in one process that accept every connection request at once and do nothing else.

``python -m bench.devices FILE``: FILE is JSON with ``host``, ``port``, ``ca`` and ``devices`` (jid and password); a
line ``ready`` on standard output says that all are connected; the end of standard input ends it.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element
from xml.sax.saxutils import quoteattr

from stanzagate.sandbox.device.economy import economise
from stanzagate.sandbox.device.stream import DeviceStream

CONNECTING = 16


class Device:
    """One device."""

    def __init__(self, jid: str, password: str, context: ssl.SSLContext) -> None:
        self.stream = DeviceStream(jid, password, context=context, on_stanza=self.answer)

    def answer(self, stanza: Element) -> None:
        if stanza.get("type") == "get":
            sender, identifier = quoteattr(stanza.get("from", "")), quoteattr(stanza.get("id", ""))
            self.stream.write(f"<iq type='result' to={sender} id={identifier}/>")


async def main() -> None:
    settings: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())  # noqa: ASYNC240
    economise()
    context = ssl.create_default_context(cafile=settings["ca"])
    slots = asyncio.Semaphore(CONNECTING)

    async def connect(jid: str, password: str) -> Device:
        async with slots:
            device = Device(jid, password, context)
            await device.stream.open(settings["host"], settings["port"], 60)
            return device

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(connect(item["jid"], item["password"])) for item in settings["devices"]]
    devices = [task.result() for task in tasks]
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    for device in devices:
        device.stream.abort()


if __name__ == "__main__":
    asyncio.run(main())
