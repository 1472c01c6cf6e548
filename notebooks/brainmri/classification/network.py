"""The network, and how it is trained."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from brainmri import fit
from brainmri.augment import Augmentation, augment
from brainmri.metrics import roc_auc

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from brainmri.runs import Run

    Array = NDArray[np.float32]

SMOOTHING = 0.05  # of the labels: a wrong one among them costs less
REMEMBERED = 0.995  # of the average of the weights, at each step


@dataclass(frozen=True)
class Size:
    """How much is done."""

    pixels: int
    filters: int
    blocks: int  # in each of the four stages
    epochs: int
    batch: int = 32
    rate: float = 2e-3


SIZES = {
    "smoke": Size(pixels=64, filters=8, blocks=1, epochs=2),
    "quick": Size(pixels=160, filters=24, blocks=2, epochs=45),
    "full": Size(pixels=224, filters=48, blocks=2, epochs=100),
}


class Classifier(nn.Module):
    """Residual network (He et al. 2016, arXiv 1512.03385) in four stages, each of half the resolution of the last.

    Takes (n, 1, pixels, pixels), normalised, and gives (n, classes) logits. Mean and largest value of each feature are
    both kept: a small tumour hardly moves the mean.
    """

    def __init__(self, classes: int, filters: int, blocks: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, filters, 5, stride=2, padding=2, bias=False),
            nn.BatchNorm2d(filters),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
        widths = [filters * 2**stage for stage in range(4)]
        first = [Block(filters, filters, stride=1)]
        first += [Block(before, width, stride=2) for before, width in pairwise(widths)]
        rest = [[Block(width, width, stride=1) for _ in range(blocks - 1)] for width in widths]
        self.stages = nn.Sequential(*(nn.Sequential(one, *more) for one, more in zip(first, rest, strict=True)))
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(2 * widths[-1], classes))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits of a batch."""
        features = self.stages(self.stem(image))
        found: torch.Tensor = self.head(torch.cat([features.mean(dim=(2, 3)), features.amax(dim=(2, 3))], dim=1))
        return found


class Block(nn.Module):
    """Two convolutions, and what came in beside them."""

    def __init__(self, channels: int, wider: int, *, stride: int) -> None:
        super().__init__()
        self.way = nn.Sequential(
            nn.Conv2d(channels, wider, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(wider),
            nn.ReLU(),
            nn.Conv2d(wider, wider, 3, padding=1, bias=False),
            nn.BatchNorm2d(wider),
        )
        self.beside: nn.Module = nn.Identity()
        if stride > 1:
            self.beside = nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True), nn.Conv2d(channels, wider, 1, bias=False), nn.BatchNorm2d(wider)
            )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features of the same size, or of half of it."""
        found: torch.Tensor = torch.relu(self.way(features) + self.beside(features))
        return found


def network(size: Size, classes: int) -> Classifier:
    """A new network of this size. Seed PyTorch before."""
    return Classifier(classes, size.filters, size.blocks)


class ClassifierTraining(fit.Training):
    """Learns labels; what is kept in the end is a running average of the weights, which varies less than the last ones.

    `balance` weighs classes, so that a rare one counts as much as another.
    """

    figure = "val_auc"

    def __init__(
        self,
        model: Classifier,
        size: Size,
        run: Run,
        *,
        balance: Array,
        positive: int,
        seed: int,
        patience: int = 0,
        plateau: int = 0,
    ) -> None:
        device = fit.best_device()
        self._positive = positive
        self.average = AveragedModel(model.to(device), multi_avg_fn=get_ema_multi_avg_fn(REMEMBERED), use_buffers=True)
        recipe = fit.Recipe(
            epochs=size.epochs, batch=size.batch, rate=size.rate, loss="cross entropy", seed=seed,
            patience=patience, plateau=plateau,
        )  # fmt: skip
        loss = nn.CrossEntropyLoss(weight=torch.from_numpy(balance).to(device), label_smoothing=SMOOTHING)
        super().__init__(model, recipe, run, loss)

    @property
    def _kept(self) -> nn.Module:
        return self.average

    def _parts(self) -> dict[str, Any]:
        return {**super()._parts(), "average": self.average}

    def _step(self, image: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        loss = super()._step(image, truth)
        self.average.update_parameters(self.model)
        return loss

    def _batches(
        self, x: torch.Tensor, y: torch.Tensor, random: torch.Generator
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Every slice once, changed a little, in batches of more than one: a mean over one slice teaches nothing."""
        order = torch.randperm(len(x), generator=random, device=self.device)
        for chosen in order.split(self.recipe.batch):
            if len(chosen) > 1 or len(order) == 1:
                image = x[chosen]
                yield augment(image, torch.zeros_like(image), random, Augmentation())[0], y[chosen]

    def _check(self, images: Array, truth: NDArray[Any]) -> dict[str, float]:
        score = probabilities(self.average, images, scales=(1.0,))[:, self._positive]
        return {"val_auc": roc_auc(truth == self._positive, score)}


@torch.inference_mode()
def probabilities(
    model: nn.Module, images: Array, batch: int = 64, scales: Sequence[float] = fit.SCALES
) -> NDArray[np.float64]:
    """The probability of each class, (n, classes), for images (n, 1, pixels, pixels).

    The mean over each image in some sizes, each with its mirror image.
    """
    device = next(model.parameters()).device
    model.eval()
    found = []
    for start in range(0, len(images), batch):
        image = torch.from_numpy(images[start : start + batch]).to(device)
        seen = [view for scale in scales for view in _both(image, scale)]
        found.append(torch.stack([torch.softmax(model(view).float(), dim=1) for view in seen]).mean(dim=0).cpu())
    return np.concatenate([part.numpy() for part in found]).astype(np.float64) if found else np.zeros((0, 0))


def _both(image: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """An image in another size, and its mirror image."""
    seen = nn.functional.interpolate(image, fit.scaled(image, scale), mode="bilinear", align_corners=False)
    return seen, seen.flip(-1)
