"""`01_software_stack`: every environment of the release is shown at work."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.notebooks


def test_it_shows_the_release_and_every_environment_at_work(execute: Callable, tmp_path: Path) -> None:
    done = execute("01_software_stack", tmp_path)
    assert done.complaints == []
    assert done.figures == 1
    assert "torch 2.15.0" in done.shown
    assert "mxnet 1.9.1, numpy 1.23.5" in done.shown
    assert "pyspark 4.3.0, root 0.1a12" in done.shown
    assert re.search(r"CUDA libraries from the stack\s+[1-9]", done.shown)
    assert re.search(r"Not from where it should be\s+none", done.shown)
    accuracy = float(re.search(r"signal from background in ([\d.]+)%", done.shown)[1])  # type: ignore[index]
    assert 70 < accuracy < 80
    assert "TMVA: not in this ROOT" in done.text
    assert re.search(r"MXNet 1\.9\.1 learnt .* right on (9\d|100)%", done.shown)
    assert f"{tmp_path}/.local/sciencebox/SB_1/pytorch" in done.shown
