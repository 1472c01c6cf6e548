"""The release that users get by default is read before they want it: a first import waits for no disk and no network.

What was read stays in the kernel's memory for as long as nothing else needs that, and is the same for all sessions.
So it is done once after each start of the server, and for each release.
"""

from __future__ import annotations

import json
import logging
import os
import re
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sciencebox.files import write_whole
from sciencebox.sessions.stack import folder_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sciencebox.sessions.stack import View
    from sciencebox.settings import Settings

BOOT, MEMORY = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/meminfo")
SHARE = 0.5  # of the memory that is available
WINDOW = 128 * 1024  # Linux reads no more ahead when it is asked once
_IMPORTED = re.compile(r"\.(so(\.[\d.]+)?|pyc)$")
log = logging.getLogger(__name__)


class Warmer:
    """Reads the default release once. In the file `note` is what was read last, and since when the server runs."""

    def __init__(self, settings: Settings, note: Path) -> None:
        self._settings = settings
        self._note = note
        self._reading = threading.Lock()

    def see(self, views: Iterable[View]) -> None:
        """Read what is new among these views. Blocking, for minutes; who calls meanwhile is sent away."""
        view = default(self._settings, views)
        if view is None or not self._reading.acquire(blocking=False):
            return
        try:
            folder = folder_of(self._settings, self._settings.stack.repository)
            tree = (folder / view.path.removeprefix(f"/cvmfs/{self._settings.stack.repository}/")).resolve()
            now = f"{tree} {BOOT.read_text(encoding='ascii')}"
            if not self._note.exists() or self._note.read_text(encoding="utf-8") != now:
                write_whole(self._note, now)
                began = time.monotonic()
                count, size = read(imported(folder, tree, self._settings.stack.source == "client"), room())
                seconds = time.monotonic() - began
                log.info("%s was read ahead: %d files, %.0f MB (%.0f s)", view.name, count, size / 1e6, seconds)
        except (OSError, ValueError, KeyError) as error:
            log.warning("%s could not be read ahead; first imports take longer: %s", view.name, error)
        finally:
            self._reading.release()


def default(settings: Settings, views: Iterable[View]) -> View | None:
    """The view that the form offers first; None where it is none of the release that the settings name."""
    named = {view.name: view for view in views}
    plain = settings.stack.release
    with_cuda = named.get(f"{plain}_cuda") if settings.stack.variant != "cpu" else None
    return with_cuda or named.get(plain)


def imported(folder: Path, tree: Path, mounted: bool) -> Iterator[Path]:
    """Files that imports read: shared libraries and compiled modules of the interpreter and of each environment.

    Where it is `mounted`, of the first environment alone: what a client keeps may not be enough for all. `folder` is
    the repository's, `tree` a release in it. Raises OSError, ValueError or KeyError where it is none that we built.
    """
    record = json.loads((tree / "tree.json").read_text(encoding="utf-8"))
    environments = record["details"]["environments"].split()
    wanted = ["Python", *environments[: 1 if mounted else None]]
    used = {use.split("/")[2]: folder / use for use in record["uses"]}
    for name in wanted:
        for place, _, files in os.walk(used[name]):
            yield from (Path(place, file) for file in files if _IMPORTED.search(file))


def read(files: Iterable[Path], most: int) -> tuple[int, int]:
    """Have the kernel read files, up to so many bytes in all. Returns how many files that were, and bytes."""
    count = done = 0
    for path in files:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if done + size > most:
                break
            for place in range(0, size, WINDOW):
                os.posix_fadvise(file.fileno(), place, WINDOW, os.POSIX_FADV_WILLNEED)
        count, done = count + 1, done + size
    return count, done


def room() -> int:
    """How many bytes may be read ahead: part of the memory that programs could have now."""
    lines = dict(line.split(":", 1) for line in MEMORY.read_text(encoding="ascii").splitlines())
    return int(int(lines["MemAvailable"].split()[0]) * 1024 * SHARE)
