"""From the click to the pod that has a node: our spawner and KubeSpawner as it comes, on the same real control plane.

Both ask for pods of the same resources. Kubelets only pretend, so what follows the scheduler's word is not measured.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from tests.bench.measure import in_turn
from tests.fakes.kubelet import Kubelets, node, wait_for_nodes
from tests.kube import rig
from tests.kube.site import Site
from tests.service import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OURS, PLAIN = "ours", "plain KubeSpawner"
USER = "bench"
STARTS = 3  # of each in a round: most of the time is the hub's writing into its database, which varies
WATCH_S = 600
BOUND_S = 60
GPU = {"gpu": "any", "gpu_count": 1}
# What our form's defaults come to, as a site without our spawner would configure it.
SAME_POD = """
c.KubeSpawner.cpu_limit = 2
c.KubeSpawner.mem_limit = "4G"
c.KubeSpawner.mem_guarantee = "4G"
c.KubeSpawner.extra_resource_limits = {"nvidia.com/gpu": "1"}
c.KubeSpawner.tolerations = [{"key": "nvidia.com/gpu", "operator": "Exists"}]
"""


def click_to_bound(rounds: int, say: Callable[[str], None]) -> dict[str, list[float]]:
    """Seconds from the request for a session with a GPU until its pod is bound to a node; both in turn.

    The first start of each is not counted.
    """
    with (
        tempfile.TemporaryDirectory(prefix="sciencebox-bench-") as name,
        rig.running(Path(name)) as plane,
        Kubelets(plane.url, rig.ADMIN_TOKEN, plane.authority, Path(name)) as kubelets,
    ):
        kubelets.add(node("gpu-a", gpus=2))
        wait_for_nodes(kubelets)
        with _site(plane, kubelets, "bench-plain") as plain, _site(plane, kubelets, "bench-ours") as ours:
            ours.start_hub()
            plain.start_plain_hub(SAME_POD)
            return _measure({OURS: ours, PLAIN: plain}, STARTS * rounds, say)


@contextmanager
def _site(plane: rig.ControlPlane, kubelets: Kubelets, namespace: str) -> Iterator[Site]:
    folder = plane.folder / namespace
    folder.mkdir()
    site = Site(plane, kubelets, namespace, folder)
    site.install()
    try:
        yield site
    finally:
        site.end_hub()
        site.people.close()


def _measure(sites: dict[str, Site], starts: int, say: Callable[[str], None]) -> dict[str, list[float]]:
    for site in sites.values():
        wait_until(lambda site=site: site.is_signed_in(USER), "somebody is signed in")
    found: dict[str, list[float]] = {kind: [] for kind in sites}
    asked: dict[str, Any] = {}
    for number in range(starts + 1):
        took = {}
        for kind in in_turn(tuple(sites), number):
            took[kind] = _start(sites[kind], GPU if kind == OURS else {})
            asked[kind] = sites[kind].pods()[USER]["spec"]["containers"][0]["resources"]
            sites[kind].runs(USER)
            sites[kind].stop(USER)
            wait_until(lambda site=sites[kind]: not site.pods(), "the pod is gone")
        assert _amounts(asked[OURS]) == _amounts(asked[PLAIN]), f"not the same pods: {asked}"
        if number:
            for kind, seconds in took.items():
                found[kind].append(seconds)
        times = ", ".join(f"{kind} {1000 * seconds:.0f} ms" for kind, seconds in took.items())
        say(f"{f'start {number} of {starts}' if number else 'not counted'}: {times}")
    return found


def _start(site: Site, options: dict[str, Any]) -> float:
    """Ask for a session, and return after how many seconds its pod was bound."""
    watch = Watch(site)
    http = site.person(USER).http
    headers = {"X-XSRFToken": http.cookies.get("_xsrf", path="/hub/") or ""}
    began = time.perf_counter()
    # To the hub itself: the proxy in its process is that of the tests.
    url = f"http://127.0.0.1:{site.hub_port}/hub/api/users/{USER}/server"
    answer = http.post(url, json=options, headers=headers, timeout=BOUND_S)
    assert answer.ok, answer.text
    return watch.bound() - began


class Watch:
    """Sees, by a watch of the namespace's pods, when the first of them is bound."""

    def __init__(self, site: Site) -> None:
        """It is open when this returns, so that nothing is missed."""
        self._at: float | None = None
        self._http = requests.Session()
        self._http.trust_env = False
        self._http.headers["Authorization"] = f"Bearer {rig.ADMIN_TOKEN}"
        self._http.verify = str(site.plane.authority)
        url = f"{site.plane.url}/api/v1/namespaces/{site.namespace}/pods"
        self._answer = self._http.get(url, params={"watch": "1"}, stream=True, timeout=WATCH_S)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        rest = b""
        for chunk in self._answer.iter_content(chunk_size=None):  # as it comes: by bytes, larger pods would look slower
            now = time.perf_counter()
            *lines, rest = (rest + chunk).split(b"\n")
            if any(json.loads(line)["object"]["spec"].get("nodeName") for line in lines):
                self._at = now
                return

    def bound(self) -> float:
        """When that was, by `time.perf_counter`."""
        self._thread.join(BOUND_S)
        self._answer.close()
        self._http.close()
        assert self._at is not None, "no pod was bound"
        return self._at


def _amounts(resources: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Requests and limits, with the units of memory in bytes."""
    units = {"G": 1024**3, "Gi": 1024**3}

    def number(text: str) -> int:
        unit = text.lstrip("0123456789.")
        return int(float(text.removesuffix(unit)) * units.get(unit, 1))

    return {kind: {name: number(each) for name, each in amounts.items()} for kind, amounts in resources.items()}
