"""The grid: its one epoch, nodes, bindings, certificates, revocations, losses.

Revision ID: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001_initial"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "grid_epoch",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grid_epoch")),
    )
    op.create_table(
        "grid_node",
        sa.Column("jid", sa.String(length=2047), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("groups", sa.Text(), nullable=False),
        sa.Column("clearance", sa.SmallInteger(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("account", sa.Boolean(), nullable=False),
        sa.Column("registered", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("jid", name=op.f("pk_grid_node")),
    )
    op.create_table(
        "grid_node_gone",
        sa.Column("jid", sa.String(length=2047), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("jid", name=op.f("pk_grid_node_gone")),
    )
    op.create_table(
        "grid_binding",
        sa.Column("jid", sa.String(length=2047), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(length=32), nullable=False),
        sa.Column("how", sa.String(length=16), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("ends", sa.Float(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("jid", "fingerprint", name=op.f("pk_grid_binding")),
    )
    op.create_table(
        "grid_certificate",
        sa.Column("fingerprint", sa.LargeBinary(length=32), nullable=False),
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("jid", sa.String(length=2047), nullable=False),
        sa.Column("begins", sa.Float(), nullable=False),
        sa.Column("ends", sa.Float(), nullable=False),
        sa.Column("issued", sa.Float(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_grid_certificate")),
    )
    op.create_index(op.f("ix_grid_certificate_jid"), "grid_certificate", ["jid"], unique=False)
    op.create_index(op.f("ix_grid_certificate_serial"), "grid_certificate", ["serial"], unique=False)
    op.create_table(
        "grid_revocation",
        sa.Column("fingerprint", sa.LargeBinary(length=32), nullable=False),
        sa.Column("serial", sa.String(length=40), nullable=False),
        sa.Column("jid", sa.String(length=2047), nullable=False),
        sa.Column("revoked", sa.Float(), nullable=False),
        sa.Column("ends", sa.Float(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_grid_revocation")),
    )
    op.create_table(
        "grid_crl",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("issued", sa.Float(), nullable=False),
        sa.Column("next_update", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grid_crl")),
    )
    op.create_table(
        "grid_account_owed",
        sa.Column("jid", sa.String(length=2047), nullable=False),
        sa.PrimaryKeyConstraint("jid", name=op.f("pk_grid_account_owed")),
    )
    op.create_table(
        "grid_losses",
        sa.Column("jid", sa.String(length=3071), nullable=False),
        sa.Column("topic", sa.String(length=1023), nullable=False),
        sa.Column("regained", sa.Boolean(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("jid", "topic", name=op.f("pk_grid_losses")),
    )
    op.create_index("ix_grid_losses_epoch", "grid_losses", ["epoch"], unique=False)
