"""The same U-Net as `unet`, in Keras: the same parameters in the same order, so that weights can be copied across."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
from keras import layers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

EPSILON, MOMENTUM = 1e-3, 0.9


def build(
    pixels: int | None = None, channels: int = 1, classes: int = 1, filters: int = 64, levels: int = 5
) -> keras.Model:
    """(n, height, width, channels) to the probability of each class, (n, height, width, classes).

    `pixels` fixes the edges; without it any multiple of 2 ** (levels - 1) will do.
    """
    image = keras.Input((pixels, pixels, channels), name="slice")
    widths = [filters * 2**level for level in range(levels)]
    features, passed = image, []
    for width in widths[:-1]:
        features = _block(features, width)
        passed.append(features)
        features = layers.MaxPooling2D()(features)
    features = _block(features, widths[-1])
    for width in reversed(widths[:-1]):
        features = layers.Conv2DTranspose(width, 3, strides=2, padding="same")(features)
        features = _block(layers.Concatenate()([passed.pop(), features]), width)
    return keras.Model(image, layers.Conv2D(classes, 1, activation="sigmoid")(features), name="unet")


def copy_weights(state: Mapping[str, NDArray[np.float32]], model: keras.Model) -> None:
    """Give a model the weights of a `unet.UNet` of the same shape, from its `state_dict` as arrays."""
    values = _in_order(state)
    for layer in model.layers:
        if isinstance(layer, (layers.Conv2D, layers.Conv2DTranspose)):
            kernel, bias = next(values), next(values)
            layer.set_weights([kernel.transpose(2, 3, 1, 0), bias])
        elif isinstance(layer, layers.BatchNormalization):
            layer.set_weights([next(values) for _ in range(4)])


def _in_order(state: Mapping[str, NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """Level by level as the image goes through, where PyTorch lists all transposed convolutions before all blocks."""
    levels = len({name.split(".")[1] for name in state if name.startswith("up.")})
    parts = ["down.", *(part for level in range(levels) for part in (f"up.{level}.", f"merge.{level}.")), "head."]
    for part in parts:
        for name, value in state.items():
            if name.startswith(part) and not name.endswith("num_batches_tracked"):
                yield value


def _block(features: keras.KerasTensor, width: int) -> keras.KerasTensor:
    for _ in range(2):
        features = layers.Conv2D(width, 3, padding="same")(features)
        features = layers.BatchNormalization(epsilon=EPSILON, momentum=MOMENTUM)(features)
        features = layers.ReLU()(features)
    return features
