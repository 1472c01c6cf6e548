"""What devices did in the last minutes, for a small plot. Pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sciencebox.gpus.device import Device

EVERY_S = 15.0
TOLERANCE_S = 1.0
POINTS = 40  # ten minutes


class History:
    """The utilisation of each device, at most one value in EVERY_S."""

    def __init__(self) -> None:
        self._points: dict[str, deque[float | None]] = {}
        self._last = float("-inf")

    def see(self, devices: Iterable[Device], now: float) -> None:
        """What the driver told at `now`, in seconds. A device that is gone is forgotten."""
        if now - self._last < EVERY_S - TOLERANCE_S:
            return
        self._last = now
        empty: deque[float | None] = deque(maxlen=POINTS)
        self._points = {device.uuid: self._points.get(device.uuid, empty.copy()) for device in devices}
        for device in devices:
            self._points[device.uuid].append(device.load.utilisation)

    def of(self, uuid: str) -> list[float | None]:
        """From 0 to 1, the newest last; None where the driver told nothing."""
        return list(self._points.get(uuid, ()))
