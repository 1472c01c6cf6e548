"""What the desk of one server and that of a cluster have in common: for how long sessions have the GPUs they hold."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from sciencebox.accounting.quota import BooksError, budget
from sciencebox.gpus import wording
from sciencebox.gpus.device import fraction
from sciencebox.sessions.extensions import ExtensionError, Extensions, later_end
from sciencebox.sessions.idle import IdleWatch
from sciencebox.sessions.policy import idle_rule, policy_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

    from sciencebox.accounting.leases import Lease
    from sciencebox.accounting.quota import Budget
    from sciencebox.gpus.broker import Grant, Refusal
    from sciencebox.gpus.device import Device
    from sciencebox.gpus.pool import Holding
    from sciencebox.sessions.options import Offer
    from sciencebox.settings import Settings

log = logging.getLogger(__name__)


async def _no_books(_user: str) -> list[Lease]:
    raise BooksError("nobody keeps books")


class Leasing:
    """Who has which GPU until when, by the settings and the user's groups."""

    def __init__(self, settings: Settings, extensions: Extensions | None = None) -> None:
        self.settings = settings
        # What users should know of their last sessions, by name: a spawner does not outlive its session.
        self.notices: dict[str, str] = {}
        self.answered: Callable[[Grant | Refusal, float], None] = lambda answer, waited_s: None
        self.lately: Callable[[str], Awaitable[list[Lease]]] = _no_books
        self.idle = IdleWatch(idle_rule(settings.idle))
        # Called after every look at what GPUs do, with what there is, who holds it, and the time of the look.
        self.watchers: list[Callable[[Collection[Device], Collection[Holding], float], None]] = [self.idle.see]
        self._extensions = extensions or Extensions()

    def holdings(self) -> Sequence[Holding]:
        """What sessions hold now."""
        raise NotImplementedError

    async def refresh_ledger(self) -> object:
        """Look who holds what."""
        raise NotImplementedError

    def is_wanted(self, session: str) -> bool:
        """Whether somebody waits for what a session holds."""
        raise NotImplementedError

    def policed(self, offer: Offer, groups: Iterable[str]) -> Offer:
        """An offer within what a member of these groups may have."""
        policy = policy_for(self.settings, tuple(groups))
        most = offer.max_gpus if policy.gpus is None else min(policy.gpus, offer.max_gpus)
        return replace(offer, max_gpus=most, longest_s=policy.session_s)

    async def budget(self, user: str, groups: Iterable[str]) -> Budget | None:
        """What a user has left of the GPU hours of a week; None without such a limit. Raises BooksError."""
        limit_s = policy_for(self.settings, tuple(groups)).week_s
        return None if limit_s is None else budget(await self.lately(user), limit_s, time.time())

    def over(self) -> tuple[Holding, ...]:
        """What this deployment's sessions hold that have held it for as long as they may."""
        now = time.time()
        return tuple(h for h in self.holdings() if h.ours and h.until is not None and h.until <= now)

    def lease(self, session: str) -> Holding | None:
        """One of the GPUs that a session holds, for since when and until when it does."""
        return next((holding for holding in self.holdings() if holding.session == session), None)

    def why_stopped(self, session: str) -> str:
        """What its user should know of a session that ends now; empty where the user will have stopped it."""
        lease, now = self.lease(session), time.time()
        if lease is None:
            return ""
        if lease.since and lease.until and lease.until <= now:
            return wording.time_over(lease.until - lease.since)
        idle_s, limit_s = self.idle.seconds(session, now, lease.since), self.idle.rule.after_s
        return wording.idle_too_long(idle_s) if idle_s and limit_s and idle_s >= limit_s else ""

    def gpu_idle(self, session: str) -> dict[str, float | None] | None:
        """For how long a session's GPUs have done nothing, as far as that is known, and may; None without a GPU."""
        lease = self.lease(session)
        if lease is None:
            return None
        idle_s = self.idle.seconds(session, time.time(), lease.since) or 0.0
        return {"idle_s": idle_s, "limit_s": self.idle.rule.after_s}

    def idle_until(self, session: str) -> float | None:
        """When a session is stopped if its GPUs go on doing nothing; None as long as that need not be told."""
        lease = self.lease(session)
        return self.idle.ends(session, time.time(), lease.since) if lease else None

    async def may_extend(self, session: str, user: str, groups: Iterable[str]) -> float | None:
        """Until when a session may be extended, None where it may not be. Raises BooksError."""
        lease, groups = self.lease(session), tuple(groups)
        if lease is None or self.is_wanted(session):
            return None
        gpus = sum(fraction(holding.uuid) for holding in self.holdings() if holding.session == session)
        left = await self.budget(user, groups)
        return later_end(lease, policy_for(self.settings, groups), gpus, left, time.time())

    async def extend(self, session: str, user: str, groups: Iterable[str]) -> float:
        """Extend it as far as it may be, and say until when. Raises ExtensionError and OSError."""
        await self.refresh_ledger()  # a session that has just started is held by its grant alone
        end, lease = await self.may_extend(session, user, groups), self.lease(session)
        if end is None or lease is None:
            raise ExtensionError(wording.OTHERS_WAIT if self.is_wanted(session) else wording.NO_EXTENSION)
        await asyncio.to_thread(self._extensions.add, lease, end)
        await self.refresh_ledger()
        log.info("The session of %s was extended by its user.", user)
        return end
