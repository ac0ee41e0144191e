"""``python -m stanzagate.sandbox.device --config FILE``: many reference devices and the recording endpoint.

FILE is JSON, readable by its owner only; `settings.ProcessSettings` documents it. When every device is connected,
``ready_file`` is written: ``{"url": …, "informs": …, "jids": {id: jid}}``. SIGTERM and SIGINT end the process.
Exit codes: 0 ended on request, 1 it could not listen, 2 the file cannot be used.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import ssl
import sys
from pathlib import Path

from component.base.errors import ConfigError, StanzagateError
from stanzagate.sandbox.device.device import ReferenceDevice
from stanzagate.sandbox.device.economy import economise
from stanzagate.sandbox.device.recorder import Recorder
from stanzagate.sandbox.device.settings import ProcessSettings, load

log = logging.getLogger("stanzagate.sandbox.device")


async def run(settings: ProcessSettings) -> None:
    """Run the endpoint and the devices until SIGTERM or SIGINT.

    :raises OSError: when the endpoint cannot listen.
    """
    context = ssl.create_default_context(cafile=str(settings.ca))
    slots = asyncio.Semaphore(settings.connecting)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with contextlib.AsyncExitStack() as stack:
        recorder = Recorder()
        if settings.endpoint is not None:
            await stack.enter_async_context(recorder.listen(*settings.endpoint))
        devices = [
            ReferenceDevice(
                device,
                address=(settings.host, settings.port),
                context=context,
                acs=recorder.url,
                timers=settings.connection,
                slots=slots,
            )
            for device in settings.devices
        ]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(device.run(), name=device.settings.id) for device in devices]
            tasks.append(group.create_task(_announce(settings, recorder, devices)))
            await ended.wait()
            for task in tasks:
                task.cancel()


async def _announce(settings: ProcessSettings, recorder: Recorder, devices: list[ReferenceDevice]) -> None:
    for device in devices:
        await device.wait_online()
    log.info("%d devices are connected; their sessions go to %s", len(devices), recorder.url or "nobody")
    if settings.ready_file is not None:
        content = {
            "url": recorder.url or None,
            "informs": f"{recorder.url}informs" if recorder.url else None,
            "jids": {device.settings.id: device.conn_req_jabber_id for device in devices},
        }
        await asyncio.to_thread(_write_whole, settings.ready_file, json.dumps(content, indent=1) + "\n")


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)  # whoever waits for the file never sees half of it


def main() -> int:
    """The program; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m stanzagate.sandbox.device", description="Reference TR-069 devices."
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="JSON, readable by its owner only")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log a line for each request of a session
    economise()
    try:
        settings = load(arguments.config)
        asyncio.run(run(settings))
    except StanzagateError as error:
        print(error, file=sys.stderr)
        return error.exit_code if isinstance(error, ConfigError) else 1
    except OSError as error:
        log.error("The devices cannot run: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
