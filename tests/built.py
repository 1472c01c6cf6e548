"""The programs that `make test-tools` builds: where they are, if they were built."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

BUILD = Path(__file__).parent / "tools/build.sh"


def program(name: str) -> Path | None:
    """A built program by its name."""
    return next((path for folder in _folders() if (path := folder / name).is_file()), None)


@cache
def _folders() -> tuple[Path, ...]:
    told = subprocess.run([BUILD, "--path"], check=True, capture_output=True, text=True).stdout
    return tuple(map(Path, told.strip().split(":")))
