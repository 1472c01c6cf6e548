"""Made-up abdomens: the same every time, with three organs that can be told from what is around them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
from brainmri import cli
from brainmri.segmentation3d import abdomen
from brainmri.segmentation3d.cases import read_cohort, read_scan

if TYPE_CHECKING:
    from pathlib import Path


def test_a_case_has_organs_of_a_persons_size_on_their_sides() -> None:
    one, again = (abdomen.draw(3, spacing=8.0) for _ in range(2))
    assert np.array_equal(one.images, again.images)
    assert not np.array_equal(one.images, abdomen.draw(4, spacing=8.0).images)
    ml = {name: (one.labels == number).sum() * 0.512 for number, name in enumerate(abdomen.REGIONS, start=1)}
    assert 400 < ml["liver"] < 2000
    assert 50 < ml["spleen"] < 400
    assert 80 < ml["kidneys"] < 500
    places = {
        number: np.argwhere(one.labels == number) @ one.affine[:3, :3] + one.affine[:3, 3] for number in (1, 2, 3)
    }
    assert places[1][:, 0].mean() > 30 > -30 > places[2][:, 0].mean(), "right and left"
    assert places[3][:, 0].min() < -40 < 40 < places[3][:, 0].max(), "one on each side"
    image = one.images[0]
    assert image[one.labels == 1].mean() > 40 > -900 > image[0, 0].mean(), "liver and air, in Hounsfield units"


def test_a_cohort_is_a_task_of_the_decathlon_that_says_synthetic(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "data"
    assert cli.main(["synthetic3d", str(root), "--of", "abdomen", "--cases", "2", "--spacing", "8"]) == 0
    shown = capsys.readouterr().out
    assert "2 SYNTHETIC cases of CT" in shown
    assert "1 = liver, 2 = spleen, 3 = kidneys" in shown
    cohort = read_cohort(root)
    assert cohort.source.synthetic
    scan = read_scan(cohort.cases[0])
    assert scan.images.shape[0] == 1
    assert (scan.images[0] == 0).mean() > 0.15, "air is no patient"
    assert set(np.unique(scan.mask)) == {0, 1, 2, 3}
    assert b"SYNTHETIC" in nibabel.load(root / "imagesTr/SYNTHETIC-001.nii.gz").header["descrip"].tobytes()
    assert json.loads((root / "dataset.json").read_text())["modality"] == {"0": "CT"}
    with pytest.raises(ValueError, match="spacing between 1 and 8 mm"):
        abdomen.make(tmp_path / "other", spacing=9.0)
