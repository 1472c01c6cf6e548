"""How much of the GPUs everybody used. Pure: leases in, sums out."""

from __future__ import annotations

import csv
import io
import json
from bisect import bisect_right
from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from sciencebox.accounting.activity import Activity
from sciencebox.gpus import wording

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import date

    from sciencebox.accounting.leases import Lease

By = Literal["user", "group", "device"]
NO_GROUP = "(no group)"
UNKNOWN = "-"
_J_PER_KWH = 3.6e6


@dataclass(frozen=True)
class Use:
    """What one user, group or device comes to. `share` is of all GPU time used, from 0 to 1.

    `utilisation` is the mean share of the time in which the GPUs computed, from 0 to 1. It, the peak of the memory and
    the energy are None where no driver told them.
    """

    name: str
    sessions: int
    gpu_hours: float
    share: float
    utilisation: float | None = None
    peak_memory_bytes: int | None = None
    energy_kwh: float | None = None


def summarise(
    leases: Iterable[Lease],
    by: By,
    start: float,
    end: float,
    groups: Mapping[str, Collection[str]] | None = None,
) -> list[Use]:
    """Sums between `start` and `end` (seconds since the epoch), the greatest first.

    `groups` are each user's; who is in several counts in each of them, so that shares may add up to more than 1. Of a
    lease that lies partly in that time, its energy counts in proportion.
    """
    seconds: dict[str, float] = defaultdict(float)
    sessions: dict[str, set[tuple[str, float]]] = defaultdict(set)
    activity: dict[str, Activity] = defaultdict(Activity)
    whole = 0.0
    for lease in leases:
        part = lease.seconds(start, end)
        if part <= 0:
            continue
        used = lease.gpu_seconds(start, end)
        whole += used
        for name in _names(lease, by, groups or {}):
            seconds[name] += used
            sessions[name].add((lease.session, lease.since))
            activity[name] += lease.activity.part(part / (lease.until - lease.since))
    uses = [_use(name, len(sessions[name]), used, whole, activity[name]) for name, used in seconds.items()]
    return sorted(uses, key=lambda use: (-use.gpu_hours, use.name))


def _use(name: str, sessions: int, used_s: float, whole_s: float, seen: Activity) -> Use:
    energy_kwh = None if seen.energy_j is None else seen.energy_j / _J_PER_KWH
    return Use(name, sessions, used_s / 3600, used_s / whole_s, seen.utilisation, seen.peak_memory_bytes, energy_kwh)


def _names(lease: Lease, by: By, groups: Mapping[str, Collection[str]]) -> Collection[str]:
    if by == "user":
        return (lease.user,)
    if by == "device":
        return (f"{lease.kind} ({lease.device})" if lease.kind else lease.device,)
    return groups.get(lease.user) or (NO_GROUP,)


def daily(leases: Sequence[Lease], start: float, end: float) -> list[tuple[date, float]]:
    """The GPU hours of each day from `start` to `end`, in seconds since the epoch, by this server's time zone."""
    first, last = (datetime.fromtimestamp(moment).date() for moment in (start, end))
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    edges = [start, *(_midnight(day) for day in days[1:]), end]
    used = [0.0] * len(days)
    for lease in leases:
        if lease.seconds(start, end) > 0:
            for n in range(bisect_right(edges, max(lease.since, start)) - 1, len(days)):
                if edges[n] >= lease.until:
                    break
                used[n] += lease.gpu_seconds(edges[n], edges[n + 1])
    return [(day, seconds / 3600) for day, seconds in zip(days, used, strict=True)]


def _midnight(day: date) -> float:
    return datetime(day.year, day.month, day.day).timestamp()


def figures(use: Use) -> tuple[str, ...]:
    """Sessions, GPU hours, share, utilisation, peak memory and energy for people to read."""
    return (
        str(use.sessions),
        f"{use.gpu_hours:.2f}",
        f"{use.share:.1%}",
        UNKNOWN if use.utilisation is None else f"{use.utilisation:.0%}",
        UNKNOWN if use.peak_memory_bytes is None else wording.gib(use.peak_memory_bytes),
        UNKNOWN if use.energy_kwh is None else f"{use.energy_kwh:.2f} kWh",
    )


def as_json(uses: Sequence[Use]) -> str:
    """For programs."""
    return json.dumps([asdict(use) for use in uses], indent=2)


def as_csv(uses: Sequence[Use]) -> str:
    """For a spreadsheet. A name that a spreadsheet would take for a formula is quoted, as text."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(asdict(Use("", 0, 0, 0))), lineterminator="\n")
    writer.writeheader()
    for use in uses:
        row = {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(use).items()}
        writer.writerow(row | {"name": f"'{use.name}" if use.name.startswith(("=", "+", "-", "@")) else use.name})
    return text.getvalue()
