"""Which software stacks a session may have: the server's own releases, and views of repositories mounted beside them.

A mount may hang, when a network or another server does. So looking happens in a thread that nobody waits for longer
than `PATIENCE_S`: the form says what is wrong, and sessions start without kernels.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from sciencebox.settings import Settings

PATIENCE_S = 3.0
MOUNTED_EVERY_S = 10.0  # a listing of a mounted repository goes over the network
NEWEST = 5  # releases of each further repository: at CERN there are hundreds
_FURTHER = re.compile(r"LCG_\d+[a-z]?(_cuda)?|SB_\d+(_cuda)?")  # nightly builds and the like are left out
_CUDA = re.compile(r"([^,]+?) (\d+)\.(\d+)(?:, |$)")
_PLATFORM = re.compile(r"x86_64-.*-opt")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class View:
    """One published release: by `name` users choose it, at `path` it is inside a session.

    `cuda` has the CUDA version of each environment that has one, such as ("PyTorch", (13, 2)).
    """

    name: str
    platform: str
    path: str
    cuda: tuple[tuple[str, tuple[int, int]], ...] = ()


def folder_of(settings: Settings, repository: str) -> Path:
    """Where the server has a repository."""
    if settings.stack.source == "client":
        return settings.stack.mount / repository
    return settings.data_root / "cvmfs" / repository


def published(folder: Path, repository: str) -> tuple[View, ...]:
    """The views below `folder` (the repository on the server), sorted by release. Blocking; an absent folder is empty.

    A view is `lcg/views/<release>/<platform>/` with a `setup.sh`, as in LCG releases.
    """
    views = folder / "lcg" / "views"
    found = [setup.parent for setup in sorted(views.glob("*/*/setup.sh"))]
    return tuple(
        View(view.parent.name, view.name, f"/cvmfs/{repository}/{view.relative_to(folder)}", _cuda(view))
        for view in found
    )


def _cuda(view: Path) -> tuple[tuple[str, tuple[int, int]], ...]:
    """What the builder wrote down. A release that says nothing of CUDA needs no driver."""
    try:
        told = json.loads((view / "tree.json").read_text(encoding="utf-8"))["details"]["cuda"]
        return tuple((title, (int(major), int(minor))) for title, major, minor in _CUDA.findall(told))
    except (OSError, ValueError, KeyError, TypeError):
        return ()


def too_new(views: Iterable[View], driver: tuple[int, int] | None) -> tuple[str, ...]:
    """Sentences on environments that this driver is too old for. `driver` is the newest CUDA version that it serves.

    Within a major version every driver serves every library: NVIDIA, CUDA Compatibility, "minor version compatibility".
    """
    if driver is None:
        return ()
    return tuple(
        f"{title} of {view.name} needs a driver for CUDA {cuda[0]}; this server's serves CUDA {driver[0]}.{driver[1]}, "
        "so it computes on the CPU there until the driver is upgraded."
        for view in views
        for title, cuda in view.cuda
        if cuda[0] > driver[0]
    )


def further(folder: Path, repository: str) -> tuple[View, ...]:
    """The newest releases of another repository that have kernels for this server's processor. Blocking.

    Only names are listed, until few are left: in a mounted repository every look into a view fetches its catalog.
    """
    views = folder / "lcg" / "views"
    releases = [place.name for place in views.iterdir() if _FURTHER.fullmatch(place.name)] if views.is_dir() else []
    found = []
    for release in sorted(releases, key=natural, reverse=True)[:NEWEST]:
        for platform in sorted((place.name for place in (views / release).iterdir()), key=natural, reverse=True):
            if _PLATFORM.fullmatch(platform) and (views / release / platform / "share/jupyter/kernels").is_dir():
                path = f"/cvmfs/{repository}/lcg/views/{release}/{platform}"
                found.append(View(f"{release}/{platform}", platform, path))
    return tuple(found)


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts LCG_99 before LCG_105."""
    return tuple((int(digits or 0), text) for text, digits in re.findall(r"(\D*)(\d*)", name))


def whitelist_expiry(web_root: Path) -> float | None:
    """When the signature of the published repository ends, in seconds since 1970; None where nothing is published."""
    try:
        lines = (web_root / ".cvmfswhitelist").read_bytes().splitlines()
        return datetime.strptime(lines[1].decode(), "E%Y%m%d%H%M%S").replace(tzinfo=timezone.utc).timestamp()
    except (OSError, ValueError, IndexError):
        return None


class Stacks:
    """What sessions may have now. `fault` is a sentence on why it is nothing, else empty."""

    def __init__(self, settings: Settings, read: Callable[[], tuple[View, ...]] | None = None) -> None:
        self.views: tuple[View, ...] = ()
        self.fault = ""
        self._settings = settings
        self._read = read or self._read_all
        self._looking: asyncio.Future[tuple[View, ...]] | None = None
        self._looked_at = float("-inf")

    def path(self, name: str) -> str | None:
        """The view of this name as sessions see it."""
        return next((view.path for view in self.views if view.name == name), None)

    async def look(self) -> None:
        """Look again, unless that was done a moment ago. Ends after `PATIENCE_S` at the latest."""
        every = MOUNTED_EVERY_S if self._settings.stack.source == "client" and not self.fault else 0.0
        if self._looking is None and time.monotonic() - self._looked_at < every:
            return
        if self._looking is None:
            self._looking = self._begin()
        done, _ = await asyncio.wait({self._looking}, timeout=PATIENCE_S)
        if not done:  # it goes on: a second look would hang, too
            self._see((), f"{self._where} does not answer.")
            return
        finished, self._looking = self._looking, None
        self._looked_at = time.monotonic()
        if (error := finished.exception()) is not None:
            self._see((), f"{self._where} cannot be read: {getattr(error, 'strerror', None) or error}.")
            return
        views = finished.result()
        missing = not views and self._settings.stack.source == "client"
        self._see(views, f"Nothing is mounted at {self._where}." if missing else "")

    @property
    def _where(self) -> str:
        return f"/cvmfs/{self._settings.stack.repository}"

    def _see(self, views: tuple[View, ...], fault: str) -> None:
        if fault != self.fault:
            log.warning("The software stack: %s", fault or "it can be read again.")
        self.views, self.fault = views, fault

    def _begin(self) -> asyncio.Future[tuple[View, ...]]:
        """In a thread of its own, which may hang for good without keeping anybody from anything."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[tuple[View, ...]] = loop.create_future()

        def finish(views: tuple[View, ...], error: Exception | None) -> None:
            if not future.done():
                future.set_exception(error) if error else future.set_result(views)

        def work() -> None:
            try:
                answer: tuple[tuple[View, ...], Exception | None] = (self._read(), None)
            except Exception as error:  # whatever it is, somebody waits for an answer
                answer = ((), error)
            if not loop.is_closed():
                loop.call_soon_threadsafe(finish, *answer)

        threading.Thread(target=work, name="stacks", daemon=True).start()
        return future

    def _read_all(self) -> tuple[View, ...]:
        stack = self._settings.stack
        own = published(folder_of(self._settings, stack.repository), stack.repository)
        others = stack.more if stack.source == "client" else ()
        return own + tuple(view for name in others for view in further(folder_of(self._settings, name), name))
