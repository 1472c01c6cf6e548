"""The figures of the benchmarks' page follow from what was recorded."""

from __future__ import annotations

import pytest

from tests.bench import report
from tests.bench.measure import OURS_CPU, OURS_GPU, PLAIN_OURS, PLAIN_PLAIN

ABOUT = {"date": "2026-01-31", "machine": "2 cores"}


def test_a_ratio_is_the_median_of_the_pairs_not_of_the_medians() -> None:
    assert report.ratios([1.0, 2.0, 9.0], [2.0, 4.0, 3.0]) == 0.5


def test_a_goal_that_is_missed_is_said_to_be_missed() -> None:
    assert report.goal(0.41, 0.4) == "not reached: 0.41, the goal is at most 0.40"
    assert report.goal(0.4, 0.4).startswith("reached")


@pytest.mark.parametrize(("percent", "value"), [(0, 1.0), (50, 2.0), (95, 2.9), (100, 3.0)])
def test_percentiles_are_interpolated(percent: int, value: float) -> None:
    assert report.percentile([3.0, 1.0, 2.0], percent) == pytest.approx(value)


def test_the_page_names_machine_and_date_of_every_figure() -> None:
    times = {OURS_GPU: [1.0], OURS_CPU: [1.0], PLAIN_OURS: [1.0], PLAIN_PLAIN: [4.0]}
    page = report.page({"click_to_ready": {**ABOUT, "values": times}, "images": {**ABOUT, "values": {"hub": 3e8}}})

    assert "with our image: ratio reached: 1.00" in page
    assert "with the plain image: ratio reached: 0.25" in page
    assert "| hub | 300 | 500 |" in page
    assert page.count("*2026-01-31, 2 cores.*") == 2
