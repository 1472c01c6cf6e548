"""How the hub's database is opened where it is a file, by JupyterHub and by the books."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from typing import Any

LOCKED_S = 60  # of waiting for who writes: on a disk that stalls, slow is better than refused


class WriteAhead(sqlite3.Connection):
    """A connection to a file with a write-ahead log: what reads waits for nobody, and no commit waits for the disk.

    A server that loses power may lose the last commits, never the database. See https://sqlite.org/wal.html.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        with suppress(sqlite3.OperationalError):  # somebody else reads it now, as a backup may: then at the next start
            self.execute("PRAGMA journal_mode = WAL")
        self.execute("PRAGMA synchronous = NORMAL")
        # JupyterHub copies the file before it changes it: what a killed hub left in the log belongs into it.
        self.execute("PRAGMA wal_checkpoint(PASSIVE)")


# For SQLAlchemy's create_engine; JupyterHub's connection passes from thread to thread.
PATIENT = {"connect_args": {"timeout": LOCKED_S, "check_same_thread": False}}
ON_THIS_SERVER = {"connect_args": {**PATIENT["connect_args"], "factory": WriteAhead}}
