"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def write_whole(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file by one of this text, which is on the disk before it takes the place. Raises OSError.

    At no moment more people can read it than `mode` lets, by default its owner alone.
    """
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)  # left by one who was interrupted
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
