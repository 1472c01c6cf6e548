"""A cluster on which an administrator installs the chart: kubectl, helm, and charts that stand for those below ours."""

from __future__ import annotations

import os
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml
from sciencebox.host.kubectl import Tools
from sciencebox.host.release import Release

from tests.fakes.kubelet import MERGE, alive
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
        """The service with these values."""
        file = folder / "values.yaml"
        file.write_text(yaml.safe_dump(values))
        return Release(ROOT, file, self.tools, folder / "work", charts=self.charts, ready_s=ready_s)

    def may(self, who: str, *what: str) -> bool:
        """Whether somebody may do something."""
        return self.plane.try_kubectl("auth", "can-i", *what, f"--as={who}").stdout.strip() == "yes"

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """An object of the service's namespace."""
        group = "apis/apps/v1" if kind == "deployments" else "api/v1"
        return self.plane.ask("GET", f"/{group}/namespaces/{NAMESPACE}/{kind}/{name}")


@contextmanager
def living_node(plane: rig.ControlPlane, name: str) -> Iterator[None]:
    """A node that says every second that it lives, and runs nothing."""
    path, ended = f"/api/v1/nodes/{name}", threading.Event()

    def say() -> None:
        plane.ask("PATCH", f"{path}/status", json={"status": {"conditions": [alive()]}}, headers=MERGE)

    def live() -> None:
        while not ended.wait(1):
            say()

    plane.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    say()
    thread = threading.Thread(target=live)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        plane.ask("DELETE", path)


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
