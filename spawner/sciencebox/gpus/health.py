"""Whether a GPU may be granted, judged by what its driver tells cheaply. Pure.

What each sign means, and what helps, is in NVIDIA's "GPU Memory Error Management" and "GPU Debug Guidelines".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sciencebox.gpus.device import Health

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sciencebox.gpus.device import Device


# What the driver says has to be done with a GPU, as NVML numbers it (`NVML_GPU_RECOVERY_ACTION_*`); 0 is nothing.
_RECOVERY = {
    1: (Health.QUARANTINED, "it has to be reset"),
    2: (Health.QUARANTINED, "the server has to be restarted"),
    3: (Health.SUSPECT, "its traffic with other GPUs has to end"),
    4: (Health.SUSPECT, "it has to be reset as soon as nobody uses it"),
    6: (Health.QUARANTINED, "its bus has to be reset"),
    7: (Health.QUARANTINED, "the server has to be restarted"),
}


@dataclass(frozen=True)
class HealthFacts:
    """Signs of one GPU; a sign that the driver does not tell is as if it were not there.

    `lost` and `unread` are reasons in words: the GPU does not answer; something that must be known before it may be
    granted could not be read. `uncorrectable_ecc` counts since the driver was loaded. `recovery` is what the driver
    says has to be done, by NVML's number.
    """

    lost: str = ""
    remap_failed: bool = False
    remap_pending: bool = False
    uncorrectable_ecc: int = 0
    too_hot: bool = False
    recovery: int = 0
    unread: str = ""


def judge(facts: HealthFacts) -> tuple[Health, str]:
    """The state of a GPU and, unless it is healthy, why. The gravest sign speaks."""
    ecc, action = facts.uncorrectable_ecc, facts.recovery
    grave, what = _RECOVERY.get(
        action, (Health.SUSPECT, f"something has to be done with it (recovery action {action})")
    )
    table = (
        (
            bool(facts.lost),
            Health.QUARANTINED,
            f"it does not answer ({facts.lost}); the server may have to be restarted",
        ),
        (
            facts.remap_failed,
            Health.QUARANTINED,
            "its memory is worn out (row remapping failed); it has to be replaced",
        ),
        (
            ecc > 0,
            Health.QUARANTINED,
            f"its memory had {ecc} error{'' if ecc == 1 else 's'} that could not be corrected; it has to be reset",
        ),
        (bool(action) and grave is Health.QUARANTINED, grave, f"the driver says that {what}"),
        (facts.remap_pending, Health.SUSPECT, "a part of its memory waits to be replaced; it has to be reset"),
        (bool(action), grave, f"the driver says that {what}"),
        (facts.too_hot, Health.SUSPECT, "it is too hot and slows itself down; look at the server's fans"),
        (bool(facts.unread), Health.SUSPECT, facts.unread),
    )
    return next(((state, reason) for sign, state, reason in table if sign), (Health.HEALTHY, ""))


class HealthWatch:
    """Remembers since when each device that is not well has been so, which no driver tells."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, Health], float] = {}

    def see(self, devices: Iterable[Device], now: float) -> tuple[Device, ...]:
        """The devices as they are at `now`, in seconds since the epoch. What somebody has marked has its own time."""
        seen = tuple(devices)
        ill = [(device.uuid, device.health) for device in seen if device.health is not Health.HEALTHY]
        self._since = {key: self._since.get(key, now) for key in ill}
        return tuple(
            replace(device, health_since=device.health_since or self._since.get((device.uuid, device.health)))
            for device in seen
        )
