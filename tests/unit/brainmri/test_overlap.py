"""How well a mask fits the true one: values worked out by hand, and the rule for empty masks."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from brainmri.overlap import compare, mean_by_group


def mask(top: int, left: int, edge: int = 4) -> np.ndarray:
    made = np.zeros((20, 20), dtype=bool)
    made[top : top + edge, left : left + edge] = True
    return made


EMPTY = np.zeros((20, 20), dtype=bool)


def test_values_worked_out_by_hand() -> None:
    found = compare(mask(5, 7), mask(5, 5))  # half of either, 2 pixels apart
    assert (found.dice, found.iou, found.sensitivity) == (0.5, 1 / 3, 0.5)
    assert (found.hausdorff_95, found.area_error) == (2, 0)


def test_a_distance_is_in_the_unit_of_the_pixels() -> None:
    assert compare(mask(5, 7), mask(5, 5), spacing=(1.0, 0.5)).hausdorff_95 == 1


@pytest.mark.parametrize(
    ("found", "truth", "dice", "sensitivity", "distance", "area"),
    [
        (EMPTY, EMPTY, 1, 1, 0, 0),
        (EMPTY, mask(5, 5), 0, 0, inf, -1),
        (mask(5, 5), EMPTY, 0, 1, inf, inf),
        (mask(5, 5), mask(5, 5), 1, 1, 0, 0),
        (mask(2, 10), mask(12, 10), 0, 0, 10, 0),
    ],
)
def test_empty_masks_follow_the_stated_rule(
    found: np.ndarray, truth: np.ndarray, dice: float, sensitivity: float, distance: float, area: float
) -> None:
    overlap = compare(found, truth)
    assert (overlap.dice, overlap.sensitivity) == (dice, sensitivity)
    assert overlap.hausdorff_95 == distance
    assert overlap.area_error == area


def test_masks_of_different_sizes_are_not_compared() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(EMPTY, EMPTY[:10])


def test_one_patient_gives_no_interval() -> None:
    found = mean_by_group([0.2, 0.8], ["a", "a"])
    assert str(found) == "0.500 (of a single patient or block, which gives no interval)"


def test_the_interval_is_over_patients_not_slices() -> None:
    values, groups = [0.2] * 50 + [0.8] * 50, ["a"] * 50 + ["b"] * 50
    found = mean_by_group(values, groups)
    assert (found.value, found.low, found.high) == (pytest.approx(0.5), pytest.approx(0.2), pytest.approx(0.8))
