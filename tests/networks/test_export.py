"""Writing networks for other programs: what is refused, and what is left then."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from brainmri import export
from brainmri.cli import main
from brainmri.segmentation3d import sizes
from torch import nn

if TYPE_CHECKING:
    from pathlib import Path

PORTABLE = export.Portable(
    export.Probabilities(nn.Conv2d(1, 2, kernel_size=3)),
    np.random.default_rng(0).random((3, 1, 8, 8), dtype=np.float32),
    "noise",
    {"task": "a test", "learnt_from": "nothing", "labels": ["a", "b"]},
)


def test_a_file_that_answers_otherwise_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = export.answer
    monkeypatch.setattr(export, "answer", lambda path, images: answer(path, images) + np.float32(2e-4))
    with pytest.raises(ValueError, match=r"answers otherwise: by 2\.0e-04, about noise"):
        export.write(PORTABLE, tmp_path / "network.onnx")
    assert not list(tmp_path.iterdir())


def test_a_network_that_knows_no_number_is_not_written(tmp_path: Path) -> None:
    broken = nn.Conv2d(1, 1, kernel_size=1)
    nn.init.constant_(broken.weight, float("nan"))
    with pytest.raises(ValueError, match="answers otherwise: by nan"):
        export.write(replace(PORTABLE, network=export.Probabilities(broken)), tmp_path / "network.onnx")


@pytest.mark.parametrize("family", ["segmentation3d", "vae"])
def test_what_only_helped_a_network_to_learn_is_not_written(tmp_path: Path, family: str) -> None:
    torch.manual_seed(0)
    size = replace(sizes.SIZES["smoke"], edge=16, deep_supervision=True)
    network = sizes.segmenter(family, size).eval()
    plain = sizes.answering(network, size)
    images = np.random.default_rng(0).normal(size=(2, 4, 16, 16, 16)).astype(np.float32)
    wanted = torch.softmax(network(torch.from_numpy(images)), dim=1).detach()
    helpers = {name for name, _ in network.named_parameters() if "vae" in name or "deep" in name}
    assert helpers
    assert not helpers & {name for name, _ in plain.named_parameters()}
    assert torch.equal(export.Probabilities(plain)(torch.from_numpy(images)), wanted)
    if family == "vae":  # `test_segmentation3d_study.py` has the other one
        written = replace(PORTABLE, network=export.Probabilities(plain), images=images[:1])
        export.write(written, tmp_path / "network.onnx")
        found = export.answer(tmp_path / "network.onnx", images)
        assert np.abs(found - wanted.numpy()).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "said"), [("network.pt", "Give a name that ends in .onnx"), ("there.onnx", "there.onnx exists")]
)
def test_what_cannot_be_written_to_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    (tmp_path / "there.onnx").touch()
    assert main(["export", str(tmp_path), "--to", str(tmp_path / name)]) == 2
    assert said in capsys.readouterr().err
