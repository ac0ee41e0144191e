"""The node CA."""

from __future__ import annotations

from fastapi import APIRouter

from component.base.jid import prepare
from stanzagate.admin.node_models import (
    CertificateOut,
    ListOut,
    NewAuthority,
    NewCertificate,
    NewRevocation,
    NodeChangeOut,
    SignedOut,
)
from stanzagate.admin.routes import By
from stanzagate.admin.routes.nodes import TheGrid

router = APIRouter(prefix="/v1/ca", tags=["certificates"])


@router.post("")
async def make_authority(grid: TheGrid, by: By, body: NewAuthority) -> NodeChangeOut:
    """Make the CA, in the files that the configuration names."""
    return NodeChangeOut.made(await grid.authority.init(by.actor, name=body.name, dry_run=body.dry_run))


@router.get("/certificates")
async def list_certificates(grid: TheGrid, by: By, jid: str = "") -> list[CertificateOut]:
    """The certificates that were issued, the oldest first: all, or those of a bare JID."""
    found = await grid.authority.certificates(prepare(jid).bare if jid else "")
    bindings = grid.accounts.bindings
    return [CertificateOut.of(item, gone, bound=bindings.allows(item.jid, item.fingerprint)) for item, gone in found]


@router.post("/certificates")
async def issue_certificate(grid: TheGrid, by: By, body: NewCertificate) -> SignedOut:
    """Sign a node's key. The key itself stays where it was made."""
    signed = await grid.authority.issue(by.actor, body.jid, body.request, life=body.valid, dry_run=body.dry_run)
    return SignedOut.signed(signed)


@router.post("/revocations")
async def revoke_certificates(grid: TheGrid, by: By, body: NewRevocation) -> NodeChangeOut:
    """Have certificates count no more. Returns when the server obeys."""
    change = await grid.authority.revoke(by.actor, body.which, reason=body.reason, dry_run=body.dry_run)
    return NodeChangeOut.made(change)


@router.post("/crl")
async def publish_list(grid: TheGrid, by: By, dry_run: bool = False) -> ListOut:
    """Sign and publish a new list of revoked certificates."""
    return ListOut.of(await grid.authority.publish(by.actor, dry_run=dry_run), dry_run=dry_run)
