"""The replay of a week: what is compared is comparable."""

from __future__ import annotations

import pytest

from tests.bench.replay import BUSY, GPUS, WEEK_S, FirstCome, Ours, Week, Wish, alone, bound, entitled, replay, wishes

HOUR = 3600.0


def test_one_user_alone_never_waits_whichever_queue() -> None:
    wanted = {"ada": [Wish(HOUR, 2, 3 * HOUR, 4 * HOUR)] * 60}
    for scheduler in (Ours(), FirstCome()):
        week = replay(wanted, scheduler)
        assert set(week.waits_s) == {0.0}
        assert week.used_s == alone(wanted) == {"ada": 2 * 3 * HOUR * 42}


def test_never_more_is_used_than_any_plan_could() -> None:
    wanted = wishes(BUSY, 1)
    for scheduler in (Ours(), FirstCome()):
        week = replay(wanted, scheduler)
        assert 0.5 < week.utilisation <= bound(wanted)
        assert all(week.used_s[user] <= used + 1 for user, used in alone(wanted).items())


def test_what_nobody_wanted_in_time_cannot_be_made_up_for() -> None:
    half, long = WEEK_S / 2, 2 * WEEK_S
    assert bound({}) == 0
    assert bound({"ada": [Wish(0, GPUS, long, long)]}) == 1
    assert bound({"ada": [Wish(0, 2, half, half)]}) == pytest.approx(0.5 * 2 / GPUS)
    # Both want everything, but only from the middle of the week on.
    assert bound({name: [Wish(half, GPUS, half, half)] for name in ("ada", "bob")}) == pytest.approx(0.5)


def test_the_fair_share_gives_small_wishes_first() -> None:
    whole = GPUS * WEEK_S
    assert entitled({"a": 0.1 * whole, "b": whole, "c": whole}) == pytest.approx(
        {"a": 0.1 * whole, "b": 0.45 * whole, "c": 0.45 * whole}
    )
    assert entitled({"a": 1.0}) == {"a": 1.0}


def test_jain_s_index() -> None:
    assert Week({"a": 1.0, "b": 1.0}, []).fairness({"a": 2.0, "b": 2.0}) == 1.0
    assert Week({"a": 1.0, "b": 0.0}, []).fairness({"a": 1.0, "b": 1.0}) == 0.5
