"""What outlives the kernel, and what a waiting user reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from brainmri import data, runs
from brainmri.cli import main
from brainmri.progress import Progress, remaining, spoken
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SETTINGS = {"name": "quick-figshare", "size": "quick", "seed": 0}


def test_the_same_settings_find_the_same_run_and_others_do_not(tmp_path: Path) -> None:
    first = runs.open_run("11_classification_2d", SETTINGS, tmp_path)
    first.write_history([{"loss": 0.5}])
    again = runs.open_run("11_classification_2d", dict(reversed(SETTINGS.items())), tmp_path)
    other = runs.open_run("11_classification_2d", {**SETTINGS, "seed": 1}, tmp_path)
    assert again.read_history() == [{"loss": 0.5}]
    assert other.read_history() == []
    assert first.folder.parent == tmp_path / "11_classification_2d"
    assert first.folder.name.startswith("quick-figshare-")


def test_a_file_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "history.json"
    runs.write_whole(target, "old")

    def full(self: Path, *_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(target), "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        runs.write_whole(target, "new and longer")
    assert target.read_text() == "old"


def test_figures_that_are_no_numbers_are_null_in_json(tmp_path: Path) -> None:
    run = runs.open_run("n", SETTINGS, tmp_path)
    stored = run.write_result({"dice": 0.5, "distance": float("inf"), "regions": {"core": [float("nan")]}})
    told = json.loads(stored.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert told == {"dice": 0.5, "distance": None, "regions": {"core": [None]}}


@pytest.mark.parametrize("content", ["", "[]", '{"task": "gan"'])
def test_a_runs_file_that_is_damaged_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str) -> None:
    (tmp_path / "settings.json").write_text(content)
    assert main(["evaluate", str(tmp_path)]) == 2
    assert f"{tmp_path / 'settings.json'} cannot be read" in capsys.readouterr().err


def test_without_mlflow_a_training_is_stored_and_the_list_says_where_it_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("brainmri.tracking.find_spec", lambda _: None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    run = runs.open_run("n", {**SETTINGS, "task": "classification"}, tmp_path)
    run.write_history([{"loss": 0.5}])
    run.end()
    assert run.read_history() == [{"loss": 0.5}]
    assert sorted(path.name for path in run.folder.iterdir()) == ["history.json", "settings.json"]
    assert main(["runs"]) == 2
    assert "Use the kernel PyTorch or TensorFlow" in capsys.readouterr().err


def test_fingerprint_changes_with_the_data(make_folder: Callable[..., Path]) -> None:
    folder = make_folder([("1", "glioma", "anna"), ("2", "none", "bert")])
    dataset = data.read_folder(folder)
    before = runs.fingerprint(dataset)
    assert runs.fingerprint(data.read_folder(folder)) == before
    table = folder / "labels.csv"
    table.write_text(table.read_text().replace("bert", "carl"))
    assert runs.fingerprint(data.read_folder(folder)) != before


def test_a_mask_that_was_corrected_is_other_data_though_its_file_is_as_large(make_folder: Callable[..., Path]) -> None:
    folder = make_folder([("1", "glioma", "anna"), ("2", "none", "bert")])
    (folder / "masks").mkdir()
    found = []
    for row in (2, 3, 3):
        mask = np.zeros((12, 12), dtype=np.uint8)
        mask[row] = 255
        Image.fromarray(mask).save(folder / "masks/1.tif")  # which is not compressed
        found.append(((folder / "masks/1.tif").stat().st_size, runs.fingerprint(data.read_folder(folder))))
    (size, first), (same_size, corrected), again = found
    assert (size, corrected) == (same_size, again[1])
    assert first != corrected
    (folder / "mask_images").mkdir()
    Image.new("L", (12, 12)).save(folder / "mask_images/1.png")
    assert runs.fingerprint(data.read_folder(folder)) != corrected, "which says how the mask lies"


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations_are_spoken(seconds: float, words: str) -> None:
    assert spoken(seconds) == words


def test_time_left_is_judged_from_the_steps_of_this_kernel() -> None:
    assert remaining(done=10, total=110, first=10, seconds=0) is None
    assert remaining(done=60, total=110, first=10, seconds=100) == pytest.approx(100)


def test_progress_says_what_is_left_and_then_how_long_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    progress = Progress("training", clock=lambda: now[0])
    shown: list[str] = []
    monkeypatch.setattr(progress._line, "show", lambda share, text: shown.append(text))
    for step in range(5):
        progress(step, 4, note=f"step {step}")
        now[0] += 10
    assert shown[0] == "training · step 0 · starting"
    assert shown[1] == "training · step 1 · about 30 s left"
    assert shown[-1] == "training · step 4 · done in 40 s"
