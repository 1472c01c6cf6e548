"""The chart as helm renders it, and what its network policies let through.

python -m tests.unit.helm.chart                   write golden/ anew
python -m tests.unit.helm.chart whole [FOLDER]    render with the charts that it depends on: fetched, or from FOLDER
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from tests import built

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).parents[3]
CHART = ROOT / "deploy/helm/sciencebox"
EXAMPLES = sorted((ROOT / "deploy/helm/examples").glob("*.yaml"))
GOLDEN = Path(__file__).parent / "golden"
# A helm that was built from its module does not know how old it is.
VERSION = ("--kube-version", "1.34.0")
APIS = ("--api-versions", "monitoring.coreos.com/v1,kueue.x-k8s.io/v1beta2")
MASKED = re.compile(r'(first_password: )"[^"]+"')


def find_helm() -> Path | None:
    """The helm of `make test-tools`, else the machine's own."""
    found = built.program("helm") or shutil.which("helm")
    return Path(found) if found else None


def alone(folder: Path) -> Path:
    """A copy of the chart without those that it depends on: helm renders nothing where they are missing."""
    copy = Path(shutil.copytree(CHART, folder / "sciencebox"))
    description = yaml.safe_load((CHART / "Chart.yaml").read_text())
    del description["dependencies"]
    (copy / "Chart.yaml").write_text(yaml.safe_dump(description))
    return copy


@dataclass(frozen=True)
class Chart:
    """helm and a copy of the chart."""

    helm: Path
    folder: Path
    apis: tuple[str, ...] = APIS
    namespace: str = "sciencebox"

    def try_render(self, *files: Path, **values: Any) -> subprocess.CompletedProcess[str]:
        """Render with files of values and, on top, whole values by name."""
        chosen = [argument for file in files for argument in ("--values", str(file))]
        chosen += [
            argument for name, value in values.items() for argument in ("--set-json", f"{name}={json.dumps(value)}")
        ]
        chosen += ["--namespace", self.namespace, *VERSION, *self.apis]
        command = [self.helm, "template", "sciencebox", self.folder]
        return subprocess.run([*command, *chosen], capture_output=True, text=True, check=False, cwd=self.folder)

    def render(self, *files: Path, **values: Any) -> str:
        """The same, as text. Raises ValueError with what helm says."""
        done = self.try_render(*files, **values)
        if done.returncode:
            raise ValueError(done.stderr)
        return done.stdout

    def objects(self, *files: Path, **values: Any) -> list[dict[str, Any]]:
        """The same, as objects."""
        return [each for each in yaml.safe_load_all(self.render(*files, **values)) if each]


def one(objects: list[dict[str, Any]], kind: str, name: str, namespace: str | None = None) -> dict[str, Any]:
    """The one object of this kind and name."""
    (found,) = (
        each
        for each in objects
        if each["kind"] == kind
        and each["metadata"]["name"] == name
        and namespace in (None, each["metadata"].get("namespace"))
    )
    return found


def lets_out(policy: Mapping[str, Any], address: str, port: int, protocol: str = "TCP") -> bool:
    """Whether a policy lets a pod reach an address that is no pod's (NetworkPolicy, networking.k8s.io/v1)."""
    for rule in policy["spec"]["egress"]:
        ports = rule.get("ports")
        named = ports is None or any((each["port"], each.get("protocol", "TCP")) == (port, protocol) for each in ports)
        if named and any(_within(peer["ipBlock"], address) for peer in rule["to"] if "ipBlock" in peer):
            return True
    return False


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects a pod."""
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def _within(block: Mapping[str, Any], address: str) -> bool:
    inside = ip_address(address) in ip_network(block["cidr"])
    return inside and not any(ip_address(address) in ip_network(each) for each in block.get("except", []))


def masked(rendered: str) -> str:
    """A rendering without what is random in it."""
    return MASKED.sub(r'\1"MASKED"', rendered)


def goldens(chart: Chart) -> Iterator[tuple[Path, str]]:
    """Each example's rendering and the file that it must equal."""
    for example in EXAMPLES:
        yield GOLDEN / example.name, masked(chart.render(example))


def main(arguments: list[str]) -> None:
    """See above."""
    helm = find_helm()
    if helm is None:
        print("The chart is left out: no helm; run `make test-tools`, or install it.")
        return
    with tempfile.TemporaryDirectory() as work:
        chart = Chart(helm, alone(Path(work)))
        if arguments[:1] == ["whole"]:
            _whole(helm, Path(work), Path(arguments[1]).resolve() if arguments[1:] else None)
        elif arguments == ["lint"]:
            _lint(chart)
        else:
            for file, text in goldens(chart):
                file.write_text(text)
                print(f"written: {file.relative_to(ROOT)}")


def _lint(chart: Chart) -> None:
    for example in EXAMPLES:
        command = [chart.helm, "lint", chart.folder, "--strict", "--quiet", "--values", example, *VERSION]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode or "WARNING" in done.stdout:
            sys.exit(f"{example.relative_to(ROOT)}: {done.stdout}{done.stderr}")
    print(f"The chart passes helm's checks with {len(EXAMPLES)} examples.")


def _whole(helm: Path, work: Path, charts: Path | None) -> None:
    """Every example with the real charts below ours."""
    from sciencebox.host.kubectl import Tools
    from sciencebox.host.release import Release

    tools = Tools("sciencebox", {**os.environ, "PATH": f"{helm.parent}:{os.environ['PATH']}"})
    for example in EXAMPLES:
        release = Release(ROOT, example, tools, work / example.stem, charts=charts)
        kinds = [each["kind"] for each in yaml.safe_load_all(release.render()) if each]
        print(f"{example.name}: {len(kinds)} objects, {len(release.images())} images")


if __name__ == "__main__":
    main(sys.argv[1:])
