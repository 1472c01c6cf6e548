"""A result is never said without its circumstances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from brainmri.data import FIGSHARE, Source
from brainmri.metrics import Confusion, Interval
from brainmri.overlap import compare, mean_by_group
from brainmri.results import ClassificationResult, SegmentationResult
from brainmri.splits import Split

SPLIT = Split(np.arange(60), np.arange(60, 80), np.arange(80, 100), "block", "block split, fold 1 of 5, seed 0")
RESULT = ClassificationResult(
    auc=Interval(0.98, 0.95, 0.99),
    counts=Confusion(true_positive=9, false_negative=1, false_positive=2, true_negative=8),
    groups=5,
    split=SPLIT,
    source=FIGSHARE,
    size="quick",
    hardware="2 cores of AMD EPYC",
    epochs=30,
    seconds=130.0,
)


def test_data_size_hardware_split_interval_and_time_are_named() -> None:
    text = " ".join(RESULT.sentences())
    for words in (
        "10.6084/m9.figshare.1512427",
        "20 test slices of 5 blocks",
        "block split, fold 1 of 5, seed 0",
        "size quick on 2 cores of AMD EPYC",
        "30 epochs in 2 min 10 s",
        "AUC 0.980 (95 % interval 0.950 to 0.990)",
        "accuracy 0.850 at a threshold chosen on validation",
    ):
        assert words in text
    assert "SYNTHETIC" not in text


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (RESULT, "one whose slices reach from one block into the next may lie on two sides"),
        (replace(RESULT, source=Source("made-up heads", "CC0", synthetic=True)), "this says nothing about patients"),
        (replace(RESULT, size="smoke"), "do not quote this figure"),
        (replace(RESULT, epochs=0), "(trained before)"),
        (replace(RESULT, total=45), "(45 epochs, the last 30 of them in 2 min 10 s)"),
    ],
)
def test_caveats_are_said_where_they_apply(changed: ClassificationResult, words: str) -> None:
    assert words in " ".join(changed.sentences())


def test_a_patient_split_needs_no_caveat() -> None:
    by_patient = replace(RESULT, split=replace(SPLIT, by="patient", how="patient split, fold 1 of 5, seed 0"))
    assert "patients are not known" not in " ".join(by_patient.sentences())


def test_stored_values_are_those_of_the_sentence() -> None:
    stored = RESULT.as_json()
    assert (stored["auc"], stored["auc_low"], stored["auc_high"]) == (0.98, 0.95, 0.99)
    assert (stored["accuracy"], stored["n"], stored["split"]) == (0.85, 20, SPLIT.how)


def test_a_healthy_slice_on_which_something_was_marked_is_no_missed_tumour() -> None:
    tumour, nothing = np.eye(8, dtype=bool), np.zeros((8, 8), dtype=bool)
    overlaps = tuple(compare(found, truth) for found in (tumour, nothing) for truth in (tumour, nothing))
    result = SegmentationResult(
        mean_by_group([one.dice for one in overlaps], list("aabb")), overlaps, tuple("aabb"), "patient", 2, True,
        FIGSHARE, "quick", "2 cores of AMD EPYC", 130.0,
    )  # fmt: skip
    said = " ".join(result.sentences())
    assert "1 of 2 tumours were missed altogether." in said
    assert "2 slices show no tumour: their Dice is 1 where nothing was marked, else 0." in said
    stored = result.as_json()
    assert (stored["missed"], stored["without_tumour"]) == (1, 2)
    assert stored["sensitivity"] == 0.5, "of two tumours, one was found; on healthy slices there is none to find"
    assert stored["cases"]["a"] == {"dice": 0.5, "iou": 0.5, "sensitivity": 1.0, "missed": 0, "n": 2}
