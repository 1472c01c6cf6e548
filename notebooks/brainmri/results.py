"""A measured figure together with everything that has to be said along with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from brainmri.progress import spoken

if TYPE_CHECKING:
    from brainmri.data import Source
    from brainmri.metrics import Confusion, Interval
    from brainmri.splits import Split


@dataclass(frozen=True)
class ClassificationResult:
    """What a classifier reached on `groups` patients or blocks that it never saw, and under which circumstances.

    `epochs` and `seconds` are those trained by this kernel; 0 where the training was found complete.
    """

    auc: Interval
    counts: Confusion
    groups: int
    split: Split
    source: Source
    size: str
    hardware: str
    epochs: int
    seconds: float

    @property
    def n(self) -> int:
        """Number of test slices."""
        return len(self.split.test)

    def sentences(self) -> list[str]:
        """The result in words, the caveats after it."""
        trained = f"{self.epochs} epochs in {spoken(self.seconds)}" if self.epochs else "trained before"
        said = [
            f"{self.source.credit}.",
            f"On {self.n} test slices of {self.groups} {self.split.by}s that were never seen in training "
            f"({self.split.how}), size {self.size} on {self.hardware} ({trained}): AUC {self.auc}, accuracy "
            f"{self.counts.accuracy:.3f} at a threshold chosen on validation.",
        ]
        if self.split.by == "block":
            said.append(
                "The patients are not known: one whose slices reach from one block into the next may lie on two sides."
            )
        if self.source.synthetic:
            said.append("SYNTHETIC: this says nothing about patients.")
        if self.size == "smoke":
            said.append("Size smoke only tries the notebook out: do not quote this figure.")
        return said

    def as_json(self) -> dict[str, Any]:
        """The result for files and programs."""
        return {
            "auc": self.auc.value,
            "auc_low": self.auc.low,
            "auc_high": self.auc.high,
            "accuracy": self.counts.accuracy,
            "sensitivity": self.counts.sensitivity,
            "specificity": self.counts.specificity,
            "n": self.n,
            "groups": self.groups,
            "split": self.split.how,
            "data": self.source.credit,
            "size": self.size,
            "hardware": self.hardware,
        }
