"""`brainmri train segmentation2d`, and what the other commands do for its networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from brainmri import data, export, fit, segment
from brainmri.commands import (
    claim,
    claim_output,
    images,
    predictions,
    readable,
    say_predicted,
    stored_figures,
)
from brainmri.losses import loss
from brainmri.overlap import mean_by_group
from brainmri.progress import Progress, counter
from brainmri.results import overlap_figures
from brainmri.study import Study, Trained
from brainmri.unet import UNet

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from numpy.typing import NDArray

TASK = "segmentation2d"
LOSS = "bce + dice"
COLUMNS = ("slice", "probability", "area_pixels", "mask")
TALK = {"filters": 64, "levels": 5}  # the network of CERN's talk


def train(options: argparse.Namespace) -> int:
    """Learn from synthetic heads, then from drawn masks; measured by cross-validation over patients or blocks."""
    if options.no_pretraining and (options.patience or options.plateau):
        raise ValueError(
            "segmentation2d learns from all masks but those it is tested on: with --no-pretraining it has none to "
            "watch for --patience or --plateau"
        )
    loss(options.loss or LOSS)  # before anything is drawn or stored for one that there is none of
    study = Study(
        data.read_folder(options.data), options.size, options.out, seed=options.seed, loss=options.loss or LOSS,
        pretrain=not options.no_pretraining, patience=options.patience, plateau=options.plateau, bars=Progress,
    )  # fmt: skip
    samples = study.samples()
    study.folds(samples)  # what cannot be learnt from takes no folder
    claim(options.out, study.settings, force=options.force)
    if study.pretrain:
        study.pretraining()
    validation = study.cross_validate(samples)
    result = study.result(samples, validation)
    study.final(samples, validation)
    print("\n".join([*result.sentences(), f"Stored in {options.out}."]))
    return 0


def compare_losses(options: argparse.Namespace) -> int:
    """The same U-Net once with each loss, on one split by patients or blocks."""
    from brainmri.segment_losses import Comparison

    comparison = Comparison(
        data.read_folder(options.data), options.size, options.out, seed=options.seed,
        bars=Progress,
    )  # fmt: skip
    _ = comparison.division  # what cannot be learnt from takes no folder
    claim(options.out, comparison.settings, force=options.force)
    result = comparison.run()
    rows = comparison.table()
    for cells in (rows[0], *(row.values() for row in rows)):
        print("".join(f"{cell:15}" for cell in cells).rstrip())
    print("\n".join([*comparison.sentences(result), f"Table and curves are in {options.out}."]))
    return 0


def evaluate(run: Path, folder: Path | None) -> dict[str, Any]:
    """The figures of the cross-validation, or those on other slices with masks."""
    if folder is None:
        return stored_figures(run)
    dataset = data.read_folder(folder)
    samples, overlaps = Trained.read(run).evaluate(dataset, counter("reading"))
    groups = [str(group) for group in samples.groups]
    return {
        **overlap_figures(mean_by_group([one.dice for one in overlaps], groups), overlaps, groups),
        "split": "other slices than those of the training",
        "data": dataset.source.credit,
    }


def predict(options: argparse.Namespace) -> int:
    """Write a mask for each image, white on black, and a table of the highest probability and the area found."""
    trained = Trained.read(options.run_folder)
    found = images(options.input)
    masks = [f"{item.image.stem}.png" for item in found]
    claim_output(options.out, force=options.force, masks=masks, asked=[item.image for item in found])
    faults: list[str] = []
    asked = readable(found, lambda one: data.load([one], trained.pixels)[0], faults, counter("marking"))
    with predictions(options.out, COLUMNS) as add:
        for item, image in asked:
            answer = fit.predict(trained.model, segment.normalise(image)[None, None])[0, 0]
            probability = segment.full_resolution(answer, item)
            mask: NDArray[np.bool_] = probability >= trained.threshold
            name = f"{item.image.stem}.png"
            Image.fromarray(np.where(mask, 255, 0).astype(np.uint8)).save(options.out / name, pnginfo=_about(item))
            add([item.image.name, f"{probability.max():.4f}", int(mask.sum()), name])
    return say_predicted(options.out, f"{len(found) - len(faults)} masks and predictions.csv", faults)


def _about(item: data.Slice) -> PngInfo:
    """What a mask's file says of itself; that of a made-up slice says so, as the slice does."""
    with Image.open(item.image) as image:
        made_up = item.source.synthetic or str(image.info.get("Comment", "")).startswith(data.STAMP)
    about = PngInfo()
    about.add_text("Comment", f"{f'{data.STAMP}, ' if made_up else ''}brainmri: tumour as found; no medical device")
    return about


def portable(run: Path, folder: Path | None) -> export.Portable:
    """The network for other programs: the probability of a tumour in each pixel."""
    trained = Trained.read(run)
    facts = export.of_slices(
        trained.card,
        output=f"{export.OUTPUT} (n, 1, {trained.pixels}, {trained.pixels}): of a tumour in each pixel",
        labels=["tumour"],
        threshold=trained.threshold,
    )
    images, asked = export.slices(folder, trained.pixels)
    return export.Portable(export.Probabilities(trained.model), images, asked, facts)


def models() -> list[dict[str, Any]]:
    """The U-Nets of each size, and that of the talk."""
    named = {f"unet-{name}": {"filters": size.filters, "levels": size.levels} for name, size in segment.SIZES.items()}
    return [fit.describe(name, TASK, UNet(**shape)) for name, shape in {**named, "unet-talk": TALK}.items()]
