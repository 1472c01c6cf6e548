"""`brainmri train segmentation3d`, `vae` and `gan`, and what the other commands do for their networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from brainmri import export, fit, stored
from brainmri.commands import claim, claim_output, predictions, readable, say_predicted, stored_figures
from brainmri.data import DataError
from brainmri.progress import Progress, counter
from brainmri.segmentation3d import cohort as made_up
from brainmri.segmentation3d import measure, samples, sizes, workers
from brainmri.segmentation3d.cases import MODALITIES, PARTS, read_cohort
from brainmri.segmentation3d.inference import OVERLAP
from brainmri.segmentation3d.objectives import FAMILIES, LOSSES
from brainmri.segmentation3d.study import Study, Trained, family_name

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from brainmri.segmentation3d.cases import Case
    from brainmri.segmentation3d.measure import Labels
    from brainmri.segmentation3d.samples import Sample

COARSE_MM = 2.5  # voxels of a case that is drawn to try a network on


def train(options: argparse.Namespace) -> int:
    """Learn core and oedema, or what dataset.json names, from cases; measured on patients that are kept apart."""
    loss = options.loss or ""
    if loss and loss not in LOSSES:
        raise ValueError(f"there is no loss {loss!r} in 3D; choose {', '.join(LOSSES)}")
    if options.no_pretraining:
        raise ValueError(f"--no-pretraining is for segmentation2d: {options.task} learns from the cases alone")
    worker = workers.launched()
    if worker and options.devices not in (1, worker.count):
        raise ValueError(f"torchrun started {worker.count} processes, not {options.devices}; leave --devices out")
    if worker and not worker.first:
        workers.follow(worker)
        return 0
    devices = worker.count if worker else options.devices
    cohort = read_cohort(options.data, enhancing=options.enhancing)
    if options.enhancing and cohort.target.regions != PARTS:
        raise ValueError(f"--enhancing is for brain tumours: dataset.json of {options.data} tells the regions itself")
    size, adapted = sizes.for_this_session(options.task, options.size, devices)
    study = Study(
        cohort, options.task, options.size, options.out, seed=options.seed, loss=loss, size=size,
        bars=Progress, devices=devices, patience=options.patience, plateau=options.plateau,
    )  # fmt: skip
    study.division()  # what cannot be learnt from takes no folder
    loaded = study.samples() if devices == 1 else None  # with several, each process reads them
    claim(options.out, study.settings, force=options.force)
    left = len(cohort) - len(cohort.masked)
    unmasked = f"{left} of {len(cohort)} cases have no mask, and nothing is learnt from them." if left else ""
    print("\n".join(filter(None, [cohort.layout, unmasked, adapted, _devices(devices)])))
    result = study.run(loaded)
    print("\n".join([*result.sentences(), f"Stored in {options.out}."]))
    return 0


def evaluate(run: Path, folder: Path | None) -> dict[str, Any]:
    """The figures of the training's own test cases, or those on other cases with masks."""
    if folder is None:
        return stored_figures(run)
    trained = Trained.read(run)
    cohort = trained.cohort(folder).masked
    loaded = trained.load(cohort, counter("reading"))
    trained.refuse_known(loaded)
    stored.refuse_drawn_before(cohort.source, [trained.card["data_name"]])
    show, found = counter("asking"), {}
    for sample in loaded:
        found[sample.case.name] = trained.measure(sample, trained.answer(sample))
        show(len(found), len(loaded))
    patients = [str(patient) for patient in cohort.patients]
    return {
        "task": trained.card["task"],
        "family": family_name(trained.card["task"], trained.card["loss"]),
        "size": trained.card["size_name"],
        "seed": trained.card["seed"],
        "trained_on": trained.card["data_name"],
        "regions": measure.summary(list(found.values()), patients),
        "n": len(found),
        "patients": len(set(patients)),
        "split": "other cases than those of the training",
        "data": cohort.source.credit,
        "layout": cohort.layout,
        "cases": {name: measure.as_json(one) for name, one in found.items()},
    }


def predict(options: argparse.Namespace) -> int:
    """Write a mask for each case on the grid of its files, 1 for the first region, and a table of volumes in ml."""
    trained = Trained.read(options.run_folder)
    cohort = trained.cohort(options.input)
    trained.refuse_other(cohort)
    regions = trained.target.regions
    masks = [f"{case.name}_seg.nii.gz" for case in cohort]
    asked = [path for case in cohort for path, _ in case.images.values()]
    claim_output(options.out, force=options.force, masks=masks, asked=asked)
    faults: list[str] = []

    def read(case: Case) -> Sample:
        return trained.load(replace(cohort, cases=(case,)))[0]

    columns = ("case", *(f"{region}_ml" for region in regions), "uncertain_ml", "mask")
    with predictions(options.out, columns) as add:
        for case, sample in readable(cohort.cases, read, faults, counter("marking")):
            name = f"{case.name}_seg.nii.gz"
            answer = trained.answer(sample)
            labels = trained.labels(sample, answer)
            _write(labels, sample, options.out / name, regions, synthetic=cohort.source.synthetic)
            voxel_ml = abs(float(np.linalg.det(sample.affine[:3, :3]))) / 1000
            volumes = [float((labels == region).sum()) * voxel_ml for region in range(1, len(regions) + 1)]
            unsure = float(answer.unsure.sum()) * sample.spacing**3 / 1000
            uncertain = f"{unsure:.2f}" if trained.target.mirror else ""  # asked once, nothing is known of it
            add([case.name, *(f"{volume:.2f}" for volume in volumes), uncertain, name])
    return say_predicted(options.out, f"{len(cohort) - len(faults)} masks and predictions.csv", faults)


def portable(run: Path, folder: Path | None) -> export.Portable:
    """The network for other programs: background and each region in each voxel of a window."""
    trained = Trained.read(run)
    modalities, regions = trained.target.modalities, trained.target.regions
    edge, spacing = int(trained.card["size"]["edge"]), float(trained.card["size"]["spacing"])
    shape = f"{edge}, {edge}, {edge}"
    facts = export.facts(
        trained.card,
        input=f"{export.INPUT} (n, {len(modalities)}, {shape}), single precision: a window of {', '.join(modalities)}, "
        "registered, without the skull; axes to the right, to the front and up",
        spacing_mm=spacing,
        normalisation=samples.NORMALISED,
        output=f"{export.OUTPUT} (n, {1 + len(regions)}, {shape}): of each label in each voxel",
        labels=["background", *regions],
        threshold="none: the most probable label holds",
        smallest_ml=trained.card["smallest_ml"],
        asking=f"`brainmri predict` slides the window over the volume with an overlap of {OVERLAP}, weighs it by a "
        f"Gaussian{', takes the mean over mirrored volumes,' * trained.target.mirror} and leaves pieces below "
        "smallest_ml out.",
    )
    if not folder and modalities != MODALITIES:
        raise DataError("Only brains can be drawn to try a network on: name a folder of cases with --input.")
    with TemporaryDirectory() as scratch:
        if not folder:
            made_up.make(Path(scratch) / "made", cases=1, spacing=COARSE_MM)
        found = trained.cohort(folder or Path(scratch) / "made")
        (sample,) = trained.load(replace(found, cases=found.cases[:1]))
    network = sizes.answering(trained.network, sizes.Size(**trained.card["size"]))
    asked = sample.case.name if folder else "a SYNTHETIC case"
    return export.Portable(export.Probabilities(network), _middle(sample, edge), asked, facts)


def models() -> list[dict[str, Any]]:
    """The networks of each family and size; of the VAE and the GAN also what only helps them to learn."""
    return [
        fit.describe(f"{family}-{name}", family, sizes.learner(family, size, "dice", seed=0))
        for family in FAMILIES
        for name, size in sizes.SIZES.items()
    ]


def _devices(used: int) -> str:
    """On how many devices is trained where there is a choice, in words; empty where there is none."""
    held = torch.cuda.device_count()
    if used > 1:
        return f"{used} processes share each batch, {'with a GPU each' if held else 'on the cores of this session'}."
    return f"One of this session's {held} GPUs is used; --devices {held} uses all." if held > 1 else ""


def _middle(sample: Sample, edge: int) -> NDArray[np.float32]:
    """A window (1, 4, edge, edge, edge) from the middle of a case, with air around where the case is smaller."""
    from monai.transforms import ResizeWithPadOrCrop

    window = ResizeWithPadOrCrop((edge,) * 3)(sample.images.astype(np.float32))
    return np.asarray(window, dtype=np.float32)[None]


def _write(labels: Labels, sample: Sample, path: Path, regions: Sequence[str], *, synthetic: bool) -> None:
    import nibabel

    volume = nibabel.Nifti1Image(labels, sample.affine)
    stamp = "SYNTHETIC, " if synthetic else ""
    said = ", ".join(f"{number} {name}" for number, name in enumerate(regions, start=1))
    volume.header["descrip"] = f"{stamp}brainmri: {said}; no medical device".encode()[:80]  # NIfTI has room for 80
    nibabel.save(volume, path)
