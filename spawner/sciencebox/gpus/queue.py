"""Who waits for a GPU, in which order. Pure.

Order: whoever waited longer than the limit of the settings, by arrival; then by priority; then who had least of the
GPUs lately for their weight (`fairshare`); then by arrival. The limit is what bounds everybody's wait: a ticket that
passed it is overtaken by no newer one, whatever the newer one's priority or share.

Tickets that ask for the same wait in one lane, for what is not to be had for the first of them is not to be had for the
others. So a decision looks at the first of each lane only, however many wait.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import defaultdict
from dataclasses import dataclass
from math import log2
from typing import TYPE_CHECKING

from sciencebox.gpus.pool import GpuRequest, drop_sorted

if TYPE_CHECKING:
    from collections.abc import Iterator, KeysView

    from sciencebox.gpus.fairshare import FairShare


@dataclass(frozen=True)
class Ticket:
    """A session's place in the queue. `longest_s` is how long the session may hold what it gets, None without limit."""

    session: str
    request: GpuRequest
    arrived: float
    priority: int = 0
    weight: float = 1.0
    longest_s: float | None = None

    @property
    def lane(self) -> Lane:
        """What it asks for; tickets of one lane differ only in whose turn it is."""
        return (self.request.count, self.request.kind, self.request.min_memory_bytes, self.longest_s)


Lane = tuple["int", "str | None", "int | None", "float | None"]
_Key = tuple[float, ...]
_Entry = tuple[_Key, str]


class Queue:
    """The tickets that wait. A ticket older than `longest_wait_s` goes before all that are not."""

    def __init__(self, shares: FairShare, longest_wait_s: float) -> None:
        self._shares = shares
        self._longest_wait_s = longest_wait_s
        self._tickets: dict[str, Ticket] = {}
        self._keys: dict[str, _Key] = {}
        self._lanes: dict[Lane, list[_Entry]] = defaultdict(list)
        self._of_user: dict[str, set[str]] = defaultdict(set)
        self._arrivals: list[tuple[float, str]] = []  # of those that did not wait too long yet
        self._overdue: set[str] = set()

    def __len__(self) -> int:
        return len(self._tickets)

    def users(self) -> KeysView[str]:
        """Everybody who waits."""
        return self._of_user.keys()

    def add(self, ticket: Ticket) -> None:
        """Take a ticket in. Raises ValueError when the session waits already."""
        if ticket.session in self._tickets:
            raise ValueError(f"{ticket.session} waits already")
        self._tickets[ticket.session] = ticket
        self._of_user[ticket.request.user].add(ticket.session)
        insort(self._arrivals, (ticket.arrived, ticket.session))
        self._insert(ticket, self._key(ticket))

    def remove(self, session: str) -> None:
        """Take a ticket out, if it is there."""
        ticket = self._tickets.pop(session, None)
        if ticket is None:
            return
        self._take(ticket)
        if session in self._overdue:
            self._overdue.remove(session)
        else:
            drop_sorted(self._arrivals, (ticket.arrived, session))
        mine = self._of_user[ticket.request.user]
        mine.discard(session)
        if not mine:
            del self._of_user[ticket.request.user]

    def reorder(self, user: str) -> None:
        """The user's share changed."""
        for session in self._of_user.get(user, set()) - self._overdue:  # which stand by arrival alone
            self._move(self._tickets[session], self._key(self._tickets[session]))

    def age(self, now: float) -> None:
        """Let those that waited too long by now go first."""
        old = bisect_left(self._arrivals, (now - self._longest_wait_s, "\U0010ffff"))
        for _, session in self._arrivals[:old]:
            ticket = self._tickets[session]
            self._move(ticket, (float("-inf"), ticket.arrived))
            self._overdue.add(session)
        del self._arrivals[:old]

    def firsts(self) -> Firsts:
        """The tickets in order, for a decision that takes some and gives up on lanes."""
        return Firsts(self._lanes, self._tickets)

    def in_order(self) -> Iterator[Ticket]:
        """Every ticket, the next one first."""
        return (self._tickets[session] for _, session in heapq.merge(*self._lanes.values()))

    def _key(self, ticket: Ticket) -> _Key:
        # Nobody overtakes for a difference of less than one in a thousand, which also is not a matter of rounding.
        share = round(self._shares.level(ticket.request.user) - log2(ticket.weight), 3)
        return (-float(ticket.priority), share, ticket.arrived)

    def _move(self, ticket: Ticket, key: _Key) -> None:
        self._take(ticket)
        self._insert(ticket, key)

    def _insert(self, ticket: Ticket, key: _Key) -> None:
        self._keys[ticket.session] = key
        insort(self._lanes[ticket.lane], (key, ticket.session))

    def _take(self, ticket: Ticket) -> None:
        lane = self._lanes[ticket.lane]
        drop_sorted(lane, (self._keys.pop(ticket.session), ticket.session))
        if not lane:
            del self._lanes[ticket.lane]


class Firsts:
    """Goes through a queue in order. The queue must not change meanwhile: what is taken is removed afterwards."""

    def __init__(self, lanes: dict[Lane, list[_Entry]], tickets: dict[str, Ticket]) -> None:
        self._tickets = tickets
        self._heads = [(entries[0], 0, entries) for entries in lanes.values()]
        heapq.heapify(self._heads)

    def __bool__(self) -> bool:
        return bool(self._heads)

    @property
    def ticket(self) -> Ticket:
        """The first of what is left."""
        (_, session), _, _ = self._heads[0]
        return self._tickets[session]

    def take(self) -> None:
        """Go on to the next; this one got what it asked for."""
        _, place, entries = self._heads[0]
        if place + 1 < len(entries):
            heapq.heapreplace(self._heads, (entries[place + 1], place + 1, entries))
        else:
            heapq.heappop(self._heads)

    def leave(self) -> None:
        """Go on without the lane of this one: none of it can be met now."""
        heapq.heappop(self._heads)
