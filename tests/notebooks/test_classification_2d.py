"""`11_classification_2d` from the first cell to the stored result, and after its kernel died."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING

import nbformat
import pytest
from nbclient.exceptions import DeadKernelError

from tests.notebooks.conftest import NOTEBOOKS, results

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.notebooks

NAME = "11_classification_2d"
DATA = "sciencebox-runs/data"


def result(home: Path) -> dict:
    """What the run stored."""
    (stored,) = results(home, NAME)
    return stored


def epochs(home: Path) -> list[dict[str, float]]:
    """What each epoch of the run came to."""
    (stored,) = (home / "sciencebox-runs" / NAME).glob("*/history.json")
    return json.loads(stored.read_text())


def test_on_synthetic_heads_it_runs_and_says_what_they_are(synthetic) -> None:
    assert synthetic.complaints == []
    assert synthetic.figures == 8
    assert "SYNTHETIC: this says nothing about patients" in synthetic.shown
    assert "SYNTHETIC DATA: made-up heads" in synthetic.shown
    assert "do not quote this figure" in synthetic.shown


def test_what_is_told_from_the_rest_is_a_setting_so_that_another_label_is_another_run(synthetic) -> None:
    """On the same slices: the network of the one would be asked about what the other was split by."""
    (settings,) = (synthetic.home / "sciencebox-runs" / NAME).glob("*/settings.json")
    assert json.loads(settings.read_text())["label"] == "glioma"
    (parameters,) = (cell for cell in synthetic.notebook.cells if "parameters" in cell.metadata.get("tags", []))
    assert 'label = "glioma"' in parameters.source


def test_the_guard_is_seen_to_pass_and_to_refuse(synthetic) -> None:
    assert "No patient is on more than one side." in synthetic.text
    assert re.search(r"Refused: \d+ of \d+ groups are on more than one side of the split: synthetic-", synthetic.text)


def test_the_closing_sentence_is_what_was_stored(synthetic) -> None:
    stored = result(synthetic.home)
    assert f"AUC {stored['auc']:.3f} (95 % interval {stored['auc_low']:.3f} to {stored['auc_high']:.3f})" in (
        synthetic.shown
    )
    assert f"On {stored['n']} test slices of {stored['groups']} patients" in synthetic.shown
    assert stored["hardware"] in synthetic.shown
    assert "2 epochs in" in synthetic.shown


DIE = """
class Die(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            os._exit(9)

"""


def test_a_run_whose_kernel_died_goes_on_to_the_figures_of_one_that_did_not(
    synthetic, execute: Callable, tmp_path: Path
) -> None:
    shutil.copytree(synthetic.home / DATA, tmp_path / DATA)  # heads that were drawn are not drawn again
    notebook = nbformat.read(NOTEBOOKS / f"{NAME}.ipynb", as_version=4)
    (training,) = (cell for cell in notebook.cells if "model.fit(" in cell.source)
    training.source = DIE + training.source.replace("train.EpochProgress()", "train.EpochProgress(), Die()")
    with pytest.raises(DeadKernelError):
        execute(notebook, tmp_path)
    done = execute(NAME, tmp_path)
    assert done.complaints == []
    assert "1 of 2 epochs done before" in done.text
    assert "2 epochs, the last 1 of them in" in done.shown
    assert epochs(tmp_path) == epochs(synthetic.home)
    assert result(tmp_path)["auc"] == result(synthetic.home)["auc"]


@pytest.mark.data
def test_on_real_slices_it_names_them_and_their_blocks(execute: Callable, tmp_path: Path, real_data: Path) -> None:
    done = execute(NAME, tmp_path, SCIENCEBOX_DATA=str(real_data))
    assert done.complaints == []
    assert done.figures == 8
    assert "SYNTHETIC" not in done.text + done.shown
    assert "10.6084/m9.figshare.1512427, CC BY 4.0" in done.shown
    assert "(block split, fold 1 of 5, seed 0)" in done.shown
    assert "may lie on two sides" in done.shown
    assert result(tmp_path)["split"].startswith("block split")
