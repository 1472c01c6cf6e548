"""Who waits is served in order, a later one only where that does not put off the first that has to wait.

The machine keeps its own books of who holds what until when, and judges each decision by them. A hub that is killed
comes back with the same queue, and nobody waits for ever.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import inf
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from sciencebox.gpus.broker import Broker, Grant
from sciencebox.gpus.device import Device, Health, Inventory
from sciencebox.gpus.pool import GpuRequest, Holding
from sciencebox.gpus.queue import Ticket

GIB = 1024**3
HOUR = 3600.0
NOW = 1_790_000_000.0
USERS = ["ada", "bob", "eve", "dan"]
LONGEST_WAIT = 6 * HOUR
USES = [0, HOUR, HOUR, 3 * HOUR, None]
WISHES = st.fixed_dictionaries(
    {
        "user": st.sampled_from(USERS),
        "count": st.sampled_from([1, 1, 2, 3]),
        "kind": st.sampled_from([None, None, "GPU of 5", "GPU of 40"]),
        "least": st.sampled_from([None, None, None, 40 * GIB]),
        "longest_s": st.sampled_from([None, HOUR, 3 * HOUR, 3 * HOUR]),
        "priority": st.sampled_from([0, 0, 0, 1]),
        "weight": st.sampled_from([1, 1, 4]),
    }
)


def device(index: int, size: int) -> Device:
    return Device(uuid=f"GPU-{index}", index=index, model=f"GPU of {size}", memory_bytes=size * GIB)


class Waiting(RuleBasedStateMachine):
    @initialize(cards=st.lists(st.tuples(st.sampled_from([5, 40]), st.sampled_from(USES)), min_size=3, max_size=6))
    def install(self, cards: list[tuple[int, float | None]]) -> None:
        """A hub that starts finds sessions: each of these cards is free, or in use for a time, or without an end."""
        self.devices = [device(index, size) for index, (size, _) in enumerate(cards)]
        self.ill: int | None = None
        self.now = NOW
        self.number = 0
        self.waiting: dict[str, Ticket] = {}
        self.leases: dict[str, tuple[Holding, ...]] = {
            f"old-{index}": (Holding(f"GPU-{index}", "kim", f"old-{index}", NOW - 1, use and NOW + use),)
            for index, (_, use) in enumerate(cards)
            if use != 0
        }
        self.past: list[tuple[str, float, float]] = []  # who had a device, from when until when
        self.boot()

    def boot(self) -> None:
        self.broker = Broker(half_life_s=2 * HOUR, longest_wait_s=LONGEST_WAIT)
        self.see()
        for user, since, until in self.past:
            self.broker.see_use(user, since, until)
        for ticket in self.waiting.values():
            self.broker.keep(ticket)

    def see(self) -> None:
        self.broker.see_inventory(Inventory(tuple(self.standing())), self.broker.look())
        held = [holding for lease in self.leases.values() for holding in lease]
        self.broker.see_ledger(held, self.broker.look(), self.now)

    def standing(self) -> list[Device]:
        return [replace(d, health=Health.QUARANTINED) if d.index == self.ill else d for d in self.devices]

    @rule(wishes=st.lists(WISHES, min_size=1, max_size=4))
    def ask(self, wishes: list[dict[str, Any]]) -> None:
        for wish in wishes:
            self.number += 1
            request = GpuRequest(wish["user"], wish["count"], wish["kind"], wish["least"])
            ticket = Ticket(
                f"s{self.number}", request, self.now, wish["priority"], wish["weight"], longest_s=wish["longest_s"]
            )
            if self.broker.ask(ticket) is None:
                self.waiting[ticket.session] = ticket
        self.serve()

    @rule(which=st.integers(0, 9))
    def give_up(self, which: int) -> None:
        if self.waiting:
            session = sorted(self.waiting)[which % len(self.waiting)]
            del self.waiting[session]
            self.broker.withdraw(session)

    @rule(seconds=st.sampled_from([60, 600, HOUR, 4 * HOUR]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(ill=st.sampled_from([None, None, 0, 1]))
    def fall_ill(self, ill: int | None) -> None:
        self.ill = ill
        self.see()

    @rule(which=st.integers(0, 9), told=st.booleans())
    def end(self, which: int, told: bool) -> None:
        if not self.leases:
            return
        session = sorted(self.leases)[which % len(self.leases)]
        ended = self.leases.pop(session)
        self.past.extend((holding.user, holding.since or 0, self.now) for holding in ended)
        if told:
            self.broker.release(session, self.now)
        else:
            self.see()
        self.serve()

    @rule()
    def restart_the_hub(self) -> None:
        before = [place.ticket.session for place in self.broker.queue(self.now)]
        self.boot()
        assert [place.ticket.session for place in self.broker.queue(self.now)] == before

    @rule()
    def serve(self) -> None:
        places = self.broker.queue(self.now)
        line = [place.ticket for place in places]
        assert {ticket.session for ticket in line} == set(self.waiting)
        assert [place.position for place in places] == list(range(1, len(line) + 1))
        self.check_order(line)
        due = self.due()
        grants = {grant.session: grant for grant in self.broker.serve(self.now)}
        heads: list[tuple[Ticket, float]] = []  # who waits first, each of them for other devices
        for ticket in line:
            grant = grants.get(ticket.session)
            if grant is None:
                mine = set(self.serving(ticket, due))
                rivals = [head for head, _ in heads if mine & set(self.serving(head, due))]
                if not rivals and len(mine) >= ticket.request.count:
                    heads.append((ticket, self.earliest(ticket, due)))
                    free = [uuid for uuid in mine if due[uuid] == -inf]
                    assert len(free) < ticket.request.count, "a head waits for devices that are free"
                continue
            self.check_grant(grant, ticket, due)
            back = inf if grant.until is None else grant.until
            due.update(dict.fromkeys((device.uuid for device in grant.devices), back))
            for head, start in heads:
                if start == inf:
                    assert not {device.uuid for device in grant.devices} & set(self.serving(head, due)), (
                        "put off a head"
                    )
                else:
                    assert self.earliest(head, due) <= start, "put off a head"
        for session, grant in grants.items():
            ticket = self.waiting.pop(session)
            self.leases[session] = tuple(
                Holding(device.uuid, ticket.request.user, session, self.now, grant.until) for device in grant.devices
            )
            self.broker.confirm(session)
        self.see()

    def check_order(self, line: list[Ticket]) -> None:
        """Who waited too long goes first, by arrival; then who has more priority; then who used less."""
        overdue = [ticket.arrived for ticket in line if ticket.arrived < self.now - LONGEST_WAIT]
        assert [ticket.arrived for ticket in line[: len(overdue)]] == sorted(overdue)
        rest = [ticket for ticket in line if ticket.arrived > self.now - LONGEST_WAIT]
        assert [t.priority for t in rest] == sorted((t.priority for t in rest), reverse=True)
        for first, second in pairwise(rest):
            if first.priority == second.priority:
                used = [self.used(ticket.request.user) / ticket.weight for ticket in (first, second)]
                assert used[0] <= used[1] * 1.002 + 1e-9, "who used more goes first"
                if first.request.user == second.request.user and first.weight == second.weight:
                    assert first.arrived <= second.arrived

    def used(self, user: str) -> float:
        """Decayed GPU-seconds, by the integral."""
        now = [(h.user, h.since or 0.0, self.now) for lease in self.leases.values() for h in lease]

        def forgotten(when: float) -> float:
            return float(2 ** (-(self.now - when) / (2 * HOUR)))

        return sum(forgotten(until) - forgotten(since) for who, since, until in [*self.past, *now] if who == user)

    def due(self) -> dict[str, float]:
        """When each fit device is free: -infinity now, infinity unknown."""
        due = {device.uuid: -inf for device in self.standing() if device.health is Health.HEALTHY}
        for lease in self.leases.values():
            due.update({h.uuid: inf if h.until is None else h.until for h in lease if h.uuid in due})
        return due

    def serving(self, ticket: Ticket, due: dict[str, float]) -> list[str]:
        request, fit = ticket.request, (device for device in self.devices if device.uuid in due)
        alike = (device for device in fit if request.kind in {None, device.kind})
        return [device.uuid for device in alike if (device.memory_bytes or 0) >= (request.min_memory_bytes or 0)]

    def earliest(self, ticket: Ticket, due: dict[str, float]) -> float:
        return max(self.now, sorted(due[uuid] for uuid in self.serving(ticket, due))[ticket.request.count - 1])

    def check_grant(self, grant: Grant, ticket: Ticket, due: dict[str, float]) -> None:
        assert len({device.uuid for device in grant.devices}) == ticket.request.count
        assert {device.uuid for device in grant.devices} <= set(self.serving(ticket, due))
        assert all(due[device.uuid] == -inf for device in grant.devices), "a device was granted that is not free"
        assert grant.until == (None if ticket.longest_s is None else self.now + ticket.longest_s)


TestWaiting = Waiting.TestCase
TestWaiting.settings = settings(max_examples=300, stateful_step_count=50)


@given(
    crowd=st.lists(st.tuples(st.integers(1, 2), st.floats(0.1, 3), st.integers(0, 2)), min_size=30, max_size=80),
    count=st.integers(1, 3),
)
@settings(max_examples=60)
def test_nobody_waits_for_ever(crowd: list[tuple[int, float, int]], count: int) -> None:
    """However many with more priority and a smaller share keep coming, who waited for the longest time goes first.

    Bound: the longest wait, and then the longest session once for each older ticket and once more, for what was granted
    just before is not taken away. Here no ticket is older.
    """
    devices = tuple(device(index, 40) for index in range(3))
    broker = Broker(half_life_s=2 * HOUR, longest_wait_s=LONGEST_WAIT)
    broker.see_inventory(Inventory(devices), broker.look())
    broker.see_ledger((), broker.look(), NOW)
    broker.see_use("heavy", NOW - 100 * HOUR, NOW)
    broker.ask(Ticket("s-heavy", GpuRequest("heavy", count), NOW - 1, priority=-1, longest_s=HOUR))
    ends: dict[str, float] = {}
    now, coming = NOW, 0
    while now < NOW + LONGEST_WAIT + 3 * HOUR + 1:
        for session in [session for session, end in ends.items() if end <= now]:
            del ends[session]
            broker.release(session, now)
        while sum(place.ticket.session != "s-heavy" for place in broker.queue(now)) < 4:  # there is always a crowd
            wanted, hours, priority = crowd[coming % len(crowd)]
            request = GpuRequest(f"user-{coming}", wanted)
            broker.ask(Ticket(f"s-{coming}", request, now, priority=priority, longest_s=hours * HOUR))
            coming += 1
        for grant in broker.serve(now):
            if grant.session == "s-heavy":
                return
            assert grant.until is not None
            ends[grant.session] = grant.until
        now = min([*ends.values(), now + 600])
    raise AssertionError("the session with the least share and priority never started")
