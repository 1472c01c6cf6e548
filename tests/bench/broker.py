"""How much the broker's core does in a second: 1,000 devices, 10,000 users, hundreds of them in the queue."""

from __future__ import annotations

import random
import time
import tracemalloc
from typing import TYPE_CHECKING, TypeVar

from sciencebox.gpus.broker import Broker
from sciencebox.gpus.device import Device, Inventory
from sciencebox.gpus.pool import GpuRequest
from sciencebox.gpus.queue import Ticket

if TYPE_CHECKING:
    from collections.abc import Callable

    from sciencebox.gpus.broker import Grant

T = TypeVar("T")

DEVICES, USERS = 1000, 10_000
MODELS = ("NVIDIA A100", "NVIDIA H100", "NVIDIA T4")
RUNNING = 500  # sessions; above that, one ends for each that begins
STEPS = 20_000
HOUR_S = 3600.0


def throughput(rounds: int, say: Callable[[str], None]) -> dict[str, list[float]]:
    """Operations a second, a round each, and the most memory that the broker had, in bytes.

    An operation is a call of the broker: ask, serve, confirm, release.
    """
    speeds = []
    for number in range(rounds):
        began = time.perf_counter()
        operations = Day(number).run()
        speeds.append(operations / (time.perf_counter() - began))
        say(f"round {number + 1} of {rounds}: {speeds[-1]:.0f} a second")
    tracemalloc.start()
    Day(0).run()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"operations_per_s": speeds, "peak_bytes": [float(peak)]}


class Day:
    """Users come and ask, sessions run and end, all by one seed. Times are virtual: a second a step."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._broker = Broker()
        devices = tuple(Device(f"GPU-{n}", n, MODELS[n % len(MODELS)], 80 * 2**30) for n in range(DEVICES))
        self._broker.see_inventory(Inventory(devices), self._broker.look())
        self._broker.see_ledger([], self._broker.look(), 0.0)
        self._idle = [f"user{n}" for n in range(USERS)]
        self._running: list[Grant] = []
        self._operations = 0

    def run(self) -> int:
        """All of it. The number of operations."""
        for now in range(STEPS):
            self._ask(float(now))
            self._serve(float(now))
            if len(self._running) > RUNNING:
                self._end(float(now))
                self._serve(float(now))
        return self._operations

    def _ask(self, now: float) -> None:
        user = _take(self._idle, self._random)
        request = GpuRequest(user, self._random.choice((1, 1, 1, 2, 4)), self._random.choice((None, *MODELS[:2])))
        longest_s = HOUR_S * self._random.choice((1, 2, 8))
        assert self._broker.ask(Ticket(f"session-{user}", request, now, longest_s=longest_s)) is None
        self._operations += 1

    def _serve(self, now: float) -> None:
        grants = self._broker.serve(now)
        for grant in grants:
            self._broker.confirm(grant.session)
        self._running += grants
        self._operations += 1 + len(grants)

    def _end(self, now: float) -> None:
        grant = _take(self._running, self._random)
        self._broker.release(grant.session, now)
        self._idle.append(grant.user)
        self._operations += 1


def _take(items: list[T], chance: random.Random) -> T:
    place = chance.randrange(len(items))
    items[place], items[-1] = items[-1], items[place]
    return items.pop()
