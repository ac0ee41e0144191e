"""Being a node of the grid from the shell: who, where, and by what credentials."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from component.base.errors import InputError, NotFound, Unreachable
from component.base.jid import Jid, prepare
from stanzagate.cli import files
from stanzagate.cli.place import SANDBOX_FILE

if TYPE_CHECKING:
    from grid.agent import Agent

NodeJid = Annotated[
    str | None,
    typer.Option("--jid", metavar="JID", show_default=False, help="The node; in a sandbox soc1 when left out."),
]
Host = Annotated[
    str | None,
    typer.Option("--host", metavar="HOST[:PORT]", show_default=False, help="The server; else looked up in DNS."),
]
Ca = Annotated[
    Path | None,
    typer.Option(
        "--ca", metavar="FILE", show_default=False, readable=False,
        help="Authorities that sign the server's certificate; else those of the system.",
    ),
]  # fmt: skip
Cert = Annotated[
    Path | None,
    typer.Option("--cert", metavar="FILE", show_default=False, readable=False, help="The node's certificate."),
]
Key = Annotated[
    Path | None, typer.Option("--key", metavar="FILE", show_default=False, readable=False, help="Its key.")
]
PasswordFile = Annotated[
    str | None,
    typer.Option(
        "--password-file", metavar="FILE", show_default=False, help="A password, in place of a certificate."
    ),
]
Pin = Annotated[
    list[str] | None,
    typer.Option(
        "--pin", metavar="SHA256", show_default=False,
        help="Accept only the server's certificate with this fingerprint; may be given again.",
    ),
]  # fmt: skip
NoController = Annotated[
    bool, typer.Option("--no-controller", help="The broker has no controller: no login, RFC 8600 only.")
]
Sandbox = Annotated[
    Path | None,
    typer.Option(
        "--dir", metavar="DIR", show_default=False, readable=False, help="A sandbox: all of it from its sandbox.json."
    ),
]

_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+)(?::(?P<port>\d{1,5}))?", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What the options say."""

    jid: str | None
    host: str | None
    ca: Path | None
    cert: Path | None
    key: Path | None
    password_file: str | None
    pin: list[str] | None
    no_controller: bool


def agent(said: Identity, directory: Path | None, purpose: str, *, strip: Sequence[str] = ()) -> Agent:
    """The agent that the options, or a sandbox, describe. It does not wait for approval.

    :param purpose: what its resource is called, so that it takes no other agent's place.
    :param strip: paths that are taken out of what is published.
    :raises InputError: the options do not go together, or something is missing.
    :raises NotFound: the sandbox has no such node.
    :raises Unreachable: there is no such sandbox.
    """
    from grid.agent import Agent  # noqa: PLC0415  it loads slixmpp and lxml

    settings = _of_sandbox(directory, said) if directory is not None else _of_options(said)
    if said.ca is not None:
        settings["ca"] = said.ca
    if said.host is not None:
        settings["host"], settings["port"] = _address(said.host)
    if said.cert is not None or said.password_file is not None:
        for name in ("cert", "key", "password"):
            settings.pop(name, None)
        settings |= _credentials(said)
    if said.no_controller:
        settings["controller"] = None
    jid: Jid = settings.pop("jid")
    resource = jid.resource or f"{purpose}-{token_hex(4)}"
    return Agent(f"{jid.bare}/{resource}", pin=said.pin or (), patience=0, strip=strip, **settings)


def _of_options(said: Identity) -> dict[str, Any]:
    if said.jid is None:
        raise InputError("Nothing says which node this is.", hint="Give --jid JID, or --dir DIR for a sandbox.")
    return {"jid": prepare(said.jid)} | _credentials(said)


def _credentials(said: Identity) -> dict[str, Any]:
    if (said.cert is None) == (said.password_file is None):
        raise InputError("Give --cert FILE with --key FILE, or --password-file FILE.")
    if said.password_file is not None:
        return {"password": files.read_secret(said.password_file)}
    return {"cert": said.cert, "key": said.key}


def _of_sandbox(folder: Path, said: Identity) -> dict[str, Any]:
    file = folder / SANDBOX_FILE
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
        domains, nodes, c2s = info["domains"], info["nodes"], info["c2s"]
        node = next((row for row in nodes if said.jid is None or row["jid"] == prepare(said.jid).bare), None)
        settings = {"host": c2s["host"], "port": c2s["port"], "ca": info["ca"], "broker": domains["pubsub"] or ""}
    except OSError as error:
        hint = "Start a sandbox there, or leave --dir out and say who and where the node is."
        raise Unreachable(f"{file} cannot be read: {error.strerror}.", hint=hint) from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{file} is not the description of a sandbox.") from None
    if node is None:
        if said.jid is None or not (said.cert or said.password_file):
            known = ", ".join(row["jid"] for row in nodes) or "none"
            raise NotFound(
                f"The sandbox has no node {said.jid or ''}.".replace(" .", "."), hint=f"Its nodes: {known}."
            )
        return settings | {"jid": prepare(said.jid)}
    jid = prepare(said.jid) if said.jid is not None else prepare(node["jid"])
    return settings | {"jid": jid, "cert": node["cert"], "key": node["key"], "password": node["password"]}


def _address(text: str) -> tuple[str, int]:
    match = _HOST.fullmatch(text)
    port = int(match["port"] or 5222) if match is not None else 0
    if match is None or not 0 < port < 65536:
        raise InputError(f"{text!r} is not an address.", hint="Write HOST or HOST:PORT; IPv6 in brackets.")
    return match["host"].strip("[]"), port
