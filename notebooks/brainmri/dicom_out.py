"""What was found in a scan as DICOM objects, for archives and viewers: a segmentation, and a report of volumes.

Both belong to the series that the mask was drawn on: same patient, study and frame of reference. The segmentation
(DICOM PS3.3, A.51) has a segment for each label. The report (a Comprehensive 3D SR after template TID 1500 of PS3.16)
says how many ml each region has, and is marked as verified by nobody. Before they appear, both are read again and held
against the mask. None of this is a medical device, and both objects say so.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_rgb

from brainmri import __version__, dicom, volume
from brainmri.data import STAMP, DataError
from brainmri.followup import WARNING
from brainmri.store import new_folder
from brainmri.view import BLUE, GREEN, GREY, ORANGE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from brainmri.dicom import Series

    Labels = NDArray[np.uint8]

SEGMENTATION, REPORT = "segmentation.dcm", "report.dcm"
MAKER, MODEL = "ScienceBox GPU", "brainmri"
AFTER = 1000  # the series of our objects are numbered so far behind that of the scan
PLACED_MM = 0.01  # how far a frame that was read again may lie from the slice that it marks
DIGITS = 1e-6  # relative: what a decimal string of DICOM may lose of a volume
NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")  # which our objects refer to


@dataclass(frozen=True)
class Meaning:
    """What a label stands for: words for people, and the concept in a terminology that DICOM uses (PS3.16).

    An organ is where it is; whatever else is marked lies in the brain, unless an organ is marked beside it.
    """

    words: str
    scheme: str
    concept: str
    colour: str
    organ: bool = False


MEANINGS = {
    "core": Meaning("tumour core", "SCT", "Neoplasm", ORANGE),
    "oedema": Meaning("peritumoural oedema", "SCT", "Edema", BLUE),
    "tumour": Meaning("whole tumour", "SCT", "Neoplasm", ORANGE),
    "enhancing": Meaning("enhancing tumour", "NCIt", "EnhancingLesion", ORANGE),
    "non-enhancing": Meaning("non-enhancing tumour", "NCIt", "NonEnhancingLesion", GREEN),
    "necrosis": Meaning("necrosis", "SCT", "Necrosis", GREY),
    "lesion": Meaning("lesion", "SCT", "Lesion", GREEN),
    "liver": Meaning("liver", "SCT", "Liver", ORANGE, organ=True),
    "spleen": Meaning("spleen", "SCT", "Spleen", BLUE, organ=True),
    "kidneys": Meaning("kidneys", "SCT", "Kidney", GREEN, organ=True),
}
PREDICTED = {1: "core", 2: "oedema"}  # labels of the masks that `brainmri predict` writes


@dataclass(frozen=True)
class Network:
    """What drew a mask, as both objects name it. `regions` are what its labels 1, 2, ... mean."""

    name: str
    version: str
    learnt_from: str
    regions: tuple[str, ...] = tuple(PREDICTED.values())

    @classmethod
    def of_run(cls, run: Path) -> Network:
        """From the card of a network that `brainmri train` stored. Raises DataError where there is none."""
        try:
            card = json.loads((run / "model.json").read_text(encoding="utf-8"))
            regions = tuple(card.get("target", {}).get("regions", PREDICTED.values()))
            name = f"{MODEL} {card['task']}, size {card['size_name']}"
            return cls(name, card["version"], card["data_name"], regions)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{run} holds no network in 3D. Give the folder that `brainmri train` wrote.") from error


@dataclass(frozen=True)
class Opened:
    """Both objects as they were read. `segments` (column, row, slice) has the number of a segment, 0 for none.

    `names` are those of the segments, `ml` their volumes as the report gives them. `apart_mm` is how far frames lie
    from the slices that they mark. `patient` and `study` are those of both objects, empty where they differ; `frame` is
    the segmentation's frame of reference.
    """

    segments: Labels
    names: Mapping[int, str]
    ml: Mapping[str, float]
    apart_mm: float
    patient: str
    study: str
    frame: str

    def agrees(self, labels: Labels, one: Series, meanings: Mapping[int, str]) -> dict[str, bool]:
        """Whether this is what was written of a mask, and about the series that it was drawn on; each by its name."""
        slices, scan = dicom.stack(one)
        ml = _millilitres(labels, meanings, scan.voxel_ml)
        return {
            "every voxel": np.array_equal(self.segments, _numbered(labels, meanings)),
            "place in mm": self.apart_mm < PLACED_MM,
            "names of the regions": list(self.names.values()) == list(ml),
            "volumes in the report": self.ml.keys() == ml.keys()
            and all(np.isclose(self.ml[name], ml[name], rtol=DIGITS) for name in ml),
            "patient": self.patient == str(slices[0].get("PatientID", "")),
            "study": self.study == str(slices[0].StudyInstanceUID),
            "frame of reference": self.frame == str(slices[0].FrameOfReferenceUID),
        }


def write(
    labels: Labels, one: Series, folder: Path, meanings: Mapping[int, str], network: Network | None = None
) -> Opened:
    """Write a mask (column, row, slice) on the grid of a series; `meanings` gives its labels names of MEANINGS.

    `network` is what drew it; without one, both objects say that it was drawn by hand. The folder appears when both
    were read again and agree with the mask; what was read is returned. Raises DataError for a mask of another grid,
    labels without a meaning, and a series that lacks slices or what has to be referred to.
    """
    slices, scan = dicom.stack(one)
    if labels.shape != scan.values.shape:
        raise DataError(
            f"The mask lies on another grid than {one}: {labels.shape} and {scan.values.shape} voxels. Resample it "
            "first, or give the series that it was drawn on."
        )
    _refuse_unknown(labels, meanings)
    _refuse_unfit(one, slices)
    with new_folder(folder) as unfinished, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The string .* person name", UserWarning)  # a pseudonym has one part
        segmentation = _segmentation(one, slices, _numbered(labels, meanings), meanings, network)
        segmentation.save_as(unfinished / SEGMENTATION)
        report = _report(one, slices, segmentation, _millilitres(labels, meanings, scan.voxel_ml), network)
        report.save_as(unfinished / REPORT)
        found = read(unfinished, one)
        wrong = [what for what, right in found.agrees(labels, one, meanings).items() if not right]
        if wrong:
            raise DataError(f"Read again, the objects about {one} are not what was written: {', '.join(wrong)}.")
    return found


def read(folder: Path, one: Series) -> Opened:
    """Open what `write` wrote about a series. Raises DataError where it is about another one, or cannot be read."""
    highdicom = volume.library("highdicom")

    segmentation, report = (dicom.opened(folder / name) for name in (SEGMENTATION, REPORT))
    slices, _ = dicom.stack(one)
    if one.uid not in {item.SeriesInstanceUID for item in segmentation.get("ReferencedSeriesSequence", ())}:
        raise DataError(f"{folder / SEGMENTATION} is about another series than {one}.")
    try:
        segmentation = highdicom.seg.Segmentation.from_dataset(segmentation, copy=False)
        frames = segmentation.get_pixels_by_source_instance(
            [str(item.SOPInstanceUID) for item in slices],
            combine_segments=True,
            dtype=np.uint8,
            ignore_spatial_locations=True,
            assert_missing_frames_are_empty=True,
        )
        apart = _apart(segmentation, slices)
        report = highdicom.sr.Comprehensive3DSR.from_dataset(report, copy=False)
        ml = _told(report)
    except (AttributeError, KeyError, ValueError) as error:
        raise DataError(f"{folder} holds nothing that can be read about {one} ({error}).") from error
    return Opened(
        segments=np.ascontiguousarray(frames.transpose(2, 1, 0)),
        names={int(item.SegmentNumber): str(item.SegmentLabel) for item in segmentation.SegmentSequence},
        ml=ml,
        apart_mm=apart,
        patient=_common(str(item.get("PatientID", "")) for item in (segmentation, report)),
        study=_common(str(item.StudyInstanceUID) for item in (segmentation, report)),
        frame=str(segmentation.FrameOfReferenceUID),
    )


def as_labels(values: NDArray[np.floating]) -> Labels:
    """What a file of a mask holds, as labels. Raises DataError for values that are none."""
    if (values != np.round(values)).any() or values.min() < 0 or values.max() > 255:
        raise DataError("The mask holds values that are no labels from 0 to 255. Export it without interpolation.")
    return values.astype(np.uint8)


def _refuse_unknown(labels: Labels, meanings: Mapping[int, str]) -> None:
    unknown = sorted({*meanings.values()} - MEANINGS.keys())
    if unknown:
        raise DataError(f"There is no region {', '.join(unknown)}; there are {', '.join(MEANINGS)}.")
    if len({*meanings.values()}) < len(meanings) or not all(0 < label < 256 for label in meanings):
        raise DataError("Labels are numbers from 1 to 255, and no two of them may have the same meaning.")
    nameless = sorted({int(label) for label in np.unique(labels)} - {0, *meanings})
    if nameless:
        listed = ", ".join(map(str, nameless))
        raise DataError(
            f"What label {listed} of the mask means is not known. Give it a meaning, such as {nameless[0]}=core; there "
            f"are {', '.join(MEANINGS)}."
        )
    if not meanings:
        raise DataError("The mask is empty, and what was looked for is not said: name its labels, such as 1=core.")


def _refuse_unfit(one: Series, slices: Sequence[Any]) -> None:
    """A series that our objects could not refer to."""
    for item in slices:
        missing = [name for name in NEEDED if not item.get(name)]
        if missing:
            raise DataError(f"{item.filename} has no {' and no '.join(missing)}, which a segmentation refers to.")
    for name in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        if len({str(item.get(name, "")) for item in slices}) > 1:
            raise DataError(f"The files of {one} differ in their {name}: whose they are is not known.")


def _numbered(labels: Labels, meanings: Mapping[int, str]) -> Labels:
    """The number of the segment instead of the label: DICOM counts segments from 1 without a gap."""
    segments = np.zeros(labels.shape, dtype=np.uint8)
    for number, label in enumerate(meanings, start=1):
        segments[labels == label] = number
    return segments


def _millilitres(labels: Labels, meanings: Mapping[int, str], voxel_ml: float) -> dict[str, float]:
    """Volume of each region by its words."""
    return {MEANINGS[name].words: float((labels == label).sum()) * voxel_ml for label, name in meanings.items()}


def _segmentation(
    one: Series, slices: Sequence[Any], segments: Labels, meanings: Mapping[int, str], network: Network | None
) -> Any:
    highdicom, codes = volume.library("highdicom"), _codes()

    by = None if network is None else highdicom.AlgorithmIdentificationSequence(
        network.name, codes.DCM.ArtificialIntelligence, network.version, parameters={"use": WARNING}
    )  # fmt: skip
    brain = not any(MEANINGS[name].organ for name in meanings.values())
    described = [
        highdicom.seg.SegmentDescription(
            number,
            MEANINGS[name].words,
            codes.SCT.AnatomicalStructure if MEANINGS[name].organ else codes.SCT.MorphologicallyAbnormalStructure,
            _code(name),
            "MANUAL" if network is None else "AUTOMATIC",
            by,
            tracking_uid=highdicom.UID(),
            tracking_id=MEANINGS[name].words,
            anatomic_regions=[codes.SCT.Brain] if brain else None,
            display_color=highdicom.color.CIELabColor.from_rgb(*(255 * part for part in to_rgb(MEANINGS[name].colour))),
        )
        for number, name in enumerate(meanings.values(), start=1)
    ]
    return highdicom.seg.Segmentation(
        slices,
        segments.transpose(2, 1, 0),
        "BINARY",
        described,
        content_description="For research and learning, no medical device",
        content_label="TUMOUR" if brain else "ORGANS",
        omit_empty_frames=bool(segments.any()),  # an object of no frame at all is none
        **_ours(one, slices, "mask of a tumour" if brain else "mask of organs", 1),
    )


def _report(
    one: Series, slices: Sequence[Any], segmentation: Any, ml: Mapping[str, float], network: Network | None
) -> Any:
    highdicom, codes = volume.library("highdicom"), _codes()
    sr = highdicom.sr

    device = sr.DeviceObserverIdentifyingAttributes(highdicom.UID(), MODEL, MAKER, MODEL)
    content = sr.MeasurementReport(
        sr.ObservationContext(observer_device_context=sr.ObserverContext(codes.DCM.Device, device)),
        codes.LN.CTUnspecifiedBodyRegion if slices[0].Modality == "CT" else codes.LN.MRIUnspecifiedBodyRegion,
        [_measured(segmentation, item, ml[item.SegmentLabel], network) for item in segmentation.SegmentSequence],
        title=codes.DCM.ImagingMeasurementReport,
    )
    said = f"{WARNING} Volumes are those of the voxels, counted. Nobody has verified them."
    said += f" Drawn by {network.name}, which learnt from: {network.learnt_from}." if network else " Drawn by hand."
    said = f"{STAMP}: no scanner made these images. {said}" if dicom.synthetic(slices[0]) else said
    content[0].ContentSequence.append(sr.TextContentItem(codes.DCM.Comment, said, sr.RelationshipTypeValues.CONTAINS))
    return sr.Comprehensive3DSR(
        [*slices, segmentation], content[0], is_complete=True, **_ours(one, slices, "volumes of regions", 2)
    )


def _measured(segmentation: Any, item: Any, ml: float, network: Network | None) -> Any:
    """One region in the report. What is nowhere has a volume of 0 and no place to point at."""
    highdicom, codes = volume.library("highdicom"), _codes()
    sr = highdicom.sr

    group = {
        "tracking_identifier": sr.TrackingIdentifier(item.TrackingUID, item.TrackingID),
        "finding_type": item.SegmentedPropertyTypeCodeSequence[0],
        "finding_category": item.SegmentedPropertyCategoryCodeSequence[0],
        "finding_sites": [sr.FindingSite(codes.SCT.Brain)] if "AnatomicRegionSequence" in item else None,
        "algorithm_id": network and sr.AlgorithmIdentification(network.name, network.version, [WARNING]),
        "measurements": [sr.Measurement(codes.SCT.Volume, ml, sr.CodedConcept("mL", "UCUM", "mL"))],
    }
    if not ml:
        return sr.MeasurementsAndQualitativeEvaluations(**group)
    where = sr.ReferencedSegment.from_segmentation(segmentation, item.SegmentNumber)
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=where, **group)


def _ours(one: Series, slices: Sequence[Any], what: str, place: int) -> dict[str, Any]:
    """What our objects say of themselves."""
    highdicom = volume.library("highdicom")

    stamp = f"{STAMP}: " if dicom.synthetic(slices[0]) else ""
    return {
        "series_instance_uid": highdicom.UID(),
        "series_number": AFTER * place + one.number,
        "sop_instance_uid": highdicom.UID(),
        "instance_number": 1,
        "manufacturer": MAKER,
        "manufacturer_model_name": MODEL,
        "software_versions": __version__,
        "device_serial_number": "none",
        "series_description": f"{stamp}{what}, for research, no medical device",
    }


def _told(report: Any) -> dict[str, float]:
    """The volumes that a report gives, in its order, with and without a place."""
    codes = _codes()
    content = report.content
    groups = [*content.get_volumetric_roi_measurement_groups(), *content.get_image_measurement_groups()]
    return {
        str(group.tracking_identifier): float(one.value)
        for group in groups
        for one in group.get_measurements(codes.SCT.Volume)
    }


def _apart(segmentation: Any, slices: Sequence[Any]) -> float:
    """How far, in mm, the corners of a frame are at most from those of the slice that it says it marks."""
    known = {str(item.SOPInstanceUID): item for item in slices}
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    direction = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    spacing = shared.PixelMeasuresSequence[0].PixelSpacing
    worst = 0.0
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        marked = known[frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        size = (int(marked.Columns) - 1, int(marked.Rows) - 1)
        frame_corners = _corners(frame.PlanePositionSequence[0].ImagePositionPatient, direction, spacing, size)
        slice_corners = _corners(marked.ImagePositionPatient, marked.ImageOrientationPatient, marked.PixelSpacing, size)
        worst = max(worst, float(np.linalg.norm(frame_corners - slice_corners, axis=1).max()))
    return worst


def _corners(position: Any, direction: Any, spacing: Any, size: tuple[int, int]) -> Any:
    """The middles of the four voxels in the corners of an image, in mm."""
    first, axes = (np.array([float(value) for value in values]) for values in (position, direction))
    along, down = axes[:3] * float(spacing[1]), axes[3:] * float(spacing[0])
    return np.array([first + column * along + row * down for column in (0, size[0]) for row in (0, size[1])])


def _common(values: Iterable[str]) -> str:
    """What all of them are; empty where they differ."""
    found = set(values)
    return found.pop() if len(found) == 1 else ""


def _code(name: str) -> Any:
    meaning = MEANINGS[name]
    return getattr(getattr(_codes(), meaning.scheme), meaning.concept)


def _codes() -> Any:
    return volume.library("pydicom.sr.codedict").codes
