"""The study of 2D segmentation from a folder to figures, and its command line."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from brainmri import export, fit, segment, synthetic
from brainmri.cli import main
from brainmri.commands import images
from brainmri.data import FIGSHARE, DataError, Slice, load, read_folder, stored_source
from brainmri.segment_losses import Comparison
from brainmri.study import Study, Trained
from PIL import Image
from scipy import ndimage


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads") / "data"
    synthetic.make(folder, patients=8, slices=2, difficulty=0.2)
    return folder


@pytest.fixture(scope="module")
def run(heads: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        arguments = ["train", "segmentation2d", "--data", str(heads), "--out", str(home / "run"), "--size", "smoke"]
        assert main(arguments) == 0
        before = json.loads((home / "run/result.json").read_text())
        patch.setattr(fit.gpu, "processor", lambda *_: "another machine")  # which trained nothing of it
        assert main(arguments) == 0  # complete: nothing is done again
        assert json.loads((home / "run/result.json").read_text()) == before
        assert main([*arguments, "--seed", "1"]) == 2  # another training does not take its place
        assert main([*arguments[:5], str(home / "new"), "--size", "smoke", "--loss", "foo"]) == 2
        assert not (home / "new").exists()
    return home / "run"


def test_learning_from_synthetic_heads_stops_when_it_gets_no_better(
    heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = replace(segment.SIZES["smoke"], first=9, then=1, heads=5)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setitem(segment.SIZES, "smoke", size)
    monkeypatch.setattr(fit.Training, "_check", lambda self, *_: {"val_dice": -len(self.history)})
    study = Study(read_folder(heads), "smoke", tmp_path / "run", patience=2)
    assert len(study.pretraining()) == 3
    (made,) = (tmp_path / "sciencebox-runs/data").iterdir()
    assert stored_source(made).synthetic
    assert stored_source(made).name.split(", ")[-1] != stored_source(heads).name.split(", ")[-1], "the same heads"
    assert len(study.fold(1, *_first(study))[1]) == 1, "drawn masks are learnt from to the end"


def _first(study: Study) -> tuple[segment.Fold, segment.Samples]:
    samples = study.samples()
    return study.folds(samples)[0], samples


def test_the_figures_say_what_they_are_from(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["n"] == 16
    assert figures["groups"] == 8
    assert figures["split"] == "patient cross-validation, 2 folds"
    assert figures["dice_low"] <= figures["dice"] <= figures["dice_high"]
    assert "SYNTHETIC" in figures["data"]
    assert figures["area_error_median"] >= 0
    assert np.mean([one["dice"] for one in figures["cases"].values()]) == pytest.approx(figures["dice"])
    folds = json.loads((run / "split.json").read_text())["parts"]
    assert sorted(name for fold in folds.values() for name in fold["slices"]) == sorted(
        f"{n}.png" for n in range(1, 17)
    )
    assert not set(folds["fold 1"]["groups"]) & set(folds["fold 2"]["groups"])
    assert set(figures["cases"]) == {name for fold in folds.values() for name in fold["groups"]}


def test_slices_that_were_learnt_from_are_no_test(run: Path, heads: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "--data", str(heads)]) == 2
    assert "learnt from 1.png" in capsys.readouterr().err


def test_the_same_heads_drawn_otherwise_are_none(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    synthetic.make(tmp_path / "again", patients=2, slices=1, difficulty=0.9, motion=0.5)
    assert main(["evaluate", str(run), "--data", str(tmp_path / "again")]) == 2
    assert "made-up heads of seed 0, and these are the same ones" in capsys.readouterr().err


def test_other_slices_are(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    synthetic.make(tmp_path / "others", patients=2, slices=1, seed=5)
    assert main(["evaluate", str(run), "--data", str(tmp_path / "others"), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["n"], figures["split"]) == (2, "other slices than those of the training")


def test_every_new_image_gets_a_mask_of_its_own_size(
    run: Path, heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "new").mkdir()
    Image.fromarray(np.full((100, 80), 90, dtype=np.uint8)).save(tmp_path / "new/scan.png")
    arguments = ["predict", str(run), "--input", str(tmp_path / "new"), "--out", str(tmp_path / "found")]
    assert main(arguments) == 0
    with Image.open(tmp_path / "found/scan.png") as mask:
        assert mask.size == (80, 100)
        assert mask.info["Comment"] == "brainmri: tumour as found; no medical device"
    header, row = (tmp_path / "found/predictions.csv").read_text().splitlines()
    assert header == "slice,probability,area_pixels,mask"
    assert row.startswith("scan.png,")
    assert main(arguments) == 2  # nothing is overwritten
    assert main([*arguments, "--force"]) == 0
    capsys.readouterr()
    (tmp_path / "new/cut-off.png").write_bytes((tmp_path / "new/scan.png").read_bytes()[:60])
    assert main([*arguments, "--force"]) == 1, "the others get their masks, but not all is well"
    said = capsys.readouterr().out
    assert "FAULT: " in said
    assert "cut-off.png is not a readable image" in said
    assert "1 masks and predictions.csv, without 1 that cannot be read" in said
    assert (tmp_path / "found/predictions.csv").read_text().splitlines() == [header, row]
    shutil.copy(heads / "slices/1.png", tmp_path / "new/cut-off.png")
    assert main([*arguments, "--force"]) == 0
    with Image.open(tmp_path / "found/cut-off.png") as mask:
        assert mask.info["Comment"].startswith("SYNTHETIC, ")
    (tmp_path / "new/cut-off.png").unlink()
    drawn = (tmp_path / "new/scan.png").read_bytes()
    assert main([*arguments[:-1], str(tmp_path / "new"), "--force"]) == 2  # nor an image by what is found in it
    assert (tmp_path / "new/scan.png").read_bytes() == drawn


def test_what_was_found_until_it_was_stopped_is_in_the_table(
    run: Path, heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, ask = [], fit.predict

    def stopped(*arguments: object) -> object:
        asked.append(arguments)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return ask(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(fit, "predict", stopped)
    assert main(["predict", str(run), "--input", str(heads), "--out", str(tmp_path / "found")]) == 130
    rows = (tmp_path / "found/predictions.csv").read_text().splitlines()[1:]
    assert [row.split(",")[-1] for row in rows] == ["1.png", "10.png"]
    assert sorted(path.name for path in (tmp_path / "found").glob("*.png")) == ["1.png", "10.png"]


def test_an_exported_network_marks_the_same_pixels(run: Path, heads: Path, tmp_path: Path) -> None:
    assert main(["export", str(run), "--to", str(tmp_path / "network.onnx")]) == 0
    told = {one.key: one.value for one in onnx.load(tmp_path / "network.onnx").metadata_props}
    assert told["learnt_from"].endswith("and before that from SYNTHETIC DATA: made-up heads")
    trained, images = Trained.read(run), segment.samples(read_folder(heads), 64).images
    assert float(told["threshold"]) == trained.threshold
    found = export.answer(tmp_path / "network.onnx", images)
    with torch.inference_mode():
        wanted = torch.sigmoid(trained.model.cpu()(torch.from_numpy(images))).numpy()
    assert found.shape == (16, 1, 64, 64)
    assert np.abs(found - wanted).max() < 1e-4


def test_a_network_that_was_not_copied_whole_is_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "copy")
    whole = (run / "model.pt").read_bytes()
    for content in (whole[: len(whole) // 2], b"no network", b""):
        (tmp_path / "copy/model.pt").write_bytes(content)
        command = ["predict", str(tmp_path / "copy"), "--input", str(tmp_path), "--out", str(tmp_path / "found")]
        assert main(command) == 2
        assert "model.pt is no whole network" in capsys.readouterr().err


def test_a_card_of_another_version_or_of_no_complete_training_is_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "copy")
    card = json.loads((run / "model.json").read_text())
    (tmp_path / "copy/model.json").write_text(json.dumps({**card, "version": "9.9", "size": {"edge": 3}}))
    command = ["predict", str(tmp_path / "copy"), "--input", str(tmp_path), "--out", str(tmp_path / "found")]
    assert main(command) == 2
    assert "but of version 9.9: train anew" in capsys.readouterr().err
    (tmp_path / "copy/model.json").unlink()
    assert main(command) == 2
    assert "its training is not complete. Run it again" in capsys.readouterr().err


def test_a_loss_comes_to_the_same_whatever_it_is_compared_with(heads: Path, tmp_path: Path) -> None:
    both, alone = (
        Comparison(read_folder(heads), "smoke", tmp_path / str(len(losses)), losses=losses).run()
        for losses in (("bce", "dice"), ("dice",))
    )
    assert (both["n"], both["groups"], both["split"]) == (6, 3, "patient split, fold 1 of 3")
    assert "SYNTHETIC" in both["data"]
    assert list(both["losses"]) == ["bce", "dice"]
    assert both["without_tumour"] == 4
    (first, second), stored = (one["losses"]["dice"] for one in (both, alone)), tmp_path / "2"
    assert {**first, "seconds": 0} == {**second, "seconds": 0}
    assert json.loads((stored / "result.json").read_text()) == both
    assert (stored / "curves.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "large"], "use one of smoke, quick, full"),
        (["--patience", "3", "--no-pretraining"], "none to watch"),
        (["--loss", "dicee", "--no-pretraining", "--size", "smoke"], "there is no loss"),
    ],
)
def test_what_cannot_be_done_is_said(
    heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    base = ["train", "segmentation2d", "--data", str(heads), "--out", str(tmp_path / "run")]
    assert main([*base, *arguments]) == 2
    assert said in capsys.readouterr().err


def test_what_cannot_be_learnt_from_takes_no_folder(
    heads: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(heads, tmp_path / "data")
    where = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--size", "smoke"]
    masks = sorted((tmp_path / "data/masks").iterdir())
    whole = masks[0].read_bytes()
    Image.new("L", (9, 9)).save(masks[0])
    for command in (["train", "segmentation2d"], ["compare", "losses"]):
        assert main([*command, *where]) == 2
        assert "is 9 x 9 pixels, but its image" in capsys.readouterr().err
        assert not (tmp_path / "run").exists(), "the next training, with a mask that fits, would be refused"
    masks[0].write_bytes(whole)
    copied = (tmp_path / "data/slices/16.png").read_bytes()
    shutil.copy(tmp_path / "data/slices/1.png", tmp_path / "data/slices/16.png")  # of another patient
    for command in (["train", "segmentation2d"], ["compare", "losses"]):
        assert main([*command, *where]) == 2
        assert "1.png and 16.png are the same image" in capsys.readouterr().err
    (tmp_path / "data/slices/16.png").write_bytes(copied)
    for mask in masks:
        Image.new("L", (256, 256)).save(mask)
    assert main(["train", "segmentation2d", *where]) == 2
    assert "Every mask of" in capsys.readouterr().err, "a network that marks nothing would reach a Dice of 1"
    assert not (tmp_path / "run").exists()


def test_folds_are_alike_in_size_and_keep_patients_together() -> None:
    groups = np.array(["a"] * 16 + ["b"] * 16 + ["c"] * 11 + ["d"] * 4 + ["e"])
    folds = list(segment.folds(groups, 4))
    assert sorted(len(fold.test) for fold in folds) == [5, 11, 16, 16]
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(48))


def test_a_threshold_is_chosen_without_the_slices_it_is_used_on() -> None:
    """Of four patients one is of another brightness: its own slices would ask for another threshold."""
    masks = np.zeros((4, 1, 8, 8), dtype=np.float32)
    masks[:, :, 2:6, 2:6] = 1
    probability = np.where(masks > 0, 0.6, 0.4).astype(np.float32)
    probability[3] = np.where(masks[3] > 0, 0.25, 0.05)
    slices = tuple(Slice(Path(f"{n}.png"), "x", str(n), FIGSHARE) for n in range(4))
    samples = segment.Samples(slices, masks, masks)
    chosen = segment.crossed_thresholds(probability, samples, list(segment.folds(samples.groups, 4)))
    assert 0.4 < chosen[3] <= 0.6


def test_one_patient_cannot_be_divided() -> None:
    with pytest.raises(DataError, match=r"one patient or block \(a\)"):
        list(segment.folds(np.array(["a", "a"]), 4))


def test_a_mask_is_seen_on_the_pixels_of_its_slice(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    synthetic.make(folder, patients=2, slices=1, difficulty=0)
    (item, _) = read_folder(folder).slices
    with Image.open(item.image) as image:
        image.crop((0, 30, 256, 226)).save(item.image)  # no square any more
    assert item.mask is not None
    with Image.open(item.mask) as mask:
        mask.crop((0, 30, 256, 226)).save(item.mask)
    samples = segment.samples(read_folder(folder).masked, 128)
    (overlap, _) = segment.held_against_truth(samples.masks, samples.slices)
    assert overlap.dice > 0.95


@pytest.mark.parametrize("size", [(100, 80), (512, 300), (301, 512)])
def test_what_is_found_in_a_slice_that_is_no_square_lies_where_it_was(tmp_path: Path, size: tuple[int, int]) -> None:
    """A bright disc is taken for what was found: brought to the network's pixels and back it has not moved."""
    (tmp_path / "slices").mkdir()
    width, height = size
    rows, columns = np.ogrid[:height, :width]
    disc = (rows - height // 3) ** 2 + (columns - width // 3) ** 2 < (height / 8) ** 2
    Image.fromarray(np.where(disc, 255, 0).astype(np.uint8)).save(tmp_path / "slices/disc.png")
    (item,) = images(tmp_path)
    found = segment.full_resolution(load([item], 64)[0], item)
    assert found.shape == disc.shape
    moved = np.subtract(ndimage.center_of_mass(found), ndimage.center_of_mass(disc))
    assert np.abs(moved).max() < 0.1
