"""From a case's files to what a network takes, and back: one spacing, one orientation, the brain alone, normalised."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from brainmri.data import DataError
from brainmri.segmentation3d.cases import MODALITIES, read_scan
from brainmri.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from brainmri.segmentation3d.cases import Case, Scan

    Array = NDArray[np.float32]
    Labels = NDArray[np.uint8]

FAINTEST, BRIGHTEST = -5.0, 5.0
NORMALISED = (
    "grey values less the mean of the brain, by its standard deviation; from "
    f"{FAINTEST:g} to {BRIGHTEST:g}, and 0 outside the brain"
)
MOST = 0.9  # of a volume's voxels that a brain may fill
MARGIN_MM = 5.0  # kept around the brain


@dataclass(frozen=True)
class Sample:
    """A case as a network takes it: images (4, x, y, z) of `spacing` mm, x to the right, y to the front, z up.

    Images are kept in half precision, so that a thousand cases fit into memory; their noise is far above its steps.
    `labels` (x, y, z) are 0 and the regions' numbers, None without a mask. `size` is the voxels of the case's own
    files, which `back` needs; `orientation` says which of their axes is which, `corner` where in them the first voxel
    lies.
    """

    case: Case
    images: NDArray[np.float16] | Array
    labels: Labels | None
    spacing: float
    scale: NDArray[np.float64]
    corner: NDArray[np.float64]
    size: tuple[int, ...]
    orientation: NDArray[np.float64]
    affine: NDArray[np.float64]

    @property
    def digest(self) -> str:
        """Tells by its voxels whether a case was seen before, whatever its name."""
        return hashlib.sha256(np.round(self.images.astype(np.float32), 1).astype(np.float16).tobytes()).hexdigest()[:16]

    def back(self, values: NDArray[Any]) -> Array:
        """Values (..., x, y, z) of the network's grid on the grid of the case's files; outside the brain 0."""
        import nibabel.orientations as turns

        straight = _turned_size(self.size, self.orientation)
        where = zip(straight, self.corner, self.scale, strict=True)
        places = [(np.arange(edge) - first) / step for edge, first, step in where]
        lead = values.shape[:-3]
        flat = np.asarray(values, dtype=np.float32).reshape(-1, *values.shape[-3:])
        wide = np.stack([_interpolated(one, places) for one in flat])
        undo = turns.ornt_transform(turns.axcodes2ornt("RAS"), self.orientation)
        turned = np.stack([turns.apply_orientation(one, undo) for one in wide])
        return turned.reshape(*lead, *self.size)


def load(cases: Sequence[Case], spacing: float, on_progress: Callable[[int, int], None] | None = None) -> list[Sample]:
    """Read cases and bring them to one spacing. Raises DataError for the first that cannot be used."""
    made = []
    for case in cases:
        scan = read_scan(case)
        if tuple(case.images) == MODALITIES and Volume(scan.images[0], scan.affine).spacing_lost:
            raise DataError(
                f"{case.name} says that its voxels are 1 x 1 x 1 mm, and the head {min(scan.images.shape[1:])} mm from "
                "end to end: its spacing was lost. Write the real one into the headers of its files."
            )
        made.append(prepare(case, scan, spacing))
        if on_progress:
            on_progress(len(made), len(cases))
    return made


def prepare(case: Case, scan: Scan, spacing: float) -> Sample:
    """A scan as a network takes it. The brain is what is not 0 in every modality.

    Raises DataError for a head with air and skull, of which nothing is 0.
    """
    import nibabel.orientations as turns

    share = float((scan.images != 0).any(axis=0).mean())
    if tuple(case.images) == MODALITIES and share > MOST:
        raise DataError(
            f"{case.name} is not 0 in {share:.0%} of its voxels: networks for brains take the brain alone, with 0 "
            "around it. Take off skull and air first (`brainmri preprocess`, or `brainmri convert dicom --strip`)."
        )
    orientation = turns.io_orientation(scan.affine)
    images = np.stack([turns.apply_orientation(one, orientation) for one in scan.images])
    mask = None if scan.mask is None else turns.apply_orientation(scan.mask, orientation)
    own = scan.spacing[np.argsort(orientation[:, 0])]
    first, last = _box((images != 0).any(axis=0), np.ceil(MARGIN_MM / own).astype(int))
    scale = spacing / own
    count = np.maximum(1, np.round((last - first) / scale)).astype(int)
    places = [start + step * np.arange(edge) for start, step, edge in zip(first, scale, count, strict=True)]
    blur = np.where(scale > 1.2, 0.4 * scale, 0)  # what is finer than the new voxels would be noise in them
    seen = np.stack([_interpolated(_smooth(normalise(one), blur), places) for one in images])
    labels = None if mask is None else _labels(mask, blur, places)
    corner = np.asarray(first, dtype=np.float64)
    return Sample(
        case, seen.astype(np.float16), labels, spacing, scale, corner, scan.images.shape[1:], orientation, scan.affine
    )


def normalise(image: Array) -> Array:
    """Grey values, which have no unit in MRI, as deviations from the mean of the brain, in its standard deviations.

    Outside the brain, where the image is 0, it stays 0.
    """
    brain = image != 0
    inside = image[brain]
    if not inside.size:
        return np.zeros_like(image)
    values = np.clip((image - inside.mean()) / max(float(inside.std()), 1e-6), FAINTEST, BRIGHTEST)
    return np.asarray(values * brain, dtype=np.float32)


def _labels(mask: Labels, blur: NDArray[np.float64], places: Sequence[NDArray[np.float64]]) -> Labels:
    """Labels on another grid: of each voxel the region that fills most of it, if all of them fill half at least."""
    regions = range(1, max(int(mask.max()), 1) + 1)
    shares = np.stack([_interpolated(_smooth((mask == one).astype(np.float32), blur), places) for one in regions])
    return np.where(shares.sum(axis=0) >= 0.5, 1 + shares.argmax(axis=0), 0).astype(np.uint8)


def _box(inside: NDArray[np.bool_], margin: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First voxel of the box around what is set, and the one after its last."""
    sides = [np.flatnonzero(inside.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    first = np.array([side[0] for side in sides]) - margin
    last = np.array([side[-1] + 1 for side in sides]) + margin
    return np.maximum(first, 0), np.minimum(last, inside.shape)


def _smooth(values: Array, blur: NDArray[np.float64]) -> Array:
    return ndimage.gaussian_filter(values, blur) if blur.any() else values


def _interpolated(values: NDArray[Any], places: Sequence[NDArray[np.float64]]) -> Array:
    """Values at the crossings of `places`, linearly, axis by axis; 0 beyond the volume."""
    result = np.asarray(values, dtype=np.float32)
    for axis, at in enumerate(places):
        edge = result.shape[axis]
        lower = np.floor(at).astype(int)
        share = np.reshape(at - lower, [-1 if other == axis else 1 for other in range(3)]).astype(np.float32)
        inside = np.reshape((at >= -0.5) & (at <= edge - 0.5), share.shape)
        before = np.take(result, np.clip(lower, 0, edge - 1), axis)
        after = np.take(result, np.clip(lower + 1, 0, edge - 1), axis)
        result = (before * (1 - share) + after * share) * inside
    return result.astype(np.float32)


def _turned_size(size: tuple[int, ...], orientation: NDArray[np.float64]) -> tuple[int, ...]:
    straight = [0, 0, 0]
    for axis, (target, _) in enumerate(orientation):
        straight[int(target)] = size[axis]
    return tuple(straight)
