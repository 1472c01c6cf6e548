"""From a raw scan to a clean one: single steps, each a function from a volume to a volume, and what to measure them by.

Nothing is changed in place. `brain` is a mask (x, y, z) on the volume's grid. What runs them in a row is `recipe`.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from brainmri.data import DataError
from brainmri.volume import Volume, from_itk, library, on_grid_of, to_itk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Field = NDArray[np.float32]
    Mask = NDArray[np.bool_]

CORNER = 0.1  # of each edge: what is looked at for the background's noise
BET_MM = 2.0  # at which the Brain Extraction Tool is run
# Smith's are 0.5 and 1000. With 0.5 the surface of a made-up head of thick slices leaks through the bone, the further
# the longer it runs; with 0.6 it stays, and is the same after 300 iterations as after 1000.
BET_THRESHOLD, BET_ITERATIONS = 0.6, 300
N4_MM = 6.0  # at which the bias field is fitted: it is smooth
WORN_MM = 6.0  # by `morphology`, until the brain hangs on nothing
LANDMARKS = (1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99)  # percentiles, after Nyul and Udupa


def noise_sigma(volume: Volume) -> float:
    """The noise of each of the two channels behind a magnitude image, from the air in the corners of the volume.

    Where there is no signal, the mean square of a magnitude is twice the channels' variance (Gudbjartsson and Patz
    1995, doi 10.1002/mrm.1910340618). Of the eight corners the median counts, so that a nose in one of them does not
    spoil it. Raises DataError where the corners are black: the background was removed, and cannot tell.
    """
    parts = [slice(0, max(1, round(CORNER * n))) for n in volume.values.shape]
    corners = ndimage.median([_power(volume.values, parts, flips) for flips in np.ndindex(2, 2, 2)])
    if corners <= 0:
        raise DataError(
            "The corners of this volume are black: its background was removed or padded, so that the noise cannot be "
            "read from it. Give the noise as `sigma`."
        )
    return float(np.sqrt(corners / 2))


def denoise(volume: Volume, *, sigma: float | None = None, block_radius: int = 2) -> Volume:
    """Without most of the noise: non-local means for Rician noise (Coupe et al. 2008, doi 10.1109/TMI.2007.906087).

    A voxel becomes the mean of those whose surroundings look alike, within `block_radius` voxels. `sigma` is measured
    in the background unless given. What the noise adds to the dark is taken off.
    """
    nlmeans = library("dipy.denoise.nlmeans").nlmeans
    sigma = noise_sigma(volume) if sigma is None else sigma
    if sigma <= 0:
        return volume
    values = np.ascontiguousarray(volume.values, dtype=np.float32)
    clean = nlmeans(
        values, sigma=float(sigma), rician=True, patch_radius=1, block_radius=block_radius, num_threads=1,
        method="blockwise",
    )  # fmt: skip
    return volume.holding(np.clip(clean, 0, None))


def bias_field(volume: Volume, brain: Mask | None = None, *, rounds: int = 4, iterations: int = 30) -> Field:
    """The smooth factor by which parts of the image are too bright: N4 (Tustison et al. 2010).

    doi 10.1109/TMI.2010.2046908. Fitted to the brain, or to the head where no mask is given, on a coarser grid; each of
    the `rounds` has up to so many `iterations` and a finer field. Its mean over the mask is 1.
    """
    itk = library("SimpleITK")
    mask = head(volume) if brain is None else brain
    if not mask.any():
        raise DataError("There is nothing to fit a bias field to: the mask is empty.")
    image, inside = to_itk(volume), itk.Cast(to_itk(volume.holding(mask)), itk.sitkUInt8)
    factors = [max(1, round(N4_MM / edge)) for edge in volume.spacing]
    corrector = itk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations([iterations] * rounds)
    try:
        corrector.Execute(itk.Shrink(image, factors), itk.Shrink(inside, factors))
    except RuntimeError as error:
        said = str(error).splitlines()[-1].strip()
        raise DataError(
            f"No bias field can be fitted to this volume ({said}). Is it a scan of a whole head?"
        ) from error
    field = np.exp(from_itk(corrector.GetLogBiasFieldAsImage(image)).values)
    return np.asarray(field / field[mask].mean(), dtype=np.float32)


def correct_bias(volume: Volume, brain: Mask | None = None, *, rounds: int = 4, iterations: int = 30) -> Volume:
    """Divided by its `bias_field`."""
    return volume.holding(volume.values / bias_field(volume, brain, rounds=rounds, iterations=iterations))


def head(volume: Volume) -> Mask:
    """Everything that is no air: above Otsu's threshold of the logarithm, the largest piece, its holes filled."""
    values = np.log1p(np.clip(volume.values, 0, None))
    bright = values > library("skimage.filters").threshold_otsu(values.ravel())
    return np.asarray(ndimage.binary_fill_holes(largest_piece(bright)))


def brain_mask(volume: Volume, *, method: str = "auto") -> Mask:
    """Where the brain is, without skull, scalp and face: `bet`, `morphology`, or with `auto` the first that is there.

    `bet` is the Brain Extraction Tool (Smith 2002, doi 10.1002/hbm.10062) as written in Python by `brainextractor`: a
    sphere that grows until it meets the skull. `morphology` is a simple stand-in: what is bright is worn down until the
    brain hangs on nothing, and its piece nearest to the middle of the head grows back. Both want a T1 image whose
    brightness is even. Raises DataError where nothing like a brain is found.
    """
    mask = _bet(volume) if brain_method(method) == "bet" else _morphology(volume)
    if not mask.any():
        raise DataError("No brain was found in this volume. Is it the head, and does its affine say where up is?")
    return mask


def brain_method(method: str = "auto") -> str:
    """What `auto` stands for in this environment; others as they are. Raises ValueError for a name of none."""
    if method not in {"auto", "bet", "morphology"}:
        raise ValueError(f"there is no method {method!r}; use auto, bet or morphology")
    if method != "auto":
        return method
    return "bet" if find_spec("brainextractor") else "morphology"


def strip(volume: Volume, brain: Mask) -> Volume:
    """Black outside of the brain."""
    return volume.holding(np.where(brain, volume.values, 0))


def z_score(volume: Volume, brain: Mask) -> Volume:
    """Grey values, which have no unit in MRI, as deviations from the brain's mean in its standard deviations."""
    inside = _inside(volume, brain)
    return volume.holding(np.where(brain, (volume.values - inside.mean()) / max(float(inside.std()), 1e-6), 0))


def percentile_scale(volume: Volume, brain: Mask, *, low: float = 1.0, high: float = 99.0) -> Volume:
    """From 0 at the `low` percentile of the brain to 1 at the `high` one; cut off beyond."""
    darkest, brightest = np.percentile(_inside(volume, brain), [low, high])
    return volume.holding(np.clip((volume.values - darkest) / max(brightest - darkest, 1e-6), 0, 1))


def histogram_landmarks(volumes: Sequence[tuple[Volume, Mask]]) -> list[float]:
    """What `match_histogram` needs: the mean percentiles of the brains, each scaled to run from 0 to 100."""
    scaled = []
    for volume, brain in volumes:
        marks = np.percentile(_inside(volume, brain), LANDMARKS)
        scaled.append(100 * (marks - marks[0]) / max(marks[-1] - marks[0], 1e-6))
    return [round(float(mark), 3) for mark in np.mean(scaled, axis=0)]


def match_histogram(volume: Volume, brain: Mask, *, landmarks: Sequence[float]) -> Volume:
    """The brain's percentiles moved to `landmarks`, linearly between them (Nyul and Udupa 1999).

    Magnetic Resonance in Medicine 42, 1072. Afterwards a tissue has about the same grey value in every scan. Raises
    ValueError where the landmarks do not rise.
    """
    if len(landmarks) != len(LANDMARKS) or (np.diff(landmarks) <= 0).any():
        raise ValueError(f"landmarks are {len(LANDMARKS)} rising numbers, from `histogram_landmarks`")
    marks = np.maximum.accumulate(np.percentile(_inside(volume, brain), LANDMARKS) + np.arange(len(LANDMARKS)) * 1e-6)
    return volume.holding(np.where(brain, np.interp(volume.values, marks, landmarks), 0))


def enhance_contrast(volume: Volume, brain: Mask, *, clip: float = 0.01) -> Volume:
    """Local contrast spread (CLAHE, Zuiderveld 1994), from 0 to 1, for eyes rather than for networks.

    The same tissue no longer has the same grey value in two places: never measure on it.
    """
    equalise = library("skimage.exposure").equalize_adapthist
    return volume.holding(np.where(brain, equalise(percentile_scale(volume, brain).values, clip_limit=clip), 0))


def resample(volume: Volume, *, spacing: Sequence[float], mask: bool = False) -> Volume:
    """The same field of view with voxels of `spacing` mm: linear, and smoothed first where they get larger."""
    itk = library("SimpleITK")
    if len(spacing) != 3 or min(spacing) <= 0:
        raise ValueError(f"spacing is {spacing}: give three lengths in mm")
    ratio = np.asarray(spacing, dtype=float) / volume.spacing
    smooth = ndimage.gaussian_filter(volume.values, np.where(ratio > 1, 0.42 * np.sqrt(np.maximum(ratio**2 - 1, 0)), 0))
    affine = volume.affine @ np.diag([*ratio, 1.0])
    affine[:3, 3] += volume.affine[:3, :3] @ (ratio - 1) / 2  # the outer faces of the first voxels stay where they are
    shape = np.maximum(1, np.round(np.array(volume.values.shape) / ratio)).astype(int)
    grid = Volume(np.zeros(shape, dtype=np.float32), affine)
    how = itk.sitkNearestNeighbor if mask else itk.sitkLinear
    image = to_itk(volume if mask else volume.holding(smooth))
    filled = itk.Resample(image, to_itk(grid), itk.Transform(), how, 0.0, itk.sitkFloat32, True)
    return replace(from_itk(filled), synthetic=volume.synthetic)


def tissues(volume: Volume, brain: Mask) -> tuple[Mask, Mask]:
    """Grey and white matter of a T1 image, roughly: the middle and the bright of three classes (Otsu 1979)."""
    inside = _inside(volume, brain)
    lower, upper = library("skimage.filters").threshold_multiotsu(inside, classes=3)
    grey, white = brain & (volume.values > lower) & (volume.values <= upper), brain & (volume.values > upper)
    return tuple(ndimage.binary_erosion(one) if ndimage.binary_erosion(one).any() else one for one in (grey, white))  # type: ignore[return-value]


def joint_variation(values: Field, grey: Mask, white: Mask) -> float:
    """How far two tissues run into each other: the sum of their deviations by the distance of their means; low is good.

    Noise and uneven light both raise it; a change of unit does not (Likar et al. 2001, doi 10.1109/42.974934).
    """
    one, other = values[grey].astype(np.float64), values[white].astype(np.float64)
    return float((one.std() + other.std()) / max(abs(other.mean() - one.mean()), 1e-9))


def roughness(values: Field, grey: Mask, white: Mask) -> float:
    """The noise in white matter by the contrast of grey and white: how a voxel differs from the next one, robustly.

    The median absolute difference of neighbours, scaled to a standard deviation; without unit, low is good.
    """
    pair = white[1:] & white[:-1]
    steps = np.abs(np.diff(values.astype(np.float64), axis=0)[pair])
    if not steps.size:
        return float("nan")
    contrast = abs(float(values[white].mean(dtype=np.float64)) - float(values[grey].mean(dtype=np.float64)))
    return float(1.4826 * np.median(steps) / np.sqrt(2) / max(contrast, 1e-9))


def unevenness(field: Field, mask: Mask) -> float:
    """How much a factor varies over a mask: the standard deviation of its logarithm; 0 is even, whatever the unit."""
    return float(np.log(np.maximum(field[mask].astype(np.float64), 1e-6)).std())


def mask_faults(mask: Mask, spacing: Sequence[float], *, single: bool = True) -> list[str]:
    """What is suspicious about a mask, each a sentence; `single` where it should be one piece without holes."""
    if not mask.any():
        return ["The mask is empty."]
    voxel_ml = float(np.prod(spacing)) / 1000
    said = []
    pieces = ndimage.label(mask)[0]
    sizes = np.sort(np.bincount(pieces.ravel())[1:])[::-1]
    holes = int((ndimage.binary_fill_holes(mask) & ~mask).sum())
    if single and len(sizes) > 1:
        said.append(f"It has {len(sizes)} pieces; those but the largest hold {sizes[1:].sum() * voxel_ml:.2f} ml.")
    if single and holes:
        said.append(f"It has holes of {holes * voxel_ml:.2f} ml.")
    borders = [mask.take(end, axis).any() for axis in range(3) for end in (0, -1)]
    if any(borders):
        said.append("It touches the border of the volume: something may be cut off.")
    return said


def mended(mask: Mask) -> Mask:
    """The largest piece, its holes filled."""
    return np.asarray(ndimage.binary_fill_holes(largest_piece(mask)))


def largest_piece(mask: Mask) -> Mask:
    """The connected piece with the most voxels; nothing of nothing."""
    pieces, count = ndimage.label(mask)
    if count < 2:
        return mask
    return np.asarray(pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:])))


def _power(values: Field, parts: Sequence[slice], flips: Sequence[int]) -> float:
    """Mean square of one corner."""
    turned = values[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]
    return float((turned[tuple(parts)].astype(np.float64) ** 2).mean())


def _bet(volume: Volume) -> Mask:
    library("brainextractor")
    import nibabel
    from brainextractor import BrainExtractor

    coarse = resample(volume, spacing=[BET_MM] * 3)
    image = nibabel.Nifti1Image(np.clip(coarse.values, 0, None), coarse.affine)
    with contextlib.redirect_stdout(io.StringIO()):  # it tells each of its iterations
        extractor = BrainExtractor(image, bt=BET_THRESHOLD)
        extractor.run(iterations=BET_ITERATIONS)
        found = extractor.compute_mask() > 0.5
    fine = on_grid_of(coarse.holding(found), volume, mask=True).values > 0.5
    return mended(fine)


def _morphology(volume: Volume) -> Mask:
    """Lengths in mm; `edt` is the distance to the nearest voxel outside."""

    def distance(mask: Mask) -> Field:
        return np.asarray(ndimage.distance_transform_edt(mask, sampling=volume.spacing), dtype=np.float32)

    whole = head(volume)
    depth = distance(whole)
    inner = volume.values[depth > 20]
    if not inner.size:
        return np.zeros(whole.shape, dtype=bool)
    bright = (volume.values > 0.6 * float(np.median(inner))) & (depth > 6)
    seed = distance(bright) > WORN_MM
    pieces, count = ndimage.label(seed)
    if not count:
        return np.zeros(whole.shape, dtype=bool)
    score = ndimage.sum(depth, pieces, index=np.arange(1, count + 1))  # large and deep
    core = pieces == 1 + int(np.argmax(score))
    grown = (
        (distance(~core) <= WORN_MM + 2) & (volume.values > 0.35 * float(np.median(volume.values[core]))) & (depth > 6)
    )
    closed = distance(distance(~mended(grown)) <= 6.0) > 6.0
    return mended(closed)


def _inside(volume: Volume, brain: Mask) -> Field:
    inside = volume.values[brain]
    if not inside.size:
        raise DataError("The mask of the brain is empty: there is nothing to scale the grey values by.")
    return inside
