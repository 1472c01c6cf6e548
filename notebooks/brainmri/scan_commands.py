"""Commands for whole scans rather than slices. Libraries are imported when a command runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmri.data import DataError, Source
from brainmri.store import must_be_new

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

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


def preprocess_(options: argparse.Namespace) -> int:
    """Noise removed, light evened, brain found, grey values scaled: every NIfTI scan of a folder, by one recipe.

    Run it again with the same arguments to go on where it was interrupted: what is done is not done again.
    """
    from brainmri.progress import Progress, TerminalLine
    from brainmri.recipe import NAME, Recipe, apply_to_folder

    recipe = Recipe.default() if options.recipe == "default" else Recipe.read(Path(options.recipe))
    show = Progress("preparing", line=TerminalLine())
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

    if options.out and options.out.suffix.lower() != ".pdf":
        raise DataError(f"{options.out} is no PDF file. Give a name that ends in .pdf.")
    if options.out and options.out.exists() and not options.force:
        raise DataError(f"{options.out} exists. Give another name, or add --force to write over it.")
    files = zip((options.baseline, options.follow_up), options.masks, (0.0, options.days), strict=True)
    baseline, later = (followup.read(image, mask, day, options.spacing) for image, mask, day in files)
    change = followup.compare(baseline, later, method=options.method)
    if options.json:
        print(json.dumps(change.as_json(), indent=2))
    else:
        print("\n".join([*change.sentences(), followup.WARNING]))
    if options.out:
        source = Source(options.source or f"{options.baseline.name} and {options.follow_up.name}", options.licence)
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
