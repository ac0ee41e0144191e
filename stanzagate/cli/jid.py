"""``stanzagate jid``: who may wake which device."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from component.base.errors import InputError
from stanzagate.cli import files, output
from stanzagate.cli.client import segment
from stanzagate.cli.options import AsJson, Comment, Directory, DryRun, Expires, Socket, remember, service

app = output.application()

Requester = Annotated[
    str, typer.Argument(metavar="REQUESTER", help="A bare JID matches every resource, a full JID exactly.")
]
To = Annotated[str, typer.Option("--to", metavar="TARGET", help="A device (id or JID), group:NAME, or all.")]
LONG_SECONDS = 600.0


class Via(StrEnum):
    """How requests reach a device."""

    GATE = "gate"
    DIRECT = "direct"
    BOTH = "both"


@app.callback()
def _jid(ctx: typer.Context, directory: Directory = None, socket: Socket = None) -> None:
    """Who may wake which device. Deny wins over allow; suspend wins over everything."""
    remember(ctx, directory, socket)


@app.command(epilog="Example:  stanzagate jid allow acs1@acs.test --to group:lab --expires 30d")
def allow(
    ctx: typer.Context,
    requester: Requester,
    to: To,
    expires: Expires = None,
    comment: Comment = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Let a requester wake something."""
    body = {"effect": "allow", "requester": requester, "target": to, "expires": expires, "comment": comment}
    _change(ctx, directory, socket, "POST", "/v1/rules", body={**body, "dry_run": dry_run}, as_json=as_json)


@app.command(epilog="Example:  stanzagate jid deny acs1@acs.test --to 00256D-0001 --comment 'in repair'")
def deny(
    ctx: typer.Context,
    requester: Requester,
    to: To,
    expires: Expires = None,
    comment: Comment = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Forbid a requester to wake something."""
    body = {"effect": "deny", "requester": requester, "target": to, "expires": expires, "comment": comment}
    _change(ctx, directory, socket, "POST", "/v1/rules", body={**body, "dry_run": dry_run}, as_json=as_json)


@app.command(epilog="Example:  stanzagate jid remove 17 --dry-run")
def remove(
    ctx: typer.Context,
    rule_id: Annotated[int, typer.Argument(metavar="ID", help="The rule's number, see `jid list`.")],
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Remove a rule."""
    _change(ctx, directory, socket, "DELETE", f"/v1/rules/{rule_id}", {"dry_run": dry_run}, as_json=as_json)


@app.command(epilog="Example:  stanzagate jid suspend acs2@acs.test --comment 'key leaked'")
def suspend(
    ctx: typer.Context,
    requester: Requester,
    expires: Expires = None,
    comment: Comment = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Let a requester wake nothing until it is resumed."""
    body = {"requester": requester, "expires": expires, "comment": comment, "dry_run": dry_run}
    _change(ctx, directory, socket, "POST", "/v1/suspensions", body=body, as_json=as_json)


@app.command(epilog="Example:  stanzagate jid resume acs2@acs.test")
def resume(
    ctx: typer.Context,
    requester: Requester,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """End a suspension."""
    path = f"/v1/suspensions/{segment(requester)}"
    _change(ctx, directory, socket, "DELETE", path, {"dry_run": dry_run}, as_json=as_json)


@app.command("list", epilog="Example:  stanzagate jid list --json")
def list_rules(
    ctx: typer.Context, as_json: AsJson = False, directory: Directory = None, socket: Socket = None
) -> None:
    """Show all rules and suspensions."""
    with service(ctx, directory, socket) as client:
        found = client.get("/v1/policy")
    if as_json:
        output.document(found)
    elif found:
        output.table(("ID", "EFFECT", "REQUESTER", "TARGET", "EXPIRES", "COMMENT"), [_row(item) for item in found])
    else:
        output.tell("There are no rules: nobody may wake anything. Begin with `stanzagate jid allow`.")


def _row(item: dict[str, Any]) -> list[str]:
    suspension = item["effect"] == "suspend"
    comment = f"{item['comment']} ({item['by']})" if item["comment"] else f"({item['by']})"
    return [
        "-" if suspension else str(item["id"]), item["effect"], item["requester"], item["target"] or "-",
        output.when(item["expires"], "never"), comment,
    ]  # fmt: skip


@app.command(epilog="Example:  stanzagate jid check acs1@acs.test/acs 00256D-0001 || echo no")
def check(
    ctx: typer.Context,
    requester: Requester,
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="Id or JID; need not be registered.")],
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Say whether a requester may wake a device, and why.

    Exits with 0 when it may, with 1 when it may not.
    """
    with service(ctx, directory, socket) as client:
        decision = client.get("/v1/check", requester=requester, device=device)
    if as_json:
        output.document(decision)
    else:
        output.say(f"{decision['effect']}: {decision['requester']} to {decision['device']}: {decision['reason']}")
    if decision["effect"] != "allow":
        raise typer.Exit(1)


@app.command("import", epilog="Example:  stanzagate jid import rules.csv --dry-run")
def import_rules(
    ctx: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="CSV: effect,requester,target,expires,comment.")],
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Add rules and suspensions from CSV.

    All or none; every bad line is named. FILE may be -. What is there already is skipped.
    """
    with service(ctx, directory, socket) as client, files.opened(file) as stream:
        try:
            content = stream.read()
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror}.") from None
        answer = client.send("POST", "/v1/rules.csv", {"dry_run": dry_run}, content=content, patience=LONG_SECONDS)
    output.change(answer, as_json=as_json)


@app.command(epilog="Example:  stanzagate jid export > rules.csv")
def export(ctx: typer.Context, directory: Directory = None, socket: Socket = None) -> None:
    """Write all rules and suspensions as CSV."""
    out = output.data()
    with service(ctx, directory, socket) as client, client.stream("GET", "/v1/rules.csv") as response:
        for piece in response.iter_bytes():
            out.write(piece)
    out.flush()


@app.command(epilog="Example:  stanzagate jid render 00256D-0001 --via both")
def render(
    ctx: typer.Context,
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="Id or JID of a registered device.")],
    via: Annotated[Via, typer.Option("--via", help="How requests reach the device.")] = Via.GATE,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Show what belongs into a device's own list of allowed JIDs.

    That is ConnReqAllowedJabberIDs of its data model; one entry in a line, the gate first.
    """
    with service(ctx, directory, socket) as client:
        found = client.get("/v1/render", device=device, via=via.value)
    if as_json:
        output.document(found)
        return
    for entry in found["entries"]:
        output.say(entry)


@app.command(epilog="Example:  stanzagate jid suggest")
def suggest(ctx: typer.Context, as_json: AsJson = False, directory: Directory = None, socket: Socket = None) -> None:
    """Propose rules from what was refused for want of one."""
    with service(ctx, directory, socket) as client:
        found = client.get("/v1/suggestions")
    if as_json:
        output.document(found)
        return
    if not found:
        output.tell("Nothing was refused for want of a rule.")
    for item in found:
        output.say(f"{item['command']}   # asked for {item['seen']} of {item['devices']}")


def _change(
    ctx: typer.Context,
    directory: Directory,
    socket: Socket,
    method: str,
    path: str,
    parameters: dict[str, Any] | None = None,
    *,
    body: dict[str, Any] | None = None,
    as_json: bool,
) -> None:
    with service(ctx, directory, socket) as client:
        output.change(client.send(method, path, parameters, body=body), as_json=as_json)
