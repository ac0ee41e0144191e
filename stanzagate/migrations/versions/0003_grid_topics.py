"""The grid: topics, schemas, providers, subscriptions, honeytokens, and the rules of authorization.

Revision ID: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "grid_topic",
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("capability", sa.String(length=128), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("type", sa.String(length=1024), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("payload", sa.String(length=8), nullable=False),
        sa.Column("schema", sa.String(length=64), nullable=False),
        sa.Column("flow", sa.String(length=16), nullable=False),
        sa.Column("cacheable", sa.Boolean(), nullable=False),
        sa.Column("persist", sa.Integer(), nullable=False),
        sa.Column("access_model", sa.String(length=16), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("restricted", sa.Boolean(), nullable=False),
        sa.Column("honeytoken", sa.Boolean(), nullable=False),
        sa.Column("creator", sa.String(length=2047), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_grid_topic")),
    )
    op.create_table(
        "grid_schema",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("source", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_grid_schema")),
    )
    op.create_table(
        "grid_provider",
        sa.Column("topic", sa.String(length=128), nullable=False),
        sa.Column("jid", sa.String(length=2047), nullable=False),
        sa.Column("queries", sa.Text(), nullable=False),
        sa.Column("notifications", sa.Text(), nullable=False),
        sa.Column("schema", sa.String(length=1024), nullable=False),
        sa.PrimaryKeyConstraint("topic", "jid", name=op.f("pk_grid_provider")),
    )
    op.create_table(
        "grid_subscription",
        sa.Column("topic", sa.String(length=128), nullable=False),
        sa.Column("jid", sa.String(length=2047), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "jid", name=op.f("pk_grid_subscription")),
    )
    op.create_table(
        "grid_honeytoken",
        sa.Column("topic", sa.String(length=128), nullable=False),
        sa.Column("item", sa.String(length=256), nullable=False),
        sa.PrimaryKeyConstraint("topic", "item", name=op.f("pk_grid_honeytoken")),
    )
    op.create_table(
        "grid_rule",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("effect", sa.String(length=8), nullable=False),
        sa.Column("subject", sa.String(length=2047), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("topic", sa.String(length=1024), nullable=False),
        sa.Column("comment", sa.String(length=1000), nullable=False),
        sa.Column("by", sa.String(length=255), nullable=False),
        sa.Column("created", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_grid_rule")),
        sa.UniqueConstraint("subject", "topic", "action", "effect", name=op.f("uq_grid_rule_subject")),
        sqlite_autoincrement=True,
    )
