"""A network that the notebook trained in Keras on TensorFlow, in other programs: what `test_keras.py` handed over."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from brainmri import export
from brainmri.cli import main

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_it_answers_as_in_tensorflow(handover: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, written = (handover / "run.txt").read_text(encoding="utf-8"), tmp_path / "network.onnx"
    assert main(["export", run, "--to", str(written)]) == 0
    asked = np.load(handover / "asked.npz")
    found = export.answer(written, asked["slices"].transpose(0, 3, 1, 2).copy())
    assert np.abs(found - asked["answer"]).max() < 1e-5
    told = {one.key: one.value for one in onnx.load(written).metadata_props}
    assert (told["labels"], told["threshold"], told["synthetic"]) == ('["glioma"]', "0.25", "yes")
    assert "standard deviation" in told["normalisation"]
    assert main(["predict", run, "--input", str(tmp_path), "--out", str(tmp_path / "x")]) == 2
    assert "This network was trained in Keras: ask it in its notebook" in capsys.readouterr().err
