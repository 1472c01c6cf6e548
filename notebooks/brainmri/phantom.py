"""A synthetic raw scan of a head whose truth is known: its brain, its tissue, its uneven light and its noise.

The ICBM 152 template (2009a, as carried by nilearn) has neither skull nor noise, so both are added: fluid, bone with
marrow, scalp, and the soft tissue of face and neck, then the smooth bias field of receive coils, and noise that is
Rician, as that of a magnitude image is (Gudbjartsson and Patz 1995, doi 10.1002/mrm.1910340618). None of this is a
patient, and no figure obtained on it says anything about patients.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from brainmri.data import Source
from brainmri.synthetic import LICENCE, template_file
from brainmri.volume import Volume

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Field = NDArray[np.float32]
    Mask = NDArray[np.bool_]

WHITE = 600.0  # brightness of white matter, in the scanner's own arbitrary unit
FACE_MM = ((-85.0, 85.0), (-120.0, 110.0))  # right and front: how far soft tissue reaches below the brain
LOW_MM, HIGH_MM = np.array([-96.0, -132.0, -78.0]), np.array([96.0, 106.0, 102.0])  # the field of view
SOURCE = Source("a made-up head", LICENCE, synthetic=True)


@dataclass(frozen=True)
class Lesion:
    """A lump of about this radius around a place of the head, in mm of MNI space: bright rim, dark core, oedema."""

    centre_mm: tuple[float, float, float]
    radius_mm: float


@dataclass(frozen=True)
class Pose:
    """How the head lies in the scanner: turned about the axes right, front and up (degrees), then shifted (mm)."""

    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Phantom:
    """The raw scan, and what nobody knows of a real one. Arrays are (x, y, z) on the grid of `raw`.

    `clean` has neither bias nor noise; `bias` is the factor between them; `sigma` the noise of each channel.
    """

    raw: Volume
    clean: Field
    brain: Mask
    grey: Mask
    white: Mask
    tumour: Mask
    bias: Field
    sigma: float


def make(
    *,
    spacing_mm: Sequence[float] = (2.0, 2.0, 2.0),
    noise: float = 0.05,
    bias: float = 0.3,
    seed: int = 0,
    scan: int = 0,
    lesions: Sequence[Lesion] = (),
    pose: Pose | None = None,
) -> Phantom:
    """A head scanned with voxels of `spacing_mm`.

    `noise` is the standard deviation by the brightness of white matter, `bias` that of the logarithm of the bias field.
    `seed` makes the head: the same one gets another noise and another field with another `scan`.
    """
    affine = np.diag([*map(float, spacing_mm), 1.0])
    affine[:3, 3] = LOW_MM
    shape = np.ceil((HIGH_MM - LOW_MM) / np.asarray(spacing_mm, dtype=float)).astype(int)
    axes = (np.arange(n) * edge + low for n, edge, low in zip(shape, spacing_mm, LOW_MM, strict=True))
    places = np.stack(np.meshgrid(*axes, indexing="ij"))
    places = _moved(places, pose or Pose())
    t1, grey, white = (_sampled(_template(kind), places) for kind in ("t1", "gm", "wm"))
    brain = ndimage.binary_fill_holes(t1 > 0.2)
    random = np.random.default_rng(seed)
    clean = _around(t1, brain, places, np.asarray(spacing_mm, dtype=float), random)
    tumour = np.zeros(brain.shape, dtype=bool)
    for lesion in lesions:
        clean, there = _painted(clean, brain, places, lesion)
        tumour |= there
    light = np.random.default_rng((seed, scan, 1))
    field = np.exp(bias * _smooth(light, places, 70.0)).astype(np.float32)
    sigma = noise * WHITE
    real, imaginary = light.normal(0, sigma, (2, *brain.shape))
    raw = np.hypot(clean * field + real, imaginary).astype(np.float32)
    healthy = brain & ~tumour
    tissue = (healthy & (grey > 0.8), healthy & (white > 0.8))
    return Phantom(Volume(raw, affine, synthetic=True), clean, brain, *tissue, tumour, field, sigma)


def _around(t1: Field, brain: Mask, places: Field, spacing: NDArray[np.float64], random: np.random.Generator) -> Field:
    """Fluid, bone, marrow, scalp and soft tissue around the brain, of a thickness that varies from place to place."""
    inside = ndimage.binary_closing(np.pad(brain, 8), iterations=round(6 / spacing.min()))[8:-8, 8:-8, 8:-8] | brain
    distance = ndimage.distance_transform_edt(~inside, sampling=spacing).astype(np.float32)
    fluid = np.clip(2.5 + 1.0 * _smooth(random, places, 30.0), 0.8, 6.0)
    bone = fluid + np.clip(5.5 + 1.5 * _smooth(random, places, 40.0), 3.0, 10.0)
    scalp = bone + np.clip(5.0 + 1.0 * _smooth(random, places, 40.0), 3.0, 9.0)
    marrow = 0.35 * np.exp(-(((distance - (fluid + bone) / 2) / 1.2) ** 2)) * (bone - fluid > 5.5)
    soft = np.clip(0.45 + 0.12 * _smooth(random, places, 12.0), 0.1, 0.9)
    x, y, z = places
    (_, right), (back, front) = FACE_MM
    neck = (((x / right) ** 2 + ((y - (front + back) / 2) / ((front - back) / 2)) ** 2) < 1) & (z < -20 - 0.35 * y)
    around = np.select(
        [inside, distance < fluid, distance < bone, distance < scalp, neck & (distance < 60)],
        [np.maximum(t1, 0.2), 0.2, 0.06 + marrow, 0.95, soft],
        0.0,
    )
    return (WHITE * ndimage.gaussian_filter(around, 0.5)).astype(np.float32)


def _painted(clean: Field, brain: Mask, places: Field, lesion: Lesion) -> tuple[Field, Mask]:
    """With a lesion in it, and where its rim and core are."""
    away = places - np.asarray(lesion.centre_mm, dtype=np.float32)[:, None, None, None]
    uneven = 1 + 0.18 * _smooth(np.random.default_rng(abs(int(sum(lesion.centre_mm) * 100))), places, 9.0)
    depth = np.minimum(np.sqrt((away**2).sum(axis=0)) / (lesion.radius_mm * np.clip(uneven, 0.5, 1.5)), 5)
    oedema = 0.35 / (1 + np.exp((depth - 1.7) * 6))
    core = 1 / (1 + np.exp((depth - 0.65) * 14))
    rim = np.exp(-(((depth - 0.85) / 0.14) ** 2))
    painted = clean * (1 - oedema) * (1 - 0.65 * core) + 0.75 * WHITE * rim
    return np.where(brain, painted, clean).astype(np.float32), brain & (depth < 1)


def _moved(places: NDArray[np.float64], pose: Pose) -> Field:
    """Where in the head, in mm of MNI space, the places of the scanner are."""
    from scipy.spatial.transform import Rotation

    turned = Rotation.from_euler("xyz", pose.turn, degrees=True).inv().as_matrix()
    shifted = places - np.asarray(pose.shift)[:, None, None, None]
    return np.einsum("ij,jxyz->ixyz", turned, shifted).astype(np.float32)


def _sampled(template: tuple[Field, NDArray[np.float64]], places: Field) -> Field:
    values, affine = template
    voxels = (places - affine[:3, 3][:, None, None, None]) / np.diag(affine)[:3][:, None, None, None]
    return ndimage.map_coordinates(values, voxels, order=1, mode="constant")


def _smooth(random: np.random.Generator, places: Field, length_mm: float) -> Field:
    """A smooth field of mean 0 and standard deviation 1 over the head, with bumps of about this length."""
    margin = 3
    first = LOW_MM - margin * length_mm
    cells = np.ceil((HIGH_MM - LOW_MM) / length_mm).astype(int) + 2 * margin + 1
    lattice = random.normal(size=cells)
    wanted = (places - first.astype(np.float32)[:, None, None, None]) / np.float32(length_mm)
    field = ndimage.map_coordinates(lattice, wanted, order=3, mode="nearest")
    return ((field - field.mean()) / max(float(field.std()), 1e-6)).astype(np.float32)


@lru_cache(maxsize=3)
def _template(kind: str) -> tuple[Field, NDArray[np.float64]]:
    """T1, grey or white matter from 0 to 1, and the matrix from voxels to mm; axes right, front, up."""
    from nibabel.nifti1 import Nifti1Image

    volume = Nifti1Image.from_filename(template_file(kind))
    return np.asarray(volume.dataobj, dtype=np.float32) / np.float32(255), np.asarray(volume.affine, dtype=float)
