"""Another region than the brain, from a cohort to masks in ml: the same commands, and nothing is mixed up."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
import torch
from brainmri.cli import main
from brainmri.data import DataError
from brainmri.segmentation3d import abdomen, cohort, networks, patches, study

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("family", ["unet", "vae"])
def test_a_network_takes_as_many_images_and_tells_as_many_regions_as_it_is_told(family: str) -> None:
    shape = {"channels": 1, "classes": 4}
    model = networks.unet(4, 3, **shape) if family == "unet" else networks.VaeUNet(16, 4, (1, 1, 1), **shape)
    plain = model.without_autoencoder() if isinstance(model, networks.VaeUNet) else model
    assert plain.eval()(torch.zeros(1, 1, 16, 16, 16)).shape == (1, 4, 16, 16, 16)


def test_right_stays_right_where_a_mirror_shows_no_patient() -> None:
    images = torch.zeros(16, 1, 16, 16, 16)
    images[:, :, 12:] = 1.0  # what is on the right
    labels = images[:, 0].byte()
    for mirror in (True, False):
        random = torch.Generator().manual_seed(0)
        _, moved = patches.changed(images, labels, random, patches.Change(mirror=mirror))
        right = moved[:, 8:].float().mean(dim=(1, 2, 3)) > moved[:, :8].float().mean(dim=(1, 2, 3))
        assert bool(right.all()) != mirror


def test_organs_are_learnt_and_found_by_the_same_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, run, out = (tmp_path / name for name in ("data", "run", "out"))
    abdomen.make(data, cases=3, spacing=8.0)
    assert main(["train", "gan", "--data", str(data), "--out", str(run), "--size", "smoke"]) == 0
    assert "Liver: Dice" in capsys.readouterr().out
    assert main(["predict", str(run), "--input", str(data), "--out", str(out)]) == 0
    (row, *others) = csv.DictReader((out / "predictions.csv").read_text().splitlines())
    assert len(others) == 2
    assert list(row) == ["case", "liver_ml", "spleen_ml", "kidneys_ml", "uncertain_ml", "mask"]
    assert row["uncertain_ml"] == "", "asked in one way, as the liver is on one side"
    found = nibabel.load(out / row["mask"])
    assert set(np.unique(found.get_fdata())) <= {0, 1, 2, 3}
    assert b"1 liver, 2 spleen, 3 kidneys" in found.header["descrip"].tobytes()
    with pytest.raises(DataError, match="Open `32_other_organs`"):
        study.find_cohort("smoke", 0, data)
    described = json.loads((data / "dataset.json").read_text())
    (data / "dataset.json").write_text(json.dumps({**described, "mirror": True, "outside": -500}))
    assert main(["predict", str(run), "--input", str(data), "--out", str(tmp_path / "none")]) == 2
    assert "Set `outside` in its dataset.json to -300" in capsys.readouterr().err
    mixed_up = {**described, "regions": {"liver": [1], "spleen": [3], "kidneys": [2]}}
    for other in ({**described, "outside": -500}, mixed_up):
        (data / "dataset.json").write_text(json.dumps(other))
        assert main(["train", "gan", "--data", str(data), "--out", str(run), "--size", "smoke"]) == 2
        assert "holds another training" in capsys.readouterr().err
    brains = tmp_path / "brains"
    cohort.make(brains, cases=1, spacing=8.0)
    capsys.readouterr()
    assert main(["predict", str(run), "--input", str(brains), "--out", str(tmp_path / "none")]) == 2
    assert "looks for liver, spleen, kidneys in CT" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
