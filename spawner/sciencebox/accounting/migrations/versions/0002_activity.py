"""What the GPU of a lease did: utilisation, memory, energy."""

import sqlalchemy as sql
from alembic import op

revision = "0002"
down_revision = "0001"

TABLE = "sciencebox_leases"


def upgrade() -> None:
    """Add the columns; nothing is known of leases from before."""
    for name in ("watched_s", "busy_s"):
        op.add_column(TABLE, sql.Column(name, sql.Double, nullable=False, server_default="0"))
    op.add_column(TABLE, sql.Column("peak_utilisation", sql.Double))
    op.add_column(TABLE, sql.Column("peak_memory_bytes", sql.BigInteger))
    op.add_column(TABLE, sql.Column("energy_j", sql.Double))


def downgrade() -> None:
    """Remove them."""
    for name in ("energy_j", "peak_memory_bytes", "peak_utilisation", "busy_s", "watched_s"):
        op.drop_column(TABLE, name)
