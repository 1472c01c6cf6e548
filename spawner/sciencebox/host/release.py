"""Installing the chart in a cluster, step by step. Running again is always right."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from rich.console import Console

from sciencebox.host import kubernetes, values
from sciencebox.host.kubernetes import Cluster
from sciencebox.host.row import State, failures
from sciencebox.host.steps import Screen, Step, StepError
from sciencebox.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sciencebox.host.kubectl import Said, Tools
    from sciencebox.host.row import Row
    from sciencebox.host.values import Values

CHART = Path("deploy/helm/sciencebox")
DEPLOYMENTS = ("hub", "proxy")
READY_S = 600
LOOK_S = 10
PAUSE_S = 1
WITHOUT_CLUSTER = ("--kube-version", "1.34.0", "--api-versions", "monitoring.coreos.com/v1,kueue.x-k8s.io/v1beta2")
# The hub reads its settings when it starts: what changes its pod's annotation starts another one.
ANNOTATION = "jupyterhub.hub.annotations.sciencebox/settings"


@dataclass
class Release:
    """One installation of the chart.

    `work` is an empty folder to put it together in; `charts` has those it depends on, where no registry answers.
    """

    checkout: Path
    file: Path
    tools: Tools
    work: Path
    name: str = "sciencebox"
    charts: Path | None = None
    ready_s: int = READY_S
    cluster: Cluster = field(default_factory=Cluster)
    _values: Values | None = None
    _gathered: bool = False

    @property
    def values(self) -> Values:
        """The file of values on top of the chart's own. Raises StepError with everything that is wrong in it."""
        if self._values is None:
            self._values = self._read_values()
        return self._values

    def steps(self) -> list[Step]:
        """Everything that `deploy-k8s` does, in order."""
        return [
            Step("Values", self.check_values),
            Step("Cluster", self.check_cluster),
            Step("Charts", self.gather_charts),
            Step("Service", self.install),
            Step("Ready", self.wait),
        ]

    def check_values(self, screen: Screen) -> str:
        """Read and check the file of values."""
        screen.log(json.dumps(self.values.merged))
        return str(self.file)

    def check_cluster(self, screen: Screen) -> str:
        """Look at the cluster; stop at what would make a later step fail."""
        table = self.rows()
        for row in table:
            if row.state is State.WARNING:
                screen.warn(f"{row.what}: {row.found}. {row.advice}")
        if failed := failures(table):
            raise StepError("\n".join(f"{row.what}: {row.found}. {row.advice}" for row in failed))
        return f"Kubernetes {self.cluster.version}, context {self.cluster.context or 'of this pod'}"

    def rows(self) -> list[Row]:
        """The table of checks."""
        self.cluster = self.tools.read(self.name)
        return kubernetes.rows(self.cluster, self.values, self.tools.namespace)

    def gather_charts(self, screen: Screen) -> str:
        """Put the chart and the pinned ones that it depends on together, outside the checkout."""
        chart = self._chart()
        if self.charts:
            pinned = yaml.safe_load((chart / "Chart.yaml").read_text(encoding="utf-8"))["dependencies"]
            for wanted in pinned:
                take(self.charts, wanted["name"], wanted["version"], chart / "charts")
            self._gathered = True
            return f"from {self.charts}"
        screen.now("helm dependency update")
        said = self.tools.helm("dependency", "update", str(chart))
        if said.returncode:
            advice = "Without network: CHARTS=FOLDER, see docs/kubernetes.md."
            raise StepError(f"The charts could not be fetched: {values.in_words(said.stderr)} {advice}", said.stderr)
        self._gathered = True
        return "fetched"

    def install(self, screen: Screen) -> str:
        """Install the release, or bring it to what the values say. Sessions go on."""
        screen.now("helm upgrade --install")
        digest = hashlib.sha256(self.values.settings.model_dump_json().encode()).hexdigest()[:16]
        chosen = ("--values", str(self.file), "--set-string", f"{ANNOTATION}={digest}")
        said = self.tools.helm("upgrade", "--install", self.name, str(self._chart()), "--create-namespace", *chosen)
        if said.returncode:
            raise StepError(values.in_words(said.stderr), said.stderr)
        return "upgraded" if self.cluster.status == "deployed" else "installed"

    def wait(self, screen: Screen) -> str:
        """Wait for hub and proxy. Where an upgrade does not come up, the release before is put back."""
        until = time.monotonic() + self.ready_s
        for name in DEPLOYMENTS:
            screen.now(f"waiting for {name}")
            while self._rollout(name).returncode:
                reasons = kubernetes.troubles(self.tools.items("pods"))
                if time.monotonic() > until:
                    raise self._gave_up(name, reasons)
                screen.now(f"waiting for {name}. {' '.join(reasons[:1])}")
                time.sleep(PAUSE_S)  # an API server that is away refuses at once
        return "hub and proxy run"

    def _rollout(self, name: str) -> Said:
        return self.tools.kubectl("rollout", "status", f"deployment/{name}", f"--timeout={min(LOOK_S, self.ready_s)}s")

    def summary(self) -> list[tuple[str, str]]:
        """Where the service is, and who signs in first."""
        namespace = self.tools.namespace
        secret = self.values.get("administrator", "existingSecret") or "sciencebox-administrator"
        given = self.tools.get("secret", secret).get("data", {}).get("first_password", "")
        told = f", first password {base64.b64decode(given).decode()}" if given else ""
        return [
            ("Address", kubernetes.address(self.values, self.tools.get("service", "proxy-public"), namespace)),
            ("Administrator", f"{self.values.settings.accounts.administrator}{told}"),
            ("One step back", f"helm --namespace {namespace} rollback {self.name}"),
        ]

    def render(self) -> str:
        """Everything that would be installed, as YAML. No cluster is asked."""
        if not self._gathered:
            self.gather_charts(Screen(Console(stderr=True)))
        said = self.tools.helm("template", self.name, str(self._chart()), "--values", str(self.file), *WITHOUT_CLUSTER)
        if said.returncode:
            raise StepError(values.in_words(said.stderr), said.stderr)
        return said.stdout

    def images(self) -> list[str]:
        """Every image that the release needs. No cluster is asked."""
        return values.images(self.render())

    def _gave_up(self, name: str, reasons: Sequence[str]) -> StepError:
        why = " ".join(reasons) or f"See `kubectl -n {self.tools.namespace} describe deployment {name}`."
        ending = "Mend it and run this again."
        if self.cluster.status == "deployed" and self.tools.helm("rollback", self.name).returncode == 0:
            ending = "The release before was put back."
        return StepError(f"{name} does not come up. {why} {ending}")

    def _read_values(self) -> Values:
        chart = self.checkout / CHART
        try:
            text = self.file.read_text(encoding="utf-8")
        except OSError as error:
            raise StepError(f"{self.file}: cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise StepError(f"{self.file}: is not a text file in UTF-8.") from error
        defaults = yaml.safe_load((chart / "values.yaml").read_text(encoding="utf-8"))
        schema = json.loads((chart / "values.schema.json").read_text(encoding="utf-8"))
        try:
            return values.read(text, str(self.file), defaults, schema)
        except SettingsError as error:
            raise StepError(str(error)) from error

    def _chart(self) -> Path:
        """A copy of the chart to work with."""
        copy = self.work / "sciencebox"
        if not copy.exists():
            shutil.copytree(self.checkout / CHART, copy)
            (copy / "charts").mkdir(exist_ok=True)
        return copy


def take(charts: Path, name: str, version: str, into: Path) -> None:
    """Copy a chart, packed or as a folder. Raises StepError where it is missing or has another version."""
    packed, folder = charts / f"{name}-{version}.tgz", charts / name
    if packed.is_file():
        shutil.copy(packed, into)
        return
    if not (folder / "Chart.yaml").is_file():
        advice = "`helm pull` gets it, see docs/kubernetes.md."
        raise StepError(f"{charts} has neither {packed.name} nor the folder {name}; {advice}")
    found = str(yaml.safe_load((folder / "Chart.yaml").read_text(encoding="utf-8"))["version"])
    if found != version:
        raise StepError(f"{folder} is {name} {found}; this release was made with {version}.")
    shutil.copytree(folder, into / name)
