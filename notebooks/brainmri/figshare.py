"""The brain tumour data set of J. Cheng as figshare has it: one MATLAB 7.3 file a slice, alone or in its zip archives.

Such a file is HDF5 with a group ``cjdata``: ``image`` (16 bits), ``tumorMask``, ``label`` (1 meningioma, 2 glioma,
3 pituitary) and ``PID``, the patient, as the codes of its characters. MATLAB stores columns first, so what HDF5 reads
is transposed; image and mask alike.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from brainmri.data import FIGSHARE, DataError, Dataset, read_folder, write_source
from brainmri.store import new_folder, write_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

LABELS = {1: "meningioma", 2: "glioma", 3: "pituitary"}
GROUP = "cjdata"
HIGHEST = np.iinfo(np.int16).max  # grey value
INDICES = "cvind.mat"  # the authors' folds, which the download has beside the slices


@dataclass(frozen=True)
class Record:
    """One slice as it was measured: `image` (height, width) of int16, `mask` of bool, and whose it is."""

    name: str
    image: NDArray[np.int16]
    mask: NDArray[np.bool_]
    label: str
    patient: str


@dataclass(frozen=True)
class Original:
    """A file of the download: `path` is it, or the archive that holds `member`."""

    path: Path
    member: str = ""

    @property
    def name(self) -> str:
        """Its number."""
        return (self.member or self.path.name).rsplit("/", 1)[-1].removesuffix(".mat")

    def content(self) -> bytes:
        """The file. Raises DataError for an archive that is damaged."""
        try:
            if not self.member:
                return self.path.read_bytes()
            with zipfile.ZipFile(self.path) as archive:
                return archive.read(self.member)
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError) as error:
            raise DataError(f"{self.path} cannot be read ({error}). Download it again.") from error


def originals(folder: Path) -> list[Original]:
    """The slices below a folder, in its zip archives too, in the order of their numbers. Raises DataError for none."""
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}. Check the path.")
    found = [Original(path) for path in folder.rglob("*.mat") if path.name != INDICES]
    for archive in folder.rglob("*.zip"):
        found += [Original(archive, member) for member in _members(archive)]
    if not found:
        raise DataError(
            f"{folder} has no file N.mat, nor an archive with some. Download the set from figshare "
            f"({FIGSHARE.reference}, {FIGSHARE.licence}) and give the folder of its zip files."
        )
    twice = {one.name: one for one in found}
    return sorted(twice.values(), key=lambda one: (len(one.name), one.name))


def read(original: Original) -> Record:
    """One slice, lying as a radiologist looks at it. Raises DataError naming what is wrong with the file."""
    import h5py

    where = original.member or original.path.name
    try:
        with h5py.File(io.BytesIO(original.content()), "r") as file:
            group = file[GROUP]
            image, mask = (np.asarray(group[name]).T for name in ("image", "tumorMask"))
            number = int(np.asarray(group["label"]).item())
            patient = "".join(map(chr, np.asarray(group["PID"]).astype(int).ravel()))
    except (OSError, KeyError, ValueError, TypeError, OverflowError, RuntimeError) as error:
        raise DataError(f"{where} is no slice of this set ({error}). Download it again, or leave it out.") from error
    if image.shape != mask.shape or image.ndim != 2 or not image.size:
        raise DataError(f"{where} has an image of {image.shape} and a mask of {mask.shape}. Leave it out.")
    if image.dtype.kind not in "iuf" or not (np.isfinite(image) & (abs(image.astype(float)) <= HIGHEST)).all():
        raise DataError(f"{where} has pixels that are no finite numbers (NaN), or none of 16 bits. Leave it out.")
    if number not in LABELS or not patient.strip("\0 "):
        raise DataError(f"{where} has the label {number} and the patient {patient!r}. Leave it out.")
    return Record(original.name, image.astype(np.int16), mask > 0, LABELS[number], patient.strip("\0 "))


def convert(found: Sequence[Original], folder: Path, on_progress: Callable[[int, int], None] | None = None) -> Dataset:
    """Write slices, masks and labels.csv with the patient of each slice; grey values scaled by each image's maximum.

    The folder appears when it is complete. Raises DataError for the first file that is no slice of the set.
    """
    with new_folder(folder) as unfinished:
        for name in ("slices", "masks"):
            (unfinished / name).mkdir(parents=True)
        rows = []
        for done, record in enumerate(map(read, found), start=1):
            scaled = np.clip(record.image, 0, None) * (255 / max(int(record.image.max()), 1))
            Image.fromarray(np.round(scaled).astype(np.uint8)).save(unfinished / "slices" / f"{record.name}.png")
            mask = np.where(record.mask, 255, 0).astype(np.uint8)
            Image.fromarray(mask).save(unfinished / "masks" / f"{record.name}.png")
            rows.append((record.name, record.label, record.patient))
            if on_progress:
                on_progress(done, len(found))
        write_labels(unfinished, rows)
        write_source(unfinished, FIGSHARE)
    return read_folder(folder)


def _members(archive: Path) -> Iterator[str]:
    try:
        with zipfile.ZipFile(archive) as opened:
            names = opened.namelist()
    except (zipfile.BadZipFile, OSError, NotImplementedError) as error:
        raise DataError(f"{archive} cannot be read ({error}). Download it again.") from error
    return (name for name in names if name.endswith(".mat") and not name.endswith(INDICES))
