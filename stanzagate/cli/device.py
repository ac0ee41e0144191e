"""``stanzagate device``: the device registry."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from stanzagate.cli import files, output, progress
from stanzagate.cli.client import Client, segment
from stanzagate.cli.options import AsJson, Directory, DryRun, Socket, remember, service

app = output.application()

Device = Annotated[str, typer.Argument(metavar="DEVICE", help="Id or JID.")]
Groups = Annotated[
    list[str] | None,
    typer.Option("--group", metavar="G", show_default=False, help="A group it is in; may be given again."),
]
Username = Annotated[
    str | None,
    typer.Option(
        "--cr-username", metavar="U", show_default=False, help="User name of connection requests to the device."
    ),
]
PasswordFile = Annotated[
    str | None,
    typer.Option(
        "--cr-password-file", metavar="F", show_default=False, help="File with the password for it; may be -."
    ),
]
PAGE = 5_000
NOT_REPORTED = "not-reported"


@app.callback()
def _device(ctx: typer.Context, directory: Directory = None, socket: Socket = None) -> None:
    """The device registry: id, full JID, groups and credentials of every device."""
    remember(ctx, directory, socket)


@app.command(epilog="Example:  stanzagate device add 00256D-0001 --jid cpe1@cpe.test/tr069 --group lab")
def add(
    ctx: typer.Context,
    *,
    device_id: Annotated[str, typer.Argument(metavar="ID", help="The id by which you know it.")],
    jid: Annotated[str, typer.Option("--jid", metavar="FULLJID", help="Its full JID: local@domain/resource.")],
    groups: Groups = None,
    cr_username: Username = None,
    cr_password_file: PasswordFile = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Register a device.

    Its credentials are stored encrypted and never shown.
    """
    body = {"id": device_id, "jid": jid, "groups": groups or [], "dry_run": dry_run}
    body |= _credentials(cr_username, cr_password_file)
    with service(ctx, directory, socket) as client:
        output.change(client.send("POST", "/v1/devices", body=body), as_json=as_json)


def _credentials(username: str | None, password_file: str | None) -> dict[str, str]:
    if (username is None) != (password_file is None):
        raise typer.BadParameter("Credentials are --cr-username and --cr-password-file; give both or none.")
    if username is None or password_file is None:
        return {}
    return {"cr_username": username, "cr_password": files.read_secret(password_file)}


@app.command("set", epilog="Example:  stanzagate device set 00256D-0001 --group lab --group north")
def change(
    ctx: typer.Context,
    *,
    device: Device,
    jid: Annotated[
        str | None, typer.Option("--jid", metavar="FULLJID", show_default=False, help="Its new full JID.")
    ] = None,
    groups: Groups = None,
    no_groups: Annotated[bool, typer.Option("--no-groups", help="It is in no group.")] = False,
    cr_username: Username = None,
    cr_password_file: PasswordFile = None,
    no_credentials: Annotated[bool, typer.Option("--no-credentials", help="Forget its credentials.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Change a device; what is not named stays.

    The groups that are given replace those that it is in.
    """
    body: dict[str, Any] = _credentials(cr_username, cr_password_file)
    if (groups and no_groups) or (body and no_credentials):
        raise typer.BadParameter("Say either what it has, or that it has none.")
    if no_credentials:
        body = {"cr_username": "", "cr_password": ""}
    if jid is not None:
        body["jid"] = jid
    if groups or no_groups:
        body["groups"] = groups or []
    if not body:
        raise typer.BadParameter("Nothing was said that is to change.")
    with service(ctx, directory, socket) as client:
        path = f"/v1/devices/{segment(device)}"
        output.change(client.send("PATCH", path, body={**body, "dry_run": dry_run}), as_json=as_json)


@app.command("import", epilog="Example:  stanzagate device import devices.csv --dry-run")
def import_devices(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="CSV: id,jid,cr_username,cr_password,groups.")],
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Register and replace devices from CSV.

    All or none; every bad line is named. FILE may be -. Groups are separated by ';'.
    A device with both credentials empty keeps those that it has.
    """
    with (
        service(ctx, directory, socket) as client,
        files.opened(file) as stream,
        progress.sending(stream, "checking" if dry_run else "importing") as content,
    ):
        answer = client.send("POST", "/v1/devices.csv", {"dry_run": dry_run}, content=content, patience=None)
    output.change(answer, as_json=as_json)


@app.command("list", epilog="Example:  stanzagate device list --online --group lab")
def list_devices(
    ctx: typer.Context,
    online: Annotated[
        bool | None, typer.Option("--online/--offline", show_default=False, help="Only those that are, or are not.")
    ] = None,
    group: Annotated[
        str | None, typer.Option("--group", metavar="G", show_default=False, help="Only those in this group.")
    ] = None,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """List devices by id.

    Who is connected is known while an in-server plugin reports it; without one `wake` finds out.
    """
    with service(ctx, directory, socket) as client, progress.reading("reading"):
        pages = _pages(client, {"online": online, "group": group, "limit": PAGE})
        first = next(pages)
        devices = (device for page in itertools.chain([first], pages) for device in page["devices"])
        if as_json:
            output.listing(devices)
            return
        rows = ([device["id"], device["jid"], _online(device), ";".join(device["groups"])] for device in devices)
        found = output.table(("ID", "JID", "ONLINE", "GROUPS"), rows)
    if online is not None and first.get("sessions") == NOT_REPORTED:
        output.tell(f"Nobody reports sessions at the moment, so it is not known which devices are {_state(online)}.")
        output.tell("  `stanzagate wake DEVICE` finds out.")
    elif not found:
        output.tell("There is no such device.")


def _state(online: bool) -> str:
    return "online" if online else "offline"


def _pages(client: Client, parameters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    after = ""
    while True:
        page = client.get("/v1/devices", **parameters, after=after)
        yield page
        after = page["next"]
        if not after:
            return


def _online(device: dict[str, Any]) -> str:
    if device.get("sessions") == NOT_REPORTED:
        return "unknown"
    return "yes" if device["online"] else "no"


@app.command(epilog="Example:  stanzagate device show 00256D-0001 --json")
def show(
    ctx: typer.Context,
    device: Device,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Show a device and the rules that reach it."""
    with service(ctx, directory, socket) as client:
        found = client.get(f"/v1/devices/{segment(device)}")
    if as_json:
        output.document(found)
        return
    since = f" since {output.when(found['since'])}" if found["since"] is not None else ""
    output.say(f"id           {found['id']}")
    output.say(f"jid          {found['jid']}")
    output.say(f"groups       {', '.join(found['groups']) or '-'}")
    output.say(f"online       {_online(found)}{since}")
    output.say(f"credentials  {'stored' if found['has_credentials'] else 'none'}")
    for rule in found["rules"]:
        ends = f" until {output.when(rule['expires'])}" if rule["expires"] is not None else ""
        output.say(f"rule {rule['id']:<7} {rule['effect']} {rule['requester']} to {rule['target']}{ends}")


@app.command(epilog="Example:  stanzagate device remove 00256D-0001 --dry-run")
def remove(
    ctx: typer.Context,
    device: Device,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Remove a device, and the rules that name it."""
    with service(ctx, directory, socket) as client:
        answer = client.send("DELETE", f"/v1/devices/{segment(device)}", {"dry_run": dry_run})
    output.change(answer, as_json=as_json)


@app.command(epilog="Example:  stanzagate device export > devices.csv")
def export(
    ctx: typer.Context,
    credentials: Annotated[
        bool, typer.Option("--credentials", help="Include credentials in clear; that is recorded.")
    ] = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Write all devices as CSV."""
    parameters = {"credentials": credentials}
    out = output.data()
    with (
        service(ctx, directory, socket) as client,
        progress.reading("exporting"),
        client.stream("GET", "/v1/devices.csv", parameters) as response,
    ):
        for piece in response.iter_bytes():
            out.write(piece)
    out.flush()
