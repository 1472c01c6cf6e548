"""A control plane of Kubernetes for the tests: etcd, API server, controllers and scheduler, on this machine's loopback.

They are the real programs, with RBAC. Only kubelets are missing: `tests/fakes/kubelet.py` is what keeps nodes alive.
Everything lies in one folder and ends with the context; nothing of the machine is changed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import requests

from tests import built
from tests.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ADMIN_TOKEN = "the-tests-administrator"
START_S = 90
STOP_S = 20
POLL_S = 0.05
# A node is lost after seconds, not minutes, so that a test can wait for it.
NODE_LOST_S = 4
_APPLY = {"Content-Type": "application/apply-patch+yaml"}  # JSON is YAML
CONTROLLERS = (
    "garbage-collector-controller",
    "namespace-controller",
    "node-lifecycle-controller",
    "persistentvolume-binder-controller",
    "persistentvolumeclaim-protection-controller",
    "pod-garbage-collector-controller",
    "resourcequota-controller",
    "serviceaccount-controller",
    "taint-eviction-controller",
)


class RigError(RuntimeError):
    """A control plane cannot be had here; the message says what is missing."""


def tool(name: str, what: str) -> Path:
    """A program of `make test-tools`. Raises RigError with what is missing."""
    found = built.program(name)
    if found is None:
        raise RigError(f"no {what}: run `make test-tools` (Go, 15 minutes, once)")
    return found


def program() -> Path:
    """The one program that is all parts of Kubernetes. Raises RigError."""
    return tool("kubernetes", "control plane of Kubernetes")


def api_session(token: str, authority: Path) -> requests.Session:
    """Asks the API server as the owner of the token."""
    http = requests.Session()
    http.trust_env = False
    http.headers["Authorization"] = f"Bearer {token}"
    http.verify = str(authority)
    return http


@dataclass
class ControlPlane:
    """A running control plane. `folder` has its data, logs and credentials."""

    program: Path
    folder: Path
    ports: dict[str, int]
    parts: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    node_lost_s: int = NODE_LOST_S

    @property
    def url(self) -> str:
        """The API server."""
        return f"https://127.0.0.1:{self.ports['api']}"

    @property
    def authority(self) -> Path:
        """The certificate that the API server made for itself."""
        return self.folder / "certificates/apiserver.crt"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.folder / "admin.kubeconfig"

    def write_kubeconfig(self, name: str, token: str, namespace: str = "default") -> Path:
        """Credentials of one user, for every client of Kubernetes."""
        cluster = {"server": self.url, "certificate-authority": str(self.authority)}
        path = self.folder / f"{name}.kubeconfig"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "tests",
                    "clusters": [{"name": "tests", "cluster": cluster}],
                    "users": [{"name": name, "user": {"token": token}}],
                    "contexts": [
                        {"name": "tests", "context": {"cluster": "tests", "user": name, "namespace": namespace}}
                    ],
                }
            ),
            encoding="utf-8",
        )
        return path

    def kubectl(self, *arguments: str, stdin: str = "", kubeconfig: Path | None = None) -> str:
        """What `kubectl` answers, as the administrator or as somebody else. Raises CalledProcessError."""
        done = self.try_kubectl(*arguments, stdin=stdin, kubeconfig=kubeconfig)
        if done.returncode:
            raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def try_kubectl(
        self, *arguments: str, stdin: str = "", kubeconfig: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """The same, whatever comes of it."""
        return subprocess.run(
            [self.program, "kubectl", f"--kubeconfig={kubeconfig or self.kubeconfig}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "HOME": str(self.folder)},
        )

    def ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """What the API server answers, as to `kubectl`, which takes longer. Raises HTTPError."""
        answer = self._http.request(method, f"{self.url}{path}", timeout=30, **options)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def has(self, path: str) -> bool:
        """Whether there is an object at a path of the API."""
        return self._http.get(f"{self.url}{path}", timeout=30).ok

    @cached_property
    def _http(self) -> requests.Session:
        return api_session(ADMIN_TOKEN, self.authority)

    def apply(self, *objects: dict[str, Any]) -> None:
        """Create these, or change them."""
        how = {"params": {"fieldManager": "tests", "force": "true"}, "headers": _APPLY}
        for each in objects:
            self.ask("PATCH", _path(each), json=each, **how)

    def start(self, part: str) -> None:
        """Start one part, which must not be running."""
        with (self.folder / f"{part}.log").open("ab") as log:
            self.parts[part] = subprocess.Popen(
                [self.program, part, *self._arguments(part)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
            )

    def end(self, part: str, how: signal.Signals = signal.SIGTERM) -> None:
        """End one part and wait until it is gone."""
        process = self.parts.pop(part)
        process.send_signal(how)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def wait_until_ready(self) -> None:
        """Wait for the API server. Raises RigError with what it said last."""
        deadline = time.monotonic() + START_S
        while not self._is_ready():
            for part, process in self.parts.items():
                if process.poll() is not None or time.monotonic() > deadline:
                    log = (self.folder / f"{part}.log").read_text(encoding="utf-8", errors="replace")
                    raise RigError(f"{part} did not start:\n{log[-3000:]}")
            time.sleep(POLL_S)

    def _is_ready(self) -> bool:
        if not self.authority.exists():
            return False
        try:
            return self._http.get(f"{self.url}/readyz", timeout=5).ok
        except (requests.RequestException, OSError):
            return False

    def _arguments(self, part: str) -> list[str]:
        etcd = f"http://127.0.0.1:{self.ports['etcd']}"
        key = self.folder / "service-accounts.key"
        kubeconfig = f"--kubeconfig={self.kubeconfig}"
        if part == "etcd":
            peers = f"http://127.0.0.1:{self.ports['peer']}"
            return [
                f"--data-dir={self.folder / 'etcd'}",
                f"--listen-client-urls={etcd}",
                f"--advertise-client-urls={etcd}",
                f"--listen-peer-urls={peers}",
                f"--initial-advertise-peer-urls={peers}",
                f"--initial-cluster=default={peers}",
                "--unsafe-no-fsync",
                "--log-level=error",
            ]
        if part == "kube-apiserver":
            return [
                f"--etcd-servers={etcd}",
                "--bind-address=127.0.0.1",
                f"--secure-port={self.ports['api']}",
                f"--cert-dir={self.authority.parent}",
                f"--token-auth-file={self.folder / 'tokens.csv'}",
                "--authorization-mode=RBAC",
                "--service-cluster-ip-range=10.0.0.0/24",
                "--endpoint-reconciler-type=none",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={key}",
                f"--service-account-signing-key-file={key}",
                "--default-unreachable-toleration-seconds=1",
                "--default-not-ready-toleration-seconds=1",
                # For APIs that others serve behind this one; the certificate is its own authority.
                f"--requestheader-client-ca-file={self.folder / 'front-proxy.crt'}",
                "--requestheader-username-headers=X-Remote-User",
                "--requestheader-group-headers=X-Remote-Group",
                "--requestheader-extra-headers-prefix=X-Remote-Extra-",
                f"--proxy-client-cert-file={self.folder / 'front-proxy.crt'}",
                f"--proxy-client-key-file={self.folder / 'front-proxy.key'}",
            ]
        if part == "kube-controller-manager":
            return [
                kubeconfig,
                "--leader-elect=false",
                "--secure-port=0",
                f"--controllers={','.join(CONTROLLERS)}",
                f"--service-account-private-key-file={key}",
                "--node-monitor-period=500ms",
                f"--node-monitor-grace-period={self.node_lost_s}s",
            ]
        return [kubeconfig, "--leader-elect=false", "--secure-port=0"]


def _path(one: dict[str, Any]) -> str:
    """Where an object is in the API."""
    version, kind, metadata = one["apiVersion"], one["kind"].lower(), one["metadata"]
    group = f"apis/{version}" if "/" in version else f"api/{version}"
    place = f"namespaces/{metadata['namespace']}/" if "namespace" in metadata else ""
    return f"/{group}/{place}{kind}{'es' if kind.endswith('s') else 's'}/{metadata['name']}"


def make_certificate(folder: Path, file: str, name: str) -> None:
    """A certificate for a name that is its own authority, as `file`.crt and `file`.key."""
    subject = ("-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-days", "2")
    files = ("-keyout", folder / f"{file}.key", "-out", folder / f"{file}.crt")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, *files]
    subprocess.run(command, check=True, capture_output=True)


@contextmanager
def running(folder: Path, node_lost_s: int = NODE_LOST_S) -> Iterator[ControlPlane]:
    """A control plane that is ready, until the context ends. Raises RigError."""
    ports = dict(zip(("etcd", "peer", "api"), free_ports(3), strict=True))
    plane = ControlPlane(program(), folder, ports, node_lost_s=node_lost_s)
    folder.joinpath("tokens.csv").write_text(f'{ADMIN_TOKEN},admin,1,"system:masters"\n', encoding="utf-8")
    subprocess.run(
        ["openssl", "genrsa", "-out", folder / "service-accounts.key", "2048"], check=True, capture_output=True
    )
    make_certificate(folder, "front-proxy", "front-proxy")
    plane.write_kubeconfig("admin", ADMIN_TOKEN)
    try:
        plane.start("etcd")
        plane.start("kube-apiserver")
        plane.wait_until_ready()
        plane.start("kube-controller-manager")
        plane.start("kube-scheduler")
        yield plane
    finally:
        plane._http.close()
        for part in reversed(list(plane.parts)):
            plane.end(part, signal.SIGKILL)  # an API server that is asked waits for its watchers; nothing is kept
