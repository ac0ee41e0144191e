"""What the node CA has issued and revoked, and its list of revocations, in the database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    insert,
    select,
    update,
)

from component.base.store import metadata

certificate_table = Table(
    "grid_certificate",
    metadata,
    Column("fingerprint", LargeBinary(32), primary_key=True),
    Column("serial", String(40), nullable=False, index=True),
    Column("jid", String(2047), nullable=False, index=True),
    Column("begins", Float, nullable=False),
    Column("ends", Float, nullable=False),
    Column("issued", Float, nullable=False),
    Column("actor", Text, nullable=False),
)
"""Every certificate that was issued. The serial number in lower-case hex, as openssl shows it."""

revocation_table = Table(
    "grid_revocation",
    metadata,
    Column("fingerprint", LargeBinary(32), primary_key=True),
    Column("serial", String(40), nullable=False),
    Column("jid", String(2047), nullable=False),
    Column("revoked", Float, nullable=False),
    Column("ends", Float, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
)
"""Every certificate that was revoked, others' too: those have no serial number here, and are in no list."""

crl_table = Table(
    "grid_crl",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("issued", Float, nullable=False),
    Column("next_update", Float, nullable=False),
)
"""One row: the last list."""


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate of a node.

    :ivar fingerprint: SHA-256, lower-case hex.
    :ivar serial: lower-case hex; empty when it is not ours.
    :ivar begins: Unix time in seconds; likewise `ends` and `issued`. 0 when not known.
    """

    fingerprint: str
    serial: str
    jid: str
    begins: float = 0.0
    ends: float = 0.0
    issued: float = 0.0
    actor: str = ""


@dataclass(frozen=True, slots=True)
class Revocation:
    """A certificate that does not count any more.

    :ivar ends: Unix time in seconds after which it would not count anyway; 0 when not known.
    """

    fingerprint: str
    serial: str
    jid: str
    revoked: float
    ends: float
    epoch: int
    reason: str = ""


def write_issued(connection: Connection, item: IssuedCertificate) -> None:
    """Record a certificate."""
    values = {
        "fingerprint": bytes.fromhex(item.fingerprint), "serial": item.serial, "jid": item.jid,
        "begins": item.begins, "ends": item.ends, "issued": item.issued, "actor": item.actor,
    }  # fmt: skip
    connection.execute(insert(certificate_table).values(values))


def write_revoked(connection: Connection, item: Revocation) -> None:
    """Record a revocation."""
    values = {
        "fingerprint": bytes.fromhex(item.fingerprint), "serial": item.serial, "jid": item.jid,
        "revoked": item.revoked, "ends": item.ends, "epoch": item.epoch, "reason": item.reason,
    }  # fmt: skip
    connection.execute(insert(revocation_table).values(values))


def read_revoked(connection: Connection) -> dict[str, Revocation]:
    """Every revocation, by fingerprint."""
    columns = revocation_table.c
    rows = connection.execute(
        select(
            columns.fingerprint, columns.serial, columns.jid, columns.revoked, columns.ends, columns.epoch,
            columns.reason,
        )
    )  # fmt: skip
    found = (Revocation(row[0].hex(), *row[1:]) for row in rows)
    return {item.fingerprint: item for item in found}


def read_issued(
    connection: Connection, *, jid: str = "", serial: str = "", fingerprint: str = ""
) -> list[IssuedCertificate]:
    """The certificates that were issued, the oldest first: all, or those of a name, a serial or a fingerprint."""
    columns = certificate_table.c
    query = select(
        columns.fingerprint, columns.serial, columns.jid, columns.begins, columns.ends, columns.issued, columns.actor
    )
    conditions: Sequence[Any] = (
        *((columns.jid == jid,) if jid else ()),
        *((columns.serial == serial,) if serial else ()),
        *((columns.fingerprint == bytes.fromhex(fingerprint),) if fingerprint else ()),
    )
    rows = connection.execute(query.where(*conditions).order_by(columns.issued, columns.serial))
    return [IssuedCertificate(row[0].hex(), *row[1:]) for row in rows]


def read_list(connection: Connection) -> tuple[int, float, float]:
    """Number, time and next update of the last list; zeros when there was none."""
    row = connection.execute(select(crl_table.c.number, crl_table.c.issued, crl_table.c.next_update)).first()
    return (row[0], row[1], row[2]) if row is not None else (0, 0.0, 0.0)


def write_list(connection: Connection, number: int, issued: float, next_update: float) -> None:
    """Record the last list."""
    values = {"number": number, "issued": issued, "next_update": next_update}
    if connection.execute(update(crl_table).values(values)).rowcount == 0:
        connection.execute(insert(crl_table).values(id=1, **values))
