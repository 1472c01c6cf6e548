"""Metrics against scikit-learn, against counting by hand, and against what an interval promises."""

from __future__ import annotations

import numpy as np
import pytest
from brainmri import metrics
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference


@st.composite
def results(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Truth with both classes, and scores with ties."""
    truth = [1, 0, *draw(st.lists(st.integers(0, 1), max_size=40))]
    score = draw(st.lists(st.integers(0, 12).map(lambda n: n / 12), min_size=len(truth), max_size=len(truth)))
    return np.array(truth), np.array(score)


@given(results())
def test_auc_is_that_of_scikit_learn(result: tuple[np.ndarray, np.ndarray]) -> None:
    truth, score = result
    assert metrics.roc_auc(truth, score) == pytest.approx(reference.roc_auc_score(truth, score))


@given(results())
def test_curve_is_that_of_scikit_learn(result: tuple[np.ndarray, np.ndarray]) -> None:
    truth, score = result
    curve = metrics.roc_curve(truth, score)
    false, true, threshold = reference.roc_curve(truth, score, drop_intermediate=False)
    assert curve.false_positive_rate == pytest.approx(false)
    assert curve.true_positive_rate == pytest.approx(true)
    assert np.array_equal(curve.threshold, threshold)


@given(results(), st.sampled_from([0.0, 0.5, 0.9, 1.0]))
def test_sensitivity_at_specificity_is_the_best_of_all_thresholds(
    result: tuple[np.ndarray, np.ndarray], specificity: float
) -> None:
    truth, score = result
    tried = [metrics.confusion(truth, score, threshold) for threshold in [*score, 2.0]]
    best = max(counts.sensitivity for counts in tried if counts.specificity >= specificity - 1e-9)
    assert metrics.sensitivity_at_specificity(truth, score, specificity) == pytest.approx(best)


@given(results())
def test_best_threshold_is_not_beaten(result: tuple[np.ndarray, np.ndarray]) -> None:
    truth, score = result

    def youden(threshold: float) -> float:
        counts = metrics.confusion(truth, score, threshold)
        return counts.sensitivity + counts.specificity

    chosen = youden(metrics.best_threshold(truth, score))
    assert chosen == pytest.approx(max(youden(threshold) for threshold in [*score, 2.0]))


def test_threshold_lies_between_the_classes() -> None:
    assert metrics.best_threshold([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.9]) == pytest.approx(0.4)


@given(results())
def test_confusion_counts_every_slice_once(result: tuple[np.ndarray, np.ndarray]) -> None:
    truth, score = result
    counts = metrics.confusion(truth, score, 0.5)
    ((tn, fp), (fn, tp)) = reference.confusion_matrix(truth, score >= 0.5, labels=[0, 1])
    assert counts == metrics.Confusion(tp, fn, fp, tn)
    assert counts.accuracy == pytest.approx(reference.accuracy_score(truth, score >= 0.5))


def alike_within_patients(patients: int, slices: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, score and patient of slices; those of one patient share most of their score."""
    random = np.random.default_rng(seed)
    truth = np.repeat(np.arange(patients) % 2, slices)
    score = np.repeat(random.normal(size=patients), slices) + truth + 0.1 * random.normal(size=len(truth))
    return truth, score, np.repeat(np.arange(patients), slices)


def test_interval_over_patients_is_wider_than_over_slices() -> None:
    truth, score, patients = alike_within_patients(40, 15, seed=0)
    by_patient = metrics.bootstrap_auc(truth, score, patients)
    by_slice = metrics.bootstrap_auc(truth, score, np.arange(len(truth)))
    assert by_patient.low < by_slice.low < by_patient.value < by_slice.high < by_patient.high


def test_interval_covers_the_true_auc_about_as_often_as_it_says() -> None:
    """Scores differ by one standard deviation between the classes: the true AUC is Phi(1 / sqrt 2) = 0.760."""
    truths = [metrics.bootstrap_auc(*alike_within_patients(60, 3, seed), draws=400) for seed in range(60)]
    covered = sum(interval.low <= 0.760 <= interval.high for interval in truths)
    assert covered >= 50


def test_bootstrap_repeats_with_its_seed_and_reads_well() -> None:
    truth, score, patients = alike_within_patients(20, 5, seed=1)
    once, again = (metrics.bootstrap_auc(truth, score, patients, seed=3) for _ in range(2))
    assert once == again
    assert str(metrics.Interval(0.98765, 0.9, 1.0)) == "0.988 (95 % interval 0.900 to 1.000)"


@pytest.mark.parametrize(
    ("truth", "score", "words"),
    [
        ([1, 1], [0.1, 0.2], "both classes are needed"),
        ([1, 0], [0.1], "2 labels but 1 scores"),
        ([1, 0], [0.1, float("nan")], "the training has diverged"),
    ],
)
def test_what_cannot_be_measured_is_said(truth: list[int], score: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        metrics.roc_auc(truth, score)


def test_probabilities_that_are_right_are_calibrated() -> None:
    random = np.random.default_rng(0)
    probability = random.uniform(size=40_000)
    honest = metrics.reliability(probability, random.uniform(size=40_000) < probability)
    boasting = metrics.reliability(np.where(probability > 0.5, 0.99, 0.01), random.uniform(size=40_000) < probability)
    assert metrics.calibration_error(honest) < 0.02
    assert metrics.calibration_error(boasting) > 0.2
    assert metrics.calibration_error([]) == 0
