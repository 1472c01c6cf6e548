"""Folders of small images for the tests of `brainmri`. No image here shows a patient."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

mpl.use("Agg")

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def make_folder(tmp_path: Path) -> Callable[..., Path]:
    """Write a data set: rows of labels.csv, the first column being the name of an image that is drawn."""

    def make(
        rows: Sequence[Sequence[str]],
        columns: Sequence[str] = ("slice", "tumour", "patient"),
        draw: bool = True,
    ) -> Path:
        root = tmp_path / "set"
        (root / "slices").mkdir(parents=True)
        with (root / "labels.csv").open("w", newline="", encoding="utf-8") as table:
            csv.writer(table).writerows([columns, *rows])
        for number, row in enumerate(rows):
            if draw:
                noise = np.random.default_rng(number).integers(0, 255, (12, 12), dtype=np.uint8)
                Image.fromarray(noise).save(root / "slices" / f"{Path(row[0]).name}.png")
        return root

    return make


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real MRI data, or skip."""
    root = Path(os.environ.get("SCIENCEBOX_DATA") or PROJECT.parent / "shared" / "data")
    if not (root / "figshare" / "labels.csv").is_file():
        pytest.skip(f"no real MRI data: {root} has no figshare/labels.csv; set SCIENCEBOX_DATA")
    return root
