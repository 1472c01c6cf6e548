"""Commands for whole scans rather than slices. Libraries are imported when a command runs."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmri.data import DataError, Source
from brainmri.store import must_be_new

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

SHOWN = 20  # faults
METHODS = ("rigid", "affine", "none")


def add_to(commands: Any) -> None:
    """Add the commands to a parser."""
    preprocess = commands.add_parser("preprocess", help="make raw scans clean", description=preprocess_.__doc__)
    preprocess.add_argument("--recipe", default="default", metavar="FILE", help="JSON file, or default (which it is)")
    preprocess.add_argument("--from", dest="scans", type=Path, required=True, metavar="DIR", help="NIfTI files")
    preprocess.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder for the prepared scans")
    preprocess.add_argument(
        "--mask", default="*mask*", metavar="PATTERN", help="masks, which are carried along (*mask*)"
    )
    preprocess.add_argument("--force", action="store_true", help="write into a folder of another recipe")
    preprocess.set_defaults(run=preprocess_)

    deidentify = commands.add_parser("deidentify", help="take names out of DICOM", description=deidentify_.__doc__)
    deidentify.add_argument("--from", dest="scans", type=Path, required=True, metavar="DIR", help="DICOM files")
    deidentify.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder to make; it must not exist")
    deidentify.add_argument("--patient", default="", help="new name, if all files are of one patient")
    deidentify.set_defaults(run=deidentify_)

    follow = commands.add_parser("follow-up", help="what changed between two scans", description=follow_up_.__doc__)
    follow.add_argument("baseline", type=Path, metavar="BASELINE", help="NIfTI file of the first scan")
    follow.add_argument("follow_up", type=Path, metavar="FOLLOWUP", help="NIfTI file of the later one")
    follow.add_argument("--masks", type=Path, nargs=2, required=True, metavar="MASK", help="of the first, the later")
    follow.add_argument(
        "--spacing", type=float, nargs=3, metavar="MM", help="edges of a voxel, where the files' own are wrong"
    )
    follow.add_argument("--days", type=float, default=0.0, help="between the two scans")
    follow.add_argument("--method", default="rigid", choices=METHODS, help="how they are laid over each other (rigid)")
    follow.add_argument("--patient", default="", help="name for the report; a pseudonym (the file's name)")
    follow.add_argument("--source", default="", help="whose data it is, for the foot of the report")
    follow.add_argument("--licence", default="licence not stated", help="its licence")
    follow.add_argument("--out", type=Path, metavar="FILE.pdf", help="a report of one page")
    follow.add_argument("--json", action="store_true", help="for programs")
    follow.add_argument("--force", action="store_true", help="write over a report that is there")
    follow.set_defaults(run=follow_up_)

    out = commands.add_parser("dicom-seg", help="a mask as DICOM objects", description=dicom_seg_.__doc__)
    out.add_argument("mask", type=Path, metavar="MASK", help="NIfTI file, such as `brainmri predict` writes")
    out.add_argument("--series", type=Path, required=True, metavar="DIR", help="DICOM files that it was drawn on")
    out.add_argument("--number", type=int, help="of the series, where there are several in DIR")
    out.add_argument("--run", dest="run_folder", type=Path, metavar="RUN", help="whose network drew it; else a person")
    out.add_argument("--label", nargs="+", metavar="N=NAME", help="what its labels mean (with --run, as learnt)")
    out.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make; it must not exist")
    out.set_defaults(run=dicom_seg_)


def preprocess_(options: argparse.Namespace) -> int:
    """Noise removed, light evened, brain found, grey values scaled: every NIfTI scan of a folder, by one recipe.

    Run it again with the same arguments to go on where it was interrupted: what is done is not done again.
    """
    from brainmri.progress import Progress
    from brainmri.recipe import NAME, Recipe, apply_to_folder

    recipe = Recipe.default() if options.recipe == "default" else Recipe.read(Path(options.recipe))
    show = Progress("preparing")
    done = apply_to_folder(recipe, options.scans, options.to, masks=options.mask, force=options.force, on_progress=show)
    for fault in done.faults[:SHOWN]:
        print(f"FAULT: {fault}")
    found = f", {done.found} found as they were made before" if done.found else ""
    print(f"{options.to}: {done.made} scans prepared{found}, {len(done.faults)} faults. The recipe is {NAME} there.")
    return 1 if done.faults else 0


def follow_up_(options: argparse.Namespace) -> int:
    """How the volume of a tumour changed, in ml, what is new and what has vanished; with --out, a report of one page.

    The scans are laid over each other. Volumes are those of the masks, each on its own scan.
    """
    from brainmri import followup, followup_view

    if not 0 <= options.days < inf:
        raise DataError(
            f"{options.days:g} days cannot lie between a first scan and a later one. Name the first one first."
        )
    if options.out and options.out.suffix.lower() != ".pdf":
        raise DataError(f"{options.out} is no PDF file. Give a name that ends in .pdf.")
    if options.out and options.out.exists() and not options.force:
        raise DataError(f"{options.out} exists. Give another name, or add --force to write over it.")
    files = zip((options.baseline, options.follow_up), options.masks, (0.0, options.days), strict=True)
    baseline, later = (followup.read(image, mask, day, options.spacing) for image, mask, day in files)
    change = followup.compare(baseline, later, method=options.method)
    made_up = baseline.image.synthetic or later.image.synthetic
    name = options.source or f"{options.baseline.name} and {options.follow_up.name}"
    source = Source(name, options.licence, synthetic=made_up)
    if options.json:
        print(json.dumps({**change.as_json(), "data": source.credit}, indent=2))
    else:
        print("\n".join([f"{source.credit}.", *change.sentences(), followup.WARNING]))
    if options.out:
        page = followup_view.report(baseline, change, source, options.patient or options.baseline.parent.resolve().name)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        followup_view.write_pdf(page, options.out)
        if not options.json:
            print(f"Report: {options.out}")
    return 0


def convert_dicom(folder: Path, target: Path, on_progress: Callable[[int, int], None]) -> int:
    """The part of `brainmri convert` for DICOM."""
    from brainmri import dicom

    made, faults = dicom.convert(folder, target, on_progress)
    for fault in faults[:SHOWN]:
        print(f"FAULT: {fault}")
    print(f"{target}: {made} volume{'s' if made != 1 else ''}. Headers name nobody; pixels may show a face.")
    return 1 if faults else 0


def convert_case(options: argparse.Namespace, on_progress: Callable[[int, int], None]) -> int:
    """The part of `brainmri convert` for the DICOM series of one patient that become a case."""
    from brainmri import dicom_case

    numbers = {name: _whole(number, name) for name, number in _pairs(options.case, "t1=2")}
    cohort = dicom_case.write(
        options.download, options.to, numbers, grid=options.grid, strip=options.strip, on_progress=on_progress
    )
    print(f"{options.to}: a case of four modalities on the grid of {options.grid}. {cohort.source.credit}.")
    print(f"Run `brainmri predict RUN --input {options.to} --out DIR` next.")
    return 0


def dicom_seg_(options: argparse.Namespace) -> int:
    """Write a mask as a DICOM segmentation, and a structured report with the volume of each region.

    Both belong to the series that the mask was drawn on. They are read again and compared before they appear.
    """
    from brainmri import dicom, dicom_case, dicom_out, followup, volume

    must_be_new(options.out)
    one = dicom_case.numbered(dicom.series(options.series), options.number)
    scan = dicom.read(one)
    volume.read_mask(options.mask, scan)  # which looks whether it lies there
    labels = dicom_out.as_labels(volume.read(options.mask).values)
    network = dicom_out.Network.of_run(options.run_folder) if options.run_folder else None
    told = {_whole(label, name): name for label, name in _pairs(options.label or (), "1=core")}
    meanings = told or (dict(enumerate(network.regions, start=1)) if network else {})
    found = dicom_out.write(labels, one, options.out, meanings, network)
    print(f"{options.out}: {dicom_out.SEGMENTATION} and {dicom_out.REPORT} about {one}.")
    print("Read again, they agree with the mask.")
    print("\n".join([*(f"  {name}: {ml:.2f} ml" for name, ml in found.ml.items()), followup.WARNING]))
    return 0


def _pairs(texts: Sequence[str], such_as: str) -> list[tuple[str, str]]:
    """NAME=VALUE as name and value. Raises DataError for others, and for a name that is there twice."""
    found = [tuple(text.split("=", maxsplit=1)) for text in texts]
    if any(len(pair) != 2 for pair in found) or len({pair[0] for pair in found}) < len(found):
        raise DataError(f"{' '.join(texts)} cannot be read: give pairs such as {such_as}, and each name once.")
    return [(name, value) for name, value in found]


def _whole(text: str, of: str) -> int:
    if not text.isdecimal():
        raise DataError(f"{text!r} is no number of {of}. Give a whole number.")
    return int(text)


def deidentify_(options: argparse.Namespace) -> int:
    """Take out of DICOM files what says whose they are, and look afterwards whether it is gone.

    After the Basic Application Level Confidentiality Profile (DICOM PS3.15): its main attributes, every person's name,
    date, time and private element; UIDs are replaced, so that files that belong together still do.
    """
    from brainmri.deidentify import deidentify
    from brainmri.progress import counter

    must_be_new(options.to)
    report = deidentify(options.scans, options.to, patient=options.patient, on_progress=counter("looking through"))
    print(f"{options.to}: {report.files} files, looked through again: nothing found that says whose they are.")
    print(f"  removed: {', '.join(sorted(report.removed)) or 'nothing'}")
    print(f"  emptied: {', '.join(sorted(report.emptied)) or 'nothing'}")
    print(f"  private elements and overlays removed: {report.private}; UIDs replaced: {report.uids}")
    for warning in report.warnings[:SHOWN]:
        print(f"  WARNING: {warning}")
    return 0
