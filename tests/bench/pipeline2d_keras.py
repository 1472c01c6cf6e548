"""How fast the same U-Net is fed and trained in Keras by `ImageDataGenerator`, as most tutorials do. Runs in the stack.

    python pipeline2d_keras.py FOLDER SIZE            SIZE: pixels, filters, levels, batch, joined by commas

Image and mask come from two generators with one seed, which read the files anew in every epoch and mirror, turn, scale
and shift them: less than the others do.
"""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING

import keras
import tensorflow as tf
from brainmri.unet_keras import build

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    Batch = tuple[np.ndarray, np.ndarray]

WARM, PIPELINE_EPOCHS, STEPS = 3, 1, 16


def main() -> None:
    """Measure."""
    folder = sys.argv[1]
    pixels, filters, levels, batch = map(int, sys.argv[2].split(","))
    began = time.perf_counter()
    each = {"rotation_range": 20, "zoom_range": 0.2, "width_shift_range": 0.08, "height_shift_range": 0.08}
    flows = [
        tf.keras.preprocessing.image.ImageDataGenerator(**each, horizontal_flip=True, rescale=1 / 255)
        .flow_from_directory(
            folder, classes=[name], class_mode=None, color_mode="grayscale", target_size=(pixels, pixels),
            batch_size=batch, seed=0,
        )
        for name in ("slices", "masks")
    ]  # fmt: skip
    both = zip(*flows, strict=True)
    first = next(both)
    first_s = time.perf_counter() - began
    model = build(pixels, filters=filters, levels=levels)
    model.compile(keras.optimizers.AdamW(1e-3), loss="binary_crossentropy")
    print(json.dumps({"first_s": first_s, **measured(both, model, len(flows[0]), len(first[0]))}))


def measured(both: Iterator[Batch], model: keras.Model, batches: int, batch: int) -> dict[str, float]:
    """Images a second fed and trained, and the part of a step that goes by before its batch is there."""
    began, seen = time.perf_counter(), 0
    for _ in range(PIPELINE_EPOCHS * batches):
        seen += len(next(both)[0])
    fed = seen / (time.perf_counter() - began)
    for _ in range(WARM):
        model.train_on_batch(*next(both))
    began, waited, seen = time.perf_counter(), 0.0, 0
    for _ in range(STEPS):
        asked = time.perf_counter()
        image, mask = next(both)
        waited += time.perf_counter() - asked
        model.train_on_batch(image, mask)
        seen += len(image)
    seconds = time.perf_counter() - began
    return {"fed_per_s": fed, "trained_per_s": seen / seconds, "waiting": waited / seconds, "batch": batch}


if __name__ == "__main__":
    main()
