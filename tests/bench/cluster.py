"""The spawn form on a large cluster: a real API server, with hundreds of nodes and thousands of pods that pretend."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import requests

from tests.fakes.kubelet import A100, Kubelets, node
from tests.kube import rig
from tests.kube.site import Site
from tests.service import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

NODES, GPUS, WAITING = 500, 4, 200
MODELS = (A100, "Tesla-T4", "NVIDIA-H100-80GB-HBM3")
REQUESTS = 20  # a round
CHURN_S = 0.2  # a pod comes and one goes so often while the form is asked for
NAMESPACE = "large"
_LISTS = re.compile(r'^apiserver_request_total{.*resource="(?:pods|nodes)".*verb="LIST".*} (\d+)', re.MULTILINE)


def form_on_a_cluster(rounds: int, say: Callable[[str], None]) -> dict[str, list[float]]:
    """Seconds of each request for the form, the hub's processor time for one, its memory in bytes, and list calls."""
    with tempfile.TemporaryDirectory(prefix="sciencebox-bench-") as name, rig.running(Path(name), 3600) as plane:
        kubelets = Kubelets(plane.url, rig.ADMIN_TOKEN, plane.authority, Path(name))
        site = Site(plane, kubelets, NAMESPACE, Path(name))
        site.install()
        say(f"{NODES} nodes and {NODES * GPUS + WAITING} pods")
        crowd = Crowd(plane)
        crowd.fill()
        site.start_hub()
        try:
            return _measure(site, crowd, rounds, say)
        finally:
            site.end_hub()
            site.people.close()
            kubelets._run.close()


def versions() -> str:
    """What is measured."""
    asked = [rig.program(), "kube-apiserver", "--version"]
    kubernetes = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    hub, spawner = version("jupyterhub"), version("jupyterhub-kubespawner")
    return f"JupyterHub {hub}, KubeSpawner {spawner}, {kubernetes}"


def _measure(site: Site, crowd: Crowd, rounds: int, say: Callable[[str], None]) -> dict[str, list[float]]:
    wait_until(lambda: site.is_signed_in("ada"), "somebody is signed in")
    person = site.person("ada")
    wait_until(lambda: f"0 of {NODES * GPUS} free" in person.get("spawn").text, "the form counts")
    times: list[float] = []
    with crowd.moving():
        before, cpu = crowd.lists(), _cpu_s(site)
        for number in range(rounds):
            for _ in range(REQUESTS):
                began = time.perf_counter()
                assert person.get("spawn").ok
                times.append(time.perf_counter() - began)
            say(f"round {number + 1} of {rounds}: {1000 * sorted(times[-REQUESTS:])[REQUESTS // 2]:.0f} ms")
        lists, cpu = crowd.lists() - before, _cpu_s(site) - cpu
    assert site.process is not None
    status = Path(f"/proc/{site.process.pid}/status").read_text(encoding="utf-8")
    resident = int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024
    return {
        "form": times,
        "cpu": [cpu / len(times)],
        "hub_bytes": [float(resident)],
        "lists": [float(lists)],
    }


def _cpu_s(site: Site) -> float:
    """Processor time that the hub has used."""
    assert site.process is not None
    fields = Path(f"/proc/{site.process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Crowd:
    """All nodes and pods of the large cluster, made by the API without a kubelet."""

    def __init__(self, plane: rig.ControlPlane) -> None:
        self._plane = plane
        self._local = threading.local()
        self._ended = threading.Event()

    def fill(self) -> None:
        """Nodes, a pod on each of their GPUs, and those that wait."""
        with ThreadPoolExecutor(8) as many:
            nodes = (node(f"n{n}", GPUS, product=MODELS[n % len(MODELS)]) for n in range(NODES))
            list(many.map(lambda one: self._post("/api/v1/nodes", one), nodes))
            held = (_pod(f"held-{n}", f"n{n // GPUS}") for n in range(NODES * GPUS))
            list(many.map(self._post_pod, held))
            list(many.map(self._post_pod, (_pod(f"waits-{n}") for n in range(WAITING))))

    def moving(self) -> Crowd:
        """As a context: pods come and go."""
        return self

    def __enter__(self) -> None:
        self._thread = threading.Thread(target=self._move, daemon=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def lists(self) -> int:
        """How many list calls of nodes and pods the API server has answered."""
        return sum(map(int, _LISTS.findall(self._http.get(f"{self._plane.url}/metrics", timeout=60).text)))

    def _move(self) -> None:
        number = 0
        while not self._ended.wait(CHURN_S):
            self._post_pod(_pod(f"comes-{number}"))
            if number:
                place = f"{self._plane.url}/api/v1/namespaces/{NAMESPACE}/pods/comes-{number - 1}"
                self._http.delete(place, json={"gracePeriodSeconds": 0}, timeout=60)
            number += 1

    def _post_pod(self, pod: dict[str, Any]) -> None:
        self._post(f"/api/v1/namespaces/{NAMESPACE}/pods", pod)

    def _post(self, path: str, described: dict[str, Any]) -> None:
        self._http.post(f"{self._plane.url}{path}", json=described, timeout=60).raise_for_status()

    @property
    def _http(self) -> requests.Session:
        """One for each thread."""
        if not hasattr(self._local, "http"):
            self._local.http = http = requests.Session()
            http.trust_env = False
            http.headers["Authorization"] = f"Bearer {rig.ADMIN_TOKEN}"
            http.verify = str(self._plane.authority)
        found: requests.Session = self._local.http
        return found


def _pod(name: str, on: str = "") -> dict[str, Any]:
    amounts = {"nvidia.com/gpu": "1", "cpu": "1", "memory": "1Gi"}
    container = {"name": "notebook", "image": "none", "resources": {"limits": amounts}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": {"hub.jupyter.org/username": name}},
        "spec": {"containers": [container], **({"nodeName": on} if on else {})},
    }
