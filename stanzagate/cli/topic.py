"""``stanzagate topic``: capabilities and topics of the grid."""

from __future__ import annotations

import base64
from typing import Annotated, Any

import typer

from component.base.errors import InputError
from grid.model import AccessModel, Flow, Payload
from stanzagate.cli import files, grid_output, output
from stanzagate.cli.client import segment
from stanzagate.cli.options import AsJson, Directory, DryRun, Socket, remember, service

app = output.application()

SCHEMA_READ = 1024 * 1024

Named = Annotated[str, typer.Argument(metavar="TOPIC", help="The topic's name, for example IODEF-1.0.")]
Type = Annotated[
    str | None, typer.Option("--type", metavar="NS", show_default=False, help="Namespace of the items' root element.")
]
SchemaFile = Annotated[
    str | None,
    typer.Option("--schema", metavar="FILE", show_default=False, help="XML Schema or JSON Schema of the items."),
]
Title = Annotated[str | None, typer.Option("--title", metavar="TEXT", show_default=False, help="What it is about.")]
PayloadKind = Annotated[Payload | None, typer.Option("--payload", help="What items are.", show_default=False)]
FlowKind = Annotated[Flow | None, typer.Option("--flow", help="How its data flows.", show_default=False)]
Persist = Annotated[
    int | None,
    typer.Option("--persist", metavar="N", min=0, show_default=False, help="How many items the server keeps."),
]
Model = Annotated[
    AccessModel | None,
    typer.Option(
        "--access-model", show_default=False, help="authorize: every node sees it and may ask to subscribe."
    ),
]
Restricted = Annotated[
    bool | None,
    typer.Option(
        "--enforce-restriction/--no-enforce-restriction", help="Deliver by IODEF's restriction: not in this version."
    ),
]
Honey = Annotated[
    bool | None, typer.Option("--honeytoken/--no-honeytoken", help="Whoever touches it raises an alert.")
]
Cacheable = Annotated[
    bool | None, typer.Option("--cacheable/--no-cacheable", help="Whether offline nodes get items later.")
]


@app.callback()
def _topic(ctx: typer.Context, directory: Directory = None, socket: Socket = None) -> None:
    """Capabilities and topics: what can be published, who publishes, who has subscribed."""
    remember(ctx, directory, socket)


@app.command(epilog="Example:  stanzagate topic add Host 1.0 --type urn:example:host --schema host.xsd")
def add(  # noqa: PLR0917  typer makes options of parameters
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The capability; its topic is NAME-VERSION.")],
    version: Annotated[str, typer.Argument(metavar="VERSION", help="Of the capability; versions live side by side.")],
    type_: Annotated[str, typer.Option("--type", metavar="NS", help="Namespace of the items' root element.")],
    label: Annotated[
        str, typer.Option("--label", metavar="L", show_default=False, help="A further topic, NAME-VERSION-L.")
    ] = "",
    schema: SchemaFile = None,
    title: Title = None,
    payload: PayloadKind = None,
    flow: FlowKind = None,
    persist: Persist = None,
    access_model: Model = None,
    enforce_restriction: Restricted = None,
    honeytoken: Honey = None,
    cacheable: Cacheable = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Make a topic for a version of a capability."""
    fields = _fields(title, payload, flow, persist, access_model, enforce_restriction, honeytoken, cacheable, schema)
    body = {"capability": name, "version": version, "label": label, "type": type_, "dry_run": dry_run, **fields}
    with service(ctx, directory, socket) as client:
        grid_output.change(client.send("POST", "/v1/topics", body=body), as_json=as_json)


@app.command(epilog="Example:  stanzagate topic configure Host-1.0 --access-model authorize")
def configure(  # noqa: PLR0917  typer makes options of parameters
    ctx: typer.Context,
    topic: Named,
    type_: Type = None,
    schema: SchemaFile = None,
    title: Title = None,
    payload: PayloadKind = None,
    flow: FlowKind = None,
    persist: Persist = None,
    access_model: Model = None,
    enforce_restriction: Restricted = None,
    honeytoken: Honey = None,
    cacheable: Cacheable = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Change a topic; what is not said stays."""
    fields = _fields(title, payload, flow, persist, access_model, enforce_restriction, honeytoken, cacheable, schema)
    if type_ is not None:
        fields["type"] = type_
    with service(ctx, directory, socket) as client:
        answer = client.send("PATCH", f"/v1/topics/{segment(topic)}", body={**fields, "dry_run": dry_run})
    grid_output.change(answer, as_json=as_json)


@app.command("list", epilog="Example:  stanzagate topic list --json")
def list_topics(
    ctx: typer.Context, as_json: AsJson = False, directory: Directory = None, socket: Socket = None
) -> None:
    """Show all topics."""
    with service(ctx, directory, socket) as client:
        found = client.get("/v1/topics")
    if as_json:
        output.document(found)
        return
    headers = ("TOPIC", "STATE", "PROVIDERS", "SUBSCRIBERS", "PENDING", "TYPE")
    output.table(headers, [_row(item) for item in found])


def _row(item: dict[str, Any]) -> list[str]:
    state = "enabled" if item["enabled"] else "disabled"
    return [
        item["name"], state, str(item["providers"]), str(item["subscribers"]), str(item["pending"]),
        item["type"] or "-",
    ]  # fmt: skip


@app.command(epilog="Example:  stanzagate topic show IODEF-1.0")
def show(
    ctx: typer.Context, topic: Named, as_json: AsJson = False, directory: Directory = None, socket: Socket = None
) -> None:
    """Show what a topic is, who publishes, subscribes, waits."""
    with service(ctx, directory, socket) as client:
        found = client.get(f"/v1/topics/{segment(topic)}")
    if as_json:
        output.document(found)
        return
    for name, value in _told(found):
        output.say(f"{name + ':':<16}{value}")


def _told(found: dict[str, Any]) -> list[tuple[str, str]]:
    flags = [
        name
        for name, said in (
            ("restriction enforced", found["enforce_restriction"]),
            ("honeytoken", found["honeytoken"]),
            ("not cacheable", not found["cacheable"]),
        )
        if said
    ]
    providers = [
        each["jid"] + (f" ({', '.join(each['queries'])})" if each["queries"] else "") for each in found["providers"]
    ]
    return [
        ("topic", found["name"]),
        ("capability", f"{found['capability']} {found['version']}".strip()),
        ("type", found["type"] or "-"),
        ("state", "enabled" if found["enabled"] else "disabled"),
        ("title", found["title"] or "-"),
        ("payload", f"{found['payload']}, checked by {' and '.join(found['validated']) or 'nothing'}"),
        ("access", found["access_model"]),
        ("flow", found["flow"]),
        ("kept", f"{found['persist']} items"),
        ("flags", ", ".join(flags) or "-"),
        ("publishers", ", ".join(found["publishers"]) or "-"),
        ("providers", ", ".join(providers) or "-"),
        ("subscribers", ", ".join(found["subscribers"]) or "-"),
        ("pending", ", ".join(found["pending"]) or "-"),
        ("subtopics", ", ".join(found["subtopics"]) or "-"),
        ("honeytokens", ", ".join(found["honeytokens"]) or "-"),
    ]


@app.command(epilog="Example:  stanzagate topic enable IODEF-1.0")
def enable(
    ctx: typer.Context,
    topic: Named,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Let a topic be used again; subscriptions are as they were."""
    _switch(ctx, directory, socket, topic, {"enabled": True, "dry_run": dry_run}, as_json)


@app.command(epilog="Example:  stanzagate topic disable IODEF-1.0 --dry-run")
def disable(
    ctx: typer.Context,
    topic: Named,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Let nobody see or use a topic until it is enabled again."""
    _switch(ctx, directory, socket, topic, {"enabled": False, "dry_run": dry_run}, as_json)


def _switch(
    ctx: typer.Context, directory: Directory, socket: Socket, topic: str, body: dict[str, Any], as_json: bool
) -> None:
    with service(ctx, directory, socket) as client:
        grid_output.change(client.send("PATCH", f"/v1/topics/{segment(topic)}", body=body), as_json=as_json)


@app.command(epilog="Example:  stanzagate topic delete Host-1.0 --dry-run")
def delete(
    ctx: typer.Context,
    topic: Named,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Remove a topic with its subscriptions; rules about it stay."""
    with service(ctx, directory, socket) as client:
        answer = client.send("DELETE", f"/v1/topics/{segment(topic)}", {"dry_run": dry_run})
    grid_output.change(answer, as_json=as_json)


@app.command(epilog="Example:  stanzagate topic honeytoken IODEF-1.0 incident-4711")
def honeytoken(
    ctx: typer.Context,
    topic: Named,
    item: Annotated[str, typer.Argument(metavar="ITEM", help="The id of an item.")],
    remove: Annotated[bool, typer.Option("--remove", help="Make it an ordinary item again.")] = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Have whoever touches an item of a topic raise an alert."""
    path = f"/v1/topics/{segment(topic)}/honeytokens"
    with service(ctx, directory, socket) as client:
        if remove:
            found = client.send("DELETE", f"{path}/{segment(item)}")
        else:
            found = client.send("POST", path, body={"item": item})
    if as_json:
        output.document(found)
    else:
        output.say(f"Honeytokens of {topic}: {', '.join(found) or 'none'}")


def _fields(
    title: str | None,
    payload: Payload | None,
    flow: Flow | None,
    persist: int | None,
    access_model: AccessModel | None,
    enforce_restriction: bool | None,
    honeytoken: bool | None,
    cacheable: bool | None,
    schema: str | None,
) -> dict[str, Any]:
    """What the options say, as the admin API takes it."""
    said = {
        "title": title, "payload": payload, "flow": flow, "persist": persist, "access_model": access_model,
        "enforce_restriction": enforce_restriction, "honeytoken": honeytoken, "cacheable": cacheable,
    }  # fmt: skip
    fields: dict[str, Any] = {name: value for name, value in said.items() if value is not None}
    if schema is not None:
        fields["schema_base64"] = base64.b64encode(_read(schema)).decode("ascii")
    return fields


def _read(name: str) -> bytes:
    with files.opened(name) as file:
        try:
            source = file.read(SCHEMA_READ + 1)
        except OSError as error:
            raise InputError(f"{name} cannot be read: {error.strerror}.") from None
    if len(source) > SCHEMA_READ:
        raise InputError(f"{name} is too large for a schema.")
    return source
