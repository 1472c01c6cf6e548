"""Parts of the distribution that a release carries, each copied into a tree of its own.

With them a release needs nothing of a session's image but its C library.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import StackError
from .lock import digest
from .tree import finish_tree, read_record, start_tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .tree import Layout


@dataclass(frozen=True)
class Part:
    """``files`` leads from a path in the tree to the file on the machine that builds.

    ``made`` leads to what is made of that machine's own settings; the part is the same one whatever these are.
    ``proof`` is a program of it, with its arguments, that must run before it is published.
    """

    name: str
    version: str
    files: Mapping[str, Path]
    made: Mapping[str, bytes] = field(default_factory=dict)
    proof: tuple[str, ...] = ()

    @cached_property
    def key(self) -> str:
        """Twelve hexadecimal digits over the distribution's files."""
        parts = (
            f"{place} {hashlib.sha256(path.read_bytes()).hexdigest()}" for place, path in sorted(self.files.items())
        )
        return digest(*parts)[:12]

    def tree(self, layout: Layout) -> Path:
        """Where the copy lies."""
        return layout.tree(self.name, self.key)

    def install(self, layout: Layout) -> None:
        """Copy it to its place unless it is there.

        Raises:
            StackError: the copy does not run.
        """
        tree = self.tree(layout)
        if read_record(tree) is not None:
            return
        start_tree(tree)
        for place in (*self.files, *self.made):
            (tree / place).parent.mkdir(parents=True, exist_ok=True)
        for place, path in self.files.items():
            shutil.copy2(path, tree / place)  # with its date, by which Java knows its archive of classes
        for place, content in self.made.items():
            (tree / place).write_bytes(content)
        if self.proof:
            _prove(tree, *self.proof)
        finish_tree(tree, self.name, self.key, (), {"version": self.version})


def packaged(names: Sequence[str], folder: Path, what: str) -> Iterator[Path]:
    """Files below ``folder`` that come from these packages of the distribution.

    Raises:
        StackError: a package is not installed; ``what`` is for the sentence.
    """
    try:
        told = subprocess.run(["dpkg-query", "--listfiles", *names], check=True, capture_output=True, text=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        raise StackError(
            f"The release carries {what}; build in the image sciencebox/cvmfs, or install {', '.join(names)}."
        ) from None
    yield from (path for path in map(Path, told.splitlines()) if path.is_relative_to(folder) and path.is_file())


def _prove(tree: Path, program: str, *arguments: str) -> None:
    done = subprocess.run([tree / program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
        raise StackError(f"{program} does not run from {tree}: {said[-1]}")
