"""How many GPU hours of a quota are left. Pure.

A quota is for any seven days: what was used seven days ago comes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sciencebox.accounting.leases import Lease

WEEK_S = 7 * 24 * 3600.0
SHORTEST_S = 60.0  # of a session that is worth starting


class BooksError(Exception):
    """What a user had of the GPUs lately cannot be read."""


@dataclass(frozen=True)
class Budget:
    """A user's quota, in GPU-seconds. `back_in_s` is when the first of what was used comes back, in seconds."""

    limit_s: float
    used_s: float
    back_in_s: float = 0.0

    def session_s(self, gpus: float) -> float:
        """How long a session with so many GPUs, or a part of one, may last; 0 where it would not be worth starting."""
        left = (self.limit_s - self.used_s) / gpus
        return left if left >= SHORTEST_S else 0.0


def budget(leases: Iterable[Lease], limit_s: float, now: float) -> Budget:
    """What one user's leases leave of a quota at `now`, in seconds since the epoch."""
    start = now - WEEK_S
    lately = [lease for lease in leases if lease.seconds(start, now) > 0]
    first = min((max(lease.since, start) for lease in lately), default=start)
    return Budget(limit_s, sum(lease.gpu_seconds(start, now) for lease in lately), first - start)
