"""``stanzagate access``: who may do what with which topic of the grid."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from grid.model import Action
from stanzagate.cli import grid_output, output
from stanzagate.cli.options import AsJson, Comment, Directory, DryRun, Socket, remember, service

app = output.application()

Subject = Annotated[str, typer.Argument(metavar="NODE|group:G", help="A bare JID, or a group of nodes.")]
Doing = Annotated[
    str,
    typer.Argument(metavar="ACTION", help="publish, subscribe, read, write, bulk; or a role, see `access list`."),
]
About = Annotated[
    str, typer.Argument(metavar="TOPIC", help="A topic, which need not exist, or a pattern with *; covers subtopics.")
]


@app.callback()
def _access(ctx: typer.Context, directory: Directory = None, socket: Socket = None) -> None:
    """Who may do what with which topic. Nothing is permitted without a rule; forbid wins over permit."""
    remember(ctx, directory, socket)


@app.command(epilog="Example:  stanzagate access permit group:sensors publish IODEF-1.0")
def permit(
    ctx: typer.Context,
    subject: Subject,
    action: Doing,
    topic: About,
    comment: Comment = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Permit a node or a group something."""
    body = {"effect": "permit", "subject": subject, "action": action, "topic": topic, "comment": comment}
    with service(ctx, directory, socket) as client:
        answer = client.send("POST", "/v1/access", body={**body, "dry_run": dry_run})
    grid_output.change(answer, as_json=as_json)
    if not as_json and not answer["won"]:
        output.tell("Nobody gains a right by it now: rules hold for active nodes, on topics that are there.")


@app.command(epilog="Example:  stanzagate access forbid soc4@grid.test read 'Host-*' --comment 'left the project'")
def forbid(
    ctx: typer.Context,
    subject: Subject,
    action: Doing,
    topic: About,
    comment: Comment = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Forbid a node or a group something, whatever else permits it."""
    body = {"effect": "forbid", "subject": subject, "action": action, "topic": topic, "comment": comment}
    with service(ctx, directory, socket) as client:
        grid_output.change(client.send("POST", "/v1/access", body={**body, "dry_run": dry_run}), as_json=as_json)


@app.command(epilog="Example:  stanzagate access remove 17 --dry-run")
def remove(
    ctx: typer.Context,
    rule_id: Annotated[int, typer.Argument(metavar="ID", help="The rule's number, see `access list`.")],
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Remove a rule."""
    with service(ctx, directory, socket) as client:
        answer = client.send("DELETE", f"/v1/access/{rule_id}", {"dry_run": dry_run})
    grid_output.change(answer, as_json=as_json)


@app.command("list", epilog="Example:  stanzagate access list --roles")
def list_rules(
    ctx: typer.Context,
    roles: Annotated[bool, typer.Option("--roles", help="Show the roles, and what they stand for.")] = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Show all rules."""
    with service(ctx, directory, socket) as client:
        found = client.get("/v1/access/roles" if roles else "/v1/access")
    if as_json:
        output.document(found)
    elif roles:
        output.table(("ROLE", "ACTIONS"), [(name, ", ".join(actions)) for name, actions in found.items()])
    elif found:
        headers = ("ID", "EFFECT", "SUBJECT", "ACTION", "TOPIC", "COMMENT")
        output.table(headers, [_row(item) for item in found])
    else:
        output.tell("There are no rules: nobody may do anything. Begin with `stanzagate access permit`.")


def _row(item: dict[str, Any]) -> list[str]:
    comment = f"{item['comment']} ({item['by']})" if item["comment"] else f"({item['by']})"
    return [str(item["id"]), item["effect"], item["subject"], item["action"], item["topic"], comment]


@app.command(epilog="Example:  stanzagate access explain soc2@grid.test subscribe IODEF-1.0 || echo no")
def explain(
    ctx: typer.Context,
    node: Annotated[str, typer.Argument(metavar="NODE", help="The node's JID.")],
    action: Annotated[Action, typer.Argument(metavar="ACTION", help="publish, subscribe, read, write or bulk.")],
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="A topic or subtopic; need not exist.")],
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Say whether a node may do something, and why.

    Names the rules that decide. Exits with 0 when it may, with 1 when it may not.
    """
    with service(ctx, directory, socket) as client:
        found = client.get("/v1/access/explanation", node=node, action=action.value, topic=topic)
    if as_json:
        output.document(found)
    else:
        output.say(f"{found['decision']}: {found['node']} {found['action']} {found['topic']}: {found['reason']}")
    if found["decision"] != "permit":
        raise typer.Exit(1)
