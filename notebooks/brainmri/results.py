"""A measured figure together with everything that has to be said along with it."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from brainmri.overlap import mean_sensitivity
from brainmri.progress import spoken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brainmri.data import Source
    from brainmri.metrics import Confusion, Interval
    from brainmri.overlap import Overlap
    from brainmri.splits import Split


@dataclass(frozen=True)
class ClassificationResult:
    """What a classifier reached on `groups` patients or blocks that it never saw, and under which circumstances.

    `epochs` and `seconds` are those trained by this kernel, of `total`; 0 where the training was found complete.
    """

    auc: Interval
    counts: Confusion
    groups: int
    split: Split
    source: Source
    size: str
    hardware: str
    epochs: int
    seconds: float
    total: int = 0

    @property
    def n(self) -> int:
        """Number of test slices."""
        return len(self.split.test)

    def sentences(self) -> list[str]:
        """The result in words, the caveats after it."""
        epochs = f"{self.epochs} epoch{'s' * (self.epochs != 1)}"
        if 0 < self.epochs < self.total:
            epochs = f"{self.total} epochs, the last {self.epochs} of them"
        trained = f"{epochs} in {spoken(self.seconds)}" if self.epochs else "trained before"
        said = [
            f"{self.source.credit}.",
            f"On {self.n} test slices of {self.groups} {self.split.by}s that were never seen in training "
            f"({self.split.how}), size {self.size} on {self.hardware} ({trained}): AUC {self.auc}, accuracy "
            f"{self.counts.accuracy:.3f} at a threshold chosen on validation.",
        ]
        return [*said, *caveats(self.split.by, self.source, self.size)]

    def as_json(self) -> dict[str, Any]:
        """The result for files and programs."""
        return {
            "auc": self.auc.value,
            "auc_low": self.auc.low,
            "auc_high": self.auc.high,
            "accuracy": self.counts.accuracy,
            "sensitivity": self.counts.sensitivity,
            "specificity": self.counts.specificity,
            "n": self.n,
            "groups": self.groups,
            "split": self.split.how,
            "data": self.source.credit,
            "size": self.size,
            "hardware": self.hardware,
        }


@dataclass(frozen=True)
class SegmentationResult:
    """How well masks were found on slices whose patients or blocks were never seen, and under which circumstances.

    `overlaps` and `groups` have one entry a slice; `seconds` are those of all trainings.
    """

    dice: Interval
    overlaps: tuple[Overlap, ...]
    groups: tuple[str, ...]
    by: Literal["patient", "block"]
    folds: int
    pretrained: bool
    source: Source
    size: str
    hardware: str
    seconds: float
    seed: int = 0

    def sentences(self) -> list[str]:
        """The result in words, the caveats after it."""
        healthy = sum(not one.area for one in self.overlaps)
        missed, tumours = sum(one.sensitivity == 0 for one in self.overlaps), len(self.overlaps) - healthy
        first = "learning from synthetic heads first" if self.pretrained else "without learning from synthetic heads"
        said = [
            f"{self.source.credit}.",
            f"On {len(self.overlaps)} slices of {len(set(self.groups))} {self.by}s, each found by a network that never "
            f"saw its {self.by} ({self.split}), {first}, size {self.size} on {self.hardware} (trained in "
            f"{spoken(self.seconds)}): Dice {self.dice}; {missed} of {tumours} tumours were missed altogether.",
        ]
        return [*said, *of_healthy(healthy), *caveats(self.by, self.source, self.size)]

    @property
    def split(self) -> str:
        """How slices to learn from and to ask about were kept apart."""
        return f"{self.by} cross-validation, {self.folds} folds"

    def as_json(self) -> dict[str, Any]:
        """The result for files and programs."""
        return {
            **overlap_figures(self.dice, self.overlaps, self.groups),
            "split": self.split,
            "pretrained": self.pretrained,
            "data": self.source.credit,
            "size": self.size,
            "hardware": self.hardware,
            "seconds": round(self.seconds),
            "seed": self.seed,
        }


def of_healthy(count: int) -> list[str]:
    """What has to be said of slices without a tumour, of which there are so many."""
    if not count:
        return []
    return [f"{count} slices show no tumour: their Dice is 1 where nothing was marked, else 0."]


def overlap_figures(dice: Interval, overlaps: Sequence[Overlap], groups: Sequence[str]) -> dict[str, Any]:
    """What is told of found masks, and in `cases` of those of each patient or block.

    The distance is the median, in pixels: a missed tumour makes a mean infinite. So is the error of the area, which is
    relative to that of the tumour, whichever way, and that of slices with a tumour.
    """
    errors, pairs = [abs(one.area_error) for one in overlaps if one.area], list(zip(overlaps, groups, strict=True))
    return {
        "dice": dice.value,
        "dice_low": dice.low,
        "dice_high": dice.high,
        "iou": float(np.mean([one.iou for one in overlaps])),
        "sensitivity": mean_sensitivity(overlaps),
        "hausdorff_95_median": float(np.median([one.hausdorff_95 for one in overlaps])),
        "area_error_median": float(np.median(errors)) if errors else nan,
        "missed": sum(one.sensitivity == 0 for one in overlaps),
        "without_tumour": sum(not one.area for one in overlaps),
        "n": len(overlaps),
        "groups": len(set(groups)),
        "cases": {group: _of_group([one for one, other in pairs if other == group]) for group in sorted(set(groups))},
    }


def _of_group(overlaps: Sequence[Overlap]) -> dict[str, float]:
    """What is told of a patient or block: means over its slices."""
    return {
        "dice": float(np.mean([one.dice for one in overlaps])),
        "iou": float(np.mean([one.iou for one in overlaps])),
        "sensitivity": mean_sensitivity(overlaps),
        "missed": sum(one.sensitivity == 0 for one in overlaps),
        "n": len(overlaps),
    }


def caveats(by: Literal["patient", "block"], source: Source, size: str) -> list[str]:
    """What a reader of any result has to be told."""
    said = {
        "The patients are not known: one whose slices reach from one block into the next may lie on two sides.": (
            by == "block"
        ),
        "SYNTHETIC: this says nothing about patients.": source.synthetic,
        "Size smoke only tries the notebook out: do not quote this figure.": size == "smoke",
    }
    return [sentence for sentence, holds in said.items() if holds]
