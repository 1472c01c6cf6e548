"""Files that are written whole or not at all, and folders of them."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write_whole(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace a file by one of this text, which is on the disk before it takes the place. Raises OSError.

    At no moment more people can read it than `mode` lets, by default its owner alone.
    """
    draft = path.with_name(f".{path.name}.new")
    draft.unlink(missing_ok=True)  # left by one who was interrupted
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), mode)  # whatever the umask is
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def write_if_changed(path: Path, text: str, mode: int = 0o600) -> None:
    """The same, unless the file has this text already: what binds or watches it is then left alone."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_whole(path, text, mode)


def let_everybody_read(path: Path) -> None:
    """Of a file that is no secret, however strict the umask was under which it was made. Raises OSError."""
    mode = path.stat().st_mode
    if not mode & 0o004:
        path.chmod(mode | 0o444)


def write_folder(folder: Path, files: Mapping[str, str]) -> None:
    """Make a folder anew, of files by their path below it; without any it is removed."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in files.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
