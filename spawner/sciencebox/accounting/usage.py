"""How much of the GPUs everybody used. Pure: leases in, sums out."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from sciencebox.accounting.leases import Lease

By = Literal["user", "group", "device"]
NO_GROUP = "(no group)"


@dataclass(frozen=True)
class Use:
    """What one user, group or device comes to. `share` is of all GPU time used, from 0 to 1."""

    name: str
    sessions: int
    gpu_hours: float
    share: float


def summarise(
    leases: Iterable[Lease],
    by: By,
    start: float,
    end: float,
    groups: Mapping[str, Collection[str]] | None = None,
) -> list[Use]:
    """Sums between `start` and `end` (seconds since the epoch), the greatest first.

    `groups` are each user's; who is in several counts in each of them, so that shares may add up to more than 1.
    """
    seconds: dict[str, float] = defaultdict(float)
    sessions: dict[str, set[tuple[str, float]]] = defaultdict(set)
    whole = 0.0
    for lease in leases:
        part = lease.seconds(start, end)
        if part <= 0:
            continue
        whole += part
        for name in _names(lease, by, groups or {}):
            seconds[name] += part
            sessions[name].add((lease.session, lease.since))
    uses = [Use(name, len(sessions[name]), used / 3600, used / whole) for name, used in seconds.items()]
    return sorted(uses, key=lambda use: (-use.gpu_hours, use.name))


def _names(lease: Lease, by: By, groups: Mapping[str, Collection[str]]) -> Collection[str]:
    if by == "user":
        return (lease.user,)
    if by == "device":
        return (f"{lease.kind} ({lease.device})" if lease.kind else lease.device,)
    return groups.get(lease.user) or (NO_GROUP,)
