"""`11_classification_2d` from the first cell to the stored result, and after its kernel died."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import nbformat
import pytest

from tests.notebooks.conftest import results

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


def test_on_synthetic_heads_it_runs_and_says_what_they_are(synthetic) -> None:
    assert synthetic.complaints == []
    assert synthetic.figures == 8
    assert "SYNTHETIC: this says nothing about patients" in synthetic.shown
    assert "SYNTHETIC DATA: made-up heads" in synthetic.shown
    assert "do not quote this figure" in synthetic.shown


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


def test_a_second_run_finds_its_checkpoint_and_the_same_figures(synthetic, execute: Callable) -> None:
    before = result(synthetic.home)
    again = execute(NAME, synthetic.home)
    assert again.complaints == []
    assert "2 of 2 epochs done before" in again.text
    assert result(synthetic.home) == before


def test_the_same_seed_gives_the_same_figures(synthetic, execute: Callable, tmp_path: Path) -> None:
    shutil.copytree(synthetic.home / DATA, tmp_path / DATA)  # heads that were drawn are not drawn again
    assert execute(NAME, tmp_path).complaints == []
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


TRAINING = """
import os
from pathlib import Path
from brainmri.quiet import native_notes_hidden
with native_notes_hidden():
    import keras, numpy as np
    from brainmri import runs, train

keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile(keras.optimizers.Adam(), "mse")
run = runs.open_run("test", {"name": "resume"})
checkpoint = train.Checkpoint(run)
done = checkpoint.restore(model)
print("done before:", done, "steps:", int(model.optimizer.iterations))

class Die(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if DIE and epoch == 2:
            os._exit(9)

x = np.ones((8, 4), "float32")
model.fit(x, x[:, :1], batch_size=4, epochs=4, initial_epoch=done, verbose=0,
          callbacks=[checkpoint, train.EpochProgress(), Die()])
print("steps at the end:", int(model.optimizer.iterations), "epochs:", len(checkpoint.history))
print("files:", sorted(path.name for path in run.folder.iterdir()))
"""


def test_a_training_goes_on_where_the_kernel_died(execute: Callable, tmp_path: Path) -> None:
    from nbclient.exceptions import DeadKernelError

    def notebook(die: bool) -> nbformat.NotebookNode:
        cell = nbformat.v4.new_code_cell(f"DIE = {die}\n{TRAINING}")
        return nbformat.v4.new_notebook(
            cells=[cell], metadata={"kernelspec": {"name": "tensorflow", "display_name": "TensorFlow"}}
        )

    with pytest.raises(DeadKernelError):
        execute(notebook(die=True), tmp_path)
    done = execute(notebook(die=False), tmp_path)
    assert done.complaints == []
    assert "done before: 2 steps: 4" in done.text
    assert "steps at the end: 8 epochs: 4" in done.text
    assert "files: ['epoch-0004.weights.h5', 'history.json', 'settings.json']" in done.text
