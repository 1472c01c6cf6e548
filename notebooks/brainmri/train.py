"""Trainings in Keras that people wait for and that may be interrupted, and what is left of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from brainmri.progress import Progress
from brainmri.runs import KERAS_NETWORK

if TYPE_CHECKING:
    from collections.abc import Mapping

    from brainmri.runs import Run


def store(run: Run, model: keras.Model, card: Mapping[str, Any]) -> None:
    """Store a trained network in its run's folder with its card, for `brainmri export`. Raises OSError."""
    unfinished = run.folder / f".new-{KERAS_NETWORK}"  # Keras wants its ending
    model.save(unfinished)
    unfinished.replace(run.folder / KERAS_NETWORK)
    run.write_card(card)


class Checkpoint(keras.callbacks.Callback):  # type: ignore[misc]
    """After each epoch, stores weights, optimizer and history in a run's folder.

    The history is written last and says which checkpoint counts: an interruption at any moment, or a full disk, leaves
    the last good one.
    """

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run
        self.history = run.read_history()

    def restore(self, model: keras.Model) -> int:
        """Load the last checkpoint into a compiled model; returns the number of epochs that are done (0: none)."""
        epochs = len(self.history)
        if not epochs or not self._run.checkpoint(epochs).exists():
            self.history = []
            return 0
        model.optimizer.build(model.trainable_variables)
        model.load_weights(self._run.checkpoint(epochs))
        return epochs

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self.history = [*self.history[:epoch], {name: float(value) for name, value in (logs or {}).items()}]
        self.model.save_weights(self._run.checkpoint(epoch + 1), overwrite=True)
        self._run.write_history(self.history)
        self._run.checkpoint(epoch).unlink(missing_ok=True)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Called by Keras."""
        self._run.end()


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
