"""Figures of found regions against values worked out by hand, the rule for empty ones, intervals and comparisons."""

from __future__ import annotations

import numpy as np
import pytest
from brainmri.data import Source
from brainmri.segmentation3d import measure, report
from brainmri.segmentation3d.cases import CORE, OEDEMA
from brainmri.segmentation3d.report import Result

EDGE = 12


def cube(start: int, end: int, region: int = CORE) -> np.ndarray:
    labels = np.zeros((EDGE,) * 3, dtype=np.uint8)
    labels[start:end, 2:6, 2:6] = region
    return labels


def test_values_worked_out_by_hand() -> None:
    """Eight slices of 4 x 4 voxels against the same moved by two: 6 of 8 in common."""
    found = measure.held_against(cube(2, 10), cube(4, 12), (2.0, 1.0, 1.0))["core"]
    assert found.dice == pytest.approx(0.75)
    assert found.sensitivity == pytest.approx(0.75)
    assert found.volume_error == 0
    assert found.hausdorff_95 == pytest.approx(4.0)  # two voxels of 2 mm
    assert (found.volume_ml, found.true_ml) == (pytest.approx(0.256), pytest.approx(0.256))


def test_the_rule_of_brats_for_what_is_not_there() -> None:
    nothing = np.zeros_like(cube(0, 1))
    right = measure.held_against(cube(2, 4), cube(2, 4), (1, 1, 1))["oedema"]
    assert (right.dice, right.hausdorff_95, right.sensitivity, right.volume_error) == (1, 0, 1, 0)
    invented = measure.held_against(cube(2, 4), nothing, (1, 1, 1))["core"]
    assert (invented.dice, invented.hausdorff_95, invented.volume_error) == (0, measure.EMPTY_MM, 1)
    missed = measure.held_against(nothing, cube(2, 4), (1, 1, 1))["core"]
    assert (missed.dice, missed.hausdorff_95, missed.sensitivity, missed.volume_error) == (0, measure.EMPTY_MM, 0, -1)


def test_both_regions_together_are_the_whole_tumour() -> None:
    truth = cube(2, 6) + cube(6, 10, OEDEMA)
    found = measure.held_against(cube(2, 10, OEDEMA), truth, (1, 1, 1))
    assert found["whole"].dice == 1
    assert found["core"].dice == 0
    assert found["oedema"].dice == pytest.approx(2 / 3)


def test_parts_of_a_core_are_its_core_together_as_brats_asks_for_it() -> None:
    truth = cube(2, 6) + cube(6, 8, 2) + cube(8, 10, 3)
    found = measure.held_against(cube(2, 10, 3), truth, (1, 1, 1), ("necrosis", "oedema", "enhancing"))
    assert list(found) == ["necrosis", "oedema", "enhancing", "core", "whole"]
    assert [found[name].dice for name in ("enhancing", "core", "whole")] == pytest.approx([0.4, 6 / 7, 1.0])
    assert measure.single(found) == ("necrosis", "oedema", "enhancing")
    assert measure.single(measure.held_against(truth, truth, (1, 1, 1))) == ("core", "oedema")


def test_a_voxel_is_what_is_most_probable_in_it() -> None:
    probability = np.array([[0.2, 0.5, 0.3, 0.34], [0.1, 0.4, 0.6, 0.33]]).reshape(2, 4, 1, 1)
    assert measure.labelled(probability).ravel().tolist() == [0, CORE, OEDEMA, CORE]


def test_small_pieces_go_and_their_size_is_chosen_where_it_helps() -> None:
    truth = cube(2, 8)
    found = truth.copy()
    found[11, 11, 11] = OEDEMA
    assert np.array_equal(measure.cleaned(found, 0.05, 0.02), truth)
    assert np.array_equal(measure.cleaned(found, 0.0, 0.02), found)
    chosen = measure.smallest_worth_keeping([found], [truth], 0.02)
    assert 0.02 < chosen <= 96 * 0.02
    assert measure.smallest_worth_keeping([truth], [truth], 0.02) == 0.0


def test_a_core_inside_its_oedema_is_no_small_piece() -> None:
    found = cube(2, 8, OEDEMA)
    found[4, 4, 4] = CORE
    assert np.array_equal(measure.cleaned(found, 0.5, 0.02), found)


def result(dice: list[float], name: str = "U-Net") -> Result:
    found = {
        f"case-{number}": {
            region: measure.Found(value, 3.0, value, 0.1, 10.0, 10.0) for region in ("core", "oedema", "whole")
        }
        for number, value in enumerate(dice)
    }
    source = Source("made-up brains", "licence", synthetic=True)
    patients = tuple(f"patient-{number}" for number in range(len(dice)))
    return Result(name, "vae", found, patients, "patient split", source, "quick", "2 cores", 480, 60.0, 1000, 0)


def test_one_training_against_another_on_the_same_patients() -> None:
    one, other = result([0.8, 0.7, 0.9, 0.6, 0.75, 0.85, 0.65]), result([0.7, 0.6, 0.8, 0.5, 0.65, 0.75, 0.55])
    compared = report.comparison(one, other, "core")
    assert compared.difference.value == pytest.approx(0.1)
    assert compared.p == pytest.approx(2 / 2**7)  # all seven signs alike, two-sided
    assert report.comparison(one, one, "core").p == 1.0
    with pytest.raises(ValueError, match="same cases"):
        report.comparison(one, result([0.5]), "core")


def test_a_patient_with_two_scans_counts_once() -> None:
    compared = measure.compared([1.0, 0.0, 0.5], [0.0, 1.0, 0.5], ["a", "a", "b"])
    assert (compared.patients, compared.p) == (2, 1.0)


def test_the_figures_are_told_with_what_they_are_from() -> None:
    said = " ".join(result([0.8, 0.6]).sentences())
    assert "SYNTHETIC DATA" in said
    assert "2 cases of 2 patients" in said
    assert "480 steps" in said
    assert "Core: Dice 0.700" in said
    assert "SYNTHETIC: this says nothing about patients." in said
    rows = report.table({"U-Net": result([0.8, 0.6]), "other": result([0.7, 0.6])}, "U-Net")
    assert rows[0]["core: Dice"].startswith("0.700 (0.600 to 0.800)")
    assert rows[0]["core: against U-Net"] == ""
    assert rows[1]["core: against U-Net"].startswith("-0.050")
