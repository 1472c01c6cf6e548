"""A folder as it is to be published: its entries, divided among catalogs by rules for folders."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import StackError
from .catalog import Entry

RULES_FILE, MARKER = ".cvmfsdirtab", ".cvmfscatalog"
LEFT_OUT = frozenset({"/.build"})  # the builder's downloads and lock
STACK_RULES = ("/lcg/releases/*/*/*", "/lcg/views/*")
_FOLDER_BYTES = 4096  # what a folder itself takes differs between file systems, and says nothing
_OWNERS = stat.S_ISUID | stat.S_ISGID  # what ran as its owner would run as root, to whom all of it belongs
_LARGE = 200_000  # entries in one catalog from which on clients become slow


@dataclass
class Folder:
    """What goes into one catalog: entries from ``path`` down, as far as no nested one begins."""

    path: str
    entries: list[Entry] = field(default_factory=list)
    nested: list[Folder] = field(default_factory=list)

    def all(self) -> list[Folder]:
        """This one and all below it, each after those that it holds."""
        return [folder for inner in self.nested for folder in inner.all()] + [self]

    @property
    def advice(self) -> str:
        """A sentence when the catalog is too large, else empty."""
        if len(self.entries) < _LARGE:
            return ""
        return (
            f"The catalog of {self.path or '/'} has {len(self.entries):,} entries, which makes clients slow. "
            f"Name folders below it in {RULES_FILE}."
        )


@dataclass(frozen=True)
class Rules:
    """Which folders begin a catalog: patterns as in ``.cvmfsdirtab``, where a star matches within one name."""

    begins: tuple[re.Pattern[str], ...]
    never: tuple[re.Pattern[str], ...]

    @classmethod
    def of(cls, source: Path) -> Rules:
        """Those of the folder itself, or those that fit a software stack where it has none. Raises StackError."""
        try:
            lines = (source / RULES_FILE).read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            lines = list(STACK_RULES)
        except UnicodeDecodeError:
            raise StackError(f"{source / RULES_FILE} is not text in UTF-8. Correct it, or remove it.") from None
        wanted = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
        begins = tuple(_pattern(line) for line in wanted if not line.startswith("!"))
        return cls(begins, tuple(_pattern(line[1:].strip()) for line in wanted if line.startswith("!")))

    def begin_at(self, path: str) -> bool:
        """Whether a catalog begins at this folder."""
        return any(p.fullmatch(path) for p in self.begins) and not any(p.fullmatch(path) for p in self.never)


def scan(source: Path) -> Folder:
    """Look at everything below ``source``; nothing is read but the folders. Links are not followed.

    Raises:
        StackError: there is something that a repository cannot hold.
    """
    if not source.is_dir():
        raise StackError(f"{source} is not a folder.")
    rules = Rules.of(source)
    root = Folder("", [_entry("", source.lstat(), str(source))])
    pending = [(root, "", source)]
    while pending:
        folder, path, place = pending.pop()
        with os.scandir(place) as found:
            children = sorted(found, key=lambda one: one.name)
        inside = []
        for child in children:
            below = f"{path}/{child.name}"
            if below in LEFT_OUT:
                continue
            entry = _entry(below, child.stat(follow_symlinks=False), child.path)
            folder.entries.append(entry)
            if not entry.is_folder:
                continue
            where = Path(child.path)
            if rules.begin_at(below) or (where / MARKER).exists():
                nested = Folder(below, [entry])
                folder.nested.append(nested)
                inside.append((nested, below, where))
            else:
                inside.append((folder, below, where))
        pending.extend(reversed(inside))
    return root


def _entry(path: str, found: os.stat_result, place: str) -> Entry:
    _require_utf8(path, place)
    if stat.S_ISDIR(found.st_mode):
        return Entry(path, found.st_mode, _FOLDER_BYTES, found.st_mtime_ns)
    if stat.S_ISLNK(found.st_mode):
        target = os.readlink(place)  # noqa: PTH115  a Path would tidy it up
        _require_utf8(target, place)
        return Entry(path, found.st_mode, len(os.fsencode(target)), found.st_mtime_ns, target)
    if not stat.S_ISREG(found.st_mode):
        raise StackError(f"{place} is a device, a pipe or a socket, which cannot be published. Remove it.")
    return Entry(path, found.st_mode & ~_OWNERS, found.st_size, found.st_mtime_ns)


def _require_utf8(text: str, place: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise StackError(f"{place!r} has a name that is not UTF-8. Rename it.") from None


def _pattern(line: str) -> re.Pattern[str]:
    parts = (re.escape(part).replace(r"\*", "[^/]*").replace(r"\?", "[^/]") for part in line.rstrip("/").split("/"))
    return re.compile("/".join(parts))
