"""What is measured. Every function returns plain numbers, in seconds unless its name says otherwise."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import requests
from sciencebox.host import images

from tests.bench.service_under_test import PLAIN_IMAGE, Hub

if TYPE_CHECKING:
    from collections.abc import Callable

    import docker

    from tests.service import Person, Service

STEPS = ("grant", "create", "start", "import", "first 200")
CPU = {"gpu": "none", "cores": 1}
GPU = {"gpu": "any", "gpu_count": 1, "cores": 1}
OURS_GPU, OURS_CPU, PLAIN_OURS, PLAIN_PLAIN = "ours, 1 GPU", "ours, no GPU", "plain, our image", "plain, plain image"


def click_to_ready(ours: Hub, plain: Hub, pairs: int, say: Callable[[str], None]) -> dict[str, list[float]]:
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
        hub.ask("POST", "users/bench")
    found: dict[str, list[float]] = {kind: [] for kind in kinds}
    for pair in range(pairs + 1):
        for kind, (hub, options) in kinds.items():
            asked, answered = hub.start("bench", options)
            hub.stop("bench")
            if pair:
                found[kind].append(answered - asked)
        say(f"round {pair} of {pairs}: " + ", ".join(f"{k} {v[-1]:.2f} s" for k, v in found.items() if v))
    return found


def breakdown(hub: Hub, client: docker.DockerClient, rounds: int) -> dict[str, list[float]]:
    """Where the time of our session with a GPU goes, by the events of the hub and of the engine."""
    found: dict[str, list[float]] = {step: [] for step in STEPS}
    for _ in range(rounds):
        seen: dict[str, float] = {}
        began = time.time()
        follower = threading.Thread(target=_follow, args=(hub, "bench", seen))
        follower.start()
        asked, answered = hub.start("bench", GPU)
        follower.join()
        since, until = int(began), int(time.time()) + 1
        for event in client.events(since=since, until=until, filters={"type": "container"}, decode=True):
            if event["Action"] in {"create", "start"} and "session-bench" in event["Actor"]["Attributes"]["name"]:
                seen[event["Action"]] = event["timeNano"] / 1e9
        hub.stop("bench")
        moments = [asked, seen["creating"], seen["create"], seen["start"], seen["ready"], answered]
        for step, begin, end in zip(STEPS, moments, moments[1:], strict=False):
            found[step].append(max(0.0, end - begin))
    return found


def form_with_users(service: Service, users: int, requests_each: int) -> dict[str, list[float]]:
    """Answer times of the spawn form with many users in the hub: one reader, then 20 at once."""
    admin = service.admin()
    names = [f"reader{number}" for number in range(users)]
    admin.ask("POST", "api/users", json={"usernames": names}).raise_for_status()
    reader = service.person("maria")
    alone = [_form(reader) for _ in range(requests_each)]
    with ThreadPoolExecutor(20) as threads:
        together = list(threads.map(lambda _: _form(reader), range(max(20, requests_each))))
    return {"one reader": alone, "20 readers at once": together}


def image_sizes(client: docker.DockerClient) -> dict[str, int]:
    """Bytes of each image."""
    return {name: client.images.get(images.tag(name)).attrs["Size"] for name in images.NAMES}


def _form(person: Person) -> float:
    began = time.perf_counter()
    answer = person.http.get(f"{person.url}/hub/spawn", timeout=30)
    took = time.perf_counter() - began
    assert answer.ok
    return took


def _follow(hub: Hub, name: str, seen: dict[str, float]) -> None:
    """Note when each step of the start under way is told."""
    deadline = time.monotonic() + 10
    with requests.Session() as http:
        headers = {"Authorization": f"token {hub.token}"}
        url = f"{hub.url}/hub/api/users/{name}/server/progress"
        while time.monotonic() < deadline:
            with http.get(url, headers=headers, stream=True, timeout=30) as answer:
                if not answer.ok:
                    continue  # not begun yet
                for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
                    if line.startswith("data:"):
                        event = json.loads(line.removeprefix("data:"))
                        seen.setdefault("ready" if event.get("ready") else event.get("step", ""), time.time())
                return
