"""The real controller of Kueue beside the tests' control plane, with queues of a quota of GPUs.

It runs in a root folder of its own, for the place of its certificates is fixed. Of its installation there are the
definitions, the webhooks of pods and of its own objects, and the API of places in queues.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import yaml

from tests.kube import rig
from tests.ports import free_ports
from tests.service import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMESPACE = "kueue-system"
HOST = "localhost"
VERSION = "v1beta2"
CERTIFICATES = ("etc/kueue/metrics/certs", "visibility")
_OURS = ("/mutate--v1-pod", "/validate--v1-pod", "kueue-x-k8s-io")  # paths of webhooks
_OUTSIDE = {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", NAMESPACE]}


@contextmanager
def running(plane: rig.ControlPlane) -> Iterator[None]:
    """Kueue, until the context ends; nothing of it is left that would get in another's way. Raises RigError."""
    built = rig.tool("kueue", "Kueue").parent
    webhook, visibility = free_ports(2)
    root = plane.folder / "kueue"
    _make_root(plane, built, root, webhook)
    plane.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    # Too large for what `apply` notes otherwise.
    plane.kubectl("apply", "--server-side", "-f", str(built / "components/crd/bases"))
    plane.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
    hooks = _webhooks(built, root, webhook)
    command = ["/kueue", "--config=/config.yaml", "--kubeconfig=/kubeconfig", f"--visibility-server-port={visibility}"]
    inside = ["chroot", root] if os.geteuid() == 0 else ["unshare", "-r", "chroot", root]
    with (root / "log").open("wb") as log:
        process = subprocess.Popen([*inside, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        plane.apply(*hooks, *_visibility(visibility))
        wait_until(lambda: _tells_places(plane, process, root), "Kueue answers")
        yield
    finally:
        for each in (*hooks, *_visibility(visibility)):
            plane.try_kubectl("-n", NAMESPACE, "delete", each["kind"], each["metadata"]["name"])
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def queue(plane: rig.ControlPlane, namespace: str, name: str, gpus: int) -> None:
    """A LocalQueue of a namespace, with a quota of GPUs and more of the rest than anybody needs."""
    quotas = {"cpu": "1000", "memory": "1000Gi", "nvidia.com/gpu": str(gpus)}
    flavor = {"name": name, "resources": [{"name": key, "nominalQuota": amount} for key, amount in quotas.items()]}
    groups = [{"coveredResources": list(quotas), "flavors": [flavor]}]
    one = {"apiVersion": f"kueue.x-k8s.io/{VERSION}", "metadata": {"name": name}}
    plane.apply(
        {**one, "kind": "ResourceFlavor"},
        {**one, "kind": "ClusterQueue", "spec": {"namespaceSelector": {}, "resourceGroups": groups}},
        {
            **one,
            "kind": "LocalQueue",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"clusterQueue": name},
        },
    )


def _make_root(plane: rig.ControlPlane, built: Path, root: Path, webhook: int) -> None:
    """Everything that the program reads."""
    for folder in (*CERTIFICATES, "tmp"):
        (root / folder).mkdir(parents=True)
    shutil.copy(built / "kueue", root / "kueue")
    shutil.copy("/etc/hosts", root / "etc/hosts")
    for folder in CERTIFICATES:
        rig.make_certificate(root / folder, "tls", HOST)
    kubeconfig = json.loads(plane.kubeconfig.read_text(encoding="utf-8"))
    cluster = kubeconfig["clusters"][0]["cluster"]
    del cluster["certificate-authority"]
    cluster["certificate-authority-data"] = base64.b64encode(plane.authority.read_bytes()).decode()
    (root / "kubeconfig").write_text(json.dumps(kubeconfig), encoding="utf-8")
    config = {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "namespace": NAMESPACE,
        "health": {"healthProbeBindAddress": "0"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"port": webhook, "host": "127.0.0.1", "certDir": f"/{CERTIFICATES[0]}"},
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "integrations": {"frameworks": ["pod"]},
    }
    (root / "config.yaml").write_text(json.dumps(config), encoding="utf-8")


def _webhooks(built: Path, root: Path, port: int) -> list[dict[str, Any]]:
    """The webhooks that Kueue is installed with, as far as they matter here."""
    authority = base64.b64encode((root / CERTIFICATES[0] / "tls.crt").read_bytes()).decode()
    found = []
    for each in yaml.safe_load_all((built / "components/webhook/manifests.yaml").read_text(encoding="utf-8")):
        kept = []
        for hook in each["webhooks"]:
            path = hook["clientConfig"]["service"]["path"]
            if any(part in path for part in _OURS):
                client = {"url": f"https://{HOST}:{port}{path}", "caBundle": authority}
                kept.append({**hook, "clientConfig": client, "namespaceSelector": {"matchExpressions": [_OUTSIDE]}})
        found.append({**each, "metadata": {"name": f"kueue-{each['metadata']['name']}"}, "webhooks": kept})
    return found


def _visibility(port: int) -> list[dict[str, Any]]:
    """The API of places, which the API server asks of Kueue."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "visibility", "namespace": NAMESPACE},
            "spec": {"type": "ExternalName", "externalName": HOST, "ports": [{"port": port}]},
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{VERSION}.visibility.kueue.x-k8s.io"},
            "spec": {
                "group": "visibility.kueue.x-k8s.io",
                "version": VERSION,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "insecureSkipTLSVerify": True,
                "service": {"name": "visibility", "namespace": NAMESPACE, "port": port},
            },
        },
    ]


def _tells_places(plane: rig.ControlPlane, process: subprocess.Popen[bytes], root: Path) -> bool:
    assert process.poll() is None, (root / "log").read_text(encoding="utf-8", errors="replace")[-3000:]
    return not plane.try_kubectl("get", "--raw", f"/apis/visibility.kueue.x-k8s.io/{VERSION}").returncode
