"""How well a classifier tells two classes apart, with intervals that respect that slices come in groups.

Scores are higher for the positive class. Truth is 1 for it and 0 for the other class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

BINS = 10  # of probability


@dataclass(frozen=True)
class Interval:
    """A value with the bounds of its 95 % interval, which are not a number where there is none."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.low):
            return f"{self.value:.3f} (of a single patient or block, which gives no interval)"
        return f"{self.value:.3f} (95 % interval {self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Roc:
    """The ROC curve: false and true positive rate at each threshold (a score at or above it is called positive)."""

    false_positive_rate: NDArray[np.float64]
    true_positive_rate: NDArray[np.float64]
    threshold: NDArray[np.float64]


@dataclass(frozen=True)
class Confusion:
    """Counts of right and wrong calls at one threshold."""

    true_positive: int
    false_negative: int
    false_positive: int
    true_negative: int

    @property
    def accuracy(self) -> float:
        """Share of right calls."""
        right = self.true_positive + self.true_negative
        return right / (right + self.false_negative + self.false_positive)

    @property
    def sensitivity(self) -> float:
        """Share of positives that were found."""
        return self.true_positive / (self.true_positive + self.false_negative)

    @property
    def specificity(self) -> float:
        """Share of negatives that were left alone."""
        return self.true_negative / (self.true_negative + self.false_positive)


def roc_curve(truth: ArrayLike, score: ArrayLike) -> Roc:
    """The ROC curve from (0, 0) to (1, 1), one point a distinct score."""
    positive, value = _checked(truth, score)
    order = np.argsort(-value, kind="stable")
    positive, value = positive[order], value[order]
    last_of_tie = np.append(np.flatnonzero(np.diff(value)), len(value) - 1)
    hits = np.cumsum(positive)[last_of_tie]
    alarms = last_of_tie + 1 - hits
    return Roc(np.append(0, alarms / alarms[-1]), np.append(0, hits / hits[-1]), np.append(np.inf, value[last_of_tie]))


def roc_auc(truth: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counted half."""
    positive, value = _checked(truth, score)
    return float(_weighted_auc(positive, value, np.ones((1, len(value))))[0])


def bootstrap_auc(
    truth: ArrayLike, score: ArrayLike, groups: ArrayLike, *, draws: int = 2000, seed: int = 0
) -> Interval:
    """AUC with the 95 % percentile interval of a bootstrap over groups (patients or blocks), not slices.

    Slices of one group are alike, so drawing slices would make the interval too narrow. Draws in which one class is
    missing are left out. A single group has no interval.
    """
    positive, value = _checked(truth, score)
    members = np.unique(np.asarray(groups), return_inverse=True)[1]
    count = int(members.max()) + 1
    if count == 1:
        return Interval(roc_auc(truth, score), np.nan, np.nan)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    areas = _weighted_auc(positive, value, drawn[:, members].astype(np.float64))
    low, high = np.nanpercentile(areas, [2.5, 97.5]) if not np.isnan(areas).all() else (np.nan, np.nan)
    return Interval(roc_auc(truth, score), float(low), float(high))


def sensitivity_at_specificity(truth: ArrayLike, score: ArrayLike, specificity: float) -> float:
    """The highest sensitivity that a threshold reaches while at least `specificity` of the negatives are left alone."""
    curve = roc_curve(truth, score)
    allowed = 1 - curve.false_positive_rate >= specificity - 1e-12
    return float(curve.true_positive_rate[allowed].max())


def best_threshold(truth: ArrayLike, score: ArrayLike) -> float:
    """The threshold with the highest sensitivity + specificity (Youden 1950), midway to the next lower score.

    Choose it on the validation set: chosen on the test set it would flatter the result.
    """
    curve = roc_curve(truth, score)
    best = int(np.argmax(curve.true_positive_rate - curve.false_positive_rate))
    if best == 0:
        return float(np.nextafter(curve.threshold[1], np.inf))
    if best + 1 == len(curve.threshold):
        return float(curve.threshold[best])
    return float((curve.threshold[best] + curve.threshold[best + 1]) / 2)


def confusion(truth: ArrayLike, score: ArrayLike, threshold: float) -> Confusion:
    """Counts of right and wrong calls when a score at or above `threshold` is called positive."""
    positive, value = _checked(truth, score)
    called = value >= threshold
    return Confusion(
        true_positive=int(np.sum(called & positive)),
        false_negative=int(np.sum(~called & positive)),
        false_positive=int(np.sum(called & ~positive)),
        true_negative=int(np.sum(~called & ~positive)),
    )


def reliability(probability: ArrayLike, truth: ArrayLike) -> list[dict[str, float]]:
    """For BINS of probability: how probable it was `said` to be, how often it was `there`, and the `count`.

    `probability` is that of the positive class, `truth` where there is one; equal shapes. Empty bins are left out.
    """
    said, there = np.asarray(probability, dtype=np.float64).ravel(), np.asarray(truth).astype(bool).ravel()
    number = np.minimum((said * BINS).astype(int), BINS - 1)
    inside = [number == one for one in range(BINS)]
    return [
        {"said": float(said[one].mean()), "there": float(there[one].mean()), "count": float(one.sum())}
        for one in inside
        if one.any()
    ]


def calibration_error(rows: Sequence[Mapping[str, float]]) -> float:
    """Mean distance of what was said from what was there (Guo et al. 2017, expected calibration error)."""
    total = sum(row["count"] for row in rows)
    return sum(row["count"] * abs(row["said"] - row["there"]) for row in rows) / total if total else 0.0


def _checked(truth: ArrayLike, score: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    positive = np.asarray(truth).astype(bool).ravel()
    value = np.asarray(score, dtype=np.float64).ravel()
    if positive.shape != value.shape:
        raise ValueError(f"{len(positive)} labels but {len(value)} scores")
    if not np.isfinite(value).all():
        raise ValueError("a score is not a finite number: the training has diverged; lower the learning rate")
    if positive.all() or not positive.any():
        raise ValueError("both classes are needed, but only one is present")
    return positive, value


def _weighted_auc(
    positive: NDArray[np.bool_], value: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """AUC for each row of `weights` (draws, slices): Mann-Whitney's statistic over tied scores; NaN without a class."""
    level = np.unique(value, return_inverse=True)[1]
    starts = np.flatnonzero(np.diff(np.sort(level), prepend=-1))
    order = np.argsort(level, kind="stable")
    by_level = np.add.reduceat((weights * positive)[:, order], starts, axis=1)
    negatives = np.add.reduceat((weights * ~positive)[:, order], starts, axis=1)
    below = np.cumsum(negatives, axis=1) - negatives
    wins = np.sum(by_level * (below + negatives / 2), axis=1)
    pairs = by_level.sum(axis=1) * negatives.sum(axis=1)
    areas = np.full(len(weights), np.nan)
    np.divide(wins, pairs, out=areas, where=pairs > 0)
    return areas
