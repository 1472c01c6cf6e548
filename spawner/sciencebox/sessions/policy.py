"""What one user may have of the GPUs, by the settings and the user's groups. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from sciencebox.gpus import wording
from sciencebox.gpus.broker import Refusal
from sciencebox.gpus.device import fraction_of_kind
from sciencebox.gpus.pool import GpuRequest
from sciencebox.gpus.queue import Ticket
from sciencebox.sessions.idle import IdleRule
from sciencebox.sessions.options import ANY_GPU, least_memory

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sciencebox.accounting.quota import Budget
    from sciencebox.sections import Idle
    from sciencebox.sessions.tickets import KeptTicket
    from sciencebox.settings import Settings

HOUR_S = 3600.0


@dataclass(frozen=True)
class Policy:
    """Limits, of which None is no limit, and the standing in the queue."""

    gpus: int | None = None
    session_s: float | None = None
    extension_s: float = 0.0  # by how much longer a user may let a session run
    week_s: float | None = None  # GPU-seconds in any seven days
    weight: int = 1
    priority: int = 0


def policy_for(settings: Settings, groups: Collection[str]) -> Policy:
    """What a member of these groups may have: of each kind the most generous of the groups, else the general limit."""
    mine = [group for group in settings.groups if group.name in groups]

    def said(key: str) -> list[float]:
        sources = [group if key in group.model_fields_set else settings.limits for group in mine] or [settings.limits]
        return [getattr(source, key) for source in sources]

    hours = _most(said("session_hours"))
    return Policy(
        gpus=int(_most(said("gpus"))) or None,
        session_s=hours * HOUR_S if hours else None,
        extension_s=HOUR_S * max(said("extension_hours")),  # here 0 is none
        week_s=HOUR_S * _most(said("gpu_hours_week")) or None,
        weight=max((group.weight for group in mine), default=1),
        priority=max((group.priority for group in mine), default=0),
    )


def _most(values: Sequence[float]) -> float:
    """The most generous value; 0, which is no limit, is more than any number."""
    return 0 if 0 in values else max(values)


def ticket_of(kept: KeptTicket, settings: Settings) -> Ticket:
    """The place in the queue of somebody who waits, as the settings are now."""
    policy, options = policy_for(settings, kept.groups), kept.options
    kind = None if options["gpu"] == ANY_GPU else options["gpu"]
    request = GpuRequest(kept.user, options["gpu_count"], kind, least_memory(options))
    return Ticket(kept.session, request, kept.arrived, policy.priority, policy.weight, policy.session_s)


def within(left: Budget | None, ticket: Ticket) -> Ticket | Refusal:
    """The ticket with a session no longer than what is left of the user's GPU hours."""
    if left is None:
        return ticket
    longest_s = left.session_s(ticket.request.count * fraction_of_kind(ticket.request.kind))
    if not longest_s:
        return Refusal("quota", wording.quota_used(left.limit_s, left.back_in_s))
    return replace(ticket, longest_s=min(longest_s, ticket.longest_s or longest_s))


def idle_rule(idle: Idle) -> IdleRule:
    """The settings' rule for GPUs that do nothing."""
    return IdleRule(
        after_s=60 * idle.gpu_minutes or None,
        utilisation=idle.gpu_utilisation_percent / 100,
        memory=idle.gpu_memory_percent / 100,
        warn_s=60 * idle.warn_minutes,
    )
