"""Networks and trainings in Keras, with the stack's TensorFlow: `test_in_the_stack.py` runs this before the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from brainmri import train
from brainmri.runs import open_run
from brainmri.unet_keras import build as build_unet
from brainmri.unet_keras import copy_weights
from keras import layers

if TYPE_CHECKING:
    from collections.abc import Callable

    from brainmri.runs import Run
    from numpy.typing import NDArray

BRIGHTEST = 4.0
EPOCHS, SIZE = 6, 4  # of two batches each


@pytest.fixture(autouse=True, scope="module")
def _same_again() -> None:
    """As the notebook has it: an operation comes to the same each time."""
    tf.config.experimental.enable_op_determinism()


def slices(count: int = 8, edge: int = 16) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    random = np.random.default_rng(0)
    truth = (np.arange(count) % 2).astype("float32")
    return random.normal(size=(count, edge, edge, 1)).astype("float32") + truth[:, None, None, None], truth


def built_in_the_notebook() -> Callable[[int, int], keras.Model]:
    cells = json.loads(Path("notebooks/11_classification_2d.ipynb").read_text(encoding="utf-8"))["cells"]
    scope: dict[str, Any] = {"keras": keras, "layers": layers, "DARKEST": -3.0, "BRIGHTEST": BRIGHTEST}
    exec("".join(next(cell for cell in cells if cell["id"] == "11-22")["source"]), scope)
    return scope["build"]


def test_the_u_net_of_the_talk_answers_as_in_pytorch(handover: Path) -> None:
    talk = build_unet(64)
    learnt = sum(int(np.prod(weight.shape)) for weight in talk.trainable_weights)
    assert (talk.count_params(), learnt) == (34_535_745, 34_523_969)
    stored = dict(np.load(handover / "unet.npz"))
    image, answer = (stored.pop(name).transpose(0, 2, 3, 1) for name in ("image", "answer"))
    model = build_unet(filters=4, levels=3)
    copy_weights(stored, model)
    assert np.abs(model.predict(image, verbose=0) - answer).max() < 1e-5


def test_a_network_of_the_notebook_is_handed_over(handover: Path) -> None:
    """What becomes of it in other programs, `test_export_keras.py` sees."""
    keras.utils.set_random_seed(0)
    model = built_in_the_notebook()(64, 8)
    model.compile("adam", "binary_crossentropy")
    x, _ = slices(edge=64)
    for _ in range(3):  # so that the normalisations have something to remember
        model(x, training=True)
    run = open_run("11", {"task": "classification in Keras", "name": "keras"}, handover)
    train.store(run, model, {
        "task": "classification in Keras", "label": "glioma", "threshold": 0.25, "size": {"pixels": 64},
        "version": "0", "data_name": "SYNTHETIC DATA: noise", "made": "2026-01-01",
    })  # fmt: skip
    np.savez(handover / "asked.npz", slices=x, answer=model.predict(x, verbose=0))
    (handover / "run.txt").write_text(str(run.folder), encoding="utf-8")


class Die(keras.callbacks.Callback):
    """The kernel is gone in the middle of an epoch."""

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self._epoch = epoch

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        if batch == 1 and int(self.model.optimizer.iterations) // 2 == self._epoch:
            raise KeyboardInterrupt


def trained(run: Run, dies_in: int | None = None) -> tuple[keras.Model, list[Any]]:
    """With chance in order, augmentation and dropout, and watched: no epoch after the first is called better."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    model = keras.Sequential([
        keras.Input((16, 16, 1)), layers.RandomBrightness(0.1, (-3.0, BRIGHTEST)), layers.Conv2D(2, 3),
        layers.BatchNormalization(), layers.GlobalMaxPooling2D(), layers.Dropout(0.3),
        layers.Dense(1, activation="sigmoid"),
    ])  # fmt: skip
    model.compile(keras.optimizers.AdamW(0.05), "binary_crossentropy")
    x, y = slices()
    worse = {"monitor": "val_loss", "mode": "min", "min_delta": 10.0}
    checkpoint = train.Checkpoint(run, [
        keras.callbacks.EarlyStopping(patience=2, restore_best_weights=True, **worse),
        keras.callbacks.ReduceLROnPlateau(patience=1, **worse),
    ])  # fmt: skip
    done = checkpoint.restore(model, EPOCHS)
    model.fit(
        train.Batches(checkpoint, x, y, SIZE), validation_data=(x, y), initial_epoch=done, epochs=EPOCHS,
        class_weight={0: 0.4, 1: 0.6}, shuffle=False, verbose=0,
        callbacks=[checkpoint, train.EpochProgress(), *([Die(dies_in)] if dies_in is not None else [])],
    )  # fmt: skip
    return model, checkpoint.history


def test_a_training_that_was_killed_ends_as_one_that_was_not(tmp_path: Path) -> None:
    whole, parts = (open_run("n", {"name": name}, tmp_path) for name in ("whole", "parts"))
    model, history = trained(whole)
    assert [epoch["learning_rate"] for epoch in history] == pytest.approx([0.05, 0.05, 0.005])
    with pytest.raises(KeyboardInterrupt):
        trained(parts, dies_in=1)
    again, resumed = trained(parts)
    assert resumed == history
    done, once_more = trained(parts, dies_in=3)  # stopped early: no step is taken
    assert once_more == history
    for best, *others in zip(*(one.get_weights() for one in (model, again, done)), strict=True):
        assert all(np.array_equal(best, other) for other in others)
    assert [path.name for path in sorted(parts.folder.iterdir())] == [
        "best.weights.h5", "epoch-0003.weights.h5", "history.json", "settings.json"
    ]  # fmt: skip
