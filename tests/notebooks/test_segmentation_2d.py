"""`12_segmentation_2d` from the first cell to the stored network."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.notebooks.conftest import results

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.notebooks

NAME = "12_segmentation_2d"
DATA = "sciencebox-runs/data"


def test_on_synthetic_heads_it_runs_and_says_what_they_are(synthetic) -> None:
    assert synthetic.complaints == []
    assert synthetic.figures == 8
    assert "SYNTHETIC: this says nothing about patients" in synthetic.shown
    assert "do not quote this figure" in synthetic.shown
    stored, _alone = sorted(results(synthetic.home, NAME), key=lambda one: not one["pretrained"])
    assert stored["split"] == "patient cross-validation, 2 folds"
    assert f"Dice {stored['dice']:.3f}" in synthetic.shown
    (compared,) = results(synthetic.home, "losses_compared")
    assert (compared["learnt_from"], compared["groups"]) == (26, 7)
    for name, figures in compared["losses"].items():
        assert f"{name} {figures['dice_at_half']:.2f}" in " ".join(synthetic.shown.split())


def test_its_trainings_are_logged_and_listed_at_its_end(synthetic) -> None:
    assert (synthetic.home / "sciencebox-runs/mlflow.db").is_file()
    assert "smoke-synthetic-masks-alone" in synthetic.shown


@pytest.mark.data
def test_on_real_slices_it_names_them_and_their_blocks(
    synthetic, execute: Callable, tmp_path: Path, real_data: Path
) -> None:
    shutil.copytree(synthetic.home / DATA, tmp_path / DATA)  # heads that were drawn are not drawn again
    done = execute(NAME, tmp_path, SCIENCEBOX_DATA=str(real_data))
    assert done.complaints == []
    assert "10.6084/m9.figshare.1512427, CC BY 4.0" in done.shown
    stored, _alone = sorted(results(tmp_path, NAME), key=lambda one: not one["pretrained"])
    assert (stored["n"], stored["groups"], stored["split"]) == (48, 5, "block cross-validation, 2 folds")
    assert "may lie on two sides" in done.shown
