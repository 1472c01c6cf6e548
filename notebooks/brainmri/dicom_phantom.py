"""The scans of a made-up patient as DICOM series, each cut as a scanner may cut it, under a made-up name.

The brain is one of `segmentation3d.cohort`, which is SYNTHETIC. Its headers say so in an attribute that stays when a
file is de-identified, so that whatever is made of these series can say it, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from brainmri import __version__
from brainmri.data import STAMP
from brainmri.segmentation3d.cases import MODALITIES
from brainmri.store import new_folder
from brainmri.volume import RAS_TO_LPS, Volume, library, on_grid_of

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from brainmri.segmentation3d.cohort import Drawn

    Matrix = NDArray[np.float64]

IDENTITY = {
    "PatientName": "Beispiel^Erika",
    "PatientID": "H-0815-4711",
    "PatientBirthDate": "19640812",
    "PatientSex": "F",
    "AccessionNumber": "A-20240102-77",
    "StudyDate": "20240102",
    "StudyTime": "101112",
    "StudyID": "77",
    "InstitutionName": "Made-up General Hospital",
    "ReferringPhysicianName": "Muster^Bob",
}
BRIGHTNESS = 600  # stored value of white matter on T1
# Axes of an image in the patient's left, back, up: along a row, down a column, and to the next slice.
AXIAL = np.column_stack([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
SAGITTAL = np.column_stack([[0, 1.0, 0], [0, 0, -1.0], [-1.0, 0, 0]])


@dataclass(frozen=True)
class Protocol:
    """How a modality is scanned. `edges` are a voxel's along rows, columns and slices, by the edge of the drawing's."""

    number: int
    description: str
    axes: Matrix
    edges: tuple[float, float, float] = (1.0, 1.0, 1.0)
    tilt: float = 0.0  # degrees about the axis from right to left


PROTOCOLS = {
    "t1": Protocol(2, "t1_sag", SAGITTAL),
    "flair": Protocol(3, "flair_tra_oblique", AXIAL, (1.0, 1.0, 1.5), tilt=8.0),
    "t2": Protocol(4, "t2_tra", AXIAL, (0.8, 0.8, 1.5)),
    "t1ce": Protocol(5, "t1_tra_contrast", AXIAL),
}
NUMBERS = {name: protocol.number for name, protocol in PROTOCOLS.items()}


def make(folder: Path, drawn: Drawn, *, seed: int = 0) -> None:
    """Write a series for each modality of a drawn case, as folder/MODALITY/NNN.dcm.

    The folder appears when it is complete. The same arguments give the same files. Needs pydicom and SimpleITK.
    """
    with new_folder(folder) as unfinished:
        for modality, values in zip(MODALITIES, drawn.images, strict=True):
            protocol = PROTOCOLS[modality]
            axes = _tilted(protocol.axes, protocol.tilt)
            scan = _scanned(Volume(values, drawn.affine), axes, np.array(protocol.edges))
            (unfinished / modality).mkdir()
            for index in range(scan.values.shape[2]):
                one = _slice(scan, index, axes, protocol, seed)
                one.save_as(unfinished / modality / f"{index + 1:03d}.dcm", enforce_file_format=True)


def _tilted(axes: Matrix, degrees: float) -> Matrix:
    angle = np.deg2rad(degrees)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    return np.asarray(turn @ axes)


def _scanned(drawn: Volume, axes: Matrix, edges: Matrix) -> Volume:
    """The same field of view around the same middle, on a grid of these axes."""
    spacing = edges * drawn.spacing
    size = np.array(drawn.values.shape) * drawn.spacing
    count = np.ceil(np.abs(axes).T @ size / spacing).astype(int)
    middle = RAS_TO_LPS @ (drawn.affine @ [*(np.array(drawn.values.shape) - 1) / 2, 1])[:3]
    affine = np.eye(4)
    affine[:3, :3] = RAS_TO_LPS @ axes * spacing
    affine[:3, 3] = RAS_TO_LPS @ (middle - axes @ (spacing * (count - 1) / 2))
    return on_grid_of(drawn, Volume(np.zeros(count, dtype=np.float32), affine))


def _slice(scan: Volume, index: int, axes: Matrix, protocol: Protocol, seed: int) -> Any:
    """One image with the attributes that an MR image has to have."""
    pydicom = library("pydicom")

    def uid(*of: object) -> str:
        return str(pydicom.uid.generate_uid(entropy_srcs=[STAMP, __version__, str(seed), *map(str, of)]))

    item = pydicom.dataset.Dataset()
    item.file_meta = pydicom.dataset.FileMetaDataset()
    item.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    item.SOPClassUID = item.file_meta.MediaStorageSOPClassUID = pydicom.uid.MRImageStorage
    item.SOPInstanceUID = item.file_meta.MediaStorageSOPInstanceUID = uid(protocol.number, index)
    item.StudyInstanceUID, item.FrameOfReferenceUID = uid("study"), uid("frame")
    item.SeriesInstanceUID, item.SeriesNumber, item.InstanceNumber = uid(protocol.number), protocol.number, index + 1
    for name, value in IDENTITY.items():
        setattr(item, name, value)
    item.Modality, item.SeriesDescription, item.BodyPartExamined = "MR", protocol.description, "BRAIN"
    item.Manufacturer, item.ManufacturerModelName = STAMP, "made by a program, shows no patient"
    item.QualityControlImage, item.BurnedInAnnotation = "YES", "NO"
    item.ImageType, item.ScanningSequence, item.SequenceVariant = ["DERIVED", "PRIMARY", "OTHER"], "RM", "NONE"
    item.ScanOptions = item.MRAcquisitionType = item.PatientPosition = None
    item.EchoTime = item.EchoTrainLength = item.RepetitionTime = None
    item.PositionReferenceIndicator = None
    x, y, z = scan.spacing
    item.PixelSpacing, item.SliceThickness, item.SpacingBetweenSlices = [_short(y), _short(x)], _short(z), _short(z)
    item.ImageOrientationPatient = [_short(value) for value in (*axes[:, 0], *axes[:, 1])]
    item.ImagePositionPatient = [_short(value) for value in RAS_TO_LPS @ (scan.affine @ [0, 0, index, 1])[:3]]
    item.Columns, item.Rows, _ = scan.values.shape
    item.SamplesPerPixel, item.PhotometricInterpretation, item.PixelRepresentation = 1, "MONOCHROME2", 0
    item.BitsAllocated, item.BitsStored, item.HighBit = 16, 16, 15
    item.PixelData = np.round(BRIGHTNESS * np.clip(scan.values[..., index].T, 0, 100)).astype("<u2").tobytes()
    return item


def _short(value: float) -> str:
    """As many digits as fit into a decimal string of 16 characters."""
    return f"{float(value) + 0.0:.9g}"
