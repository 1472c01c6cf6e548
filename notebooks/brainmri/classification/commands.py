"""`brainmri train classification`, and what the other commands do for its networks."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmri import data, export, fit
from brainmri.classification.network import SIZES, network
from brainmri.classification.study import TASK, Study, Trained
from brainmri.commands import (
    claim,
    claim_output,
    images,
    predictions,
    readable,
    say_predicted,
    stored_figures,
)
from brainmri.progress import Progress, counter

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

AT_ONCE = 32  # slices: one by one, the network takes nearly twice as long


def train(options: argparse.Namespace) -> int:
    """Learn all labels of a data set; measured on patients or blocks that are kept apart, a fifth of them."""
    study = Study(
        data.read_folder(options.data), options.label, options.size, options.out, seed=options.seed,
        bars=Progress, patience=options.patience, plateau=options.plateau,
    )  # fmt: skip
    _ = study.images  # what cannot be learnt from takes no folder
    claim(options.out, study.settings, force=options.force)
    result = study.run()
    print("\n".join([*result.sentences(), f"Stored in {options.out}."]))
    return 0


def evaluate(run: Path, folder: Path | None) -> dict[str, Any]:
    """The figures of the training's own test slices, or those on other slices."""
    if folder is None:
        return stored_figures(run)
    return Trained.read(run).evaluate(data.read_folder(folder), counter("asking"))


def predict(options: argparse.Namespace) -> int:
    """Write a table with the probability of the label, whether that is above the threshold, and each class's own."""
    trained = Trained.read(options.run_folder)
    found = images(options.input)
    claim_output(options.out, force=options.force)
    faults: list[str] = []
    asked = readable(found, lambda item: trained.images([item])[0], faults, counter("asking"))
    positive = trained.classes.index(trained.label)
    columns = ["slice", "probability", "is_" + trained.label.replace(" ", "_"), *trained.classes]
    with predictions(options.out, columns) as add:
        for some in iter(lambda: list(islice(asked, AT_ONCE)), []):
            items, read = zip(*some, strict=True)
            for item, each in zip(items, trained.probabilities(np.stack(read)), strict=True):
                called = int(each[positive] >= trained.threshold)
                add([item.image.name, f"{each[positive]:.4f}", called, *(f"{p:.4f}" for p in each)])
    return say_predicted(options.out, f"predictions.csv of {len(found) - len(faults)} slices", faults)


def portable(run: Path, folder: Path | None) -> export.Portable:
    """The network for other programs: the probability of each class of a slice."""
    trained = Trained.read(run)
    facts = export.of_slices(
        trained.card,
        output=f"{export.OUTPUT} (n, {len(trained.classes)}): of each label, in their order",
        labels=trained.classes,
        label=trained.label,
        threshold=trained.threshold,
    )
    images, asked = export.slices(folder, int(trained.card["size"]["pixels"]))
    return export.Portable(export.Probabilities(trained.model), images, asked, facts)


def models() -> list[dict[str, Any]]:
    """The residual networks of each size, for three classes."""
    return [fit.describe(f"residual-{name}", TASK, network(size, 3)) for name, size in SIZES.items()]
