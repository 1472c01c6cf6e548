"""What one user may have of the GPUs, by the settings and the user's groups. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sciencebox.settings import Group, Limits, Settings

HOUR_S = 3600.0


@dataclass(frozen=True)
class Policy:
    """Limits, of which None is no limit, and the standing in the queue."""

    gpus: int | None = None
    session_s: float | None = None
    week_s: float | None = None  # GPU-seconds in any seven days
    weight: int = 1
    priority: int = 0


def policy_for(settings: Settings, groups: Collection[str]) -> Policy:
    """What a member of these groups may have: of each kind the most generous of the groups, else the general limit."""
    mine = [group for group in settings.groups if group.name in groups]
    hours = _most(settings.limits, mine, lambda limits: limits.session_hours, "session_hours")
    return Policy(
        gpus=int(_most(settings.limits, mine, lambda limits: limits.gpus, "gpus")) or None,
        session_s=hours * HOUR_S if hours else None,
        week_s=HOUR_S * _most(settings.limits, mine, lambda limits: limits.gpu_hours_week, "gpu_hours_week") or None,
        weight=max((group.weight for group in mine), default=1),
        priority=max((group.priority for group in mine), default=0),
    )


def _most(general: Limits, groups: Collection[Group], value: Callable[[Limits], float], key: str) -> float:
    """The most generous value; 0, which is no limit, is more than any number."""
    values = [value(group if key in group.model_fields_set else general) for group in groups] or [value(general)]
    return 0 if 0 in values else max(values)
