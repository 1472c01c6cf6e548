"""`30_follow_up`: what is measured of a made-up pair is what happened, and a report is left."""

from __future__ import annotations

import pytest

from tests.notebooks.conftest import results

pytestmark = pytest.mark.notebooks

NAME = "30_follow_up"


def test_the_known_growth_is_found_and_a_page_is_left(synthetic) -> None:
    assert synthetic.complaints == []
    assert synthetic.figures == 6
    assert "SYNTHETIC: this says nothing about patients" in synthetic.shown
    assert "This is not a medical device" in synthetic.shown
    (stored,) = results(synthetic.home, NAME)
    assert stored["registration"]["trusted"]
    assert stored["dice_against_truth"]["rigid"] > 0.85 > stored["dice_against_truth"]["as they lie"]
    assert (len(stored["new_parts_ml"]), len(stored["vanished_parts_ml"])) == (1, 1)
    (page,) = (synthetic.home / "sciencebox-runs" / NAME).glob("*/report.pdf")
    assert page.read_bytes()[:5] == b"%PDF-"
