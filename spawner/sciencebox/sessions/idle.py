"""Sessions whose GPUs do nothing. Pure: one look at the driver after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sciencebox.gpus.device import Device
    from sciencebox.gpus.pool import Holding


@dataclass(frozen=True)
class IdleRule:
    """When a session is stopped for doing nothing.

    A GPU is idle that computes in less than `utilisation` of the time and has no more than `memory` of its own in use,
    both from 0 to 1. A session is over when all its GPUs were for `after_s` (None: never); it is told `warn_s` before.
    """

    after_s: float | None
    utilisation: float
    memory: float = 1.0
    warn_s: float = 600.0

    def is_idle(self, device: Device) -> bool:
        """Whether a device is known to do nothing. Where utilisation is not told, as of MIG instances, nothing runs."""
        load = device.load
        if load.utilisation is None:
            return not device.processes and "processes" not in device.unknown and not device.simulated
        used = (load.memory_used_bytes or 0) / (device.memory_bytes or 1)
        return load.utilisation < self.utilisation and used <= self.memory


class IdleWatch:
    """Remembers since when each session's GPUs have been idle."""

    def __init__(self, rule: IdleRule) -> None:
        self.rule = rule
        self._since: dict[str, float] = {}

    def see(self, devices: Iterable[Device], holdings: Collection[Holding], now: float) -> None:
        """What was told at `now`, in seconds since the epoch. A GPU of which nothing is told is not idle."""
        idle = {device.uuid for device in devices if self.rule.is_idle(device)}
        sessions: dict[str, set[str]] = {}
        for holding in holdings:
            sessions.setdefault(holding.session, set()).add(holding.uuid)
        began = {holding.session: holding.since or 0.0 for holding in holdings}
        self._since = {
            # A user's next session has the name of the last one, and may have begun since the last look.
            name: max(self._since.get(name, now), began[name])
            for name, uuids in sessions.items()
            if uuids <= idle
        }

    def seconds(self, session: str, now: float, began: float | None = None) -> float | None:
        """For how long all GPUs of a session that `began` then have been idle.

        None where one works or nothing is known.
        """
        since = self._since.get(session)
        return None if since is None else max(0.0, now - max(since, began or 0.0))

    def ends(self, session: str, now: float, began: float | None = None) -> float | None:
        """When a session is stopped if it goes on like this; None where its user need not be told yet."""
        after_s, idle_s = self.rule.after_s, self.seconds(session, now, began)
        if after_s is None or idle_s is None or idle_s < after_s - self.rule.warn_s:
            return None
        return now + max(0.0, after_s - idle_s)
