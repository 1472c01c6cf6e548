"""A catalog holds what was put into it, and an unchanged one is the very same object."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as some
from sciencebox_stack.repository.catalog import Catalog, Entry, Nested, Piece, read, write
from sciencebox_stack.repository.objects import DamagedError

digests = some.binary(min_size=20, max_size=20).map(bytes.hex)
names = some.text(some.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..")
)
moments = some.integers(0, 4_000_000_000_000_000_000)


@some.composite
def catalogs(draw: some.DrawFn) -> Catalog:
    root = draw(some.sampled_from(["", "/lcg/releases/a"]))
    entries = [Entry(root, stat.S_IFDIR | 0o755, 4096, draw(moments))]
    for name in draw(some.lists(names, unique=True, max_size=6)):
        path, when = f"{root}/{name}", draw(moments)
        kind = draw(some.sampled_from(["file", "chunked", "link", "folder"]))
        if kind == "file":
            entries.append(Entry(path, stat.S_IFREG | 0o644, draw(some.integers(0, 2**40)), when, digest=draw(digests)))
        elif kind == "chunked":
            pieces = tuple(Piece(offset, 5, draw(digests)) for offset in (0, 5, 10))
            entries.append(Entry(path, stat.S_IFREG | 0o755, 15, when, chunks=pieces))
        elif kind == "link":
            entries.append(Entry(path, stat.S_IFLNK | 0o777, 3, when, target="../x"))
        else:
            entries.append(Entry(path, stat.S_IFDIR | 0o755, 4096, when))
            entries.append(Entry(f"{path}/inner", stat.S_IFREG | 0o600, 1, when, digest=draw(digests)))
    nested = tuple(Nested(entry.path, draw(digests), 7) for entry in entries[1:] if entry.is_folder)[:1]
    return Catalog(root, tuple(entries), nested).counted([])


@given(catalogs())
def test_what_is_written_is_read_again(catalog: Catalog) -> None:
    content = write(catalog)
    again = read(content)
    assert (again.path, again.entries, again.nested) == (catalog.path, catalog.entries, catalog.nested)
    assert again.sums == catalog.sums
    assert write(catalog) == content


@pytest.mark.parametrize("content", [b"", b"not a database", write(Catalog("", ()))[:3000]])
def test_what_is_no_catalog_is_refused(content: bytes) -> None:
    with pytest.raises(DamagedError):
        read(content)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE catalog SET name = '../../etc/passwd' WHERE name = 'a'",
        "UPDATE catalog SET parent_1 = 1 WHERE name = 'a'",
        "UPDATE properties SET value = '3.0' WHERE key = 'schema'",
        "DROP TABLE chunks",
    ],
)
def test_a_catalog_that_contradicts_itself_is_refused(statement: str) -> None:
    good = Catalog(
        "", (Entry("", stat.S_IFDIR, 4096, 0), Entry("/a", stat.S_IFREG | 0o644, 1, 0, digest="ab" * 20))
    ).counted([])
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(write(good))
        database.execute(statement)
        database.commit()
        spoiled = database.serialize()
    with pytest.raises(DamagedError):
        read(spoiled)


def test_another_publishers_catalog_is_read_whatever_the_order_and_without_nanoseconds() -> None:
    folder = Entry("/a", stat.S_IFDIR | 0o755, 4096, 5_000_000_000)
    file = Entry("/a/b", stat.S_IFREG | 0o644, 1, 7_000_000_000, digest="ab" * 20)
    root = Entry("", stat.S_IFDIR | 0o755, 4096, 0)
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(write(Catalog("", (file, folder, root)).counted([])))
        database.execute("ALTER TABLE catalog DROP COLUMN mtimens")
        database.commit()
        content = database.serialize()
    assert read(content).entries == (file, folder, root)


def test_folders_that_go_round_in_a_circle_are_refused() -> None:
    first, second = (Entry(path, stat.S_IFDIR, 4096, 0) for path in ("/a", "/a/b"))
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(write(Catalog("", (Entry("", stat.S_IFDIR, 4096, 0), first, second)).counted([])))
        (inner,) = database.execute("SELECT md5path_1, md5path_2 FROM catalog WHERE name = 'b'")
        database.execute("UPDATE catalog SET parent_1 = ?, parent_2 = ? WHERE name = 'a'", inner)
        database.commit()
        content = database.serialize()
    with pytest.raises(DamagedError):
        read(content)
