"""What the GPUs of sessions did, as far as it was watched. Pure: one look at the driver after the other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sciencebox.gpus.device import Device, Load
    from sciencebox.gpus.pool import Holding

Number = TypeVar("Number", int, float)
Key = tuple[str, str, float]  # of a lease: session, device, since

LONGEST_GAP_S = 120.0  # what lies between two looks further apart was not watched


@dataclass(frozen=True)
class Activity:
    """One lease's, in parts that add up. Peaks and energy are None where the driver tells none.

    `busy_s` is the utilisation, from 0 to 1, summed up over the `watched_s` for which it is known.
    """

    watched_s: float = 0.0
    busy_s: float = 0.0
    peak_utilisation: float | None = None
    peak_memory_bytes: int | None = None
    energy_j: float | None = None

    def __add__(self, other: Activity) -> Activity:
        """Both parts together."""
        return Activity(
            self.watched_s + other.watched_s,
            self.busy_s + other.busy_s,
            _known(max, self.peak_utilisation, other.peak_utilisation),
            _known(max, self.peak_memory_bytes, other.peak_memory_bytes),
            _known(sum, self.energy_j, other.energy_j),
        )

    def part(self, share: float) -> Activity:
        """Of a part of the time, from 0 to 1, as if it had been spread evenly. Peaks are those of the whole."""
        energy_j = None if self.energy_j is None else self.energy_j * share
        return replace(self, watched_s=self.watched_s * share, busy_s=self.busy_s * share, energy_j=energy_j)

    @property
    def utilisation(self) -> float | None:
        """The mean over the time watched, from 0 to 1."""
        return self.busy_s / self.watched_s if self.watched_s else None


class Meter:
    """Adds up activity by lease until it is taken to be written down."""

    def __init__(self) -> None:
        self._last: dict[Key, tuple[float, Load]] = {}
        self._found: dict[Key, Activity] = {}

    def see(self, devices: Iterable[Device], holdings: Iterable[Holding], now: float) -> None:
        """What the driver told at `now`, in seconds since the epoch."""
        loads = {device.uuid: device.load for device in devices}
        keys = [(h.session, h.uuid, h.since) for h in holdings if h.ours and h.since is not None and h.uuid in loads]
        seen = {key: (now, loads[key[1]]) for key in keys}
        for key, (_, load) in seen.items():
            then, before = self._last.get(key, (now, load))
            self._add(key, _between(before, load, now - then))
        self._last = seen

    def take(self) -> Mapping[Key, Activity]:
        """Everything since it was last taken."""
        found, self._found = self._found, {}
        return found

    def give_back(self, parts: Mapping[Key, Activity]) -> None:
        """What was taken and could not be written down: it is in what is taken next."""
        for key, part in parts.items():
            self._add(key, part)

    def _add(self, key: Key, part: Activity) -> None:
        self._found[key] = self._found.get(key, Activity()) + part


def _between(before: Load, now: Load, seconds: float) -> Activity:
    """What happened from one look to the next. The driver's counter begins anew when the driver is loaded."""
    watched_s = seconds if now.utilisation is not None and 0 <= seconds <= LONGEST_GAP_S else 0.0
    energy_j = None
    if now.energy_j is not None and before.energy_j is not None:
        energy_j = max(0.0, now.energy_j - before.energy_j)
    return Activity(watched_s, watched_s * (now.utilisation or 0.0), now.utilisation, now.memory_used_bytes, energy_j)


def _known(combine: Callable[[Iterable[Number]], Number], first: Number | None, second: Number | None) -> Number | None:
    known = [value for value in (first, second) if value is not None]
    return combine(known) if known else None
