"""`13_how_a_leak_flatters` shows both splits side by side, and the guard that refuses one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.notebooks.conftest import results

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.notebooks

NAME = "13_how_a_leak_flatters"


def test_both_splits_are_measured_and_the_leaking_one_is_refused(synthetic) -> None:
    assert synthetic.complaints == []
    assert synthetic.figures == 3
    assert "split by slice: leaks. Refused: " in synthetic.text
    assert "split by patient: honest. Passed" in synthetic.text
    assert "0% of the test slices have their twin in the same patient" in synthetic.shown
    assert "SYNTHETIC: this says nothing about patients" in synthetic.shown
    assert "10.1038/s41598-021-01681-w" in synthetic.notebook.cells[0].source
    (stored,) = results(synthetic.home, NAME)
    assert {len(values) for series in stored["auc"].values() for values in series.values()} == {2}


def test_trainings_that_are_done_are_not_done_again(synthetic, execute: Callable) -> None:
    before = results(synthetic.home, NAME)
    (kept,) = (synthetic.home / "sciencebox-runs" / NAME).glob("*/trials.json")
    stamp = kept.stat().st_mtime_ns
    again = execute(NAME, synthetic.home)
    assert again.complaints == []
    assert (results(synthetic.home, NAME), kept.stat().st_mtime_ns) == (before, stamp)
