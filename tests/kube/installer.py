"""A cluster on which an administrator installs the chart: kubectl, helm, and charts that stand for those below ours."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import yaml
from sciencebox.host.kubectl import Tools
from sciencebox.host.release import Release

from tests.unit.helm.chart import CHART, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kube import rig

NAMESPACE = "sciencebox"
# What zero-to-jupyterhub would make, as far as ours stands on it; it never starts a container here.
JUPYTERHUB = """
{{- range list "hub" "proxy" }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ . }}, labels: {app: jupyterhub, component: {{ . }}}}
spec:
  replicas: {{ $.Values.replicas | default 0 }}
  selector: {matchLabels: {component: {{ . }}}}
  template:
    metadata:
      labels: {component: {{ . }}}
      annotations: {{ ($.Values.hub | default dict).annotations | default dict | toJson }}
    spec: {containers: [{name: {{ . }}, image: none}]}
{{- end }}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: hub}
---
apiVersion: v1
kind: Service
metadata: {name: proxy-public}
spec: {type: ClusterIP, ports: [{name: http, port: 80}]}
"""


@dataclass(frozen=True)
class Installer:
    """A cluster, and an administrator with kubectl and helm."""

    plane: rig.ControlPlane
    tools: Tools
    charts: Path

    def release(self, folder: Path, values: dict[str, Any], ready_s: int = 60) -> Release:
        """The service with these values, on a node that has just said that it lives."""
        self.plane.try_kubectl(
            *("patch", "node", "node-1", "--subresource=status", "--type=merge", f"--patch={_alive()}")
        )
        file = folder / "values.yaml"
        file.write_text(yaml.safe_dump(values))
        return Release(ROOT, file, self.tools, folder / "work", charts=self.charts, ready_s=ready_s)

    def may(self, who: str, *what: str) -> bool:
        """Whether somebody may do something."""
        return self.plane.try_kubectl("auth", "can-i", *what, f"--as={who}").stdout.strip() == "yes"

    def get(self, *what: str) -> dict[str, Any]:
        """An object of the service's namespace."""
        return json.loads(self.plane.kubectl("get", "--namespace", NAMESPACE, *what, "--output=json"))


def _alive() -> str:
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": now, "lastTransitionTime": now}
    return json.dumps({"status": {"conditions": [ready]}})


@contextmanager
def deployments(plane: rig.ControlPlane) -> Iterator[None]:
    """The controllers of Deployments and Jobs, which the rig has no other use for."""
    command = [plane.program, "kube-controller-manager", f"--kubeconfig={plane.kubeconfig}", "--leader-elect=false"]
    command += ["--secure-port=0", "--controllers=deployment-controller,replicaset-controller,job-controller"]
    with (plane.folder / "deployments.log").open("wb") as log:
        controllers = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield
        finally:
            controllers.terminate()
            controllers.wait()


def tools_of(plane: rig.ControlPlane, helm: Path, folder: Path) -> Tools:
    programs = folder / "bin"
    programs.mkdir()
    (programs / "helm").symlink_to(helm)
    (programs / "kubectl").write_text(f'#!/bin/sh\nexec {plane.program} kubectl "$@"\n')
    (programs / "kubectl").chmod(0o755)
    path = f"{programs}:{os.environ['PATH']}"
    return Tools(NAMESPACE, {"PATH": path, "HOME": str(folder), "KUBECONFIG": str(plane.kubeconfig)})


def charts_in(folder: Path) -> Path:
    """The charts below ours, with as little in them as ours needs."""
    for wanted in yaml.safe_load((CHART / "Chart.yaml").read_text())["dependencies"]:
        chart = folder / wanted["name"]
        (chart / "templates").mkdir(parents=True)
        description = {"apiVersion": "v2", "name": wanted["name"], "version": wanted["version"]}
        (chart / "Chart.yaml").write_text(yaml.safe_dump(description))
    (folder / "jupyterhub/templates/hub.yaml").write_text(JUPYTERHUB)
    return folder
