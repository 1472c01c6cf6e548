"""What was used counts less with time, and nothing but use changes who used more."""

from __future__ import annotations

from math import inf, isclose, log2

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sciencebox.gpus.fairshare import FairShare

NOW = 1_790_000_000.0
HALF_LIFE = 3600.0
USES = st.lists(st.tuples(st.integers(0, 50_000), st.integers(1, 20_000), st.integers(1, 4)), max_size=6)


def share_of(uses: list[tuple[int, int, int]]) -> FairShare:
    share = FairShare(HALF_LIFE)
    for ago, seconds, gpus in uses:
        share.add("ada", gpus, NOW - ago - seconds, NOW - ago)
    return share


def test_a_gpu_second_of_a_half_life_ago_counts_half() -> None:
    assert share_of([(0, 1, 1)]).used("ada", NOW) == pytest.approx(1, rel=1e-3)
    assert share_of([(3600, 1, 1)]).used("ada", NOW) == pytest.approx(0.5, rel=1e-3)
    assert share_of([(7200, 1, 4)]).used("ada", NOW) == pytest.approx(1, rel=1e-3)


def test_who_used_nothing_is_before_everybody() -> None:
    share = share_of([(40_000_000, 1, 1)])
    assert share.level("eve") == -inf < share.level("ada")
    assert share.used("eve", NOW) == 0


@given(USES)
def test_it_is_the_integral_whatever_the_order(uses: list[tuple[int, int, int]]) -> None:
    def forgotten(ago: float) -> float:
        return float(2 ** (-ago / HALF_LIFE))

    expected = sum(gpus * HALF_LIFE * (forgotten(a) - forgotten(a + s)) for a, s, gpus in uses) * log2(
        2.718281828459045
    )
    assert share_of(uses).used("ada", NOW) == pytest.approx(expected, rel=1e-5)
    assert share_of(uses[::-1]).used("ada", NOW) == pytest.approx(expected, rel=1e-5)


@given(USES, st.integers(1, 10_000), st.integers(1, 10_000))
def test_a_lease_in_two_parts_is_the_same_lease(uses: list[tuple[int, int, int]], first: int, second: int) -> None:
    whole, parts = share_of(uses), share_of(uses)
    whole.add("ada", 2, NOW, NOW + first + second)
    parts.add("ada", 2, NOW, NOW + first)
    parts.add("ada", 2, NOW + first, NOW + first + second)
    assert isclose(whole.level("ada"), parts.level("ada"), abs_tol=1e-6)


@given(USES, USES, st.floats(0, 1e9))
def test_waiting_alone_changes_no_order(
    ada: list[tuple[int, int, int]], bob: list[tuple[int, int, int]], wait: float
) -> None:
    assume(ada and bob)
    one, other = share_of(ada), share_of(bob)
    now = one.used("ada", NOW) <= other.used("ada", NOW)
    assert (one.level("ada") <= other.level("ada")) == now
    assert one.used("ada", NOW + wait) <= one.used("ada", NOW)


def test_a_half_life_is_a_time() -> None:
    with pytest.raises(ValueError, match="half-life"):
        FairShare(0)
