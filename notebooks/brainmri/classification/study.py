"""A training with its figures, in one folder, and the network that comes of it."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from brainmri import __version__, data, fit, metrics, segment, splits, stored, watch
from brainmri.classification.network import SIZES, ClassifierTraining, Size, network, probabilities
from brainmri.fit import hardware
from brainmri.results import ClassificationResult
from brainmri.runs import Run, fingerprint, hardware_of, named_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from brainmri.classification.network import Classifier
    from brainmri.data import Dataset, Slice

    Array = NDArray[np.float32]
    Bars = Callable[[str], Callable[..., None]]

TASK = "classification"


@dataclass
class Study:
    """Learns all labels of a data set; measured by how well `label` is told from the rest.

    `bars` makes a progress bar from a title. `patience` and `plateau` are those of `fit.Recipe`.
    """

    dataset: Dataset
    label: str
    size_name: str
    folder: Path
    seed: int = 0
    bars: Bars = lambda _: lambda *_: None
    patience: int = 0
    plateau: int = 0

    @property
    def size(self) -> Size:
        """The numbers behind the size's name. Raises ValueError for a name that there is none of."""
        return named_size(SIZES, self.size_name)

    @cached_property
    def split(self) -> splits.Split:
        """Which slices are learnt from, and which are kept apart. Raises DataError and LeakageError."""
        chosen = splits.split(self.dataset, self.label, seed=self.seed)
        splits.assert_both_kinds(chosen.parts, self.dataset.shows(self.label), self.label)
        return chosen

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The labels, in the order of the network's answers."""
        return tuple(sorted(self.dataset.labels))

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that the result depends on."""
        return {
            "task": TASK,
            "name": f"{self.size_name}-{'synthetic' if self.dataset.source.synthetic else self.dataset.root.name}",
            "label": self.label,
            "classes": self.classes,
            "size": asdict(self.size),
            "seed": self.seed,
            "split": self.split.how,
            "data": fingerprint(self.dataset),
            "data_name": self.dataset.source.credit,
            "version": __version__,
            **watch.settings(self.patience, self.plateau),
        }

    @cached_property
    def images(self) -> Array:
        """All slices as the network takes them.

        Raises DataError for the first that cannot be read, LeakageError for an image that is on two sides of the split.
        """
        parts = self.split.parts  # first: what it refuses is not read before
        images = normalised(self.dataset.slices, self.size.pixels, self.bars("reading slices"))
        splits.assert_no_copies(parts, images, [item.image.name for item in self.dataset])
        return images

    def run(self) -> ClassificationResult:
        """Train, or go on with it, measure, and store network, card and figures."""
        images = self.images
        Run(self.folder).write_split(self.split.how, self.dataset.slices, self.split.parts)
        labels = np.array([self.classes.index(item.label) for item in self.dataset])
        parts = {part: (images[index], labels[index]) for part, index in self.split.parts.items()}
        positive = self.classes.index(self.label)
        training = self._training(parts["train"][1], positive)
        before = len(training.history)
        training.fit(*parts["train"], parts["validation"], self.bars("training"))
        new = training.history[before:]

        model, score = training.average.module, {}
        for part in ("validation", "test"):
            score[part] = probabilities(model, parts[part][0])[:, positive]
        threshold = metrics.best_threshold(parts["validation"][1] == positive, score["validation"])
        groups, truth = self.dataset.groups[self.split.test], parts["test"][1] == positive
        result = ClassificationResult(
            auc=metrics.bootstrap_auc(truth, score["test"], groups, seed=self.seed),
            counts=metrics.confusion(truth, score["test"], threshold),
            groups=len(set(groups)),
            split=self.split,
            source=self.dataset.source,
            size=self.size_name,
            hardware=hardware_of([Run(self.folder)], hardware()),
            epochs=len(new),
            total=len(training.history),
            seconds=sum(epoch["seconds"] for epoch in new),
        )
        self._store(model, threshold, images, result, sum(epoch["seconds"] for epoch in training.history))
        return result

    def _training(self, labels: NDArray[np.intp], positive: int) -> ClassifierTraining:
        torch.manual_seed(self.seed)
        count = np.bincount(labels, minlength=len(self.classes))
        balance = (len(labels) / len(self.classes) / np.maximum(count, 1)).astype(np.float32)
        return ClassifierTraining(
            network(self.size, len(self.classes)), self.size, Run(self.folder),
            balance=balance, positive=positive, seed=self.seed, patience=self.patience, plateau=self.plateau,
        )  # fmt: skip

    def _store(
        self, model: torch.nn.Module, threshold: float, images: Array, result: ClassificationResult, seconds: float
    ) -> None:
        learnt = images[np.concatenate([self.split.train, self.split.validation])]
        card = {
            **self.settings,
            "licence": self.dataset.source.licence,
            "threshold": threshold,
            "slices": sorted(stored.digests(learnt)),
            "hardware": result.hardware,
            "made": time.strftime("%Y-%m-%d"),
        }
        stored.write(self.folder, model, card)
        figures = {"task": TASK, "label": self.label, "epochs": len(Run(self.folder).read_history())}
        figures |= result.as_json()
        Run(self.folder).write_result({**figures, "seconds": round(seconds), "seed": self.seed})


@dataclass(frozen=True)
class Trained:
    """A network that a study stored, with its card."""

    model: Classifier
    card: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Trained:
        """From a study's folder. Raises DataError where there is none."""
        card = stored.read_card(folder)
        model = network(stored.size_of(Size, card, folder), len(card["classes"]))
        stored.load(model, folder)
        return cls(model.to(fit.best_device()).eval(), card)

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels, in the order of `probabilities`."""
        return tuple(self.card["classes"])

    @property
    def label(self) -> str:
        """What is told from the rest."""
        return str(self.card["label"])

    @property
    def threshold(self) -> float:
        """From which probability on a slice is said to show it."""
        return float(self.card["threshold"])

    def images(self, slices: Sequence[Slice], on_progress: Callable[[int, int], None] = lambda *_: None) -> Array:
        """Slices as it takes them. Raises DataError for the first that cannot be read."""
        return normalised(slices, int(self.card["size"]["pixels"]), on_progress)

    def probabilities(self, images: Array) -> NDArray[np.float64]:
        """The probability of each class, (n, classes)."""
        return probabilities(self.model, images)

    def evaluate(self, dataset: Dataset, on_progress: Callable[[int, int], None]) -> dict[str, Any]:
        """Figures on slices that it did not learn from. Raises LeakageError naming those that it did."""
        truth = dataset.shows(self.label)
        images = self.images(dataset.slices, on_progress)
        asked = zip((item.image.name for item in dataset), stored.digests(images), strict=True)
        instead = "Those of the slices that its training kept apart are in result.json."
        stored.refuse_known(asked, self.card["slices"], instead)
        stored.refuse_drawn_before(dataset.source, [self.card["data_name"]])
        score = self.probabilities(images)[:, self.classes.index(self.label)]
        auc = metrics.bootstrap_auc(truth, score, dataset.groups)
        counts = metrics.confusion(truth, score, self.threshold)
        return {
            "auc": auc.value,
            "auc_low": auc.low,
            "auc_high": auc.high,
            "accuracy": counts.accuracy,
            "sensitivity": counts.sensitivity,
            "specificity": counts.specificity,
            "n": len(dataset),
            "groups": len(set(dataset.groups)),
            "split": "other slices than those of the training",
            "data": dataset.source.credit,
        }


def normalised(slices: Sequence[Slice], pixels: int, on_progress: Callable[[int, int], None]) -> Array:
    """Slices as the network takes them, (n, 1, pixels, pixels)."""
    return np.stack([segment.normalise(image) for image in data.load(slices, pixels, on_progress)])[:, None]
