"""Where everything lies under the root of a repository, and when a tree counts as finished.

::

    lcg/releases/Python/<version>-<key>/<platform>   the interpreter
    lcg/releases/<environment>/<key>/<platform>      the packages of one lock
    lcg/releases/<release>/<key>/<platform>          what a view shows: kernels, setup.sh, manifest, thin environments
    lcg/views/<release>/<platform>                   link to the published one of these
    .build/                                          downloads and the builder's lock; no part of what is published

A key is a hash of all that goes into a tree, so a tree never changes once it is finished, and a tree is finished
when it has a record, which is written last.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import StackError

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORD = "tree.json"


@dataclass(frozen=True)
class Layout:
    """Paths of one platform in the repository at ``root``, the path where it is mounted and built."""

    root: Path
    platform: str

    @property
    def work(self) -> Path:
        """The builder's own folder."""
        return self.root / ".build"

    def tree(self, name: str, key: str) -> Path:
        """The tree ``name`` with content ``key``."""
        return self.root / "lcg" / "releases" / name / key / self.platform

    def view(self, release: str) -> Path:
        """The link that users' paths go through."""
        return self.root / "lcg" / "views" / release / self.platform


@dataclass(frozen=True)
class Record:
    """What a finished tree says about itself.

    ``uses`` are the trees it needs, relative to the root; ``size`` is in bytes, without those trees;
    ``details`` is for people and for `status`.
    """

    name: str
    key: str
    uses: tuple[str, ...]
    size: int
    details: dict[str, str]


def read_record(tree: Path) -> Record | None:
    """The record of ``tree``, or None when it is not finished (or not there)."""
    try:
        fields = json.loads((tree / RECORD).read_text(encoding="utf-8"))
        return Record(**{**fields, "uses": tuple(fields["uses"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def start_tree(tree: Path) -> None:
    """Make ``tree`` an empty folder; what an interrupted build left there is removed."""
    if tree.exists():
        shutil.rmtree(tree)
    tree.mkdir(parents=True)


def finish_tree(tree: Path, name: str, key: str, uses: tuple[str, ...], details: dict[str, str]) -> Record:
    """Declare ``tree`` finished. Its files are on the disk before its record is."""
    record = Record(name, key, uses, size_of(tree), details)
    os.sync()
    draft = tree / f".{RECORD}"
    draft.write_text(json.dumps(asdict(record), indent=2, sort_keys=True) + "\n", encoding="utf-8")
    draft.replace(tree / RECORD)
    return record


def size_of(folder: Path) -> int:
    """Bytes in the files below ``folder``, links not followed."""
    return sum((Path(parent) / name).lstat().st_size for parent, _, names in os.walk(folder) for name in names)


def switch_view(view: Path, tree: Path, work: Path) -> None:
    """Make ``view`` lead to ``tree``: a reader sees the old or the new one, never neither, nor a draft.

    Raises:
        StackError: something that this program did not put there is in the way.
    """
    if view.exists() and not view.is_symlink():
        raise StackError(f"{view} is not a link that this program made; move it away and run again.")
    view.parent.mkdir(parents=True, exist_ok=True)
    draft = work / "view"
    draft.unlink(missing_ok=True)
    draft.symlink_to(os.path.relpath(tree, view.parent))
    draft.replace(view)


@contextmanager
def only_builder(work: Path) -> Iterator[None]:
    """Hold the repository's builder lock; the kernel releases it however the process ends.

    Raises:
        StackError: another build or prune holds it.
    """
    work.mkdir(parents=True, exist_ok=True, mode=0o700)
    with locked(work / "lock", f"Another build is at work in {work.parent}; wait for it to end."):
        yield


@contextmanager
def locked(file: Path, refusal: str) -> Iterator[None]:
    """Hold a lock; the kernel releases it however the process ends.

    Raises:
        StackError: another process holds it, in the words of ``refusal``.
    """
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StackError(refusal) from None
        yield
