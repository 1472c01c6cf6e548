"""Kubelets that only pretend: nodes with GPUs that do not exist, for the tests' control plane.

They keep their nodes alive by renewing leases, say of pods that are bound to them that they run, and remove those that
are to be deleted. A pod of the single-user server becomes a process, so that a session is really reached.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import requests

from tests.kube.rig import api_session

if TYPE_CHECKING:
    from collections.abc import Mapping

A100 = "NVIDIA-A100-SXM4-80GB"
EVERY_S = 0.1
LEASE_EVERY_S = 1.0
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
MERGE = {"Content-Type": "application/merge-patch+json"}


def now() -> str:
    """As the API writes times."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def node(
    name: str,
    gpus: int = 2,
    *,
    product: str = A100,
    memory_mib: int = 81920,
    resources: Mapping[str, int] | None = None,
    labels: Mapping[str, str] | None = None,
    taints: tuple[str, ...] = (),
) -> dict[str, Any]:
    """A node as NVIDIA's device plugin and feature discovery leave it. `resources` are instead of whole GPUs."""
    offered = resources if resources is not None else {"nvidia.com/gpu": gpus} if gpus else {}
    amounts = {"cpu": "16", "memory": "64Gi", "pods": "110", **{key: str(value) for key, value in offered.items()}}
    described = {"nvidia.com/gpu.product": product, "nvidia.com/gpu.memory": str(memory_mib)} if offered else {}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **described, **(labels or {})}},
        "spec": {"taints": [{"key": key, "effect": "NoSchedule"} for key in taints]},
        "status": {"capacity": amounts, "allocatable": amounts, "conditions": [alive()]},
    }


def alive() -> dict[str, str]:
    """What a node says of itself that lives."""
    return {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "message": "it only pretends",
        "lastHeartbeatTime": now(),
        "lastTransitionTime": now(),
    }


class _Answer(BaseHTTPRequestHandler):
    """What the hub asks of a session that only pretends."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@dataclass
class Kubelets:
    """All kubelets of a cluster. `serve` is whether a session becomes a process; else a little server is in its place.

    `broken` is by pod's name what keeps it from running: the reason for which its container waits. `warned` is the same
    for what only an event tells, its reason and message.
    """

    url: str
    token: str
    authority: Path
    folder: Path
    serve: bool = False
    nodes: set[str] = field(default_factory=set)
    broken: dict[str, str] = field(default_factory=dict)
    warned: dict[str, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._look, self._renew)]
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._servers: dict[str, ThreadingHTTPServer] = {}
        self._told: set[str] = set()
        self._network = f"{random.randint(64, 250)}"  # others may pretend on this machine, too
        self._addresses = random.randint(0, 60_000)
        self._run = self._new_session()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(10)
        for uid in [*self._processes, *self._servers]:
            self._kill(uid)
        self._run.close()

    def add(self, described: Mapping[str, Any]) -> None:
        """A node joins the cluster."""
        name = described["metadata"]["name"]
        with self._new_session() as http:
            http.post(f"{self.url}/api/v1/nodes", json=described, timeout=10).raise_for_status()
        self.nodes.add(name)

    def lose(self, name: str) -> None:
        """A node no longer answers: nobody renews its lease, and nobody ends its pods."""
        self.nodes.discard(name)

    def remove(self, name: str) -> None:
        """A node leaves the cluster."""
        self.lose(name)
        with self._new_session() as http:
            http.delete(f"{self.url}/api/v1/nodes/{name}", timeout=10).raise_for_status()

    # What goes on beside the test. A control plane that is away is tried again.

    def _new_session(self) -> requests.Session:
        return api_session(self.token, self.authority)

    def _renew(self) -> None:
        with self._new_session() as http:
            while not self._ended.wait(LEASE_EVERY_S):
                for name in list(self.nodes):
                    lease = {
                        "apiVersion": "coordination.k8s.io/v1",
                        "kind": "Lease",
                        "metadata": {"name": name},
                        "spec": {
                            "holderIdentity": name,
                            "leaseDurationSeconds": 4,
                            "renewTime": now().replace("Z", ".000000Z"),
                        },
                    }
                    ready = {"status": {"conditions": [alive()]}}
                    try:
                        url = f"{self.url}{LEASES}"
                        answer = http.patch(f"{url}/{name}", json=lease, headers=MERGE, timeout=5)
                        if answer.status_code == 404:
                            http.post(url, json=lease, timeout=5)
                        http.patch(f"{self.url}/api/v1/nodes/{name}/status", json=ready, headers=MERGE, timeout=5)
                    except requests.RequestException:
                        continue

    def _look(self) -> None:
        while not self._ended.wait(EVERY_S):
            try:
                pods = self._run.get(f"{self.url}/api/v1/pods?resourceVersion=0", timeout=5).json()["items"]
                for pod in pods:
                    if pod["spec"].get("nodeName") in self.nodes:
                        self._see(pod)
                for uid in {*self._processes, *self._servers} - {pod["metadata"]["uid"] for pod in pods}:
                    self._kill(uid)
            except (requests.RequestException, KeyError, OSError):
                continue  # the API server is away, or an address is taken: at the next look it is another one

    def _see(self, pod: dict[str, Any]) -> None:
        metadata, status = pod["metadata"], pod["status"]
        uid = metadata["uid"]
        path = f"{self.url}/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        if "deletionTimestamp" in metadata:
            self._kill(uid)
            self._run.delete(path, json={"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}, timeout=5)
        elif status["phase"] == "Pending":
            self._run.patch(f"{path}/status", json={"status": self._begin(pod)}, headers=MERGE, timeout=5)
        elif uid in self._processes and (code := self._processes[uid].poll()) is not None:
            ended = {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed"}}
            report = {"phase": "Failed" if code else "Succeeded", "containerStatuses": _containers(pod, False, ended)}
            self._run.patch(f"{path}/status", json={"status": report}, headers=MERGE, timeout=5)
            del self._processes[uid]

    def _begin(self, pod: dict[str, Any]) -> dict[str, Any]:
        """The status of a pod that starts."""
        name = pod["metadata"]["name"]
        if name in self.warned:
            self._warn(pod, *self.warned[name])
        reason = "ContainerCreating" if name in self.warned else self.broken.get(name)
        if reason:
            return {
                "containerStatuses": _containers(pod, False, {"waiting": {"reason": reason, "message": "pretended"}})
            }
        self._addresses += 1
        address = f"127.{self._network}.{self._addresses // 250}.{self._addresses % 250 + 1}"
        uid = pod["metadata"]["uid"]
        if self.serve:
            self._processes[uid] = self._start(pod, address)
        else:
            self._servers[uid] = server = ThreadingHTTPServer((address, 8888), _Answer)
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": now(),
            "containerStatuses": _containers(pod, True, {"running": {"startedAt": now()}}),
        }

    def _warn(self, pod: dict[str, Any], reason: str, message: str) -> None:
        """Tell of a pod by an event, once."""
        metadata = pod["metadata"]
        if metadata["uid"] in self._told:
            return
        about = {key: metadata[key] for key in ("name", "namespace", "uid")}
        event = {
            "metadata": {"generateName": f"{metadata['name']}.", "namespace": metadata["namespace"]},
            "involvedObject": {"apiVersion": "v1", "kind": "Pod", **about},
            "type": "Warning",
            "reason": reason,
            "message": message,
            "source": {"component": "kubelet"},
            "lastTimestamp": now(),
        }
        url = f"{self.url}/api/v1/namespaces/{metadata['namespace']}/events"
        self._run.post(url, json=event, timeout=5).raise_for_status()
        self._told.add(metadata["uid"])

    def _start(self, pod: dict[str, Any], address: str) -> subprocess.Popen[bytes]:
        """The pod's server as a process of this machine, at the pod's address."""
        container = pod["spec"]["containers"][0]
        given = {one["name"]: one.get("value", "") for one in container["env"]}
        home = self.folder / pod["metadata"]["name"]
        home.mkdir(exist_ok=True)
        for name in ("JUPYTERHUB_SERVICE_URL", "JUPYTERHUB_HTTP_REFERER"):
            given[name] = given.get(name, "").replace("0.0.0.0", address)
        own = {"HOME": str(home), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        with (home / "server.log").open("ab") as log:
            return subprocess.Popen(
                [*container["args"], "--allow-root"],
                env={**given, **own, "SHELL": "/bin/bash"},
                cwd=home,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _kill(self, uid: str) -> None:
        if process := self._processes.pop(uid, None):
            process.kill()
            process.wait()
        if server := self._servers.pop(uid, None):
            server.shutdown()
            server.server_close()


def _containers(pod: dict[str, Any], ready: bool, state: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": container["name"],
            "image": container["image"],
            "imageID": "",
            "ready": ready,
            "restartCount": 0,
            "state": state,
        }
        for container in pod["spec"]["containers"]
    ]


def wait_for_nodes(kubelets: Kubelets, seconds: float = 20) -> None:
    """Until the scheduler may use every node."""
    deadline = time.monotonic() + seconds
    with kubelets._new_session() as http:
        while time.monotonic() < deadline:
            nodes = http.get(f"{kubelets.url}/api/v1/nodes", timeout=5).json()["items"]
            held_back = [
                n for n in nodes for taint in n["spec"].get("taints", ()) if "node.kubernetes.io" in taint["key"]
            ]
            if not held_back and len(nodes) >= len(kubelets.nodes):
                return
            time.sleep(EVERY_S)
    raise AssertionError("the nodes do not become ready")
