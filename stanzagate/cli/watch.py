"""``stanzagate watch``: the items of a topic of the grid, as they come."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stanzagate.cli import output
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
from stanzagate.cli.options import remember

if TYPE_CHECKING:
    from lxml.etree import _Element

    from grid.agent import Agent, Item

SHOWN = 100
"""Characters of a description or a text in a line."""


def watch(
    ctx: typer.Context,
    *,
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="Name of the topic: IODEF-1.0.")],
    count: Annotated[
        int | None, typer.Option("--count", metavar="N", min=1, show_default=False, help="End after so many items.")
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option("--timeout", metavar="S", min=0, show_default=False, help="End after so many seconds."),
    ] = None,
    unsubscribe: Annotated[
        bool, typer.Option("--unsubscribe", help="End the subscription, too; else items wait for the next time.")
    ] = False,
    jid: NodeJid = None,
    cert: Cert = None,
    key: Key = None,
    password_file: PasswordFile = None,
    ca: Ca = None,
    host: Host = None,
    pin: Pin = None,
    no_controller: NoController = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON document in a line for each item.")] = False,
    directory: Sandbox = None,
) -> None:
    """Subscribe to a topic as a node, and show what comes: a line for each incident.

    What was published since the last time comes first. Exits with 1 when --count items did not come in --timeout
    seconds.

    Example:  stanzagate watch IODEF-1.0 --dir DIR --count 1
    """
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
    node = agent(said, ctx.obj.directory, "watch")
    shown = asyncio.run(_watch(node, topic, count, timeout, unsubscribe, as_json))
    if count is not None and shown < count:
        output.tell(f"stanzagate: {shown} of {count} items came within {timeout:g} s")
        raise typer.Exit(1)


async def _watch(
    node: Agent, topic: str, count: int | None, timeout: float | None, unsubscribe: bool, as_json: bool
) -> int:
    shown = 0
    async with node:
        stream = await node.subscribe(topic).open()
        try:
            async with asyncio.timeout(timeout):
                async for item in stream:
                    for line in [output.as_json(document(item))] if as_json else lines(item):
                        output.say(line)
                    sys.stdout.flush()
                    stream.release()  # it has been shown: an interruption must not bring it again
                    shown += 1
                    if shown == count:
                        break
        except TimeoutError:
            pass
        if unsubscribe:
            await stream.unsubscribe()
    return shown


def document(item: Item) -> dict[str, Any]:
    """An item for programs. Its payload is in one of ``json``, ``text`` and ``xml``."""
    told: dict[str, Any] = {
        "topic": item.topic, "id": item.id, "publisher": item.publisher or None, "delayed": item.delayed or None,
        "retracted": item.retracted,
    }  # fmt: skip
    kind, value = _content(item)
    return told | ({kind: value} if kind else {})


def lines(item: Item) -> Iterator[str]:
    """An item for people: a line for each incident, or one."""
    if item.retracted:
        yield f"{item.topic}  {item.id}  retracted"
        return
    root = _incidents(item)
    if root is not None:
        from stanzagate.cli.iodef_summary import incidents  # noqa: PLC0415

        for each in incidents(root):
            time = next((moment for moment in each.times.values()), None)
            when = (time.utc or time.given) if time is not None else "-"
            text = _begun(" ".join(each.description))
            yield "  ".join(
                part for part in (when, f"{each.name}#{each.id}", each.purpose, each.restriction, text) if part
            )
        return
    kind, value = _content(item)
    said = output.as_json(value) if kind == "json" else str(value if kind else "")
    yield f"{item.topic}  {item.id}  {_begun(said)}"


def _content(item: Item) -> tuple[str, Any]:
    if item.payload is None:
        return "", None
    try:
        return "json", item.json
    except ValueError:
        pass
    if item.is_text:
        return "text", item.text
    return "xml", item.xml.decode()


def _incidents(item: Item) -> _Element | None:
    """The document, when it is one with incidents."""
    from grid import iodef  # noqa: PLC0415

    if item.payload is None or item.payload.tag.rpartition("}")[0][1:] not in (iodef.V1, iodef.V2):
        return None
    try:
        root = iodef.parse(item.xml).getroot()
    except iodef.Invalid:
        return None
    return root if any(True for _ in root.iterchildren("{*}Incident")) else None


def _begun(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= SHOWN else f"{flat[:SHOWN]}…"
