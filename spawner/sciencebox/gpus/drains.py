"""GPUs that an administrator took out of service: sessions on them go on, and nobody else gets them.

They are kept in one file of the deployment, which the hub and the command line write, each a whole new file under a
lock on its folder. Who did it, when and why is kept with each.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from sciencebox.files import write_whole
from sciencebox.gpus.device import Health

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from sciencebox.gpus.device import Device, Inventory


@dataclass(frozen=True)
class Drain:
    """Why a GPU is out of service, who took it out, and when, in seconds since the epoch."""

    reason: str
    by: str
    since: float


class DrainsError(Exception):
    """The file cannot be understood or written. Its text is for the administrator."""


class DrainFile:
    """The drained GPUs, by UUID. Blocking: to be called in a thread. A folder that is not there has none."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, Drain]:
        """All of them. Raises DrainsError: what was taken out of service must not come back by a damaged file."""
        try:
            return {uuid: Drain(**entry) for uuid, entry in json.loads(self._path.read_text(encoding="utf-8")).items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise DrainsError(f"{self._path} cannot be read ({error}); repair it, or remove it") from error

    def add(self, uuid: str, drain: Drain) -> None:
        """Take a GPU out of service. Raises DrainsError."""
        with self._changed() as drains:
            drains[uuid] = drain

    def remove(self, uuid: str) -> bool:
        """Put it back. Whether it was out of service. Raises DrainsError."""
        with self._changed() as drains:
            return drains.pop(uuid, None) is not None

    @contextmanager
    def _changed(self) -> Iterator[dict[str, Drain]]:
        try:
            with _locked(self._path.parent):
                drains = self.read()
                yield drains
                text = json.dumps({uuid: asdict(drain) for uuid, drain in drains.items()})
                write_whole(self._path, text, mode=0o644)
        except OSError as error:
            raise DrainsError(f"{self._path} cannot be written: {error.strerror}") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def drained(inventory: Inventory, drains: Mapping[str, Drain]) -> Inventory:
    """The inventory with these out of service. With a GPU, so are its MIG instances."""
    return replace(inventory, devices=tuple(_drained(device, drains) for device in inventory.devices))


def _drained(device: Device, drains: Mapping[str, Drain]) -> Device:
    found = drains.get(device.uuid) or drains.get(device.parent_uuid or "")
    return replace(device, health=Health.DRAINED, health_reason=found.reason) if found else device


def find(inventory: Inventory, name: str) -> Device | None:
    """The device that an administrator means: by index (of a whole GPU) or by UUID."""
    return next(
        (d for d in inventory.devices if name == d.uuid or (name == str(d.index) and not d.mig_profile)),
        None,
    )
