"""What goes in and out of the routes about nodes and certificates. docs/admin-api.md explains them."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, Field, SecretStr

from grid.authority import IssuedCertificate, Revocation, RevocationList, Signed
from grid.model import GridChange, Node
from stanzagate.admin.models import Body, Name
from stanzagate.admin.topic_models import GridChangeOut, RightOut

Reason = Annotated[str, Field(max_length=500)]


class Decided(Body):
    """What becomes of a node."""

    reason: Reason = ""
    dry_run: bool = False


class Approve(Decided):
    """A node that waits is let in.

    :ivar groups: put it into these, too.
    """

    groups: tuple[str, ...] = ()


class NewNode(Decided):
    """A platform that is admitted beforehand.

    :ivar password: of its account on the server; handed on and stored nowhere.
    """

    jid: Name
    groups: tuple[str, ...] = ()
    clearance: str = ""
    password: SecretStr = SecretStr("")


class Cleared(Body):
    """Up to which restriction a node may see incidents."""

    level: Name
    dry_run: bool = False


class NewAuthority(Body):
    """The node CA."""

    name: str = ""
    dry_run: bool = False


class NewCertificate(Body):
    """A certificate to be issued.

    :ivar request: certificate signing request, PKCS #10, PEM; only its key counts.
    :ivar valid: seconds.
    """

    jid: Name
    request: Annotated[str, Field(max_length=20_000)]
    valid: Annotated[float, Field(ge=60, le=20 * 366 * 86400)] | None = None
    dry_run: bool = False


class NewRevocation(Body):
    """Certificates that count no more.

    :ivar which: a bare JID, a serial number, or a fingerprint (SHA-256).
    """

    which: Name
    reason: Reason = ""
    dry_run: bool = False


class NodeChangeOut(GridChangeOut):
    """What a change of a node, or of certificates, did.

    :ivar id: JID of the node that was asked for, or null.
    :ivar data: what was made or touched: `jid` and `state` of a node (`gone` when it is forgotten), `fingerprints`
        that were revoked, `sessions` that end by it and the nodes that stay `active`, the file of the CA's
        `certificate`.
    """

    data: dict[str, Any]

    @classmethod
    def made(cls, change: GridChange) -> Self:
        """From the registry's own."""
        return cls(**GridChangeOut.of(change, "jid").model_dump(), data=change.data)


class NodeRowOut(BaseModel):
    """A node in a list.

    :ivar since: Unix time of its first request or its admission.
    """

    jid: str
    state: str
    groups: list[str]
    clearance: str
    since: float
    reason: str
    online: bool
    logged_in: bool

    @classmethod
    def of(cls, node: Node, *, online: bool, logged_in: bool) -> Self:
        """From the registry's own."""
        return cls(
            jid=node.jid, state=str(node.state), groups=list(node.groups), clearance=node.clearance.name.lower(),
            since=node.since, reason=node.reason, online=online, logged_in=logged_in,
        )  # fmt: skip


class NodesOut(BaseModel):
    """A page of nodes.

    :ivar next: give it as `after` for the next page; empty on the last one.
    """

    nodes: list[NodeRowOut]
    next: str


class SessionOut(BaseModel):
    """A session of a node.

    :ivar logged_in: Unix time of its login, or null.
    """

    jid: str
    since: float
    mechanism: str
    fingerprint: str
    logged_in: float | None


class CertificateOut(BaseModel):
    """A certificate of a node.

    :ivar serial: empty when our own authority has not issued it; then its times are null.
    :ivar bound: whether the node may use it.
    :ivar revoked: Unix time, or null.
    """

    jid: str
    fingerprint: str
    serial: str
    begins: float | None
    ends: float | None
    bound: bool
    revoked: float | None

    @classmethod
    def of(cls, item: IssuedCertificate, revocation: Revocation | None, *, bound: bool) -> Self:
        """From the authority's own."""
        return cls(
            jid=item.jid, fingerprint=item.fingerprint, serial=item.serial, begins=item.begins or None,
            ends=item.ends or None, bound=bound, revoked=revocation.revoked if revocation is not None else None,
        )  # fmt: skip


class SubscriptionOut(BaseModel):
    """A node's subscription of a topic."""

    topic: str
    state: str
    since: float


class AccessOut(BaseModel):
    """Something that a node was seen doing, newest first.

    :ivar time: Unix time in seconds.
    """

    time: float
    action: str
    subject: str


class NodeOut(NodeRowOut):
    """Everything about a node.

    :ivar registered: whether it has registered itself.
    :ivar account_made: whether its account on the server was made here; only then it is deleted with the node. One
        that is not active yet, or of a federated domain, may have an account all the same.
    :ivar sessions: of the grid host, as its in-server plugin tells.
    :ivar logins: full JIDs that are logged in.
    :ivar provides: topics that it has said it publishes to.
    :ivar accesses: the last rows of the audit record that it has caused.
    """

    registered: bool
    account_made: bool
    epoch: int
    sessions: list[SessionOut]
    logins: list[str]
    certificates: list[CertificateOut]
    rights: list[RightOut]
    subscriptions: list[SubscriptionOut]
    provides: list[str]
    accesses: list[AccessOut]


class SignedOut(NodeChangeOut):
    """A certificate that was issued; empty with `dry_run`.

    :ivar certificate: PEM.
    :ivar authority: the certificate of the CA, PEM.
    """

    jid: str
    serial: str
    fingerprint: str
    begins: float
    ends: float
    certificate: str
    authority: str

    @classmethod
    def signed(cls, signed: Signed) -> Self:
        """From the authority's own."""
        item = signed.item
        return cls(
            **NodeChangeOut.made(signed.change).model_dump(), jid=item.jid,
            serial="" if signed.change.dry_run else item.serial,
            fingerprint="" if signed.change.dry_run else item.fingerprint,
            begins=item.begins, ends=item.ends, certificate=signed.certificate, authority=signed.authority,
        )  # fmt: skip


class ListOut(BaseModel):
    """The list of revoked certificates.

    :ivar crl: PEM.
    :ivar file: where it was published, or null.
    :ivar next_update: Unix time at which the next one is there at the latest.
    """

    number: int
    issued: float
    next_update: float
    revoked: int
    file: str | None
    crl: str
    dry_run: bool

    @classmethod
    def of(cls, made: RevocationList, *, dry_run: bool) -> Self:
        """From the authority's own."""
        return cls(
            number=made.number, issued=made.issued, next_update=made.next_update, revoked=made.revoked,
            file=str(made.path) if made.path is not None else None, crl=made.text, dry_run=dry_run,
        )  # fmt: skip
