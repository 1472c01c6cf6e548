"""Losses for masks, by name. Each takes logits and truth (n, 1, height, width) and gives one number to make small.

Most are MONAI's; here are those that it lacks. What sets them apart is what they make of an image that is nearly all
background: the cross entropy is content with an empty answer, those built on overlap are not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy import ndimage
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

FOREGROUND_WEIGHT = 20.0  # of the weighted cross entropy: a tumour fills about a twentieth of a head


class FocalTversky(nn.Module):
    """(1 - Tversky index) ** exponent: hard images count more (Abraham, Khan 2019, doi 10.1109/ISBI.2019.8759329)."""

    def __init__(self, missed: float = 0.7, exponent: float = 0.75) -> None:
        super().__init__()
        self._tversky = _monai("TverskyLoss", sigmoid=True, alpha=1 - missed, beta=missed, reduction="none")
        self._exponent = exponent

    def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        each = self._tversky(logits, truth).clamp_min(1e-6)  # the slope of a root is infinite at 0
        return (each**self._exponent).mean()


class LovaszHinge(nn.Module):
    """The intersection over union made convex, an image at a time (Berman et al. 2018, doi 10.1109/CVPR.2018.00464)."""

    def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return torch.stack([self._one(*pair) for pair in zip(logits.flatten(1), truth.flatten(1), strict=True)]).mean()

    @staticmethod
    def _one(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        errors = 1 - logits * (2 * truth - 1)
        errors, order = torch.sort(errors, descending=True)
        truth = truth[order]
        missed = truth.sum() - truth.cumsum(0)
        jaccard = 1 - missed / (truth.sum() + (1 - truth).cumsum(0))
        slope = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
        return torch.dot(torch.relu(errors), slope)


class Boundary(nn.Module):
    """Dice loss, plus the mean distance of what is called tumour from the true border (Kervadec et al. 2019, MIDL).

    Distances are negative inside, in parts of the image's edge, and worked out on the CPU. An image without a tumour
    has no border: for it the Dice loss alone counts.
    """

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self._dice, self._weight = _monai("DiceLoss", sigmoid=True), weight

    def forward(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        distances = torch.from_numpy(np.stack([signed_distance(mask) for mask in truth[:, 0].cpu().numpy()]))
        far = (torch.sigmoid(logits) * distances.to(logits)[:, None]).mean()
        dice: torch.Tensor = self._dice(logits, truth)
        return dice + self._weight * far


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """Distance from the border of a mask (height, width) in parts of its height, negative inside; 0 without a mask."""
    inside = mask > 0.5
    if not inside.any() or inside.all():
        return np.zeros(mask.shape, dtype=np.float32)
    outside = ndimage.distance_transform_edt(~inside)
    depth = ndimage.distance_transform_edt(inside)
    return np.asarray((outside - depth) / mask.shape[0], dtype=np.float32)


def _monai(name: str, **options: Any) -> Any:
    """A loss of MONAI's, which is loaded where one is asked for: it takes seconds."""
    return getattr(import_module("monai.losses"), name)(**options)


def _cross_entropy(weight: float) -> Loss:
    def loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        foreground = torch.tensor(weight, device=logits.device, dtype=logits.dtype)
        return nn.functional.binary_cross_entropy_with_logits(logits, truth, pos_weight=foreground)

    return loss


LOSSES: dict[str, Callable[[], Loss]] = {
    "bce": lambda: _cross_entropy(1.0),
    "weighted bce": lambda: _cross_entropy(FOREGROUND_WEIGHT),
    "dice": lambda: _monai("DiceLoss", sigmoid=True),
    "bce + dice": lambda: _monai("DiceCELoss", sigmoid=True),
    "focal": lambda: _monai("FocalLoss", alpha=0.75, gamma=2.0),
    "tversky": lambda: _monai("TverskyLoss", sigmoid=True, alpha=0.3, beta=0.7),
    "focal tversky": FocalTversky,
    "lovasz": LovaszHinge,
    "boundary": Boundary,
}


def loss(name: str) -> Loss:
    """One of LOSSES. Raises ValueError for another name."""
    if name not in LOSSES:
        raise ValueError(f"there is no loss {name!r}; choose {', '.join(LOSSES)}")
    return LOSSES[name]()
