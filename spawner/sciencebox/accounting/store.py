"""The leases in the hub's database. Blocking: to be called in a thread."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sql
from alembic import command
from alembic.config import Config

from sciencebox.accounting.leases import COLUMNS, Lease

if TYPE_CHECKING:
    from collections.abc import Iterable

MIGRATIONS = Path(__file__).parent / "migrations"
VERSION_TABLE = "sciencebox_alembic_version"  # JupyterHub keeps its own

_LEASES = sql.table("sciencebox_leases", *map(sql.column, COLUMNS))
_KEY = ("session", "device", "since")
_SAME = sql.and_(*(_LEASES.c[name] == sql.bindparam(f"old_{name}") for name in _KEY))


class LeaseStore:
    """Reads and writes leases; `how` is for SQLAlchemy. Every method raises SQLAlchemyError when it cannot be used."""

    def __init__(self, url: str, **how: Any) -> None:
        self._engine = sql.create_engine(url, **how)

    def migrate(self) -> None:
        """Bring our tables to what this version needs."""
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        with self._engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def going(self) -> list[Lease]:
        """Leases that had not ended when they were last written."""
        return self._read(~_LEASES.c.ended)

    def since(self, moment: float) -> list[Lease]:
        """Leases that lasted beyond `moment`, in seconds since the epoch."""
        return self._read(_LEASES.c.until > moment)

    def of(self, user: str, moment: float) -> list[Lease]:
        """A user's leases that lasted beyond `moment`."""
        return self._read(sql.and_(_LEASES.c.user_name == user, _LEASES.c.until > moment))

    def write(self, leases: Iterable[Lease]) -> None:
        """Write all of these or none; what is there already of the same key is replaced."""
        rows = [lease.row() for lease in leases]
        if not rows:
            return
        with self._engine.begin() as connection:  # two statements for all: a cluster has thousands
            connection.execute(_LEASES.delete().where(_SAME), [{f"old_{n}": row[n] for n in _KEY} for row in rows])
            connection.execute(_LEASES.insert(), rows)

    def close(self) -> None:
        """Let go of every connection."""
        self._engine.dispose()

    def _read(self, condition: sql.ColumnElement[bool]) -> list[Lease]:
        with self._engine.connect() as connection:
            rows = connection.execute(sql.select(_LEASES).where(condition).order_by(_LEASES.c.since)).all()
        return [Lease.of(row) for row in rows]
