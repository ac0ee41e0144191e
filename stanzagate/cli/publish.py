"""``stanzagate publish``: items from files to a topic of the grid."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from component.base.errors import InputError, StanzagateError
from stanzagate.cli import files, output, progress
from stanzagate.cli.gridnode import (
    Ca,
    Cert,
    Host,
    Identity,
    Key,
    NoController,
    NodeJid,
    PasswordFile,
    Pin,
    Sandbox,
    agent,
)
from stanzagate.cli.iodef_source import Form, form_of, read
from stanzagate.cli.options import AsJson, remember

if TYPE_CHECKING:
    from grid.agent import Agent

LARGEST = 4 * 1024 * 1024


def publish(
    ctx: typer.Context,
    *,
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="Name of the topic: IODEF-1.0.")],
    names: Annotated[
        list[str], typer.Argument(metavar="FILE…", help="An item each: XML, JSON, or any other text; may be -.")
    ],
    id: Annotated[
        str | None,
        typer.Option(
            "--id", metavar="ID", show_default=False, help="Of the item, when there is one FILE; else random."
        ),
    ] = None,
    strip: Annotated[
        list[str] | None,
        typer.Option(
            "--strip",
            metavar="PATH",
            show_default=False,
            help="Take this out before: Incident/Contact, //@restriction; may be given again.",
        ),
    ] = None,
    jid: NodeJid = None,
    cert: Cert = None,
    key: Key = None,
    password_file: PasswordFile = None,
    ca: Ca = None,
    host: Host = None,
    pin: Pin = None,
    no_controller: NoController = False,
    as_json: AsJson = False,
    directory: Sandbox = None,
) -> None:
    """Publish files to a topic, as a node; done means that the broker has them.

    IODEF is validated before it is sent. It stops at the first file that cannot be published.

    Example:  stanzagate publish IODEF-1.0 incident.xml --dir DIR
    """
    if id is not None and len(names) > 1:
        raise typer.BadParameter("--id is for one FILE.")
    if names.count(files.STANDARD) > 1:
        raise typer.BadParameter("Standard input, -, can be read only once.")
    remember(ctx, directory, None)
    said = Identity(
        jid=jid,
        host=host,
        ca=ca,
        cert=cert,
        key=key,
        password_file=password_file,
        pin=pin,
        no_controller=no_controller,
    )
    node = agent(said, ctx.obj.directory, "publish", strip=strip or ())
    results: list[dict[str, Any]] = []
    try:
        with progress.counting(not as_json) as bar:
            asyncio.run(_publish(node, topic, names, id, results, bar))
    finally:
        if as_json:
            output.document(results)


async def _publish(node: Agent, topic: str, names: list[str], id: str | None, results: list[Any], bar: Any) -> None:
    payloads = {name: await asyncio.to_thread(_payload, name) for name in names[:1]}  # before anybody is asked
    async with node:
        for name in names:
            payload = payloads[name] if name in payloads else await asyncio.to_thread(_payload, name)
            try:
                published = await node.publish(topic, payload, id)
            except StanzagateError as error:
                error.message = f"{name}: {error.message}"
                raise
            results.append({"file": name, "topic": topic, "id": published})
            bar(len(names), len(results), f"{name}  {topic}  {published}")


def _payload(name: str) -> Any:
    """What is in a file, by what it begins with."""
    content = read(name, LARGEST)
    try:
        form = form_of(content)
        return content if form is Form.XML else json.loads(content)
    except (InputError, ValueError):
        pass
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise InputError(f"{name} is neither XML nor JSON nor text in UTF-8.") from None
