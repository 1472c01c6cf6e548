"""Which releases of the software stack a server has published, as sessions will see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class View:
    """One published release. `path` is the view inside a session."""

    release: str
    platform: str
    path: str


def published(folder: Path, repository: str) -> tuple[View, ...]:
    """The views below `folder` (the repository on the server), sorted by release. Blocking; an absent folder is empty.

    A view is `lcg/views/<release>/<platform>/` with a `setup.sh`, as in LCG releases.
    """
    views = folder / "lcg" / "views"
    return tuple(
        View(setup.parent.parent.name, setup.parent.name, f"/cvmfs/{repository}/{setup.parent.relative_to(folder)}")
        for setup in sorted(views.glob("*/*/setup.sh"))
    )
