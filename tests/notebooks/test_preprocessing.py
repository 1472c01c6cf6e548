"""`10_mri_and_preprocessing` on its made-up head, and on a scan that the site provides."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
from brainmri import phantom, volume
from brainmri.data import stored_source

from tests.notebooks.conftest import Executed, results

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.notebooks

NAME = "10_mri_and_preprocessing"


@pytest.fixture(scope="module")
def done(execute: Callable[..., Executed], tmp_path_factory: pytest.TempPathFactory) -> Executed:
    """The notebook, run where the site has one scan, behind a file of four volumes and one that is none."""
    home = tmp_path_factory.mktemp("home")
    (home / "site/Task01").mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4, 4), np.float32), np.eye(4)), home / "site/Task01/1.nii.gz")
    (home / "site/Task01/._1.nii.gz").write_bytes(b"Mac OS X")
    volume.write(phantom.make(spacing_mm=(4, 4, 4), bias=0.1).raw, home / "site/anna_t1.nii.gz")
    return execute(NAME, home, SCIENCEBOX_DATA=str(home / "site"))


def test_each_step_is_worth_something_and_the_head_is_called_made_up(done: Executed) -> None:
    assert done.complaints == []
    assert "SYNTHETIC: this says nothing about patients" in done.shown
    assert "do not quote these figures" in done.shown
    (stored,) = results(done.home, NAME)
    assert abs(stored["sigma_error"]) < 0.05
    assert stored["error_after"] < 0.9 * stored["error_before"]
    assert stored["unevenness_after"] < 0.5 * stored["unevenness_before"]
    assert stored["dice"]["morphology, evenly lit"] > max(0.95, stored["dice"]["morphology, raw scan"])


def test_a_mask_is_checked_mended_and_stored_beside_its_slice(done: Executed) -> None:
    assert "tiny piece apart from the rest" in done.shown
    assert "It has holes of" in done.shown
    assert "Mended nothing suspicious" in " ".join(done.shown.split())
    (mask,) = (done.home / "sciencebox-runs/data").glob("drawn-*/masks/*.png")
    assert (mask.parents[1] / "slices" / mask.name).is_file()
    assert stored_source(mask.parents[1]).synthetic


def test_the_scan_of_the_site_is_prepared_too(done: Executed) -> None:
    assert done.figures == 10
    assert "preparing anna_t1.nii.gz · done" in done.shown
    assert "Task01/1.nii.gz is no single volume of finite numbers" in done.text
    assert "._1.nii.gz" not in done.text
