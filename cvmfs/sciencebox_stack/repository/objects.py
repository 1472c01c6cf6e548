"""The objects of a repository: compressed, and named by the SHA-1 of what is stored.

::

    data/<two digits>/<other 38 digits><kind>
"""

from __future__ import annotations

import hashlib
import os
import threading
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isal import isal_zlib

from ..errors import StackError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE, CHUNK, CATALOG, HISTORY, CERTIFICATE = "", "P", "C", "H", "X"
LARGEST = 8 * 1024 * 1024  # bytes of a file in one object; a longer file is cut into chunks of so many
_LEVEL = 2  # of ISA-L: twelve times as fast as zlib's usual level, and 7 % larger; the next takes twice as long for 1 %


class DamagedError(StackError):
    """Something is not what its signature or its name says."""


@dataclass(frozen=True)
class ObjectName:
    """``digest`` is in hexadecimal digits; ``kind`` one of the letters above."""

    digest: str
    kind: str = FILE

    @property
    def path(self) -> str:
        """Where it is, from the repository's root."""
        return f"data/{self.digest[:2]}/{self.digest[2:]}{self.kind}"


def pack(content: bytes, kind: str = FILE) -> tuple[ObjectName, bytes]:
    """Compress an object and name it."""
    stored = isal_zlib.compress(content, _LEVEL)
    return ObjectName(hashlib.sha1(stored, usedforsecurity=False).hexdigest(), kind), stored


def unpack(name: ObjectName, stored: bytes, largest: int) -> bytes:
    """The content of an object that claims to be ``name``; never more than ``largest`` bytes of it are made.

    Raises:
        DamagedError: its name, its compression or its size is wrong.
    """
    if hashlib.sha1(stored, usedforsecurity=False).hexdigest() != name.digest:
        raise DamagedError(f"{name.path} is not what its name says: it was damaged or replaced.")
    engine = zlib.decompressobj()
    try:
        content = engine.decompress(stored, largest + 1)
    except zlib.error:
        raise DamagedError(f"{name.path} cannot be decompressed.") from None
    if len(content) > largest or not engine.eof or engine.unused_data:
        raise DamagedError(f"{name.path} is larger than its catalog says.")
    return content


@dataclass
class Written:
    """What was added to a store."""

    objects: int = 0
    stored_bytes: int = 0


class Store:
    """The objects in a folder. `add` may be called by many threads at once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.written = Written()
        self.thorough = False  # hold what is there against what it should be, not its length alone
        self._scratch = root / "data" / "txn"
        self._lock = threading.Lock()

    def open(self) -> None:
        """Make the folders, and remove what an interrupted publisher left half-written."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        for draft in self._scratch.iterdir():
            draft.unlink()
        for first in range(256):
            (self.root / "data" / f"{first:02x}").mkdir(exist_ok=True)

    def add(self, content: bytes, kind: str = FILE) -> str:
        """Store ``content`` unless it is there; returns its digest."""
        name, stored = pack(content, kind)
        path = self.root / name.path
        if not self._is_there(path, stored):
            draft = self._scratch / f"{threading.get_ident()}"
            draft.write_bytes(stored)
            draft.replace(path)
            with self._lock:
                self.written.objects += 1
                self.written.stored_bytes += len(stored)
        return name.digest

    def _is_there(self, path: Path, stored: bytes) -> bool:
        try:
            # One of another length was cut short when the server lost its power.
            return path.stat().st_size == len(stored) and not (self.thorough and path.read_bytes() != stored)
        except FileNotFoundError:
            return False

    def has(self, name: ObjectName) -> bool:
        """Whether there is such an object."""
        return (self.root / name.path).exists()

    def names(self) -> Iterator[ObjectName]:
        """All objects that are there."""
        for folder in sorted((self.root / "data").glob("[0-9a-f][0-9a-f]")):
            for entry in os.scandir(folder):
                yield ObjectName(folder.name + entry.name[:38], entry.name[38:])

    def remove(self, name: ObjectName) -> int:
        """Remove an object; returns the bytes that it took."""
        size = self.size(name)
        (self.root / name.path).unlink()
        return size

    def size(self, name: ObjectName) -> int:
        """Bytes that an object takes."""
        return (self.root / name.path).stat().st_size

    def write_file(self, name: str, content: bytes) -> None:
        """Replace a file at the repository's root: a reader sees the old or the new one, after a loss of power too."""
        draft = self._scratch / name.lstrip(".")
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.root / name)
        folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
