"""The node CA: it issues certificates to nodes, revokes them, and publishes a list of those that it has revoked.

A revocation is obeyed by the in-server plugin, which refuses the fingerprint and ends its sessions; the list (CRL) is
for everybody else. The key of the CA is a file of this service; the keys of nodes never come here.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from sqlalchemy import Connection

from component.base.audit import Audit
from component.base.clientsessions import ClientSession
from component.base.errors import Conflict, InputError, NotFound, StanzagateError
from component.base.files import write_atomic
from component.base.jid import prepare
from component.base.store import DatabaseError, Store
from grid import authority_rows as rows
from grid.accounts_rows import checked_reason
from grid.authority_certs import NODE_LIFE, PUBLIC, NodeCa, pem, read_request
from grid.authority_rows import IssuedCertificate, Revocation
from grid.binding import Binding, Bindings, Bound, moment
from grid.epochs import Epochs
from grid.model import GridChange, Node, NodeState
from grid.settings import GridSettings

log = logging.getLogger(__name__)

RENEW_AT = 0.5
"""A list is replaced after this part of its life."""

RETRY_SECONDS = 60.0
LOOK_SECONDS = 3600.0

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_SERIAL = re.compile(r"[0-9a-f]{1,40}")


@dataclass(frozen=True, slots=True)
class RevocationChange:
    """Certificates were revoked.

    :ivar revoked: which; of one name when it was revoked by name.
    """

    revoked: tuple[Revocation, ...]
    epoch: int
    summary: str

    @property
    def fingerprints(self) -> tuple[str, ...]:
        """SHA-256, lower-case hex."""
        return tuple(item.fingerprint for item in self.revoked)

    @property
    def jids(self) -> tuple[str, ...]:
        """The names that they were for, as far as that is known."""
        return tuple(dict.fromkeys(item.jid for item in self.revoked if item.jid))


Listener = Callable[[RevocationChange], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Signed:
    """A certificate that was just issued.

    :ivar certificate: PEM.
    :ivar authority: the certificate of the CA, PEM.
    """

    certificate: str
    authority: str
    item: IssuedCertificate
    change: GridChange = field(default_factory=lambda: GridChange(""))


@dataclass(frozen=True, slots=True)
class RevocationList:
    """The list that is published.

    :ivar text: PEM.
    :ivar issued: Unix time in seconds, likewise `next_update`.
    :ivar path: the file, or None when the configuration names none.
    """

    text: str
    number: int
    issued: float
    next_update: float
    revoked: int
    path: Path | None


class NodeAuthority:
    """The node CA. `load` must have been awaited before anything else.

    :param bindings: every certificate that is issued is bound to its name there.
    :param node: a node by its bare JID.
    :param sessions: the sessions that are open.
    :param clock: Unix time in seconds.
    :ivar listeners: awaited after each revocation, one after the other, before it returns.
    :ivar bound: awaited likewise after each certificate that was issued, with the name that it is bound to.
    """

    def __init__(
        self,
        store: Store,
        audit: Audit,
        epochs: Epochs,
        *,
        settings: GridSettings,
        bindings: Bindings,
        node: Callable[[str], Node | None] = lambda _jid: None,
        sessions: Callable[[], Iterable[ClientSession]] = lambda: (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.listeners: list[Listener] = []
        self.bound: list[Callable[[str], Awaitable[None]]] = []
        self._store = store
        self._audit = audit
        self._epochs = epochs
        self._host = settings.host
        self._certificate = settings.node_ca
        self._key = settings.node_ca_key
        self._list = settings.crl
        self._list_life = settings.crl_lifetime
        self._bindings = bindings
        self._node = node
        self._sessions = sessions
        self._clock = clock
        self._revoked: dict[str, Revocation] = {}
        self._last = (0, 0.0, 0.0)  # number, issued, next update of the last list
        self._lock = asyncio.Lock()

    async def load(self) -> None:
        """Read everything from the database."""
        async with self._lock:
            await self._read()

    async def _read(self) -> None:
        self._revoked, self._last = await self._store.read(lambda c: (rows.read_revoked(c), rows.read_list(c)))

    def is_revoked(self, fingerprint: str) -> bool:
        """Whether a certificate (SHA-256, lower-case hex) was revoked."""
        return fingerprint in self._revoked

    def revocation(self, fingerprint: str) -> Revocation | None:
        """The revocation of a certificate, or None."""
        return self._revoked.get(fingerprint)

    def revocations_since(self, epoch: int) -> list[tuple[int, str]]:
        """What the in-server plugin must know: epoch and fingerprint, in order. With 0 it is everything."""
        return sorted((item.epoch, item.fingerprint) for item in self._revoked.values() if item.epoch > epoch)

    async def certificates(self, jid: str = "") -> list[tuple[IssuedCertificate, Revocation | None]]:
        """The certificates that were issued, with their revocations; of one node also those that it is bound to."""
        if jid:
            found = await self._known(jid=jid)
        else:
            found = await self._store.read(rows.read_issued)
        return [(item, self._revoked.get(item.fingerprint)) for item in found]

    # Making it

    async def init(self, actor: str, *, name: str = "", dry_run: bool = False) -> GridChange:
        """Make the CA: its certificate and its key, in the files that the configuration names.

        :param name: its common name; the host's by default.
        :raises Conflict: there is one.
        """
        certificate, key = self._files()
        title = name.strip() or f"XMPP-Grid nodes of {self._host}"
        async with self._lock:
            taken = [path for path in (certificate, key) if path.exists()]
            if taken:
                raise Conflict(
                    f"There is a node CA already: {taken[0]} exists.",
                    hint="Nodes with certificates of the old one get in only while the server trusts it, too.",
                )
            summary = f"The node CA {title!r} is in {certificate}, its key in {key}."
            if not dry_run:
                authority = NodeCa.create(title, self._host, moment(self._clock()))
                try:
                    authority.write(certificate, key)
                except OSError as error:
                    raise InputError(f"{error.filename or key} cannot be written: {error.strerror}.") from None
                fingerprint = authority.certificate.fingerprint(SHA256()).hex()
                await self._store.write(lambda connection: self._note(connection, actor, title, fingerprint))
        return GridChange(summary, dry_run, self._epochs.current, data={"certificate": str(certificate)})

    def _note(self, connection: Connection, actor: str, title: str, fingerprint: str) -> None:
        detail = {"name": title, "fingerprint": fingerprint}
        self._audit.append(connection, actor=actor, action="ca.made", subject=self._host, detail=detail)

    # Issuing

    async def issue(
        self, actor: str, jid: str, request: str, *, life: float | None = None, dry_run: bool = False
    ) -> Signed:
        """Sign a node's key. The certificate is bound to the name, so that the node can use it at once.

        :param jid: a bare JID of the grid host; the node need not be known yet.
        :param request: certificate signing request, PEM; only its key counts.
        :param life: seconds; as long as the CA's own certificate at most.
        :raises InputError: something is malformed.
        """
        bare = self._own(jid)
        public_key = read_request(request)
        authority = await asyncio.to_thread(self._authority)
        now = self._clock()
        certificate = authority.sign(public_key, bare, timedelta(seconds=life) if life else NODE_LIFE, moment(now))
        item = IssuedCertificate(
            certificate.fingerprint(SHA256()).hex(), f"{certificate.serial_number:x}", bare,
            certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp(), now, actor,
        )  # fmt: skip
        until = certificate.not_valid_after_utc.strftime("%Y-%m-%d")
        change = GridChange(f"{bare} has a certificate until {until}.", dry_run, self._epochs.current)
        if dry_run:
            return Signed("", "", item, change)
        epoch = await self._bind(actor, item)
        change = replace(change, epoch=epoch, summary=change.summary + await self._tell_bound(bare))
        return Signed(pem(certificate).decode(), pem(authority.certificate).decode(), item, change)

    async def _bind(self, actor: str, item: IssuedCertificate) -> int:
        epochs: list[int] = []

        def write(connection: Connection) -> None:
            epochs.append(self._epochs.next(connection))
            self._issued(connection, actor, item, epochs[-1])
            self._store.after_commit(connection, lambda: self._epochs.applied(epochs[-1]))

        try:
            await self._store.write(write)
        except DatabaseError:
            for epoch in epochs:
                self._epochs.applied(epoch)  # nobody must wait for it
            raise
        return epochs[-1]

    def _issued(self, connection: Connection, actor: str, item: IssuedCertificate, epoch: int) -> None:
        rows.write_issued(connection, item)
        binding = Binding(item.jid, item.fingerprint, Bound.ISSUED, item.serial, item.ends, epoch)
        self._bindings.add(connection, binding, item.issued)
        detail = {"serial": item.serial, "fingerprint": item.fingerprint, "ends": round(item.ends), "epoch": epoch}
        self._audit.append(connection, actor=actor, action="certificate.issued", subject=item.jid, detail=detail)

    async def _tell_bound(self, jid: str) -> str:
        """Tell every listener that a name has a certificate more; what is to be said when one has not confirmed. The
        certificate must not be lost by that."""
        said = ""
        for listener in self.bound:
            try:
                await listener(jid)
            except StanzagateError as error:
                log.warning("%s has a new certificate, but not everything followed: %s", jid, error)
                said = f" But {error.message}"
        return said

    # Revoking

    async def revoke(self, actor: str, which: str, *, reason: str = "", dry_run: bool = False) -> GridChange:
        """Have certificates count no more, from now on and for good.

        :param which: a bare JID (all its certificates), a serial number or a fingerprint (SHA-256), in hex. A
            fingerprint need not be of ours.
        :raises NotFound: there is no such certificate.
        :raises Conflict: it was revoked already.
        :raises NotConfirmed: not every server obeys yet.
        """
        note = checked_reason(reason)
        async with self._lock:
            await self._read()  # an earlier change may have failed after it had happened
            found = await self._found(which)
            fresh = [item for item in found if item.fingerprint not in self._revoked]
            if not fresh:
                raise Conflict(f"{which} was revoked already.")
            told = self._described(fresh, dry_run)
            if dry_run:
                return told
            change = await self._revoke(actor, fresh, note, told.summary)
        await self._tell(change)
        return replace(told, epoch=change.epoch)

    async def _found(self, which: str) -> list[IssuedCertificate]:
        if "@" in which:
            return await self._of_name(prepare(which).bare)
        text = which.replace(":", "").lower()
        if _FINGERPRINT.fullmatch(text):
            known = await self._known(fingerprint=text)
            return known or [IssuedCertificate(text, "", "")]
        serial = text.removeprefix("0x").lstrip("0")
        if not _SERIAL.fullmatch(serial):
            raise InputError(
                f"{which!a} is no certificate.", hint="Name a bare JID, a serial number or a SHA-256, in hex."
            )
        found = await self._store.read(lambda connection: rows.read_issued(connection, serial=serial))
        if not found:
            raise NotFound(f"There is no certificate with the serial number {serial}.")
        return found

    async def _of_name(self, jid: str) -> list[IssuedCertificate]:
        now = self._clock()
        live = [item for item in await self._known(jid=jid) if item.ends > now or not item.ends]
        if live:
            return live
        raise NotFound(f"{jid} has no certificate that is known.", hint="Name it by its fingerprint.")

    async def _known(self, *, jid: str = "", fingerprint: str = "") -> list[IssuedCertificate]:
        """What was issued here, then what was bound otherwise."""

        def read(connection: Connection) -> list[IssuedCertificate]:
            found = rows.read_issued(connection, jid=jid, fingerprint=fingerprint)
            ours = {item.fingerprint for item in found}
            others = self._bindings.stored(connection, jid=jid, fingerprint=fingerprint)
            return found + [
                IssuedCertificate(item.fingerprint, item.serial, item.jid, ends=item.ends)
                for item in others
                if item.fingerprint not in ours
            ]

        return await self._store.read(read)

    def _described(self, fresh: Sequence[IssuedCertificate], dry_run: bool) -> GridChange:
        """Which sessions end by it. No rights: a node keeps them, and may have a password or another certificate."""
        names = tuple(dict.fromkeys(item.jid for item in fresh if item.jid))
        gone = {item.fingerprint for item in fresh}
        ends = sorted(session.jid.full for session in self._sessions() if session.fingerprint in gone)
        active = [jid for jid in names if (node := self._node(jid)) is not None and node.state is NodeState.ACTIVE]
        what = "1 certificate is" if len(fresh) == 1 else f"{len(fresh)} certificates are"
        summary = f"{what} revoked{' of ' + ', '.join(names) if names else ''}."
        for jid in active:
            summary += f" {jid} stays active, and may come by another certificate or a password: see `node disable`."
        data: dict[str, object] = {"fingerprints": [item.fingerprint for item in fresh], "sessions": ends}
        data |= {"active": active}
        return GridChange(summary, dry_run, self._epochs.current, data=data)

    async def _revoke(
        self, actor: str, fresh: Sequence[IssuedCertificate], reason: str, summary: str
    ) -> RevocationChange:
        now = self._clock()

        def write(connection: Connection) -> tuple[Revocation, ...]:
            epoch = self._epochs.next(connection)
            made = []
            for item in fresh:
                gone = Revocation(item.fingerprint, item.serial, item.jid, now, item.ends, epoch, reason)
                rows.write_revoked(connection, gone)
                detail = {"serial": gone.serial, "fingerprint": gone.fingerprint, "reason": reason, "epoch": epoch}
                self._audit.append(
                    connection, actor=actor, action="certificate.revoked", subject=gone.jid, detail=detail
                )
                made.append(gone)

            def landed() -> None:
                # A new mapping: this is the writer's thread, and somebody may be going through the old one.
                self._revoked = self._revoked | {item.fingerprint: item for item in made}
                self._epochs.applied(epoch)

            self._store.after_commit(connection, landed)
            return tuple(made)

        made = await self._store.write(write)
        return RevocationChange(made, made[0].epoch, summary)

    async def _tell(self, change: RevocationChange) -> None:
        """Publish a new list and tell every listener; what the first that failed has raised comes after all."""
        failed: Exception | None = None
        if self._list is not None:
            try:
                await self.publish("stanzagate")
            except StanzagateError as error:
                log.error("The list of revocations could not be published: %s", error)
        for listener in self.listeners:
            try:
                await listener(change)
            except Exception as error:  # whatever it is, the others must hear of it
                failed = failed or error
        if failed is not None:
            raise failed

    # The list

    async def publish(self, actor: str, *, dry_run: bool = False) -> RevocationList:
        """Sign a new list and replace the file that the configuration names.

        :raises InputError: the CA or the file cannot be used.
        """
        authority = await asyncio.to_thread(self._authority)
        async with self._lock:
            now = self._clock()
            live = [item for item in self._revoked.values() if item.serial and item.ends > now]
            entries = [(int(item.serial, 16), item.revoked) for item in live]
            number, until = self._last[0] + 1, now + self._list_life
            signed = authority.revocations(entries, number, moment(now), moment(until))
            made = RevocationList(pem(signed).decode(), number, now, until, len(entries), self._list)
            if dry_run:
                return made

            def write(connection: Connection) -> None:
                rows.write_list(connection, number, now, until)
                detail = {"number": number, "revoked": len(entries), "next_update": round(until)}
                self._audit.append(
                    connection, actor=actor, action="ca.crl.published", subject=self._host, detail=detail
                )

            await self._store.write(write)
            self._last = (number, now, until)
            if self._list is not None:
                await asyncio.to_thread(_replace, self._list, made.text)
        return made

    async def run(self) -> None:
        """Keep the published list fresh, until cancelled: it is replaced when half of its life is over."""
        while True:
            wait = LOOK_SECONDS
            if self._list is not None and self._has_files():
                due = self._last[1] + RENEW_AT * (self._last[2] - self._last[1])
                try:
                    if self._clock() >= due or not self._list.exists():
                        await self.publish("stanzagate")
                        due = self._last[1] + RENEW_AT * (self._last[2] - self._last[1])
                    wait = min(LOOK_SECONDS, max(1.0, due - self._clock()))
                except StanzagateError as error:
                    log.error("The list of revocations could not be published: %s", error)
                    wait = RETRY_SECONDS
            await asyncio.sleep(wait)

    # Files

    def _own(self, jid: str) -> str:
        prepared = prepare(jid)
        if prepared.resource or not prepared.local:
            raise InputError(f"{jid!a} is not a bare JID of an account.", hint="Write local@domain.")
        if prepared.domain != self._host:
            raise InputError(
                f"{prepared.domain} is not the grid host.",
                hint=f"Certificates are issued to accounts of {self._host}.",
            )
        return prepared.bare

    def _has_files(self) -> bool:
        return all(path is not None and path.exists() for path in (self._certificate, self._key))

    def _files(self) -> tuple[Path, Path]:
        if self._certificate is None or self._key is None:
            raise InputError(
                "The configuration names no node CA.", hint="Add node_ca: and node_ca_key: to its section grid:."
            )
        return self._certificate, self._key

    def _authority(self) -> NodeCa:
        certificate, key = self._files()
        if not certificate.exists() and not key.exists():
            raise InputError("There is no node CA yet.", hint="`stanzagate ca init` makes it.")
        return NodeCa.load(certificate, key)


def _replace(path: Path, text: str) -> None:
    try:
        write_atomic(path, text.encode(), mode=PUBLIC)
    except OSError as error:
        raise InputError(f"The list of revocations {path} cannot be written: {error.strerror}.") from None


__all__ = ["IssuedCertificate", "NodeAuthority", "Revocation", "RevocationChange", "RevocationList", "Signed"]
