"""Cases of four modalities with their masks, as BraTS and the Medical Segmentation Decathlon lay them out.

=================  ==========================================  ===============================================
layout             files                                       labels
=================  ==========================================  ===============================================
BraTS 2018-2021    CASE/CASE_{t1,t1ce,t2,flair,seg}.nii.gz     1 necrotic, 2 oedema, 4 enhancing
BraTS 2023         CASE/CASE-{t1n,t1c,t2w,t2f,seg}.nii.gz      1 necrotic, 2 oedema, 3 enhancing
Decathlon          imagesTr/CASE.nii.gz (four volumes in one),  as dataset.json says
                   labelsTr/CASE.nii.gz, dataset.json
=================  ==========================================  ===============================================

Core is the necrotic and the enhancing part together, as in BraTS (Menze et al. 2015, doi 10.1109/TMI.2014.2377694);
with `enhancing` they are looked for one by one. The names of the files say of which year a case is, and a mask with a
label that this year does not have is refused: one year's number is another part of the tumour in another's, or none.

Any other task of the Decathlon, or a folder laid out like one, is taken as its dataset.json has it: every modality, and
a region for every label but the background. Keys that the Decathlon does not have may be added: `regions`, such as
{"liver": [1, 2]}, where labels are to be put together, others being background; `outside`, the grey value up to which
nothing is patient (such as -300 in a CT of the abdomen), for 0 is taken to be that, and in CT -900; and `mirror`, false
where right and left are not alike, so that a network must not learn from patients in a mirror.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmri.data import STAMP, DataError, Source, stored_source
from brainmri.volume import SAME_GRID_MM, apart_mm, below, open_nifti, stem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Taken = tuple["Target", dict[str, int], dict[int, int]]

MODALITIES = ("t1", "t1ce", "t2", "flair")
REGIONS = ("core", "oedema")
PARTS = ("necrosis", "oedema", "enhancing")  # of the same tumour, where the enhancing part is a region of its own
BACKGROUND, CORE, OEDEMA = 0, 1, 2  # what a voxel of a mask is, here and in the files that are written
NAMES = {
    **{"t1": "t1", "t1ce": "t1ce", "t1gd": "t1ce", "t2": "t2", "flair": "flair", "seg": "seg"},
    **{"t1n": "t1", "t1c": "t1ce", "t2w": "t2", "t2f": "flair"},
}
NAMES_OF_2023 = {"t1n", "t1c", "t2w", "t2f"}
YEARS = {  # which part a label is
    "BraTS 2018-2021": {0: "", 1: "necrosis", 2: "oedema", 4: "enhancing"},
    "BraTS 2023": {0: "", 1: "necrosis", 2: "oedema", 3: "enhancing"},
    "BraTS of the year that a mask's labels tell": {0: "", 1: "necrosis", 2: "oedema", 3: "enhancing", 4: "enhancing"},
}
OLDER, NEWER, EITHER = YEARS  # by the names of the files; the last where they are mixed, such as t1, t1c, t2 and flair
DESCRIBED = "dataset.json"
AIR = -900.0  # Hounsfield units up to which a CT shows no patient, unless it is said otherwise; 0 is water there
ENDING = re.compile(rf"^(?P<case>.+)[-_](?P<kind>{'|'.join(sorted(NAMES, key=len, reverse=True))})$", re.IGNORECASE)
PATIENT = re.compile(r"^(?P<patient>BraTS-\w+-\d+)-\d{3}$")  # BraTS 2023 numbers the scans of a patient
CHANNELS = {  # how dataset.json names modalities, in small letters and without anything but letters and digits
    **{"t1w": "t1", "t1": "t1", "t1gd": "t1ce", "t1ce": "t1ce", "t2w": "t2", "t2": "t2", "flair": "flair"},
}
LABELS = {  # how it names labels, and which part of a tumour each is
    **{"background": "", "edema": "oedema", "oedema": "oedema", "necrosis": "necrosis"},
    **dict.fromkeys(("nonenhancingtumor", "nonenhancingtumour"), "necrosis"),
    **dict.fromkeys(("enhancingtumor", "enhancingtumour"), "enhancing"),
}


class NoCaseError(DataError):
    """A folder holds no case at all, or scans of one modality: it is of other data."""


@dataclass(frozen=True)
class Target:
    """What is looked for in which images: their names in order, and the regions', which are 1, 2, ... in masks.

    `mirror` says whether what is seen in a mirror could be a patient, too; `outside` up to which grey value nothing is.
    """

    modalities: tuple[str, ...] = MODALITIES
    regions: tuple[str, ...] = REGIONS
    mirror: bool = True
    outside: float = 0.0


@dataclass(frozen=True)
class Case:
    """One scan: where each modality is (a file, and which of its volumes), its mask, and what the mask's labels mean.

    `told` is what says so: the year of BraTS by the names of the files, or dataset.json. `outside` is the grey value up
    to which nothing is patient.
    """

    name: str
    patient: str
    images: Mapping[str, tuple[Path, int | None]]
    mask: Path | None
    labels: Mapping[int, int] = field(default_factory=dict)
    outside: float = 0.0
    told: str = DESCRIBED


@dataclass(frozen=True)
class Cohort:
    """Cases of one folder. `layout` says in words how they are laid out and what their labels are taken for."""

    root: Path
    cases: tuple[Case, ...]
    layout: str
    source: Source
    target: Target = field(default_factory=Target)

    def __len__(self) -> int:
        return len(self.cases)

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    @property
    def patients(self) -> NDArray[np.str_]:
        """Patient of each case, shape (n,)."""
        return np.array([case.patient for case in self.cases])

    @property
    def masked(self) -> Cohort:
        """Only the cases with a mask. Raises DataError for none."""
        kept = tuple(case for case in self.cases if case.mask)
        if not kept:
            raise DataError(f"{self.root} has no mask (CASE_seg.nii.gz, or labelsTr) for any of its cases.")
        return replace(self, cases=kept)


@dataclass(frozen=True)
class Scan:
    """What the files of a case hold: images (4, x, y, z) in the order of MODALITIES, mask (x, y, z) of 0, CORE, OEDEMA.

    Of other targets, images are in the order of its modalities, and masks have the numbers of its regions. Images are 0
    outside of the patient. Axes and `affine`, from voxels to mm, are those of the files.
    """

    images: NDArray[np.float32]
    mask: NDArray[np.uint8] | None
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Edges of a voxel in mm."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))


def read_cohort(root: Path, *, enhancing: bool = False) -> Cohort:
    """Find the cases below a folder; their images are read later, by `read_scan`.

    With `enhancing` the regions of a brain tumour are PARTS instead of REGIONS. Raises DataError for a folder that has
    none, and for a case that lacks a modality.
    """
    if not root.is_dir():
        raise DataError(f"There is no folder {root}. Check the path.")
    target = Target(regions=PARTS) if enhancing else Target()
    if (root / DESCRIBED).is_file():
        return _decathlon(root, target)
    files: dict[tuple[Path, str], dict[str, Path]] = {}
    for path in below(root):
        match = ENDING.match(stem(path))
        if match:
            files.setdefault((path.parent, match["case"]), {})[match["kind"].lower()] = path
    found = [_case(folder, name, kinds, target) for (folder, name), kinds in files.items() if set(kinds) != {"seg"}]
    if not found:
        raise NoCaseError(
            f"{root} holds no case of four modalities. Lay them out as BraTS does, CASE/CASE_t1.nii.gz with t1ce, t2, "
            "flair and seg, or as the Medical Segmentation Decathlon does, with dataset.json."
        )
    _refuse_twice(root, found)
    years = [year for year in YEARS if any(one.told == year for one in found)]
    told = " and ".join(f"{year} (enhancing = {' or '.join(map(str, _enhancing(year)))})" for year in years)
    meant = "necrosis = 1, oedema = 2" if enhancing else "core = necrotic + enhancing, oedema = 2"
    return Cohort(root, tuple(found), f"{told}: {meant}{_whose(found)}", stored_source(root), target)


def read_scan(case: Case) -> Scan:
    """Read the files of a case. Raises DataError naming the first that cannot be used, and why."""
    volumes = []
    shape: tuple[int, ...] | None = None
    affine = np.eye(4)
    for path, number in case.images.values():
        stored = open_nifti(path)
        values = np.asarray(stored.dataobj, dtype=np.float32)
        values = _volume(values, number, path) if number is not None or values.ndim == 4 else values
        if values.ndim != 3 or not np.isfinite(values).all():
            raise DataError(f"{path} is no single volume of finite numbers. Leave {case.name} out, or repair it.")
        if shape is None:
            shape, affine = values.shape, np.asarray(stored.affine, dtype=np.float64)
        _same_grid(path, values.shape, stored.affine, shape, affine)
        if case.outside:
            values = np.maximum(values - np.float32(case.outside), 0)
        if not values.any():
            every = f"{case.outside:g} or less" if case.outside else "0"
            raise DataError(f"{path} is empty: every voxel is {every}. Leave {case.name} out, or export it again.")
        volumes.append(values)
    return Scan(np.stack(volumes), _mask(case, shape, affine), affine)


def _case(folder: Path, name: str, kinds: dict[str, Path], target: Target) -> Case:
    years = {NEWER if kind in NAMES_OF_2023 else OLDER for kind in kinds if kind != "seg"}
    year = EITHER if len(years) > 1 else years.pop()
    where = {NAMES[kind]: path for kind, path in kinds.items()}
    missing = [modality for modality in MODALITIES if modality not in where]
    if missing:
        error = NoCaseError if len(where.keys() & set(MODALITIES)) == 1 else DataError  # a scan that stands alone
        raise error(
            f"{name} in {folder} has no {' and no '.join(missing)}. All of {', '.join(MODALITIES)} are needed: add "
            "the file, or take the case out of the folder."
        )
    twice = [kind for kind in sorted(kinds) if where[NAMES[kind]] != kinds[kind]]
    if twice:
        raise DataError(f"{name} in {folder} has two files for {NAMES[twice[0]]}. Leave the one that is meant.")
    match = PATIENT.match(name)
    images = {modality: (where[modality], None) for modality in MODALITIES}
    labels = {label: _number(part, target) for label, part in YEARS[year].items()}
    return Case(name, match["patient"] if match else name, images, where.get("seg"), labels, told=year)


def _enhancing(year: str) -> list[int]:
    return [label for label, part in YEARS[year].items() if part == "enhancing"]


def _number(part: str, target: Target) -> int:
    """What a voxel of a mask is where a part of a brain tumour is: necrosis and enhancing tumour may be one region."""
    return 1 + target.regions.index(part if part in target.regions else "core") if part else BACKGROUND


def _whose(found: Sequence[Case]) -> str:
    """What a reader has to know of a split by patients, where no name says whose a case is."""
    alone = all(case.patient == case.name for case in found)
    return "; each case is taken for a patient of its own" if alone else ""


def _refuse_twice(root: Path, found: Sequence[Case]) -> None:
    names = [case.name for case in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{root} has {', '.join(twice[:5])} more than once. Keep one of each.")


def _decathlon(root: Path, wanted: Target) -> Cohort:
    path = root / DESCRIBED
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        channels = {int(number): str(name) for number, name in described["modality"].items()}
        named = {int(number): str(name) for number, name in described["labels"].items()}
        known = {CHANNELS.get(_plain(name)) for name in channels.values()}
        tumour = "regions" not in described and known >= set(MODALITIES)
        taken = _tumour(wanted, channels, named) if tumour else _other(described, channels, named)
        outside = float(described.get("outside", AIR if "CT" in channels.values() else 0))
        target, images, labels = replace(taken[0], outside=outside), *taken[1:]
    except (json.JSONDecodeError, KeyError, ValueError, AttributeError, TypeError) as error:
        raise DataError(
            f"{path} cannot be used ({error!r}). It gives modality and labels by number, as Task01_BrainTumour does."
        ) from error
    found = []
    for image in sorted((root / "imagesTr").glob("[!.]*.nii*")) + sorted((root / "imagesTs").glob("[!.]*.nii*")):
        mask = root / "labelsTr" / image.name
        where = {modality: (image, number if len(channels) > 1 else None) for modality, number in images.items()}
        found.append(Case(stem(image), stem(image), where, mask if mask.is_file() else None, labels, outside))
    if not found:
        raise DataError(f"{root} has a dataset.json, but imagesTr holds no NIfTI file. Copy the images there.")
    _refuse_twice(root, found)
    said = ", ".join(f"{number} = {target.regions[region - 1]}" for number, region in labels.items() if region)
    nothing = f"; up to {outside:g} there is no patient" if outside else ""
    layout = f"Medical Segmentation Decathlon: {said}{nothing}{_whose(found)}"
    return Cohort(root, tuple(found), layout, _source(root, described), target)


def _source(root: Path, described: dict[str, Any]) -> Source:
    """Whose data it is: as source.json says, which is ours, else as dataset.json does."""
    source, told = stored_source(root), described.get("licence", described.get("license"))
    if (root / "source.json").exists() or not told:
        return source
    name = str(described.get("name") or root.name)
    return Source(name, str(told), str(described.get("reference", "")), synthetic=STAMP in name)


def _tumour(target: Target, channels: dict[int, str], named: dict[int, str]) -> Taken:
    """The brain tumours of the Decathlon: three labels, as those of BraTS, in another order."""
    order = {CHANNELS[_plain(name)]: number for number, name in channels.items() if _plain(name) in CHANNELS}
    labels = {number: _number(LABELS[_plain(name)], target) for number, name in named.items()}
    return target, {modality: order[modality] for modality in MODALITIES}, labels


def _other(described: Any, channels: dict[int, str], named: dict[int, str]) -> Taken:
    """Any other task: all of its modalities and labels, or its labels put together as `regions` says."""
    single = {name: [number] for number, name in named.items() if _plain(name) != "background"}
    regions: dict[str, list[int]] = described.get("regions") or single
    if not all(isinstance(numbers, list) for numbers in regions.values()):
        raise ValueError("a region is a list of labels")
    labels: dict[int, int] = dict.fromkeys(named, BACKGROUND)
    for place, numbers in enumerate(regions.values(), start=1):
        labels.update(dict.fromkeys(map(int, numbers), place))
    if not regions or sum(len(numbers) for numbers in regions.values()) != sum(map(bool, labels.values())):
        raise ValueError("no region, or a label in two of them")
    if "whole" in regions:
        raise ValueError("no region can be named whole, which is what all of them are together")
    images = {name: number for number, name in sorted(channels.items())}
    mirror = described.get("mirror", True)
    if not isinstance(mirror, bool):
        raise ValueError("mirror is true or false")
    return Target(tuple(images), tuple(regions), mirror), images, labels


def _plain(name: Any) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def _volume(values: NDArray[np.float32], number: int | None, path: Path) -> NDArray[np.float32]:
    if number is None:
        return values[..., 0] if values.shape[3] == 1 else values
    if values.ndim != 4 or values.shape[3] <= number:
        raise DataError(f"{path} has the shape {values.shape}, but dataset.json names a modality {number} of it.")
    return values[..., number]


def _same_grid(path: Path, shape: Any, affine: Any, other: Any, placed: NDArray[np.float64]) -> None:
    if tuple(shape) != tuple(other) or apart_mm(affine, placed, shape) > SAME_GRID_MM:
        raise DataError(
            f"{path} lies on another grid than the case's other files: {tuple(shape)} voxels, not {tuple(other)}, or "
            "of another spacing or place. Register and resample the modalities to one grid first."
        )


def _mask(case: Case, shape: Any, affine: NDArray[np.float64]) -> NDArray[np.uint8] | None:
    if case.mask is None:
        return None
    stored = open_nifti(case.mask)
    values = np.asarray(stored.dataobj)
    values = values[..., 0] if values.ndim == 4 and values.shape[3] == 1 else values
    _same_grid(case.mask, values.shape, stored.affine, shape, affine)
    present = np.unique(values)
    if not np.isfinite(present.astype(np.float64)).all() or (present != np.round(present)).any():
        raise DataError(f"{case.mask} holds values that are no labels. Export it without interpolation.")
    unknown = [int(value) for value in present if int(value) not in case.labels]
    if unknown and case.told == DESCRIBED:
        raise DataError(f"{case.mask} has a label {unknown[0]}, which {DESCRIBED} does not name.")
    if unknown or ({3, 4} <= set(present.tolist()) and case.told == EITHER):
        listed = ", ".join(str(int(value)) for value in present)
        raise DataError(
            f"{case.mask} has labels {listed}: {OLDER} has 1, 2 and 4, {NEWER} has 1, 2 and 3, and by the names of its "
            f"files this is a case of {case.told}. Map others to these first, or name the files as the other year does."
        )
    mask = np.zeros(shape, dtype=np.uint8)
    for value in present:
        mask[values == value] = case.labels[int(value)]
    return mask
