"""What is measured. Every function returns plain numbers, in seconds unless its name says otherwise."""

from __future__ import annotations

import datetime
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import requests
from sciencebox.host import images

from tests.bench.hubs import PLAIN_IMAGE, Hub

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import docker

    from tests.service import Person, Service

    Say = Callable[[str], None]

STEPS = ("grant", "create", "start", "import", "first 200")
CPU = {"gpu": "none"}
GPU = {"gpu": "any", "gpu_count": 1}
OURS_GPU, OURS_CPU, PLAIN_OURS, PLAIN_PLAIN = "ours, 1 GPU", "ours, no GPU", "plain, our image", "plain, plain image"
USER = "bench"
USERS, READERS = 200, 20
ALONE, TOGETHER = "one reader", f"one reader and {READERS} others at the same moment"
FOLLOW_S = 20
FOLLOW_POLL_S = 0.01


def click_to_ready(ours: Hub, plain: Hub, rounds: int, say: Say) -> dict[str, list[float]]:
    """Seconds from the request for a session to the first answer of its server, the kinds in turn.

    The first round warms the engine's and the disk's caches and is not counted.
    """
    kinds: dict[str, tuple[Hub, dict[str, Any]]] = {
        OURS_GPU: (ours, GPU),
        PLAIN_OURS: (plain, {"image": images.tag("session")}),
        OURS_CPU: (ours, CPU),
        PLAIN_PLAIN: (plain, {"image": PLAIN_IMAGE}),
    }
    for hub in (ours, plain):
        hub.add(USER)
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(rounds + 1):
        took = {}
        for kind in in_turn(tuple(kinds), number):
            hub, options = kinds[kind]
            asked, answered = hub.start(USER, options)
            hub.stop(USER)
            took[kind] = answered - asked
        if number:
            for kind, seconds in took.items():
                found[kind].append(seconds)
        times = ", ".join(f"{kind} {took[kind]:.2f} s" for kind in kinds)
        say(f"{f'round {number} of {rounds}' if number else 'not counted'}: {times}")
    return found


def in_turn(kinds: Sequence[str], number: int) -> list[str]:
    """The order of a round: forth and back, so that none always comes after the same one, or first."""
    return list(kinds) if number % 2 else list(reversed(kinds))


def breakdown(hub: Hub, client: docker.DockerClient, session: str, rounds: int, say: Say) -> dict[str, list[float]]:
    """Where the time of our session with a GPU goes, as the engine and the hub tell it."""
    found: dict[str, list[float]] = {step: [] for step in STEPS}
    hub.add(USER)
    for number in range(rounds + 1):
        seen: dict[str, float] = {}
        began = time.time()
        follower = threading.Thread(target=_told_ready, args=(hub, USER, seen))
        follower.start()
        asked, answered = hub.start(USER, GPU)
        follower.join()
        seen |= _told_by_engine(client, session, began)
        hub.stop(USER)
        parts = steps(asked, seen, answered)
        if number:  # the first warms the caches
            for step, seconds in parts.items():
                found[step].append(seconds)
        told = ", ".join(f"{step} {1000 * seconds:.0f} ms" for step, seconds in parts.items())
        say(f"{f'start {number} of {rounds}' if number else 'not counted'}: {told}")
    return found


def steps(asked: float, seen: dict[str, float], answered: float) -> dict[str, float]:
    """From moments to the length of each step. What a thread noted after it was so is cut, so that they add up."""
    moments = [asked, seen["begun"], seen["created"], seen["started"], seen["ready"], answered]
    for place in range(1, len(moments)):
        moments[place] = min(max(moments[place], moments[place - 1]), answered)
    return {step: end - begin for step, begin, end in zip(STEPS, moments, moments[1:], strict=False)}


def moment(stamp: str) -> float:
    """Seconds since the epoch, of a time as the engine writes it, which has nine digits after the point."""
    whole, _, fraction = stamp.removesuffix("Z").partition(".")
    began = datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.timezone.utc)
    return began.timestamp() + float(f"0.{fraction or 0}")


def form_with_users(service: Service, rounds: int, say: Say) -> dict[str, list[float]]:
    """Answer times of the spawn form with many users in the hub: one reader alone, then one among others."""
    names = [f"student{number:03}" for number in range(USERS)]
    service.admin().ask("POST", "api/users", json={"usernames": names}).raise_for_status()
    say(f"{READERS + 1} people sign up")
    readers = [service.person(f"reader{number:02}") for number in range(READERS + 1)]
    for reader in readers:
        _form(reader)  # connects, and fills the caches
    alone = [_form(readers[0]) for _ in range(20 * rounds)]
    together: list[float] = []
    with ThreadPoolExecutor(len(readers)) as threads:
        for _ in range(rounds):
            gate = threading.Barrier(len(readers), timeout=FOLLOW_S)
            together += threads.map(_form_after, [gate] * len(readers), readers)
    return {ALONE: alone, TOGETHER: together}


def deploy_again(deploy: Callable[[], object], rounds: int, say: Say) -> list[float]:
    """Seconds of `make deploy` where nothing changed."""
    found = []
    for number in range(rounds):
        began = time.monotonic()
        deploy()
        found.append(time.monotonic() - began)
        say(f"deployment {number + 1} of {rounds}: {found[-1]:.1f} s")
    return found


def image_sizes(client: docker.DockerClient) -> dict[str, int]:
    """Bytes of each image."""
    return {name: client.images.get(images.tag(name)).attrs["Size"] for name in images.NAMES}


def _form_after(gate: threading.Barrier, person: Person) -> float:
    gate.wait()
    return _form(person)


def _form(person: Person) -> float:
    began = time.perf_counter()
    answer = person.http.get(f"{person.url}/hub/spawn", timeout=30)
    took = time.perf_counter() - began
    assert answer.ok, f"the form of {person.name}: {answer.status_code}"
    assert "gpu_count" in answer.text, f"what {person.name} got is not the form"
    return took


def _told_by_engine(client: docker.DockerClient, session: str, since: float) -> dict[str, float]:
    """When the engine began with the session's container, when it had created it, and when it had started it."""
    container = client.api.inspect_container(session)
    assert container["HostConfig"]["DeviceRequests"], f"{session} was given no card by CDI"
    wanted = {"type": "container", "container": session, "event": ["create", "start"]}
    events = client.events(since=int(since), until=int(time.time()) + 1, filters=wanted, decode=True)
    with closing(events):
        told = {event["Action"]: event["timeNano"] / 1e9 for event in events}  # the last of each is that of this start
    return {"begun": moment(container["Created"]), "created": told["create"], "started": told["start"]}


def _told_ready(hub: Hub, name: str, seen: dict[str, float]) -> None:
    """Note when the hub tells who waits that the session is ready."""
    deadline = time.monotonic() + FOLLOW_S
    url, headers = f"{hub.url}/hub/api/users/{name}/server/progress", {"Authorization": f"token {hub.token}"}
    with requests.Session() as http:
        while "ready" not in seen and time.monotonic() < deadline:
            time.sleep(FOLLOW_POLL_S)  # the first time, too: the start has to be asked for
            with http.get(url, headers=headers, stream=True, timeout=FOLLOW_S) as answer:
                for line in answer.iter_lines(chunk_size=1) if answer.ok else ():
                    if line.startswith(b"data:") and json.loads(line.removeprefix(b"data:")).get("ready"):
                        seen["ready"] = time.time()
