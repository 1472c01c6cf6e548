"""Sessions whose GPUs do nothing."""

from __future__ import annotations

import pytest
from sciencebox.gpus.device import Device, Load, Process
from sciencebox.gpus.pool import Holding
from sciencebox.sessions.idle import IdleRule, IdleWatch

RULE = IdleRule(after_s=3600.0, utilisation=0.05, memory=0.5, warn_s=600.0)
GIB = 1024**3


def card(index: int = 0, utilisation: float | None = 0.0, used: int | None = 0, **more: object) -> Device:
    return Device(f"GPU-{index}", index, memory_bytes=10 * GIB, load=Load(utilisation, used), **more)  # type: ignore[arg-type]


def held(index: int, session: str) -> Holding:
    return Holding(f"GPU-{index}", session, session, 0.0)


@pytest.mark.parametrize(
    ("device", "idle"),
    [
        (card(), True),
        (card(utilisation=0.06), False),
        (card(used=6 * GIB), False),
        (card(used=5 * GIB, processes=(Process(1),)), True),  # a notebook that is open and does nothing
        (card(utilisation=None), True),  # a MIG instance on which nothing runs
        (card(utilisation=None, processes=(Process(1),)), False),
        (card(utilisation=None, unknown={"processes": "not supported"}), False),
        (card(utilisation=None, simulated=True), False),
        (card(used=None), True),
    ],
)
def test_what_is_not_known_to_do_nothing_is_not_idle(device: Device, idle: bool) -> None:
    assert RULE.is_idle(device) is idle


def test_a_session_is_idle_since_all_its_gpus_are_and_as_long_as_they_are() -> None:
    watch = IdleWatch(RULE)
    both = [held(0, "ada"), held(1, "ada"), held(2, "bob")]
    watch.see([card(0), card(1, 0.9), card(2)], both, 0.0)
    watch.see([card(0), card(1), card(2)], both, 100.0)
    assert (watch.seconds("ada", 150.0), watch.seconds("bob", 150.0)) == (50.0, 150.0)
    watch.see([card(0, 0.5), card(1), card(2)], both, 200.0)
    assert (watch.seconds("ada", 250.0), watch.seconds("bob", 250.0)) == (None, 250.0)


def test_a_card_that_is_out_of_sight_is_not_idle_and_a_session_that_is_gone_is_forgotten() -> None:
    watch = IdleWatch(RULE)
    watch.see([card(0)], [held(0, "ada")], 0.0)
    watch.see([], [held(0, "ada")], 10.0)
    assert watch.seconds("ada", 20.0) is None
    watch.see([card(0)], [held(0, "ada")], 30.0)
    watch.see([card(0)], [], 40.0)
    watch.see([card(0)], [held(0, "ada")], 50.0)
    assert watch.seconds("ada", 60.0) == 10.0


def test_a_session_is_not_charged_with_what_the_last_one_of_its_name_left_idle() -> None:
    watch = IdleWatch(RULE)
    watch.see([card(0)], [held(0, "ada")], 0.0)
    next_one = Holding("GPU-0", "ada", "ada", since=3590.0)
    assert watch.seconds("ada", 3600.0, next_one.since) == 10.0  # nobody has looked yet
    watch.see([card(0)], [next_one], 3605.0)
    assert watch.seconds("ada", 3605.0) == 15.0


def test_its_user_is_told_in_time() -> None:
    watch = IdleWatch(RULE)
    watch.see([card(0)], [held(0, "ada")], 0.0)
    assert watch.ends("ada", 2999.0) is None
    assert watch.ends("ada", 3000.0) == 3600.0
    assert watch.ends("ada", 4000.0) == 4000.0
    assert watch.ends("bob", 4000.0) is None


def test_without_a_limit_nobody_is_told() -> None:
    watch = IdleWatch(IdleRule(None, 0.05))
    watch.see([card(0)], [held(0, "ada")], 0.0)
    assert watch.ends("ada", 1e9) is None
