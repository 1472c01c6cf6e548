"""`32_other_organs`: three organs in CT by the code that marks two regions in MRI, told by one file."""

from __future__ import annotations

import pytest

from tests.notebooks.conftest import results

pytestmark = pytest.mark.notebooks

NAME = "32_other_organs"


def test_organs_are_marked_and_that_is_called_synthetic(synthetic) -> None:
    assert synthetic.complaints == []
    assert synthetic.figures == 3
    assert '"outside": -300' in synthetic.text
    assert "channels in: 1, classes out: 4" in synthetic.shown
    assert "SYNTHETIC: this says nothing about patients" in synthetic.shown
    assert "do not quote this figure" in synthetic.shown
    assert "Each case was asked about in one way" in synthetic.shown, "a liver in the mirror is no liver"
    (stored,) = results(synthetic.home, "segmentation_3d")
    assert list(stored["regions"]) == ["liver", "spleen", "kidneys", "whole"]
    assert f"Dice {stored['regions']['spleen']['dice']:.3f}" in synthetic.shown
