"""How well core and oedema were found: by region and patient, with intervals, and one way of training against another.

The rule for a region that is not there is that of the BraTS challenge (Baid et al. 2021, arXiv 2107.02314): where
neither the mask nor the answer has it, Dice is 1 and the distance 0; where one of the two has it, Dice is 0 and the
distance EMPTY_MM. Numbers are worked out on the grid of the case's own files.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import isinf
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage, stats

from brainmri import overlap
from brainmri.segmentation3d.cases import REGIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from brainmri.metrics import Interval

    Array = NDArray[np.float32]
    Mask = NDArray[np.bool_]
    Labels = NDArray[np.uint8]

EMPTY_MM = 373.13  # the diagonal of BraTS' volumes, which the challenge takes for a distance where one mask is empty
WHOLE = "whole"  # all regions together
TOGETHER = {"core": ("necrosis", "enhancing")}  # regions that BraTS asks about as one, too
UNCERTAIN = 0.2  # deviation of a probability over the ways of asking, from which on a voxel is called uncertain
SMALLEST_ML = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)  # components that may be worth less than no answer


@dataclass(frozen=True)
class Found:
    """One region of one case held against its mask. Distance in mm, volumes in ml; `volume_error` relative to truth."""

    dice: float
    hausdorff_95: float
    sensitivity: float
    volume_error: float
    volume_ml: float
    true_ml: float


@dataclass(frozen=True)
class Comparison:
    """One way of training against another on the same patients: mean difference in Dice, and Wilcoxon's p."""

    difference: Interval
    p: float
    patients: int


def labelled(probability: Array) -> Labels:
    """Of each voxel (regions, x, y, z) what is most probable: 0, or the number of a region."""
    none = 1 - probability.sum(axis=0)
    likeliest = 1 + probability.argmax(axis=0)
    return np.where(probability.max(axis=0) > none, likeliest, 0).astype(np.uint8)


def cleaned(labels: Labels, smallest_ml: float, voxel_ml: float) -> Labels:
    """Without connected pieces of tumour, core and oedema together, of less than so many ml."""
    pieces, count = ndimage.label(labels > 0)
    volumes = np.bincount(pieces.ravel(), minlength=count + 1) * voxel_ml
    return np.where(volumes[pieces] >= smallest_ml, labels, 0).astype(labels.dtype)


def smallest_worth_keeping(
    answers: Sequence[Labels], truths: Sequence[Labels], voxel_ml: float, regions: int = len(REGIONS)
) -> float:
    """Of SMALLEST_ML what gives the highest mean Dice; choose it on cases that are asked about no further."""
    means = []
    for smallest in SMALLEST_ML:
        kept = [cleaned(labels, smallest, voxel_ml) for labels in answers]
        means.append(np.mean([mean_dice(*pair, regions) for pair in zip(kept, truths, strict=True)]))
    return SMALLEST_ML[int(np.argmax(means))]


def mean_dice(found: Labels, truth: Labels, regions: int = len(REGIONS)) -> float:
    """Mean of all regions."""
    return float(np.mean([overlap.dice(found == region, truth == region) for region in range(1, regions + 1)]))


def held_against(
    found: Labels, truth: Labels, spacing: Sequence[float], names: Sequence[str] = REGIONS
) -> dict[str, Found]:
    """Each region, those of TOGETHER, and all as one, of an answer held against the mask; `spacing` in mm."""
    masks = {name: (found == region, truth == region) for region, name in enumerate(names, start=1)}
    for name, (one, other) in TOGETHER.items():
        if name not in masks and {one, other} <= masks.keys():
            masks[name] = (masks[one][0] | masks[other][0], masks[one][1] | masks[other][1])
    return {name: _one(*pair, spacing) for name, pair in {**masks, WHOLE: (found > 0, truth > 0)}.items()}


def single(found: Mapping[str, Found]) -> tuple[str, ...]:
    """The regions as they were looked for, without what some or all of them are together."""
    made = {WHOLE, *(name for name, parts in TOGETHER.items() if set(parts) <= found.keys())}
    return tuple(name for name in found if name not in made)


def summary(found: Sequence[Mapping[str, Found]], patients: Sequence[str], seed: int = 0) -> dict[str, dict[str, Any]]:
    """Means of each region over cases, Dice with the interval of a bootstrap over patients."""
    said: dict[str, dict[str, Any]] = {}
    for region in found[0]:
        each = [case[region] for case in found]
        dice = overlap.mean_by_group([one.dice for one in each], patients, seed=seed)
        said[region] = {
            "dice": dice.value,
            "dice_low": dice.low,
            "dice_high": dice.high,
            "hausdorff_95": float(np.mean([one.hausdorff_95 for one in each])),
            "hausdorff_95_median": float(np.median([one.hausdorff_95 for one in each])),
            "sensitivity": float(np.mean([one.sensitivity for one in each])),
            "volume_error_median": float(np.median([abs(one.volume_error) for one in each])),
            "missed": sum(one.dice == 0 and one.true_ml > 0 for one in each),
        }
    return said


def compared(one: Sequence[float], other: Sequence[float], patients: Sequence[str], seed: int = 0) -> Comparison:
    """Dice of the same cases by two networks: first minus second, by patient, with the signed-rank test's p.

    Raises ValueError for series of different lengths.
    """
    if not len(one) == len(other) == len(patients):
        raise ValueError("only answers about the same cases can be compared")
    names = np.unique(patients)
    each = np.subtract(one, other)
    by_patient = np.array([each[np.asarray(patients) == name].mean() for name in names])
    p = 1.0 if not by_patient.any() else float(stats.wilcoxon(by_patient).pvalue)
    return Comparison(overlap.mean_by_group(each, patients, seed=seed), p, len(names))


def as_json(found: Mapping[str, Found]) -> dict[str, dict[str, float]]:
    """For files and programs."""
    return {region: asdict(one) for region, one in found.items()}


def _one(found: Mask, truth: Mask, spacing: Sequence[float]) -> Found:
    box = _around(found | truth)
    measured = overlap.compare(found[box], truth[box], tuple(spacing))
    distance = EMPTY_MM if isinf(measured.hausdorff_95) else measured.hausdorff_95
    voxel_ml = float(np.prod(spacing)) / 1000
    volumes = [float(mask.sum()) * voxel_ml for mask in (found, truth)]
    error = (volumes[0] - volumes[1]) / volumes[1] if volumes[1] else float(volumes[0] > 0)
    return Found(measured.dice, distance, measured.sensitivity, error, *volumes)


def _around(mask: Mask) -> tuple[slice, ...]:
    """The box that holds all that is set, and a voxel more: distances cost time by the voxel."""
    if not mask.any():
        return (slice(0, 1),) * mask.ndim
    sides = [np.flatnonzero(mask.any(axis=tuple(set(range(mask.ndim)) - {axis}))) for axis in range(mask.ndim)]
    return tuple(slice(max(0, int(side[0]) - 1), int(side[-1]) + 2) for side in sides)
