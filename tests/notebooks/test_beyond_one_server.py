"""`40_beyond_one_server`: on a single server, and the part of it that sends a job to a cluster."""

from __future__ import annotations

import json
import os
import re
import subprocess
from subprocess import PIPE
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

import pytest

from tests.notebooks.conftest import NOTEBOOKS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.notebooks.conftest import Executed, Kernels

NAME = "40_beyond_one_server"
REPORT = {"workers": 2, "losses": [0.5]}


@pytest.mark.notebooks
def test_two_workers_learn_what_one_does_and_the_job_is_written(synthetic: Executed) -> None:
    done = synthetic
    assert done.complaints == []
    assert done.figures == 1
    assert "SYNTHETIC heads, drawn by the program" in done.shown
    assert float(re.search(r"Largest difference of a loss\s+(\S+)", done.shown)[1]) < 1e-4  # type: ignore[index]
    assert "Nothing was sent." in done.shown
    assert re.search(r"Spark\s+4\.3\.0, \d+ parts at once on this session's cores", done.shown)
    assert re.search(r"70 to 79 years\s+1,[67]\d\d patients, ([89]|1\d)\.\d% sick", done.shown)
    manifest = done.home / "sciencebox-runs" / NAME / "job.json"
    config, service, job = json.loads(manifest.read_text())["items"]
    assert "DistributedDataParallel" in config["data"]["train.py"]
    assert service["spec"]["clusterIP"] == "None"
    assert (job["spec"]["completions"], job["spec"]["completionMode"]) == (2, "Indexed")
    assert job["spec"]["template"]["spec"]["containers"][0]["command"][0].startswith("/cvmfs/")


@pytest.mark.notebooks
def test_what_the_jobs_pods_run_is_one_training(synthetic: Executed, kernels: Kernels, tmp_path: Path) -> None:
    folder = synthetic.home / "sciencebox-runs" / NAME
    worker = json.loads((folder / "job.json").read_text())["items"][-1]["spec"]["template"]["spec"]["containers"][0]
    environment = {**os.environ, **{each["name"]: each["value"] for each in worker["env"]}}
    name = worker["command"][4].removeprefix("--node-rank=")
    assert name == "$(JOB_COMPLETION_INDEX)"
    found = []
    for index in ("0", "1"):
        words = [word.replace(name, index).replace("/program/", f"{folder}/") for word in worker["command"]]
        words = ["--master-addr=127.0.0.1" if word.startswith("--master-addr=") else word for word in words]
        command = [*kernels.enter, *words]
        found.append(subprocess.Popen(command, env=environment, stdout=PIPE, stderr=PIPE, text=True, cwd=tmp_path))
    said = [process.communicate() for process in found]
    assert [process.returncode for process in found] == [0, 0], said
    report = json.loads(said[0][0].splitlines()[-1])
    assert (report["workers"], len(report["losses"])) == (2, 20)
    assert said[1][0] == ""  # only rank 0 reports


class Cluster:
    """An API server that answers what a test says, in order, and notes what it was asked."""

    def __init__(self, *ends: dict[str, Any]) -> None:
        self.ends = list(ends)
        self.asked: list[tuple[str, str]] = []

    def __call__(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        self.asked.append((method, path.split("/", 2)[-1]))
        if path.endswith("/log"):
            return f"a warning\n{json.dumps(REPORT)}\n"
        if "/pods?" in path:
            return {"items": [{"metadata": {"name": "train-0"}, "status": {"phase": "Running"}}]}
        return {"status": self.ends.pop(0)} if method == "GET" else {}


def sender(cluster: Any) -> Callable[[], dict[str, Any]]:
    """`run_there` of the notebook, before this cluster."""
    cells = json.loads((NOTEBOOKS / f"{NAME}.ipynb").read_text())["cells"]
    scope: dict[str, Any] = {"json": json, "os": __import__("os"), "Path": __import__("pathlib").Path, "name": "train"}
    scope["workers"] = 1
    scope["time"] = type(
        "Clock", (), {"strftime": staticmethod(lambda _: "12:00"), "sleep": staticmethod(lambda _: None)}
    )
    scope["wanted"] = [{"kind": "ConfigMap"}, {"kind": "Service"}, {"kind": "Job"}]
    for cell in cells:
        source = "".join(cell["source"])
        if "def kubernetes(" in source or "def run_there(" in source:
            exec(source, scope)
            scope["kubernetes"] = cluster
    return scope["run_there"]


def over(kind: str) -> dict[str, Any]:
    return {"conditions": [{"type": kind, "status": "True", "message": "a pod failed"}]}


def removed(cluster: Cluster) -> int:
    return sum(method == "DELETE" for method, _ in cluster.asked)


def test_a_job_is_followed_to_its_end_and_nothing_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = Cluster({}, {}, over("Complete"))
    assert sender(cluster)() == REPORT
    assert [method for method, _ in cluster.asked[:3]] == ["POST"] * 3
    assert removed(cluster) == 3
    assert capsys.readouterr().out.count("Running") == 1  # told once, not at every look


def test_a_job_that_fails_says_what_its_workers_said() -> None:
    cluster = Cluster(over("Failed"))
    with pytest.raises(RuntimeError, match=r"a pod failed\n(.*\n)*a warning"):
        sender(cluster)()
    assert removed(cluster) == 3


def test_what_cannot_be_removed_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    class Gone(Cluster):
        def __call__(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
            if method == "DELETE":
                raise URLError("no route")
            return super().__call__(method, path, body)

    assert sender(Gone(over("Complete")))() == REPORT
    assert "Job train was not removed" in capsys.readouterr().out
