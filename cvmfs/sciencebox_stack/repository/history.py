"""The named revisions of a repository, and the list of all that it ever referred to, both SQLite databases."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from ..errors import StackError
from .databases import create, opened
from .objects import CATALOG, CERTIFICATE, HISTORY, ObjectName

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

REFLOG = ".cvmfsreflog"
GENERIC = "generic-"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")
_HISTORY_TABLES = """
PRAGMA foreign_keys = ON;
CREATE TABLE branches (branch TEXT, parent TEXT, initial_revision INTEGER, CONSTRAINT pk_branch PRIMARY KEY (branch),
    FOREIGN KEY (parent) REFERENCES branches (branch), CHECK ((branch <> '') OR (parent IS NULL)),
    CHECK ((branch = '') OR (parent IS NOT NULL)));
INSERT INTO branches (branch, parent, initial_revision) VALUES ('', NULL, 0);
CREATE TABLE tags (name TEXT, hash TEXT, revision INTEGER, timestamp INTEGER, channel INTEGER, description TEXT,
    size INTEGER, branch TEXT, CONSTRAINT pk_tags PRIMARY KEY (name),
    FOREIGN KEY (branch) REFERENCES branches (branch));
CREATE TABLE recycle_bin (hash TEXT, flags INTEGER, CONSTRAINT pk_hash PRIMARY KEY (hash));
CREATE TABLE properties (key TEXT, value TEXT, CONSTRAINT pk_properties PRIMARY KEY (key));
"""
_REFLOG_TABLES = """
CREATE TABLE refs (hash TEXT, type INTEGER, timestamp INTEGER, CONSTRAINT pk_refs PRIMARY KEY (hash));
CREATE TABLE properties (key TEXT, value TEXT, CONSTRAINT pk_properties PRIMARY KEY (key));
"""
_PROPERTY = "INSERT INTO properties VALUES (?, ?)"
_REFERENCES = {CATALOG: 0, CERTIFICATE: 1, HISTORY: 2}


@dataclass(frozen=True)
class Tag:
    """A named revision. ``root`` is its catalog's digest, ``size`` that catalog's bytes, ``timestamp`` in seconds."""

    name: str
    root: str
    revision: int
    timestamp: int
    size: int
    description: str = ""

    @property
    def is_generic(self) -> bool:
        """Whether publishing named it, not a person."""
        return self.name.startswith(GENERIC)


def require_name(name: str) -> None:
    """Refuse what cannot name a tag.

    Raises:
        StackError: what a name must look like.
    """
    if not _NAME.fullmatch(name) or name.startswith(GENERIC):
        raise StackError(
            f"{name!r} cannot name a tag: use letters, digits, dots, dashes and underscores, "
            f"and do not begin with {GENERIC!r}."
        )


def generic_name(revision: int, timestamp: int) -> str:
    """The name of a revision that nobody named."""
    moment = datetime.fromtimestamp(timestamp, timezone.utc)
    return f"{GENERIC}{moment:%Y-%m-%dT%H:%M:%SZ}-{revision}"


def write_history(repository: str, tags: Iterable[Tag]) -> bytes:
    """The database of tags."""
    named = ((t.name, t.root, t.revision, t.timestamp, t.description, t.size) for t in tags)
    return create(
        _HISTORY_TABLES,
        [(_PROPERTY, _properties(repository, "3")), ("INSERT INTO tags VALUES (?, ?, ?, ?, 0, ?, ?, '')", named)],
    )


def read_history(content: bytes) -> tuple[Tag, ...]:
    """The tags, newest first.

    Raises:
        DamagedError: it is no history.
    """
    with opened(content, "The repository's history") as database:
        rows = database.execute(
            "SELECT name, hash, revision, timestamp, size, description FROM tags ORDER BY revision DESC, name"
        ).fetchall()
    return tuple(Tag(*row) for row in rows)


def write_reflog(repository: str, references: Sequence[tuple[ObjectName, int]]) -> bytes:
    """The database of references: catalogs, certificates and histories, each with the second of its publication."""
    named = ((name.digest, _REFERENCES[name.kind], moment) for name, moment in references)
    return create(
        _REFLOG_TABLES,
        [(_PROPERTY, _properties(repository, "0")), ("INSERT OR IGNORE INTO refs VALUES (?, ?, ?)", named)],
    )


def read_reflog(content: bytes) -> list[tuple[ObjectName, int]]:
    """The references.

    Raises:
        DamagedError: it is no reference log.
    """
    kinds = {number: kind for kind, number in _REFERENCES.items()}
    with opened(content, REFLOG) as database:
        rows = database.execute("SELECT hash, type, timestamp FROM refs ORDER BY rowid").fetchall()
    return [(ObjectName(digest, kinds[kind]), moment) for digest, kind, moment in rows if kind in kinds]


def _properties(repository: str, revision: str) -> list[tuple[object, ...]]:
    return [("fqrn", repository), ("schema", "1.0"), ("schema_revision", revision)]
