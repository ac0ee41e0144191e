"""``stanzagate ca``: the node CA. Keys of nodes are made here and never leave this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from component.base.errors import Conflict, InputError
from component.base.settings import parse_duration
from stanzagate.cli import files, grid_output, output
from stanzagate.cli.options import AsJson, Directory, DryRun, Socket, remember, service

app = output.application()

Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", show_default=False, help="Why.")]


@app.callback()
def _ca(ctx: typer.Context, directory: Directory = None, socket: Socket = None) -> None:
    """The node CA: it issues the certificates of nodes, and revokes them."""
    remember(ctx, directory, socket)


@app.command(epilog="Example:  stanzagate ca init --dir /etc/stanzagate")
def init(
    ctx: typer.Context,
    name: Annotated[str, typer.Option("--name", metavar="TEXT", show_default=False, help="Its common name.")] = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Make the CA, in the files that the configuration names.

    Its certificate permits nothing but nodes of this grid host. Give it to the XMPP server as the one CA that its
    clients are accepted from.
    """
    with service(ctx, directory, socket) as client:
        grid_output.change(client.send("POST", "/v1/ca", body={"name": name, "dry_run": dry_run}), as_json=as_json)


@app.command(epilog="Example:  stanzagate ca issue soc1@grid.test --valid 90d")
def issue(
    ctx: typer.Context,
    *,
    jid: Annotated[str, typer.Argument(metavar="JID", help="The node's bare JID.")],
    cert: Annotated[
        str | None,
        typer.Option("--cert", metavar="FILE", show_default=False, help="Where the certificate goes; else NAME.crt."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option("--key", metavar="FILE", show_default=False, help="Where its new key goes; else NAME.key."),
    ] = None,
    request: Annotated[
        str | None,
        typer.Option(
            "--request", metavar="FILE", show_default=False,
            help="A certificate request (PEM) that was made elsewhere; then no key is made here. May be -.",
        ),
    ] = None,
    valid: Annotated[
        str | None, typer.Option("--valid", metavar="FOR", show_default=False, help="How long: 90d. Else 397d.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")] = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:  # fmt: skip
    """Issue a certificate to a node.

    The key is made here and written with mode 0600; the service signs it and never sees it.
    The certificate carries the JID as xmppAddr, and is bound to it at once, so that it also renews an older one.
    """
    if request is not None and key is not None:
        raise typer.BadParameter("Give either --request or --key.")
    name = jid.partition("@")[0]
    targets = [cert or f"{name}.crt", *([key or f"{name}.key"] if request is None else [])]
    _free(targets, overwrite=overwrite or dry_run)
    private, asked = (b"", _read(request)) if request is not None else _new_key()
    body: dict[str, Any] = {"jid": jid, "request": asked, "dry_run": dry_run}
    if valid is not None:
        body["valid"] = _seconds(valid)
    with service(ctx, directory, socket) as client:
        answer = client.send("POST", "/v1/ca/certificates", body=body)
    if not dry_run:
        _write(targets, answer["certificate"].encode(), private, overwrite=overwrite)
    _told(answer, targets, as_json=as_json)


def _told(answer: dict[str, Any], targets: list[str], *, as_json: bool) -> None:
    if as_json:
        shown = {name: value for name, value in answer.items() if name not in ("certificate", "authority")}
        paths = {} if answer["dry_run"] else dict(zip(("cert", "key"), map(_absolute, targets), strict=False))
        output.document(shown | {"cert": None, "key": None} | paths)
        return
    grid_output.change(answer, as_json=False)
    if not answer["dry_run"]:
        output.say(f"  serial       {answer['serial']}")
        output.say(f"  fingerprint  {answer['fingerprint']}")
        output.say(f"  in           {', '.join(targets)}")


def _absolute(name: str) -> str:
    return name if name == files.STANDARD else str(Path(name).absolute())


@app.command(epilog="Example:  stanzagate ca revoke soc1@grid.test --reason 'laptop stolen'")
def revoke(
    ctx: typer.Context,
    which: Annotated[
        str,
        typer.Argument(metavar="JID", help="A bare JID (all its certificates), a serial number, or a fingerprint."),
    ],
    reason: Reason = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Revoke certificates, for good.

    Sessions that use them end within seconds. The node itself stays as it is, with its rights: it may still come by
    another certificate, or by a password if it has one. `node disable` shuts it out.
    """
    body = {"which": which, "reason": reason, "dry_run": dry_run}
    with service(ctx, directory, socket) as client:
        answer = client.send("POST", "/v1/ca/revocations", body=body)
    grid_output.change(answer, as_json=as_json)
    if not as_json:
        for jid in answer["data"]["sessions"]:
            output.say(f"  ends  {jid}")


@app.command(epilog="Example:  stanzagate ca crl --out node-ca.crl")
def crl(
    ctx: typer.Context,
    out: Annotated[
        str | None,
        typer.Option("--out", metavar="FILE", show_default=False, help="Write it here, too (PEM); may be -."),
    ] = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """Sign and publish a new list of revoked certificates.

    The service does so by itself after each revocation, and long before the list runs out.
    """
    with service(ctx, directory, socket) as client:
        answer = client.send("POST", "/v1/ca/crl", {"dry_run": dry_run})
    if out is not None and not dry_run:
        with files.private_output(out, overwrite=True) as file:
            file.write(answer["crl"].encode())
    if as_json:
        output.document({name: value for name, value in answer.items() if name != "crl"})
    elif out != files.STANDARD:
        if dry_run:
            output.say("Nothing was changed (--dry-run). It would be:")
        where = f" in {answer['file']}" if answer["file"] else ""
        noun = "certificate" if answer["revoked"] == 1 else "certificates"
        output.say(
            f"List {answer['number']} names {answer['revoked']} revoked {noun}{where}; "
            f"the next one comes before {output.when(answer['next_update'])}."
        )


@app.command("list", epilog="Example:  stanzagate ca list soc1@grid.test")
def list_certificates(
    ctx: typer.Context,
    jid: Annotated[str | None, typer.Argument(metavar="JID", help="Only those of this node.")] = None,
    as_json: AsJson = False,
    directory: Directory = None,
    socket: Socket = None,
) -> None:
    """List the certificates that were issued."""
    with service(ctx, directory, socket) as client:
        found = client.get("/v1/ca/certificates", jid=jid)
    if as_json:
        output.document(found)
        return
    rows = (
        [
            item["serial"],
            item["jid"],
            output.when(item["ends"]),
            output.when(item["revoked"], "-"),
            item["fingerprint"],
        ]
        for item in found
    )
    if not output.table(("SERIAL", "JID", "UNTIL", "REVOKED", "FINGERPRINT"), rows):
        output.tell("No certificate was issued.")


def _row(item: dict[str, Any]) -> list[str]:
    until, revoked = output.when(item["ends"]), output.when(item["revoked"], "-")
    return [item["serial"], item["jid"], until, revoked, item["fingerprint"]]


def _new_key() -> tuple[bytes, str]:
    """A key, and the request to have it signed; the service decides about the name, so none is in it."""
    from cryptography import x509  # noqa: PLC0415  # not for --help
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private, request.public_bytes(serialization.Encoding.PEM).decode()


def _read(name: str) -> str:
    with files.opened(name) as file:
        try:
            return file.read(64 * 1024).decode("ascii")
        except (UnicodeDecodeError, OSError):
            raise InputError(f"{name} cannot be read as PEM.") from None


def _seconds(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(f"{error}.") from None


def _free(names: list[str], *, overwrite: bool) -> None:
    """Nobody should get a certificate whose files cannot be written then."""
    for name in names:
        if name != files.STANDARD and not overwrite and Path(name).exists():
            raise Conflict(f"{name} exists already.", hint="Choose another name, or give --overwrite.")


def _write(names: list[str], certificate: bytes, private: bytes, *, overwrite: bool) -> None:
    for name, content in zip(reversed(names), [private, certificate][-len(names) :], strict=True):
        with files.private_output(name, overwrite=overwrite) as file:
            file.write(content)
