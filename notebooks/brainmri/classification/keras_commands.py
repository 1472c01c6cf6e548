"""What `brainmri` can do with networks in Keras: list them, and export what `11_classification_2d` trained.

Keras runs on PyTorch as well as on TensorFlow. Here it does, so that networks of both are translated and asked by the
same code.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

from torch import nn

from brainmri import export, stored
from brainmri.commands import stored_figures
from brainmri.data import DataError
from brainmri.runs import KERAS_NETWORK
from brainmri.volume import library

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    import torch

IN_KERAS = "This network was trained in Keras: ask it in its notebook, or export it for other programs."


class ChannelsFirst(nn.Module):
    """A Keras model, which takes (n, height, width, channels), as other programs expect it: (n, channels, ...)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """What the model answers."""
        found: torch.Tensor = self.model(image.permute(0, 2, 3, 1), training=False)
        return found


def portable(run: Path, folder: Path | None) -> export.Portable:
    """The network for other programs: the probability that a slice shows the label. Raises DataError for none."""
    card = stored.read_card(run)
    facts = export.of_slices(
        card,
        output=f"{export.OUTPUT} (n, 1): of {card['label']}",
        labels=[card["label"]],
        label=card["label"],
        threshold=card["threshold"],
        asking="The threshold was chosen for such answers, on the slices of the validation.",
    )
    images, asked = export.slices(folder, int(card["size"]["pixels"]))
    return export.Portable(ChannelsFirst(_load(run / KERAS_NETWORK)), images, asked, facts)


def evaluate(run: Path, folder: Path | None) -> dict[str, Any]:
    """The figures of the training's own test slices."""
    if folder is not None:
        raise DataError(IN_KERAS)
    return stored_figures(run)


def predict(_options: argparse.Namespace) -> int:
    """Nothing: raises DataError."""
    raise DataError(IN_KERAS)


def models() -> list[dict[str, Any]]:
    """The U-Net of the talk in Keras, where that is there; the classifier is built in its notebook."""
    try:
        _keras()
    except DataError:
        return []
    from brainmri import unet_keras

    model = unet_keras.build()
    learnt = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    told = {"name": "unet-talk-keras", "task": "segmentation2d", "framework": "keras"}
    return [{**told, "parameters": model.count_params(), "trainable": learnt}]


def _load(path: Path) -> Any:
    return _keras().saving.load_model(path, compile=False)


def _keras() -> Any:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    keras = library("keras")
    if keras.config.backend() != "torch":
        raise DataError("Keras does not run on PyTorch here. Use a terminal, or the kernel PyTorch.")
    return keras
