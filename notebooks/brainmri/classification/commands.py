"""`brainmri train classification`, and what the other commands do for its networks."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

from brainmri import data, fit
from brainmri.classification.network import SIZES, network
from brainmri.classification.study import TASK, Study, Trained
from brainmri.commands import claim, claim_output, images, stored_figures
from brainmri.progress import Progress, TerminalLine, counter
from brainmri.runs import Run, settings_text

if TYPE_CHECKING:
    import argparse
    from pathlib import Path


def train(options: argparse.Namespace) -> int:
    """Learn all labels of a data set; measured on patients or blocks that are kept apart, a fifth of them."""
    study = Study(
        data.read_folder(options.data), options.label, options.size, options.out, seed=options.seed,
        bars=lambda title: Progress(title, line=TerminalLine()),
    )  # fmt: skip
    claim(options.out, settings_text(study.settings), force=options.force)
    Run(options.out).write_settings(study.settings)
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
    probability = trained.probabilities(found, counter("asking"))
    positive = trained.classes.index(trained.label)
    columns = ["slice", "probability", "is_" + trained.label.replace(" ", "_"), *trained.classes]
    rows = [
        [
            item.image.name,
            f"{each[positive]:.4f}",
            int(each[positive] >= trained.threshold),
            *(f"{p:.4f}" for p in each),
        ]
        for item, each in zip(found, probability, strict=True)
    ]
    with (options.out / "predictions.csv").open("w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows([columns, *rows])
    print(f"{options.out}: predictions.csv of {len(rows)} slices. For research: this is not a medical device.")
    return 0


def models() -> list[dict[str, Any]]:
    """The residual networks of each size, for three classes."""
    return [fit.describe(f"residual-{name}", TASK, network(size, 3)) for name, size in SIZES.items()]
