"""The project's own package for notebooks, given as a folder or a wheel, laid over every environment."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import StackError
from .lock import digest
from .release import parse_toml

if TYPE_CHECKING:
    from pathlib import Path

_WHEEL = re.compile(r"^(?P<name>[^-]+)-(?P<version>[^-]+)-.*\.whl$")
_NOT_SOURCE = shutil.ignore_patterns("*.ipynb", ".*", "__pycache__", "*.egg-info", "build", "dist")


@dataclass(frozen=True)
class Project:
    """A pure Python package: ``path`` is its wheel or the folder of its pyproject.toml."""

    name: str
    version: str
    path: Path
    key: str

    def wheel(self, scratch: Path) -> Path:
        """The wheel, built in ``scratch`` from a copy when it is not given: sources may be read-only.

        Raises:
            StackError: it could not be built.
        """
        if self.path.is_file():
            return self.path
        source = scratch / "source"
        shutil.copytree(self.path, source, ignore=_NOT_SOURCE)
        program = "import sys, setuptools.build_meta as backend; backend.build_wheel(sys.argv[1])"
        built = subprocess.run(
            [sys.executable, "-c", program, str(scratch)], cwd=source, capture_output=True, text=True, check=False
        )
        wheels = list(scratch.glob("*.whl"))
        if built.returncode != 0 or len(wheels) != 1:
            said = (built.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise StackError(f"Could not build {self.name} from {self.path}: {said}")
        return wheels[0]


def read_project(path: Path) -> Project:
    """Look at the package in ``path``.

    Raises:
        StackError: there is no wheel and no folder with a pyproject.toml.
    """
    path = path.resolve()
    if path.is_file() and (match := _WHEEL.match(path.name)):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        return Project(match["name"], match["version"], path, content[:12])
    try:
        table = parse_toml((path / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except (OSError, KeyError, ValueError):
        table = None
    if not isinstance(table, dict) or not {"name", "version"} <= table.keys():
        raise StackError(f"{path} is neither a wheel nor a folder whose pyproject.toml gives a name and a version.")
    return Project(str(table["name"]), str(table["version"]), path, _source_key(path))


def _source_key(folder: Path) -> str:
    parts: list[str] = []
    pending = [folder]
    while pending:
        here = pending.pop()
        entries = sorted(here.iterdir())
        left_out = _NOT_SOURCE(str(here), [entry.name for entry in entries])
        for entry in entries:
            if entry.name in left_out:
                continue
            if entry.is_dir():
                pending.append(entry)
            else:
                parts.append(f"{entry.relative_to(folder)} {hashlib.sha256(entry.read_bytes()).hexdigest()}")
    return digest(*sorted(parts))[:12]
