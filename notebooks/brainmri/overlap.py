"""How well a mask fits the true one: overlap, distance of the borders, area. True is tumour.

Axes and spacing are those of an image (height, width) or of a volume (x, y, z).

The rule for empty masks: if both are empty, they agree (Dice, IoU and sensitivity 1, distance 0). If one is, they do
not (Dice and IoU 0, distance infinite); the sensitivity where there is nothing to be found is 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from brainmri.metrics import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Overlap:
    """A mask held against the true one, of `area` pixels. `hausdorff_95` is in the unit of `spacing`.

    `area_error` is relative to truth.
    """

    dice: float
    iou: float
    sensitivity: float
    hausdorff_95: float
    area_error: float
    area: int


def compare(found: Mask, truth: Mask, spacing: Sequence[float] | None = None) -> Overlap:
    """Hold a mask against the true one. `spacing` is a pixel's size (1). Raises ValueError for other shapes."""
    if found.shape != truth.shape:
        raise ValueError(f"masks of {found.shape} and {truth.shape} pixels cannot be compared")
    both, ours, theirs = (int(mask.sum()) for mask in (found & truth, found, truth))
    return Overlap(
        dice=dice(found, truth),
        iou=_ratio(both, ours + theirs - both),
        sensitivity=_ratio(both, theirs),
        hausdorff_95=hausdorff_95(found, truth, spacing),
        area_error=(ours - theirs) / theirs if theirs else (inf if ours else 0.0),
        area=theirs,
    )


def dice(found: Mask, truth: Mask) -> float:
    """Twice what both have, by what each has."""
    return _ratio(2 * int((found & truth).sum()), int(found.sum()) + int(truth.sum()))


def hausdorff_95(found: Mask, truth: Mask, spacing: Sequence[float] | None = None) -> float:
    """The distance to the other border that 95 % of a border's points do not exceed; the larger of the two ways."""
    if not found.any() or not truth.any():
        return 0.0 if found.any() == truth.any() else inf
    one, other = _border(found), _border(truth)
    to_other = ndimage.distance_transform_edt(~other, sampling=spacing)[one]
    to_one = ndimage.distance_transform_edt(~one, sampling=spacing)[other]
    return float(max(np.percentile(to_other, 95), np.percentile(to_one, 95)))


def mean_sensitivity(overlaps: Sequence[Overlap]) -> float:
    """Of the images with a tumour: those without, where nothing can be missed, would raise it. NaN for none."""
    found = [one.sensitivity for one in overlaps if one.area]
    return float(np.mean(found)) if found else nan


def mean_by_group(values: ArrayLike, groups: Sequence[str], *, draws: int = 2000, seed: int = 0) -> Interval:
    """The mean over slices with the 95 % interval of a bootstrap over groups (patients or blocks); one has none."""
    value, members = np.asarray(values, dtype=np.float64), np.unique(np.asarray(groups), return_inverse=True)[1]
    sums, counts = np.bincount(members, value), np.bincount(members)
    if len(counts) == 1:
        return Interval(float(value.mean()), nan, nan)
    drawn = np.random.default_rng(seed).integers(len(counts), size=(draws, len(counts)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(value.mean()), float(low), float(high))


def _border(mask: Mask) -> Mask:
    return mask & ~ndimage.binary_erosion(mask)


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 1.0
