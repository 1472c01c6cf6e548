"""Batches of patches: each region is as often in the middle as healthy tissue, however small it is.

A batch depends on its number and the seed alone, so that a training that goes on sees what it would have seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from brainmri.segmentation3d.samples import Sample

WHOLE = slice(None)  # of a batch
REMEMBERED = 4000  # voxels of a region, from which the middle of a patch is drawn


@dataclass(frozen=True)
class Change:
    """How much a patch is changed. Angles in degrees, the rest factors; `mirror` allows it to be seen in a mirror."""

    turn: float = 12.0
    scale: float = 0.12
    contrast: float = 0.15
    brightness: float = 0.15
    noise: float = 0.08
    mirror: bool = True


class Patches:
    """Cuts batches out of samples, which stay in memory."""

    def __init__(self, samples: Sequence[Sample], edge: int, seed: int, how: Change | None = None) -> None:
        random = np.random.default_rng(seed)
        self._edge, self._seed, self._how = edge, seed, how
        self._images = [torch.from_numpy(sample.images.astype(np.float16, copy=False)) for sample in samples]
        self._labels = [torch.from_numpy(_known(sample)) for sample in samples]
        regions = range(1, max((int(_known(sample).max()) for sample in samples), default=0) + 1)
        self._middles = [
            [_some(random, _known(sample) == region) for region in regions] + [_some(random, _brain(sample))]
            for sample in samples
        ]

    def batch(
        self, number: int, size: int, device: torch.device, part: slice = WHOLE
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (n, 4, edge, edge, edge) and labels (n, edge, edge, edge), each patch changed a little.

        Of the `size` patches of the batch those of `part` are made, as they are in the whole batch.
        """
        random = np.random.default_rng((self._seed, number))
        places = [self._place(random) for _ in range(size)]
        cut = [self._patch(*place) for place in places[part]]
        images = torch.stack([image for image, _ in cut]).to(device).float()
        labels = torch.stack([label for _, label in cut]).to(device)
        chance = torch.Generator(device).manual_seed(int(random.integers(2**62)))
        return changed(images, labels, chance, self._how, size=size, part=part)

    def _place(self, random: np.random.Generator) -> tuple[int, NDArray[np.intp]]:
        """A case, and the middle of a patch in it."""
        case = int(random.integers(len(self._images)))
        places = [places for places in self._middles[case] if len(places)]
        kind = places[random.integers(len(places))]
        shift = random.integers(-self._edge // 4, self._edge // 4 + 1, size=3)
        return case, kind[random.integers(len(kind))] + shift

    def _patch(self, case: int, middle: NDArray[np.intp]) -> tuple[torch.Tensor, torch.Tensor]:
        image, labels = self._images[case], self._labels[case]
        first = middle - self._edge // 2
        room = np.array(labels.shape) - self._edge
        first = np.where(room >= 0, np.clip(first, 0, np.maximum(room, 0)), room // 2)
        return _cut(image, first, self._edge), _cut(labels, first, self._edge)


def changed(
    images: torch.Tensor,
    labels: torch.Tensor,
    random: torch.Generator,
    how: Change | None = None,
    *,
    size: int | None = None,
    part: slice = WHOLE,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch mirrored, turned, scaled and lit otherwise, with its labels. `random` is of the batch's device.

    Where the images are only `part` of a batch of `size`, they are changed as they would be in the whole.
    """
    how = how or Change()
    count, size = len(images), size or len(images)

    def uniform(*shape: int) -> torch.Tensor:
        return 2 * torch.rand((size, *shape), generator=random, device=images.device)[part] - 1

    scale, side = 1 + how.scale * uniform(3), torch.sign(uniform(3))
    matrix = torch.diag_embed(scale * side if how.mirror else scale)
    for axis in range(3):
        angle = uniform() * how.turn * pi / 180
        matrix = _turn(axis, angle) @ matrix
    grid = functional.affine_grid(
        torch.cat([matrix, matrix.new_zeros(count, 3, 1)], dim=2), list(images.shape), align_corners=False
    )
    images = functional.grid_sample(images, grid, align_corners=False)
    moved = functional.grid_sample(labels[:, None].float(), grid, mode="nearest", align_corners=False)
    one = (images.shape[1], 1, 1, 1)
    brain = images.abs().amax(dim=1, keepdim=True) > 0  # outside it stays 0
    noise = torch.randn((size, *images.shape[1:]), generator=random, device=images.device)[part]
    lit = images * (1 + how.contrast * uniform(*one)) + how.brightness * uniform(*one) + how.noise * noise
    return lit * brain, moved[:, 0].to(labels.dtype)


def _turn(axis: int, angle: torch.Tensor) -> torch.Tensor:
    """Matrices (n, 3, 3) that turn around an axis."""
    matrix = torch.eye(3, device=angle.device).repeat(len(angle), 1, 1)
    one, other = (axis + 1) % 3, (axis + 2) % 3
    matrix[:, one, one] = matrix[:, other, other] = torch.cos(angle)
    matrix[:, other, one] = torch.sin(angle)
    matrix[:, one, other] = -torch.sin(angle)
    return matrix


def _cut(values: torch.Tensor, first: NDArray[np.intp], edge: int) -> torch.Tensor:
    """A cube out of the last three axes, with 0 where it reaches beyond them."""
    begin = np.maximum(first, 0)
    end = np.minimum(first + edge, values.shape[-3:])
    inside = values[..., begin[0] : end[0], begin[1] : end[1], begin[2] : end[2]]
    before, after = begin - first, first + edge - end
    around = [int(width) for axis in (2, 1, 0) for width in (before[axis], after[axis])]
    return functional.pad(inside, around) if any(around) else inside


def _known(sample: Sample) -> NDArray[np.uint8]:
    if sample.labels is None:
        raise ValueError(f"{sample.case.name} has no mask to learn from")
    return sample.labels


def _brain(sample: Sample) -> NDArray[np.bool_]:
    return np.asarray((sample.images != 0).any(axis=0))


def _some(random: np.random.Generator, inside: NDArray[np.bool_]) -> NDArray[np.intp]:
    places = np.argwhere(inside)
    return places if len(places) <= REMEMBERED else places[random.choice(len(places), REMEMBERED, replace=False)]
