"""The classifier from a folder to figures, and its command line."""

from __future__ import annotations

import csv
import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch
from brainmri import fit, synthetic
from brainmri.classification.network import Classifier, ClassifierTraining, Size, probabilities
from brainmri.cli import main
from brainmri.runs import Run

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

TINY = Size(pixels=32, filters=4, blocks=1, epochs=12, batch=8)


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads") / "data"
    synthetic.make(folder, patients=12, slices=2, difficulty=0.2)
    return folder


@pytest.fixture(scope="module")
def run(heads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    arguments = ["train", "classification", "--data", str(heads), "--out", str(folder), "--size", "smoke"]
    arguments += ["--plateau", "1"]
    assert main(arguments) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit.gpu, "processor", lambda *_: "another machine")  # which trains nothing
        assert main(arguments) == 0  # complete: nothing is done again
    assert main([*arguments, "--seed", "1"]) == 2  # another training does not take its place
    return folder


def test_a_test_that_could_not_be_measured_is_refused_before_the_training(
    heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(heads, tmp_path / "data")
    header, *lines = (tmp_path / "data/labels.csv").read_text().splitlines()
    parts = ["train", "train", "validation", "validation", "test", "train"]  # every other head has a lesion
    rows = [f"{line},{parts[index // 2 % 6]}" for index, line in enumerate(lines)]
    (tmp_path / "data/labels.csv").write_text("\n".join([f"{header},split", *rows]))
    arguments = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--size", "smoke"]
    assert main(["train", "classification", *arguments]) == 2
    assert "for test has only slices with 'glioma'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    shutil.copy(heads / "labels.csv", tmp_path / "data/labels.csv")
    (tmp_path / "data/slices/3.png").write_bytes(b"no image")
    assert main(["train", "classification", *arguments]) == 2
    assert "3.png is not a readable image" in capsys.readouterr().err
    assert not (tmp_path / "run").exists(), "the next training, with an intact copy of it, would be refused"
    for number in range(2, 25):
        shutil.copy(heads / "slices/1.png", tmp_path / f"data/slices/{number}.png")
    assert main(["train", "classification", *arguments]) == 2
    assert "are the same image, but one is in the part for" in capsys.readouterr().err


def test_the_figures_say_what_they_are_from(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["hardware"] == json.loads((run / "model.json").read_text())["hardware"] == fit.hardware()
    assert figures["auc_low"] <= figures["auc"] <= figures["auc_high"]
    assert figures["split"].startswith("patient split, fold 1 of")
    assert "SYNTHETIC" in figures["data"]
    split = json.loads((run / "split.json").read_text())
    assert split["split"] == figures["split"]
    assert [len(part["slices"]) for part in split["parts"].values()] == [
        24 - 2 * figures["n"],
        figures["n"],
        figures["n"],
    ]


def test_slices_that_were_learnt_from_are_no_test(run: Path, heads: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "--data", str(heads)]) == 2
    assert "learnt from" in capsys.readouterr().err


def test_the_same_heads_drawn_otherwise_are_none(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    synthetic.make(tmp_path / "again", patients=4, slices=1, difficulty=0.9)
    assert main(["evaluate", str(run), "--data", str(tmp_path / "again")]) == 2
    assert "made-up heads of seed 0, and these are the same ones" in capsys.readouterr().err


def test_other_slices_are(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    synthetic.make(tmp_path / "others", patients=4, slices=1, seed=5)
    assert main(["evaluate", str(run), "--data", str(tmp_path / "others"), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["n"], figures["groups"]) == (4, 4)


def test_new_images_get_a_line_each(run: Path, heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(heads / "slices", tmp_path / "new")
    (tmp_path / "new/cut-off.png").write_bytes((heads / "slices/1.png").read_bytes()[:200])
    arguments = ["predict", str(run), "--input", str(tmp_path / "new"), "--out", str(tmp_path / "found")]
    assert main(arguments) == 1
    assert "cut-off.png is not a readable image" in capsys.readouterr().out
    with (tmp_path / "found/predictions.csv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    assert len(rows) == 24
    assert all(abs(float(row["glioma"]) + float(row["none"]) - 1) < 1e-3 for row in rows)
    assert {row["is_glioma"] for row in rows} <= {"0", "1"}
    assert main(arguments) == 2  # nothing is overwritten


def test_other_programs_get_the_network_with_what_its_card_says(
    run: Path, heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export", str(run), "--to", str(tmp_path / "network.onnx"), "--input", str(heads)]
    assert main(arguments) == 0
    assert "1.png, 10.png" in capsys.readouterr().out
    told = {one.key: one.value for one in onnx.load(tmp_path / "network.onnx").metadata_props}
    card = json.loads((run / "model.json").read_text())
    assert (told["synthetic"], told["learnt_from"]) == ("yes", card["data_name"])
    assert json.loads(told["labels"]) == ["glioma", "none"]
    assert (told["label"], float(told["threshold"])) == ("glioma", card["threshold"])
    assert "(n, 1, 64, 64)" in told["input"]
    assert "ICBM 152" in told["licence"]
    assert main(arguments) == 2  # nothing is overwritten


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--label", "cyst"], "cyst"),
        (["--patience", "-1"], "numbers of epochs"),
        (["--size", "huge"], "smoke, quick, full"),
    ],
)
def test_what_cannot_be_done_is_said(
    heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    command = ["train", "classification", "--data", str(heads), "--out", str(tmp_path / "run"), *more]
    assert main(command) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def dots(count: int = 24) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Noise, with a bright dot somewhere in every other image."""
    random = np.random.default_rng(0)
    images = random.normal(0, 0.2, (count, 1, 32, 32)).astype(np.float32)
    labels = np.arange(count) % 2
    for image, label in zip(images, labels, strict=True):
        if label:
            row, column = random.integers(4, 24, 2)
            image[0, row : row + 5, column : column + 5] += 3
    return images, labels


def training(folder: Path) -> ClassifierTraining:
    """One that begins like every other, or goes on with what is in the folder."""
    torch.manual_seed(0)
    folder.mkdir(exist_ok=True)
    balance = np.ones(2, dtype=np.float32)
    return ClassifierTraining(Classifier(2, 4, 1), TINY, Run(folder), balance=balance, positive=1, seed=0)


def test_it_learns_what_is_there_to_learn(tmp_path: Path) -> None:
    images, labels = dots()
    learnt = training(tmp_path / "run")
    history = learnt.fit(images, labels, (images, labels))
    assert history[-1]["loss"] < history[0]["loss"] / 1.5
    found = probabilities(learnt.model, images, scales=(1.0,))
    assert np.allclose(found.sum(axis=1), 1, atol=1e-5)
    assert np.mean(found.argmax(axis=1) == labels) > 0.9


def test_it_goes_on_as_if_nothing_had_happened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = dots()
    monkeypatch.setattr("brainmri.fit.STORE_EVERY_S", 0.0)
    undisturbed = training(tmp_path / "one")
    undisturbed.fit(images, labels)

    def interrupt(done: int, total: int, note: str) -> None:
        if done == total // 2 + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training(tmp_path / "two").fit(images, labels, on_progress=interrupt)
    resumed = training(tmp_path / "two")
    assert 0 < len(resumed.history) < TINY.epochs
    resumed.fit(images, labels)
    for name, value in undisturbed.average.state_dict().items():
        assert torch.equal(value, resumed.average.state_dict()[name]), name
