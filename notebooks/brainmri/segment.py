"""Finding the tumour in single slices: the task of `12_segmentation_2d` and of `brainmri train segmentation2d`.

A network learns from synthetic heads first, of which there are as many as one likes, and then from the few slices with
a mask drawn by hand. How good it is, is measured on patients or blocks that it never saw, each once (cross-validation).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from brainmri import data, fit, overlap
from brainmri.splits import assert_no_leakage
from brainmri.unet import UNet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import ArrayLike, NDArray

    from brainmri.data import Dataset, Slice

    Array = NDArray[np.float32]

AIR, DARKEST, BRIGHTEST = 0.08, -3.0, 4.0
NORMALISED = (
    f"grey values from 0 to 1, less the mean of those above {AIR}, by their standard deviation (0.001 at least); from "
    f"{DARKEST:g} to {BRIGHTEST:g}"
)
RATES = {"first": 2e-3, "then": 3e-4, "alone": 1e-3}  # what was learnt first is not to be forgotten


@dataclass(frozen=True)
class Size:
    """How much is done. `heads` are synthetic, with `slices` each; `first` and `then` the epochs on them and after."""

    pixels: int
    filters: int
    levels: int
    heads: int
    slices: int
    first: int
    then: int
    folds: int
    batch: int = 16


SIZES = {
    "smoke": Size(pixels=64, filters=8, levels=3, heads=8, slices=2, first=2, then=2, folds=2, batch=8),
    "quick": Size(pixels=128, filters=16, levels=5, heads=360, slices=3, first=12, then=80, folds=4, batch=8),
    "full": Size(pixels=256, filters=64, levels=5, heads=800, slices=4, first=8, then=150, folds=4),
}


@dataclass(frozen=True)
class Samples:
    """Images and masks as a network takes them, (n, 1, pixels, pixels), with the slices that they are from."""

    slices: tuple[Slice, ...]
    images: Array
    masks: Array

    def __len__(self) -> int:
        return len(self.slices)

    def take(self, chosen: NDArray[np.intp]) -> Samples:
        """Some of them, by position."""
        slices = tuple(self.slices[index] for index in chosen)
        return replace(self, slices=slices, images=self.images[chosen], masks=self.masks[chosen])

    @property
    def groups(self) -> NDArray[np.str_]:
        """Patient or block of each."""
        return np.array([item.group for item in self.slices])


@dataclass(frozen=True)
class Fold:
    """Positions of the slices of one round of a cross-validation: those to learn from, and those to be asked about."""

    train: NDArray[np.intp]
    test: NDArray[np.intp]


def samples(dataset: Dataset, pixels: int, on_progress: Callable[[int, int], None] | None = None) -> Samples:
    """Decode and normalise all slices that have a mask. Raises DataError."""
    masked = dataset.masked
    images = data.load(masked.slices, pixels, on_progress)
    masks = data.load_masks(masked.slices, pixels)
    normal = np.stack([normalise(image) for image in images])
    return Samples(masked.slices, normal[:, None], masks[:, None].astype(np.float32))


def normalise(image: Array) -> Array:
    """Grey values, which have no unit in MRI, as deviations from the mean of the head, in its standard deviations."""
    head = image[image > AIR]
    if head.size == 0:
        return np.full_like(image, DARKEST)
    return np.clip((image - head.mean()) / max(float(head.std()), 1e-3), DARKEST, BRIGHTEST).astype(np.float32)


def grey(images: Array) -> Array:
    """Normalised images as grey values from 0 to 1, to be looked at."""
    return (images - DARKEST) / (BRIGHTEST - DARKEST)


def folds(groups: NDArray[np.str_], count: int) -> Iterator[Fold]:
    """Every group is asked about once, in about equal shares of slices; never one that was learnt from.

    Fewer groups than `count` make fewer folds. Raises DataError for a single group.
    """
    from sklearn.model_selection import GroupKFold

    names = np.unique(groups)
    if len(names) < 2:
        raise data.DataError(
            f"All slices with a mask are of one patient or block ({names[0] if len(names) else 'none'}): what a "
            "network learns from it cannot be tested on another. Add slices of a second one."
        )
    divide = GroupKFold(n_splits=fold_count(groups, count))  # not shuffled: so it makes the folds alike in size
    for train, test in divide.split(groups, groups=groups):
        assert_no_leakage({"train": train, "test": test}, groups)
        yield Fold(train, test)


def fold_count(groups: Sequence[str] | NDArray[np.str_], count: int) -> int:
    """How many folds `folds` makes."""
    return min(count, len(set(groups)))


def network(size: Size) -> UNet:
    """A new network of this size. Seed PyTorch before."""
    return UNet(filters=size.filters, levels=size.levels)


def full_resolution(probability: Array, item: Slice) -> Array:
    """The probability (pixels, pixels) on the pixels of the slice's own file; undoes the padding to a square."""
    with Image.open(item.image) as image:
        width, height = image.size
    edge = max(width, height)
    wide = Image.fromarray(probability).resize((edge, edge), Image.Resampling.BILINEAR)
    left, top = (edge - width) // 2, (edge - height) // 2
    return np.asarray(wide.crop((left, top, left + width, top + height)), dtype=np.float32)


def best_threshold(probability: Array, masks: Array) -> float:
    """The threshold with the highest mean Dice on the network's own pixels."""
    candidates = np.round(np.linspace(0.1, 0.9, 17), 2)
    pairs = [(one[0], mask[0] > 0.5) for one, mask in zip(probability, masks, strict=True)]
    means = [np.mean([overlap.dice(one >= value, mask) for one, mask in pairs]) for value in candidates]
    return float(candidates[int(np.argmax(means))])


def crossed_thresholds(probability: Array, samples: Samples, folds: Sequence[Fold]) -> NDArray[np.float64]:
    """A threshold for each slice, chosen on the slices of the other folds: none is chosen by what is asked with it."""
    chosen = np.full(len(samples), 0.5)
    for fold in folds:
        chosen[fold.test] = best_threshold(probability[fold.train], samples.masks[fold.train])
    return chosen


def held_against_truth(
    probability: Array, slices: Sequence[Slice], threshold: ArrayLike = 0.5
) -> list[overlap.Overlap]:
    """Each slice's found mask held against the drawn one, pixel by pixel of the slice's own file."""
    limits = np.broadcast_to(np.asarray(threshold), len(slices))
    found = (
        full_resolution(one[0], item) >= limit for one, item, limit in zip(probability, slices, limits, strict=True)
    )
    truth = (np.asarray(data.open_mask(item)) > 127 for item in slices)
    return [overlap.compare(*pair) for pair in zip(found, truth, strict=True)]


def recipe(size: Size, stage: str, loss: str, seed: int) -> fit.Recipe:
    """How a network of this size is trained: `first` on synthetic heads, `then` on drawn masks, or on these `alone`."""
    epochs = size.first if stage == "first" else size.then
    return fit.Recipe(epochs=epochs, batch=size.batch, rate=RATES[stage], loss=loss, seed=seed)
