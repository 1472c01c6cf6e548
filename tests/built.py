"""The programs that `make test-tools` builds: where they are, if they were built."""

from __future__ import annotations

import subprocess
from pathlib import Path

TOOLS = Path(__file__).parent / "tools/build.sh"


def program(name: str) -> Path | None:
    """A built program by its name."""
    told = subprocess.run([TOOLS, "--path"], check=True, capture_output=True, text=True).stdout
    found = (Path(folder, name) for folder in told.strip().split(":"))
    return next((path for path in found if path.is_file()), None)
