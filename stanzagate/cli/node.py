"""``stanzagate node``: the nodes of the grid."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import typer

from stanzagate.cli import files, grid_output, output, progress
from stanzagate.cli.client import Client, segment
from stanzagate.cli.options import AsJson, Directory, DryRun, Socket, remember, service

app = output.application()
group_app = output.application()
app.add_typer(group_app, name="group", help="Put nodes into groups, and take them out.")

NodeJid = Annotated[str, typer.Argument(metavar="JID", help="Its bare JID.")]
Group = Annotated[str, typer.Argument(metavar="GROUP", help="The name of the group.")]
Groups = Annotated[
    list[str] | None,
    typer.Option("--group", metavar="G", show_default=False, help="A group it is put into; may be given again."),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", show_default=False, help="Why.")]
PAGE = 5_000


class State(StrEnum):
    """Where a node stands."""

    PENDING = "pending"
    ACTIVE = "active"
    DISABLED = "disabled"


class Level(StrEnum):
    """Up to which restriction a node may see incidents (RFC 7970 §3.3.1); several words say the same."""

    WHITE = "white"
    PUBLIC = "public"
    GREEN = "green"
    PARTNER = "partner"
    AMBER = "amber"
    NEED_TO_KNOW = "need-to-know"
    RED = "red"
    PRIVATE = "private"


@app.callback()
def _node(ctx: typer.Context, directory: Directory = None, socket: Socket = None) -> None:
    """The nodes of the grid: who has asked to join, and who may."""
    remember(ctx, directory, socket)


@group_app.callback()
def _group(ctx: typer.Context, directory: Directory = None, socket: Socket = None) -> None:
    """Put nodes into groups, and take them out."""
    remember(ctx, directory, socket)


@app.command(epilog="Example:  stanzagate node add soc1@grid.test --group sensors --password-file soc1.password")
def add(
    ctx: typer.Context,
    *,
    jid: NodeJid,
    groups: Groups = None,
    password_file: Annotated[
        str | None,
        typer.Option(
            "--password-file", metavar="F", show_default=False,
            help="File with the password of its account; may be -. Without one it needs a certificate.",
        ),
    ] = None,
    clearance: Annotated[
        Level | None, typer.Option("--clear", metavar="LEVEL", show_default=False, help="See `node clear`.")
    ] = None,
    reason: Reason = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:  # fmt: skip
    """Admit a platform, best before it was ever seen.

    Its account is made on the server. The password is stored there only. One that waits already is let in, as by
    `node approve`.
    """
    body: dict[str, Any] = {"jid": jid, "groups": groups or [], "reason": reason, "dry_run": dry_run}
    if clearance is not None:
        body["clearance"] = clearance.value
    if password_file is not None:
        body["password"] = files.read_secret(password_file)
    _change(ctx, directory, socket, "POST", "/v1/nodes", body=body, as_json=as_json)


@app.command("list", epilog="Example:  stanzagate node list --state pending")
def list_nodes(
    ctx: typer.Context,
    state: Annotated[
        State | None, typer.Option("--state", metavar="S", show_default=False, help="Only those that are so.")
    ] = None,
    group: Annotated[
        str | None, typer.Option("--group", metavar="G", show_default=False, help="Only those in this group.")
    ] = None,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """List nodes by JID. States are pending, active and disabled."""
    wanted = {"state": state.value if state else None, "group": group, "limit": PAGE}
    with service(ctx, directory, socket) as client, progress.reading("reading"):
        pages = _pages(client, wanted)
        nodes = (node for page in itertools.chain([next(pages)], pages) for node in page["nodes"])
        if as_json:
            output.listing(nodes)
            return
        rows = (
            [node["jid"], node["state"], _there(node), node["clearance"], ";".join(node["groups"]) or "-"]
            for node in nodes
        )
        found = output.table(("JID", "STATE", "ONLINE", "CLEARED", "GROUPS"), rows)
    if not found:
        output.tell("There is no such node." if state or group else "No node has asked to join yet.")


def _pages(client: Client, wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
    after = ""
    while True:
        page = client.get("/v1/nodes", **wanted, after=after)
        yield page
        after = page["next"]
        if not after:
            return


def _there(node: dict[str, Any]) -> str:
    return "logged in" if node["logged_in"] else "yes" if node["online"] else "no"


@app.command(epilog="Example:  stanzagate node show soc1@grid.test --json")
def show(
    ctx: typer.Context, jid: NodeJid, as_json: AsJson = False, directory: Directory = None, socket: Socket = None
) -> None:
    """Show who a node is, what it may do, and what it does."""
    with service(ctx, directory, socket) as client:
        found = client.get(f"/v1/nodes/{segment(jid)}")
    if as_json:
        output.document(found)
        return
    for line in _shown(found):
        output.say(line)


def _shown(node: dict[str, Any]) -> Iterator[str]:
    yield f"jid         {node['jid']}"
    yield f"state       {node['state']}{' (' + node['reason'] + ')' if node['reason'] else ''}"
    yield f"since       {output.when(node['since'])}"
    yield f"groups      {', '.join(node['groups']) or '-'}"
    yield f"cleared to  {node['clearance']}"
    yield f"account     {'made here' if node['account_made'] else 'not made here'}"
    yield f"online      {_there(node)}"
    for session in node["sessions"]:
        how = f" by {session['mechanism']}" if session["mechanism"] else ""
        yield f"session     {session['jid']} since {output.when(session['since'])}{how}"
    for item in node["certificates"]:
        ends = f" until {output.when(item['ends'])}" if item["ends"] is not None else ""
        gone = f", revoked {output.when(item['revoked'])}" if item["revoked"] is not None else ""
        yield f"certificate {item['fingerprint']}{ends}{gone}"
    for right in node["rights"]:
        yield f"may         {right['action']} {right['topic']}"
    for name in node["provides"]:
        yield f"provides    {name}"
    for item in node["subscriptions"]:
        yield f"subscribed  {item['topic']}{' (pending)' if item['state'] == 'pending' else ''}"
    for row in node["accesses"]:
        yield f"did         {output.when(row['time'])} {row['action']} {row['subject']}"


@app.command(epilog="Example:  stanzagate node approve soc1@grid.test --group sensors")
def approve(
    ctx: typer.Context,
    *,
    jid: NodeJid,
    groups: Groups = None,
    reason: Reason = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Let a node in that waits."""
    body = {"groups": groups or [], "reason": reason, "dry_run": dry_run}
    _change(ctx, directory, socket, "POST", _path(jid, "approve"), body=body, as_json=as_json)


@app.command(epilog="Example:  stanzagate node reject soc9@grid.test --reason 'nobody knows it'")
def reject(
    ctx: typer.Context,
    jid: NodeJid,
    reason: Reason = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Send a node away that waits. It may ask again."""
    body = {"reason": reason, "dry_run": dry_run}
    _change(ctx, directory, socket, "POST", _path(jid, "reject"), body=body, as_json=as_json)


@app.command(epilog="Example:  stanzagate node disable soc1@grid.test --reason 'compromised'")
def disable(
    ctx: typer.Context,
    jid: NodeJid,
    reason: Reason = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Shut a node out until it is enabled again.

    Its sessions and subscriptions end at once.
    """
    body = {"reason": reason, "dry_run": dry_run}
    _change(ctx, directory, socket, "POST", _path(jid, "disable"), body=body, as_json=as_json)


@app.command(epilog="Example:  stanzagate node enable soc1@grid.test")
def enable(
    ctx: typer.Context,
    jid: NodeJid,
    reason: Reason = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Let a node in again that was disabled."""
    body = {"reason": reason, "dry_run": dry_run}
    _change(ctx, directory, socket, "POST", _path(jid, "enable"), body=body, as_json=as_json)


@app.command(epilog="Example:  stanzagate node delete soc1@grid.test --dry-run")
def delete(
    ctx: typer.Context,
    jid: NodeJid,
    reason: Reason = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Forget a node, its subscriptions and its certificates.

    Its account on the server is deleted, too, if it was made here (`node show` tells); one that was there before
    stays, with its password. The node may ask again; to keep it out, revoke its certificate, or disable it instead.
    """
    parameters = {"reason": reason, "dry_run": dry_run}
    _change(ctx, directory, socket, "DELETE", _path(jid), parameters, as_json=as_json)


@app.command(epilog="Example:  stanzagate node clear soc1@grid.test amber")
def clear(
    ctx: typer.Context,
    jid: Annotated[str, typer.Argument(metavar="NODE", help="Its bare JID.")],
    level: Annotated[
        Level,
        typer.Argument(
            metavar="LEVEL", help="white (public), green (partner), amber (need-to-know) or red (private)."
        ),
    ],
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Say up to which restriction a node may see incidents.

    On topics that enforce it.
    """
    body = {"level": level.value, "dry_run": dry_run}
    _change(ctx, directory, socket, "PUT", _path(jid, "clearance"), body=body, as_json=as_json)


@group_app.command("add", epilog="Example:  stanzagate node group add soc1@grid.test sensors")
def group_add(
    ctx: typer.Context,
    jid: NodeJid,
    group: Group,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Put a node into a group."""
    path = _path(jid, "groups", segment(group))
    _change(ctx, directory, socket, "PUT", path, {"dry_run": dry_run}, as_json=as_json)


@group_app.command("remove", epilog="Example:  stanzagate node group remove soc1@grid.test sensors")
def group_remove(
    ctx: typer.Context,
    jid: NodeJid,
    group: Group,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Take a node out of a group."""
    path = _path(jid, "groups", segment(group))
    _change(ctx, directory, socket, "DELETE", path, {"dry_run": dry_run}, as_json=as_json)


def _path(jid: str, *rest: str) -> str:
    return "/".join(("/v1/nodes", segment(jid), *rest))


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
        grid_output.change(client.send(method, path, parameters, body=body), as_json=as_json)
