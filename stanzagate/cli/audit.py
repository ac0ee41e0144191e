"""``stanzagate audit``: the audit record."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stanzagate.cli import output, progress
from stanzagate.cli.client import Client, lines_of
from stanzagate.cli.options import AsJson, Directory, Socket, remember, service

if TYPE_CHECKING:
    from component.base.audit import Verification

app = output.application(invoke_without_command=True, no_args_is_help=False)

LONG_SECONDS = 3600.0


def _option(name: str, metavar: str, text: str) -> Any:
    return typer.Option(name, metavar=metavar, show_default=False, readable=False, help=text)


@app.callback(epilog="Example:  stanzagate audit --last 100 --action rule. --since 7d")
def audit(
    ctx: typer.Context,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with rows as they are written.")] = False,
    last: Annotated[int, typer.Option("--last", metavar="N", min=0, max=10_000, help="So many rows.")] = 50,
    actor: Annotated[str | None, _option("--actor", "A", "Only of this actor: unix:root, token:ops, a JID.")] = None,
    action: Annotated[str | None, _option("--action", "A", "Only this action; rule. for all that begin so.")] = None,
    subject: Annotated[str | None, _option("--subject", "S", "Only about this device, requester or rule.")] = None,
    since: Annotated[str | None, _option("--since", "T", "Not older than 7d, 1h, or 2027-01-31T12:00:00Z.")] = None,
    until: Annotated[str | None, _option("--until", "T", "Older than that.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document; with --follow one in each line.")
    ] = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Show the audit record: who changed what, who woke whom, who was refused."""
    remember(ctx, directory, socket)
    if ctx.invoked_subcommand is not None:
        return
    wanted = {"actor": actor, "action": action, "subject": subject, "since": since, "until": until}
    with service(ctx, directory, socket) as client:
        rows = client.get("/v1/audit", **wanted, newest=True, limit=last) if last else []
        if not follow:
            _shown(rows, as_json)
            return
        for row in rows:
            _followed(row, as_json)
        _follow(client, wanted, rows, as_json)


def _shown(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        output.document(rows)
    elif rows:
        output.table(("SEQ", "TIME", "ACTOR", "ACTION", "SUBJECT", "DETAIL"), ([*_columns(row)] for row in rows))
    else:
        output.tell("There are no such rows.")


def _columns(row: dict[str, Any]) -> tuple[object, ...]:
    detail = " ".join(f"{name}={_value(value)}" for name, value in row["detail"].items() if value not in ("", None))
    return row["seq"], output.when(row["time"]), row["actor"], row["action"], row["subject"], detail


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _follow(client: Client, wanted: dict[str, Any], rows: list[dict[str, Any]], as_json: bool) -> None:
    after = rows[-1]["seq"] if rows else None
    with client.stream("GET", "/v1/audit/follow", {**wanted, "after": after}, patience=None) as response:
        for row in lines_of(response):
            _followed(row, as_json)


def _followed(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        sys.stdout.write(f"{output.as_json(row)}\n")
    else:
        output.row(_columns(row))
    sys.stdout.flush()


@app.command(epilog="Example:  stanzagate audit verify --dir DIR")
def verify(
    ctx: typer.Context,
    database: Annotated[Path | None, _option("--database", "PATH", "Offline: this SQLite file.")] = None,
    public_key: Annotated[
        Path | None, _option("--public-key", "FILE", "With --database: the key, audit.pub.")
    ] = None,
    head: Annotated[Path | None, _option("--head", "FILE", "Offline: the signed head, audit.head.")] = None,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Recompute the hash chain of the audit record.

    Names rows that were changed, removed, inserted, reordered or cut off, and exits with 1 then.
    """
    if database is None and (public_key is not None or head is not None):
        raise typer.BadParameter("--public-key and --head go with --database.")
    if database is not None:
        if public_key is None:
            raise typer.BadParameter("--database needs --public-key.")
        with progress.waiting("verifying"):
            found = _offline(database, public_key, head)
    else:
        with service(ctx, directory, socket) as client, progress.waiting("verifying"):
            found = client.send("GET", "/v1/audit/verification", patience=LONG_SECONDS)
    if as_json:
        output.document(found)
    else:
        _report(found, complete=database is None or head is not None)
    if not found["ok"]:
        raise typer.Exit(1)


def _offline(database: Path, public_key: Path, head: Path | None) -> dict[str, Any]:
    # They are slow to import, and mostly the service does this.
    from component.base.audit import AuditPublicKey  # noqa: PLC0415
    from component.base.audit import verify as verify_rows  # noqa: PLC0415
    from component.base.store import Store  # noqa: PLC0415

    key = AuditPublicKey.open(public_key)
    with closing(Store(f"sqlite:///{database.absolute()}")) as store:
        return _plain(verify_rows(store, key, head))


def _plain(found: Verification) -> dict[str, Any]:
    problems = [{"seq": item.seq, "kind": item.kind.value, "text": item.text} for item in found.problems]
    return {
        "ok": found.ok, "rows": found.rows, "seq": found.seq, "hash": found.hash,
        "problems": problems, "found": found.found,
    }  # fmt: skip


def _report(found: dict[str, Any], *, complete: bool) -> None:
    if found["ok"]:
        output.say(f"The audit record is whole: {found['rows']} rows, the last one {found['seq']} ({found['hash']}).")
    else:
        findings = "1 finding" if found["found"] == 1 else f"{found['found']} findings"
        output.say(f"The audit record is NOT whole; {findings} in {found['rows']} rows:")
        for problem in found["problems"]:
            output.say(f"  {problem['kind']}: {problem['text']}")
        if found["found"] > len(found["problems"]):
            output.say(f"  … and {found['found'] - len(found['problems'])} more.")
    if not complete:
        output.tell("Without --head, rows that were cut off at the end cannot be seen.")
