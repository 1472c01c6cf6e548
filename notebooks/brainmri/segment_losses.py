"""Losses compared: the same U-Net, from the same weights, with the same batches, once with each loss, on one split.

Everything is in one folder, a folder of it for each loss, and goes on where it was interrupted. `result.json` has the
figures, `curves.png` the learning curves. One training each: what chance alone may do is no smaller for being the same
for all of them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib import rc_context
from matplotlib.ticker import MaxNLocator

from brainmri import __version__, fit, segment, view
from brainmri.data import DataError
from brainmri.fit import hardware
from brainmri.losses import LOSSES
from brainmri.overlap import mean_sensitivity
from brainmri.progress import spoken
from brainmri.results import caveats, of_healthy
from brainmri.runs import Run, fingerprint, hardware_of, named_size, open_run
from brainmri.splits import assert_no_copies

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from brainmri.data import Dataset, Part, Source
    from brainmri.overlap import Overlap
    from brainmri.segment import Fold, Samples, Size

    Bars = Callable[[str], Callable[..., None]]
    History = Sequence[Mapping[str, float]]

TASK = "losses"
# Smaller than those of a study, for there are as many trainings as losses. An odd number of folds: every other
# synthetic head has a lesion, and a fold of every fourth might have none.
SIZES = {
    "smoke": replace(segment.SIZES["smoke"], folds=3),
    "quick": replace(segment.SIZES["quick"], pixels=96, levels=4, then=60, folds=5),
    "full": replace(segment.SIZES["full"], folds=5),
}
EVEN = 0.5  # the threshold that comes with a sigmoid
LINES = ("-", "--", ":")  # so that nine lines can be told apart without nine colours


@dataclass(frozen=True)
class Outcome:
    """What a training with one loss came to.

    `even` has the overlap of each slice asked about at a threshold of one half, `chosen` that at `threshold`, which is
    the best one for the slices that were learnt from. `history` has loss and Dice of each epoch.
    """

    even: tuple[Overlap, ...]
    chosen: tuple[Overlap, ...]
    threshold: float
    history: History

    def figures(self) -> dict[str, float]:
        """Means over slices, and how much of a tumour's area was found, as the median of found to true.

        Missed is a tumour of which nothing was found.
        """
        areas = [1 + one.area_error for one in self.chosen if one.area]
        return {
            "dice_at_half": _dice(self.even),
            "dice": _dice(self.chosen),
            "threshold": self.threshold,
            "sensitivity": mean_sensitivity(self.chosen),
            "area": float(np.median(areas)),
            "missed": sum(one.sensitivity == 0 for one in self.chosen),
            "seconds": round(sum(epoch["seconds"] for epoch in self.history)),
        }


@dataclass
class Comparison:
    """Trainings with `losses` on one split of a data set. `bars` makes a progress bar from a title."""

    dataset: Dataset
    size_name: str
    folder: Path
    seed: int = 0
    losses: Sequence[str] = tuple(LOSSES)
    bars: Bars = lambda _: lambda *_: None
    outcomes: dict[str, Outcome] = field(default_factory=dict, repr=False)

    @classmethod
    def open(cls, notebook: str, dataset: Dataset, size_name: str, **options: Any) -> Comparison:
        """The comparison with exactly these settings below ~/sciencebox-runs, begun or not."""
        comparison = cls(dataset, size_name, Path(), **options)
        comparison.folder = open_run(notebook, comparison.settings).folder
        return comparison

    @property
    def size(self) -> Size:
        """The numbers behind the size's name. Raises ValueError for a name that there is none of."""
        return named_size(SIZES, self.size_name)

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that the result depends on."""
        return {
            "task": TASK,
            "name": f"{self.size_name}-{'synthetic' if self.dataset.source.synthetic else self.dataset.root.name}",
            "size": asdict(self.size),
            "seed": self.seed,
            "losses": list(self.losses),
            "data": fingerprint(self.dataset),
            "data_name": self.dataset.source.credit,
            "version": __version__,
        }

    @cached_property
    def division(self) -> tuple[Samples, Fold]:
        """The slices with a mask, and which of them are learnt from and asked about.

        Raises DataError where one side of the split shows no tumour, LeakageError for an image that is on both.
        """
        samples = segment.samples(self.dataset, self.size.pixels, self.bars("reading slices"))
        fold = next(segment.folds(samples.groups, self.size.folds))
        if not all(samples.masks[side].any() for side in (fold.train, fold.test)):
            raise DataError("On one side of the split no slice shows a tumour: losses cannot be compared on it.")
        sides: dict[Part, NDArray[np.intp]] = {"train": fold.train, "test": fold.test}
        assert_no_copies(sides, samples.images, [item.image.name for item in samples.slices])
        return samples, fold

    def run(self) -> dict[str, Any]:
        """Train with each loss, ask, and store figures and curves. Returns what is stored in result.json."""
        samples, fold = self.division
        sides = {"learnt from": fold.train, "asked about": fold.test}
        Run(self.folder).write_split(f"{self.dataset.grouping} split", samples.slices, sides)
        for name in self.losses:
            self.outcomes[name] = self._train(name, fold, samples)
        groups = samples.groups
        result = {
            "task": TASK,
            "losses": {name: outcome.figures() for name, outcome in self.outcomes.items()},
            "n": len(fold.test),
            "groups": len(set(groups[fold.test])),
            "without_tumour": sum(not one.area for one in next(iter(self.outcomes.values())).even),
            "learnt_from": len(fold.train),
            "split": f"{self.dataset.grouping} split, fold 1 of {segment.fold_count(groups, self.size.folds)}",
            "data": self.dataset.source.credit,
            "size": self.size_name,
            "epochs": self.size.then,
            "hardware": hardware_of([Run(self._folder(name)) for name in self.losses], hardware()),
            "seed": self.seed,
        }
        result["seconds"] = sum(one["seconds"] for one in result["losses"].values())
        self.curves().savefig(self.folder / "curves.png")
        Run(self.folder).write_result(result)
        return result

    def table(self) -> list[dict[str, str]]:
        """A row for each loss, in words."""
        return [row(name, outcome.figures()) for name, outcome in self.outcomes.items()]

    def curves(self) -> Figure:
        """Loss and Dice of each epoch."""
        return curves({name: outcome.history for name, outcome in self.outcomes.items()}, self.dataset.source)

    def sentences(self, result: Mapping[str, Any]) -> list[str]:
        """What the figures are from, and what they cannot say."""
        return [
            f"{self.dataset.source.credit}.",
            f"Learnt from {result['learnt_from']} slices, asked about {result['n']} of {result['groups']} "
            f"{self.dataset.grouping}(s) that were never seen ({result['split']}), {result['epochs']} epochs each, "
            f"size {self.size_name} on {result['hardware']} ({spoken(result['seconds'])} of training).",
            "One training each, with one learning rate for all: differences as small as those between two seeds of one "
            "loss say nothing.",
            *of_healthy(result["without_tumour"]),
            *caveats(self.dataset.grouping, self.dataset.source, self.size_name),
        ]

    def _folder(self, name: str) -> Path:
        return self.folder / name.replace(" ", "-").replace("-+-", "-")

    def _train(self, name: str, fold: Fold, samples: Samples) -> Outcome:
        """The recipe's seed decides weights, batches and what augmentation makes of them: the same for each loss."""
        folder = self._folder(name)
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(self.seed)
        recipe = segment.recipe(self.size, "alone", name, self.seed)
        training = fit.Training(segment.network(self.size), recipe, Run(folder))
        learn, asked = samples.take(fold.train), samples.take(fold.test)
        training.fit(learn.images, learn.masks, (asked.images, asked.masks), self.bars(f"learning with {name}"))
        threshold = segment.best_threshold(fit.predict(training.model, learn.images), learn.masks)
        found = fit.predict(training.model, asked.images)
        even, chosen = (segment.held_against_truth(found, asked.slices, limit) for limit in (EVEN, threshold))
        return Outcome(tuple(even), tuple(chosen), threshold, training.history)


def row(name: str, figures: Mapping[str, float]) -> dict[str, str]:
    """The figures of one loss in words, by the names of their columns."""
    return {
        "Loss": name,
        "Dice at 0.5": f"{figures['dice_at_half']:.2f}",
        "Dice": f"{figures['dice']:.2f}",
        "Threshold": f"{figures['threshold']:.2f}",
        "Sensitivity": f"{figures['sensitivity']:.2f}",
        "Area found": f"{figures['area']:.0%}",
        "Missed": f"{figures['missed']:.0f}",
    }


def curves(histories: Mapping[str, History], source: Source) -> Figure:
    """Loss, in parts of that of the first epoch, and Dice on the slices asked about; a line for each loss."""
    panels = {"Loss, in parts of the first": "loss", "Dice on slices never seen, at 0.5": "val_dice"}
    looks = [(colour, line) for line in LINES for colour in (view.BLUE, view.ORANGE, view.GREEN)]
    with rc_context(view.STYLE):
        figure, axes = plt.subplots(1, len(panels), figsize=(10.5, 3.9))
        for axis, (title, key) in zip(axes, panels.items(), strict=True):
            for (name, history), (colour, line) in zip(histories.items(), looks, strict=False):
                values = np.array([epoch[key] for epoch in history])
                shown = values / values[0] if key == "loss" else values
                axis.plot(np.arange(1, len(shown) + 1), shown, line, color=colour, label=name)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            axis.set(xlabel="epoch", title=title)
        axes[-1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
        return view.finished(figure, source)


def _dice(found: Sequence[Overlap]) -> float:
    return float(np.mean([one.dice for one in found]))
