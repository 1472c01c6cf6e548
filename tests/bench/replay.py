"""A synthetic week of users on one server, replayed with the broker and with plain first-come-first-served.

Each user works, asks for GPUs, waits, uses them, and works again; what each wants is drawn beforehand, by one seed, so
that both queues get the same wishes. Times are virtual.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from sciencebox.gpus.broker import Broker
from sciencebox.gpus.device import Device, Inventory
from sciencebox.gpus.pool import GpuRequest
from sciencebox.gpus.queue import Ticket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

GPUS = 8
OURS, PEER = "the broker", "first come, first served"
HOUR_S, WEEK_S = 3600.0, 7 * 24 * 3600.0


@dataclass(frozen=True)
class Scene:
    """How busy the server is: of so many users every fifth trains for long on several GPUs, the others try things out.

    The pauses are the mean times, in hours, between a user's sessions.
    """

    name: str
    users: int
    pause_h: float
    heavy_pause_h: float


QUIET = Scene("quiet", 20, 8, 10)
BUSY = Scene("busy", 20, 4, 2)
CROWDED = Scene("crowded", 40, 3, 1)
SCENES = (QUIET, BUSY, CROWDED)


@dataclass(frozen=True)
class Wish:
    """A session that a user wants, `after_s` the last one: how many GPUs for how long, of at most `longest_s`."""

    after_s: float
    count: int
    seconds: float
    longest_s: float


def wishes(scene: Scene, seed: int) -> dict[str, list[Wish]]:
    """What each user wants in a week, one after the other, and more than fits."""
    chance = random.Random(seed)
    return {f"user{n}": list(_wishes(scene, chance, is_heavy=n % 5 == 0)) for n in range(scene.users)}


def _wishes(scene: Scene, chance: random.Random, *, is_heavy: bool) -> Iterator[Wish]:
    mean_s = HOUR_S * (6 if is_heavy else 1.2)
    pause_s = HOUR_S * (scene.heavy_pause_h if is_heavy else scene.pause_h)
    counts = (1, 2, 4) if is_heavy else (1, 1, 1, 1, 2)
    for _ in range(500):
        seconds = min(23 * HOUR_S, mean_s * chance.lognormvariate(-0.5, 1.0))
        longest_s = next(hours * HOUR_S for hours in (1, 2, 4, 8, 24) if hours * HOUR_S > seconds)
        yield Wish(chance.expovariate(1 / pause_s), chance.choice(counts), seconds, longest_s)


class Scheduler(Protocol):
    """Who gets GPUs next."""

    def ask(self, user: str, wish: Wish, now: float) -> None:
        """A user wants this."""

    def end(self, user: str, now: float) -> None:
        """A user's session is over."""

    def serve(self, now: float) -> Iterable[str]:
        """Users whose session begins now."""
        ...


class Ours:
    """The broker, as the hub uses it."""

    def __init__(self) -> None:
        self._broker = Broker()
        devices = tuple(Device(f"GPU-{n}", n, "GPU", 80 * 2**30) for n in range(GPUS))
        self._broker.see_inventory(Inventory(devices), self._broker.look())
        self._broker.see_ledger([], self._broker.look(), 0.0)

    def ask(self, user: str, wish: Wish, now: float) -> None:
        request = GpuRequest(user, wish.count)
        assert self._broker.ask(Ticket(user, request, now, longest_s=wish.longest_s)) is None

    def end(self, user: str, now: float) -> None:
        self._broker.release(user, now)

    def serve(self, now: float) -> Iterable[str]:
        grants = self._broker.serve(now)
        for grant in grants:
            self._broker.confirm(grant.session)
        return [grant.user for grant in grants]


class FirstCome:
    """The peer: strictly first come, first served."""

    def __init__(self) -> None:
        self._free = GPUS
        self._line: list[tuple[str, int]] = []
        self._held: dict[str, int] = {}

    def ask(self, user: str, wish: Wish, now: float) -> None:
        self._line.append((user, wish.count))

    def end(self, user: str, now: float) -> None:
        self._free += self._held.pop(user)

    def serve(self, now: float) -> Iterable[str]:
        while self._line and self._line[0][1] <= self._free:
            user, count = self._line.pop(0)
            self._held[user] = count
            self._free -= count
            yield user


@dataclass(frozen=True)
class Week:
    """What came of it. `used_s` is GPU time by user, `waits_s` a wait for each session that began."""

    used_s: dict[str, float]
    waits_s: Sequence[float]

    @property
    def utilisation(self) -> float:
        """The share of all GPU time that was used."""
        return sum(self.used_s.values()) / (GPUS * WEEK_S)

    def wait_s(self, share: float) -> float:
        """The wait that this share of the sessions did not exceed."""
        return sorted(self.waits_s)[math.ceil(share * len(self.waits_s)) - 1]

    def fairness(self, entitled_s: dict[str, float]) -> float:
        """Jain's index of what each user got of what was his: 1 where all got the same part, 1/n where one got all."""
        parts = [self.used_s[user] / entitled_s[user] for user in entitled_s]
        return sum(parts) ** 2 / (len(parts) * sum(part**2 for part in parts))


def replay(wanted: dict[str, list[Wish]], scheduler: Scheduler) -> Week:
    """A week with a scheduler."""
    left = {user: iter(mine) for user, mine in wanted.items()}
    current: dict[str, Wish] = {}
    since: dict[str, float] = {}
    used_s, waits_s = dict.fromkeys(wanted, 0.0), []
    events: list[tuple[float, str]] = []

    def go_on(user: str, now: float) -> None:
        current[user] = next(left[user])
        heapq.heappush(events, (now + current[user].after_s, user))

    for user in wanted:
        go_on(user, 0.0)
    running: set[str] = set()
    while events and events[0][0] < WEEK_S:
        now, user = heapq.heappop(events)
        if user in running:
            running.discard(user)
            scheduler.end(user, now)
            go_on(user, now)
        else:
            since[user] = now
            scheduler.ask(user, current[user], now)
        for one in scheduler.serve(now):
            wish = current[one]
            running.add(one)
            waits_s.append(now - since.pop(one))
            used_s[one] += wish.count * min(wish.seconds, WEEK_S - now)
            heapq.heappush(events, (now + wish.seconds, one))
    waits_s += [WEEK_S - asked for asked in since.values()]  # who still waits has waited at least that long
    return Week(used_s, waits_s)


def alone(wanted: dict[str, list[Wish]]) -> dict[str, float]:
    """The GPU time that each user would have used without ever waiting."""
    return {
        user: sum(count * (min(end, WEEK_S) - start) for start, end, count in _undelayed(mine))
        for user, mine in wanted.items()
    }


def _undelayed(mine: Iterable[Wish]) -> Iterator[tuple[float, float, int]]:
    """From when to when a user who never waits has how many GPUs, as far as that begins in the week."""
    now = 0.0
    for wish in mine:
        now += wish.after_s
        if now >= WEEK_S:
            return
        yield now, now + wish.seconds, wish.count
        now += wish.seconds


def bound(wanted: dict[str, list[Wish]]) -> float:
    """The most that any plan could use, as a part of what there is, even one that knows everything beforehand.

    Waiting only ever puts off what a user does. So up to any moment nobody has used more than who never waited would
    have, and everybody together no more than the sum of that; from then on nothing uses more than all GPUs. This holds
    for each moment, so the least of these sums is a bound. (At the beginning of the week nobody wants a GPU yet, and
    what is idle then cannot be made up for.)
    """
    changes = sorted(
        change
        for mine in wanted.values()
        for start, end, count in _undelayed(mine)
        for change in ((start, count), (min(end, WEEK_S), -count))
    )
    used_s = rate = last = 0.0
    least_s = GPUS * WEEK_S
    # Between two changes the sum changes evenly, so it is least at one of them, or at the end.
    for moment, change in [*changes, (WEEK_S, 0)]:
        used_s += rate * (moment - last)
        last, rate = moment, rate + change
        least_s = min(least_s, used_s + GPUS * (WEEK_S - moment))
    return least_s / (GPUS * WEEK_S)


def entitled(wanted_s: dict[str, float]) -> dict[str, float]:
    """The fair share of each: nobody has more than he wants, and who has less than he wants has as much as anybody.

    (Max-min fairness, by filling up: Bertsekas and Gallager, "Data Networks", 6.5.2.)
    """
    left, found = GPUS * WEEK_S, {}
    for place, (user, want) in enumerate(sorted(wanted_s.items(), key=lambda item: item[1])):
        found[user] = min(want, left / (len(wanted_s) - place))
        left -= found[user]
    return found


def compare(rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Both queues and the bound in each scene, a week a round; and the waits of the busy one, percent by percent.

    `demand` is what users would use if they never waited, as a part of what there is.
    """
    found: dict[str, Any] = {"waits_s": {}}
    for scene in SCENES:
        figures: dict[str, list[float]] = defaultdict(list)
        waits: dict[str, list[float]] = defaultdict(list)
        for seed in range(rounds):
            wanted = wishes(scene, seed)
            demand_s = alone(wanted)
            figures["demand"].append(sum(demand_s.values()) / (GPUS * WEEK_S))
            figures["bound"].append(bound(wanted))
            for name, scheduler in ((OURS, Ours()), (PEER, FirstCome())):
                week = replay(wanted, scheduler)
                waits[name] += week.waits_s
                figures[f"{name}: utilisation"].append(week.utilisation)
                figures[f"{name}: fairness"].append(week.fairness(entitled(demand_s)))
                figures[f"{name}: median wait"].append(week.wait_s(0.5))
                figures[f"{name}: p95 wait"].append(week.wait_s(0.95))
        found[scene.name] = dict(figures)
        if scene is BUSY:
            found["waits_s"] = {name: _percentiles(all_s) for name, all_s in waits.items()}
        say(f"{scene.name}: {rounds} weeks replayed")
    return found


def _percentiles(values: Sequence[float]) -> list[float]:
    ordered = sorted(values)
    return [round(ordered[round((len(ordered) - 1) * percent / 100)], 1) for percent in range(101)]
