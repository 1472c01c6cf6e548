"""What is published under a root, and what nothing uses any more."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .tree import RECORD, Record, read_record, size_of

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Published:
    """A view and the finished trees behind it. ``size`` is in bytes, trees shared with others included."""

    release: str
    platform: str
    record: Record
    parts: tuple[Record, ...]
    tree: Path
    used: tuple[Path, ...]

    @property
    def size(self) -> int:
        """Bytes of the release and all that it uses."""
        return self.record.size + sum(part.size for part in self.parts)


def published(root: Path) -> list[Published]:
    """The views under ``root`` that lead to a finished tree."""
    found = []
    for view in sorted(root.glob("lcg/views/*/*")):
        record = read_record(view)
        if record is None:
            continue
        used = tuple(root / path for path in record.uses)
        parts = tuple(part for part in map(read_record, used) if part is not None)
        found.append(Published(view.parent.name, view.name, record, parts, view.resolve(), used))
    return found


def unused_trees(root: Path) -> list[Path]:
    """Trees, finished or not, that no view needs."""
    needed = {path.resolve() for view in published(root) for path in (view.tree, *view.used)}
    return [tree for tree in sorted(root.glob("lcg/releases/*/*/*")) if tree.resolve() not in needed]


def remove_tree(root: Path, tree: Path) -> int:
    """Remove ``tree`` and its folders that become empty; return the bytes it had."""
    freed = size_of(tree)
    (tree / RECORD).unlink(missing_ok=True)  # first: an interrupted removal leaves an unfinished tree
    shutil.rmtree(tree)
    for folder in (tree.parent, tree.parent.parent):
        if folder != root and not any(folder.iterdir()):
            folder.rmdir()
    return freed


def remove_stale_downloads(cache: Path) -> None:
    """Remove unpacked wheels that share no file with a tree any more, and what wheels were built from."""
    for sources in cache.glob("sdists-v*"):
        shutil.rmtree(sources)
    for archive in cache.glob("archive-v*/*"):
        if not any(path.stat().st_nlink > 1 for path in archive.rglob("*") if path.is_file()):
            shutil.rmtree(archive)
