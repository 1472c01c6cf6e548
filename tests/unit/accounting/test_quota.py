"""What is left of a user's GPU hours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sciencebox.accounting.leases import Lease
from sciencebox.accounting.quota import SHORTEST_S, WEEK_S, budget

NOW = 1_790_000_000.0
HOUR = 3600.0


def used(since: float, until: float, device: str = "GPU-0") -> Lease:
    return Lease("ada", "s-ada", device, "", since, until, ended=True)


@pytest.mark.parametrize(
    ("leases", "used_s", "back_in_s"),
    [
        ([], 0, 0),
        ([used(NOW - 2 * HOUR, NOW - HOUR)], HOUR, WEEK_S - 2 * HOUR),
        ([used(NOW - 2 * HOUR, NOW), used(NOW - 2 * HOUR, NOW, "GPU-1")], 4 * HOUR, WEEK_S - 2 * HOUR),
        ([used(NOW - WEEK_S - HOUR, NOW - WEEK_S + HOUR)], HOUR, 0),  # half of it came back already
        ([used(NOW - 2 * HOUR, NOW - HOUR, "GPU-0:1of4")], HOUR / 4, WEEK_S - 2 * HOUR),  # a share is a part of a GPU
        ([used(NOW - 2 * WEEK_S, NOW - WEEK_S - HOUR)], 0, 0),
    ],
)
def test_what_was_used_in_the_last_seven_days_counts(leases: list[Lease], used_s: float, back_in_s: float) -> None:
    found = budget(leases, 10 * HOUR, NOW)
    assert (found.used_s, found.back_in_s) == (used_s, back_in_s)


def test_a_session_lasts_no_longer_than_what_is_left_for_all_its_cards() -> None:
    left = budget([used(NOW - 2 * HOUR, NOW)], 10 * HOUR, NOW)
    assert (left.session_s(1), left.session_s(4), left.session_s(1 / 4)) == (8 * HOUR, 2 * HOUR, 32 * HOUR)


def test_one_of_a_few_seconds_is_not_worth_starting() -> None:
    left = budget([], SHORTEST_S * 2 - 1, NOW)
    assert (left.session_s(1) > 0, left.session_s(2)) == (True, 0)


@given(st.lists(st.tuples(st.floats(0, 2e6), st.floats(1, 1e5), st.integers(1, 4)), max_size=20), st.floats(60, 1e6))
def test_the_quota_is_never_exceeded(requests: list[tuple[float, float, int]], limit_s: float) -> None:
    """One session after the other, each as long as it wants and may: no seven days have more than the quota."""
    leases: list[Lease] = []
    now = NOW
    for pause, wanted, gpus in requests:
        now += pause
        length = min(wanted, budget(leases, limit_s, now).session_s(gpus))
        leases += [used(now, now + length, f"GPU-{n}") for n in range(gpus)] if length else []
        now += length
        assert budget(leases, limit_s, now).used_s <= limit_s * (1 + 1e-9)
