"""The DICOM series of one patient as one case: four modalities on one grid, laid out as BraTS does, naming nobody.

Which series shows what is told by its number, never guessed. Series are laid over each other by the places in their
headers: a head that moved between them has to be registered first (`followup.register`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from brainmri import dicom, preprocess, volume
from brainmri.data import DataError, Source, write_source
from brainmri.segmentation3d.cases import MODALITIES, Cohort, read_cohort
from brainmri.store import new_folder
from brainmri.synthetic import LICENCE
from brainmri.volume import on_grid_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from brainmri.dicom import Series
    from brainmri.volume import Volume

UNKNOWN = "licence not stated"
GRID = "t1ce"  # whose grid the case gets, unless told otherwise


def write(
    folder: Path,
    target: Path,
    numbers: Mapping[str, int],
    *,
    grid: str = GRID,
    strip: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Cohort:
    """Write the series below `folder` as the case `target`, named like that folder; returns it as a cohort of one.

    `numbers` has the number of the series of each modality, `grid` names the one whose voxels all get. With `strip`,
    what lies outside of the brain becomes black; the brain is found on T1. The folder appears when it is complete.
    Raises DataError where a series is missing, no whole stack of slices, of another patient or not placed in one space.
    """
    chosen = pick(dicom.series(folder), numbers)
    if grid not in chosen:
        raise DataError(f"There is no modality {grid!r}; use one of {', '.join(MODALITIES)}.")
    scans: dict[str, Volume] = {}
    for modality, one in chosen.items():
        scans[modality] = dicom.read(one)
        if on_progress:
            on_progress(len(scans), len(chosen))
    laid = {name: scan if name == grid else on_grid_of(scan, scans[grid]) for name, scan in scans.items()}
    if strip:
        brain = preprocess.brain_mask(laid["t1"])
        laid = {name: preprocess.strip(scan, brain) for name, scan in laid.items()}
    made_up = scans[grid].synthetic
    with new_folder(target) as unfinished:
        for modality, scan in laid.items():
            volume.write(scan, unfinished / f"{target.name}_{modality}.nii.gz")
        name, licence = ("a made-up patient's DICOM series", LICENCE) if made_up else ("DICOM series", UNKNOWN)
        write_source(unfinished, Source(name, licence, synthetic=made_up))
    return read_cohort(target)


def pick(found: Iterable[Series], numbers: Mapping[str, int]) -> dict[str, Series]:
    """The series of each modality, of one patient and in one space. Raises DataError where that is not so."""
    listed = list(found)
    missing, other = (sorted(one) for one in (set(MODALITIES) - set(numbers), set(numbers) - set(MODALITIES)))
    if missing or other:
        wrong = [f"{', '.join(missing)} not given"] * bool(missing) + [f"{', '.join(other)} not known"] * bool(other)
        raise DataError(f"One series for each of {', '.join(MODALITIES)} is needed: {'; '.join(wrong)}.")
    chosen = {modality: numbered(listed, numbers[modality]) for modality in MODALITIES}
    if len({one.uid for one in chosen.values()}) < len(chosen):
        raise DataError("Two modalities have the same series. Give each its own number.")
    headers = {modality: _header(one) for modality, one in chosen.items()}
    if len({str(header.get("PatientID", "")) for header in headers.values()}) > 1:
        raise DataError("These series are not all of one patient. Give those of one.")
    frames = {str(header.get("FrameOfReferenceUID", "")) for header in headers.values()}
    if len(frames) > 1 or "" in frames:
        raise DataError(
            "These series are not placed in one space (their FrameOfReferenceUID differs, or is missing), as scans of "
            "two days are not. Lay them over each other first, by registration."
        )
    return chosen


def numbered(found: Iterable[Series], number: int | None) -> Series:
    """The series of that number, or the only one without a number. Raises DataError where there is none, or several."""
    listed = list(found)
    there = ", ".join(map(str, listed))
    if number is None and len(listed) > 1:
        raise DataError(f"There are {there}. Say which is meant by its number.")
    matching = [one for one in listed if number in (None, one.number)]
    if not matching:
        raise DataError(f"There is no series {number}, but {there}.")
    if len(matching) > 1:
        raise DataError(f"There are {len(matching)} series {number}. Put the one that is meant into its own folder.")
    return matching[0]


def _header(one: Series) -> Any:
    return dicom.opened(one.files[0])
