"""What 200 users who wait for a GPU cost those who do not: answers of the hub, and the start of a session."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.crowd import crowd

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.service import Person, Service

CROWD = 200
ALONE, AMONG = "nobody waits", f"{CROWD} wait, each with an open page"
ANSWERS = 100  # a round
EVERY_S = 0.01


def waiting(service: Service, rounds: int, say: Callable[[str], None]) -> dict[str, dict[str, list[float]]]:
    """Seconds of the hub's smallest answer, and from the request to a session without a GPU, in both situations."""
    person = service.person("jonas")
    found: dict[str, dict[str, list[float]]] = {"answer": {}, "session": {}}

    def measure(situation: str) -> None:
        say(situation)
        found["answer"][situation] = [_answer(person) for _ in range(ANSWERS * rounds)]
        found["session"][situation] = [_session(service, person) for _ in range(rounds)]

    measure(ALONE)
    with service.session("maria", gpu="any", gpu_count=2), crowd(service, CROWD):
        measure(AMONG)
    return found


def _answer(person: Person) -> float:
    time.sleep(EVERY_S)
    began = time.perf_counter()
    person.http.get(f"{person.url}/hub/health", timeout=30).raise_for_status()
    return time.perf_counter() - began


def _session(service: Service, person: Person) -> float:
    began = time.perf_counter()
    with service.session(person.name):
        return time.perf_counter() - began
