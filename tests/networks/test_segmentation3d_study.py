"""Studies in 3D: killed and gone on with, a full disk, and the command line from a cohort to masks in ml."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import onnx
import pytest
import torch
from brainmri import fit
from brainmri.cli import main
from brainmri.runs import Run
from brainmri.segmentation3d import cohort, samples, sizes, study
from brainmri.segmentation3d.cases import read_cohort
from brainmri.segmentation3d.patches import Patches
from brainmri.segmentation3d.training import Plan, Training
from brainmri.splits import LeakageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SMOKE = sizes.SIZES["smoke"]
SMALL = replace(SMOKE, edge=16)
PLAN = Plan(epochs=3, steps=3, batch=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "data"
    cohort.make(folder, cases=3, spacing=8.0)
    return folder


@pytest.fixture(scope="module")
def loaded(data: Path) -> list[samples.Sample]:
    return samples.load(read_cohort(data).cases, 8.0)


def train(
    folder: Path,
    loaded: list[samples.Sample],
    family: str,
    on_progress: Callable[..., None] | None = None,
    plan: Plan = PLAN,
) -> dict[str, torch.Tensor]:
    folder.mkdir(exist_ok=True)
    trained = Training(sizes.learner(family, SMALL, "dice", seed=0), plan, Run(folder))
    worse = (lambda: {"val_dice": -len(trained.history)}) if plan.patience else None
    trained.fit(Patches(loaded[:2], SMALL.edge, 0), worse, on_progress)
    return trained.family.state_dict()


@pytest.mark.parametrize(
    ("family", "plan"),
    [("segmentation3d", PLAN), ("vae", PLAN), ("gan", replace(PLAN, epochs=9, patience=2, plateau=1))],
)
def test_a_training_that_is_killed_again_and_again_ends_with_the_same_weights(
    tmp_path: Path, loaded: list[samples.Sample], family: str, plan: Plan
) -> None:
    whole = train(tmp_path / "whole", loaded, family, plan=plan)
    for moment in (1, 4, 4, 8):  # of 9 steps: in the first epoch, twice in the second, in the last

        def die(done: int, _total: int, _words: str, moment: int = moment) -> None:
            if done == moment:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "parts", loaded, family, die, plan)
    parts = train(tmp_path / "parts", loaded, family, plan=plan)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == [
        "epoch-0003.pt",
        "hardware.json",
        "history.json",
    ]


def test_a_full_disk_keeps_the_last_good_checkpoint_and_the_training_goes_on_from_it(
    tmp_path: Path, loaded: list[samples.Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = train(tmp_path / "whole", loaded, "segmentation3d")
    written, save = [], torch.save

    def full(state: object, file: object) -> None:
        written.append(state)
        if len(written) == 2:
            raise OSError(28, "No space left on device")
        save(state, file)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
        patch.setattr(fit.torch, "save", full)
        train(tmp_path / "parts", loaded, "segmentation3d")
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == [
        "epoch-0001.pt",
        "hardware.json",
        "history.json",
    ]
    parts = train(tmp_path / "parts", loaded, "segmentation3d")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_a_mask_that_was_corrected_is_another_cohort_though_its_file_is_as_large(data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    packed = tmp_path / "data/SYNTHETIC-001/SYNTHETIC-001_seg.nii.gz"
    mask = nibabel.load(packed)
    values, told = np.asarray(mask.dataobj).copy(), []
    packed.unlink()
    for label in (0, 2):
        values[8, 8, 8] = label
        nibabel.save(nibabel.Nifti1Image(values, mask.affine), packed.with_suffix(""))
        told.append((packed.with_suffix("").stat().st_size, study.fingerprint(read_cohort(tmp_path / "data"))))
    (size, before), (same_size, after) = told
    assert size == same_size
    assert before != after


def test_a_training_that_diverges_is_stopped(tmp_path: Path, loaded: list[samples.Sample]) -> None:
    trained = Training(sizes.learner("segmentation3d", SMALL, "dice", seed=0), PLAN, Run(tmp_path))
    with torch.no_grad():
        next(trained.family.segmenter.parameters()).fill_(float("nan"))
    with pytest.raises(ValueError, match="lower the learning rate"):
        trained.fit(Patches(loaded[:2], SMALL.edge, 0))


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "run"
    arguments = ["train", "gan", "--data", str(data), "--out", str(folder), "--size", "smoke", "--patience", "1"]
    assert main(arguments) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit.gpu, "processor", lambda *_: "another machine")  # which trains nothing
        assert main(arguments) == 0  # complete: nothing is done again
    assert main([*arguments, "--seed", "1"]) == 2  # another training does not take its place
    return folder


def test_the_figures_say_what_they_are_from(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(run), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["task"], figures["n"], figures["patients"]) == ("gan", 1, 1)
    assert "SYNTHETIC" in figures["data"]
    assert figures["steps"] == SMOKE.epochs * SMOKE.steps
    assert figures["hardware"] == json.loads((run / "model.json").read_text())["hardware"] == fit.hardware()
    for region in ("core", "oedema", "whole"):
        assert 0 <= figures["regions"][region]["dice"] <= 1
    assert main(["evaluate", str(run)]) == 0
    assert "core dice: " in capsys.readouterr().out


def test_cases_that_were_learnt_from_are_no_test_and_others_are(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run), "--data", str(data)]) == 2
    assert "learnt from SYNTHETIC-00" in capsys.readouterr().err
    assert main(["synthetic3d", str(tmp_path / "again"), "--cases", "1", "--spacing", "7"]) == 0
    assert main(["evaluate", str(run), "--data", str(tmp_path / "again")]) == 2
    assert "made-up brains in 3D of seed 0, and these are the same ones" in capsys.readouterr().err
    assert main(["synthetic3d", str(tmp_path / "others"), "--cases", "1", "--spacing", "8", "--seed", "5"]) == 0
    assert "core = necrotic + enhancing" in capsys.readouterr().out
    assert main(["evaluate", str(run), "--data", str(tmp_path / "others"), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["n"], figures["split"]) == (1, "other cases than those of the training")


def test_a_renamed_case_is_known_again(run: Path, data: Path, tmp_path: Path) -> None:
    trained = study.Trained.read(run)
    for name in ("SYNTHETIC-001", "SYNTHETIC-002", "SYNTHETIC-003"):
        for path in (data / name).iterdir():
            target = tmp_path / "new" / f"other-{name[-1]}" / path.name.replace(name, f"other-{name[-1]}")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    with pytest.raises(LeakageError, match="learnt from other-"):
        trained.refuse_known(trained.load(read_cohort(tmp_path / "new")))


def test_every_new_case_gets_a_mask_on_its_own_grid_and_volumes(run: Path, data: Path, tmp_path: Path) -> None:
    arguments = ["predict", str(run), "--input", str(data), "--out", str(tmp_path / "found")]
    assert main(arguments) == 0
    mask = nibabel.load(tmp_path / "found/SYNTHETIC-001_seg.nii.gz")
    image = nibabel.load(data / "SYNTHETIC-001/SYNTHETIC-001_t1.nii.gz")
    assert mask.shape == image.shape
    assert np.array_equal(mask.affine, image.affine)
    assert bytes(mask.header["descrip"]).startswith(b"SYNTHETIC")
    values = np.asarray(mask.dataobj)
    assert set(np.unique(values)) <= {0, 1, 2}
    with (tmp_path / "found/predictions.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert float(rows[0]["core_ml"]) == pytest.approx((values == 1).sum() * 0.512, abs=0.01)
    assert main(arguments) == 2  # nothing is overwritten
    assert main([*arguments, "--force"]) == 0


def test_a_case_that_cannot_be_read_is_named_and_the_others_get_their_masks(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(data, tmp_path / "data")
    broken = tmp_path / "data/SYNTHETIC-001/SYNTHETIC-001_t2.nii.gz"
    broken.write_bytes(broken.read_bytes()[:500])
    assert main(["predict", str(run), "--input", str(tmp_path / "data"), "--out", str(tmp_path / "found")]) == 1
    said = capsys.readouterr().out
    assert "FAULT: " in said
    assert "SYNTHETIC-001_t2.nii.gz is no readable NIfTI file" in said
    with (tmp_path / "found/predictions.csv").open() as table:
        assert [row["case"] for row in csv.DictReader(table)] == ["SYNTHETIC-002", "SYNTHETIC-003"]
    command = ["train", "gan", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--size", "smoke"]
    assert main(command) == 2
    assert not (tmp_path / "run").exists(), "the next training, with an intact copy, would be refused"


def test_the_enhancing_part_is_learnt_and_measured_by_itself_and_the_core_as_well(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out, cases = str(tmp_path / "run"), tmp_path / "out", tmp_path / "cases"
    shutil.copytree(data, cases)
    cohort.make(tmp_path / "more", cases=1, spacing=8.0, seed=1)
    (tmp_path / "more/SYNTHETIC-001").rename(cases / "SYNTHETIC-004")
    for path in (cases / "SYNTHETIC-004").iterdir():
        path.unlink() if "seg" in path.name else path.rename(path.with_name(path.name.replace("001", "004")))
    assert main(["train", "vae", "--data", str(cases), "--out", run, "--size", "smoke", "--enhancing"]) == 0
    said = capsys.readouterr().out
    assert "BraTS 2018-2021 (enhancing = 4): necrosis = 1, oedema = 2" in said
    assert "1 of 4 cases have no mask, and nothing is learnt from them." in said
    assert main(["synthetic3d", str(tmp_path / "others"), "--cases", "1", "--spacing", "8", "--seed", "5"]) == 0
    capsys.readouterr()
    for arguments in ([], ["--data", str(tmp_path / "others")]):
        assert main(["evaluate", run, *arguments, "--json"]) == 0
        regions = json.loads(capsys.readouterr().out)["regions"]
        assert list(regions) == ["necrosis", "oedema", "enhancing", "core", "whole"]
    assert main(["predict", run, "--input", str(tmp_path / "others"), "--out", str(out)]) == 0
    with (out / "predictions.csv").open() as table:
        assert list(next(csv.DictReader(table)))[1:4] == ["necrosis_ml", "oedema_ml", "enhancing_ml"]


def test_other_programs_get_the_generator_and_the_size_of_its_voxels(run: Path, data: Path, tmp_path: Path) -> None:
    assert main(["export", str(run), "--to", str(tmp_path / "network.onnx"), "--input", str(data)]) == 0
    model = onnx.load(tmp_path / "network.onnx")
    told = {one.key: one.value for one in model.metadata_props}
    assert (told["spacing_mm"], json.loads(told["labels"])) == ("5.0", ["background", "core", "oedema"])
    assert told["synthetic"] == "yes"
    weights = sum(int(np.prod(one.dims)) for one in model.graph.initializer)
    assert weights < 1.05 * sum(one.numel() for one in study.Trained.read(run).network.parameters())  # no critic


def test_the_models_are_listed_with_their_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    models = {model["name"]: model for model in json.loads(capsys.readouterr().out)}
    talk, listed = models["unet-talk"], {name: model["parameters"] for name, model in models.items()}
    assert (talk["parameters"], talk["trainable"]) == (34_535_745, 34_523_969)
    assert models["unet-talk-keras"] == {**talk, "name": "unet-talk-keras", "framework": "keras"}
    assert {"segmentation3d-quick", "vae-quick", "gan-quick", "vae-full"} <= set(listed)
    assert listed["gan-quick"] > listed["segmentation3d-quick"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--size", "large"], "use one of smoke, quick, full"),
        (["--loss", "focal"], "there is no loss 'focal' in 3D; choose dice, ce + dice"),
        (["--no-pretraining"], "--no-pretraining is for segmentation2d"),
    ],
)
def test_what_cannot_be_done_is_said(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["train", "vae", "--data", str(data), "--out", str(tmp_path / "run"), *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_gpu_that_is_too_small_for_anything_is_said(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        for name, answer in (("is_available", True), ("device_count", 1), ("mem_get_info", (0, 100 * 1024**2))):
            patch.setattr(torch.cuda, name, lambda *_, answer=answer: answer)
        assert main(["train", "gan", "--data", str(data), "--out", str(tmp_path / "run")]) == 2
    assert "the GPU has 0.1 GiB. Use a smaller network" in capsys.readouterr().err


def test_too_few_patients_and_none_with_a_mask_are_said_and_take_no_folder(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(data / "SYNTHETIC-001", tmp_path / "few/SYNTHETIC-001")
    command = ["train", "vae", "--data", str(tmp_path / "few"), "--out", str(tmp_path / "run")]
    assert main(command) == 2
    assert "need one each" in capsys.readouterr().err
    (tmp_path / "few/SYNTHETIC-001/SYNTHETIC-001_seg.nii.gz").unlink()
    assert main(command) == 2
    assert "has no mask" in capsys.readouterr().err
    assert not (tmp_path / "run").exists(), "the next training, with what was missing, would be refused"


def test_a_site_with_three_patients_is_used_and_one_with_less_is_not(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(cohort, "make", lambda root, **_: root.name)
    monkeypatch.setenv("SCIENCEBOX_DATA", str(data))
    assert study.find_cohort("smoke", 0).root == data
    monkeypatch.setenv("SCIENCEBOX_DATA", str(data.parent))
    assert study.find_cohort("smoke", 0).root == data
    monkeypatch.setenv("SCIENCEBOX_DATA", str(data / "SYNTHETIC-001"))
    assert study.find_cohort("smoke", 0) == "synthetic-3d-6-cases-5-mm-seed-0"  # type: ignore[comparison-overlap]
    monkeypatch.setenv("SCIENCEBOX_DATA", str(tmp_path / "nowhere"))
    assert study.find_cohort("smoke", 0) == "synthetic-3d-6-cases-5-mm-seed-0"  # type: ignore[comparison-overlap]
    site = tmp_path / "site"
    shutil.copytree(data, site / "brats")
    (site / "alone").mkdir()
    shutil.copy(data / "SYNTHETIC-001/SYNTHETIC-001_t1.nii.gz", site / "alone")
    monkeypatch.setenv("SCIENCEBOX_DATA", str(site))
    assert study.find_cohort("smoke", 0).root == site / "brats"
    assert capsys.readouterr().out == ""
    (site / "brats/SYNTHETIC-002/SYNTHETIC-002_t2.nii.gz").unlink()
    assert study.find_cohort("smoke", 0) == "synthetic-3d-6-cases-5-mm-seed-0"  # type: ignore[comparison-overlap]
    said = capsys.readouterr().out
    assert said.startswith(f"Not taken: SYNTHETIC-002 in {site}/brats/SYNTHETIC-002 has no t2")
    assert said.count("Not taken") == 1
