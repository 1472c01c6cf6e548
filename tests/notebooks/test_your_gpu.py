"""`00_your_gpu` without a GPU, and with a simulated one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.notebooks

SESSION = {"release": "SB_1", "cores": 2, "memory_bytes": 8 * 1024**3, "gpus": [], "simulated": False}
CARD = {"uuid": "GPU-1", "model": "NVIDIA A100", "memory_bytes": 40 * 1024**3, "mig_profile": None, "simulated": True}


def test_without_a_gpu_it_runs_to_the_end_and_says_how_to_get_one(execute: Callable, tmp_path: Path) -> None:
    done = execute("00_your_gpu", tmp_path, session=SESSION)
    assert done.complaints == []
    assert done.figures == 1
    assert "no libcuda in this session" in done.shown
    assert "8 GiB" in done.shown
    assert "ms on a CPU with 2 threads. This session has no GPU" in done.shown
    assert "start it again with a GPU" in done.shown


def test_a_simulated_gpu_says_simulated_and_is_not_measured(execute: Callable, tmp_path: Path) -> None:
    done = execute("00_your_gpu", tmp_path, session={**SESSION, "gpus": [CARD], "simulated": True})
    assert done.complaints == []
    assert "NVIDIA A100, 40 GiB (SIMULATED)" in done.shown
    assert "SIMULATED" in done.shown
    assert "times faster" not in done.shown
