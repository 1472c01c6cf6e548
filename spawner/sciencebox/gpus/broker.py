"""Who gets which GPU. Pure: it decides on what it was shown, and talks to nobody.

Two things are shown to the broker: the inventory (what the driver reports) and the ledger (what the containers hold).
What it adds is a reservation for the time in which a session was granted devices but its container cannot be relied
upon to be in the ledger yet. Reading the ledger takes time, and grants and stops go on meanwhile, so every reading is
numbered when it *begins* (`look`): a reading may only speak about what was settled before it began.

Who asks gets a ticket, and `serve` grants what can be granted in the queue's order. The first ticket that has to wait
is protected: a later one is served before it only where that does not put off its earliest possible start. So is the
first of those who wait for other devices, as of another model.

One broker serves one event loop; it is not meant to be called from several threads.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Literal

from sciencebox.gpus import wording
from sciencebox.gpus.device import fraction
from sciencebox.gpus.fairshare import FairShare
from sciencebox.gpus.pool import Holding, Pool
from sciencebox.gpus.queue import Queue, Ticket

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sciencebox.gpus.device import Device, Inventory
    from sciencebox.gpus.pool import GpuRequest, Shelf

RefusalCode = Literal["impossible", "unfit", "unreadable", "quota"]
HOUR_S = 3600.0


@dataclass(frozen=True)
class Grant:
    """Devices reserved for a session until the broker is told `confirm` or `release`."""

    devices: tuple[Device, ...]
    session: str
    user: str
    until: float | None = None  # when the session's time is over, in seconds since the epoch


@dataclass(frozen=True)
class Refusal:
    """Why a request is not even taken into the queue. `message` is a plain sentence for the user.

    `impossible`: never here, whatever others do; `unfit`: devices are ill or used by programs outside the service;
    `unreadable`: driver, engine or books cannot be read; `quota`: the user's hours are used up.
    """

    code: RefusalCode
    message: str


@dataclass(frozen=True)
class Place:
    """A ticket's place in the queue, 1 for the next one.

    `start` is when its turn comes if every session runs to its limit and nobody goes before it, in seconds since the
    epoch. None where a session without a limit, or an unfit device, makes that unknown.
    """

    ticket: Ticket
    position: int
    start: float | None


@dataclass(frozen=True)
class Availability:
    """How many devices of one kind there are and how many could be granted now."""

    kind: str
    memory_bytes: int | None
    free: int
    total: int
    holdings: tuple[Holding, ...] = ()


@dataclass(frozen=True)
class _Reservation:
    holdings: tuple[Holding, ...]
    confirmed: int | None = None  # when the ledger was left to decide


class Broker:
    """The devices, who has them, who waits, and the decision on each request.

    Times are seconds since the epoch. `half_life_s` is that of the fair share, `longest_wait_s` the time after which a
    ticket goes before all newer ones.
    """

    def __init__(self, *, half_life_s: float = 24 * HOUR_S, longest_wait_s: float = 24 * HOUR_S) -> None:
        self._clock = 0
        self._pool = Pool()
        self._shares = FairShare(half_life_s)
        self._queue = Queue(self._shares, longest_wait_s)
        self._inventory_look = 0
        self._ledger: tuple[Holding, ...] = ()
        self._ledger_look = 0
        self._ledger_fault = "it was not read yet"
        self._reservations: dict[str, _Reservation] = {}
        self._released: dict[str, int] = {}  # session -> when its container was known to be gone
        self._holds_and_waits: set[str] = set()
        self._charged: dict[tuple[str, str], float] = {}  # session and device -> until when its use is in the shares

    # What the broker is shown

    def look(self) -> int:
        """Number a reading of the inventory or the ledger; to be called just before it begins."""
        self._clock += 1
        return self._clock

    def see_inventory(self, inventory: Inventory, look: int) -> None:
        """Take in what the driver reports. A reading older than the last one is ignored."""
        if look > self._inventory_look:
            self._inventory_look = look
            self._pool.replace(inventory, look)

    def see_ledger(self, holdings: Iterable[Holding] | None, look: int, now: float, reason: str = "") -> None:
        """Take in who holds what, or None and the `reason` when the engine cannot be read.

        After None nothing is granted and nothing is freed until a reading succeeds.
        """
        if self.is_outdated(look):
            return
        self._ledger_look = look
        if holdings is None:
            self._ledger_fault = reason or "it does not answer"
            return
        self._ledger_fault = ""
        self._ledger = tuple(h for h in holdings if self._released.get(h.session, 0) < look)
        self._released = {session: when for session, when in self._released.items() if when > look}
        in_motion = self.in_motion(look)
        self._reservations = {s: r for s, r in self._reservations.items() if s in in_motion}
        self._charge(now)
        found = {(h.uuid, h.session): h for r in self._reservations.values() for h in r.holdings}
        found.update({(h.uuid, h.session): h for h in self._ledger})
        self._pool.set_holdings(found.values(), self.look())
        self._holds_and_waits = self._queue.users() & self._pool.users()

    def see_use(self, user: str, since: float, until: float, gpus: float = 1.0) -> None:
        """A user had so many GPUs, or a part of one, in the past: it counts in the fair share."""
        self._shares.add(user, gpus, since, until)
        self._queue.reorder(user)

    # What sessions ask and tell

    def ask(self, ticket: Ticket) -> Refusal | None:
        """Take a ticket into the queue, or say why it can never be served, or not in this state of things.

        Raises ValueError when the session waits or has a reservation already.
        """
        possible = self.readable and self._pool.is_enough(ticket.request)
        refusal = None if possible else self._refuse(ticket.request)
        if refusal is None:
            if ticket.session in self._reservations:
                raise ValueError(f"{ticket.session} has a reservation already; confirm or release it first")
            self.keep(ticket)
        return refusal

    def keep(self, ticket: Ticket) -> None:
        """Take back a ticket that was in the queue before a restart: it was checked then, and keeps its place."""
        self._queue.add(ticket)
        if ticket.request.user in self._pool.users():
            self._holds_and_waits.add(ticket.request.user)

    def withdraw(self, session: str) -> None:
        """A session waits no more."""
        self._queue.remove(session)

    def serve(self, now: float) -> list[Grant]:
        """Grant what can be granted now, in the queue's order. Nothing while driver or engine cannot be read."""
        if not self.readable or not self._queue:
            return []
        self._settle(now)
        grants: list[Grant] = []
        heads: dict[Shelf, tuple[GpuRequest, float]] = {}  # who waits first for what there is, and when it can start
        line = self._queue.firsts()
        while line:
            ticket = line.ticket
            request = ticket.request
            devices = self._pool.choose(request, rather_not=heads)
            until = None if ticket.longest_s is None else now + ticket.longest_s
            if devices and not self._puts_off(heads, devices, now, until):
                grants.append(self._grant(ticket, devices, now, until))
                line.take()
                continue
            # One that waits for repairs holds nobody up: no start of it is near enough to be put off.
            mine = self._pool.shelves_for(request)
            if heads.keys().isdisjoint(mine) and self._pool.is_enough(request):
                heads |= dict.fromkeys(mine, (request, self._pool.earliest(request, now)))
            line.leave()
        for grant in grants:
            self._queue.remove(grant.session)
        self._holds_and_waits.update({grant.user for grant in grants} & self._queue.users())
        return grants

    def confirm(self, session: str) -> None:
        """From now on the ledger decides about this session, beginning with the next reading.

        To be called when its container was started, and also when it is unknown whether there is one (the engine did
        not answer). A session without a reservation is left as it is.
        """
        reservation = self._reservations.get(session)
        if reservation and reservation.confirmed is None:
            self._reservations[session] = replace(reservation, confirmed=self.look())

    def release(self, session: str, now: float) -> None:
        """No container of this session exists: what it held is free. Readings that began earlier are not believed."""
        self._reservations.pop(session, None)
        self._released[session] = self.look()
        for holding in self._pool.held_by(session):
            self._charge_one(holding, now)
            self._charged.pop((session, holding.uuid), None)
        self._ledger = tuple(h for h in self._ledger if h.session != session)
        self._pool.drop(session, self.look())

    # What the broker knows

    @property
    def readable(self) -> bool:
        """Whether driver and engine could be read; if not, nothing is granted."""
        return self._pool.inventory.readable and not self._ledger_fault

    def is_outdated(self, look: int) -> bool:
        """Whether a reading of the ledger that began no earlier was taken in: then this one says nothing any more.

        Nor does it say what is left over, for a session that was being started then may run by now.
        """
        return look <= self._ledger_look

    def in_motion(self, look: int) -> frozenset[str]:
        """Sessions about which a reading that began at `look` says nothing final, because they were being started."""
        return frozenset(s for s, r in self._reservations.items() if r.confirmed is None or r.confirmed > look)

    @property
    def ledger(self) -> tuple[Holding, ...]:
        """Every device that a container holds, by the last reading."""
        return self._ledger

    def holders(self) -> tuple[Holding, ...]:
        """Every device in someone's hands, by the ledger or by a reservation, each pair of device and session once."""
        return self._pool.holdings()

    def queue(self, now: float) -> tuple[Place, ...]:
        """Everybody who waits, the next one first."""
        self._settle(now)
        plan = self._pool.plan(now)
        places = []
        for number, ticket in enumerate(self._queue.in_order(), start=1):
            start = plan.book(ticket.request, ticket.longest_s) if self.readable else inf
            places.append(Place(ticket, number, None if start == inf else start))
        return tuple(places)

    def used(self, user: str, now: float) -> float:
        """GPU-seconds that count in the fair share at `now`, what runs included."""
        for holding in self._pool.held_by_user(user):
            self._charge_one(holding, now)
        return self._shares.used(user, now)

    def availability(self) -> tuple[Availability, ...]:
        """Free and total by kind, in order of the devices' indices. Nothing is free that could not be granted."""
        kinds: dict[str, list[Device]] = defaultdict(list)
        for device in self._pool.devices:
            kinds[device.kind].append(device)
        return tuple(
            Availability(
                kind=kind,
                memory_bytes=min((d.memory_bytes for d in devices if d.memory_bytes is not None), default=None),
                free=sum(map(self._pool.is_free, devices)) if self.readable else 0,
                total=len(devices),
                holdings=self._pool.holders_of(devices),
            )
            for kind, devices in kinds.items()
        )

    def unfit(self) -> Mapping[str, str]:
        """Why a device is not granted although nobody of this service holds it, by UUID."""
        reasons = {device.uuid: self._pool.unfit_reason(device) for device in self._pool.devices}
        return {uuid: reason for uuid, reason in reasons.items() if reason}

    # Deciding

    def _refuse(self, request: GpuRequest) -> Refusal | None:
        inventory, candidates = self._pool.inventory, self._pool.candidates(request)
        if not inventory.readable:
            return Refusal("unreadable", wording.driver_unreadable(inventory.reason))
        if len(candidates) < request.count:
            devices = tuple(self._pool.devices)
            if not devices:
                return Refusal("impossible", wording.no_gpu(inventory.reason))
            return Refusal("impossible", wording.impossible(devices, candidates, request.count, request.kind))
        if self._ledger_fault:
            return Refusal("unreadable", wording.engine_unreadable(self._ledger_fault))
        reasons = [(device, self._pool.unfit_reason(device)) for device in candidates]
        lasting = [(device, why) for device, why in reasons if why and why != wording.just_freed()]
        if len(candidates) - len(lasting) < request.count:
            return Refusal("unfit", wording.unfit(lasting))
        return None

    def _puts_off(
        self,
        heads: Mapping[Shelf, tuple[GpuRequest, float]],
        devices: tuple[Device, ...],
        now: float,
        until: float | None,
    ) -> bool:
        """Whether a head of the queue could start later if these free devices were in use `until`."""
        back = inf if until is None else until
        for shelf in {self._pool.shelf_of(device) for device in devices}.intersection(heads):
            head, start = heads[shelf]
            # One without a known start may start as soon as any session ends: whatever it could use is kept for it.
            if start == inf or self._pool.earliest(head, now, devices, back) > start:
                return True
        return False

    def _grant(self, ticket: Ticket, devices: tuple[Device, ...], now: float, until: float | None) -> Grant:
        user, session = ticket.request.user, ticket.session
        held = tuple(Holding(device.uuid, user, session, now, until) for device in devices)
        self._reservations[session] = _Reservation(held)
        for holding in held:
            self._pool.hold(holding)
        return Grant(devices, session, user, until)

    # Charging: what is held counts from `since` on, a little more at every look

    def _charge(self, now: float) -> None:
        """Bring the shares up to date with what is held, and forget what was charged for sessions that are gone."""
        holdings = self._pool.holdings()
        for holding in holdings:
            self._charge_one(holding, now)
        held = {(h.session, h.uuid) for h in (*holdings, *self._ledger)}
        self._charged = {key: when for key, when in self._charged.items() if key in held}

    def _charge_one(self, holding: Holding, now: float) -> None:
        if holding.since is None:
            return
        key = (holding.session, holding.uuid)
        since = max(holding.since, self._charged.get(key, holding.since))
        if now > since:
            self._shares.add(holding.user, fraction(holding.uuid), since, now)
            self._charged[key] = now
            self._queue.reorder(holding.user)

    def _settle(self, now: float) -> None:
        """Bring the queue's order up to date: who holds something while waiting moves back as time passes."""
        for user in sorted(self._holds_and_waits):
            if user not in self._queue.users() or user not in self._pool.users():
                self._holds_and_waits.discard(user)
            for holding in self._pool.held_by_user(user):
                self._charge_one(holding, now)
        self._queue.age(now)
