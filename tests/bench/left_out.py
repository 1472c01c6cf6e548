"""Real enhancing tumours in 3D, one patient left out at a time: made-up brains are learnt from, then the others.

    python -m tests.bench.left_out --data DIR --out RUN    with the stack's PyTorch; goes on where it was interrupted

DIR holds PATIENT/{pre,post}_{scan_t1,mask}.nii.gz, T1 after contrast with the enhancing tumour: TCIA's
Brain-Tumor-Progression (doi 10.7937/K9/TCIA.2018.15quzvnb). Its headers lost the size of the voxels: SPACING_MM is what
is assumed, and distances and volumes are as good as that. How long is trained was settled by the training's own loss;
nothing was chosen by what the scans that are asked about came to.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import torch
from brainmri import preprocess, volume
from brainmri.progress import Progress, TerminalLine, counter
from brainmri.runs import Run
from brainmri.segmentation3d import cohort as brains
from brainmri.segmentation3d import inference, measure, samples, sizes
from brainmri.segmentation3d.cases import Case, Target, read_cohort, read_scan
from brainmri.segmentation3d.patches import Patches
from brainmri.segmentation3d.training import Training
from brainmri.store import new_folder
from brainmri.study import hardware
from brainmri.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from brainmri.segmentation3d.measure import Found
    from brainmri.segmentation3d.samples import Sample
    from torch import nn

CREDIT = "TCIA Brain-Tumor-Progression, CC BY 3.0"
SPACING_MM = (0.9, 0.9, 6.0)
THICK = 3  # made-up slices of 2 mm are put together to slices like those of the scans
REGION, MODALITY = "enhancing", "T1ce"
FAMILY, LOSS, SEED = "segmentation3d", "ce + dice", 0
FIRST = sizes.made_for(
    replace(sizes.named("quick"), spacing=2.0, edge=40, cases=32, epochs=10), Target((MODALITY,), (REGION,))
)
THEN = replace(FIRST, epochs=6, rate=FIRST.rate / 2)
ALONE, TUNED = "SYNTHETIC brains alone", "SYNTHETIC brains, then the other patients"


def main() -> None:
    """Train, ask, and write result.json."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.left_out", description=main.__doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    study = LeftOut(options.out)
    made_up = study.cases("made-up", lambda folder: draw(folder, FIRST.cases))
    real = study.cases("scans", lambda folder: strip(options.data, folder))
    seconds, first = study.train("first", made_up, FIRST)
    found: dict[str, dict[str, dict[str, Found]]] = {ALONE: {}, TUNED: {}}
    patients = sorted({one.case.patient for one in real})
    for patient in patients:
        asked = [one for one in real if one.case.patient == patient]
        others = [one for one in real if one.case.patient != patient]
        took, then = study.train(f"without-{patient}", others, THEN, first)
        seconds += took
        for name, network in ((ALONE, first), (TUNED, then)):
            found[name] |= {one.case.name: ask(network, one) for one in asked}
            print(patient, name, {case: round(found[name][case][REGION].dice, 3) for case in found[name]}, flush=True)
    of = [one.case.patient for one in real]
    each = {name: {case: measure.as_json(one)[REGION] for case, one in cases.items()} for name, cases in found.items()}
    result = {
        "left_out": {name: measure.summary(list(each.values()), of)[REGION] for name, each in found.items()},
        "data": CREDIT,
        "n": len(real),
        "patients": len(patients),
        "spacing_mm": SPACING_MM,
        "share": float(np.mean([np.mean(read_scan(one.case).mask) for one in real])),
        "stripped": float(np.mean([lost(one.case) for one in real])),
        "steps": [FIRST.epochs * FIRST.steps, THEN.epochs * THEN.steps],
        "made_up": FIRST.cases,
        "seed": SEED,
        "hardware": hardware(),
        "seconds": round(seconds),
        "cases": each,
    }
    print(json.dumps({name: result[name] for name in ("left_out", "seconds")}, indent=1))
    print(Run(options.out).write_result(result))


@dataclass(frozen=True)
class LeftOut:
    """Everything is below `folder`, and found again there."""

    folder: Path

    def cases(self, name: str, make: Any) -> list[Sample]:
        """Cases as the network takes them; they are made where there are none."""
        root = self.folder / "data" / name
        if not root.exists():
            with new_folder(root) as unfinished:
                for kind in ("imagesTr", "labelsTr"):
                    (unfinished / kind).mkdir()
                described = {"modality": {"0": MODALITY}, "labels": {"0": "background", "1": REGION}}
                (unfinished / "dataset.json").write_text(json.dumps(described))
                make(unfinished)
        found = [of_patient(case) for case in read_cohort(root).masked]
        return samples.load(found, FIRST.spacing, counter(f"reading {name}"))

    def train(
        self, name: str, learnt_from: Sequence[Sample], size: sizes.Size, start: nn.Module | None = None
    ) -> tuple[float, nn.Module]:
        """Seconds, and a network that learnt from these cases, from another one's weights where there is one."""
        learner = sizes.learner(FAMILY, size, LOSS, SEED)
        if start is not None:
            learner.segmenter.load_state_dict(start.state_dict())
        run = Run(self.folder / name)
        run.folder.mkdir(parents=True, exist_ok=True)
        trained = Training(learner, sizes.plan(size, SEED), run)
        show = Progress(f"training {name}", line=TerminalLine())
        history = trained.fit(Patches(learnt_from, size.edge, SEED), on_progress=show)
        return sum(epoch["seconds"] for epoch in history), trained.family.segmenter


def draw(folder: Path, count: int) -> None:
    """SYNTHETIC brains of one modality, in slices as thick as those of the scans; the rim is what is looked for."""
    show = counter("drawing")
    for number in range(1, count + 1):
        drawn = brains.draw(number, spacing=FIRST.spacing, difficulty=0.5, seed=SEED)
        depth = drawn.labels.shape[2] // THICK * THICK
        image, rim = (
            values[..., :depth].reshape(*values.shape[:2], -1, THICK).mean(axis=3)
            for values in (drawn.images[1], (drawn.labels == brains.RIM).astype(np.float32))
        )
        affine = drawn.affine @ np.diag([1.0, 1.0, THICK, 1.0])
        store(Volume(image, affine), rim >= 0.5, folder, f"SYNTHETIC-{number:03d}")
        show(number, count)


def strip(data: Path, folder: Path) -> None:
    """The scans without what is no brain, with voxels of the assumed size."""
    paths = sorted(data.glob("*/*_scan_t1.nii.gz"))
    show = counter("taking skulls off")
    for done, path in enumerate(paths, start=1):
        scan = volume.read(path)
        mask = volume.read_mask(path.with_name(path.name.replace("scan_t1", "mask")), scan)
        scan = scan.spaced(SPACING_MM)
        name = f"{path.parent.name}-{path.name.split('_')[0]}"
        store(preprocess.strip(scan, preprocess.brain_mask(scan)), mask, folder, name)
        show(done, len(paths))


def lost(case: Case) -> float:
    """Which part of the tumour was taken off with the skull: none of it can be found."""
    scan = read_scan(case)
    return float((scan.images[0][scan.mask == 1] == 0).mean())


def store(image: Volume, mask: np.ndarray[Any, Any], folder: Path, name: str) -> None:
    """One case as the Decathlon lays it out."""
    volume.write(image, folder / "imagesTr" / f"{name}.nii.gz")
    nibabel.save(nibabel.Nifti1Image(mask.astype(np.uint8), image.affine), folder / "labelsTr" / f"{name}.nii.gz")


def of_patient(case: Case) -> Case:
    """The case with its patient, whose name stands before that of the scan."""
    return replace(case, patient=case.name.rpartition("-")[0])


def ask(network: nn.Module, sample: Sample) -> dict[str, Found]:
    """The network's answer, on the grid of the case's files, held against the mask."""
    answer = inference.answer(network, sample.images, FIRST.edge, inference.PLAIN)
    truth = read_scan(sample.case)
    assert truth.mask is not None
    return measure.held_against(measure.labelled(sample.back(answer.probability)), truth.mask, truth.spacing, (REGION,))


if __name__ == "__main__":
    main()
