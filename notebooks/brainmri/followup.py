"""Two scans of one patient: laid over each other, and what has grown, shrunk, come and gone between them.

Volumes are counted in each scan on its own grid, where they were drawn. Only the maps of what is new and what has
vanished need the scans to lie over each other, and can only be as right as that is. Rates are those of two dates; how
sure they are depends on who drew the masks. For research: none of this is a medical device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from brainmri import volume
from brainmri.data import DataError
from brainmri.overlap import dice
from brainmri.volume import Volume, on_grid_of, to_itk

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

WARNING = "For research and learning. This is not a medical device: no decision about a patient may rest on it."
NO_CHANGE, NEW, GONE, KEPT = 0, 1, 2, 3  # in a map of change
SAMPLED = 0.2  # share of the voxels that a step of the registration looks at
ALIKE = 0.3  # correlation below which two scans do not lie over each other
# From which on they are hardly those of two patients. Of the eight of TCIA's Brain-Tumor-Progression, every first scan
# was laid over every second one: those of one patient have 0.73 to 0.90 (affine: 0.72 to 0.90), those of two at most
# 0.66 (0.73, for stretching makes heads alike). Noise and bias can make one patient's as low.
OF_ONE = {"rigid": 0.7, "affine": 0.75, "none": 0.7}
GRID_MM = 2.0  # at which they are laid over each other
METHODS = ("rigid", "affine", "none")
NAMED = 2  # parts that are new, and as many that are gone, before the rest is counted
RESPONSE = 25.0  # per cent of volume from which on a change is called one: a rule of thumb, no clinical criterion


@dataclass(frozen=True)
class Scan:
    """A volume and the mask that was drawn on it (x, y, z), and the day of the scan, counted from any other."""

    image: Volume
    mask: Mask
    day: float = 0.0

    @property
    def ml(self) -> float:
        """Volume of the mask."""
        return float(self.mask.sum()) * self.image.voxel_ml


@dataclass(frozen=True)
class Registration:
    """How the follow-up was laid over the baseline: SimpleITK's transform, and how alike both are before and after."""

    transform: Any
    method: str
    before: float
    after: float

    @property
    def trusted(self) -> bool:
        """Whether the two can be said to lie over each other."""
        return self.after >= ALIKE and self.after >= self.before - 0.05

    @property
    def doubtful(self) -> bool:
        """Whether they lie over each other no better than scans of two patients may."""
        return self.trusted and self.after < OF_ONE[self.method]

    @property
    def verdict(self) -> str:
        """Whether the maps of change can be trusted, in words."""
        if self.doubtful:
            return "perhaps: scans of two patients may be as alike, look at the pictures"
        return "yes" if self.trusted else "no: look at the pictures"


@dataclass(frozen=True)
class Part:
    """A connected part of a tumour in ml; `centre_mm` is in the baseline's space, right, front, up."""

    ml: float
    centre_mm: tuple[float, float, float]


@dataclass(frozen=True)
class Change:
    """What happened between two scans. `follow_up` and `map` are on the baseline's grid; volumes are in ml.

    `new_parts` touch nothing that was there; of `vanished_parts` nothing is left. `new_ml` and `gone_ml` are all that
    is only in one of the masks. `map` has NO_CHANGE, NEW, GONE and KEPT.
    """

    baseline_ml: float
    follow_up_ml: float
    days: float
    new_ml: float
    gone_ml: float
    dice: float
    new_parts: tuple[Part, ...]
    vanished_parts: tuple[Part, ...]
    registration: Registration
    follow_up: Volume
    map: NDArray[np.uint8]

    @property
    def ml(self) -> float:
        """By how much the volume grew."""
        return self.follow_up_ml - self.baseline_ml

    @property
    def per_cent(self) -> float:
        """Growth by the baseline's volume; infinite where there was nothing, 0 where there still is nothing."""
        if self.baseline_ml:
            return 100 * self.ml / self.baseline_ml
        return float("inf") if self.follow_up_ml else 0.0

    @property
    def doubling_days(self) -> float | None:
        """In how many days the volume doubles if it grows on as it did; None where it did not, or days are unknown."""
        if self.days <= 0 or self.baseline_ml <= 0 or self.follow_up_ml <= self.baseline_ml:
            return None
        return float(self.days * np.log(2) / np.log(self.follow_up_ml / self.baseline_ml))

    def sentences(self) -> list[str]:
        """The change in words."""
        percent = f" ({self.per_cent:+.0f} %)" if self.baseline_ml else ""
        when = f" in {self.days:g} days" if self.days > 0 else ""
        said = [f"From {self.baseline_ml:.2f} ml to {self.follow_up_ml:.2f} ml{when}: {self.ml:+.2f} ml{percent}."]
        if abs(self.per_cent) < RESPONSE:
            said.append(f"Less than {RESPONSE:g} %: as a rule of thumb, two drawings of one tumour may differ as much.")
        if self.doubling_days:
            said.append(f"Growing on like this, it doubles in {self.doubling_days:.0f} days.")
        if not self.registration.trusted:  # before what it is about: a reader may not get to the end
            said.append(
                "The scans could not be laid over each other well: what is called new and gone here cannot be trusted, "
                "the volumes can."
            )
        elif self.registration.doubtful:
            said.append("The scans are no more alike than those of two patients may be: make sure whose they are.")
        said.append(f"New: {self.new_ml:.2f} ml; gone: {self.gone_ml:.2f} ml.")
        return [*said, *_told(self.new_parts, "is new"), *_told(self.vanished_parts, "has vanished")]

    def as_json(self) -> dict[str, Any]:
        """The figures for files and programs."""
        return {
            "baseline_ml": self.baseline_ml, "follow_up_ml": self.follow_up_ml, "change_ml": self.ml,
            "change_per_cent": self.per_cent if np.isfinite(self.per_cent) else None, "days": self.days,
            "doubling_days": self.doubling_days, "new_ml": self.new_ml, "gone_ml": self.gone_ml,
            "new_parts_ml": [part.ml for part in self.new_parts],
            "vanished_parts_ml": [part.ml for part in self.vanished_parts],
            "registration": {
                "method": self.registration.method, "correlation_before": self.registration.before,
                "correlation_after": self.registration.after, "trusted": self.registration.trusted,
                "doubtful": self.registration.doubtful,
            },
        }  # fmt: skip


def read(image: Path, mask: Path, day: float = 0.0, spacing: Sequence[float] | None = None) -> Scan:
    """A scan with its mask from two NIfTI files; `spacing` replaces the voxel edges of their headers, in mm.

    Raises DataError where the mask has another grid, and where the header's spacing was evidently lost: all edges 1 mm
    in a head that would then be a few centimetres high.
    """
    scan = volume.read(image)
    drawn = scan.holding(volume.read_mask(mask, scan))
    if spacing is not None:
        scan, drawn = scan.spaced(spacing), drawn.spaced(spacing)
    elif scan.spacing_lost:
        raise DataError(
            f"{image} says that its voxels are 1 x 1 x 1 mm, and the head {min(scan.values.shape)} mm from end to end: "
            "its spacing was lost. Volumes in ml need the real one: give it with --spacing X Y Z."
        )
    return Scan(volume.canonical(scan), volume.canonical(drawn).values > 0.5, day)


def compare(
    baseline: Scan, follow_up: Scan, *, method: str = "rigid", smallest_ml: float = 0.05, registration: Any = None
) -> Change:
    """Lay the follow-up over the baseline and hold the masks against each other.

    Parts below `smallest_ml` are not counted as parts. `registration` is one that was made before. Raises DataError
    where the scans cannot be read as two of one head.
    """
    laid = registration or register(baseline.image, follow_up.image, method=method)
    moved = on_grid_of(follow_up.image, baseline.image, laid.transform)
    drawn = follow_up.image.holding(follow_up.mask)
    after = on_grid_of(drawn, baseline.image, laid.transform).values > 0.5
    before = baseline.mask
    voxel = baseline.image.voxel_ml
    change = np.select([before & after, after, before], [KEPT, NEW, GONE], NO_CHANGE).astype(np.uint8)
    return Change(
        baseline_ml=baseline.ml,
        follow_up_ml=follow_up.ml,
        days=follow_up.day - baseline.day,
        new_ml=float((change == NEW).sum() * voxel),
        gone_ml=float((change == GONE).sum() * voxel),
        dice=dice(before, after),
        new_parts=_parts_apart(after, before, baseline.image, smallest_ml),
        vanished_parts=_parts_apart(before, after, baseline.image, smallest_ml),
        registration=laid,
        follow_up=moved,
        map=change,
    )


def register(fixed: Volume, moving: Volume, *, method: str = "rigid", seed: int = 1) -> Registration:
    """Find where in `moving` each place of `fixed` is, by mutual information (Mattes et al. 2003).

    doi 10.1109/TMI.2003.809072. `rigid` turns and shifts: a head stays as large as it is. `affine` also stretches, for
    spacings that are not known well. `none` takes the places of both as they are. Raises DataError where the two do not
    overlap.
    """
    itk = volume.library("SimpleITK")

    if method not in METHODS:
        raise ValueError(f"there is no method {method!r}; use {', '.join(METHODS)}")
    if method == "none":
        transform: Any = itk.Transform()
        alike = _correlation(fixed, moving, transform)
        return Registration(transform, method, alike, alike)
    one, other = (itk.Normalize(_coarse(each)) for each in (fixed, moving))
    start = itk.CenteredTransformInitializer(
        one, other, itk.Euler3DTransform(), itk.CenteredTransformInitializerFilter.GEOMETRY
    )
    transform = _optimised(one, other, start, seed)
    if method == "affine":
        wider = itk.AffineTransform(3)
        euler = itk.Euler3DTransform(itk.CompositeTransform(transform).GetBackTransform())
        wider.SetMatrix(euler.GetMatrix())
        wider.SetTranslation(euler.GetTranslation())
        wider.SetCenter(euler.GetCenter())
        transform = _optimised(one, other, wider, seed)
    before, after = (_correlation(fixed, moving, how) for how in (itk.Transform(), transform))
    return Registration(transform, method, before, after)


def _optimised(fixed: Any, moving: Any, start: Any, seed: int) -> Any:
    itk = volume.library("SimpleITK")

    search = itk.ImageRegistrationMethod()
    search.SetMetricAsMattesMutualInformation(32)
    search.SetMetricSamplingStrategy(search.RANDOM)
    search.SetMetricSamplingPercentage(SAMPLED, seed)
    search.SetInterpolator(itk.sitkLinear)
    search.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 150, relaxationFactor=0.6)
    search.SetOptimizerScalesFromPhysicalShift()
    search.SetShrinkFactorsPerLevel([4, 2, 1])
    search.SetSmoothingSigmasPerLevel([4.0, 2.0, 0.0])
    search.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    search.SetInitialTransform(start, inPlace=False)
    try:
        return search.Execute(fixed, moving)
    except RuntimeError as error:
        raise DataError(
            f"These scans cannot be laid over each other ({str(error).splitlines()[-1].strip()}). Are both of the same "
            "head, and are their spacings right?"
        ) from error


def _coarse(scan: Volume) -> Any:
    """At GRID_MM, or as it is where it is coarser: faster, and alike in all directions."""
    from brainmri.preprocess import resample

    return to_itk(resample(scan, spacing=[max(GRID_MM, edge) for edge in scan.spacing]))


def _correlation(fixed: Volume, moving: Volume, transform: Any) -> float:
    """Of the grey values where the two overlap and at least one is not black."""
    moved = on_grid_of(moving, fixed, transform).values
    there = (moved > np.median(moving.values)) | (fixed.values > np.median(fixed.values))
    if there.sum() < 2 or fixed.values[there].std() == 0 or moved[there].std() == 0:
        return 0.0
    return float(np.corrcoef(fixed.values[there], moved[there])[0, 1])


def _told(parts: Sequence[Part], what: str) -> list[str]:
    """The largest parts one by one, the others counted."""
    said = [f"A part of {part.ml:.2f} ml {what}." for part in parts[:NAMED]]
    if rest := parts[NAMED:]:
        said.append(
            f"{len(rest)} more such part{'s' * (len(rest) > 1)}, {sum(part.ml for part in rest):.2f} ml together."
        )
    return said


def _parts_apart(mask: Mask, other: Mask, grid: Volume, smallest_ml: float) -> tuple[Part, ...]:
    """The connected parts of a mask that touch nothing of the other one, the largest first."""
    pieces, count = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    near = ndimage.binary_dilation(other, structure=np.ones((3, 3, 3)))
    parts = []
    for number in range(1, count + 1):
        piece = pieces == number
        ml = float(piece.sum()) * grid.voxel_ml
        if ml >= smallest_ml and not (piece & near).any():
            x, y, z = (grid.affine @ [*ndimage.center_of_mass(piece), 1.0])[:3]
            parts.append(Part(ml, (float(x), float(y), float(z))))
    return tuple(sorted(parts, key=lambda part: -part.ml))
