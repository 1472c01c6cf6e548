"""How fast a U-Net of `12_segmentation_2d` is fed and trained, by our pipeline or MONAI's. Runs in the stack.

    python pipeline2d_torch.py draw FOLDER            SYNTHETIC slices with masks
    python pipeline2d_torch.py KIND FOLDER            one line of JSON

Both begin with the files, keep what is decoded and normalised, and change every image anew in every epoch: mirrored,
turned, scaled, shifted, bent, and lit otherwise, with noise. Model, loss, optimiser and batch are the same.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from brainmri import data, fit, segment, synthetic
from brainmri.runs import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Batch = tuple[torch.Tensor, torch.Tensor]

HEADS, SLICES = 64, 3
SIZE = segment.SIZES["quick"]
WARM, PIPELINE_EPOCHS, STEPS = 3, 1, 16  # batches that are not counted; epochs of feeding alone; steps of training


def main() -> None:
    """Draw, or measure one kind."""
    kind, folder = sys.argv[1], Path(sys.argv[2])
    if kind == "draw":
        synthetic.make(folder, patients=HEADS, slices=SLICES, difficulty=0.4)
        return
    with tempfile.TemporaryDirectory() as scratch:
        torch.manual_seed(0)
        recipe = segment.recipe(SIZE, "alone", "bce + dice", 0)
        training = fit.Training(segment.network(SIZE), recipe, Run(Path(scratch)))
        began = time.perf_counter()
        feeds = {"ours": ours, "monai": monai, "workers": lambda *given: monai(*given, workers=os.cpu_count() or 1)}
        epochs = feeds[kind](data.read_folder(folder), training)
        first = next(epochs())
        print(json.dumps({"first_s": time.perf_counter() - began, **measured(epochs, training, len(first[0]))}))


def ours(dataset: data.Dataset, training: fit.Training) -> Callable[[], Iterator[Batch]]:
    """What `Study` does: all slices in memory, whole batches changed on the device."""
    samples = segment.samples(dataset, SIZE.pixels)
    x, y = (torch.from_numpy(array).to(training.device) for array in (samples.images, samples.masks))
    random = torch.Generator(training.device).manual_seed(0)
    return lambda: training._batches(x, y, random)


def monai(dataset: data.Dataset, training: fit.Training, workers: int = 0) -> Callable[[], Iterator[Batch]]:
    """MONAI's cached data set with its transforms, image by image."""
    from monai import data as md
    from monai import transforms as mt

    class Read(mt.Transform):  # of this kind, or MONAI would not keep what it gives
        def __call__(self, item: data.Slice) -> dict[str, np.ndarray]:
            image = segment.normalise(data.load([item], SIZE.pixels)[0])
            return {"image": image[None], "mask": data.load_masks([item], SIZE.pixels).astype(np.float32)}

    both = ["image", "mask"]
    edge = SIZE.pixels
    change = mt.Compose([
        Read(),
        mt.ToTensord(both),
        mt.RandFlipd(both, prob=0.5, spatial_axis=1),
        mt.Rand2DElasticd(
            both, spacing=edge / 6, magnitude_range=(0, 0.04 * edge / 2), prob=1.0, rotate_range=np.pi / 9,
            scale_range=0.2, translate_range=0.08 * edge, mode=["bilinear", "nearest"],
            padding_mode=["border", "zeros"],
        ),
        mt.RandBiasFieldd("image", degree=2, coeff_range=(0, 0.1), prob=1.0),
        mt.RandScaleIntensityd("image", 0.3, prob=1.0),
        mt.RandShiftIntensityd("image", 0.3, prob=1.0),
        mt.RandGaussianNoised("image", std=0.15, prob=1.0),
    ])  # fmt: skip
    cached = md.CacheDataset(dataset.masked.slices, change, progress=False, num_workers=2)
    loader = md.DataLoader(
        cached, batch_size=SIZE.batch, shuffle=True, num_workers=workers, persistent_workers=workers > 0
    )

    def epoch() -> Iterator[Batch]:
        for batch in loader:
            image, mask = (batch[name].as_tensor().to(training.device) for name in both)
            yield image, mask

    return epoch


def measured(epochs: Callable[[], Iterator[Batch]], training: fit.Training, batch: int) -> dict[str, float]:
    """Images a second fed and trained, and the part of a step that goes by before its batch is there."""
    began, seen = time.perf_counter(), 0
    for _ in range(PIPELINE_EPOCHS):
        for image, _mask in epochs():
            seen += len(image)
    settle()
    fed = seen / (time.perf_counter() - began)
    endless = (one for _ in range(10**6) for one in epochs())
    for _ in range(WARM):
        training._step(*next(endless))
    settle()
    began, waited, seen = time.perf_counter(), 0.0, 0
    for _ in range(STEPS):
        asked = time.perf_counter()
        image, mask = next(endless)
        settle()
        waited += time.perf_counter() - asked
        training._step(image, mask)
        settle()
        seen += len(image)
    seconds = time.perf_counter() - began
    return {"fed_per_s": fed, "trained_per_s": seen / seconds, "waiting": waited / seconds, "batch": batch}


def settle() -> None:
    """Until the GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
