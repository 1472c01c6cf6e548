"""What the GPUs do, from look to look: kept for pages, written as JSON once for everybody who looks."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from sciencebox.gpus.device import Load
from sciencebox.gpus.history import History
from sciencebox.sessions.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Collection

    from sciencebox.gpus.device import Device
    from sciencebox.gpus.pool import Holding
    from sciencebox.hub.base import AnyDesk


class Live:
    """One for the hub; it sees every look at the driver."""

    def __init__(self, desk: AnyDesk) -> None:
        self.looked = Signal()
        self.rendered: dict[Any, str] = {}  # parts of the GPUs page, by what is seen there
        self.streams: Counter[str] = Counter()  # that each user follows
        self._history = History()
        self._devices: Collection[Device] = ()
        self._loads = ""
        desk.watchers.append(self.see)

    def see(self, devices: Collection[Device], _holdings: Collection[Holding], now: float) -> None:
        """The driver was looked at."""
        self._devices, self._loads = [_told(device) for device in devices], ""
        self._history.see(self._devices, now)
        self.looked.tell()

    def loads(self) -> str:
        """By UUID what each device does; see `Load`."""
        self._loads = self._loads or json.dumps({device.uuid: self._load(device) for device in self._devices})
        return self._loads

    def _load(self, device: Device) -> dict[str, Any]:
        load = device.load
        return {
            "utilisation": load.utilisation,
            "history": [None if value is None else round(value, 2) for value in self._history.of(device.uuid)],
            "memory": device.memory_bytes,
            "memory_used": load.memory_used_bytes,
            "temperature": load.temperature_c,
            "power": load.power_w and round(load.power_w),
        }


def _told(device: Device) -> Device:
    """Of a share, what its own session does, where that is known: else it has the load of all of its GPU."""
    if not device.share:
        return device
    own = device.load if device.load.memory_used_bytes is not None else Load()
    return replace(device, load=replace(own, power_w=None))  # which is its GPU's, in parts
