"""DICOM series become volumes: sorted by where their slices are, with spacing and orientation from the headers.

Nothing is guessed: a series that does not say where its slices are, or lacks one of them, is refused with the reason.
Geometry is that of the Image Plane Module (DICOM PS3.3, C.7.6.2).
"""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmri import volume
from brainmri.data import STAMP, DataError
from brainmri.runs import write_whole
from brainmri.store import new_folder
from brainmri.volume import RAS_TO_LPS, Volume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

PLACED = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}  # numbers in each
UNEVEN = 0.02  # of the distance of two slices: how much it may vary
TURNED = 1e-3  # how much the directions of two slices may differ
ABOUT = (
    "MagneticFieldStrength",
    "EchoTime",
    "RepetitionTime",
    "InversionTime",
    "FlipAngle",
    "SliceThickness",
)


@dataclass(frozen=True)
class Series:
    """The files of one series, in no order, and what is told of it without opening its pixels."""

    uid: str
    number: int
    files: tuple[Path, ...]

    def __str__(self) -> str:
        return f"series {self.number} ({len(self.files)} files)"


def files(folder: Path) -> Iterator[tuple[Path, Any]]:
    """Each DICOM file below a folder with its header; others are passed over. Raises DataError for no folder."""
    pydicom = volume.library("pydicom")

    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}. Check the path.")
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "DICOMDIR"):
        try:
            yield path, pydicom.dcmread(path, stop_before_pixels=True)
        except _unreadable():
            continue


def series(folder: Path) -> list[Series]:
    """The series of images below a folder, by their number. Raises DataError where there is none."""
    members: dict[str, list[Path]] = defaultdict(list)
    numbers: dict[str, int] = {}
    for path, header in files(folder):
        if "Rows" not in header:
            continue  # a report or a presentation state
        uid = str(header.get("SeriesInstanceUID", "") or "")
        if not uid:
            raise DataError(f"{path} does not say which series it belongs to. Export the series again.")
        members[uid].append(path)
        numbers[uid] = int((_numbers(header, "SeriesNumber", path) or [0])[0])
    if not members:
        raise DataError(f"{folder} holds no DICOM image. Give the folder that the scanner or the archive exported.")
    found = [Series(uid, numbers[uid], tuple(paths)) for uid, paths in members.items()]
    return sorted(found, key=lambda one: (one.number, one.uid))


def read(one: Series) -> Volume:
    """The volume of a series. Raises DataError where slices are missing, doubled, or not placed in space."""
    return stack(one)[1]


def stack(one: Series) -> tuple[list[Any], Volume]:
    """The files of a series in the order of the volume's slices, and the volume. Raises DataError as `read` does."""
    slices = [opened(path) for path in one.files]
    _refuse_unlike(one, slices)
    row, column = _directions(slices[0])
    normal = np.cross(row, column)
    order = np.argsort([_position(item) @ normal for item in slices], kind="stable")
    slices, paths = [slices[index] for index in order], [one.files[index] for index in order]
    step = _step(one, np.array([_position(item) for item in slices]), paths, normal)
    between_rows, between_columns = (float(edge) for edge in slices[0].PixelSpacing)
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([row * between_columns, column * between_rows, step])
    affine[:3, 3] = _position(slices[0])
    affine[:3] = RAS_TO_LPS @ affine[:3]
    values = np.stack([_pixels(item, path) for item, path in zip(slices, paths, strict=True)], axis=-1)
    return slices, Volume(values, affine, synthetic(slices[0]))


def convert(folder: Path, target: Path, on_progress: Callable[[int, int], None] | None = None) -> tuple[int, list[str]]:
    """Write each series as series-N.nii.gz, with a JSON file of how it was scanned; nothing in them names a patient.

    Returns how many, and a sentence for each series that was left out. The folder appears when it is complete. Raises
    DataError where no series can be used.
    """
    found, faults, made = series(folder), [], 0
    with new_folder(target) as unfinished:
        for done, one in enumerate(found, start=1):
            try:
                scan = read(one)
            except DataError as error:
                faults.append(str(error))
            else:
                made += 1
                volume.write(scan, unfinished / f"series-{done:03d}.nii.gz")
                write_whole(unfinished / f"series-{done:03d}.json", json.dumps(_about(one, scan), indent=2) + "\n")
            if on_progress:
                on_progress(done, len(found))
        if not made:
            raise DataError(" ".join(["No series can be used.", *faults]))
    return made, faults


def _about(one: Series, scan: Volume) -> dict[str, Any]:
    """How it was scanned, as far as its header can be read: no volume depends on it."""
    header, told = opened(one.files[0]), {}
    for name in ABOUT:
        with suppress(DataError):
            if values := _numbers(header, name, one.files[0]):
                told[name] = values[0] if len(values) == 1 else values
    facts = {"series_number": one.number, "voxels": scan.values.shape, "spacing_mm": scan.spacing}
    return {**facts, "Modality": str(header.get("Modality") or ""), **told}


def synthetic(header: Any) -> bool:
    """Whether a file says of itself that no scanner made it."""
    return str(header.get("Manufacturer", "")).startswith(STAMP)


def opened(path: Path) -> Any:
    """One file with its pixels. Raises DataError for what is no DICOM file."""
    pydicom = volume.library("pydicom")

    try:
        return pydicom.dcmread(path)
    except _unreadable() as error:
        raise DataError(f"{path} is no readable DICOM file ({error}). Export it again.") from error


def _refuse_unlike(one: Series, slices: Sequence[Any]) -> None:
    """Slices that cannot be stacked."""
    first = slices[0]
    for path, item in zip(one.files, slices, strict=True):
        missing = [name for name, count in PLACED.items() if len(_numbers(item, name, path)) != count]
        if missing:
            raise DataError(f"{path} has no {' and '.join(missing)}: where it lies is not known, and not guessed.")
        if max(_numbers(item, "NumberOfFrames", path)[:1] + _numbers(item, "SamplesPerPixel", path)[:1], default=1) > 1:
            raise DataError(f"{path} holds several frames or colours. Export the series as single slices in grey.")
        if _pixels_of(item) != _pixels_of(first):
            raise DataError(
                f"{path} has {_pixels_of(item)} pixels, but {one.files[0].name} {_pixels_of(first)}. Put different "
                "images into different folders."
            )
        turned = np.abs(np.subtract(_directions(item), _directions(first))).max() > TURNED
        if turned or not np.allclose(item.PixelSpacing, first.PixelSpacing, rtol=1e-3):
            raise DataError(
                f"{path} lies otherwise, or has pixels of another size, than {one.files[0].name}: this {one} is no "
                "stack of slices (a localiser?). Leave it out."
            )


def _step(one: Series, positions: Any, paths: Sequence[Path], normal: Any) -> Any:
    """From one slice to the next, in mm."""
    if len(paths) < 2:
        raise DataError(f"{paths[0]} is the only slice of its series: how far apart slices are is not known.")
    gaps = np.diff(positions @ normal)
    usual = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    for index in map(int, np.flatnonzero(gaps < UNEVEN * max(usual, 1e-3))):
        raise DataError(
            f"{paths[index].name} and {paths[index + 1].name} lie at the same place: the series holds a slice twice, "
            "or several volumes (echoes, times). Keep one of each."
        )
    for index in map(int, np.flatnonzero(np.abs(gaps - usual) > UNEVEN * usual)):
        lacking = round(gaps[index] / usual) - 1
        what = (
            f"{lacking} slice{'s are' if lacking > 1 else ' is'} missing" if lacking > 0 else "the distance is uneven"
        )
        raise DataError(
            f"Between {paths[index].name} and {paths[index + 1].name} of {one} {what}: {gaps[index]:.2f} mm, elsewhere "
            f"{usual:.2f} mm. Export the whole series again."
        )
    step = (positions[-1] - positions[0]) / (len(paths) - 1)
    straight = positions[0] + np.arange(len(paths))[:, None] * step
    if np.abs(positions - straight).max() > UNEVEN * usual + 0.01:
        raise DataError(f"The slices of {one} do not lie in a straight row. Export the series again.")
    return step


def _unreadable() -> tuple[type[Exception], ...]:
    """What pydicom raises for a file that is none, and for headers that make no sense."""
    errors = volume.library("pydicom").errors
    own = (errors.BytesLengthException, errors.InvalidDicomError)
    return (*own, AttributeError, EOFError, NotImplementedError, OSError, TypeError, ValueError)


def _numbers(item: Any, name: str, path: Path) -> list[float]:
    """The numbers of an attribute; none where it is missing, empty or infinite. Raises DataError for other values."""
    try:
        found = item.get(name)
        values = np.atleast_1d(np.array([] if found is None else found, dtype=float)).tolist()
    except _unreadable() as error:
        raise DataError(f"{path} has a {name} that cannot be read ({error}). Export the series again.") from error
    return values if np.isfinite(values).all() else []


def _pixels_of(item: Any) -> str:
    return f"{item.get('Columns')} x {item.get('Rows')}"


def _position(item: Any) -> Any:
    return np.array([float(value) for value in item.ImagePositionPatient])


def _directions(item: Any) -> tuple[Any, Any]:
    """Along a row and down a column, in the patient's left, back, up."""
    values = np.array([float(value) for value in item.ImageOrientationPatient])
    return values[:3], values[3:]


def _pixels(item: Any, path: Path) -> Any:
    """Grey values (column, row) as the scanner meant them, the brighter the greater (DICOM PS3.3, C.7.6.3.1.2)."""
    try:
        stored = item.pixel_array.astype(np.float32)
    except (*_unreadable(), RuntimeError) as error:
        raise DataError(f"The pixels of {path} cannot be read ({error}). Export the series uncompressed.") from error
    if item.get("PhotometricInterpretation") == "MONOCHROME1":  # the smallest that the bits can hold is white
        signed, full = item.get("PixelRepresentation") == 1, 2 ** int(item.BitsStored)
        stored = (-1 if signed else full - 1) - stored
    scale = {"RescaleSlope": 1.0, "RescaleIntercept": 0.0}
    slope, intercept = ((_numbers(item, name, path) or [usual])[0] for name, usual in scale.items())
    return (stored * slope + intercept).T
