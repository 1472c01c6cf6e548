"""A study of 2D segmentation: learning from synthetic heads, cross-validation on drawn masks, a final network.

Everything is in one folder, and each part goes on where it was interrupted:

    pretraining/  fold-1/ ...  final/     checkpoints and history of each network
    model.pt, model.json                  the final network, and what it was trained on (its card)
    result.json, split.json               the figures of the cross-validation, and which slices are in which fold
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from brainmri import __version__, data, fit, overlap, segment, stored, synthetic, watch
from brainmri.fit import hardware
from brainmri.results import SegmentationResult
from brainmri.runs import HOME, Run, fingerprint, hardware_of, named_size, open_run
from brainmri.segment import SIZES, Fold, Samples, Size
from brainmri.splits import assert_no_copies

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from brainmri.data import Dataset
    from brainmri.overlap import Overlap
    from brainmri.unet import UNet

    Array = segment.Array
    Bars = Callable[[str], Callable[..., None]]

DIFFICULTY = 0.4  # of the synthetic heads
APART = (
    1_000_000  # from the seeds of heads that are asked about: of one seed, they would be those that were learnt from
)
SYNTHETIC_VALIDATION = 0.1  # of them are kept for the learning curve


@dataclass(frozen=True)
class Validation:
    """What a cross-validation found: probability (n, 1, pixels, pixels), threshold and overlap of each slice."""

    probability: Array
    threshold: NDArray[np.float64]
    overlaps: tuple[Overlap, ...]

    @property
    def masks(self) -> NDArray[np.bool_]:
        """What was found, on the network's own pixels (n, pixels, pixels)."""
        found: NDArray[np.bool_] = self.probability[:, 0] >= self.threshold[:, None, None]
        return found


@dataclass
class Study:
    """One study in its folder. `bars` makes a progress bar from a title; without `pretrain` its worth is seen.

    `patience` and `plateau` are those of `fit.Recipe`, for the synthetic heads: of the drawn masks none can be spared.
    """

    dataset: Dataset
    size_name: str
    folder: Path
    seed: int = 0
    loss: str = "bce + dice"
    pretrain: bool = True
    patience: int = 0
    plateau: int = 0
    bars: Bars = lambda _: lambda *_: None
    _start: dict[str, torch.Tensor] | None = field(default=None, repr=False)

    @classmethod
    def open(cls, notebook: str, dataset: Dataset, size_name: str, **options: Any) -> Study:
        """The study with exactly these settings below ~/sciencebox-runs; one that an earlier kernel began goes on."""
        study = cls(dataset, size_name, Path(), **options)
        study.folder = open_run(notebook, study.settings).folder
        return study

    @property
    def size(self) -> Size:
        """The numbers behind the size's name. Raises ValueError for a name that there is none of."""
        return named_size(SIZES, self.size_name)

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that the result depends on."""
        data_name = "synthetic" if self.dataset.source.synthetic else self.dataset.root.name
        return {
            "task": "segmentation2d",
            "name": f"{self.size_name}-{data_name}" + ("" if self.pretrain else "-masks-alone"),
            "size": asdict(self.size),
            "seed": self.seed,
            "loss": self.loss,
            "pretrained": self.pretrain,
            "split": f"{self.dataset.grouping} cross-validation, {self.size.folds} folds at most",
            "data": fingerprint(self.dataset),
            "data_name": self.dataset.source.credit,
            "version": __version__,
            **watch.settings(self.patience, self.plateau),
        }

    @property
    def seconds(self) -> float:
        """How long the networks of the cross-validation were trained, in all kernels together."""
        return sum(epoch["seconds"] for part in self._measured for epoch in part.read_history())

    @property
    def _measured(self) -> list[Run]:
        """The trainings of the cross-validation, as far as there are some."""
        return [Run(self.folder / "pretraining"), *map(Run, sorted(self.folder.glob("fold-*")))]

    def samples(self) -> Samples:
        """The slices with a mask. Raises DataError where all masks are empty: to mark nothing would always be right."""
        found = segment.samples(self.dataset, self.size.pixels, self.bars("reading slices"))
        if not found.masks.any():
            raise data.DataError(f"Every mask of {self.dataset.root} is empty. Add slices on which a tumour is drawn.")
        return found

    def folds(self, samples: Samples) -> list[Fold]:
        """The rounds of the cross-validation.

        Raises DataError for a single patient, LeakageError for an image that is in two folds.
        """
        found = list(segment.folds(samples.groups, self.size.folds))
        names = [item.image.name for item in samples.slices]
        for fold in found:
            assert_no_copies({"train": fold.train, "test": fold.test}, samples.images, names)
        return found

    def pretraining(self) -> list[dict[str, float]]:
        """Learn from synthetic heads, which are drawn if they are not there. Returns the history."""
        size, seed = self.size, seed_of_heads(self.seed, self.dataset.source.credit)
        heads = Path.home() / HOME / "data" / f"synthetic-{size.heads}-heads-three-planes-seed-{seed}"
        made = synthetic.make(
            heads, patients=size.heads, slices=size.slices, difficulty=DIFFICULTY, planes=data.PLANES, seed=seed,
            on_progress=self.bars("drawing synthetic heads"),
        )  # fmt: skip
        drawn = segment.samples(made, size.pixels, self.bars("reading synthetic heads"))
        apart = round(len(drawn) * SYNTHETIC_VALIDATION)
        learn, check = drawn.take(np.arange(apart, len(drawn))), drawn.take(np.arange(apart))
        training = self._training("pretraining", "first")
        self._fit(training, learn, check, "learning from synthetic heads")
        self._start = {name: value.clone() for name, value in training.model.state_dict().items()}
        return training.history

    def fold(self, number: int, fold: Fold, samples: Samples) -> tuple[Array, list[dict[str, float]]]:
        """Train without the fold's test slices; their probabilities (n, 1, pixels, pixels), and the history."""
        training = self._training(f"fold-{number}", "then")
        learn, test = samples.take(fold.train), samples.take(fold.test)
        self._fit(training, learn, None, f"fold {number}")
        return fit.predict(training.model, test.images), training.history

    def cross_validate(self, samples: Samples) -> Validation:
        """Each slice's probability from the network that never saw its patient or block, and how well it fits."""
        probability, folds = np.zeros_like(samples.masks), self.folds(samples)
        asked = {f"fold {number}": fold.test for number, fold in enumerate(folds, start=1)}
        how = f"{self.dataset.grouping} cross-validation: each fold was asked about after learning from all others"
        Run(self.folder).write_split(how, samples.slices, asked)
        for number, fold in enumerate(folds, start=1):
            probability[fold.test], _ = self.fold(number, fold, samples)
        threshold = segment.crossed_thresholds(probability, samples, folds)
        overlaps = segment.held_against_truth(probability, samples.slices, threshold)
        return Validation(probability, threshold, tuple(overlaps))

    def result(self, samples: Samples, validation: Validation) -> SegmentationResult:
        """The figures with their circumstances; stored as result.json."""
        overlaps = validation.overlaps
        groups = [str(group) for group in samples.groups]
        result = SegmentationResult(
            dice=overlap.mean_by_group([one.dice for one in overlaps], groups, seed=self.seed),
            overlaps=overlaps,
            groups=tuple(groups),
            by=self.dataset.grouping,
            folds=segment.fold_count(groups, self.size.folds),
            pretrained=self.pretrain,
            source=self.dataset.source,
            size=self.size_name,
            hardware=hardware_of(self._measured, hardware()),
            seconds=self.seconds,
            seed=self.seed,
        )
        Run(self.folder).write_result(result.as_json())
        return result

    def final(self, samples: Samples, validation: Validation) -> UNet:
        """A network for new slices, which learnt from all masks; stored with its card. Its figures are the folds'."""
        training = self._training("final", "then")
        self._fit(training, samples, None, "learning from all masks")
        card = {
            **self.settings,
            "licence": self.dataset.source.licence,
            "threshold": segment.best_threshold(validation.probability, samples.masks),
            "slices": sorted(stored.digests(samples.images)),
            "hardware": hardware_of([*self._measured, Run(self.folder / "final")], hardware()),
            "made": time.strftime("%Y-%m-%d"),
        }
        stored.write(self.folder, training.model, card)
        return training.model

    def _training(self, part: str, stage: str) -> fit.Training:
        if stage == "then" and self.pretrain and self._start is None:
            raise ValueError("call pretraining() before: the network would start from nothing")
        torch.manual_seed(self.seed)
        model = segment.network(self.size)
        if stage == "then" and self._start:
            model.load_state_dict(self._start)
        elif stage == "then":
            stage = "alone"
        folder = self.folder / part
        folder.mkdir(parents=True, exist_ok=True)
        recipe = segment.recipe(self.size, stage, self.loss, self.seed)
        if stage == "first":
            recipe = replace(recipe, patience=self.patience, plateau=self.plateau)
        return fit.Training(model, recipe, Run(folder))

    def _fit(self, training: fit.Training, learn: Samples, check: Samples | None, title: str) -> None:
        validation = (check.images, check.masks) if check else None
        training.fit(learn.images, learn.masks, validation, self.bars(title))


@dataclass(frozen=True)
class Trained:
    """A network that was stored by a study, with its card."""

    model: UNet
    card: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Trained:
        """From a study's folder. Raises DataError where there is none."""
        card = stored.read_card(folder)
        model = segment.network(stored.size_of(Size, card, folder))
        stored.load(model, folder)
        return cls(model.to(fit.best_device()).eval(), card)

    @property
    def pixels(self) -> int:
        """Edge of the images that it takes."""
        return int(self.card["size"]["pixels"])

    @property
    def threshold(self) -> float:
        """From which probability on a pixel is called tumour."""
        return float(self.card["threshold"])

    def evaluate(
        self, dataset: Dataset, on_progress: Callable[[int, int], None] | None = None
    ) -> tuple[Samples, list[Overlap]]:
        """Hold it against masks that it did not learn from. Raises LeakageError naming slices that it did."""
        samples = segment.samples(dataset, self.pixels, on_progress)
        names = [item.image.name for item in samples.slices]
        asked = zip(names, stored.digests(samples.images), strict=True)
        stored.refuse_known(asked, self.card["slices"], "The figures of its cross-validation are in result.json.")
        learnt_from = [self.card["data_name"]]
        if self.card["pretrained"]:
            seed = seed_of_heads(self.card["seed"], self.card["data_name"])
            learnt_from.append(synthetic.source(DIFFICULTY, seed).credit)
        stored.refuse_drawn_before(dataset.source, learnt_from)
        probability = fit.predict(self.model, samples.images)
        return samples, segment.held_against_truth(probability, samples.slices, self.threshold)


def seed_of_heads(seed: int, credit: str) -> int:
    """The seed of the synthetic heads that are learnt from first, before data of this credit."""
    return seed + (APART if credit.startswith(data.STAMP) else 0)
