"""Trainings beside each other: what MLflow keeps of them, where, and that it is in nobody's way."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from brainmri import tracking
from brainmri.cli import main
from brainmri.runs import Run, open_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = {
    "task": "classification",
    "name": "quick-synthetic",
    "size": {"pixels": 64, "epochs": 3},
    "seed": 7,
    "data_name": "SYNTHETIC DATA: made-up heads",
}
EPOCHS = [{"loss": 1.0 / (epoch + 1), "val_auc": 0.5 + epoch / 10, "seconds": 2.0} for epoch in range(3)]
RESULT = {
    "auc": 0.75,
    "regions": {"whole tumour (all)": {"dice": 0.5}},
    "split": "patient split, fold 1 of 5",
    "data": "SYNTHETIC DATA: made-up heads",
    "cases": {"a": {"dice": 0.1}},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A user's home; making MLflow's tables takes seconds, so the tests share one."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield folder


@pytest.fixture(autouse=True)
def _at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def logged(folder: Path) -> Any:
    """What MLflow has of the training in a folder."""
    return tracking._client(tracking.uri()).get_run((folder / tracking.MARK).read_text())


def epochs(folder: Path, metric: str) -> list[tuple[int, float]]:
    run = (folder / tracking.MARK).read_text()
    return [(one.step, one.value) for one in tracking._client(tracking.uri()).get_metric_history(run, metric)]


def test_settings_epochs_figures_and_the_data_are_logged_in_the_home(home: Path, tmp_path: Path) -> None:
    run = open_run("n", SETTINGS, tmp_path)
    run.write_history(EPOCHS[:2])
    assert tracking.rows()[0]["complete"] is False
    run.write_history(EPOCHS)
    run.write_result(RESULT)
    assert (home / "sciencebox-runs/mlflow.db").is_file()
    found = logged(run.folder)
    assert found.data.params["size.pixels"] == "64"
    assert found.data.params["seed"] == "7"
    assert found.data.tags["synthetic"] == "True"
    assert found.data.tags["split"] == "patient split, fold 1 of 5"
    assert found.data.metrics["regions.whole tumour all.dice"] == 0.5
    assert not any("cases" in name for name in found.data.metrics)
    assert epochs(run.folder, "val_auc") == [(1, 0.5), (2, 0.6), (3, 0.7)]
    row = tracking.rows()[0]
    assert {name: row[name] for name in ("task", "auc", "dice", "complete", "folder")} == {
        "task": "classification", "auc": 0.75, "dice": None, "complete": True, "folder": str(run.folder),
    }  # fmt: skip


def test_a_training_that_goes_on_is_the_same_one(tmp_path: Path) -> None:
    open_run("n", SETTINGS, tmp_path).write_history(EPOCHS[:2])
    before = len(tracking.rows())
    again = open_run("n", SETTINGS, tmp_path)
    again.write_history(EPOCHS[:2])
    again.write_history(EPOCHS)
    again.end()
    assert len(tracking.rows()) == before
    assert [step for step, _ in epochs(again.folder, "loss")] == [1, 2, 3]
    assert logged(again.folder).info.status == "FINISHED"


def test_folds_belong_to_their_study(tmp_path: Path) -> None:
    study = open_run("n", {**SETTINGS, "seed": 8}, tmp_path)
    (study.folder / "fold-1").mkdir()
    Run(study.folder / "fold-1").write_history(EPOCHS)
    Run(study.folder / "fold-1").end()
    study.write_result(RESULT)
    fold = logged(study.folder / "fold-1")
    assert fold.info.run_name == "quick-synthetic, fold-1"
    assert fold.data.tags["mlflow.parentRunId"] == logged(study.folder).info.run_id
    assert [row["folder"] for row in tracking.rows()].count(str(study.folder)) == 1
    assert str(study.folder / "fold-1") not in [row["folder"] for row in tracking.rows()]


def test_a_folder_is_found_again_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = open_run("n", {**SETTINGS, "seed": 10}, tmp_path).folder
    Run(run.relative_to(tmp_path)).write_history(EPOCHS)
    assert str(run) in [row["folder"] for row in tracking.rows()]


def test_what_is_no_training_is_not_logged(tmp_path: Path) -> None:
    before = tracking.rows()
    run = open_run("10_mri_and_preprocessing", {"name": "quick", "edge_mm": 2}, tmp_path)
    run.write_result({"joint_variation": 0.5})
    assert tracking.rows() == before
    assert not (run.folder / tracking.MARK).exists()


def test_another_store_is_used_where_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged_apart: str
) -> None:
    run = open_run("n", SETTINGS, tmp_path / "runs")
    run.write_history(EPOCHS[:1])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", logged_apart)
    assert str(run.folder) not in [row["folder"] for row in tracking.rows()]
    run.write_history(EPOCHS)
    assert [row["folder"] for row in tracking.rows()].count(str(run.folder)) == 1
    assert [step for step, _ in epochs(run.folder, "loss")] == [1, 2, 3]


def test_a_training_goes_on_where_nothing_can_be_logged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"ftp://{tmp_path}")
    run = open_run("n", SETTINGS, tmp_path)
    with pytest.warns(UserWarning, match="MLflow did not log this training, which goes on"):
        run.write_history(EPOCHS)
    assert run.read_history() == EPOCHS


def test_tables_that_are_being_made_when_a_training_is_killed_spoil_nothing_and_waiting_for_them_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    def killed(tracking_uri: str) -> None:
        with closing(sqlite3.connect(tracking_uri.removeprefix("sqlite:///"))) as half:
            half.execute("CREATE TABLE registered_models (name TEXT)")
        raise KeyboardInterrupt

    monkeypatch.setattr("mlflow.MlflowClient", killed)
    run = open_run("n", SETTINGS, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        run.write_history(EPOCHS[:1])
    monkeypatch.undo()
    monkeypatch.setenv("HOME", str(tmp_path))
    capsys.readouterr()
    run.write_history(EPOCHS[:1])
    assert "making MLflow's tables, once for all trainings · done in " in capsys.readouterr().err
    run.write_history(EPOCHS)
    assert capsys.readouterr().err == ""
    assert [step for step, _ in epochs(run.folder, "loss")] == [1, 2, 3]
    assert [path.name for path in (tmp_path / "sciencebox-runs").iterdir()] == ["mlflow.db"]


def test_a_store_that_cannot_be_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.db").write_text("no database" * 100)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'broken.db'}")
    assert main(["runs"]) == 2
    assert "MLflow cannot read sqlite:///" in capsys.readouterr().err


def test_trainings_are_listed_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = open_run("n", {**SETTINGS, "seed": 9}, tmp_path)
    run.write_history(EPOCHS)
    assert main(["runs"]) == 0
    assert "classification, quick-synthetic, seed 9: not complete, SYNTHETIC DATA" in capsys.readouterr().out
    assert main(["runs", "--json"]) == 0
    assert str(run.folder) in [training["folder"] for training in json.loads(capsys.readouterr().out)]
    assert main(["runs", "--curves", "val_auc", "--to", str(tmp_path / "auc.svg")]) == 0
    assert "SYNTHETIC" in (tmp_path / "auc.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--curves", "loss"], "--curves and --to belong together"),
        (["--curves", "beauty", "--to", "new.png"], "No training has the metric 'beauty'; there are "),
    ],
)
def test_what_cannot_be_drawn_is_said(capsys: pytest.CaptureFixture[str], arguments: list[str], said: str) -> None:
    assert main(["runs", *arguments]) == 2
    assert said in capsys.readouterr().err
