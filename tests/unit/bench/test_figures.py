"""docs/results.md says what studies wrote, and nothing else."""

from __future__ import annotations

import json

from tests.bench.figures import DOCUMENT, FILE, record, render

RESULT = {
    "data": "Data: figshare, CC BY 4.0",
    "split": "block cross-validation, 4 folds",
    "groups": 5,
    "size": "quick",
    "pretrained": True,
    "seed": 0,
    "n": 48,
    "dice": 0.612,
    "dice_low": 0.5,
    "dice_high": 0.7,
    "missed": 3,
    "hardware": "2 cores",
    "seconds": 600,
}


def test_the_document_is_made_from_what_was_recorded() -> None:
    assert DOCUMENT.read_text() == render(json.loads(FILE.read_text()))


def test_a_line_names_the_circumstances_of_its_figure() -> None:
    line = render([RESULT]).splitlines()[-1]
    for words in ("CC BY 4.0", "block cross-validation, 4 folds, 5 groups", "0.61 (0.50 to 0.70)", "2 cores", "10 min"):
        assert words in line


def test_how_far_repeated_trainings_are_apart_is_said() -> None:
    assert "times" not in render([RESULT])
    said = render([RESULT, {**RESULT, "seed": 1, "dice": 0.5}])
    assert "was trained 2 times: Dice 0.50 to 0.61, mean 0.56" in said


def test_the_same_study_again_takes_the_place_of_the_first() -> None:
    again, other = {**RESULT, "dice": 0.7}, {**RESULT, "hardware": "a GPU"}
    assert record([RESULT, other], again) == [other, again]
