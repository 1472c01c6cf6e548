"""`32_other_organs`: three organs in CT by the code that marks two regions in MRI, told by one file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nbformat
import pytest

from tests.notebooks.conftest import NOTEBOOKS, results

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.notebooks

NAME = "32_other_organs"


def test_organs_are_marked_and_that_is_called_synthetic(synthetic) -> None:
    assert synthetic.complaints == []
    assert synthetic.figures == 3
    assert '"outside": -300' in synthetic.text
    assert "channels in: 1, classes out: 4" in synthetic.shown
    assert "SYNTHETIC: this says nothing about patients" in synthetic.shown
    assert "do not quote this figure" in synthetic.shown
    assert "Each case was asked about in one way" in synthetic.shown, "a liver in the mirror is no liver"
    (stored,) = results(synthetic.home, "segmentation_3d")
    assert list(stored["regions"]) == ["liver", "spleen", "kidneys", "whole"]
    assert f"Dice {stored['regions']['spleen']['dice']:.3f}" in synthetic.shown


def test_of_a_folder_without_a_description_it_is_said_what_is_missing(execute: Callable, tmp_path: Path) -> None:
    notebook = nbformat.read(NOTEBOOKS / f"{NAME}.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    (tmp_path / "mine/imagesTr").mkdir(parents=True)
    code[0].source = code[0].source.replace("folder = None", 'folder = "~/mine"')
    notebook.cells = code[:3]  # to where the folder is read
    (said,) = execute(notebook, tmp_path).complaints
    assert "mine holds no case of four modalities" in said
    assert "as the Medical Segmentation Decathlon does, with dataset.json" in said
