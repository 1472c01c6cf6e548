"""Whole volumes from a network that learnt from patches, and how much its answer depends on the way it is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from monai.inferers import sliding_window_inference

from brainmri.fit import best_device
from brainmri.segmentation3d import measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import nn

    Array = NDArray[np.float32]
    Flip = tuple[int, ...]

PLAIN: tuple[Flip, ...] = ((),)
FLIPS: tuple[Flip, ...] = ((), (-3,), (-2,), (-1,))  # the image as it is, and mirrored along each axis
OVERLAP = 0.5  # of neighbouring windows


@dataclass(frozen=True)
class Answer:
    """Probability of each region (regions, x, y, z), and its standard deviation over the ways of asking."""

    probability: Array
    spread: Array

    @property
    def unsure(self) -> NDArray[np.bool_]:
        """Where it is called uncertain, of any region (x, y, z)."""
        return np.asarray(self.spread.max(axis=0) > measure.UNCERTAIN)


@torch.inference_mode()
def answer(
    network: nn.Module, images: NDArray[np.floating], edge: int, flips: Sequence[Flip] = FLIPS, batch: int = 4
) -> Answer:
    """Ask a network about images (channels, x, y, z), in windows of `edge` voxels, in which the middle counts most.

    The windows' weights are Gaussian, as in nnU-Net. The mean is over `flips` of the image, each brought back.
    """
    device = best_device()
    network = network.to(device).eval()
    image = torch.from_numpy(images)[None].to(device).float()
    asked = []
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        for axes in flips:
            logits = sliding_window_inference(
                image.flip(axes) if axes else image, (edge,) * 3, batch, network, overlap=OVERLAP, mode="gaussian"
            )
            shares = torch.softmax(logits.float(), dim=1)[0, 1:]
            asked.append(shares.flip(axes) if axes else shares)
    ways = torch.stack(asked)
    brain = (image[0] != 0).any(dim=0)
    return Answer((ways.mean(dim=0) * brain).cpu().numpy(), (ways.std(dim=0, correction=0) * brain).cpu().numpy())
