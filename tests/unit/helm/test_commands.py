"""The command line's part for a cluster, where no cluster answers."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest
import yaml
from sciencebox import cli, explain
from sciencebox.host.release import take
from sciencebox.host.steps import StepError
from sciencebox.settings import Settings

from tests.unit.helm.chart import CHART, EXAMPLES

if TYPE_CHECKING:
    from pathlib import Path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command as the program does; its status."""
    monkeypatch.setattr("sys.argv", ["sciencebox", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.app()
    return int(ended.value.code or 0)


@pytest.fixture
def charts(tmp_path: Path) -> Path:
    """The charts below ours, each with one pod."""
    for wanted in yaml.safe_load((CHART / "Chart.yaml").read_text())["dependencies"]:
        folder = tmp_path / "charts" / wanted["name"]
        (folder / "templates").mkdir(parents=True)
        description = {"apiVersion": "v2", "name": wanted["name"], "version": wanted["version"]}
        (folder / "Chart.yaml").write_text(yaml.safe_dump(description))
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": wanted["name"]}}
        pod["spec"] = {"containers": [{"name": "one", "image": f"registry.example.org/{wanted['name']}:1"}]}
        (folder / "templates/pod.yaml").write_text(yaml.safe_dump(pod))
    return tmp_path / "charts"


def test_the_schema_is_printed_for_editors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "settings", "schema") == 0
    assert json.loads(capsys.readouterr().out) == Settings.model_json_schema()
    target = tmp_path / "values.schema.json"
    target.write_text('{"title": "kept", "$defs": {"Old": {}}}')
    assert run(monkeypatch, "settings", "schema", "--write", str(target)) == 0
    expected = {"title": "kept", "$defs": explain.definitions(Settings.model_json_schema())}
    assert json.loads(target.read_text()) == expected


def test_the_images_to_mirror_are_listed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], helm: Path, charts: Path
) -> None:
    monkeypatch.setenv("PATH", f"{helm.parent}:{os.environ['PATH']}")
    example = next(each for each in EXAMPLES if each.stem == "mig")
    assert run(monkeypatch, "k8s-images", "--values", str(example), "--charts", str(charts)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "registry.example.org/cvmfs-csi:1",
        "registry.example.org/jupyterhub:1",
        "registry.example.org/nvidia-device-plugin:1",
    ]


def test_a_chart_that_is_switched_off_needs_no_images(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], helm: Path, charts: Path
) -> None:
    monkeypatch.setenv("PATH", f"{helm.parent}:{os.environ['PATH']}")
    example = next(each for each in EXAMPLES if each.stem == "one-node")
    assert run(monkeypatch, "k8s-images", "--values", str(example), "--charts", str(charts)) == 0
    assert "cvmfs-csi" not in capsys.readouterr().out


def test_images_are_built_where_no_service_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(cli, "_do", lambda steps: asked.extend(step.name for step in steps))
    assert run(monkeypatch, "images") == 0
    assert asked == ["Container engine", "Images"]


def test_a_mistake_in_the_values_ends_it_before_a_cluster_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    values = tmp_path / "values.yaml"
    values.write_text("sciencebox:\n  gpus: {max_per_sesion: 2}\n")
    assert run(monkeypatch, "deploy-k8s", "--values", str(values)) == 1
    told = capsys.readouterr().out
    assert f"{values}:2: unknown key `gpus.max_per_sesion`; did you mean `max_per_session`?" in told
    assert "Cluster" not in told


def test_a_file_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "deploy-k8s", "--values", str(tmp_path / "none.yaml")) == 1
    assert "none.yaml: cannot be read: No such file or directory." in capsys.readouterr().out
    (tmp_path / "packed.yaml").write_bytes(b"\x1f\x8b\xff")
    assert run(monkeypatch, "deploy-k8s", "--values", str(tmp_path / "packed.yaml")) == 1
    assert "packed.yaml: is not a text file in UTF-8." in capsys.readouterr().out


def test_without_tools_it_says_which(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(monkeypatch, "deploy-k8s", "--check", "--values", str(EXAMPLES[0])) == 1
    told = capsys.readouterr().out
    assert "kubectl" in told
    assert "helm" in told
    assert told.count("not installed") == 2


def test_a_chart_that_is_missing_or_of_another_version_is_not_taken(charts: Path, tmp_path: Path) -> None:
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(StepError, match=r"neither other-1\.0\.0\.tgz nor the folder other; `helm pull` gets it"):
        take(charts, "other", "1.0.0", into)
    with pytest.raises(StepError, match=r"is cvmfs-csi 2\.5\.2; this release was made with 9\.9\.9"):
        take(charts, "cvmfs-csi", "9.9.9", into)
    assert list(into.iterdir()) == []


def test_a_packed_chart_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts/other-1.0.0.tgz").write_bytes(b"packed")
    (tmp_path / "into").mkdir()
    take(tmp_path / "charts", "other", "1.0.0", tmp_path / "into")
    assert (tmp_path / "into/other-1.0.0.tgz").read_bytes() == b"packed"
