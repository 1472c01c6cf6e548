"""The last minutes of each device."""

from __future__ import annotations

from sciencebox.gpus.device import Device, Load
from sciencebox.gpus.history import EVERY_S, POINTS, History


def card(index: int, utilisation: float | None) -> Device:
    return Device(f"GPU-{index}", index, load=Load(utilisation))


def test_points_come_at_a_steady_pace_however_often_the_driver_is_looked_at() -> None:
    history = History()
    for second in range(60):
        history.see([card(0, second / 100)], float(second))
    assert len(history.of("GPU-0")) == 5
    history.see([card(0, 1.0)], 1000.0)
    assert history.of("GPU-0")[-1] == 1.0


def test_old_points_and_devices_that_are_gone_are_forgotten() -> None:
    history = History()
    for n in range(POINTS + 5):
        history.see([card(0, None), card(1, n / 100)], n * EVERY_S)
    assert history.of("GPU-0") == [None] * POINTS
    assert history.of("GPU-1")[0] == 0.05
    history.see([card(0, None)], 1e6)
    assert history.of("GPU-1") == []
