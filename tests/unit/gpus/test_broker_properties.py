"""Any order of grants, starts, crashes, stops and slow readings: never two holders of one device, none lost.

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
from sciencebox.gpus.broker import Broker, GpuRequest, Grant
from sciencebox.gpus.device import Device, Health, Inventory
from sciencebox.gpus.reconcile import ContainerFacts, labels, reconcile

GIB = 1024**3
SESSIONS = [f"session-{n}" for n in range(6)]
DEPLOYMENT = "box"
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
    @initialize(sizes=st.lists(st.sampled_from([5, 15, 40]), min_size=1, max_size=5))
    def install(self, sizes: list[int]) -> None:
        self.devices = [
            Device(uuid=f"GPU-{n}", index=n, model=f"GPU of {size}", memory_bytes=size * GIB)
            for n, size in enumerate(sizes)
        ]
        self.made = 0
        self.containers: dict[str, Container] = {}
        self.promised: dict[str, tuple[Device, ...]] = {}  # granted, container not created
        self.starting: set[str] = set()  # from grant until told to the broker
        self.readings: list[Reading] = []
        self.boot()

    def boot(self) -> None:
        """A hub starts: it knows nothing but what it reads."""
        self.broker = Broker()
        self.broker.see_inventory(Inventory(tuple(self.devices)), self.broker.look())

    def listing(self) -> tuple[ContainerFacts, ...]:
        return tuple(
            ContainerFacts(c.id, name, labels("ada", c.devices, DEPLOYMENT, NOW), "running" if c.running else "created")
            for name, c in self.containers.items()
        )

    # Sessions

    @rule(session=st.sampled_from(SESSIONS), count=st.integers(1, 3), size=st.sampled_from([None, 5, 40]))
    def ask(self, session: str, count: int, size: int | None) -> None:
        if session in self.starting or session in self.containers:
            return
        free = sum(kind.free for kind in self.broker.availability())
        self.broker.release(session)  # as a spawner does that starts anew: there is no container of this name
        request = GpuRequest("ada", count=count, min_memory_bytes=size * GIB if size else None)
        answer = self.broker.request(request, session, NOW)
        if isinstance(answer, Grant):
            assert len({device.uuid for device in answer.devices}) == count
            assert all(device.health is Health.HEALTHY for device in answer.devices)
            assert count <= max(free, sum(kind.free for kind in self.broker.availability()) + count)
            self.promised[session] = answer.devices
            self.starting.add(session)

    @precondition(lambda self: self.promised)
    @rule(data=st.data())
    def create(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from(sorted(self.promised)))
        self.made += 1
        self.containers[session] = Container(f"id-{self.made}", self.promised.pop(session))

    @precondition(lambda self: self.promised)
    @rule(data=st.data())
    def fail_to_create(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from(sorted(self.promised)))
        del self.promised[session]
        self.starting.discard(session)
        self.broker.release(session)

    @precondition(lambda self: self.starting & set(self.containers))
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from(sorted(self.starting & set(self.containers))))
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
            self.broker.release(session)

    @precondition(lambda self: self.starting & set(self.containers))
    @rule(data=st.data())
    def lose_while_starting(self, data: st.DataObject) -> None:
        """The container is removed by hand between creation and start; the start fails and says so."""
        session = data.draw(st.sampled_from(sorted(self.starting & set(self.containers))))
        del self.containers[session]
        self.starting.discard(session)
        self.broker.release(session)

    @rule()
    def kill_the_hub(self) -> None:
        self.promised.clear()
        self.starting.clear()
        self.readings.clear()
        self.boot()

    # Readings

    @rule()
    def begin_reading(self) -> None:
        self.readings.append(Reading(self.broker.look()))

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
        ledger = reconcile(reading.listed or (), DEPLOYMENT, self.broker.in_motion(reading.look))
        self.broker.see_ledger(ledger.holdings, reading.look)
        for name, container in list(self.containers.items()):
            if container.id in ledger.ghosts:
                assert not container.running, "a running session was taken for a ghost"
                assert name not in self.starting, "a session that is being started was taken for a ghost"
                del self.containers[name]

    @rule()
    def fail_to_read(self) -> None:
        self.broker.see_ledger(None, self.broker.look(), "timeout")

    @rule(ill=st.integers(0, 4))
    def fall_ill(self, ill: int) -> None:
        devices = [replace(d, health=Health.QUARANTINED) if d.index == ill else d for d in self.devices]
        self.broker.see_inventory(Inventory(tuple(devices)), self.broker.look())

    # What must hold

    @invariant()
    def no_device_has_two_holders(self) -> None:
        claims = Counter(d.uuid for devices in self.promised.values() for d in devices)
        claims.update(d.uuid for container in self.containers.values() for d in container.devices)
        assert all(number == 1 for number in claims.values()), claims

    @invariant()
    def nothing_promised_counts_as_free(self) -> None:
        held = {holding.uuid for holding in self.broker.holders()}
        assert {d.uuid for devices in self.promised.values() for d in devices} <= held

    @rule()
    def settle(self) -> None:
        """Once nothing is in motion and the ledger was read, exactly what no container holds is free."""
        for session in sorted(self.promised):
            del self.promised[session]
            self.starting.discard(session)
            self.broker.release(session)
        for session in sorted(self.starting):
            self.containers[session] = replace(self.containers[session], running=True)
            self.broker.confirm(session)
        self.starting.clear()
        self.broker.see_inventory(Inventory(tuple(self.devices)), self.broker.look())
        for _ in range(2):  # ghosts that the first reading removed are gone in the second
            self.take_in(Reading(self.broker.look(), self.listing()))
        held = {d.uuid for container in self.containers.values() for d in container.devices}
        assert {holding.uuid for holding in self.broker.holders()} == held
        assert sum(kind.free for kind in self.broker.availability()) == len(self.devices) - len(held)


TestService = Service.TestCase
TestService.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
