"""Removing the data of a deployment: all that is below its folder, and nothing that is elsewhere."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from sciencebox.host import backup, mounting
from sciencebox.host.steps import StepError

if TYPE_CHECKING:
    from pathlib import Path

    from sciencebox.host.steps import Screen

MARK = "deploy.log"  # in the state; by it the data of a deployment is known
MAY_BE_LINKS = (".", "data", "cvmfs")  # folders in which an administrator puts links to other disks
OURS = frozenset({"homes", "data", "cvmfs", "client", "repository", "state", backup.NOTE, backup.UNFINISHED})


def erase(data_root: Path, screen: Screen) -> str:
    """Remove it, but nothing that others have put beside it, nor anything of another file system.

    What was interrupted can be done again.
    """
    root = data_root.resolve()  # mounts are listed by where they really are
    if not root.exists():
        return "nothing there"
    state = root / "state"
    if not (state / MARK).exists():
        raise StepError(f"{root} does not look like the data of a deployment; remove it yourself.")
    mounts = mounting.mounted_below(root, mounting.read_mounts())
    stays = str(root) in mounts  # a disk of its own, whose mount point is not ours
    if mounts := [point for point in mounts if point != str(root)]:
        raise StepError(f"{', '.join(mounts)} is mounted from elsewhere; unmount it first, then run this again.")
    kept, others = [told_links(root)], sorted(path.name for path in root.iterdir() if path.name not in OURS)
    screen.now(f"removing {root}")
    screen.log_file = None
    try:
        for path in [path for path in root.iterdir() if path.name in OURS and path != state]:
            _remove(path)
        if not state.is_symlink():
            for path in [path for path in state.iterdir() if path.name != MARK]:
                _remove(path)
        _remove(state)
        if others:
            kept.append(f"what is not of the deployment stays: {', '.join(others)}")
        if not (others or stays):
            root.rmdir()
            data_root.unlink(missing_ok=True)  # what is left of it, if it was one
    except OSError as error:
        raise StepError(f"{error.filename} could not be removed: {error.strerror}.") from error
    return "; ".join([f"removed {'the data in ' if others or stays else ''}{root}", *filter(None, kept)])


def told_links(root: Path) -> str:
    """What is not removed with the data, because links lead to it; nothing where there are none."""
    found = [path for name in MAY_BE_LINKS for path in sorted((root / name).glob("*")) if path.is_symlink()]
    told = ", ".join(f"{path.relative_to(root)} ({path.readlink()})" for path in found)
    return f"what links lead to stays: {told}" if found else ""


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
