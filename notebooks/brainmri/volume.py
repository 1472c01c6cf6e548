"""A volume with its place in space, as NIfTI files and SimpleITK have it."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmri.data import MADE_UP, STAMP, DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from brainmri.data import Plane

    Array = NDArray[np.float32]
    Mask = NDArray[np.bool_]
    Spacing = tuple[float, float, float]

ENDING = re.compile(r"\.nii(\.gz)?$", re.IGNORECASE)
NEEDS = {  # what for, of the libraries that not every environment of a release has
    "SimpleITK": "work on volumes (resampling, registration, bias fields)",
    "dipy": "the removal of noise",
    "skimage": "contrast and thresholds",
    "pydicom": "reading DICOM",
    "highdicom": "writing DICOM objects",
    "brainextractor": "the Brain Extraction Tool",
    "onnx": "writing a network for other programs",
    "onnxruntime": "asking a network that was written for other programs",
    "keras": "reading a network that was trained in Keras",
    "anywidget": "drawing a mask in a notebook",
}
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])  # NIfTI counts to the right and front, ITK and DICOM to the left and back
SAME_GRID_MM = 1e-2  # how far the corners of two volumes may be apart to be one grid
HEAD_MM = 100  # no head is smaller than this in any direction
SHEAR = 1e-3  # how far axes may be from right angles, as a cosine


@dataclass(frozen=True)
class Volume:
    """Grey values (x, y, z) and the matrix (4, 4) from voxels to mm, to the right, to the front and up.

    What is `synthetic` says so in every file that is made of it.
    """

    values: Array
    affine: NDArray[np.float64]
    synthetic: bool = False

    @classmethod
    def of(cls, values: ArrayLike, spacing: Sequence[float] = (1.0, 1.0, 1.0)) -> Volume:
        """An array whose axes are right, front, up, with voxels of `spacing` mm."""
        return cls(np.asarray(values, dtype=np.float32), np.diag([*map(float, spacing), 1.0]))

    @property
    def spacing(self) -> Spacing:
        """Edges of a voxel in mm."""
        x, y, z = (float(length) for length in np.linalg.norm(self.affine[:3, :3], axis=0))
        return x, y, z

    @property
    def voxel_ml(self) -> float:
        """What a voxel holds."""
        return float(np.prod(self.spacing)) / 1000

    @property
    def spacing_lost(self) -> bool:
        """Whether the edges of a voxel are all 1 mm in a head that would then be smaller than any."""
        return bool(np.allclose(self.spacing, 1)) and min(self.values.shape) < HEAD_MM

    def holding(self, values: ArrayLike) -> Volume:
        """Other values on the same grid. Raises ValueError for another shape."""
        new = np.asarray(values, dtype=np.float32)
        if new.shape != self.values.shape:
            raise ValueError(f"{new.shape} voxels do not fit a grid of {self.values.shape}")
        return replace(self, values=new)

    def spaced(self, spacing: Sequence[float]) -> Volume:
        """The same voxels with edges of `spacing` mm, where those of the header are known to be wrong.

        Raises DataError for what is no three lengths.
        """
        if len(spacing) != 3 or not all(np.isfinite(edge) and edge > 0 for edge in spacing):
            raise DataError(f"{tuple(spacing)} is no spacing: give three lengths in mm, such as 0.9 0.9 5.")
        scale = np.diag([*(new / old for new, old in zip(spacing, self.spacing, strict=True)), 1.0])
        return replace(self, affine=self.affine @ scale)


def paths(folder: Path) -> list[Path]:
    """The NIfTI files below a folder in order of their names. Raises DataError for none."""
    if not folder.is_dir():
        raise DataError(f"There is no folder {folder}. Check the path.")
    found = below(folder)
    if not found:
        raise DataError(f"{folder} holds no NIfTI file (.nii or .nii.gz). `brainmri convert dicom` makes one of DICOM.")
    return found


def below(folder: Path) -> list[Path]:
    """The NIfTI files below a folder in order of their names.

    None that is hidden: archives of a Mac bring such along, and what was interrupted leaves them.
    """
    found = (path for path in folder.rglob("*") if ENDING.search(path.name))
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def stem(path: Path) -> str:
    """A file's name without .nii.gz or .nii."""
    return ENDING.sub("", path.name)


def read(path: Path) -> Volume:
    """One volume, on the grid of its file. Raises DataError where there is none of finite numbers."""
    stored = open_nifti(path)
    values = np.squeeze(np.asarray(stored.dataobj, dtype=np.float32))
    if values.ndim != 3 or not np.isfinite(values).all():
        raise DataError(f"{path} is no single volume of finite numbers. Leave it out.")
    return Volume(values, np.asarray(stored.affine, dtype=np.float64), says_synthetic(stored))


def write(volume: Volume, path: Path, *, mask: bool = False) -> None:
    """Store it whole: beside the file first, then moved over it. Names end in .nii or .nii.gz; masks are integers."""
    import nibabel

    unfinished = path.with_name(f".new-{path.name}")
    small = np.uint8 if volume.values.max(initial=0) < 256 else np.int16
    values = np.round(volume.values).astype(small) if mask else volume.values
    stored = nibabel.Nifti1Image(values, volume.affine)
    if volume.synthetic:
        stored.header["descrip"] = MADE_UP.encode()
    nibabel.save(stored, unfinished)
    unfinished.replace(path)


def read_mask(path: Path, image: Volume) -> Mask:
    """A mask that was drawn on an image. Raises DataError where it lies on another grid, by half a voxel or more."""
    mask = read(path)
    shape = image.values.shape
    if mask.values.shape != shape or apart_mm(mask.affine, image.affine, shape) > min(image.spacing) / 2:
        raise DataError(
            f"{path} lies on another grid than its image: {mask.values.shape} and {shape} voxels, or elsewhere in "
            "space. Resample it first."
        )
    return np.asarray(mask.values > 0.5)


def apart_mm(one: ArrayLike, other: ArrayLike, shape: Sequence[int]) -> float:
    """How far in mm two affines place the corners of a grid (x, y, z) apart, at most."""
    corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)]) * [*shape[:3], 1]
    return float(np.linalg.norm((corners @ np.subtract(one, other).T)[:, :3], axis=1).max())


def open_nifti(path: Path) -> Any:
    """nibabel's image, read to its end. Raises DataError for what is no intact NIfTI file."""
    import nibabel

    try:
        image = nibabel.load(path)
        image.get_fdata(dtype=np.float32)  # a file that was cut short is found here
    except (
        nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError, OSError, EOFError, TypeError,
        ValueError, zlib.error,
    ) as error:  # fmt: skip
        raise DataError(f"{path} is no readable NIfTI file ({error}). Copy it again, or leave it out.") from error
    if not np.isfinite(image.affine).all() or np.linalg.det(image.affine) == 0:
        raise DataError(f"{path} does not say where its voxels lie: its affine cannot be inverted. Export it again.")
    return image


def says_synthetic(stored: Any) -> bool:
    """Whether the header of one of nibabel's images says that a program made it."""
    return bytes(stored.header["descrip"]).startswith(STAMP.encode())


def canonical(volume: Volume) -> Volume:
    """The same voxels with axes that run right, front, up as nearly as they can."""
    import nibabel

    turned = nibabel.as_closest_canonical(nibabel.Nifti1Image(volume.values, volume.affine))
    values, affine = np.asarray(turned.dataobj, dtype=np.float32), np.asarray(turned.affine, dtype=np.float64)
    return replace(volume, values=values, affine=affine)


def cut(values: NDArray[Any], plane: Plane, index: int) -> NDArray[Any]:
    """A slice of a canonical volume as a radiologist looks at it: the patient's right (or face) on the left."""
    if plane == "axial":
        return values[::-1, ::-1, index].T
    return values[::-1, index, ::-1].T if plane == "coronal" else values[index, ::-1, ::-1].T


def library(module: str) -> Any:
    """A library that not every environment of a release has. Raises DataError that says where it is."""
    try:
        return import_module(module)
    except ImportError as error:
        top = module.split(".", maxsplit=1)[0]
        raise DataError(
            f"{top} is not in this environment: {NEEDS[top]} needs it. Use the kernel PyTorch, which has it."
        ) from error


def to_itk(volume: Volume) -> Any:
    """The volume as SimpleITK has it. Raises DataError where its axes are not at right angles."""
    itk = library("SimpleITK")

    spacing = np.array(volume.spacing)
    direction = RAS_TO_LPS @ volume.affine[:3, :3] / spacing
    if np.abs(direction.T @ direction - np.eye(3)).max() > SHEAR:
        raise DataError("The axes of this volume are not at right angles. Resample it to a straight grid first.")
    image = itk.GetImageFromArray(np.ascontiguousarray(volume.values.transpose(2, 1, 0)))
    image.SetSpacing(spacing.tolist())
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin((RAS_TO_LPS @ volume.affine[:3, 3]).tolist())
    return image


def from_itk(image: Any) -> Volume:
    """A volume of SimpleITK's."""
    itk = library("SimpleITK")

    affine = np.eye(4)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    affine[:3, :3] = RAS_TO_LPS @ direction * np.array(image.GetSpacing())
    affine[:3, 3] = RAS_TO_LPS @ np.array(image.GetOrigin())
    return Volume(itk.GetArrayFromImage(image).transpose(2, 1, 0).astype(np.float32), affine)


def on_grid_of(moving: Volume, fixed: Volume, transform: Any = None, *, mask: bool = False) -> Volume:
    """A volume resampled to another's grid, after SimpleITK's `transform` from places there to places here."""
    itk = library("SimpleITK")

    how = itk.sitkNearestNeighbor if mask else itk.sitkLinear
    filled = itk.Resample(to_itk(moving), to_itk(fixed), transform or itk.Transform(), how, 0.0)
    return replace(from_itk(filled), synthetic=moving.synthetic)
