"""The notebooks of segmentation in 3D, each from its first cell to its last, and the one that compares the families."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.notebooks.conftest import results

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.notebooks

RUNS = "segmentation_3d"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.mark.parametrize(
    ("name", "family", "figures"),
    [("20_segmentation_3d_unet", "U-Net", 8), ("22_segmentation_3d_gan", "conditional GAN", 4)],
)
def test_it_runs_on_a_made_up_cohort_and_says_what_that_is(
    execute: Callable, home: Path, name: str, family: str, figures: int
) -> None:
    done = execute(name, home)
    assert done.complaints == []
    assert done.figures == figures
    assert "BraTS 2018-2021 (enhancing = 4): core = necrotic + enhancing" in done.shown
    assert "SYNTHETIC: this says nothing about patients" in done.shown
    assert "do not quote this figure" in done.shown
    assert "A place is called uncertain where the answers about it" in done.shown
    (stored,) = (one for one in results(home, RUNS) if one["family"] == family)
    assert stored["patients"] == 2
    assert f"Dice {stored['regions']['core']['dice']:.3f}" in done.shown


def test_the_families_are_compared_and_none_is_trained_again(execute: Callable, home: Path) -> None:
    before = {one["family"]: one for one in results(home, RUNS)}
    assert set(before) == {"U-Net", "conditional GAN", "U-Net, dice loss"}
    done = execute("23_three_families_compared", home)
    assert done.complaints == []
    assert done.figures == 4
    for family in ("U-Net with VAE", "conditional GAN", "its generator alone"):
        assert f"{family} against the U-Net: core" in done.shown
    after = {one["family"]: one for one in results(home, RUNS)}
    assert set(after) - set(before) == {"U-Net with VAE"}
    assert {family: after[family] for family in before} == before


def test_a_sites_own_cases_are_taken_and_named(execute: Callable, home: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    (made,) = (home / "sciencebox-runs/data").glob("synthetic-3d-*")
    for number in (1, 2, 3):
        shutil.copytree(made / f"SYNTHETIC-00{number}", site / f"SYNTHETIC-00{number}")
    (site / "source.json").write_text('{"name": "scans of our hospital", "licence": "ours"}')
    done = execute("21_segmentation_3d_vae", tmp_path, SCIENCEBOX_DATA=str(site))
    assert done.complaints == []
    assert done.figures == 4
    assert "the same answers: True" in done.text
    assert "Data: scans of our hospital, ours" in done.shown
    assert "SYNTHETIC:" not in done.shown
    (stored,) = results(tmp_path, RUNS)
    assert stored["data"] == "Data: scans of our hospital, ours"
