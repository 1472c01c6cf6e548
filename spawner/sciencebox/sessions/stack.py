"""Which software stacks a session may have: the server's own releases, and views of repositories mounted beside them.

A mount may hang, when a network or another server does. So looking happens in a thread that nobody waits for longer
than `PATIENCE_S`: the form says what is wrong, and sessions start without kernels.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from itertools import islice
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
_PLATFORM = re.compile(r"x86_64-([a-z]*)(\d*).*-opt")
# The last versions whose C library is not newer than that of sessions, Debian 12's: of later ones nothing starts there.
_LAST_SYSTEM = {"debian": 12, "el": 9, "fedora": 37, "ubuntu": 2210}
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class View:
    """One published release: by `name` users choose it, at `path` it is inside a session.

    `cuda` has the CUDA version of each environment that has one, such as ("PyTorch", (13, 2)); `environments` are the
    folders of all, the default's first. A release of others does not tell.
    """

    name: str
    platform: str
    path: str
    cuda: tuple[tuple[str, tuple[int, int]], ...] = ()
    environments: tuple[str, ...] = ()


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
    return tuple(_view(place, f"/cvmfs/{repository}/{place.relative_to(folder)}") for place in found)


def _view(place: Path, path: str) -> View:
    """A view with what the builder wrote down. A release that says nothing of CUDA needs no driver."""
    try:
        details = json.loads((place / "tree.json").read_text(encoding="utf-8"))["details"]
        told = _CUDA.findall(details.get("cuda", ""))
        cuda = tuple((title, (int(major), int(minor))) for title, major, minor in told)
        environments = tuple(details.get("environments", "").split())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        cuda, environments = (), ()
    return View(place.parent.name, place.name, path, cuda, environments)


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
    named = (name for name in _names(views) if _FURTHER.fullmatch(name))
    releases = ((name, platforms) for name in named if (platforms := _names(views / name)))
    found = []
    for release, platforms in islice(releases, NEWEST):
        for platform in platforms:
            if _runs_here(platform) and (views / release / platform / "share/jupyter/kernels").is_dir():
                path = f"/cvmfs/{repository}/lcg/views/{release}/{platform}"
                found.append(View(f"{release}/{platform}", platform, path))
    return tuple(found)


def _names(folder: Path) -> list[str]:
    """What is in it, newest first; nothing in what is no folder, such as a link that leads nowhere."""
    try:
        return sorted((place.name for place in folder.iterdir()), key=natural, reverse=True)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _runs_here(platform: str) -> bool:
    """Whether sessions can run what was built for it; of systems that are not known that is assumed."""
    match = _PLATFORM.fullmatch(platform)
    return match is not None and int(match[2] or 0) <= _LAST_SYSTEM.get(match[1], int(match[2] or 0))


def natural(name: str) -> tuple[tuple[int, str], ...]:
    """A key that sorts LCG_99 before LCG_105."""
    return tuple((int(digits or 0), text) for text, digits in re.findall(r"(\D*)(\d*)", name))


def whitelist_expiry(web_root: Path) -> float | None:
    """When the signature of the published repository ends, in seconds since 1970; None where nothing is published.

    Where it is damaged or gone, that was long ago: clients refuse the repository as they do an expired one.
    """
    try:
        lines = (web_root / ".cvmfswhitelist").read_bytes().splitlines()
        return datetime.strptime(lines[1].decode(), "E%Y%m%d%H%M%S").replace(tzinfo=timezone.utc).timestamp()
    except (OSError, ValueError, IndexError):
        # Of a folder that may not be looked into, Path.exists raises.
        return 0.0 if os.path.exists(web_root / ".cvmfspublished") else None  # noqa: PTH110


@dataclass(frozen=True)
class Seen:
    """What a look at a repository came to: its views, and a sentence on what is wrong with it, else empty."""

    views: tuple[View, ...] = ()
    fault: str = ""


class Repository:
    """One repository, as it was seen last. `look_at` is blocking and may hang, `every` is how often it is looked at, s.

    `after` is called with the views, in the thread that looked, and may take its time.
    """

    def __init__(self, look_at: Callable[[], Seen], every: float, after: Callable[[tuple[View, ...]], None]) -> None:
        self.seen = Seen()
        self._look_at = look_at
        self._every = every
        self._after = after
        self._looking: asyncio.Future[Seen] | None = None
        self._looked_at = float("-inf")

    async def look(self, silent: str) -> None:
        """Look again, unless that was done a moment ago. After `PATIENCE_S` its fault is that it is `silent`."""
        if self._looking is None:
            if not self.seen.fault and time.monotonic() - self._looked_at < self._every:
                return
            self._looking = self._begin()
        done, _ = await asyncio.wait({self._looking}, timeout=PATIENCE_S)
        if not done:  # it goes on: a second look would hang, too
            self._see(Seen(fault=silent))
            return
        finished, self._looking = self._looking, None
        self._looked_at = time.monotonic()
        self._see(finished.result())

    def _see(self, seen: Seen) -> None:
        if seen.fault != self.seen.fault:
            log.warning("The software stack: %s", seen.fault or "it can be read again.")
        self.seen = seen

    def _begin(self) -> asyncio.Future[Seen]:
        """In a thread of its own, which may hang for good without keeping anybody from anything."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Seen] = loop.create_future()

        def finish(seen: Seen) -> None:
            if not future.done():
                future.set_result(seen)

        def work() -> None:
            seen = self._look_at()
            if not loop.is_closed():
                loop.call_soon_threadsafe(finish, seen)
            self._after(seen.views)

        threading.Thread(target=work, name="stacks", daemon=True).start()
        return future


class Stacks:
    """What sessions may have now, of all repositories. One that hangs does not hide the others.

    `after` is called with what was seen of each, in the thread that looked, and may take its time.
    """

    def __init__(self, settings: Settings, read: Callable[[str], tuple[View, ...]] | None = None) -> None:
        stack = settings.stack
        self.after: Callable[[tuple[View, ...]], None] = lambda _: None
        self._settings = settings
        self._read = read or self._views_of
        mounted = stack.source == "client"
        self._repositories = {
            name: Repository(partial(self._look_at, name), MOUNTED_EVERY_S if mounted else 0.0, self._tell)
            for name in (stack.repository, *(stack.more if mounted else ()))
        }

    @property
    def views(self) -> tuple[View, ...]:
        """The server's own first."""
        return tuple(view for repository in self._repositories.values() for view in repository.seen.views)

    @property
    def fault(self) -> str:
        """A sentence on each repository of which there is nothing."""
        return " ".join(each.seen.fault for each in self._repositories.values() if each.seen.fault)

    @property
    def environments(self) -> dict[str, tuple[str, ...]]:
        """What each view has, by its name."""
        return {view.name: view.environments for view in self.views}

    def path(self, name: str) -> str | None:
        """The view of this name as sessions see it."""
        return next((view.path for view in self.views if view.name == name), None)

    async def look(self) -> None:
        """Look again. Ends after `PATIENCE_S` at the latest."""
        await asyncio.gather(
            *(each.look(f"/cvmfs/{name} does not answer.") for name, each in self._repositories.items())
        )

    def _tell(self, views: tuple[View, ...]) -> None:
        self.after(views)

    def _look_at(self, name: str) -> Seen:
        """Blocking, and may hang."""
        try:
            views = self._read(name)
            if views or self._settings.stack.source == "local" or self._has_views(name):
                return Seen(views)
        except Exception as error:  # whatever it is, somebody waits for an answer
            return Seen(fault=f"/cvmfs/{name} cannot be read: {getattr(error, 'strerror', None) or error}.")
        return Seen(fault=f"Nothing is mounted at /cvmfs/{name}.")

    def _views_of(self, name: str) -> tuple[View, ...]:
        folder = folder_of(self._settings, name)
        return published(folder, name) if name == self._settings.stack.repository else further(folder, name)

    def _has_views(self, name: str) -> bool:
        return (folder_of(self._settings, name) / "lcg" / "views").is_dir()
