"""The devices that can be granted, in whose hands each is, and which could be granted now or when. Pure.

Devices alike in kind and memory stand on one shelf, with those that are free in order of index and the times at which
those in use are due back. So a choice or an estimate looks at shelves, of which a server has a few, not at devices.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, Any

from sciencebox.gpus import wording
from sciencebox.gpus.device import Device, Health, Inventory, Process, card_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, KeysView, Mapping, Sequence


@dataclass(frozen=True)
class GpuRequest:
    """What a session asks for. `kind` is a `Device.kind`; None takes any."""

    user: str
    count: int = 1
    kind: str | None = None
    min_memory_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"a request is for one GPU or more, not {self.count}")


@dataclass(frozen=True)
class Holding:
    """One device in one session's hands. `session` is its container's name, `since` seconds since the epoch.

    `until` is when the session's time is over, None where it has no limit. `ours` is whether it is this deployment's.
    """

    uuid: str
    user: str
    session: str
    since: float | None = None
    until: float | None = None
    ours: bool = True


@dataclass(eq=False)
class Shelf:
    """Where devices that are alike stand while they are free, and come back to while they are in use."""

    kind: str
    memory_bytes: int | None
    instances: bool  # MIG instances, of which a program can use only one
    shares: bool  # of which a session has one, and only if it asks for it by name
    free: list[tuple[_Order, str]] = field(default_factory=list)
    due: list[float] = field(default_factory=list)  # when those in use come back; infinity where that is not known

    def serves(self, request: GpuRequest) -> bool:
        """Whether its devices would do for a request if they were free."""
        if self.kind != request.kind if request.kind else request.count > 1 and self.instances:
            return False
        if self.shares and (request.kind is None or request.count > 1):
            return False
        return request.min_memory_bytes is None or (self.memory_bytes or 0) >= request.min_memory_bytes


_Order = tuple[int, int, int]


class Pool:
    """Devices, holders and shelves, kept in step with each other."""

    def __init__(self) -> None:
        self.inventory = Inventory(readable=False, reason="The GPUs of this server were not looked at yet.")
        self._look = 0  # which reading of the inventory this is
        self._devices: dict[str, Device] = {}
        self._family: dict[str, set[str]] = {}  # a GPU with its parts, by the UUID of each
        self._held: dict[str, dict[str, Holding]] = defaultdict(dict)  # device -> session -> holding
        self._of_card: dict[str, set[str]] = defaultdict(set)  # a GPU -> what of it is held, itself or shares
        self._of_session: dict[str, set[str]] = defaultdict(set)
        self._of_user: dict[str, set[tuple[str, str]]] = defaultdict(set)  # user -> device and session
        self._freed: dict[str, int] = {}  # device -> when it was last given back, in readings
        self._shelves: dict[tuple[str, int | None], Shelf] = {}
        self._serving: dict[tuple[object, ...], list[Shelf]] = {}  # for what is asked for: it is mostly the same
        self._standing: dict[str, float | None] = {}  # device -> due back; None while it is free

    # What changes

    def replace(self, inventory: Inventory, look: int) -> None:
        """The driver was read."""
        self.inventory, self._look = inventory, look
        unique = {d.uuid: d for d in reversed(inventory.devices) if not d.is_divided}
        self._devices = {device.uuid: device for device in sorted(unique.values(), key=by_index)}
        self._family = _families(inventory)
        self._shelves, self._serving, self._standing = {}, {}, {}
        ordered = sorted(self._devices.values(), key=lambda d: inf if d.memory_bytes is None else d.memory_bytes)
        for device in ordered:
            key = (device.kind, device.memory_bytes)
            shelf = Shelf(*key, instances=bool(device.mig_profile), shares=device.share is not None)
            self._shelves.setdefault(key, shelf)
        for uuid in self._devices:
            self._place(uuid)

    def set_holdings(self, holdings: Iterable[Holding], now: int) -> None:
        """Exactly these are held. `now` numbers this moment among the readings."""
        wanted = {(holding.session, holding.uuid): holding for holding in holdings}
        for session, uuids in list(self._of_session.items()):
            for uuid in [uuid for uuid in uuids if (session, uuid) not in wanted]:
                self._give_back(uuid, session, now)
        for holding in wanted.values():
            self.hold(holding)

    def hold(self, holding: Holding) -> None:
        """A device is in a session's hands."""
        if self._held[holding.uuid].get(holding.session) != holding:
            self._held[holding.uuid][holding.session] = holding
            self._of_card[card_of(holding.uuid)].add(holding.uuid)
            self._of_session[holding.session].add(holding.uuid)
            self._of_user[holding.user].add((holding.uuid, holding.session))
            self._place_family(holding.uuid)

    def drop(self, session: str, now: int) -> None:
        """A session holds nothing any more."""
        for uuid in list(self._of_session.get(session, ())):
            self._give_back(uuid, session, now)

    def _give_back(self, uuid: str, session: str, now: int) -> None:
        holding = self._held[uuid].pop(session)
        _discard(self._of_session, session, uuid)
        _discard(self._of_user, holding.user, (uuid, session))
        if not self._held[uuid]:
            del self._held[uuid]
            _discard(self._of_card, card_of(uuid), uuid)
            self._freed[uuid] = now
        self._place_family(uuid)

    def _place_family(self, uuid: str) -> None:
        for relative in self._family.get(uuid, self._family.get(card_of(uuid), set())):
            if relative in self._devices:
                self._place(relative)

    def _place(self, uuid: str) -> None:
        """Put a device where it belongs: among the free, among those that come back, or nowhere while it is unfit."""
        device = self._devices[uuid]
        shelf = self.shelf_of(device)
        entry = (by_index(device), uuid)
        if uuid in self._standing:
            due = self._standing.pop(uuid)
            drop_sorted(shelf.free, entry) if due is None else drop_sorted(shelf.due, due)
        if self.unfit_reason(device):
            return
        holdings = list(self._holdings(device))
        if holdings:
            due = max(inf if h.until is None else h.until for h in holdings)
            insort(shelf.due, due)
            self._standing[uuid] = due
        else:
            insort(shelf.free, entry)
            self._standing[uuid] = None

    # What is known

    @property
    def devices(self) -> Collection[Device]:
        """What can be granted at all, each once, in order of index."""
        return self._devices.values()

    def holdings(self) -> tuple[Holding, ...]:
        """Every device in someone's hands, each pair of device and session once."""
        found = (holding for by_session in self._held.values() for holding in by_session.values())
        return tuple(sorted(found, key=lambda h: (h.uuid, h.session)))

    def held_by(self, session: str) -> tuple[Holding, ...]:
        """What a session holds."""
        return tuple(self._held[uuid][session] for uuid in sorted(self._of_session.get(session, ())))

    def held_by_user(self, user: str) -> tuple[Holding, ...]:
        """What a user holds, in all sessions together."""
        return tuple(self._held[uuid][session] for uuid, session in sorted(self._of_user.get(user, ())))

    def users(self) -> KeysView[str]:
        """Everybody who holds something."""
        return self._of_user.keys()

    def holders_of(self, devices: Iterable[Device]) -> tuple[Holding, ...]:
        """In whose hands these are."""
        found = {(h.uuid, h.session): h for device in devices for h in self._holdings(device)}
        return tuple(found[key] for key in sorted(found))

    def is_free(self, device: Device) -> bool:
        """Whether it could be granted now."""
        return device.uuid in self._standing and self._standing[device.uuid] is None

    def unfit_reason(self, device: Device) -> str:
        """Why it is not granted although nobody of this service holds it; empty where it is fit."""
        if device.health is not Health.HEALTHY:
            return wording.unhealthy(device)
        if not device.processes or any(self._held.get(relative) for relative in self._family[device.uuid]):
            return ""
        if self._of_card.get(device.driver_uuid):
            return ""
        if any(self._freed.get(relative, 0) > self._look for relative in self._family[device.uuid]):
            return wording.just_freed()
        return wording.used_outside(device)

    def _holdings(self, device: Device) -> Iterator[Holding]:
        """Of a device, of the GPU that it is a part of, or of shares that it had before the settings changed."""
        others = self._of_card.get(device.uuid, ()) if not device.is_part else ()
        for uuid in dict.fromkeys(filter(None, (device.uuid, device.parent_uuid, *others))):
            yield from self._held.get(uuid, {}).values()

    # What can be granted, and when

    def candidates(self, request: GpuRequest) -> list[Device]:
        """Devices that would do if they were free and fit."""
        shelves = self.shelves_for(request)
        return [device for device in self._devices.values() if self.shelf_of(device) in shelves]

    def choose(self, request: GpuRequest, rather_not: Collection[Shelf] = ()) -> tuple[Device, ...]:
        """The best fit among free devices; empty when there are too few.

        What stands on one of the shelves `rather_not` is left there if possible. Then the least sufficient memory is
        taken, then the lowest index, and several of one kind rather than a mixture. Shares are taken of as few GPUs as
        possible.
        """
        shelves = [shelf for shelf in self.shelves_for(request) if shelf.free]
        if sum(len(shelf.free) for shelf in shelves) < request.count:
            return ()
        if rather_not:
            shelves.sort(key=lambda shelf: shelf in rather_not)  # stable: by memory within each part
        alike: dict[str, list[Shelf]] = defaultdict(list)
        for shelf in shelves:
            alike[shelf.kind].append(shelf)
        for some in (*alike.values(), shelves):
            if sum(len(shelf.free) for shelf in some) >= request.count:
                uuids = islice((uuid for shelf in some for uuid in self._in_order(shelf)), request.count)
                return tuple(self._devices[uuid] for uuid in uuids)
        return ()

    def _in_order(self, shelf: Shelf) -> Iterator[str]:
        """What is free there, the first to be taken first: of shares, those of the GPU that has most of them in use."""
        free = shelf.free
        if shelf.shares:
            free = sorted(free, key=lambda entry: (-len(self._of_card.get(card_of(entry[1]), ())), entry))
        return (uuid for _, uuid in free)

    def earliest(self, request: GpuRequest, now: float, taken: Sequence[Device] = (), until: float = inf) -> float:
        """When enough devices are free at the latest: every session runs to its limit, and nobody else comes.

        Infinity where that cannot be told. With `taken`, as if these free devices were in use until then.
        """
        serving = self.shelves_for(request)
        mine = sum(shelf in serving for shelf in map(self.shelf_of, taken))
        free = sum(len(shelf.free) for shelf in serving) - mine
        if free >= request.count:
            return now
        missing = request.count - free
        due = sorted([until] * mine + [when for shelf in serving for when in shelf.due[:missing]])
        # A session that is past its limit is about to end; until then nothing is free.
        return max(now, due[missing - 1]) if len(due) >= missing else inf

    def plan(self, now: float) -> Plan:
        """A plan of who gets devices when, from how things are now."""
        return Plan(
            [
                (shelf, [now] * len(shelf.free) + [max(now, due) for due in shelf.due])
                for shelf in self._shelves.values()
            ]
        )

    def shelves_for(self, request: GpuRequest) -> list[Shelf]:
        """Those whose devices would do, by memory."""
        asked = (request.kind, request.min_memory_bytes, request.count > 1)
        if asked not in self._serving:
            self._serving[asked] = [shelf for shelf in self._shelves.values() if shelf.serves(request)]
        return self._serving[asked]

    def is_enough(self, request: GpuRequest) -> bool:
        """Whether enough devices are fit, be they free or in use."""
        return sum(len(shelf.free) + len(shelf.due) for shelf in self.shelves_for(request)) >= request.count

    def shelf_of(self, device: Device) -> Shelf:
        """Where it belongs."""
        return self._shelves[(device.kind, device.memory_bytes)]


class Plan:
    """Who gets devices when, if every session runs to its limit: the devices are booked one request after the other."""

    def __init__(self, shelves: Iterable[tuple[Shelf, list[float]]]) -> None:
        self._shelves = list(shelves)
        for _, due in self._shelves:
            heapq.heapify(due)

    def book(self, request: GpuRequest, longest_s: float | None) -> float:
        """When enough devices are free for the request, which then has them; infinity where that cannot be told."""
        serving = [due for shelf, due in self._shelves if shelf.serves(request)]
        taken: list[tuple[list[float], float]] = []
        for _ in range(request.count):
            soonest = min((due for due in serving if due), key=lambda due: due[0], default=None)
            if soonest is None:
                break
            taken.append((soonest, heapq.heappop(soonest)))
        start = max(when for _, when in taken) if len(taken) == request.count else inf
        for due, when in taken:
            heapq.heappush(due, when if start == inf else inf if longest_s is None else start + longest_s)
        return start


def outside(inventory: Inventory, held: Collection[str]) -> Mapping[str, tuple[Process, ...]]:
    """Processes that this service did not start, by the UUID of their device: those on devices that nobody holds.

    A GPU and its MIG instances count as one, because the driver also reports an instance's processes on its GPU.
    """
    families = _families(inventory)
    return {
        device.uuid: device.processes
        for device in inventory.devices
        if device.processes and families[device.uuid].isdisjoint(held)
    }


def by_index(device: Device) -> _Order:
    """The order in which devices are shown and taken."""
    instance = device.share or (-1 if device.gpu_instance is None else device.gpu_instance)
    return (device.index, instance, device.compute_instance or 0)


def drop_sorted(entries: list, entry: object) -> None:  # type: ignore[type-arg]
    """Remove one entry from a sorted list that has it."""
    del entries[bisect_left(entries, entry)]


def _discard(table: dict[str, set[Any]], key: str, entry: object) -> None:
    """Remove an entry from one of a table's sets; no set stays empty."""
    table[key].discard(entry)
    if not table[key]:
        del table[key]


def _families(inventory: Inventory) -> dict[str, set[str]]:
    """A GPU and those of its parts that a device shares processes or memory with, by the device's UUID."""
    families: dict[str, set[str]] = {device.uuid: {device.uuid} for device in inventory.devices}
    for device in inventory.devices:
        if device.parent_uuid and device.share:  # each of them has the processes of all
            families[device.uuid] = families.setdefault(device.parent_uuid, {device.parent_uuid})
            families[device.uuid].add(device.uuid)
        elif device.parent_uuid:
            families[device.uuid].add(device.parent_uuid)
            families.setdefault(device.parent_uuid, {device.parent_uuid}).add(device.uuid)
    return families
