"""What trees contain, as a number that two servers can compare."""

from __future__ import annotations

import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from .lock import digest
from .tree import RECORD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def content_digest(tree: Path) -> str:
    """Hexadecimal SHA-256 over all names, files and links below ``tree``, and which files are programs.

    Left out are dates, owners and other permissions, which differ between builds, and the tree's own record.
    """
    paths = sorted(set(_below(tree)) - {RECORD})
    with ThreadPoolExecutor() as pool:
        contents = pool.map(lambda path: _content(tree / path), paths)
        return digest(*(word for path, content in zip(paths, contents, strict=True) for word in (path, content)))


def _below(tree: Path) -> Iterator[str]:
    for parent, folders, names in os.walk(tree):
        here = os.path.relpath(parent, tree)
        yield from (os.path.normpath(f"{here}/{name}") for name in (*folders, *names))


def _content(path: Path) -> str:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        return f"link {path.readlink()}"
    if stat.S_ISDIR(found.st_mode):
        return "folder"
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    return f"{'program' if found.st_mode & stat.S_IXUSR else 'file'} {content}"
