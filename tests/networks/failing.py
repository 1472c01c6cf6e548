"""What a process does that fails beside another; apart, for each process loads all that its module does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from brainmri.segmentation3d.workers import Bars, Worker


def fail(worker: Worker, bars: Bars, steps: int) -> None:
    """Take steps together; in the last one the second process meets an error, for which the first one would wait."""
    show = bars("training")
    for step in range(steps):
        show(step, steps)
        if step == steps - 1 and not worker.first:
            raise OSError(5, "the cable was pulled")
        worker.mean(torch.ones(1))
