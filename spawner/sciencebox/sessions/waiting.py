"""The waiting room: sessions that wait for their turn, who hears of it, and how long an absent user's place is kept.

The broker decides whose turn it is; this calls the session that waits, tells every waiting page where it stands when
that changes, and keeps the tickets in a file. It lives on the event loop and does nothing per user but on a change.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sciencebox.gpus import wording

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from sciencebox.gpus.broker import Broker, Grant, Place
    from sciencebox.gpus.queue import Ticket
    from sciencebox.sessions.tickets import KeptTicket

COMEBACK_S = 60.0  # how long the queue stands still after a restart, until everybody is back in it

log = logging.getLogger(__name__)


class PlaceLostError(Exception):
    """Nobody asked for this place for longer than it is kept. Its text is for the user."""


@dataclass(frozen=True)
class Standing:
    """Where a waiting session stands, for its page. `start` is in seconds since the epoch, None when unknown.

    `ahead` names the users before it and `holders` those who have the devices; None where names are not shown.
    """

    position: int
    waiting: int
    start: float | None
    ahead: tuple[str, ...] | None
    holders: tuple[str, ...] | None

    def event(self, user: str) -> dict[str, object]:
        """The same as the waiting page gets it."""
        return {
            "title": wording.position(self.position, self.waiting),
            "ahead": wording.ahead(self.position - 1, self.ahead),
            "in_use": wording.in_use(self.holders, user),
            "start": self.start,
            "basis": wording.basis(known=self.start is not None),
        }


@dataclass
class _Guest:
    kept: KeptTicket
    turn: asyncio.Future[Grant]
    tell: Callable[[Standing], None]
    is_watched: Callable[[], bool]
    seen_at: float
    told: Standing | None = None


class WaitingRoom:
    """Everybody who waits. `keep` writes all tickets and returns at once; `clock` is in seconds since the epoch."""

    def __init__(
        self,
        broker: Broker,
        keep: Callable[[tuple[KeptTicket, ...]], None],
        clock: Callable[[], float],
        *,
        grace_s: float,
        show_names: bool,
    ) -> None:
        self._broker = broker
        self._keep = keep
        self._clock = clock
        self._grace_s = grace_s
        self._show_names = show_names
        self._guests: dict[str, _Guest] = {}
        self._expected: dict[str, KeptTicket] = {}
        self._expected_until = 0.0
        self._closed = False

    def __len__(self) -> int:
        return len(self._guests) + len(self._expected)

    # Coming and going

    async def wait(self, kept: KeptTicket, tell: Callable[[Standing], None], is_watched: Callable[[], bool]) -> Grant:
        """Wait for the turn of a ticket that the broker has. `tell` hears where it stands, whenever that changes.

        `is_watched` is whether a page follows it. Raises PlaceLostError when none has for the grace time. However it
        ends, the ticket is out of the queue.
        """
        turn: asyncio.Future[Grant] = asyncio.get_running_loop().create_future()
        self._guests[kept.session] = _Guest(kept, turn, tell, is_watched, self._clock())
        try:
            self.serve()
            if not turn.done():
                self._write()
            return await turn
        finally:
            del self._guests[kept.session]
            self._broker.withdraw(kept.session)
            self._write()
            self._tell()

    def serve(self) -> None:
        """Call whose turn it is, and tell the others what changed for them."""
        if self._is_incomplete():
            return
        now = self._clock()
        for grant in self._broker.serve(now):
            guest = self._guests.get(grant.session)
            if guest is None or guest.turn.done():
                self._broker.release(grant.session, now)
            else:
                guest.turn.set_result(grant)
        self._tell()

    def dismiss_absent(self) -> None:
        """Take the place of those who have been away for longer than the grace time."""
        now = self._clock()
        for guest in self._guests.values():
            if guest.is_watched():
                guest.seen_at = now
            elif guest.seen_at < now - self._grace_s and not guest.turn.done():
                guest.turn.set_exception(PlaceLostError(wording.place_lost(self._grace_s)))

    # Restarts

    def expect(self, kept: Iterable[KeptTicket], tickets: Iterable[Ticket]) -> None:
        """Sessions that waited before a restart are in the queue again. Nobody is served until they are back."""
        self._expected = {ticket.session: ticket for ticket in kept}
        self._expected_until = self._clock() + COMEBACK_S
        for ticket in tickets:
            self._broker.keep(ticket)

    @property
    def expected(self) -> tuple[KeptTicket, ...]:
        """Who waited before the restart and is not back yet."""
        return tuple(self._expected.values())

    def welcome_back(self, session: str, options: Mapping[str, object]) -> KeptTicket | None:
        """The ticket of a session that comes back with the same wish; it leaves the queue, to be asked for anew."""
        kept = self._expected.pop(session, None)
        if kept:
            self._broker.withdraw(session)
        return kept if kept and kept.options == options else None

    def give_up(self, session: str) -> None:
        """A session that was expected does not come back."""
        self.welcome_back(session, {})
        self._write()
        self.serve()

    def close(self) -> None:
        """The hub stops: from now on what ends, ends with it, and the file stays as it is."""
        self._closed = True

    def _is_incomplete(self) -> bool:
        if self._expected and not self._broker.readable:  # nobody can come back yet
            self._expected_until = self._clock() + COMEBACK_S
        if self._expected and self._clock() > self._expected_until:
            log.warning("Not back in the queue after the restart: %s", ", ".join(sorted(self._expected)))
            for session in list(self._expected):
                self._broker.withdraw(session)
            self._expected.clear()
            self._write()
        return bool(self._expected)

    # Telling

    def standings(self, places: Collection[Place]) -> Iterable[tuple[str, Standing]]:
        """Where each session stands, by session."""
        users = tuple(place.ticket.request.user for place in places)
        holders = tuple(sorted({holding.user for holding in self._broker.holders()}))
        for place in places:
            yield (
                place.ticket.session,
                Standing(
                    position=place.position,
                    waiting=len(users),
                    start=place.start,
                    ahead=users[: place.position - 1] if self._show_names else None,
                    holders=holders if self._show_names else None,
                ),
            )

    def _tell(self) -> None:
        if not self._guests or self._closed:
            return
        for session, standing in self.standings(self._broker.queue(self._clock())):
            guest = self._guests.get(session)
            if guest and not guest.turn.done() and guest.told != standing:
                guest.told = standing
                guest.tell(standing)

    def _write(self) -> None:
        if not self._closed:
            self._keep((*self._expected.values(), *(guest.kept for guest in self._guests.values())))
