"""Training one of the families: a fixed number of steps, a checkpoint after each epoch, and going on from the last.

Everything that chance decides in a step follows from the seed and the step's number. So a training that was killed at
any moment and goes on ends, on a CPU, with the very weights of one that was not. Workers that share the batches see
the patches that one process would see, so a training may go on with more or less of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np
import torch

from brainmri import fit
from brainmri.segmentation3d.networks import CLASSES
from brainmri.segmentation3d.objectives import one_hot
from brainmri.segmentation3d.workers import Worker
from brainmri.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from brainmri.fit import Progress
    from brainmri.runs import Run
    from brainmri.segmentation3d.objectives import Adversarial, Supervised
    from brainmri.segmentation3d.patches import Patches

POWER = 0.9  # of the polynomial by which the learning rate falls (Myronenko 2018)
SEED_STRIDE, WORKER_STRIDE = 1_000_003, 2**40


@dataclass(frozen=True)
class Plan:
    """How long is trained: `epochs` of `steps` batches of `batch` patches each, whose voxels are one of `classes`.

    `patience` and `plateau` are those of `fit.Recipe`.
    """

    epochs: int
    steps: int
    batch: int
    seed: int = 0
    classes: int = CLASSES
    patience: int = 0
    plateau: int = 0


class Training:
    """A family with its run's folder. `history` has losses, Dice on the validation set and seconds of each epoch."""

    def __init__(self, family: Supervised | Adversarial, plan: Plan, run: Run, worker: Worker | None = None) -> None:
        self._worker = worker or Worker()
        self.device = fit.best_device()
        self.family = family.to(self.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.plan = plan
        self._run = run
        self._rates = [group["lr"] for optimiser in family.optimisers for group in optimiser.param_groups]
        self._mixed = torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")
        self._watch = Watch(family.segmenter, family.optimisers, "val_dice", plan.patience, plan.plateau)
        self.history = self._restore()

    def fit(
        self,
        patches: Patches,
        check: Callable[[], dict[str, float]] | None = None,
        on_progress: Progress | None = None,
    ) -> list[dict[str, float]]:
        """Train until the plan is fulfilled; returns the history. `check` measures the segmenter after an epoch.

        Of several workers the first one checks and stores. Raises OSError when a checkpoint cannot be written: the last
        good one stays. ValueError when it has diverged.
        """
        self.family.share(self._worker)
        try:
            return self._fit(patches, check, on_progress)
        finally:
            self.family.share(Worker())

    def _fit(
        self, patches: Patches, check: Callable[[], dict[str, float]] | None, on_progress: Progress | None
    ) -> list[dict[str, float]]:
        plan, worker = self.plan, self._worker
        part = worker.part(plan.batch)
        total = plan.epochs * plan.steps
        for epoch in range(len(self.history), plan.epochs):
            if self._watch.over(self.history):
                break
            noted: list[dict[str, torch.Tensor]] = []
            began = monotonic()
            self.family.train()
            for step in range(epoch * plan.steps, (epoch + 1) * plan.steps):
                if on_progress:
                    on_progress(step, total, self._words(epoch))
                torch.manual_seed(SEED_STRIDE * plan.seed + step + WORKER_STRIDE * worker.number)
                if not plan.plateau:
                    self._set_rates((1 - step / total) ** POWER)
                images, labels = patches.batch(step, plan.batch, self.device, part)
                images = images.contiguous(memory_format=torch.channels_last_3d)
                noted.append(self.family.learn(images, one_hot(labels, plan.classes), self._mixed))
            means = {name: float(worker.mean(torch.stack([one[name] for one in noted]).mean())) for name in noted[0]}
            if not all(np.isfinite(list(means.values()))):
                raise ValueError("the training has diverged: its loss is not a number; lower the learning rate")
            seconds = monotonic() - began
            checked = worker.told(check() if check and worker.first else {})
            self.history.append({**means, **checked, "seconds": seconds})
            self._watch.look(self.history)
            if worker.first:
                self._store()
        if on_progress and total:
            on_progress(total, total, self._words(len(self.history) - 1))
        self._watch.finish()
        return self.history

    def _set_rates(self, share: float) -> None:
        groups = (group for optimiser in self.family.optimisers for group in optimiser.param_groups)
        for group, rate in zip(groups, self._rates, strict=True):
            group["lr"] = rate * share

    def _words(self, epoch: int) -> str:
        last = self.history[-1] if self.history else {}
        shown = {"loss": "loss", "val_dice": "validation Dice", "critic_accuracy": "critic right"}
        notes = [f"{words} {last[name]:.3f}" for name, words in shown.items() if name in last]
        return ", ".join([f"epoch {epoch + 1} of {self.plan.epochs}", *notes])

    def _restore(self) -> list[dict[str, float]]:
        history, state = fit.restore(self._run, self.device)
        if state:
            self.family.load_state_dict(state["family"])
            for optimiser, stored in zip(self.family.optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(stored)
            if self._watch.on:
                self._watch.load_state_dict(state["watch"])
        return history

    def _store(self) -> None:
        optimisers = [optimiser.state_dict() for optimiser in self.family.optimisers]
        state = {"family": self.family.state_dict(), "optimisers": optimisers}
        if self._watch.on:
            state["watch"] = self._watch.state_dict()
        fit.store(self._run, state, self.history)
