"""A recipe is read, refused, applied to one scan and to a folder, and not applied twice to what it has made."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
from brainmri import cli, phantom, volume
from brainmri.data import DataError
from brainmri.recipe import Recipe, Step

if TYPE_CHECKING:
    from pathlib import Path

QUICK = (
    Step("denoise", {"block_radius": 1}),
    Step("resample", {"spacing": [5, 5, 5]}),
    Step("bias", {"rounds": 1, "iterations": 5}),
    Step("brain", {"method": "morphology"}),
    Step("z-score"),
)


@pytest.fixture(scope="module")
def made() -> phantom.Phantom:
    return phantom.make(spacing_mm=(4, 4, 4), lesions=[phantom.Lesion((30, -20, 20), 15)])


@pytest.fixture
def scans(made: phantom.Phantom, tmp_path: Path) -> Path:
    """A folder with two patients, one with a mask, and the recipe QUICK beside it."""
    for name in ("anna", "bert"):
        (tmp_path / "in" / name).mkdir(parents=True)
        volume.write(made.raw, tmp_path / "in" / name / "t1.nii.gz")
    volume.write(made.raw.holding(made.tumour), tmp_path / "in/anna/t1-mask.nii.gz")
    (tmp_path / "in/anna/._t1.nii.gz").write_bytes(b"Mac OS X")  # as archives of a Mac have it
    (tmp_path / "quick.json").write_text(Recipe(QUICK).as_json())
    return tmp_path


def run(folder: Path, *more: str, recipe: str = "quick.json") -> int:
    where = ["--from", str(folder / "in"), "--to", str(folder / "out")]
    return cli.main(["preprocess", "--recipe", str(folder / recipe), *where, *more])


def test_a_recipe_comes_back_from_its_text() -> None:
    for recipe in (Recipe.default(), Recipe(QUICK)):
        again = Recipe.from_json(recipe.as_json())
        assert (again, again.digest) == (recipe, recipe.digest)
    assert Recipe(QUICK).digest != Recipe(QUICK[::-1]).digest


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "This is no recipe"),
        ("[1]", "This is no recipe"),
        ('{"steps": [{"step": "denose"}]}', "there is no step 'denose'; use resample, denoise"),
        ('{"steps": [{"step": "denoise", "sgima": 3}]}', "has no option sgima; it has sigma, block_radius"),
        ('{"steps": [{"step": "resample"}]}', "the step resample needs spacing"),
        (
            '{"steps": [{"step": "resample", "spacing": 2}]}',
            "spacing of the step resample is 2; it has to be a list of",
        ),
        ('{"steps": [{"step": "resample", "spacing": ["1", "1", "1"]}]}', "it has to be a list of numbers"),
        ('{"steps": [{"step": "denoise", "sigma": "3"}]}', "sigma of the step denoise is '3'; it has to be a number"),
        ('{"steps": [{"step": "bias", "rounds": 1.5}]}', "rounds of the step bias is 1.5; it has to be a whole number"),
        ('{"steps": [{"step": "brain", "method": 1}]}', "method of the step brain is 1; it has to be a word"),
        ('{"steps": [{"step": "percentiles", "low": NaN}]}', "low of the step percentiles is nan"),
    ],
)
def test_what_is_no_recipe_is_said(text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        Recipe.from_json(text)


def test_a_step_that_needs_the_brain_says_what_to_put_before_it(made: phantom.Phantom) -> None:
    with pytest.raises(DataError, match="put the step brain before it"):
        Recipe((Step("z-score"),)).apply(made.raw)


def test_each_step_is_measured_by_the_tissue_of_the_finished_scan(made: phantom.Phantom) -> None:
    steps = tuple(step for step in QUICK if step.name != "resample")
    measures = Recipe(steps).apply(made.raw).measures
    assert [one.step for one in measures] == ["as scanned", "denoise", "bias", "brain", "z-score"]
    scanned, denoised, even, _, scaled = measures
    assert denoised.roughness < 0.8 * scanned.roughness
    assert even.joint_variation < scanned.joint_variation
    assert scaled.joint_variation == pytest.approx(even.joint_variation, rel=1e-3), "a unit changes nothing"


def test_a_folder_is_prepared_with_its_masks_and_not_twice(
    scans: Path, capsys: pytest.CaptureFixture[str], made: phantom.Phantom
) -> None:
    assert run(scans) == 0
    assert "2 scans prepared, 0 faults" in capsys.readouterr().out
    for name in ("anna", "bert"):
        scan, brain = (volume.read(scans / "out" / name / f"t1{end}.nii.gz") for end in ("", "-brain"))
        assert scan.spacing == pytest.approx((5, 5, 5))
        assert scan.values[brain.values > 0].std() == pytest.approx(1, abs=1e-3)
    mask = volume.read(scans / "out/anna/t1-mask.nii.gz")
    assert mask.values.shape == scan.values.shape
    assert mask.values.sum() * mask.voxel_ml == pytest.approx(made.tumour.sum() * made.raw.voxel_ml, rel=0.15)
    assert Recipe.read(scans / "out/recipe.json") == Recipe(QUICK)
    card = json.loads((scans / "out/anna/t1.json").read_text())
    assert [row["step"] for row in card["measures"]][:2] == ["as scanned", "denoise"]

    volume.write(made.raw.holding(made.raw.values * 2), scans / "in/bert/t1.nii.gz")
    assert run(scans) == 0
    assert "1 scans prepared, 1 found as they were made before, 0 faults" in capsys.readouterr().out


def test_what_is_made_of_a_made_up_scan_says_so_and_of_another_does_not(made: phantom.Phantom, scans: Path) -> None:
    other = replace(made.raw, synthetic=False)
    volume.write(other, scans / "in/bert/t1.nii.gz")
    assert run(scans) == 0
    told = {path.name: volume.read(path).synthetic for path in (scans / "out/anna").glob("*.nii.gz")}
    assert told == {"t1.nii.gz": True, "t1-brain.nii.gz": True, "t1-mask.nii.gz": True}
    assert not volume.read(scans / "out/bert/t1.nii.gz").synthetic


def test_what_found_the_brain_is_stored_and_another_environment_does_not_go_on_with_another(
    scans: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (scans / "open.json").write_text(Recipe((Step("resample", {"spacing": [8, 8, 8]}), Step("brain"))).as_json())
    monkeypatch.setattr("brainmri.preprocess.find_spec", lambda _: None)
    assert run(scans, recipe="open.json") == 0
    assert Recipe.read(scans / "out/recipe.json").steps[1] == Step("brain", {"method": "morphology"})
    monkeypatch.setattr("brainmri.preprocess.find_spec", lambda name: name)
    assert run(scans, recipe="open.json") == 2
    assert "was made by another recipe" in capsys.readouterr().err


def test_one_bad_file_is_a_fault_and_the_others_go_on(scans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (scans / "in/bert/t1.nii.gz").write_bytes(b"\x1f\x8bno")
    (scans / "in/carl").mkdir()
    volume.write(volume.Volume.of(np.full((9, 9, 9), np.nan)), scans / "in/carl/t1.nii.gz")
    colours = np.zeros((4, 4, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    (scans / "in/dora").mkdir()
    nibabel.save(nibabel.Nifti1Image(colours, np.eye(4)), scans / "in/dora/t1.nii.gz")
    assert run(scans) == 1
    shown = capsys.readouterr().out
    assert "FAULT: " in shown
    assert "is no readable NIfTI file" in shown
    assert "carl/t1.nii.gz is no single volume of finite numbers" in shown
    assert "dora/t1.nii.gz is no readable NIfTI file" in shown
    assert "1 scans prepared, 3 faults" in shown


def test_a_folder_of_another_recipe_is_not_written_into(scans: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (scans / "out").mkdir()
    (scans / "out/recipe.json").write_text(Recipe.default().as_json())
    assert run(scans) == 2
    assert "was made by another recipe" in capsys.readouterr().err
    (scans / "out/recipe.json").rename(scans / "out/precious.txt")
    assert run(scans) == 2
    assert "is not empty" in capsys.readouterr().err
    assert run(scans, "--mask", "*") == 2
    assert run(scans, recipe="nowhere.json") == 2
    assert "There is no recipe" in capsys.readouterr().err
    (scans / "utf-16.json").write_bytes(b"\xff\xfe{")
    assert run(scans, recipe="utf-16.json") == 2
    assert "utf-16.json is no text in UTF-8" in capsys.readouterr().err
    assert [path.name for path in (scans / "out").iterdir()] == ["precious.txt"]


@pytest.mark.parametrize("name", ["t1.nii", "t1-brain.nii.gz"])
def test_two_scans_that_would_get_one_name_are_refused(
    scans: Path, made: phantom.Phantom, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    volume.write(made.raw, scans / "in/anna" / name)
    assert run(scans) == 2
    assert "would have one name" in capsys.readouterr().err
    assert not (scans / "out").exists()


def test_a_target_inside_its_source_and_an_empty_source_are_refused(
    scans: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = str(scans / "in")
    assert cli.main(["preprocess", "--from", there, "--to", f"{there}/out"]) == 2
    assert "lies inside" in capsys.readouterr().err
    (scans / "empty").mkdir()
    assert cli.main(["preprocess", "--from", str(scans / "empty"), "--to", str(scans / "out")]) == 2
    assert "holds no NIfTI file" in capsys.readouterr().err
