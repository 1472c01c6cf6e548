"""Any order of requests, grants, starts, crashes, stops and slow readings: no device has two holders, none is lost.

The machine plays the engine (the containers that exist), the sessions (what each was promised) and the readers of the
ledger (which list the containers at some moment and deliver the list at another). It judges by the containers and
the promises, not by what the broker says of itself.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sciencebox.gpus.broker import Broker, Grant
from sciencebox.gpus.device import Device, Health, Inventory, card_of
from sciencebox.gpus.pool import GpuRequest
from sciencebox.gpus.queue import Ticket
from sciencebox.gpus.reconcile import ContainerFacts, labels, reconcile
from sciencebox.gpus.shares import divide
from sciencebox.gpus_section import GpuShares

GIB = 1024**3
SESSIONS = [f"session-{n}" for n in range(7)]
DEPLOYMENT = "box"
SHARED = GpuShares(model="GPU of 40", parts=2)
KIND = "GPU of 40 1/2 share"
NOW = 1_790_000_000.0


@dataclass(frozen=True)
class Container:
    id: str
    devices: tuple[Device, ...]
    running: bool = False


@dataclass
class Reading:
    look: int
    listed: tuple[ContainerFacts, ...] | None = None


class Service(RuleBasedStateMachine):
    @initialize(sizes=st.lists(st.sampled_from([5, 15, 40]), min_size=2, max_size=5), divided=st.booleans())
    def install(self, sizes: list[int], divided: bool) -> None:
        self.cards = tuple(
            Device(uuid=f"GPU-{n}", index=n, model=f"GPU of {size}", memory_bytes=size * GIB)
            for n, size in enumerate(sizes)
        )
        self.divide(divided)
        self.made = 0
        self.containers: dict[str, Container] = {}
        self.ill: int | None = None
        self.waiting: dict[str, Ticket] = {}
        self.promised: dict[str, Grant] = {}  # granted, container not created
        self.starting: set[str] = set()  # from grant until told to the broker
        self.readings: list[Reading] = []
        self.boot()
        self.see_ledger()

    def divide(self, divided: bool) -> None:
        """The settings say whether a GPU of 40 is given out in shares."""
        self.devices = divide(Inventory(self.cards), [SHARED] if divided else []).devices

    def boot(self) -> None:
        """A hub starts: it knows nothing but what it reads."""
        self.broker = Broker()
        self.see_devices()
        for ticket in self.waiting.values():
            self.broker.keep(ticket)

    def see_devices(self) -> None:
        self.broker.see_inventory(Inventory(tuple(self.standing())), self.broker.look())

    def standing(self) -> list[Device]:
        return [replace(d, health=Health.QUARANTINED) if d.index == self.ill else d for d in self.devices]

    def listing(self) -> tuple[ContainerFacts, ...]:
        return tuple(
            ContainerFacts(
                c.id,
                name,
                labels("ada", c.devices, DEPLOYMENT, NOW),
                "running" if c.running else "created",
            )
            for name, c in self.containers.items()
        )

    # Sessions

    @rule(
        session=st.sampled_from(SESSIONS),
        count=st.sampled_from([1, 1, 1, 2, 3]),
        size=st.sampled_from([None, None, 5, 40, KIND]),
        gets=st.sampled_from(["in line", "created", "running"]),
    )
    def ask(self, session: str, count: int, size: int | str | None, gets: str) -> None:
        """Somebody wants a session, which, if it is granted at once, gets so far before anything else happens."""
        if session in self.starting or session in self.containers or session in self.waiting:
            return
        self.broker.release(session, NOW)  # as a spawner that starts anew: there is no container of this name
        if isinstance(size, str):
            request = GpuRequest("ada", count=count, kind=size)
        else:
            request = GpuRequest("ada", count=count, min_memory_bytes=size * GIB if size else None)
        ticket = Ticket(session, request, NOW)
        if self.broker.ask(ticket) is None:
            self.waiting[session] = ticket
            self.serve()
        if session in self.promised and gets != "in line":
            self.make_container(session)
            if gets == "running":
                self.run_container(session)

    @rule()
    def serve(self) -> None:
        healthy = {device.uuid for device in self.standing() if device.health is Health.HEALTHY}
        for grant in self.broker.serve(NOW):
            ticket = self.waiting.pop(grant.session)
            uuids = {device.uuid for device in grant.devices}
            assert len(uuids) == ticket.request.count
            assert uuids <= healthy
            self.promised[grant.session] = grant
            self.starting.add(grant.session)

    @precondition(lambda self: self.promised)
    @rule(data=st.data())
    def create(self, data: st.DataObject) -> None:
        self.make_container(data.draw(st.sampled_from(sorted(self.promised))))

    def make_container(self, session: str) -> None:
        self.made += 1
        grant = self.promised.pop(session)
        self.containers[session] = Container(f"id-{self.made}", grant.devices)

    @precondition(lambda self: self.promised)
    @rule(data=st.data())
    def fail_to_create(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from(sorted(self.promised)))
        del self.promised[session]
        self.starting.discard(session)
        self.broker.release(session, NOW)

    @precondition(lambda self: self.starting & set(self.containers))
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        self.run_container(data.draw(st.sampled_from(sorted(self.starting & set(self.containers)))))

    def run_container(self, session: str) -> None:
        self.containers[session] = replace(self.containers[session], running=True)
        self.starting.discard(session)
        self.broker.confirm(session)

    @precondition(lambda self: set(self.containers) - self.starting)
    @rule(data=st.data(), told=st.booleans())
    def end(self, data: st.DataObject, told: bool) -> None:
        """The user stops the session (the broker is told), or somebody removes the container by hand."""
        session = data.draw(st.sampled_from(sorted(set(self.containers) - self.starting)))
        del self.containers[session]
        if told:
            self.broker.release(session, NOW)

    @precondition(lambda self: self.starting & set(self.containers))
    @rule(data=st.data())
    def lose_while_starting(self, data: st.DataObject) -> None:
        """The container is removed by hand between creation and start; the start fails and says so."""
        session = data.draw(st.sampled_from(sorted(self.starting & set(self.containers))))
        del self.containers[session]
        self.starting.discard(session)
        self.broker.release(session, NOW)

    @rule(divided=st.booleans(), reads=st.booleans())
    def kill_the_hub(self, divided: bool, reads: bool) -> None:
        """The next one may have other settings, while sessions go on, and may find an engine that does not answer."""
        self.divide(divided)
        self.promised.clear()
        self.starting.clear()
        self.readings.clear()
        self.boot()
        if reads:
            self.see_ledger()

    def see_ledger(self) -> None:
        for _ in range(2):  # ghosts that the first reading removed are gone in the second
            self.take_in(Reading(self.broker.look(), self.listing()))

    # Readings

    @rule(lists=st.booleans())
    def begin_reading(self, lists: bool) -> None:
        self.readings.append(Reading(self.broker.look(), self.listing() if lists else None))

    @precondition(lambda self: self.readings)
    @rule(data=st.data())
    def list_containers(self, data: st.DataObject) -> None:
        reading = data.draw(st.sampled_from(self.readings))
        reading.listed = reading.listed or self.listing()

    @precondition(lambda self: any(reading.listed is not None for reading in self.readings))
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        reading = data.draw(st.sampled_from([r for r in self.readings if r.listed is not None]))
        self.readings.remove(reading)
        self.take_in(reading)

    def take_in(self, reading: Reading) -> None:
        if self.broker.is_outdated(reading.look):
            return
        ledger = reconcile(reading.listed or (), DEPLOYMENT, self.broker.in_motion(reading.look))
        self.broker.see_ledger(ledger.holdings, reading.look, NOW)
        for name, container in list(self.containers.items()):
            if container.id in ledger.ghosts:
                assert not container.running, "a running session was taken for a ghost"
                assert name not in self.starting, "a session that is being started was taken for a ghost"
                del self.containers[name]

    @rule(again=st.booleans())
    def fail_to_read(self, again: bool) -> None:
        self.broker.see_ledger(None, self.broker.look(), NOW, "timeout")
        if again:
            self.see_ledger()

    @rule(ill=st.sampled_from([None, 0, 1, 4]))
    def fall_ill(self, ill: int | None) -> None:
        self.ill = ill
        self.see_devices()

    # What must hold

    @invariant()
    def no_device_has_two_holders(self) -> None:
        claims = Counter(d.uuid for grant in self.promised.values() for d in grant.devices)
        claims.update(d.uuid for container in self.containers.values() for d in container.devices)
        assert all(number == 1 for number in claims.values()), claims
        assert not any(uuid != card_of(uuid) in claims for uuid in claims), f"a share, and all of its GPU: {claims}"

    @invariant()
    def nothing_promised_counts_as_free(self) -> None:
        held = {holding.uuid for holding in self.broker.holders()}
        assert {d.uuid for grant in self.promised.values() for d in grant.devices} <= held

    @rule()
    def settle(self) -> None:
        """Once nothing is in motion and the ledger was read, exactly what no container holds is free."""
        for session in sorted(self.promised):
            del self.promised[session]
            self.starting.discard(session)
            self.broker.release(session, NOW)
        for session in sorted(self.starting):
            self.run_container(session)
        self.ill = None
        self.see_devices()
        self.see_ledger()
        held = {d.uuid for container in self.containers.values() for d in container.devices}
        assert {holding.uuid for holding in self.broker.holders()} == held
        taken = held | {card_of(uuid) for uuid in held}
        fit = [d for d in self.devices if not d.is_divided]
        free = [d for d in fit if d.uuid not in taken and not (d.share and d.parent_uuid in held)]
        assert sum(kind.free for kind in self.broker.availability()) == len(free)


TestService = Service.TestCase
TestService.settings = settings(max_examples=400, stateful_step_count=40)
