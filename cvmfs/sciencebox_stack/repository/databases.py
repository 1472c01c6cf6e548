"""SQLite databases in memory alone: catalogs, the history and the reference log are files of a repository."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from .objects import DamagedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


def create(tables: str, rows: Iterable[tuple[str, Iterable[tuple[object, ...]]]]) -> bytes:
    """A database with these tables and, by statement, these rows; the same in the same order is the same bytes."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        database.executescript(tables)
        database.execute("BEGIN")
        for statement, values in rows:
            database.executemany(statement, values)
        database.execute("COMMIT")
        return database.serialize()


@contextmanager
def opened(content: bytes, what: str) -> Iterator[sqlite3.Connection]:
    """A database to read from. ``what`` names it in errors.

    Raises:
        DamagedError: it is none, or not what its reader takes it for.
    """
    try:
        with closing(sqlite3.connect(":memory:")) as database:
            database.deserialize(content)
            yield database
    except (sqlite3.Error, ValueError, TypeError, MemoryError) as error:  # the last for no bytes at all
        raise DamagedError(f"{what} cannot be read: {error or 'it is empty'}.") from None
