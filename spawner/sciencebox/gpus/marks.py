"""GPUs that nobody gets for now: taken out of service by an administrator, or in quarantine. Sessions on them go on.

They are kept in one file of the deployment, which the hub and the command line write, each a whole new file under a
lock on its folder. Whoever changes it, when and why is written down beside it in `audit.jsonl`, which only grows.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from sciencebox.files import write_whole
from sciencebox.gpus.device import Health

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sciencebox.gpus.device import Device, Inventory

BY_SERVICE = "the service"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Mark:
    """Why a GPU is not given out, by whose word, and since when, in seconds since the epoch.

    One with a `boot` (see `this_boot`) is over when the server has been restarted: by then the card has been reset, and
    whether it is well is told by its own signs.
    """

    uuid: str
    reason: str
    by: str
    since: float
    health: Health = Health.DRAINED
    boot: str = ""


class MarksError(Exception):
    """The file cannot be understood or written. Its text is for the administrator."""


def this_boot() -> str:
    """Tells one start of the server from the next. Blocking."""
    return _BOOT.read_text(encoding="ascii").strip()


class MarkFile:
    """All marks. Blocking: to be called in a thread. A folder that is not there has none."""

    def __init__(self, state: Path) -> None:
        self._path = state / "marks.json"
        self._audit = state / "audit.jsonl"

    def read(self) -> tuple[Mark, ...]:
        """Those that hold now. Raises MarksError: what is out of service must not come back by a damaged file."""
        try:
            entries = json.loads(self._path.read_text(encoding="utf-8"))
            marks = tuple(Mark(**{**entry, "health": Health(entry["health"])}) for entry in entries)
        except FileNotFoundError:
            return ()
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise MarksError(f"{self._path} cannot be read ({error}); repair it, or remove it") from error
        boot = this_boot()
        return tuple(mark for mark in marks if mark.boot in {"", boot})

    def add(self, mark: Mark) -> None:
        """From now on the GPU is not given out. Raises MarksError."""
        with self._changed() as marks:
            marks[(mark.uuid, mark.health)] = mark
        self._write_down(mark.health.value, mark.uuid, mark.by, mark.reason)

    def remove(self, uuid: str, health: Health, by: str) -> bool:
        """Take a mark back. Whether there was one. Raises MarksError."""
        with self._changed() as marks:
            was = marks.pop((uuid, health), None)
        if was:
            self._write_down(f"no longer {health.value}", uuid, by, was.reason)
        return was is not None

    @contextmanager
    def _changed(self) -> Iterator[dict[tuple[str, Health], Mark]]:
        try:
            with _locked(self._path.parent):
                marks = {(mark.uuid, mark.health): mark for mark in self.read()}
                yield marks
                write_whole(self._path, json.dumps([asdict(mark) for mark in marks.values()]), mode=0o644)
        except OSError as error:
            raise MarksError(f"{self._path} cannot be written: {error.strerror}") from error

    def _write_down(self, what: str, uuid: str, who: str, why: str) -> None:
        line = {"at": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "who": who, "gpu": uuid, "is": what, "reason": why}
        try:
            with self._audit.open("a", encoding="utf-8") as audit:
                audit.write(json.dumps(line) + "\n")
        except OSError as error:
            raise MarksError(
                f"{self._audit} cannot be written: {error.strerror}; the change itself was made"
            ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def marked(inventory: Inventory, marks: Iterable[Mark]) -> Inventory:
    """The inventory with these not to be given out. With a GPU, neither are its parts."""
    # Of two marks on a card the quarantine speaks, whichever came first.
    by_uuid: dict[str, list[Mark]] = defaultdict(list)
    for mark in sorted(marks, key=lambda mark: mark.health is Health.QUARANTINED):
        by_uuid[mark.uuid].append(mark)
    return replace(inventory, devices=tuple(_marked(device, by_uuid) for device in inventory.devices))


def _marked(device: Device, marks: Mapping[str, Sequence[Mark]]) -> Device:
    found = marks.get(device.uuid) or marks.get(device.parent_uuid or "")
    if not found:
        return device
    speaks, drained = found[-1], any(mark.health is Health.DRAINED for mark in found)
    if device.health is Health.QUARANTINED and speaks.health is Health.DRAINED:
        return replace(device, drained=drained)
    return replace(
        device,
        health=speaks.health,
        health_reason=speaks.reason,
        health_since=speaks.since,
        marked=True,
        drained=drained,
    )


def find(inventory: Inventory, name: str) -> Device | None:
    """The device that an administrator means: by index (of a whole GPU) or by UUID; never a share."""
    named = (d for d in inventory.devices if name == d.uuid or (name == str(d.index) and not d.is_part))
    return next((device for device in named if not device.share), None)
