"""What the three families learn from: each takes one batch and takes one step with it.

A family has a `segmenter`, which is what is kept, and optimisers. Only the conditional GAN has a second network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from monai.losses import DiceCELoss, DiceLoss
from torch import nn
from torch.nn import functional

from brainmri.segmentation3d.networks import CLASSES, Critic, Regularised
from brainmri.segmentation3d.workers import Worker

if TYPE_CHECKING:
    from collections.abc import Callable

RECONSTRUCTION, DIVERGENCE = 0.1, 0.1  # weights of the autoencoder's terms (Myronenko 2018)
ADVERSARIAL = 0.2  # against a Dice of 1: Vox2Vox has the Dice at 5
DRAWN = 0.9  # what the critic is told of a drawn mask: one-sided label smoothing (Salimans et al. 2016)
SLOWER = 0.25  # learning rate of the critic, in that of the generator, so that it does not run ahead
CLIP = 5.0  # longest gradient
ABSOLUTE = 1.0  # weight of the L1 term of pix2pix, against a Dice of 1


class DiceAbsolute(DiceLoss):  # type: ignore[misc]
    """The Dice, and pix2pix' L1: how far the shares of a voxel are from its label."""

    def forward(self, answer: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Of logits and shares (n, classes, x, y, z)."""
        dice: torch.Tensor = super().forward(answer, truth)
        return dice + ABSOLUTE * functional.l1_loss(torch.softmax(answer, dim=1), truth)


# Over the batch, so that a patch without a region asks for nothing that cannot be had.
LOSSES: dict[str, Callable[[], nn.Module]] = {
    "dice": lambda: DiceLoss(softmax=True, include_background=False, batch=True),
    "ce + dice": lambda: DiceCELoss(softmax=True, include_background=False, batch=True),
    "dice + l1": lambda: DiceAbsolute(softmax=True, include_background=False, batch=True),
}
FAMILIES = {"segmentation3d": "U-Net", "vae": "U-Net with VAE", "gan": "conditional GAN"}


class Family(nn.Module):
    """What all families have: optimisers, a loss over the batch, and workers that may share the batch."""

    segmenter: nn.Module
    optimisers: list[torch.optim.Optimizer]

    def __init__(self, loss: str) -> None:
        super().__init__()
        self._loss = LOSSES[loss]()
        self.share(Worker())

    def share(self, worker: Worker) -> None:
        """From now on a step is one with the patches of all workers together."""
        self._worker = worker
        learning = [(name, part) for name, part in self.named_children() if next(part.parameters(), None) is not None]
        self._wrapped = {name: worker.wrapped(part) for name, part in learning}  # a dict: no part of the state

    def _ask(self, name: str, *inputs: torch.Tensor) -> Any:
        """What a network of the family answers; its slopes are the mean of those of all workers."""
        return self._wrapped.get(name, getattr(self, name))(*inputs)

    def _over_batch(self, answer: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        loss: torch.Tensor = self._loss(self._worker.whole(answer.float()), self._worker.whole(truth))
        return loss


class Supervised(Family):
    """A network that learns from masks alone, or with the two terms of its autoencoder."""

    def __init__(self, segmenter: nn.Module, loss: str, *, rate: float, weight_decay: float) -> None:
        super().__init__(loss)
        self.segmenter = segmenter
        self.optimisers = [torch.optim.AdamW(segmenter.parameters(), rate, weight_decay=weight_decay)]

    def learn(self, images: torch.Tensor, truth: torch.Tensor, mixed: torch.autocast) -> dict[str, torch.Tensor]:
        """One step; `truth` is (n, 3, x, y, z). Returns what is to be written down."""
        with mixed:
            answer = self._ask("segmenter", images)
        noted = {}
        if isinstance(answer, Regularised):
            loss = self._over_batch(answer.logits, truth)
            noted = {"reconstruction": answer.reconstruction.detach(), "divergence": answer.divergence.detach()}
            total = loss + RECONSTRUCTION * answer.reconstruction + DIVERGENCE * answer.divergence
        elif answer.dim() == truth.dim() + 1:
            weights = 0.5 ** torch.arange(answer.shape[1])
            each = torch.stack([self._over_batch(one, truth) for one in answer.unbind(1)])
            loss = total = (each * (weights / weights.sum()).to(each)).sum()
        else:
            loss = total = self._over_batch(answer, truth)
        _step(self.optimisers[0], total, self.segmenter)
        return {"loss": loss.detach(), **noted}


class Adversarial(Family):
    """A generator that learns from masks and from a critic, which learns to tell its masks from drawn ones.

    The loss is that of Vox2Vox, adversarial and Dice, or another one beside the adversarial, such as with pix2pix' L1.
    Three things keep the critic from being sure too early: a lower learning rate, one-sided label smoothing, and its
    accuracy is noted.
    """

    def __init__(
        self,
        generator: nn.Module,
        critic: Critic,
        loss: str,
        *,
        rate: float,
        weight_decay: float,
    ) -> None:
        super().__init__(loss)
        self.segmenter, self.critic = generator, critic
        self.optimisers = [
            torch.optim.AdamW(generator.parameters(), rate, weight_decay=weight_decay),
            torch.optim.Adam(critic.parameters(), SLOWER * rate, betas=(0.5, 0.999)),
        ]

    def learn(self, images: torch.Tensor, truth: torch.Tensor, mixed: torch.autocast) -> dict[str, torch.Tensor]:
        """One step of the critic and one of the generator."""
        with mixed:
            logits = self._ask("segmenter", images)
        shares = torch.softmax(logits.float(), dim=1)
        with mixed:
            drawn, made = self._ask("critic", images, truth), self._ask("critic", images, shares.detach())
        judging = (_against(drawn, DRAWN) + _against(made, 0.0)) / 2
        _step(self.optimisers[1], judging, self.critic)
        with mixed:
            fooled = self.critic(images, shares)
        loss = self._over_batch(logits, truth)
        _step(self.optimisers[0], loss + ADVERSARIAL * _against(fooled, 1.0), self.segmenter)
        right = ((drawn > 0).float().mean() + (made <= 0).float().mean()) / 2
        return {"loss": loss.detach(), "critic": judging.detach(), "critic_accuracy": right.detach()}


def one_hot(labels: torch.Tensor, classes: int = CLASSES) -> torch.Tensor:
    """Labels (n, x, y, z) as shares (n, classes, x, y, z)."""
    return functional.one_hot(labels.long(), classes).movedim(-1, 1).float()


def _against(logits: torch.Tensor, wanted: float) -> torch.Tensor:
    return functional.binary_cross_entropy_with_logits(logits.float(), torch.full_like(logits.float(), wanted))


def _step(optimiser: torch.optim.Optimizer, loss: torch.Tensor, network: nn.Module) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
    optimiser.step()
