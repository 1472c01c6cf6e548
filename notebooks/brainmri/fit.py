"""Training a PyTorch network on images and masks: progress, a checkpoint after each epoch, and going on from it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import cos, pi
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from brainmri import gpu, preflight
from brainmri.augment import augment
from brainmri.losses import loss as loss_named
from brainmri.overlap import dice
from brainmri.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from brainmri.losses import Loss
    from brainmri.runs import Run

    Progress = Callable[[int, int, str], None]
    Array = NDArray[np.float32]

WARM_UP = 0.1  # the part of all steps in which the learning rate rises
STORE_EVERY_S = 5.0  # at most: an epoch of a few images is done in less time than it takes to store the network
SCALES = (0.875, 1.0, 1.125)  # in which an image is looked at
MULTIPLE = 16  # of a U-Net with five levels
CLIP = 5.0  # longest gradient
CHECKED = {"val_dice": "Dice", "val_auc": "AUC"}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained. The learning rate rises to `rate` and falls to zero along a cosine.

    With `patience` it is trained until so many epochs brought nothing better on the validation set, and is in the end
    that of the best one; with `plateau` the rate is constant at first and falls to a tenth after so many such epochs.
    """

    epochs: int
    batch: int = 16
    rate: float = 1e-3
    weight_decay: float = 1e-2
    loss: str = "bce + dice"
    seed: int = 0
    patience: int = 0
    plateau: int = 0


class Training:
    """One network with its optimiser and its run's folder. `history` has loss, Dice and seconds of each epoch.

    Where there is a validation set it has `val_loss` and `val_dice`, too.

    `loss` is for what has no name in `losses`; it takes what the network gives and the truth.
    """

    figure = "val_dice"  # of the validation set, the higher the better

    def __init__(self, model: nn.Module, recipe: Recipe, run: Run, loss: Loss | None = None) -> None:
        self.device = best_device()
        self.model = model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.recipe = recipe
        self._run = run
        self._loss = loss or loss_named(recipe.loss)
        self._optimiser = torch.optim.AdamW(self.model.parameters(), recipe.rate, weight_decay=recipe.weight_decay)
        self._mixed = torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")
        self._watch = Watch(self._kept, [self._optimiser], self.figure, recipe.patience, recipe.plateau)
        self.history = self._restore()
        self._overlaps: list[torch.Tensor] = []  # of the images of an epoch, as they were learnt from

    def fit(
        self,
        images: Array,
        truth: NDArray[Any],
        validation: tuple[Array, NDArray[Any]] | None = None,
        on_progress: Progress | None = None,
    ) -> list[dict[str, float]]:
        """Train until all epochs of the recipe are done, or its patience is at an end.

        Images are (n, 1, height, width), and so are masks.

        Returns the history. Raises MemoryError where a batch does not fit the GPU, before anything is done, and OSError
        when a checkpoint cannot be written; the last good one stays.
        """
        shape = (min(self.recipe.batch, len(images)), *images.shape[1:])
        if (memory := preflight.memory()) and (advice := preflight.need(self.model, shape).advice(memory)):
            raise MemoryError(f"{advice} A smaller size takes less, too.")
        x, y = (torch.from_numpy(array).to(self.device) for array in (images, truth))
        steps = max(1, -(-len(x) // self.recipe.batch))
        stored = monotonic()
        for epoch in range(len(self.history), self.recipe.epochs):
            if self._watch.over(self.history):
                break
            losses, self._overlaps, began = [], [], monotonic()
            number = 1_000_003 * self.recipe.seed + epoch  # so a training that goes on draws what it would have drawn
            torch.manual_seed(number)
            random = torch.Generator(self.device).manual_seed(number)
            for step, (image, mask) in enumerate(self._batches(x, y, random)):
                self._set_rate((epoch * steps + step) / (self.recipe.epochs * steps))
                losses.append(self._step(image, mask))
                if on_progress:
                    on_progress(epoch * steps + step, self.recipe.epochs * steps, self._words(epoch))
            epoch_loss = float(torch.stack(losses).mean())
            if not np.isfinite(epoch_loss):
                raise ValueError("the training has diverged: its loss is not a number; lower the learning rate")
            learnt = {"dice": float(torch.cat(self._overlaps).mean())} if self._overlaps else {}
            checked = self._check(*validation) if validation else {}
            self.history.append({"loss": epoch_loss, **learnt, **checked, "seconds": monotonic() - began})
            self._watch.look(self.history)
            last = len(self.history) == self.recipe.epochs or self._watch.over(self.history)
            if last or monotonic() - stored > STORE_EVERY_S:
                self._store()
                stored = monotonic()
        if on_progress and self.recipe.epochs:
            on_progress(self.recipe.epochs * steps, self.recipe.epochs * steps, self._words(len(self.history) - 1))
        self._watch.finish()
        self._run.end()
        return self.history

    def _check(self, images: Array, truth: NDArray[Any]) -> dict[str, float]:
        """What is told of the validation set after each epoch."""
        return {"val_loss": self._mean_loss(images, truth), "val_dice": soft_dice(self.model, images, truth)}

    @torch.no_grad()
    def _mean_loss(self, images: Array, truth: NDArray[Any]) -> float:
        self.model.eval()
        total = 0.0
        for start in range(0, len(images), self.recipe.batch):
            x, y = (
                torch.from_numpy(part[start : start + self.recipe.batch]).to(self.device) for part in (images, truth)
            )
            with self._mixed:
                logits = self.model(x.contiguous(memory_format=torch.channels_last))
            total += len(x) * float(self._loss(logits.float(), y))
        return total / len(images) if len(images) else float("nan")

    @property
    def _kept(self) -> nn.Module:
        """What is left of the training in the end."""
        return self.model

    def _parts(self) -> dict[str, Any]:
        """What a checkpoint holds the state of."""
        watch = {"watch": self._watch} if self._watch.on else {}
        return {"model": self.model, "optimiser": self._optimiser, **watch}

    def _step(self, image: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        self.model.train()
        with self._mixed:
            logits = self.model(image.contiguous(memory_format=torch.channels_last))
        loss = self._loss(logits.float(), truth)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self._optimiser.step()
        if logits.shape == truth.shape:  # of masks, not of labels
            self._overlaps.append(plain_dice(logits.detach(), truth))
        return loss.detach()

    def _batches(
        self, x: torch.Tensor, y: torch.Tensor, random: torch.Generator
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Every image once."""
        for chosen in torch.randperm(len(x), generator=random, device=self.device).split(self.recipe.batch):
            yield augment(x[chosen], y[chosen], random)

    def _set_rate(self, done: float) -> None:
        if self.recipe.plateau:
            return
        rising, falling = done / WARM_UP, (1 + cos(pi * (done - WARM_UP) / (1 - WARM_UP))) / 2
        for group in self._optimiser.param_groups:
            group["lr"] = self.recipe.rate * (rising if done < WARM_UP else falling)

    def _words(self, epoch: int) -> str:
        last = self.history[-1] if self.history else {}
        note = f", loss {last['loss']:.3f}" if last else ""
        checked = "".join(f", validation {word} {last[name]:.3f}" for name, word in CHECKED.items() if name in last)
        return f"epoch {epoch + 1} of {self.recipe.epochs}{note}{checked}"

    def _restore(self) -> list[dict[str, float]]:
        history, state = restore(self._run, self.device)
        for name, part in self._parts().items() if state else ():
            part.load_state_dict(state[name])
        return history

    def _store(self) -> None:
        store(self._run, {name: part.state_dict() for name, part in self._parts().items()}, self.history)


def restore(run: Run, device: torch.device) -> tuple[list[dict[str, float]], dict[str, Any] | None]:
    """History and state of a run's last checkpoint; empty and None where there is none."""
    history = run.read_history()
    path = run.state(len(history))
    if not history or not path.exists():
        return [], None
    return history, torch.load(path, map_location=device, weights_only=True)


def store(run: Run, state: dict[str, Any], history: list[dict[str, float]]) -> None:
    """Replace a run's checkpoint. The history is written last and says which checkpoint counts."""
    before, after = run.state(len(run.read_history())), run.state(len(history))
    save(state, after)
    run.trained_on(hardware())
    run.write_history(history)
    if before != after:
        before.unlink(missing_ok=True)


def save(state: dict[str, Any], path: Any) -> None:
    """Write a checkpoint that is never seen half-written. Raises OSError, and leaves nothing behind then."""
    unfinished = path.with_name(f".{path.name}.new")
    try:
        with unfinished.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except (OSError, RuntimeError) as error:  # PyTorch's writer turns a full disk into a RuntimeError
        unfinished.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise
        raise OSError(getattr(error, "errno", None) or 28, "the checkpoint could not be written", str(path)) from error


def describe(name: str, task: str, model: nn.Module) -> dict[str, Any]:
    """A network for a list of them. Running means of normalisations are parameters that are not learnt."""
    learnt = sum(parameter.numel() for parameter in model.parameters())
    fixed = sum(buffer.numel() for label, buffer in model.named_buffers() if "running" in label)
    return {"name": name, "task": task, "framework": "pytorch", "parameters": learnt + fixed, "trainable": learnt}


def best_device() -> torch.device:
    """A GPU where the session has one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def hardware() -> str:
    """What a training of this process runs on."""
    if best_device().type == "cuda":
        return torch.cuda.get_device_name()
    return gpu.processor(Path("/proc/cpuinfo").read_text(encoding="utf-8"), torch.get_num_threads())


@torch.inference_mode()
def predict(model: nn.Module, images: Array, batch: int = 16, scales: Sequence[float] = SCALES) -> Array:
    """The probability of a tumour in each pixel; images and result are (n, 1, height, width).

    The mean over each image in some sizes, each with its mirror image, all brought back.
    """
    device = next(model.parameters()).device
    model.eval()
    parts = []
    for start in range(0, len(images), batch):
        image = torch.from_numpy(images[start : start + batch]).to(device)
        parts.append(torch.stack([_at_scale(model, image, scale) for scale in scales]).mean(dim=0).cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros_like(images)


def scaled(image: torch.Tensor, scale: float) -> list[int]:
    """Height and width of an image in another size, which a network can halve often enough."""
    return [max(MULTIPLE, round(edge * scale / MULTIPLE) * MULTIPLE) for edge in image.shape[-2:]]


def _at_scale(model: nn.Module, image: torch.Tensor, scale: float) -> torch.Tensor:
    height, width = image.shape[-2:]
    seen = nn.functional.interpolate(image, scaled(image, scale), mode="bilinear", align_corners=False)
    both = torch.sigmoid(model(torch.cat([seen, seen.flip(-1)])).float())
    mean = (both[: len(seen)] + both[len(seen) :].flip(-1)) / 2
    return nn.functional.interpolate(mean, [height, width], mode="bilinear", align_corners=False)


def plain_dice(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """The Dice of each image (n, 1, height, width) of a batch at a probability of one half; 1 where both are empty."""
    found, truth = (one.flatten(1) for one in (logits > 0, masks > 0.5))
    total = found.sum(dim=1) + truth.sum(dim=1)
    return torch.where(total > 0, 2 * (found & truth).sum(dim=1) / total.clamp_min(1), 1.0)


def soft_dice(model: nn.Module, images: Array, masks: Array) -> float:
    """Mean Dice of the masks at a probability of one half, at the network's own resolution; for the learning curve."""
    if not len(images):
        return float("nan")
    pairs = zip(predict(model, images, scales=(1.0,)) > 0.5, masks > 0.5, strict=True)
    return float(np.mean([dice(found, truth) for found, truth in pairs]))
