"""Made-up abdomens in CT with liver, spleen and kidneys, for trying the networks on another region than the brain.

Organs are ellipsoids after a random shift, stretch and smooth deformation, in a body of fat and muscle with a spine, an
aorta, a stomach and loops of bowel, some of which are bright or hold air. Grey values are about those of a CT after
contrast agent, in Hounsfield units. It is laid out as a task of the Medical Segmentation Decathlon.

None of this shows a patient, and no figure obtained on it says anything about patients: each header says SYNTHETIC.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from brainmri.data import MADE_UP, STAMP, Source, write_source
from brainmri.segmentation3d.cohort import Drawn, bumps, drawn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Field = NDArray[np.float32]
    Mask = NDArray[np.bool_]

    from brainmri.segmentation3d.cases import Cohort

LOW_MM, HIGH_MM = np.array([-160.0, -112.0, -104.0]), np.array([160.0, 112.0, 104.0])  # to the right, front, up
BODY_MM, FAT_MM, MUSCLE_MM = (150.0, 102.0), 16.0, 14.0  # half axes; thickness of what lies under the skin
AIR, FAT, MUSCLE, BOWEL, FLUID, BONE = -1000.0, -100.0, 55.0, 35.0, 15.0, 350.0  # Hounsfield units
OUTSIDE = -300  # up to which nothing is patient
LICENCE = "drawn from ellipsoids alone, free of any licence"
REGIONS = ("liver", "spleen", "kidneys")
# Centre and half axes in mm, brightness in Hounsfield units; two kidneys are one region.
ORGANS = (
    ("liver", (68.0, 12.0, 42.0), (62.0, 62.0, 56.0), 105.0),
    ("spleen", (-88.0, -28.0, 50.0), (27.0, 38.0, 44.0), 120.0),
    ("kidneys", (62.0, -44.0, -36.0), (24.0, 23.0, 46.0), 165.0),
    ("kidneys", (-62.0, -44.0, -28.0), (24.0, 23.0, 46.0), 165.0),
)


def make(
    root: Path,
    *,
    cases: int = 40,
    spacing: float = 2.5,
    difficulty: float = 0.5,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Cohort:
    """Write a task as the Decathlon lays it out and read it; an existing one at `root` is read as it is.

    `spacing` is the edge of a voxel in mm. `difficulty` goes from 0 (organs that stand out, little noise) to 1. The
    same arguments give the same voxels. The folder appears only when it is complete. Raises ValueError for arguments
    out of range.
    """
    name = f"made-up abdomens, difficulty {difficulty:g}, seed {seed}"

    def finish(folder: Path) -> None:
        (folder / "dataset.json").write_text(json.dumps(described(), indent=2) + "\n", encoding="utf-8")
        write_source(folder, Source(name, LICENCE, synthetic=True))

    return drawn(
        root, _write, finish,
        cases=cases, spacing=spacing, difficulty=difficulty, seed=seed, on_progress=on_progress,
    )  # fmt: skip


def described() -> dict[str, object]:
    """What dataset.json says: the one place where it is told what is looked for in which images."""
    labels = {"0": "background", **{str(number): name for number, name in enumerate(REGIONS, start=1)}}
    return {
        "name": f"{STAMP} abdomen", "modality": {"0": "CT"}, "labels": labels, "outside": OUTSIDE, "mirror": False,
    }  # fmt: skip


def draw(number: int, *, spacing: float = 2.5, difficulty: float = 0.5, seed: int = 0) -> Drawn:
    """One case: an image (1, x, y, z) in Hounsfield units, and labels; the same arguments give the same voxels."""
    random = np.random.default_rng((seed, number, 2))
    axes = [np.arange(low, high, spacing) for low, high in zip(LOW_MM, HIGH_MM, strict=True)]
    places = np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)
    places = places * random.normal(1, 0.05, (3, 1, 1, 1)).astype(np.float32)
    moved = places + np.stack([4 * bumps(random, places.shape[1:], 5) for _ in range(3)])
    image, inside = _body(random, moved)
    labels = np.zeros(image.shape, dtype=np.uint8)
    for organ, centre, half_axes, brightness in ORGANS:
        depth = _ellipsoid(random, moved, centre, half_axes)
        there = inside & (depth < 1) & (labels == 0)
        labels[there] = 1 + REGIONS.index(organ)
        shade = brightness * (1 - 0.35 * difficulty) * random.normal(1, 0.06)
        image[there] = shade * (1 + 0.06 * bumps(random, image.shape, 12))[there]
    image = ndimage.gaussian_filter(image, 0.8 / spacing)
    image += random.normal(0, 8 + 25 * difficulty, image.shape)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = LOW_MM
    return Drawn(image[None].astype(np.float32), labels, affine)


def _body(random: np.random.Generator, places: Field) -> tuple[Field, Mask]:
    """Everything but the organs, and where there is room for them."""
    x, y, _ = places
    radius = np.sqrt((x / BODY_MM[0]) ** 2 + (y / BODY_MM[1]) ** 2)
    deep = (1 - radius) * BODY_MM[1]  # about how many mm below the skin
    fat = FAT_MM * random.uniform(0.6, 1.6)
    image = np.select([deep < 0, deep < fat, deep < fat + MUSCLE_MM], [AIR, FAT, MUSCLE], 0.6 * FAT).astype(np.float32)
    inside = deep >= fat + MUSCLE_MM
    for _ in range(28):  # loops of bowel, some with contrast agent, some with air
        centre = random.uniform((-90, -25, -100), (90, 75, 60))
        loop = _ellipsoid(random, places, tuple(centre), tuple(random.uniform(9, 20, 3))) < 1
        image[inside & loop] = random.choice([BOWEL, BOWEL, 180.0, 0.8 * AIR])
    stomach = _ellipsoid(random, places, (-48.0, 38.0, 55.0), (42.0, 28.0, 38.0)) < 1
    image[inside & stomach] = FLUID
    spine = (x / 22) ** 2 + ((y + 66) / 20) ** 2 < 1
    image[spine & (deep > 8)] = BONE
    aorta = ((x + 8) / 10) ** 2 + ((y + 36) / 10) ** 2 < 1
    image[aorta] = 190.0
    return image, inside & ~spine & ~aorta


def _ellipsoid(
    random: np.random.Generator, places: Field, centre: tuple[float, ...], half_axes: tuple[float, ...]
) -> Field:
    """Distance from its middle by that of its surface, shifted and stretched a little."""
    middle = np.array(centre) + random.normal(0, 5, 3)
    axes = np.array(half_axes) * random.normal(1, 0.09, 3)
    away = (places - middle[:, None, None, None]) / axes[:, None, None, None]
    return np.asarray(np.sqrt((away**2).sum(axis=0)), dtype=np.float32)


def _write(job: tuple[Path, int, float, float, int]) -> None:
    import nibabel

    root, number, spacing, difficulty, seed = job
    case = draw(number, spacing=spacing, difficulty=difficulty, seed=seed)
    image = np.round(case.images[0]).astype(np.int16)
    for folder, values in (("imagesTr", image), ("labelsTr", case.labels)):
        (root / folder).mkdir(exist_ok=True)
        volume = nibabel.Nifti1Image(values, case.affine)
        volume.header["descrip"] = MADE_UP.encode()
        nibabel.save(volume, root / folder / f"{STAMP}-{number:03d}.nii.gz")
