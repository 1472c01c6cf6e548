"""Asking a cluster, through kubectl and helm as the administrator has them. Nothing is judged."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sciencebox.host.kubernetes import Cluster
from sciencebox.host.steps import StepError

if TYPE_CHECKING:
    from collections.abc import Mapping

Said = subprocess.CompletedProcess[str]


@dataclass(frozen=True)
class Tools:
    """kubectl and helm, for one namespace."""

    namespace: str
    environment: Mapping[str, str]

    def kubectl(self, *arguments: str) -> Said:
        """Run kubectl. Raises StepError where it is not installed."""
        return self._run("kubectl", "--namespace", self.namespace, *arguments)

    def helm(self, *arguments: str) -> Said:
        """Run helm. Raises StepError where it is not installed."""
        return self._run("helm", "--namespace", self.namespace, *arguments)

    def get(self, *arguments: str) -> dict[str, Any]:
        """What `kubectl get` tells; empty where it tells nothing."""
        said = self.kubectl("get", *arguments, "--output=json")
        found: dict[str, Any] = json.loads(said.stdout) if said.returncode == 0 else {}
        return found

    def items(self, kind: str) -> tuple[dict[str, Any], ...]:
        """All objects of a kind, in the namespace or outside of any."""
        return tuple(self.get(kind).get("items", ()))

    def read(self, release: str) -> Cluster:
        """Look at the cluster and at what is installed there."""
        has_helm = shutil.which("helm", path=self.environment.get("PATH")) is not None
        helm = self.helm("version", "--template", "{{.Version}}").stdout.strip() if has_helm else ""
        if shutil.which("kubectl", path=self.environment.get("PATH")) is None:
            return Cluster(kubectl=False, helm=helm)
        version = self.kubectl("version", "--output=json")
        told = json.loads(version.stdout) if version.stdout.startswith("{") else {}
        if "serverVersion" not in told:
            lines = version.stderr.strip().splitlines() or ["it does not answer"]
            return Cluster(helm=helm, fault=lines[-1].rstrip("."))
        served = self.kubectl("api-versions").stdout
        return Cluster(
            helm=helm,
            context=self.kubectl("config", "current-context").stdout.strip(),
            version=told["serverVersion"]["gitVersion"],
            may_install=self.kubectl("auth", "can-i", "create", "clusterroles").stdout.strip() == "yes",
            nodes=self.items("nodes"),
            classes=self.items("storageclasses"),
            drivers=self._names("csidrivers"),
            runtimes=self._names("runtimeclasses"),
            prometheus="monitoring.coreos.com/v1" in served.split(),
            kueue="\nkueue.x-k8s.io/" in f"\n{served}",
            queues=self._names("localqueues.kueue.x-k8s.io"),
            status=self._status(release) if helm else "",
        )

    def _names(self, kind: str) -> frozenset[str]:
        return frozenset(each["metadata"]["name"] for each in self.items(kind))

    def _status(self, release: str) -> str:
        listed = self.helm("list", "--all", "--output", "json").stdout
        return next((each["status"] for each in json.loads(listed or "[]") if each["name"] == release), "")

    def _run(self, *command: str) -> Said:
        environment = dict(self.environment)
        try:
            return subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment
            )
        except OSError as error:
            raise StepError(f"`{command[0]}` cannot be run: {error.strerror}.") from error
