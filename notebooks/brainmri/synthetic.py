"""Synthetic T1-like slices with and without a glioma-like lesion, for learning and testing without patient data.

Slices of the MNI152 template (ICBM 152, nonlinear symmetric 2009a, as carried by nilearn) are given a skull and
scalp, deformed, lit unevenly, if asked for moved while they are scanned, and made noisy: one made-up head after the
other. Half of the heads get a lesion that grows as a glioma looks after contrast: dark oedema, an irregular bright rim,
a core that is dark or bright, and tissue pushed aside.
All may get decoys: small bright vessels, dark round cysts, small white-matter spots. None of this is a patient,
and no figure obtained here says anything about patients. Every image carries the word SYNTHETIC.
"""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo
from scipy import ndimage

from brainmri.data import MADE_UP, STAMP, Dataset, Plane, Source, read_folder, write_source
from brainmri.motion import moved
from brainmri.store import new_folder, write_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    Field = NDArray[np.float32]

SIDE = 256  # pixels of an image's edge; 1 mm each
WORTH_WORKERS = 40  # heads
MOST_SLICES = 20  # of a head: more would lie above the brain
SOLID = 0.35  # of the lesions are bright all through; the others have a dark core
BRAIN = 0.5  # brightness of white matter; after contrast, scalp and enhancing tissue are brighter
# Between which places in MNI space, in mm along the axis across the plane, a head's slices are taken.
RANGE_MM: dict[Plane, tuple[float, float]] = {
    "axial": (-8.0, 48.0),
    "coronal": (-65.0, 30.0),
    "sagittal": (-52.0, 52.0),
}
# Where face and neck are in an image, down and right, and how far they reach from the brain's skull.
TOWARDS_FACE: dict[Plane, tuple[float, float]] = {"axial": (-1.0, 0.0), "coronal": (1.0, 0.0), "sagittal": (1.0, -0.5)}
TISSUE_MM: dict[Plane, tuple[float, float]] = {"axial": (0.0, 25.0), "coronal": (10.0, 60.0), "sagittal": (30.0, 70.0)}
AXIS: dict[Plane, int] = {"sagittal": 0, "coronal": 1, "axial": 2}
LICENCE = "generated from the ICBM 152 template (c) 1993-2009 L. Collins, McConnell Brain Imaging Centre, MNI"


@dataclass(frozen=True)
class Head:
    """What makes one synthetic head: its slices share all of this."""

    lesion: bool
    heights_mm: tuple[float, ...]
    seed: int
    plane: Plane = "axial"


@dataclass(frozen=True)
class Drawn:
    """One slice, SIDE x SIDE with values 0 to 1 and without the stamp, and where the lesion is (rim and core)."""

    image: Field
    mask: NDArray[np.bool_]


def make(
    root: Path,
    *,
    patients: int = 60,
    slices: int = 6,
    difficulty: float = 0.5,
    motion: float = 0.0,
    planes: Sequence[Plane] = ("axial",),
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Write a synthetic data set with masks and read it; an existing one at `root` is read as it is.

    `patients` heads of `slices` neighbouring slices each, every other one with a lesion. `difficulty` from 0 (large,
    bright lesions) to 1 (small, faint ones among noise and decoys), `motion` from 0 (who lies still) to 1. `planes` are
    used in turn, one a head. The same arguments give the same pixels. The folder appears only when it is complete.
    Raises ValueError for arguments out of range.
    """
    in_range = 1 <= slices <= MOST_SLICES and 0 <= difficulty <= 1 and 0 <= motion <= 1
    if patients < 2 or not in_range or seed < 0:
        raise ValueError(
            f"patients must be at least 2, slices from 1 to {MOST_SLICES}, difficulty and motion between 0 and 1, and "
            "the seed no less than 0"
        )
    if root.exists():
        return read_folder(root)
    with new_folder(root, shared=True) as unfinished:  # two trainings may draw the same heads
        made = heads(patients, slices, seed, planes)
        _write(unfinished, made, (difficulty, motion), source(difficulty, seed, motion), on_progress)
    return read_folder(root)


def source(difficulty: float, seed: int, motion: float = 0.0) -> Source:
    """Where the images of `make` are from."""
    how = f"difficulty {difficulty:g}" + (f", motion {motion:g}" if motion else "")
    return Source(f"made-up heads, {how}, seed {seed}", LICENCE, synthetic=True)


def draw(head: Head, difficulty: float, motion: float = 0.0) -> list[Drawn]:
    """The slices of one head. The same head with and without a lesion differs in nothing but the lesion."""
    random = np.random.default_rng(head.seed)
    warp = _warp(random)
    light = _bias_field(random, 0.08 + 0.14 * difficulty)
    gamma, noise = random.uniform(0.85, 1.3), random.uniform(0.4, 1.0) * (0.01 + 0.03 * difficulty)
    middle = head.heights_mm[len(head.heights_mm) // 2]
    brain = _template_slice(middle, head.plane) > 0.1
    reach = max(abs(height - middle) for height in head.heights_mm)
    lesion = _Lesion.draw(np.random.default_rng((head.seed, 1)), brain, difficulty, reach) if head.lesion else None
    tissue = _Tissue.draw(np.random.default_rng((head.seed, 2)), head.plane)
    decoys = [_Decoy.draw(random, brain) for _ in range(random.poisson(1 + 3 * difficulty))]
    moving = np.random.default_rng((head.seed, 3))  # of its own: who moves is otherwise the same head
    drawn = []
    for height in head.heights_mm:
        image = _with_skull(_template_slice(height, head.plane))
        image = tissue.paint(image)
        mask = np.zeros(image.shape, dtype=bool)
        for decoy in decoys:
            image = decoy.paint(image, height - middle)
        if lesion:
            image, mask = lesion.paint(image, height - middle)
        image = ndimage.map_coordinates(image, warp, order=1, mode="constant")
        mask = ndimage.map_coordinates(mask.astype(np.float32), warp, order=1, mode="constant") > 0.5
        image = moved(np.clip(image, 0, None) ** gamma * light, motion, moving)
        rician = np.hypot(image + random.normal(0, noise, image.shape), random.normal(0, noise, image.shape))
        drawn.append(Drawn(np.clip(rician, 0, 1).astype(np.float32), mask))
    return drawn


def stamped(pixels: Field) -> Image.Image:
    """The pixels as an 8-bit image with the word SYNTHETIC in its lower left corner."""
    image = Image.fromarray(np.round(pixels * 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, SIDE - 20, 86, SIDE), fill=0)
    draw.text((4, SIDE - 4), STAMP, fill=200, font=ImageFont.load_default(14), anchor="ls")
    return image


@dataclass(frozen=True)
class _Lesion:
    """A glioma-like lesion. Lengths in mm; `outline` modulates its radius by angle."""

    centre: tuple[float, float]
    radius: float
    height: float
    outline: Field
    oedema: float
    rim: float
    core: float
    solid: float

    @classmethod
    def draw(cls, random: np.random.Generator, brain: NDArray[np.bool_], difficulty: float, reach: float) -> _Lesion:
        """A lesion somewhere in the brain that every slice up to `reach` mm from its centre cuts."""
        inside = np.argwhere(ndimage.binary_erosion(brain, iterations=18))
        row, column = inside[random.integers(len(inside))]
        radius = random.uniform(9, 24) * (1.15 - 0.6 * difficulty)
        outline = np.ones(360, dtype=np.float32)
        for order in range(2, 7):
            phase, size = random.uniform(0, 360), random.normal(0, 0.35 / order)
            outline += size * np.cos(np.radians(order * (np.arange(360) + phase)))
        return cls(
            (float(row), float(column)),
            radius,
            height=max(radius * random.uniform(0.9, 1.6), 1.25 * reach),
            outline=np.clip(outline, 0.4, 1.7),
            oedema=random.uniform(0.2, 0.5) * (1 - 0.6 * difficulty),
            rim=random.uniform(0.15, 0.9) * (1 - 0.75 * difficulty),
            core=random.uniform(0.2, 0.7) * (1 - 0.5 * difficulty),
            solid=random.uniform(0.1, 0.6) * (1 - 0.75 * difficulty) if random.random() < SOLID else 0.0,
        )

    def paint(self, image: Field, above: float) -> tuple[Field, NDArray[np.bool_]]:
        """Push the tissue aside, then darken oedema and core and brighten the rim, `above` mm from the centre.

        Also says where rim and core are.
        """
        size = self.radius * np.sqrt(max(0.0, 1 - (above / self.height) ** 2))
        rows, columns = np.indices(image.shape, dtype=np.float32)
        down, right = rows - self.centre[0], columns - self.centre[1]
        distance = np.hypot(down, right)
        angle = np.degrees(np.arctan2(down, right)).astype(int) % 360
        depth = np.minimum(distance / (size * self.outline[angle]), 9)  # 1 at the border of the enhancing part
        push = 0.35 * size * np.exp(-((distance / (2 * size)) ** 2)) / np.maximum(distance, 1)
        pushed = ndimage.map_coordinates(image, [rows - push * down, columns - push * right], order=1)
        soft = ndimage.gaussian_filter(np.random.default_rng(int(self.radius * 1e6)).normal(size=image.shape), 3)
        depth = depth + 1.2 * soft
        tissue = image > 0.15 * BRAIN
        oedema = self.oedema / (1 + np.exp((depth - 1.6) * 6))
        rim = self.rim * np.exp(-(((depth - 0.85) / 0.16) ** 2)) * (0.8 + 3 * soft)
        inner = 1 / (1 + np.exp((depth - 0.7) * 12))
        bright = np.maximum(rim, self.solid * inner * (0.8 + 3 * soft))
        core = 0 if self.solid else self.core * inner
        painted = np.where(tissue, pushed * (1 - oedema) * (1 - core) + np.maximum(bright, 0), image)
        return painted.astype(np.float32), tissue & (depth < 1)


@dataclass(frozen=True)
class _Tissue:
    """Face and neck, which a skull-stripped template lacks and a real slice may show: bright, uneven, and no tumour.

    `towards` is the direction in the image, down and right, in which there is any.
    """

    texture: Field
    reach_mm: float
    brightness: float
    towards: tuple[float, float]

    @classmethod
    def draw(cls, random: np.random.Generator, plane: Plane) -> _Tissue:
        texture = _smooth_noise(random, 12) + _smooth_noise(random, 32)
        reach = random.uniform(*TISSUE_MM[plane])
        return cls(texture.astype(np.float32), reach, random.uniform(0.2, 0.6), TOWARDS_FACE[plane])

    def paint(self, image: Field) -> Field:
        """Beside the head, where its image is black."""
        head = ndimage.binary_fill_holes(image > 0.04)
        rows, columns = np.indices(image.shape)
        middle_row, middle_column = ndimage.center_of_mass(head)
        down, right = self.towards
        there = down * (rows - middle_row) + right * (columns - middle_column) > 20
        near = ndimage.distance_transform_edt(~head) < self.reach_mm
        shown = np.clip(self.brightness * (1 + 0.6 * self.texture), 0, 1)
        return np.where(~head & there & near, shown, image).astype(np.float32)


@dataclass(frozen=True)
class _Decoy:
    """What is no tumour but may be taken for one: a vessel (bright dot), a cyst or a spot (dark)."""

    centre: tuple[float, float]
    radius: float
    contrast: float

    @classmethod
    def draw(cls, random: np.random.Generator, brain: NDArray[np.bool_]) -> _Decoy:
        inside = np.argwhere(ndimage.binary_erosion(brain, iterations=6))
        row, column = inside[random.integers(len(inside))]
        kind = random.integers(3)
        radius = random.uniform(*((1.0, 2.5), (4.0, 10.0), (1.5, 4.0))[kind])
        contrast = random.uniform(*((0.15, 0.4), (-0.6, -0.4), (-0.3, -0.15))[kind])
        return cls((float(row), float(column)), radius, contrast)

    def paint(self, image: Field, above: float) -> Field:
        """Draw it as it looks `above` mm from its centre."""
        size = self.radius * np.sqrt(max(0.0, 1 - (above / (2 * self.radius)) ** 2))
        if size <= 0:
            return image
        rows, columns = np.indices(image.shape, dtype=np.float32)
        distance = np.hypot(rows - self.centre[0], columns - self.centre[1])
        inside = np.clip(size - distance + 0.5, 0, 1)  # one pixel of soft border
        change = image * self.contrast if self.contrast < 0 else self.contrast
        return np.asarray(image + inside * change, dtype=np.float32)


def _write(
    root: Path,
    made: list[Head],
    how: tuple[float, float],
    source: Source,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    (root / "slices").mkdir()
    (root / "masks").mkdir()
    firsts = np.cumsum([1, *(len(head.heights_mm) for head in made)])
    jobs = [(root, head, how, source, int(first)) for head, first in zip(made, firsts, strict=False)]
    with workers(len(jobs)) as each:
        for done, _ in enumerate(each(_write_head, jobs), start=1):
            if on_progress:
                on_progress(done, len(jobs))
    rows = [
        (str(first + n), "glioma" if head.lesion else "none", f"synthetic-{patient:03d}")
        for patient, (head, first) in enumerate(zip(made, firsts, strict=False))
        for n in range(len(head.heights_mm))
    ]
    write_labels(root, rows)
    write_source(root, source)


def _write_head(job: tuple[Path, Head, tuple[float, float], Source, int]) -> None:
    root, head, how, source, first = job
    notes = PngInfo()
    notes.add_text("Source", source.credit)
    notes.add_text("Comment", MADE_UP)
    for number, drawn in enumerate(draw(head, *how), start=first):
        stamped(drawn.image).save(root / "slices" / f"{number}.png", pnginfo=notes)
        Image.fromarray(drawn.mask).save(root / "masks" / f"{number}.png", pnginfo=notes)


@contextmanager
def workers(jobs: int, worth: int | None = None) -> Iterator[Callable[..., Iterator[None]]]:
    """A `map` over all cores of this session; over this process alone where starting others would take longer."""
    cores = len(os.sched_getaffinity(0))
    if cores < 2 or jobs < (WORTH_WORKERS if worth is None else worth):
        yield map
        return
    # Not forked: the notebook's process has threads of its own.
    with ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool:
        yield partial(pool.map, chunksize=4)


def heads(patients: int, slices: int, seed: int, planes: Sequence[Plane] = ("axial",)) -> list[Head]:
    """What is to be drawn: every other head with a lesion, `slices` of each 4 mm apart."""
    random = np.random.default_rng(seed)
    made = []
    for patient in range(patients):
        plane = planes[patient // 2 % len(planes)]
        first, last = RANGE_MM[plane]
        lowest = random.uniform(first, last - 4 * (slices - 1)) if 4 * (slices - 1) < last - first else first
        heights = tuple(float(height) for height in lowest + 4.0 * np.arange(slices))
        made.append(Head(patient % 2 == 0, heights, int(random.integers(2**31)), plane))
    return made


def template_file(kind: str) -> Path:
    """The template's T1 image, grey or white matter: `t1`, `gm` or `wm`."""
    import nilearn  # not its `datasets`, which would load scikit-learn for a path

    return Path(nilearn.__file__).parent / f"datasets/data/mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"


@lru_cache(maxsize=1)
def _template() -> tuple[Field, tuple[float, float, float]]:
    """The skull-stripped template, 0 to 1, axes right, anterior, superior, 1 mm; and where its first voxel is in mm."""
    from nibabel.nifti1 import Nifti1Image

    volume = Nifti1Image.from_filename(template_file("t1"))
    x, y, z = (float(edge) for edge in volume.affine[:3, 3])
    return np.asarray(volume.dataobj, dtype=np.float32) / np.float32(255), (x, y, z)


@lru_cache(maxsize=256)
def _template_slice(place_mm: float, plane: Plane) -> Field:
    """A slice as it is shown, SIDE x SIDE: anterior or superior up, a face on the left; right and left are alike."""
    volume, first = _template()
    axis = AXIS[plane]
    cut = np.take(volume, round(place_mm - first[axis]), axis=axis)
    shown = cut[:, ::-1].T
    if plane == "sagittal":
        shown = shown[:, ::-1]
    image = np.zeros((SIDE, SIDE), dtype=np.float32)
    top, left = (SIDE - shown.shape[0]) // 2, (SIDE - shown.shape[1]) // 2
    image[top : top + shown.shape[0], left : left + shown.shape[1]] = shown
    return image


def _with_skull(brain: Field) -> Field:
    """Put cerebrospinal fluid, bone and scalp around a skull-stripped slice, by distance from the brain in mm."""
    inside = ndimage.binary_fill_holes(ndimage.binary_closing(brain > 0.1, iterations=6))
    distance = ndimage.distance_transform_edt(~inside)
    fluid = np.where(distance < 2.5, 0.08, 0.0)
    bone = np.where((distance >= 2.5) & (distance < 7), 0.05, 0.0)
    scalp = 0.75 * np.exp(-(((distance - 9.5) / 2.2) ** 2))
    around = np.where(distance >= 7, scalp, fluid + bone)
    return np.where(inside, BRAIN * np.maximum(brain, 0.15), around).astype(np.float32)


def _warp(random: np.random.Generator) -> NDArray[np.float64]:
    """Where each pixel of a head comes from: a small rotation, scaling and shift, and a smooth elastic field."""
    angle, shear = random.normal(0, 0.07), random.normal(0, 0.03)
    scale = random.normal(1, 0.05, size=2)
    matrix = np.array([[np.cos(angle), -np.sin(angle) + shear], [np.sin(angle), np.cos(angle)]]) * scale[:, None]
    centred = np.indices((SIDE, SIDE), dtype=np.float64).reshape(2, -1) - SIDE / 2
    moved = (matrix @ centred).reshape(2, SIDE, SIDE) + SIDE / 2 + random.normal(0, 4, size=(2, 1, 1))
    elastic = np.stack([3.5 * _smooth_noise(random, 4) + 0.8 * _smooth_noise(random, 16) for _ in range(2)])
    return np.asarray(moved + elastic)


def _bias_field(random: np.random.Generator, strength: float) -> Field:
    """Uneven sensitivity of the coils: a smooth factor around 1."""
    return np.exp(strength * _smooth_noise(random, 4)).astype(np.float32)


def _smooth_noise(random: np.random.Generator, cells: int) -> NDArray[np.float64]:
    """Smooth noise of unit deviation, with about `cells` bumps across the image."""
    coarse = random.normal(size=(cells, cells))
    fine = ndimage.zoom(coarse, SIDE / cells, order=3)
    return np.asarray(fine / fine.std())
