"""The policy that every sandbox starts with (contract, section 3), made through the admin API like any other."""

from __future__ import annotations

from typing import Any

import httpx

from component.base.errors import StanzagateError, Unreachable
from stanzagate.plugin import Mode
from stanzagate.sandbox.accounts import ACS_DOMAIN
from stanzagate.sandbox.plan import GATE, Layout, Plan
from stanzagate.sockets import short_name

GROUP = "lab"
_TIMEOUT_S = 30.0


async def healthy(plan: Plan) -> None:
    """See that ``serve`` answers, the gate is attached to the server, and the plugin does what it was told.

    :raises Unreachable: it does not, or is not.
    """
    with short_name(plan.layout.socket) as socket:
        async with _client(socket) as client:
            try:
                answer = await client.get("/healthz")
                health = answer.json()
            except (httpx.HTTPError, ValueError) as error:
                raise Unreachable(f"the admin API does not answer ({type(error).__name__}).") from None
    if answer.status_code != httpx.codes.OK or health.get("status") != "ok" or health.get("gate") != "attached":
        raise Unreachable(f"the gate is {health.get('gate', 'not attached')}.")
    if health["grid"] != "attached":
        raise Unreachable(f"the grid controller is {health['grid']}.")
    for host, mode in health["plugins"].items():
        wanted = plan.plugin.mode if host == plan.domains[0] else Mode.ENFORCE
        if mode != wanted:
            raise Unreachable(f"the plugin on {host} says {mode} instead of {wanted}.")


async def seed(plan: Plan) -> None:
    """Register the five devices in group ``lab``; let ``acs1`` wake the group and ``acs2`` the first device.

    Done once for a folder: what its user changed later is not undone.

    :raises StanzagateError: when the API refuses a step.
    """
    layout, devices = plan.layout, plan.accounts.devices
    if layout.policy_seeded.exists():
        return
    with short_name(layout.socket) as socket:
        async with _client(socket) as client:
            for device in devices:
                body = {
                    "id": device.id, "jid": device.jid, "groups": [GROUP],
                    "cr_username": device.cr_username, "cr_password": device.cr_password,
                }  # fmt: skip
                await _post(client, "/v1/devices", body)
            for number, target in ((1, f"group:{GROUP}"), (2, devices[0].id)):
                rule = {"effect": "allow", "requester": f"acs{number}@{ACS_DOMAIN}", "target": target}
                await _post(client, "/v1/rules", rule)
    layout.policy_seeded.touch(mode=0o600)


def device_settings(plan: Plan) -> dict[str, Any]:
    """The file of the reference devices. Each device's own list has the one entry that ``jid render`` gives; that of
    the last is empty, as TR-069 has it by default: it lets everybody in, and only the plugin protects it."""
    *others, last = plan.accounts.devices
    allowed = {device: [f"gate@{GATE}/gate"] for device in others} | {last: []}
    return {
        "ca": str(plan.layout.ca),
        "host": plan.c2s.host,
        "port": plan.c2s.port,
        "ready_file": str(plan.layout.devices_ready),
        "devices": [
            {
                "id": device.id, "jid": device.jid, "password": device.password,
                "cr_username": device.cr_username, "cr_password": device.cr_password,
                "allowed": allowed[device],
            }
            for device in plan.accounts.devices
        ],
    }  # fmt: skip


async def devices_connected(layout: Layout) -> None:
    """See that every reference device is connected.

    :raises Unreachable: not yet.
    """
    if not layout.devices_ready.exists():
        raise Unreachable("not every device is connected.")


def _client(socket: str) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(uds=socket)
    return httpx.AsyncClient(transport=transport, base_url="http://stanzagate", timeout=_TIMEOUT_S)


async def _post(client: httpx.AsyncClient, path: str, body: dict[str, Any]) -> None:
    """:raises StanzagateError: the API refused; one that exists already (from an interrupted start) is fine."""
    try:
        answer = await client.post(path, json=body)
    except httpx.HTTPError as error:
        raise Unreachable(f"The admin API stopped answering ({type(error).__name__}).") from None
    if answer.is_success or answer.status_code == httpx.codes.CONFLICT:
        return
    raise StanzagateError(f"The policy of the sandbox was refused: {path} answered {answer.status_code}.")
