"""What a training in PyTorch does where the validation set gets no better: stop early, or lower its learning rate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.optim.lr_scheduler import ReduceLROnPlateau

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn
    from torch.optim import Optimizer

    History = Sequence[Mapping[str, float]]


class Watch:
    """Looks at a figure of each epoch, the higher the better.

    After `patience` epochs in which it was no better than before, the training is over, and `kept` becomes what it was
    after the best one. After `plateau` such epochs the learning rate falls to a tenth. 0: neither, as if it was not
    there. Its state is part of a checkpoint.
    """

    def __init__(
        self, kept: nn.Module, optimisers: Sequence[Optimizer], figure: str, patience: int = 0, plateau: int = 0
    ) -> None:
        self.patience, self.plateau = patience, plateau
        self._kept, self._figure = kept, figure
        self._schedules = [
            ReduceLROnPlateau(one, mode="max", patience=plateau - 1) for one in optimisers if plateau
        ]  # PyTorch counts the epochs beyond its patience
        self._best: dict[str, Any] = {}

    @property
    def on(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.patience or self.plateau)

    def look(self, history: History) -> None:
        """Act on the last epoch. Raises ValueError where it has no such figure."""
        if not self.on:
            return
        if self._figure not in history[-1]:
            raise ValueError("patience and plateau need a validation set to look at; train without them, or give one")
        for schedule in self._schedules:
            schedule.step(history[-1][self._figure])
        if self.patience and since_best(history, self._figure) == 0:
            self._best = {name: value.detach().clone() for name, value in self._kept.state_dict().items()}

    def over(self, history: History) -> bool:
        """Whether there was no better epoch for too long."""
        return bool(self.patience and history) and since_best(history, self._figure) >= self.patience

    def finish(self) -> None:
        """Bring back the best epoch's network."""
        if self._best:
            self._kept.load_state_dict(self._best)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"schedules": [schedule.state_dict() for schedule in self._schedules], "best": self._best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        for schedule, stored in zip(self._schedules, state["schedules"], strict=True):
            schedule.load_state_dict(stored)
        self._best = state["best"]


def since_best(history: History, figure: str) -> int:
    """How many epochs came after the best one, the first of equals."""
    values = [epoch[figure] for epoch in history]
    return len(values) - 1 - values.index(max(values))


def settings(patience: int, plateau: int) -> dict[str, int]:
    """What a run's settings say of both: nothing where they are off."""
    return {name: value for name, value in {"patience": patience, "plateau": plateau}.items() if value}
