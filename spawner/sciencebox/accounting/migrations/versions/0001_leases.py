"""Leases: who had which GPU, from when to when."""

import sqlalchemy as sql
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "sciencebox_leases",
        sql.Column("id", sql.Integer, primary_key=True),
        sql.Column("user_name", sql.String(255), nullable=False, index=True),
        sql.Column("session", sql.String(255), nullable=False),
        sql.Column("device", sql.String(255), nullable=False),
        sql.Column("kind", sql.String(255), nullable=False),
        sql.Column("since", sql.Double, nullable=False),
        sql.Column("until", sql.Double, nullable=False, index=True),
        sql.Column("ended", sql.Boolean, nullable=False, index=True),
        sql.UniqueConstraint("session", "device", "since"),
    )


def downgrade() -> None:
    """Remove it, with everything in it."""
    op.drop_table("sciencebox_leases")
