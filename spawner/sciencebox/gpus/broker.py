"""Who gets which GPU. Pure: it decides on what it was shown, and talks to nobody.

Two things are shown to the broker: the inventory (what the driver reports) and the ledger (what the containers hold).
What it adds is a reservation for the time in which a session was granted devices but its container cannot be relied
upon to be in the ledger yet. Reading the ledger takes time, and grants and stops go on meanwhile, so every reading is
numbered when it *begins* (`look`): a reading may only speak about what was settled before it began.

One broker serves one event loop; it is not meant to be called from several threads.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from sciencebox.gpus import wording
from sciencebox.gpus.device import Device, Health, Inventory, Process

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

RefusalCode = Literal["impossible", "busy", "unfit", "unreadable"]


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
    """One device in one session's hands. `session` is its container's name, `since` seconds since the epoch."""

    uuid: str
    user: str
    session: str
    since: float | None = None


@dataclass(frozen=True)
class Grant:
    """Devices reserved for a session until the broker is told `confirm` or `release`."""

    devices: tuple[Device, ...]
    session: str


@dataclass(frozen=True)
class Refusal:
    """Why nothing is granted.

    `impossible`: never here, whatever others do; `busy`: `blockers` could free it; `unfit`: devices are ill or used by
    programs outside the service; `unreadable`: driver or engine cannot be read. `message` is a plain sentence for the
    user. `blockers` names people even where the message hides them: it is for the log and the administrator.
    """

    code: RefusalCode
    message: str
    blockers: tuple[Holding, ...] = ()


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
    """The devices, who has them, and the decision on each request."""

    def __init__(self, *, show_holders: bool = True) -> None:
        self._show_holders = show_holders
        self._clock = 0
        self._inventory = Inventory(readable=False, reason="The GPUs of this server were not looked at yet.")
        self._inventory_look = 0
        self._ledger: tuple[Holding, ...] = ()
        self._ledger_look = 0
        self._ledger_fault = "it was not read yet"
        self._reservations: dict[str, _Reservation] = {}
        self._released: dict[str, int] = {}  # session -> when its container was known to be gone
        self._held: frozenset[str] = frozenset()  # devices, by ledger or reservation
        self._freed: dict[str, int] = {}  # device -> when it was last seen to be given back
        self._outside: Mapping[str, tuple[Process, ...]] = {}

    # What the broker is shown

    def look(self) -> int:
        """Number a reading of the inventory or the ledger; to be called just before it begins."""
        self._clock += 1
        return self._clock

    def see_inventory(self, inventory: Inventory, look: int) -> None:
        """Take in what the driver reports. A reading older than the last one is ignored."""
        if look > self._inventory_look:
            self._inventory, self._inventory_look = inventory, look
            self._recount()

    def see_ledger(self, holdings: Iterable[Holding] | None, look: int, reason: str = "") -> None:
        """Take in who holds what, or None and the `reason` when the engine cannot be read.

        After None nothing is granted and nothing is freed until a reading succeeds.
        """
        if look <= self._ledger_look:
            return
        self._ledger_look = look
        if holdings is None:
            self._ledger_fault = reason or "it does not answer"
            return
        self._ledger_fault = ""
        self._ledger = tuple(h for h in holdings if self._released.get(h.session, 0) < look)
        self._released = {session: when for session, when in self._released.items() if when > look}
        self._reservations = {s: r for s, r in self._reservations.items() if s in self.in_motion(look)}
        self._recount()

    # What sessions ask and tell

    def request(self, request: GpuRequest, session: str, now: float) -> Grant | Refusal:
        """Grant devices to `session`, or say why not. `now` is in seconds since the epoch.

        Of the devices that fit, those with the least sufficient memory are taken, then those with the lowest index,
        and several of one kind rather than a mixture. Raises ValueError when the session has a reservation already.
        """
        if session in self._reservations:
            raise ValueError(f"{session} has a reservation already; confirm or release it first")
        refusal = self._refuse_by_inventory(request) or self._refuse_by_state(request)
        if refusal:
            return refusal
        chosen = _choose([d for d in self._candidates(request) if self._is_free(d)], request.count)
        held = tuple(Holding(device.uuid, request.user, session, now) for device in chosen)
        self._reservations[session] = _Reservation(held)
        self._recount()
        return Grant(chosen, session)

    def confirm(self, session: str) -> None:
        """From now on the ledger decides about this session, beginning with the next reading.

        To be called when its container was started, and also when it is unknown whether there is one (the engine did
        not answer). A session without a reservation is left as it is.
        """
        reservation = self._reservations.get(session)
        if reservation and reservation.confirmed is None:
            self._reservations[session] = replace(reservation, confirmed=self.look())

    def release(self, session: str) -> None:
        """No container of this session exists: what it held is free. Readings that began earlier are not believed."""
        self._reservations.pop(session, None)
        self._released[session] = self.look()
        self._ledger = tuple(h for h in self._ledger if h.session != session)
        self._recount()

    # What the broker knows

    def in_motion(self, look: int) -> frozenset[str]:
        """Sessions about which a reading that began at `look` says nothing final, because they were being started."""
        return frozenset(s for s, r in self._reservations.items() if r.confirmed is None or r.confirmed > look)

    def holders(self) -> tuple[Holding, ...]:
        """Every device in someone's hands, by the ledger or by a reservation, each pair of device and session once."""
        found = {(h.uuid, h.session): h for r in self._reservations.values() for h in r.holdings}
        found.update({(h.uuid, h.session): h for h in self._ledger})
        return tuple(sorted(found.values(), key=lambda h: (h.uuid, h.session)))

    def availability(self) -> tuple[Availability, ...]:
        """Free and total by kind, in order of the devices' indices. Nothing is free that could not be granted."""
        kinds: dict[str, list[Device]] = defaultdict(list)
        for device in self._devices():
            kinds[device.kind].append(device)
        readable = self._inventory.readable and not self._ledger_fault
        return tuple(
            Availability(
                kind=kind,
                memory_bytes=min((d.memory_bytes for d in devices if d.memory_bytes is not None), default=None),
                free=sum(self._is_free(device) for device in devices) if readable else 0,
                total=len(devices),
                holdings=self._blockers(devices),
            )
            for kind, devices in kinds.items()
        )

    def unfit(self) -> dict[str, str]:
        """Why a device is not granted although nobody of this service holds it, by UUID."""
        reasons = {device.uuid: self._unfit_reason(device) for device in self._devices()}
        return {uuid: reason for uuid, reason in reasons.items() if reason}

    # Deciding

    def _refuse_by_inventory(self, request: GpuRequest) -> Refusal | None:
        """What no waiting can change."""
        if not self._inventory.readable:
            return Refusal("unreadable", wording.driver_unreadable(self._inventory.reason))
        devices = self._devices()
        if len(self._candidates(request)) >= request.count:
            return None
        if not devices:
            return Refusal("impossible", wording.no_gpu(self._inventory.reason))
        message = wording.impossible(devices, self._candidates(request), request.count, request.kind)
        return Refusal("impossible", message)

    def _refuse_by_state(self, request: GpuRequest) -> Refusal | None:
        """What may be otherwise in a while."""
        if self._ledger_fault:
            return Refusal("unreadable", wording.engine_unreadable(self._ledger_fault))
        candidates = self._candidates(request)
        free = [device for device in candidates if self._is_free(device)]
        if len(free) >= request.count:
            return None
        fit = [device for device in candidates if not self._unfit_reason(device)]
        if len(fit) < request.count:
            reasons = [(device, self._unfit_reason(device)) for device in candidates]
            return Refusal("unfit", wording.unfit([(d, why) for d, why in reasons if why]))
        blockers = self._blockers(fit)
        names = [h.user for h in blockers] if self._show_holders else None
        return Refusal("busy", wording.busy(request.count, len(free), request.kind, names, request.user), blockers)

    def _devices(self) -> tuple[Device, ...]:
        """What can be granted at all, each UUID once, in order of index."""
        unique = {d.uuid: d for d in reversed(self._inventory.devices) if not (d.mig_enabled and not d.mig_profile)}
        return tuple(sorted(unique.values(), key=_by_index))

    def _candidates(self, request: GpuRequest) -> list[Device]:
        """Devices that would do if they were free. Of several instances a program can use only one, so that more than
        one device of any kind means whole GPUs."""
        return [
            device
            for device in self._devices()
            if (device.kind == request.kind if request.kind else request.count == 1 or not device.mig_profile)
            and (request.min_memory_bytes is None or (device.memory_bytes or 0) >= request.min_memory_bytes)
        ]

    def _is_held(self, device: Device) -> bool:
        return not self._held.isdisjoint({device.uuid, device.parent_uuid})

    def _is_free(self, device: Device) -> bool:
        return not self._is_held(device) and not self._unfit_reason(device)

    def _unfit_reason(self, device: Device) -> str:
        if device.health is not Health.HEALTHY:
            return wording.unhealthy(device)
        if device.uuid not in self._outside:
            return ""
        if self._freed.get(device.uuid, 0) > self._inventory_look:
            return wording.just_freed()
        return wording.used_outside(device)

    def _blockers(self, devices: Sequence[Device]) -> tuple[Holding, ...]:
        wanted = {uuid for device in devices for uuid in (device.uuid, device.parent_uuid)}
        return tuple(holding for holding in self.holders() if holding.uuid in wanted)

    def _recount(self) -> None:
        """Follow a change. When a device was given back is noted, so that processes which were seen on it before are
        not taken for somebody else's."""
        held = frozenset(holding.uuid for holding in self.holders())
        self._freed.update(dict.fromkeys(self._held - held, self.look()))
        self._held = held
        self._outside = outside(self._inventory, held)


def outside(inventory: Inventory, held: Collection[str]) -> Mapping[str, tuple[Process, ...]]:
    """Processes that this service did not start, by the UUID of their device: those on devices that nobody holds.

    A GPU and its MIG instances count as one, because the driver also reports an instance's processes on its GPU.
    """
    taken = {uuid for d in inventory.devices if d.uuid in held for uuid in (d.uuid, d.parent_uuid)} | set(held)
    return {
        device.uuid: device.processes
        for device in inventory.devices
        if device.processes and device.uuid not in taken and device.parent_uuid not in held
    }


def _choose(free: Sequence[Device], count: int) -> tuple[Device, ...]:
    """The best fit among free devices, of which there are at least `count`."""
    ordered = sorted(free, key=lambda d: (d.memory_bytes if d.memory_bytes is not None else float("inf"), _by_index(d)))
    kinds = dict.fromkeys(device.kind for device in ordered)
    alike = ([device for device in ordered if device.kind == kind] for kind in kinds)
    best = next((devices for devices in alike if len(devices) >= count), ordered)
    return tuple(best[:count])


def _by_index(device: Device) -> tuple[int, int, int]:
    instance = -1 if device.gpu_instance is None else device.gpu_instance
    return (device.index, instance, device.compute_instance or 0)
