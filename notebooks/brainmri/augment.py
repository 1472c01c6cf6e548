"""Making every epoch different: heads mirrored, turned, scaled, bent and lit otherwise, with their masks.

Whole batches at once and on the device of the batch, so that a GPU does not wait for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Augmentation:
    """How much of each. Angles in degrees, shifts and bends in parts of the edge, the rest factors."""

    turn: float = 20.0
    scale: float = 0.2
    shift: float = 0.08
    bend: float = 0.02
    contrast: float = 0.3
    brightness: float = 0.3
    noise: float = 0.15
    shading: float = 0.3


def augment(
    images: torch.Tensor, masks: torch.Tensor, random: torch.Generator, how: Augmentation | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch (n, 1, height, width) of normalised images and of masks, changed a little, each otherwise.

    `random` is a generator of the batch's own device.
    """
    how = how or Augmentation()
    count = len(images)

    def uniform(*shape: int) -> torch.Tensor:
        return 2 * torch.rand(shape, generator=random, device=images.device) - 1

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random, device=images.device)

    grid = functional.affine_grid(_affine(how, count, uniform), list(images.shape), align_corners=False)
    bends = 2 * how.bend * normal(count, 2, 6, 6)
    grid = grid + functional.interpolate(bends, images.shape[2:], mode="bicubic").permute(0, 2, 3, 1)
    images = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    masks = (functional.grid_sample(masks, grid, align_corners=False) > 0.5).to(masks)
    one = (count, 1, 1, 1)
    shading = 1 + how.shading / 2 * functional.interpolate(normal(count, 1, 4, 4), images.shape[2:], mode="bicubic")
    images = images * shading * (1 + how.contrast * uniform(*one)) + how.brightness * uniform(*one)
    return images + how.noise * uniform(*one).abs() * normal(*images.shape), masks


def _affine(how: Augmentation, count: int, uniform: Callable[..., torch.Tensor]) -> torch.Tensor:
    """Matrices (n, 2, 3) from places in the new image to places in the old one."""
    angle = uniform(count) * how.turn * pi / 180
    scale = 1 + how.scale * uniform(count, 2)
    mirror = torch.sign(uniform(count))
    cosine, sine = torch.cos(angle), torch.sin(angle)
    rows = [
        torch.stack([cosine * scale[:, 0] * mirror, -sine * scale[:, 1]], dim=1),
        torch.stack([sine * scale[:, 0] * mirror, cosine * scale[:, 1]], dim=1),
    ]
    return torch.cat([torch.stack(rows, dim=1), (2 * how.shift * uniform(count, 2))[:, :, None]], dim=2)
