"""The command line: what the notebooks do, for use in scripts.

Exit codes: 0 all is well, 1 faults were found in the data, 2 the command could not do what it was asked,
130 it was stopped from the keyboard.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brainmri import __version__, scan_commands
from brainmri.commands import add_to
from brainmri.data import PLANES, DataError, Source, read_folder
from brainmri.progress import counter
from brainmri.store import must_be_new

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from brainmri.check import Findings

FAULTY, REFUSED, STOPPED = 1, 2, 130
SHOWN = 20  # faults listed before the rest is counted


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except (DataError, ValueError, MemoryError) as error:
        print(f"brainmri: {error}", file=sys.stderr)
    except OSError as error:
        print(f"brainmri: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}", file=sys.stderr)
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # PyTorch's, which is not loaded here
            raise
        said = (str(error).splitlines() or [""])[0]
        print(
            f"brainmri: the GPU's memory is full ({said}) Stop other kernels, or take a smaller size.", file=sys.stderr
        )
    except KeyboardInterrupt:
        print("\nbrainmri: stopped. What was stored stays.", file=sys.stderr)
        return STOPPED
    return REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="brainmri", description="Brain-tumour MRI: look at data, train a network, measure it."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    check = commands.add_parser("check", help="examine a folder of slices", description=_check.__doc__)
    check.add_argument("folder", type=Path, metavar="DIR", help="folder with labels.csv and slices/")
    check.add_argument("--html", type=Path, metavar="FILE", help="a page with pictures, to be opened in a browser")
    check.set_defaults(run=_check)

    synthetic = commands.add_parser("synthetic", help="make a synthetic data set", description=_synthetic.__doc__)
    synthetic.add_argument("folder", type=Path, metavar="DIR", help="folder to make; it must not exist")
    synthetic.add_argument("--patients", type=int, default=60, help="made-up heads, half with a lesion (default 60)")
    synthetic.add_argument("--slices", type=int, default=6, help="slices of each head, 20 at most (default 6)")
    synthetic.add_argument("--difficulty", type=float, default=0.5, help="0 easy to 1 hard (default 0.5)")
    synthetic.add_argument("--motion", type=float, default=0.0, help="0 lies still to 1 moves much (default 0)")
    synthetic.add_argument("--seed", type=int, default=0, help="the same seed makes the same images (default 0)")
    synthetic.add_argument(
        "--planes", nargs="+", default=["axial"], choices=PLANES, help="cuts to draw (default axial)"
    )
    synthetic.set_defaults(run=_synthetic)

    cohort = commands.add_parser("synthetic3d", help="make a synthetic cohort in 3D", description=_synthetic3d.__doc__)
    cohort.add_argument("folder", type=Path, metavar="DIR", help="folder to make; it must not exist")
    cohort.add_argument("--of", choices=["brain", "abdomen"], default="brain", help="what is drawn (default brain)")
    cohort.add_argument("--cases", type=int, default=40, help="made-up patients (default 40)")
    cohort.add_argument("--spacing", type=float, default=2.5, help="edge of a voxel in mm, 1 to 8 (default 2.5)")
    cohort.add_argument("--difficulty", type=float, default=0.5, help="0 easy to 1 hard (default 0.5)")
    cohort.add_argument("--seed", type=int, default=0, help="the same seed makes the same voxels (default 0)")
    cohort.set_defaults(run=_synthetic3d)

    fetch = commands.add_parser("fetch", help="download a public data set", description=_fetch.__doc__)
    fetch.add_argument("set", choices=["figshare"], metavar="SET", help="figshare (the set of J. Cheng)")
    fetch.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder for its files")
    fetch.set_defaults(run=_fetch)

    convert = commands.add_parser("convert", help="read a public data set as downloaded", description=_convert.__doc__)
    convert.add_argument(
        "set",
        choices=["figshare", "nifti", "dicom"],
        metavar="SET",
        help="figshare (the set of J. Cheng), nifti (volumes with masks), or dicom (series, which become NIfTI)",
    )
    convert.add_argument("--from", dest="download", type=Path, required=True, metavar="DIR", help="its files")
    convert.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder to make; it must not exist")
    convert.add_argument("--image", default="*", metavar="PATTERN", help="nifti: names of the images")
    convert.add_argument("--mask", default="*mask*", metavar="PATTERN", help="nifti: names of the masks (*mask*)")
    convert.add_argument("--label", default="tumour", help="nifti: what the masks show (tumour)")
    convert.add_argument("--source", default="", help="nifti: whose data it is, for the foot of every figure")
    convert.add_argument("--licence", default="licence not stated", help="nifti: its licence")
    convert.add_argument(
        "--case", nargs="+", metavar="NAME=NUMBER", help="dicom: series that become one case: t1=2 t1ce=5 t2=4 flair=3"
    )
    convert.add_argument("--grid", default="t1ce", help="dicom --case: whose voxels all of them get (t1ce)")
    convert.add_argument("--strip", action="store_true", help="dicom --case: black outside of the brain")
    convert.set_defaults(run=_convert)

    runs = commands.add_parser("runs", help="trainings beside each other", description=_runs.__doc__)
    runs.add_argument("--json", action="store_true", help="for programs")
    runs.add_argument(
        "--curves", metavar="METRIC", help="draw this metric of the newest ones, such as loss or val_dice"
    )
    runs.add_argument("--to", type=Path, metavar="FILE", help="--curves: picture to write (.png, .svg or .pdf)")
    runs.set_defaults(run=_runs)
    add_to(commands)
    scan_commands.add_to(commands)
    return parser


def _check(options: argparse.Namespace) -> int:
    """Count slices, labels and groups; find missing or corrupt files, copies, patients on both sides of a split."""
    from brainmri.check import examine

    findings = examine(read_folder(options.folder, allow_missing=True), counter("reading"))
    print(_report(findings))
    if options.html:
        from brainmri import check_page

        check_page.write(findings, options.html)
        print(f"With pictures: {options.html}")
    return FAULTY if findings.faults else 0


def _synthetic(options: argparse.Namespace) -> int:
    """Write a folder of synthetic slices with and without a glioma-like lesion. None of them shows a patient."""
    from brainmri.synthetic import make

    must_be_new(options.folder)
    dataset = make(
        options.folder,
        patients=options.patients,
        slices=options.slices,
        difficulty=options.difficulty,
        motion=options.motion,
        planes=options.planes,
        seed=options.seed,
        on_progress=counter("drawing"),
    )
    print(f"{options.folder}: {len(dataset)} SYNTHETIC slices of {options.patients} made-up heads")
    return 0


def _synthetic3d(options: argparse.Namespace) -> int:
    """Write synthetic cases: brains with core and oedema in four modalities, or abdomens with three organs in CT.

    Brains are laid out as BraTS lays them out, abdomens as the Medical Segmentation Decathlon. None shows a patient.
    """
    from brainmri.segmentation3d import abdomen
    from brainmri.segmentation3d import cohort as brains

    must_be_new(options.folder)
    cohort = (abdomen if options.of == "abdomen" else brains).make(
        options.folder,
        cases=options.cases,
        spacing=options.spacing,
        difficulty=options.difficulty,
        seed=options.seed,
        on_progress=counter("drawing"),
    )
    images = "four modalities" if options.of == "brain" else "CT"
    print(f"{options.folder}: {len(cohort)} SYNTHETIC cases of {images} with masks")
    print(cohort.layout)
    return 0


def _fetch(options: argparse.Namespace) -> int:
    """Download a set from where it is published, checked file by file. Run it again to go on where it was cut off."""
    from brainmri import fetch
    from brainmri.progress import Progress

    wanted = fetch.article(options.set, fetch.API)
    print(f"{wanted.title}, doi {wanted.doi}, {wanted.licence}: {wanted.size / 1e6:.0f} MB")
    fetch.fetch(wanted, options.to, Progress("fetching"))
    print(f"{options.to}: all of it. Run `brainmri convert {options.set} --from {options.to} --to DIR` next.")
    return 0


def _convert(options: argparse.Namespace) -> int:
    """Make slices, masks and labels.csv, with the patient of each slice, of what figshare has or of NIfTI volumes.

    DICOM series become NIfTI volumes; with --case, those of one patient become a case for the networks in 3D.
    """
    from brainmri import figshare, nifti

    must_be_new(options.to)
    show = counter("converting")
    if options.set == "dicom" and options.case:
        return scan_commands.convert_case(options, show)
    if options.set == "dicom":
        return scan_commands.convert_dicom(options.download, options.to, show)
    if options.set == "figshare":
        dataset = figshare.convert(figshare.originals(options.download), options.to, show)
    else:
        source = Source(options.source or f"folder {options.download.name}", options.licence)
        found = nifti.scans(options.download, options.image, options.mask)
        dataset = nifti.convert(found, options.to, options.label, source, show)
    print(f"{options.to}: {len(dataset)} slices with masks of {len(set(dataset.groups))} patients")
    print(f"{dataset.source.credit}. Run `brainmri check {options.to}` next.")
    return 0


def _runs(options: argparse.Namespace) -> int:
    """List the trainings that MLflow has of you, the newest first, those in notebooks included.

    They are in ~/sciencebox-runs/mlflow.db, or where MLFLOW_TRACKING_URI says.
    """
    from brainmri import tracking

    if bool(options.curves) != bool(options.to):
        raise ValueError("--curves and --to belong together: name the metric and the picture to write")
    if options.curves:
        must_be_new(options.to)
        tracking.curves(options.curves).savefig(options.to)
        print(f"{options.to}: {options.curves} of each epoch")
        return 0
    listed = tracking.rows()
    print(json.dumps(listed, indent=2) if options.json else "\n".join(map(_training, listed)) or "No training yet.")
    return 0


def _training(row: Mapping[str, Any]) -> str:
    figures = [f"{name} {value:.3f}" for name, value in row.items() if isinstance(value, float)]
    state = [] if row["complete"] else ["not complete"]
    told = ", ".join([*figures, *state, row["data"] or "data that is not named"])
    return f"{row['begun']}  {row['task']}, {row['name']}, seed {row['seed']}: {told}\n{'':18}{row['folder']}"


def _report(findings: Findings) -> str:
    dataset = findings.dataset
    sizes = ", ".join(f"{width} x {height} ({count})" for (width, height), count in findings.sizes.most_common(3))
    more = f" and {len(findings.sizes) - 3} other sizes" if len(findings.sizes) > 3 else ""
    lines = [
        str(dataset.root),
        f"  {dataset.source.credit}",
        f"  {len(dataset)} slices of {len(set(dataset.groups))} {dataset.grouping}s; pixels: {sizes or 'none'}{more}",
        *(
            f"  {label}: {dataset.labels[label]} slices of {groups} {dataset.grouping}s"
            for label, groups in findings.groups.items()
        ),
        *([f"  masks: {findings.masks}, {findings.empty_masks} of them empty"] if findings.masks else []),
        *(f"  note: {remark}" for remark in _shortened(findings.remarks)),
        *(f"  FAULT: {fault}" for fault in _shortened(findings.faults)),
    ]
    count = len(findings.faults)
    lines.append(f"{count} fault{'s' if count != 1 else ''} found." if count else "No fault found.")
    return "\n".join(lines)


def _shortened(sentences: list[str]) -> list[str]:
    rest = len(sentences) - SHOWN
    return sentences if rest <= 0 else [*sentences[:SHOWN], f"and {rest} more of the same kind"]


if __name__ == "__main__":
    sys.exit(main())
