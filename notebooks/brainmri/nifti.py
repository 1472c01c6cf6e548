"""Slices of NIfTI volumes with masks: a folder for each patient, in it volumes and the masks that were drawn on them.

::

    DIR/PATIENT/.../scan_t1.nii.gz     an image
    DIR/PATIENT/.../mask.nii.gz        its mask, of the same grid
"""

from __future__ import annotations

import fnmatch
from collections import Counter
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from brainmri.data import DataError, Dataset, Source, read_folder, write_source
from brainmri.store import new_folder, write_labels
from brainmri.volume import SAME_GRID_MM, apart_mm, below, open_nifti, says_synthetic, stem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[np.float32]

DARK, BRIGHT = 0.5, 99.5  # percentiles of the head that become black and white


@dataclass(frozen=True)
class Scan:
    """One volume with its mask. `name` is unique in the set."""

    name: str
    patient: str
    image: Path
    mask: Path


def scans(folder: Path, image: str, mask: str) -> list[Scan]:
    """Pairs of a volume and a mask that lie in one folder and whose names match these patterns.

    Where a folder has several pairs, an image belongs to the mask with whose name its own begins alike for longest.
    Raises DataError for none, and where it cannot be told which image a mask was drawn on.
    """
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}. Check the path.")
    files = below(folder)
    masks = [path for path in files if fnmatch.fnmatch(path.name, mask)]
    if not masks:
        raise DataError(f"{folder} has no file {mask}. Give the pattern of your masks' names with --mask.")
    found = []
    for path in masks:
        others = [one for one in files if one.parent == path.parent and one not in masks]
        candidates = [one for one in others if fnmatch.fnmatch(one.name, image)]
        drawn_on = _best(path, candidates)
        if drawn_on is None:
            names = ", ".join(one.name for one in candidates or others) or "no other volume"
            raise DataError(f"Which image was {path} drawn on? Beside it: {names}. Give a pattern with --image.")
        parts = path.relative_to(folder).parts
        if len(parts) < 2:
            raise DataError(f"{path} lies in no patient's folder. Put each patient's files into a folder of its own.")
        found.append(Scan("-".join((*parts[:-1], stem(path))), parts[0], drawn_on, path))
    twice = [name for name, count in Counter(scan.name for scan in found).items() if count > 1]
    if twice:
        raise DataError(f"Two masks below {folder} would both be called {twice[0]}. Rename one, or take it out.")
    return found


def read(scan: Scan) -> tuple[Array, NDArray[np.bool_], tuple[float, float, float]]:
    """Image and mask (x, y, z) from left to right, back to front and bottom to top, and the size of a voxel in mm.

    Raises DataError where a file cannot be read, or the mask lies on another grid.
    """
    volumes = [_open(path) for path in (scan.image, scan.mask)]
    image, mask = volumes
    if image.shape[:3] != mask.shape[:3] or apart_mm(image.affine, mask.affine, image.shape) > SAME_GRID_MM:
        raise DataError(
            f"{scan.mask} lies on another grid than {scan.image.name}: {mask.shape} and {image.shape}, or placed "
            "elsewhere in space. Resample it to the image first."
        )
    pixels, drawn = (np.asarray(volume.dataobj, dtype=np.float32) for volume in volumes)
    if pixels.ndim != 3 or not np.isfinite(pixels).all():
        raise DataError(f"{scan.image} is no single volume of finite numbers. Leave it out.")
    zooms = tuple(float(zoom) for zoom in image.header.get_zooms()[:3])
    return pixels, drawn > 0.5, zooms  # type: ignore[return-value]


def slices(
    image: Array, mask: NDArray[np.bool_], spacing: Sequence[float]
) -> Iterator[tuple[int, Image.Image, Image.Image]]:
    """Axial slices with some of the mask, as a radiologist looks at them: the patient's right on the left, front up.

    Pixels are made square. Grey values are those of the whole volume, so that slices of a scan can be compared.
    """
    head = image[image > image.mean()]
    low, high = np.percentile(head, [DARK, BRIGHT]) if head.size else (0.0, 1.0)
    low = min(low, float(np.median(image)))
    grey = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    for index in np.nonzero(mask.any(axis=(0, 1)))[0]:
        size = _square(image.shape[:2], spacing)
        pixels, drawn = (_laid_out(volume[:, :, index]) for volume in (grey, mask))
        picture = Image.fromarray(np.round(pixels * 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
        outline = Image.fromarray(np.where(drawn, 255, 0).astype(np.uint8)).resize(size, Image.Resampling.NEAREST)
        yield int(index), picture, outline


def convert(
    found: Sequence[Scan],
    folder: Path,
    label: str,
    source: Source,
    on_progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Write the slices with their masks and labels.csv with the patient of each; every slice carries `label`.

    The folder appears when it is complete. Raises DataError for the first scan that cannot be used.
    """
    import nibabel

    with new_folder(folder) as unfinished:
        for name in ("slices", "masks"):
            (unfinished / name).mkdir(parents=True)
        rows = []
        for done, scan in enumerate(found, start=1):
            for index, picture, outline in slices(*read(scan)):
                name = f"{scan.name}-{index:03d}"
                picture.save(unfinished / "slices" / f"{name}.png")
                outline.save(unfinished / "masks" / f"{name}.png")
                rows.append((name, label, scan.patient))
            if says_synthetic(nibabel.load(scan.image)):
                source = replace(source, synthetic=True)
            if on_progress:
                on_progress(done, len(found))
        if not rows:
            raise DataError("No scan has any of its mask set: there is nothing to learn from.")
        write_labels(unfinished, rows)
        write_source(unfinished, source)
    return read_folder(folder)


def _open(path: Path) -> Any:
    import nibabel

    return nibabel.as_closest_canonical(open_nifti(path))


def _best(mask: Path, candidates: Sequence[Path]) -> Path | None:
    """The one image, or the one whose name begins like the mask's for longer than every other's."""
    if len(candidates) == 1:
        return candidates[0]
    alike = {one: _alike(stem(one), stem(mask)) for one in candidates}
    longest = [one for one, length in alike.items() if length == max(alike.values())]
    return longest[0] if len(longest) == 1 else None


def _alike(first: str, second: str) -> int:
    """How many characters two names begin with in common."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))


def _square(shape: Sequence[int], spacing: Sequence[float]) -> tuple[int, int]:
    """Width and height in pixels of the smaller of the two sizes."""
    finest = min(spacing[:2])
    return round(shape[0] * spacing[0] / finest), round(shape[1] * spacing[1] / finest)


def _laid_out(plane: NDArray[Any]) -> NDArray[Any]:
    return plane[::-1, ::-1].T
