"""A made-up cohort in 3D: brains with a tumour's core and oedema in four modalities, for learning without patients.

Each brain is the ICBM 152 template (2009a, as carried by nilearn) after a random affine and a smooth elastic
deformation. Its tumour grows by the reaction-diffusion equation that is used for gliomas, faster along white matter and
never into fluid (Swanson, Alvord and Murray 2000, doi 10.1046/j.1365-2184.2000.00177.x); its core pushes tissue aside.
Grey values follow the tissues; coils light the images unevenly, and noise is Rician. Decoys, which are no tumour, are
small white-matter lesions, bright on FLAIR and T2, cysts, and vessels that take up contrast agent.

None of this shows a patient, and no figure obtained on it says anything about patients: each header says SYNTHETIC.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from brainmri.data import MADE_UP, STAMP, Source, write_source
from brainmri.segmentation3d.cases import MODALITIES, Cohort, read_cohort
from brainmri.store import new_folder
from brainmri.synthetic import LICENCE, template_file, workers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Field = NDArray[np.float32]

# Brightness on t1, t1ce, t2 and flair. White matter on T1 is 1.
WHITE, GREY, FLUID = (1.0, 1.0, 0.45, 0.55), (0.76, 0.78, 0.62, 0.72), (0.28, 0.28, 1.2, 0.18)
SWOLLEN, ENHANCING = (0.70, 0.70, 0.95, 1.15), (0.68, 1.55, 0.78, 0.95)
NECROTIC, SOLID = (0.42, 0.46, 1.15, 0.50), (0.58, 0.60, 0.98, 1.0)
LESION, VESSEL = (0.78, 0.78, 0.85, 1.12), (0.5, 1.7, 0.2, 0.3)  # decoys
NECROSIS, OEDEMA, RIM = 1, 2, 4  # labels of BraTS 2018-2021, which the files carry
GROWN_MM = 2.5  # grid on which tumours grow
REACH_MM = 60.0  # from a tumour's seed to the end of that grid
STEPS, STEP, RATE = 45, 1 / 7, 0.35  # of the growth; explicit Euler is stable below 1 / 6
LOW_MM, HIGH_MM = np.array([-80.0, -114.0, -72.0]), np.array([80.0, 82.0, 90.0])  # the field of view
WORTH_WORKERS = 12  # cases
ENHANCES = 0.75  # of the tumours have a rim that takes up contrast agent


@dataclass(frozen=True)
class Drawn:
    """One case on its grid: images (4, x, y, z) in the order of MODALITIES, labels 0, 1, 2, 4, and voxels to mm."""

    images: Field
    labels: NDArray[np.uint8]
    affine: NDArray[np.float64]


def make(
    root: Path,
    *,
    cases: int = 40,
    spacing: float = 2.5,
    difficulty: float = 0.5,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Cohort:
    """Write a cohort in the layout of BraTS and read it; an existing one at `root` is read as it is.

    `spacing` is the edge of a voxel in mm. `difficulty` goes from 0 (large tumours in even light) to 1 (small, faint
    ones among noise and decoys). The same arguments give the same voxels. The folder appears only when it is complete.
    Raises ValueError for arguments out of range.
    """
    name = f"made-up brains in 3D, difficulty {difficulty:g}, seed {seed}"
    return drawn(
        root,
        _write,
        lambda folder: write_source(folder, Source(name, LICENCE, synthetic=True)),
        cases=cases, spacing=spacing, difficulty=difficulty, seed=seed, on_progress=on_progress,
    )  # fmt: skip


def drawn(
    root: Path,
    write: Callable[[tuple[Path, int, float, float, int]], None],
    finish: Callable[[Path], None],
    *,
    cases: int,
    spacing: float,
    difficulty: float,
    seed: int,
    on_progress: Callable[[int, int], None] | None,
) -> Cohort:
    """The cohort at `root`; where there is none `write` draws each case and `finish` says what they are.

    `write` gets the folder, the case's number, spacing, difficulty and seed, in a process of its own where that is
    worth it. Raises ValueError for arguments out of range.
    """
    if cases < 1 or not 1 <= spacing <= 8 or not 0 <= difficulty <= 1:
        raise ValueError("cases must be at least 1, spacing between 1 and 8 mm, and difficulty between 0 and 1")
    if not root.exists():
        with new_folder(root, shared=True) as unfinished:  # two trainings may draw the same cases
            jobs = [(unfinished, number, spacing, difficulty, seed) for number in range(1, cases + 1)]
            with workers(len(jobs), WORTH_WORKERS) as each:
                for done, _ in enumerate(each(write, jobs), start=1):
                    if on_progress:
                        on_progress(done, len(jobs))
            finish(unfinished)
    return read_cohort(root)


def draw(number: int, *, spacing: float = 2.5, difficulty: float = 0.5, seed: int = 0) -> Drawn:
    """One case of a cohort; the same arguments give the same voxels."""
    random = np.random.default_rng((seed, number))
    grid = _Grid.of(spacing)
    places = _deformed(random, grid)
    tissue = _tissues(places)
    centre = _seed_place(random, grid, tissue)
    whole_ml, core_share = _burden(random, difficulty)
    push = (whole_ml * core_share * 3000 / (4 * np.pi)) ** (1 / 3) * random.uniform(0.2, 0.5)
    tissue = _tissues(places + _pushed(grid.places, centre, push))
    labels = _tumour(random, grid, tissue, centre, (whole_ml, core_share))
    images = _painted(random, grid, tissue, labels, difficulty)
    return Drawn(_scanned(random, images, difficulty), labels, grid.affine)


@dataclass(frozen=True)
class _Grid:
    """Where voxels are: `places` (3, x, y, z) in mm of MNI space, to the right, to the front, up."""

    places: Field
    affine: NDArray[np.float64]

    @classmethod
    def of(cls, spacing: float) -> _Grid:
        axes = [np.arange(low, high, spacing) for low, high in zip(LOW_MM, HIGH_MM, strict=True)]
        affine = np.diag([spacing, spacing, spacing, 1.0])
        affine[:3, 3] = LOW_MM
        return cls(np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32), affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        x, y, z = self.places.shape[1:]
        return x, y, z

    @property
    def spacing(self) -> float:
        return float(self.affine[0, 0])

    def voxels(self, millilitres: float) -> int:
        return max(1, round(1000 * millilitres / self.spacing**3))


@lru_cache(maxsize=1)
def _template() -> tuple[Field, NDArray[np.float64]]:
    """White matter, grey matter and the T1 image (3, x, y, z), 0 to 1, and the place of the first voxel in mm."""
    import nibabel

    volumes = [nibabel.load(template_file(kind)) for kind in ("wm", "gm", "t1")]
    values = np.stack([np.asarray(volume.dataobj, dtype=np.float32) / 255 for volume in volumes])
    return values, np.asarray(volumes[0].affine[:3, 3])


def _deformed(random: np.random.Generator, grid: _Grid) -> Field:
    """Which place of the template each voxel shows."""
    angles, scales = random.normal(0, 0.05, 3), random.normal(1.05, 0.04, 3)
    matrix = np.diag(scales)
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        one, other = (axis + 1) % 3, (axis + 2) % 3
        turn[[one, one, other, other], [one, other, one, other]] = [
            np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle),
        ]  # fmt: skip
        matrix = turn @ matrix
    moved = np.tensordot(matrix, grid.places, axes=1) + random.normal(0, 2, (3, 1, 1, 1))
    elastic = np.stack([3.5 * bumps(random, grid.shape, 5) + 1.0 * bumps(random, grid.shape, 12) for _ in range(3)])
    return np.asarray(moved + elastic, dtype=np.float32)


def _pushed(places: Field, centre: Field, push_mm: float) -> Field:
    """Tissue seen at a place comes from nearer the centre of the growth."""
    away = places - centre[:, None, None, None]
    distance = np.sqrt((away**2).sum(axis=0)) + 1e-3
    width = 4 * push_mm + 10
    return np.asarray(-push_mm * np.exp(-((distance / width) ** 2)) * np.minimum(distance / 10, 1) * away / distance)


def _tissues(places: Field) -> Field:
    """Shares of white matter, grey matter and fluid (3, x, y, z); all 0 outside the brain."""
    template, first = _template()
    voxels = places - np.asarray(first, dtype=np.float32)[:, None, None, None]
    white, grey, t1 = (ndimage.map_coordinates(one, voxels, order=1, mode="constant") for one in template)
    brain = np.clip((t1 - 0.05) / 0.1, 0, 1)
    total = np.maximum(white + grey, 1)
    fluid = np.clip(1 - (white + grey) / total, 0, 1)
    return np.stack([white / total, grey / total, fluid]) * (brain > 0.5)


def _seed_place(random: np.random.Generator, grid: _Grid, tissue: Field) -> Field:
    """Where the tumour begins: in white matter of the hemispheres, in mm."""
    x, y, z = grid.places
    inside = (tissue[0] > 0.8) & (np.abs(x) > 12) & (z > -10) & (z < 50) & (y > -80) & (y < 50)
    chosen = np.argwhere(inside)
    return np.asarray(grid.places[(slice(None), *chosen[random.integers(len(chosen))])])


def _burden(random: np.random.Generator, difficulty: float) -> tuple[float, float]:
    """Volume of the whole tumour in ml, and which share of it is core."""
    middle = np.log(110 - 70 * difficulty)
    return float(np.clip(np.exp(random.normal(middle, 0.45)), 8, 200)), random.uniform(0.2, 0.55)


def _tumour(
    random: np.random.Generator, grid: _Grid, tissue: Field, centre: Field, burden: tuple[float, float]
) -> NDArray[np.uint8]:
    """Labels of BraTS: the densest part of the growth is core, with a rim or solid, the rest is oedema."""
    density = _grown(random, grid, tissue, centre)
    labels = np.zeros(grid.shape, dtype=np.uint8)
    whole_ml, core_share = burden
    order = np.argsort(density, axis=None)[::-1]
    reached = int((density > 0).sum())
    whole, core = (min(reached, grid.voxels(volume)) for volume in (whole_ml, whole_ml * core_share))
    labels.flat[order[:whole]] = OEDEMA
    labels.flat[order[:core]] = NECROSIS
    if random.random() < ENHANCES:
        inside = labels == NECROSIS
        thickness = random.uniform(2.5, 6.0) * (1 + 0.4 * bumps(random, grid.shape, 14))
        labels[inside & (ndimage.distance_transform_edt(inside, sampling=grid.spacing) <= thickness)] = RIM
    return labels


def _grown(random: np.random.Generator, grid: _Grid, tissue: Field, centre: Field) -> Field:
    """Density of tumour cells, 0 to 1, on the case's grid."""
    side = int(2 * REACH_MM / GROWN_MM) + 1
    axes = [np.linspace(-REACH_MM, REACH_MM, side) + place for place in centre]
    box = np.stack(np.meshgrid(*axes, indexing="ij"))
    origin = grid.affine[:3, 3][:, None, None, None]
    white, grey, _ = (ndimage.map_coordinates(one, (box - origin) / grid.spacing, order=1) for one in tissue)
    speed = (white + 0.25 * grey) * np.exp(0.7 * bumps(random, white.shape, 8))
    speed = np.clip(speed, 0, 1).astype(np.float32)
    pairs = [(np.take(speed, range(side - 1), axis), np.take(speed, range(1, side), axis)) for axis in range(3)]
    between = [np.sqrt(one * next_one) for one, next_one in pairs]
    cells = np.zeros((side,) * 3, dtype=np.float32)
    middle = side // 2
    cells[middle - 1 : middle + 2, middle - 1 : middle + 2, middle - 1 : middle + 2] = 0.8
    for _ in range(STEPS):
        change = RATE * cells * (1 - cells)
        for axis, share in enumerate(between):
            flow = STEP * share * np.diff(cells, axis=axis)
            lower, upper = [slice(None)] * 3, [slice(None)] * 3
            lower[axis], upper[axis] = slice(None, -1), slice(1, None)
            change[tuple(lower)] += flow
            change[tuple(upper)] -= flow
        cells += change
    voxels = (grid.places - (centre - REACH_MM).astype(np.float32)[:, None, None, None]) / GROWN_MM
    density = ndimage.map_coordinates(cells, voxels, order=1, mode="constant")
    return np.where(tissue[:2].sum(axis=0) > 0.5, density, 0).astype(np.float32)


def _painted(
    random: np.random.Generator, grid: _Grid, tissue: Field, labels: NDArray[np.uint8], difficulty: float
) -> Field:
    """Brightness of each modality, before a scanner saw it."""
    share = tissue / np.maximum(tissue.sum(axis=0), 1e-3)
    brain = tissue.sum(axis=0) > 0.5
    varied = [np.array(look) * random.normal(1, 0.04 + 0.04 * difficulty, 4) for look in (WHITE, GREY, FLUID)]
    images = np.einsum("tm,txyz->mxyz", np.array(varied), share)
    for look, inside in _decoys(random, grid, tissue, difficulty):
        images = _mixed(images, look, inside)
    soft = 0.8 / grid.spacing  # borders as wide as 0.8 mm, and those of oedema wider
    strength = {OEDEMA: random.uniform(0.75 - 0.35 * difficulty, 1.0) * (0.6 + 0.4 * difficulty)}
    texture = 1 + 0.15 * bumps(random, grid.shape, 20)
    core = SOLID if not (labels == RIM).any() else NECROTIC
    for label, look, width in ((OEDEMA, SWOLLEN, 2.5), (NECROSIS, core, 1.0), (RIM, ENHANCING, 1.0)):
        where = ndimage.gaussian_filter((labels == label).astype(np.float32), width * soft)
        shade = np.array(look) * random.normal(1, 0.05, 4)
        images = _mixed(images, shade, np.clip(where * strength.get(label, 0.95) * texture, 0, 1))
    return np.asarray(images * brain, dtype=np.float32)


def _decoys(
    random: np.random.Generator, grid: _Grid, tissue: Field, difficulty: float
) -> list[tuple[tuple[float, ...], Field]]:
    """What may be taken for a tumour and is none: brightness, and how much of each voxel it fills."""
    counts = random.poisson([6 * difficulty + 1, 0.6 * difficulty + 0.2, 8 * difficulty + 2])
    looks, sizes = (LESION, FLUID, VESSEL), ((1.5, 5.0), (3.0, 8.0), (0.8, 1.8))
    homes = (tissue[0] > 0.7, tissue[:2].sum(axis=0) > 0.7, (tissue[2] > 0.4))
    made = []
    for look, size, home, count in zip(looks, sizes, homes, counts, strict=True):
        places = np.argwhere(home)
        filled = np.zeros(grid.shape, dtype=np.float32)
        for voxel in places[random.integers(len(places), size=count)]:
            place = grid.places[(slice(None), *voxel)][:, None, None, None]
            radius = random.uniform(*size) * random.uniform(0.7, 1.4, (3, 1, 1, 1))
            distance = np.sqrt((((grid.places - place) / radius) ** 2).sum(axis=0))
            filled = np.maximum(filled, np.clip((1 - distance) * radius.mean() / grid.spacing + 0.5, 0, 1))
        made.append((look, filled))
    return made


def _mixed(images: Field, look: tuple[float, ...] | NDArray[np.float64], share: Field) -> Field:
    return np.asarray(images * (1 - share) + np.asarray(look)[:, None, None, None] * share)


def _scanned(random: np.random.Generator, images: Field, difficulty: float) -> Field:
    """With texture, uneven light and Rician noise; outside the brain 0, as after skull stripping."""
    brain = images.max(axis=0) > 0
    scanned = []
    for image in images:
        light = np.exp((0.05 + 0.15 * difficulty) * bumps(random, image.shape, 4))
        noise = random.uniform(0.5, 1.0) * (0.01 + 0.05 * difficulty)
        real = image * light * random.uniform(0.8, 1.25) + random.normal(0, noise, image.shape)
        scanned.append(np.hypot(real, random.normal(0, noise, image.shape)) * brain)
    return np.asarray(scanned, dtype=np.float32)


def bumps(random: np.random.Generator, shape: tuple[int, ...], cells: int) -> Field:
    """Smooth noise of unit deviation, with about `cells` bumps along each axis."""
    coarse = random.normal(size=(cells,) * 3)
    fine = ndimage.zoom(coarse, [edge / cells for edge in shape], order=2)
    return np.asarray(fine / fine.std(), dtype=np.float32)


def _write(job: tuple[Path, int, float, float, int]) -> None:
    import nibabel

    root, number, spacing, difficulty, seed = job
    case = draw(number, spacing=spacing, difficulty=difficulty, seed=seed)
    name = f"{STAMP}-{number:03d}"
    folder = root / name
    folder.mkdir()
    images = np.round(case.images * 600).astype(np.int16)
    for kind, values in [*zip(MODALITIES, images, strict=True), ("seg", case.labels)]:
        volume = nibabel.Nifti1Image(values, case.affine)
        volume.header["descrip"] = MADE_UP.encode()
        nibabel.save(volume, folder / f"{name}_{kind}.nii.gz")
