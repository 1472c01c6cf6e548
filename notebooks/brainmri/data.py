"""Reading slices from a folder, with the facts that every figure made from them has to name.

A data set is a folder with

    labels.csv      one line a slice: `slice` (file name without ending), `tumour`, and `patient` or `block`;
                    optionally `split` (train, validation or test) where the split is fixed by its authors
    slices/         the images, `N.jpg`, `N.png` or `N.tif`
    masks/          optional: where the tumour is, white on black, under the names of their slices
    mask_images/    optional: the images that the masks were drawn on, which may lie otherwise than `slices/`
    source.json     optional: name, licence, reference, and whether the data is synthetic
"""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

Part = Literal["train", "validation", "test"]
Plane = Literal["axial", "coronal", "sagittal"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
PLANES: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
STAMP = "SYNTHETIC"
MADE_UP = f"{STAMP}: made by a program, shows no patient"  # what the header of a made-up file says
SAME_IMAGE = 0.98  # correlation from which on two images are taken to be one, stored in different formats
ENDINGS = (".jpg", ".jpeg", ".png", ".tif", ".tiff")


class DataError(ValueError):
    """The data cannot be used as it is; the message names the file and says what to do."""


@dataclass(frozen=True)
class Source:
    """Where images come from. `synthetic` images must say so wherever they are shown."""

    name: str
    licence: str
    reference: str = ""
    synthetic: bool = False

    @property
    def credit(self) -> str:
        """One line for the foot of a figure."""
        line = ", ".join(part for part in (self.name, self.reference, self.licence) if part)
        return f"{STAMP} DATA: {line}" if self.synthetic else f"Data: {line}"


FIGSHARE = Source(
    name="brain tumour data set of J. Cheng (T1 with contrast)",
    licence="CC BY 4.0",
    reference="doi 10.6084/m9.figshare.1512427",
)


FIGSHARE_FOLDER = "figshare"  # a folder of this name without a source.json is taken to hold that set


@dataclass(frozen=True)
class Slice:
    """One slice: its file, what it shows, and the patient or block that must stay on one side of a split."""

    image: Path
    label: str
    group: str
    source: Source
    part: Part | None = None
    mask: Path | None = None
    drawn_on: Path | None = None  # the image that the mask was drawn on, where it is another file


@dataclass(frozen=True)
class Dataset:
    """Slices of one folder. `grouping` says what a group is: a patient, or a block of neighbouring slices."""

    root: Path
    slices: tuple[Slice, ...]
    grouping: Literal["patient", "block"]
    source: Source

    def __len__(self) -> int:
        return len(self.slices)

    def __iter__(self) -> Iterator[Slice]:
        return iter(self.slices)

    def sample(self, groups: int, seed: int = 0) -> Dataset:
        """At most so many whole groups of each label: a smaller data set for a first try."""
        random = np.random.default_rng(seed)
        kept: set[str] = set()
        for label in sorted(self.labels):
            names = sorted({item.group for item in self.slices if item.label == label})
            kept.update(random.permutation(names)[:groups])
        return replace(self, slices=tuple(item for item in self.slices if item.group in kept))

    @property
    def masked(self) -> Dataset:
        """Only the slices that have a mask. Raises DataError for none."""
        slices = tuple(item for item in self.slices if item.mask)
        if not slices:
            raise DataError(
                f"{self.root} has no mask for any of its slices. Put them into {self.root / 'masks'}, white on black, "
                "as N.png for the slice N."
            )
        return replace(self, slices=slices)

    @property
    def labels(self) -> Counter[str]:
        """How many slices carry each label."""
        return Counter(item.label for item in self.slices)

    @property
    def groups(self) -> NDArray[np.str_]:
        """Group of each slice, shape (n,)."""
        return np.array([item.group for item in self.slices])

    def shows(self, label: str) -> NDArray[np.int8]:
        """1 where a slice carries `label`, else 0; shape (n,). Raises DataError where one of the two is missing."""
        truth = np.array([item.label == label for item in self.slices], dtype=np.int8)
        if label not in self.labels:
            raise DataError(
                f"No slice of {self.root} shows {label!r}. Name one of its labels: {', '.join(sorted(self.labels))}."
            )
        if truth.all():
            raise DataError(
                f"{self.root / 'labels.csv'} has only one class for the question '{label} or not': "
                f"its labels are {', '.join(sorted(self.labels))}. Add slices of the other class."
            )
        return truth


def read_folder(root: Path, source: Source | None = None, *, allow_missing: bool = False) -> Dataset:
    """Read the records of a folder; images are opened later, by `load`.

    `source` overrides the folder's `source.json`. Raises DataError with one sentence on what to do; with
    `allow_missing`, files that are listed but absent are left for the caller to find.
    """
    if not root.is_dir():
        raise DataError(f"There is no folder {root}. Check the path.")
    table = root / "labels.csv"
    if not table.is_file():
        raise DataError(f"{root} has no labels.csv. A data set is a folder with labels.csv and a folder slices.")
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            heading = lines.readline()
            lines.seek(0)  # where a comma is for decimals, Excel writes semicolons
            reader = csv.DictReader(lines, delimiter=";" if heading.count(";") > heading.count(",") else ",")
            rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} is no table in UTF-8 ({error}). Save it again as CSV, in UTF-8.") from error
    columns = [name.strip() for name in reader.fieldnames or []]
    grouping = _grouping(table, columns)
    files = _image_files(root / "slices")
    masks, drawn_on = (_image_files(root / name) if (root / name).is_dir() else {} for name in ("masks", "mask_images"))
    source = source or stored_source(root)
    slices = tuple(
        _slice(table, number, row, grouping=grouping, files=files, source=source)
        for number, row in enumerate(rows, start=2)
    )
    slices = tuple(
        replace(item, mask=masks.get(item.image.stem), drawn_on=drawn_on.get(item.image.stem)) for item in slices
    )
    if not slices:
        raise DataError(f"{table} lists no slice. Add one line a slice below its heading.")
    if not allow_missing:
        _refuse_missing(table, slices)
    twice = [name for name, count in Counter(item.image.name for item in slices).items() if count > 1]
    if twice:
        raise DataError(f"{table} lists {', '.join(sorted(twice)[:5])} more than once. Keep one line a slice.")
    return Dataset(root, slices, grouping, source)


def find(folder: str | Path | None, *, masks: bool = False, environ: Mapping[str, str] = os.environ) -> Dataset | None:
    """The slices of a folder that is named, else of the site; None where it has none. Some need to have `masks`.

    Why those of the site are not taken is said. Raises DataError where those of a named folder cannot be.
    """
    dataset = read_folder(Path(folder).expanduser()) if folder else read_site(environ)
    try:
        _ = masks and dataset and dataset.masked
    except DataError as error:
        if folder:
            raise
        print(f"Not taken: {error}")
        return None
    return dataset


def read_site(environ: Mapping[str, str] = os.environ) -> Dataset | None:
    """What the administrator put below SCIENCEBOX_DATA: the figshare slices, else a folder `synthetic`; else None."""
    root = site_folder(environ)
    if (root / FIGSHARE_FOLDER / "labels.csv").is_file():
        return read_folder(root / FIGSHARE_FOLDER)
    if (root / FIGSHARE_FOLDER).is_dir():
        print(
            f"Not taken: {root / FIGSHARE_FOLDER} has no labels.csv, which `brainmri convert figshare` writes, with "
            "slices and masks, from what is downloaded."
        )
    return read_folder(root / "synthetic") if (root / "synthetic/labels.csv").is_file() else None


def site_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where a site keeps its data."""
    return Path(environ.get("SCIENCEBOX_DATA") or "/data")


def load(
    slices: Sequence[Slice], size: int, on_progress: Callable[[int, int], None] | None = None
) -> NDArray[np.float32]:
    """Decode slices as grey images of `size` x `size` pixels; shape (n, size, size), values 0 to 1.

    Images that are not square are padded with black, never stretched. Raises DataError for the first file that is
    no image.
    """
    pixels = np.empty((len(slices), size, size), dtype=np.float32)
    for index, item in enumerate(slices):
        pixels[index] = _square(open_image(item.image), size)
        if on_progress:
            on_progress(index + 1, len(slices))
    return pixels


def load_masks(
    slices: Sequence[Slice], size: int, on_progress: Callable[[int, int], None] | None = None
) -> NDArray[np.bool_]:
    """Where the tumour is, (n, size, size), on the pixels of `load`. Raises DataError where a mask does not fit."""
    masks = np.empty((len(slices), size, size), dtype=bool)
    for index, item in enumerate(slices):
        masks[index] = _square(open_mask(item), size) >= 0.5
        if on_progress:
            on_progress(index + 1, len(slices))
    return masks


def open_mask(item: Slice) -> Image.Image:
    """The mask of a slice, 0 and 255, lying as the slice does. Raises DataError for none, and where it does not fit.

    A mask that was drawn on another file lies as that file does, which is held against the slice to find out how.
    """
    if item.mask is None:
        raise DataError(f"{item.image} has no mask. Leave it out, or draw one.")
    mask, image = open_image(item.mask), open_image(item.image)
    if item.drawn_on and _is_transposed(open_image(item.drawn_on), image, item.drawn_on):
        mask = mask.transpose(Image.Transpose.TRANSPOSE)
    if mask.size != image.size:
        raise DataError(
            f"{item.mask} is {mask.size[0]} x {mask.size[1]} pixels, but its image {item.image.name} is "
            f"{image.size[0]} x {image.size[1]}. Export it again as the image lies, at its size."
        )
    if 0 < (brightest := np.asarray(mask).max()) <= 127:
        raise DataError(
            f"{item.mask} is not white on black: its brightest pixel is {brightest} of 255. Export it with 255 where "
            "the tumour is."
        )
    return mask.point(lambda value: 255 if value > 127 else 0)


def _is_transposed(drawn_on: Image.Image, image: Image.Image, path: Path) -> bool:
    """Whether rows and columns of one are columns and rows of the other. Raises DataError where it is another image."""
    small = (64, 64)
    shown = np.asarray(image.resize(small, Image.Resampling.BOX), dtype=np.float32)
    other = np.asarray(drawn_on.resize(small, Image.Resampling.BOX), dtype=np.float32)
    with np.errstate(invalid="ignore"):
        as_it_is, transposed = (float(np.corrcoef(shown.ravel(), way.ravel())[0, 1]) for way in (other, other.T))
    if not max(as_it_is, transposed) >= SAME_IMAGE:  # which is so, too, where one is all of one grey
        raise DataError(f"{path} is another image than the slice of the same name, so its mask cannot be used.")
    return transposed > as_it_is


def open_image(path: Path) -> Image.Image:
    """Decode one file as an 8-bit grey image. Raises DataError naming the file where that fails."""
    try:
        with Image.open(path) as image:
            return _grey(image, path)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing. Put it there, or remove its line from labels.csv.") from error
    except DataError:
        raise
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(
            f"{path} is not a readable image. Replace it with an intact copy, or remove it and its line in labels.csv."
        ) from error


def image_paths(folder: Path) -> list[Path]:
    """The images of a folder in order of their names. Raises DataError where two differ in nothing but the ending."""
    found = sorted(path for path in folder.glob("[!.]*") if path.suffix.lower() in ENDINGS)
    twice = sorted(name for name, count in Counter(path.stem for path in found).items() if count > 1)
    if twice:
        raise DataError(f"{folder} has {', '.join(twice[:5])} more than once, with other endings. Keep one of each.")
    return found


def write_source(root: Path, source: Source) -> None:
    """Store the source beside the data, so that whoever reads the folder later knows what it is."""
    (root / "source.json").write_text(json.dumps(asdict(source), indent=2) + "\n", encoding="utf-8")


def stored_source(root: Path) -> Source:
    path = root / "source.json"
    if not path.exists():
        unknown = Source(name=f"folder {root.name}", licence="licence not stated")
        return FIGSHARE if root.name == FIGSHARE_FOLDER else unknown
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Source(**values)
    except (ValueError, TypeError, OSError) as error:
        keys = ", ".join(field.name for field in fields(Source))
        raise DataError(f"{path} cannot be used ({error}). It holds one JSON object with the keys {keys}.") from error


def _grouping(table: Path, columns: list[str]) -> Literal["patient", "block"]:
    found = ", ".join(columns) or "none"
    missing = [name for name in ("slice", "tumour") if name not in columns]
    if missing:
        raise DataError(f"{table} lacks the column {' and '.join(missing)}; columns found: {found}. Add it.")
    if "patient" in columns:
        return "patient"
    if "block" in columns:
        return "block"
    raise DataError(
        f"{table} has neither a column patient nor block; columns found: {found}. "
        "Add the patient of each slice: without it, slices of one patient would lie on both sides of a split."
    )


def _refuse_missing(table: Path, slices: tuple[Slice, ...]) -> None:
    missing = [item.image.name for item in slices if not item.image.exists()]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise DataError(
            f"{table} lists slices that {table.parent / 'slices'} does not hold: {', '.join(missing[:5])}{more}. "
            "Copy the files there or remove their lines."
        )


def _image_files(folder: Path) -> dict[str, Path]:
    """Image files by name, with and without ending."""
    found = image_paths(folder)
    if not found:
        raise DataError(f"{folder} holds no image. Put its images there as N.jpg, N.png or N.tif.")
    return {key: path for path in found for key in (path.stem, path.name)}


def _slice(
    table: Path,
    number: int,
    row: dict[str, str | None],
    *,
    grouping: Literal["patient", "block"],
    files: dict[str, Path],
    source: Source,
) -> Slice:
    values = {name.strip(): (value or "").strip() for name, value in row.items() if isinstance(name, str)}
    empty = [name for name in ("slice", "tumour", grouping) if not values[name]]
    if empty:
        raise DataError(f"{table}, line {number}: {' and '.join(empty)} is empty. Fill it in or remove the line.")
    image = files.get(values["slice"], table.parent / "slices" / Path(values["slice"]).name)
    part = values.get("split") or None
    if part is not None and part not in PARTS:
        raise DataError(f"{table}, line {number}: split is {part!r}. Use {', '.join(PARTS)}, or leave it empty.")
    return Slice(image, values["tumour"], values[grouping], source, part)


def _grey(image: Image.Image, path: Path) -> Image.Image:
    """8-bit grey. Deeper images are scaled by their own maximum, since Pillow would cut them off at 255.

    Raises DataError where a pixel is no number.
    """
    if image.mode[0] not in "IF":
        return image.convert("L")
    values = np.asarray(image, dtype=np.float32)
    if not np.isfinite(values).all():
        raise DataError(f"{path} has pixels that are no finite numbers (NaN). Export it again, with 0 there.")
    values = np.clip(values, 0, None)
    return Image.fromarray(np.round(values * (255 / max(values.max(), 1e-6))).astype(np.uint8))


def _square(image: Image.Image, size: int) -> NDArray[np.float32]:
    """Padded before it is scaled, so that the way back is exact (`segment.full_resolution`)."""
    (width, height), edge = image.size, max(image.size)
    square = Image.new("L", (edge, edge))
    square.paste(image, ((edge - width) // 2, (edge - height) // 2))
    resized = square.resize((size, size), Image.Resampling.BOX if edge > size else Image.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float32) / np.float32(255)
