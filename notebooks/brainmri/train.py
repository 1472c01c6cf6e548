"""Trainings in Keras that people wait for and that may be interrupted, and what is left of them."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from brainmri.progress import Progress
from brainmri.runs import KERAS_NETWORK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from brainmri.runs import Run

BEST = "best.weights.h5"
CHANCE = "seed_generator_state"  # as Keras calls the variable of a layer from which its random numbers follow
DRAWN = 2**20  # numbers that a layer may draw in an epoch: far more than it has steps


def store(run: Run, model: keras.Model, card: Mapping[str, Any]) -> None:
    """Store a trained network in its run's folder with its card, for `brainmri export`. Raises OSError."""
    unfinished = run.folder / f".new-{KERAS_NETWORK}"  # Keras wants its ending
    model.save(unfinished)
    unfinished.replace(run.folder / KERAS_NETWORK)
    run.write_card(card)


class Checkpoint(keras.callbacks.Callback):  # type: ignore[misc]
    """After each epoch, stores weights, optimizer and history in a run's folder.

    The history is written last and says which checkpoint counts: an interruption at any moment, or a full disk, leaves
    the last good one. What chance decides in an epoch follows from the seeds and the epoch's number, with `Batches` the
    order, too: so a training that goes on ends, on a CPU, with the very weights of one that was not interrupted.

    `watching` are Keras' EarlyStopping, ReduceLROnPlateau or others that act on what an epoch came to. They are called
    from here, before the epoch is stored, and are shown the epochs of earlier kernels; so do not give them to `fit` as
    well. With `restore_best_weights` the network is in the end that of the best epoch, whichever kernel had it.
    """

    def __init__(self, run: Run, watching: Sequence[keras.callbacks.Callback] = ()) -> None:
        super().__init__()
        self._run = run
        self._watching = watching
        self.history = run.read_history()
        self.epoch = 0

    def restore(self, model: keras.Model, epochs: int) -> int:
        """Load the last checkpoint into a compiled model; returns how many of the epochs are done (0: none).

        All of them are where the training was stopped early.
        """
        done = len(self.history)
        if done and not self._run.checkpoint(done).exists():
            self.history, done = [], 0
        model.optimizer.build(model.trainable_variables)
        model.stop_training = False
        for each in self._watching:
            each.set_model(model)
            each.on_train_begin()
            for epoch, seen in enumerate(self.history):
                each.on_epoch_end(epoch, dict(seen))
            if getattr(each, "best_weights", None) and (self._run.folder / BEST).exists():
                model.load_weights(self._run.folder / BEST)
                each.best_weights = model.get_weights()
        if done:
            model.load_weights(self._run.checkpoint(done))  # and the learning rate, which the callbacks have changed
        return epochs if model.stop_training else done

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self.epoch = epoch
        for state in self.model.variables:
            if state.name == CHANCE:
                state.assign(keras.ops.stack([state[0], keras.ops.cast(epoch * DRAWN, state.dtype)]))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        for each in self._watching:
            each.on_epoch_end(epoch, logs)
            if getattr(each, "best_weights", None) and each.best_epoch == epoch:
                unfinished = self._run.folder / f".new-{BEST}"  # Keras wants its ending
                self.model.save_weights(unfinished, overwrite=True)
                unfinished.replace(self._run.folder / BEST)
        self.history = [*self.history[:epoch], {name: float(value) for name, value in (logs or {}).items()}]
        self.model.save_weights(self._run.checkpoint(epoch + 1), overwrite=True)
        self._run.write_history(self.history)
        self._run.checkpoint(epoch).unlink(missing_ok=True)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        for each in self._watching:
            each.on_train_end(logs)
        self._run.end()


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Everything once an epoch, in an order that follows from the seed and the checkpoint's epoch alone.

    For `fit` with `shuffle=False`, for that would shuffle the batches again.
    """

    def __init__(self, checkpoint: Checkpoint, x: NDArray[Any], y: NDArray[Any], size: int, seed: int = 0) -> None:
        super().__init__()
        self._checkpoint, self._x, self._y, self._size, self._seed = checkpoint, x, y, size, seed
        self.on_epoch_begin()

    def __len__(self) -> int:
        return ceil(len(self._x) / self._size)

    def __getitem__(self, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
        chosen = self._order[number * self._size : (number + 1) * self._size]
        return self._x[chosen], self._y[chosen]

    def on_epoch_begin(self) -> None:
        """Called by Keras, after the checkpoint was told of the epoch."""
        self._order = np.random.default_rng([self._seed, self._checkpoint.epoch]).permutation(len(self._x))


class EpochProgress(keras.callbacks.Callback):  # type: ignore[misc]
    """Shows the epoch, the metrics and the time that is left."""

    def __init__(self, title: str = "training") -> None:
        super().__init__()
        self._progress = Progress(title)
        self._done = 0
        self._note = ""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._done = int(self.params.get("initial_epoch") or 0) * self._steps

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._done = epoch * self._steps

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._done += 1
        epochs = int(self.params["epochs"])
        self._progress(min(self._done, epochs * self._steps - 1), epochs * self._steps, self._words(logs))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        validation = ((name, value) for name, value in (logs or {}).items() if name.startswith("val_"))
        self._note = ", ".join(f"validation {name.removeprefix('val_')} {value:.3f}" for name, value in validation)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        if self._done:
            total = int(self.params["epochs"]) * self._steps
            self._progress(total, total, self._words(logs))

    @property
    def _steps(self) -> int:
        return int(self.params["steps"] or 1)

    def _words(self, logs: dict[str, Any] | None) -> str:
        epoch = min(self._done // self._steps + 1, int(self.params["epochs"]))
        loss = f"loss {float(logs['loss']):.3f}" if logs and "loss" in logs else ""
        parts = (f"epoch {epoch} of {self.params['epochs']}", loss, self._note)
        return ", ".join(part for part in parts if part)
