"""A study in 3D: one family of networks, trained, and asked about patients that it never saw.

Everything is in one folder, and goes on where it was interrupted:

    epoch-NNNN.pt, history.json     the last checkpoint, and what each epoch came to
    model.pt, model.json            the network, and what it was trained on (its card)
    result.json                     the figures of the test, and those of each case
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmri import __version__, data, stored, watch
from brainmri.fit import hardware
from brainmri.runs import HOME, Run, hardware_of, open_run, trace
from brainmri.segmentation3d import cohort as made_up
from brainmri.segmentation3d import inference, measure, samples, sizes, training, workers
from brainmri.segmentation3d.cases import DESCRIBED, PARTS, Cohort, NoCaseError, Target, read_cohort, read_scan
from brainmri.segmentation3d.objectives import FAMILIES
from brainmri.segmentation3d.patches import Change, Patches
from brainmri.segmentation3d.report import Result
from brainmri.splits import Split, split_patients

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import nn

    from brainmri.segmentation3d.inference import Answer
    from brainmri.segmentation3d.measure import Found, Labels
    from brainmri.segmentation3d.samples import Sample
    from brainmri.segmentation3d.sizes import Size
    from brainmri.segmentation3d.workers import Worker

    Bars = Callable[[str], Callable[..., None]]

RUNS = "segmentation_3d"  # where the notebooks of all families keep their trainings, for the one that compares them
DEFAULT_LOSS = {"segmentation3d": "ce + dice", "vae": "ce + dice", "gan": "dice"}
DIFFICULTY = 0.5  # of the made-up cohort


@dataclass(frozen=True)
class Trained:
    """A network that was stored by a study, with its card."""

    network: nn.Module
    card: Mapping[str, Any]

    @property
    def target(self) -> Target:
        """What it looks for in which images."""
        known = self.card.get("target", {}).items()
        return Target(**{name: tuple(value) if isinstance(value, list) else value for name, value in known})

    @classmethod
    def read(cls, folder: Path) -> Trained:
        """From a study's folder. Raises DataError where there is none."""
        card = stored.read_card(folder)
        network = sizes.segmenter(card["task"], stored.size_of(sizes.Size, card, folder))
        stored.load(network, folder)
        return cls(network, card)

    def cohort(self, folder: Path) -> Cohort:
        """The cases of a folder with the regions of brain tumours that the network knows."""
        return read_cohort(folder, enhancing=self.target.regions == PARTS)

    def load(self, cohort: Cohort, on_progress: Callable[[int, int], None] | None = None) -> list[Sample]:
        """Cases as the network takes them. Raises DataError for a cohort that is about something else."""
        self.refuse_other(cohort)
        return samples.load(cohort.cases, float(self.card["size"]["spacing"]), on_progress)

    def refuse_other(self, cohort: Cohort) -> None:
        """Raise DataError for a cohort of other images or regions than the network learnt from."""
        ours, theirs = self.target, cohort.target
        if (ours.modalities, ours.regions) != (theirs.modalities, theirs.regions):
            raise data.DataError(
                f"The network looks for {', '.join(ours.regions)} in {', '.join(ours.modalities)}; "
                f"{cohort.root} is about {', '.join(theirs.regions)} in {', '.join(theirs.modalities)}."
            )
        if ours.outside != theirs.outside:
            raise data.DataError(
                f"To the network grey values up to {ours.outside:g} are no patient, in {cohort.root} those up to "
                f"{theirs.outside:g}. Set `outside` in its dataset.json to {ours.outside:g}."
            )

    def answer(self, sample: Sample) -> Answer:
        """Probabilities on the network's grid, the mean over all ways of mirroring, and their spread.

        Where a mirror shows no patient there is one way, and no spread.
        """
        flips = inference.FLIPS if self.target.mirror else inference.PLAIN
        return inference.answer(self.network, sample.images, int(self.card["size"]["edge"]), flips)

    def labels(self, sample: Sample, answer: Answer) -> Labels:
        """What is most probable in each voxel of the case's own files, small pieces left out."""
        found = measure.labelled(sample.back(answer.probability))
        voxel_ml = abs(float(np.linalg.det(sample.affine[:3, :3]))) / 1000
        return measure.cleaned(found, float(self.card["smallest_ml"]), voxel_ml)

    def refuse_known(self, asked: Sequence[Sample]) -> None:
        """Raise LeakageError naming cases that the network, or the choice of what small is, learnt from."""
        names = ((sample.case.name, sample.digest) for sample in asked)
        stored.refuse_known(names, self.card["cases"], "The figures of its test are in result.json.")

    def measure(self, sample: Sample, answer: Answer) -> dict[str, Found]:
        """The answer held against the case's mask, on the grid of its files."""
        truth = read_scan(sample.case)
        if truth.mask is None:
            raise data.DataError(f"{sample.case.name} has no mask to be held against.")
        return measure.held_against(self.labels(sample, answer), truth.mask, truth.spacing, self.target.regions)


def silent(_title: str) -> Callable[..., None]:
    """No progress bar."""
    return lambda *_: None


@dataclass
class Study:
    """One family on one cohort. `bars` makes a progress bar from a title; `size` may be one that was made to fit.

    Where there are several `devices`, as many processes share the training, and nothing else. `patience` and `plateau`
    are those of `fit.Recipe`.
    """

    cohort: Cohort
    family: str
    size_name: str
    folder: Path
    seed: int = 0
    loss: str = ""
    size: Size | None = None
    bars: Bars = silent
    devices: int = 1
    patience: int = 0
    plateau: int = 0

    def __post_init__(self) -> None:
        self.loss = self.loss or DEFAULT_LOSS[self.family]
        self.numbers = sizes.made_for(self.size or sizes.named(self.size_name), self.cohort.target)

    @classmethod
    def open(cls, cohort: Cohort, family: str, size_name: str, **options: Any) -> Study:
        """The study with exactly these settings below ~/sciencebox-runs; one that an earlier kernel began goes on."""
        study = cls(cohort, family, size_name, Path(), **options)
        study.folder = open_run(RUNS, study.settings).folder
        return study

    @property
    def name(self) -> str:
        """The family in words, with its loss where that is not the usual one."""
        return family_name(self.family, self.loss)

    @property
    def settings(self) -> dict[str, Any]:
        """Everything that the result depends on."""
        data_name = "synthetic" if self.cohort.source.synthetic else self.cohort.root.name
        numbers = asdict(self.numbers)
        del numbers["checkpointing"]  # changes no result: a training may go on where memory is another
        target = {name: value for name, value in asdict(self.cohort.target).items() if name != "outside" or value}
        return {
            "name": f"{self.family}-{self.size_name}-{data_name}",
            "task": self.family,
            "size": numbers,
            "target": target,
            "seed": self.seed,
            "loss": self.loss,
            "data": fingerprint(self.cohort),
            "data_name": self.cohort.source.credit,
            "version": __version__,
            **watch.settings(self.patience, self.plateau),
        }

    def samples(self) -> list[Sample]:
        """The cases with a mask, on the network's grid."""
        return samples.load(self.cohort.masked.cases, self.numbers.spacing, self.bars("reading cases"))

    def division(self) -> Split:
        """Which cases are learnt from, chosen by and asked about: never one patient in two of these."""
        return split_patients(self.cohort.masked.patients, folds=self.numbers.folds, seed=self.seed)

    def train(self, loaded: Sequence[Sample], division: Split, worker: Worker | None = None) -> training.Training:
        """Train, or go on, or find the training complete."""
        numbers = self.numbers
        learner = sizes.learner(self.family, numbers, self.loss, self.seed)
        plan = sizes.plan(numbers, self.seed, self.patience, self.plateau)
        trained = training.Training(learner, plan, Run(self.folder), worker)
        how = Change(mirror=self.cohort.target.mirror)
        patches = Patches([loaded[index] for index in division.train], numbers.edge, self.seed, how)
        checked = [loaded[index] for index in division.validation[: numbers.checked]]

        def check() -> dict[str, float]:
            return {"val_dice": float(np.mean([plain_dice(trained.family.segmenter, one, numbers) for one in checked]))}

        trained.fit(patches, check, self.bars(f"training {self.name}"))
        return trained

    def finish(self, trained: training.Training, loaded: Sequence[Sample], division: Split) -> Trained:
        """Choose on the validation set what is too small to be a tumour, and store the network with its card.

        What an earlier kernel stored is read: the settings are the same, or the folder would be another.
        """
        if (self.folder / stored.CARD).is_file():
            return Trained.read(self.folder)
        network = trained.family.segmenter.eval()
        chosen_by = [loaded[index] for index in division.validation]
        answers, bar = [], self.bars("choosing on the validation set")
        for done, sample in enumerate(chosen_by):
            bar(done, len(chosen_by))
            found = inference.answer(network, sample.images, self.numbers.edge, inference.PLAIN)
            answers.append(measure.labelled(found.probability))
        bar(len(chosen_by), len(chosen_by))
        truths = [sample.labels for sample in chosen_by if sample.labels is not None]
        regions = len(self.cohort.target.regions)
        smallest = measure.smallest_worth_keeping(answers, truths, self.numbers.spacing**3 / 1000, regions)
        learnt_from = [loaded[index].digest for part in (division.train, division.validation) for index in part]
        card = {
            **self.settings,
            "size_name": self.size_name,
            "licence": self.cohort.source.licence,
            "smallest_ml": smallest,
            "cases": sorted(learnt_from),
            "hardware": hardware_of([Run(self.folder)], hardware()),
            "made": time.strftime("%Y-%m-%d"),
        }
        stored.write(self.folder, network, card)
        return Trained.read(self.folder)

    def ask(self, network: Trained, asked: Sequence[Sample]) -> list[Answer]:
        """The network's answers about cases, in their order."""
        answers, bar = [], self.bars(f"asking {self.name}")
        for done, sample in enumerate(asked):
            bar(done, len(asked))
            answers.append(network.answer(sample))
        bar(len(asked), len(asked))
        return answers

    @property
    def complete(self) -> bool:
        """Whether nothing is left to be trained; with patience that may be before the last epoch."""
        return (self.folder / stored.CARD).is_file() or len(Run(self.folder).read_history()) >= self.numbers.epochs

    def share(self) -> None:
        """Let a process for each device train; after it `train` finds the training complete.

        Each reads the cases anew. Raises WorkerError when one fails.
        """
        if workers.launched() or not self.complete:  # those of torchrun wait to be told, also that all is done
            workers.run(self.devices, take_part, replace(self, bars=silent), self.bars)

    def run(self, loaded: Sequence[Sample] | None = None) -> Result:
        """Train, choose, ask, and store the figures; of cases that are `loaded` already, or read here."""
        if self.devices > 1:
            self.share()
        loaded, division = loaded or self.samples(), self.division()
        network = self.finish(self.train(loaded, division), loaded, division)
        asked = [loaded[index] for index in division.test]
        return self.result(network, asked, self.ask(network, asked), division)

    def result(self, network: Trained, asked: Sequence[Sample], answers: Sequence[Answer], division: Split) -> Result:
        """The figures of the test with their circumstances; stored as result.json."""
        network.refuse_known(asked)
        found = [network.measure(*pair) for pair in zip(asked, answers, strict=True)]
        patients = [sample.case.patient for sample in asked]
        history = Run(self.folder).read_history()
        result = Result(
            family=self.name,
            task=self.family,
            found={sample.case.name: one for sample, one in zip(asked, found, strict=True)},
            patients=tuple(patients),
            split=division.how,
            source=self.cohort.source,
            size=self.size_name,
            hardware=hardware_of([Run(self.folder)], hardware()),
            steps=len(history) * self.numbers.steps,
            seconds=sum(epoch["seconds"] for epoch in history),
            weights=sum(weight.numel() for name, weight in network.network.named_parameters() if "vae_" not in name),
            seed=self.seed,
            smallest_ml=float(network.card["smallest_ml"]),
        )
        Run(self.folder).write_result(result.as_json())
        return result


def take_part(worker: Worker, bars: Bars, study: Study) -> None:
    """What each process of a shared training does."""
    if study.complete:
        return
    study = replace(study, bars=bars)
    study.train(study.samples(), study.division(), worker)


def family_name(family: str, loss: str) -> str:
    """A family in words, with its loss where that is not the usual one."""
    return FAMILIES[family] + ("" if loss == DEFAULT_LOSS[family] else f", {loss} loss")


def plain_dice(network: nn.Module, sample: Sample, size: Size) -> float:
    """Mean Dice of all regions on the network's own grid, asked once; for the learning curve."""
    if sample.labels is None:
        raise ValueError(f"{sample.case.name} has no mask")
    found = inference.answer(network, sample.images, size.edge, inference.PLAIN)
    return measure.mean_dice(measure.labelled(found.probability), sample.labels, size.classes - 1)


def find_cohort(size_name: str, seed: int, folder: str | Path | None = None, bars: Bars | None = None) -> Cohort:
    """The brains of a folder, else a site's below SCIENCEBOX_DATA, else a made-up cohort, which is drawn if need be.

    Raises DataError for a folder that has none, or is about something else.
    """
    if folder:
        found = read_cohort(Path(folder))
        if found.target != Target():
            raise data.DataError(
                f"{folder} is about {', '.join(found.target.regions)} in {', '.join(found.target.modalities)}, not "
                "core and oedema of brain tumours. Open `32_other_organs`, which takes that folder."
            )
        return found
    if of_site := _of_site(data.site_folder()):
        return of_site
    size = sizes.named(size_name)
    home = Path.home() / HOME / "data" / f"synthetic-3d-{size.cases}-cases-{size.spacing:g}-mm-seed-{seed}"
    show = bars("drawing a synthetic cohort") if bars else None
    return made_up.make(
        home, cases=size.cases, spacing=size.spacing, difficulty=DIFFICULTY, seed=seed, on_progress=show
    )


def _of_site(site: Path) -> Cohort | None:
    """The first folder, or all of them, with cases of three patients or more: fewer cannot be learnt from and asked.

    Of a folder with cases that cannot be taken it is said why.
    """
    folders = [*sorted(path for path in site.iterdir() if path.is_dir()), site] if site.is_dir() else []
    refused: list[str] = []
    for folder in folders:
        try:
            found = read_cohort(folder).masked
        except (NoCaseError, OSError):  # other data, which a site may well have
            continue
        except data.DataError as error:
            refused.append(str(error))
            continue
        if len(set(found.patients)) >= 3 and found.target == Target():
            break
    else:
        found = None
    for why in dict.fromkeys(refused):  # all folders together hold what one of them does
        print(f"Not taken: {why}")
    return found


def fingerprint(cohort: Cohort) -> str:
    """Changes when a case is added or removed, a file of it replaced (see `runs.trace`), or its labels mean another."""
    digest = hashlib.sha256()
    for case in cohort:
        files = [(path.name, trace(path)) for path in sorted({path for path, _ in case.images.values()})]
        mask = trace(case.mask, whole=True) if case.mask else None
        meant = [sorted(case.labels.items())] if case.told == DESCRIBED else []  # else the names of the files say it
        digest.update(repr((case.name, case.patient, files, mask, *meant)).encode())
    return digest.hexdigest()[:16]
