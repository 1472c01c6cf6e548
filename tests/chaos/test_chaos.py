"""Fifty users, four cards, and an administrator's worst day: what holds is read from the engine, not from the hub."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

import docker.errors
import pytest
import requests
from requests.adapters import HTTPAdapter

from tests.chaos.conftest import CARDS
from tests.engine import rig
from tests.service import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.service import Service

# docker-py leaves its sockets to the garbage collector where an engine that was stopped refuses them.
pytestmark = [
    pytest.mark.engine,
    pytest.mark.usefixtures("collected"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

USERS = 50
LONGEST_S = 300
KILL_EVERY_S = (1.0, 4.0)  # a container; between these
HUB_KILLS, ENGINE_RESTARTS = 3, 2
UNREACHABLE = (requests.RequestException, docker.errors.DockerException)


class Person:
    """Somebody who wants a session with GPUs, uses it for a moment and stops it; and who tries again if it fails."""

    def __init__(self, service: Service, name: str, chance: random.Random) -> None:
        self._admin = service.admin()
        self._path = f"api/users/{name}"
        self._wants = {"gpu": "any", "gpu_count": chance.choice((1, 1, 1, 2))}
        self._stays_s = chance.uniform(0.5, 4.0)
        self._patience_s = chance.uniform(0.5, 1.5)

    def live(self, until: float) -> bool:
        """Whether the session was had."""
        while time.monotonic() < until:
            with suppress(*UNREACHABLE):
                self._admin.ask("POST", f"{self._path}/server", json=self._wants)
                if self._is_had(until):
                    time.sleep(self._stays_s)
                    self._admin.ask("DELETE", f"{self._path}/server").raise_for_status()
                    return True
            time.sleep(self._patience_s)
        return False

    def _is_had(self, until: float) -> bool:
        while time.monotonic() < until:
            server = self._admin.ask("GET", self._path).json()["servers"].get("")
            if server is None or server["ready"]:
                return server is not None
            time.sleep(self._patience_s)
        return False


class Trouble:
    """Ends sessions, hubs and engines by force, one after the other, until it is told to stop."""

    def __init__(self, service: Service, engine: rig.Engine, chance: random.Random) -> None:
        self._service, self._engine, self._chance = service, engine, chance
        self.over = threading.Event()
        self.done: list[str] = []

    def make(self) -> None:
        worst: list[Callable[[], None]] = [self._kill_hub] * HUB_KILLS + [self._restart_engine] * ENGINE_RESTARTS
        self._chance.shuffle(worst)
        while not self.over.wait(self._chance.uniform(*KILL_EVERY_S)):
            with suppress(*UNREACHABLE):
                if worst and len(self.done) % 3 == 2:
                    worst.pop()()
                else:
                    self._kill_session()

    def _kill_session(self) -> None:
        sessions = self._service.engine.containers.list(ignore_removed=True, filters={"label": "sciencebox.gpus"})
        if sessions:
            self._chance.choice(sessions).kill()
        self.done.append("session")

    def _kill_hub(self) -> None:
        self.done.append("hub")
        os.kill(self._service.hub.attrs["State"]["Pid"], signal.SIGKILL)
        wait_until(self._service.answers, "the hub answers again", seconds=60)

    def _restart_engine(self) -> None:
        self.done.append("engine")
        rig.restart(self._engine)
        wait_until(self._service.answers, "the service is back", seconds=120)


class Watch:
    """Looks at the engine's running containers all the time: never may two of them have one card."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.over = threading.Event()
        self.looks = self.most = 0
        self.shared: list[str] = []

    def look(self) -> None:
        while not self.over.wait(0.05):
            with suppress(*UNREACHABLE):
                found = self._service.engine.containers.list(ignore_removed=True, filters={"label": "sciencebox.gpus"})
                cards = [card for one in found for card in one.labels["sciencebox.gpus"].split(",")]
                self.looks += 1
                self.most = max(self.most, len(cards))
                self.shared += [card for card in set(cards) if cards.count(card) > 1]


def test_fifty_users_and_four_cards_through_kills_and_restarts(service: Service, debian_engine: rig.Engine) -> None:
    chance = random.Random(20261126)
    names = [f"chaos{number:02}" for number in range(USERS)]
    admin = service.admin()
    admin.http.mount(service.url, HTTPAdapter(pool_maxsize=USERS + 4))
    admin.ask("POST", "api/users", json={"usernames": names}).raise_for_status()
    people = [Person(service, name, random.Random(name)) for name in names]
    trouble, watch = Trouble(service, debian_engine, chance), Watch(service)

    with ThreadPoolExecutor(USERS + 2) as threads:
        beside = [threads.submit(watch.look), threads.submit(trouble.make)]
        until = time.monotonic() + LONGEST_S
        had = list(threads.map(lambda person: person.live(until), people))
        trouble.over.set()
        beside[1].result()
        watch.over.set()
        beside[0].result()

    print(f"{len(trouble.done)} troubles: {trouble.done}; {watch.looks} looks")
    assert watch.shared == []
    assert watch.looks > USERS and watch.most == CARDS
    assert {"session", "hub", "engine"} <= set(trouble.done)
    assert had == [True] * USERS
    wait_until(lambda: not service.waiting() and not service.holders(), "nobody waits, and every card is free", 60)
    with service.session("maria", gpu="any", gpu_count=CARDS):
        assert set(service.holders().values()) == {"maria"}
    wait_until(lambda: not service.holders(), "every card is free")
