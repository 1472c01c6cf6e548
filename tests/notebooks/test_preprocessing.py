"""`10_mri_and_preprocessing` on its made-up head, and on a scan of the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.notebooks.conftest import results

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.notebooks

NAME = "10_mri_and_preprocessing"


def test_each_step_is_worth_something_and_the_head_is_called_made_up(synthetic) -> None:
    assert synthetic.complaints == []
    assert synthetic.figures == 9
    assert "SYNTHETIC: this says nothing about patients" in synthetic.shown
    assert "do not quote these figures" in synthetic.shown
    assert "holds no NIfTI file" in synthetic.text
    (stored,) = results(synthetic.home, NAME)
    assert abs(stored["sigma_error"]) < 0.05
    assert stored["error_after"] < 0.9 * stored["error_before"]
    assert stored["unevenness_after"] < 0.5 * stored["unevenness_before"]
    assert stored["dice"]["morphology, evenly lit"] > max(0.95, stored["dice"]["morphology, raw scan"])


@pytest.mark.data
def test_a_scan_whose_spacing_was_lost_is_not_prepared(execute: Callable, tmp_path: Path, real_data: Path) -> None:
    done = execute(NAME, tmp_path, SCIENCEBOX_DATA=str(real_data / "progression"))
    assert done.complaints == []
    assert "its spacing was lost. Set `spacing`" in done.text
