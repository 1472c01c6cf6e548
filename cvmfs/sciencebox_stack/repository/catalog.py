"""Catalogs: what is in a folder, as SQLite databases of the format's schema 2.5.

A catalog is made from its entries alone, without a date, so an unchanged folder gives the very same object again.
"""

from __future__ import annotations

import hashlib
import stat
import struct
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .databases import create, opened
from .objects import CHUNK, FILE, DamagedError, ObjectName

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Mapping

_SCHEMA, _SCHEMA_REVISION = "2.5", "7"
_TABLES = """
CREATE TABLE catalog (md5path_1 INTEGER, md5path_2 INTEGER, parent_1 INTEGER, parent_2 INTEGER, hardlinks INTEGER,
    hash BLOB, size INTEGER, mode INTEGER, mtime INTEGER, mtimens INTEGER, flags INTEGER, name TEXT, symlink TEXT,
    uid INTEGER, gid INTEGER, xattr BLOB, CONSTRAINT pk_catalog PRIMARY KEY (md5path_1, md5path_2));
CREATE INDEX idx_catalog_parent ON catalog (parent_1, parent_2);
CREATE TABLE chunks (md5path_1 INTEGER, md5path_2 INTEGER, offset INTEGER, size INTEGER, hash BLOB,
    CONSTRAINT pk_chunks PRIMARY KEY (md5path_1, md5path_2, offset, size),
    FOREIGN KEY (md5path_1, md5path_2) REFERENCES catalog(md5path_1, md5path_2));
CREATE TABLE nested_catalogs (path TEXT, sha1 TEXT, size INTEGER, CONSTRAINT pk_nested_catalogs PRIMARY KEY (path));
CREATE TABLE bind_mountpoints (path TEXT, sha1 TEXT, size INTEGER, CONSTRAINT pk_bind_mountpoints PRIMARY KEY (path));
CREATE TABLE statistics (counter TEXT, value INTEGER, CONSTRAINT pk_statistics PRIMARY KEY (counter));
CREATE TABLE properties (key TEXT, value TEXT, CONSTRAINT pk_properties PRIMARY KEY (key));
"""
_FOLDER, _MOUNTPOINT, _FILE, _LINK, _NESTED_ROOT, _CHUNKED = 1, 2, 4, 8, 32, 64
_BILLION = 1_000_000_000
_DEEPEST = 1000  # folders in each other, or they go round in a circle
_COUNTERS = (
    "regular", "symlink", "special", "dir", "nested", "chunked", "chunks", "file_size", "chunked_size", "xattr",
    "external", "external_file_size",
)  # fmt: skip

Place = tuple[int, int]


@dataclass(frozen=True)
class Piece:
    """A chunk of a long file: bytes from ``offset``, and the digest of its object."""

    offset: int
    size: int
    digest: str


@dataclass(frozen=True)
class Entry:
    """A file, link or folder. ``path`` is "" for the root and else begins with a slash; ``size`` is in bytes.

    A file has a ``digest``, or ``chunks`` if it is long, or neither if it is not stored yet.
    """

    path: str
    mode: int
    size: int
    mtime_ns: int
    target: str = ""
    digest: str = ""
    chunks: tuple[Piece, ...] = ()

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    def objects(self) -> list[ObjectName]:
        """The objects with its content."""
        whole = [ObjectName(self.digest, FILE)] if self.digest else []
        return whole + [ObjectName(piece.digest, CHUNK) for piece in self.chunks]


@dataclass(frozen=True)
class Nested:
    """A catalog that begins at a folder of another one. ``size`` is its own, in bytes, unpacked."""

    path: str
    digest: str
    size: int


@dataclass(frozen=True)
class Catalog:
    """``entries`` begin with the folder ``path`` itself; ``sums`` count what is below, nested catalogs included."""

    path: str
    entries: tuple[Entry, ...]
    nested: tuple[Nested, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    sums: Mapping[str, int] = field(default_factory=dict)

    def counted(self, below: Iterable[Catalog]) -> Catalog:
        """The same, with its sums."""
        own = _count(self)
        subtree: Counter[str] = Counter()
        for other in below:
            for counter in _COUNTERS:
                subtree[counter] += other.sums[f"self_{counter}"] + other.sums[f"subtree_{counter}"]
        sums = {f"self_{counter}": own[counter] for counter in _COUNTERS}
        sums |= {f"subtree_{counter}": subtree[counter] for counter in _COUNTERS}
        return Catalog(self.path, self.entries, self.nested, self.properties, sums)


def write(catalog: Catalog) -> bytes:
    """The database of a catalog."""
    mountpoints = {nested.path for nested in catalog.nested}
    prefix = {"root_prefix": catalog.path} if catalog.path else {}
    properties = {
        "revision": "1", "schema": _SCHEMA, "schema_revision": _SCHEMA_REVISION, **prefix, **catalog.properties,
    }  # fmt: skip
    chunks = (
        (*_place(entry.path), piece.offset, piece.size, bytes.fromhex(piece.digest))
        for entry in catalog.entries
        for piece in entry.chunks
    )
    return create(
        _TABLES,
        [
            ("INSERT INTO properties VALUES (?, ?)", sorted(properties.items())),
            ("INSERT INTO statistics VALUES (?, ?)", sorted(catalog.sums.items())),
            (
                "INSERT INTO catalog VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, NULL)",
                (_row(entry, catalog.path, mountpoints) for entry in catalog.entries),
            ),
            ("INSERT INTO chunks VALUES (?, ?, ?, ?, ?)", chunks),
            (
                "INSERT INTO nested_catalogs VALUES (?, ?, ?)",
                ((nested.path, nested.digest, nested.size) for nested in catalog.nested),
            ),
        ],
    )


def read(content: bytes) -> Catalog:
    """A catalog from its database.

    Raises:
        DamagedError: it is no catalog.
    """
    with opened(content, "A catalog") as database:
        return _read(database)


def _read(database: sqlite3.Connection) -> Catalog:
    properties = dict(database.execute("SELECT key, value FROM properties"))
    if not str(properties.get("schema", "")).startswith("2."):
        raise DamagedError("A catalog has a schema that this program does not know.")
    pieces: dict[Place, list[Piece]] = {}
    for first, second, offset, size, digest in database.execute("SELECT * FROM chunks ORDER BY offset"):
        pieces.setdefault((first, second), []).append(Piece(offset, size, bytes(digest).hex()))
    root = str(properties.get("root_prefix", ""))
    columns = {column[1] for column in database.execute("PRAGMA table_info(catalog)")}
    nanoseconds = "mtimens" if "mtimens" in columns else "0"  # which came with the schema's last revision
    rows = database.execute(
        f"SELECT md5path_1, md5path_2, parent_1, parent_2, hash, size, mode, mtime, {nanoseconds}, name, symlink "  # noqa: S608
        "FROM catalog ORDER BY rowid"
    ).fetchall()
    paths = _paths(root, {(row[0], row[1]): ((row[2], row[3]), str(row[9])) for row in rows})
    entries = []
    for first, second, _, _, digest, size, mode, mtime, part, _, target in rows:
        here = (first, second)
        if here != _place(paths[here]):
            raise DamagedError(f"A catalog has {paths[here]} in the place of another entry.")
        moment = mtime * _BILLION + (part or 0)
        chunks = tuple(pieces.get(here, ()))
        entries.append(Entry(paths[here], mode, size, moment, target or "", bytes(digest or b"").hex(), chunks))
    nested = tuple(
        Nested(*row) for row in database.execute("SELECT path, sha1, size FROM nested_catalogs ORDER BY path")
    )
    sums = dict(database.execute("SELECT counter, value FROM statistics"))
    return Catalog(root, tuple(entries), nested, properties, sums)


def _paths(root: str, named: Mapping[Place, tuple[Place, str]]) -> dict[Place, str]:
    """The path of every entry, put together from the names of the folders above it, in whatever order they come."""
    paths = {_place(root): root}
    for place in named:
        above: list[tuple[Place, str]] = []
        at = place
        while at not in paths:
            if at not in named or len(above) > _DEEPEST:
                raise DamagedError("A catalog has an entry in a folder that it does not have.")
            parent, name = named[at]
            above.append((at, name))
            at = parent
        for below, name in reversed(above):
            paths[below] = f"{paths[at]}/{name}"
            at = below
    return paths


def _row(entry: Entry, root: str, mountpoints: set[str]) -> tuple[object, ...]:
    parent, _, name = entry.path.rpartition("/")
    above = _place(parent) if entry.path else (0, 0)
    digest = bytes.fromhex(entry.digest) if entry.digest else None
    return (
        *_place(entry.path), *above, digest, entry.size, entry.mode, entry.mtime_ns // _BILLION,
        entry.mtime_ns % _BILLION, _flags(entry, root, mountpoints), name, entry.target,
    )  # fmt: skip


def _flags(entry: Entry, root: str, mountpoints: set[str]) -> int:
    if entry.is_link:
        return _LINK
    if not entry.is_folder:
        return _FILE | (_CHUNKED if entry.chunks else 0)
    if entry.path in mountpoints:
        return _FOLDER | _MOUNTPOINT
    return _FOLDER | (_NESTED_ROOT if entry.path == root and root else 0)


def _place(path: str) -> Place:
    """The two halves of a path's MD5, by which the format finds an entry."""
    first, second = struct.unpack("<qq", hashlib.md5(path.encode(), usedforsecurity=False).digest())
    return first, second


def _count(catalog: Catalog) -> Counter[str]:
    counts: Counter[str] = Counter(nested=len(catalog.nested))
    for entry in catalog.entries:
        if entry.is_folder:
            counts["dir"] += 1
        elif entry.is_link:
            counts["symlink"] += 1
        else:
            counts["regular"] += 1
            counts["file_size"] += entry.size
            if entry.chunks:
                counts["chunked"] += 1
                counts["chunks"] += len(entry.chunks)
                counts["chunked_size"] += entry.size
    return counts
