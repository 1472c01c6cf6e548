"""DICOM series made here become volumes that lie where their headers say, or are refused in words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pydicom
import pytest
from brainmri import cli, deidentify, dicom, volume
from brainmri.data import DataError
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHAPE = (6, 5, 4)  # columns, rows, slices
SERIES, STUDY, FRAME = generate_uid(), generate_uid(), generate_uid()
AXIAL, SAGITTAL = [1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1]


def one_slice(index: int, orientation: list[float] = AXIAL, **other: Any) -> Dataset:
    """A slice of a volume of voxels 1.5 (columns) x 2 (rows) x 3 mm whose grey values count up."""
    item = Dataset()
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item.file_meta.MediaStorageSOPClassUID = item.SOPClassUID = MRImageStorage
    item.file_meta.MediaStorageSOPInstanceUID = item.SOPInstanceUID = generate_uid()
    item.StudyInstanceUID, item.SeriesInstanceUID, item.FrameOfReferenceUID = STUDY, SERIES, FRAME
    item.PatientName, item.PatientID, item.PatientBirthDate, item.PatientSex = "Muster^Erika", "H12345", "19640812", "F"
    item.AccessionNumber, item.StudyDate, item.StudyTime = "A777", "20240102", "101112"
    item.InstitutionName, item.SeriesDescription, item.Modality, item.SeriesNumber = "St. Mary", "Brain", "MR", 3
    item.BodyPartExamined, item.ImageType = "BRAIN", ["ORIGINAL", "PRIMARY"]
    normal = np.cross(orientation[:3], orientation[3:])
    item.ImageOrientationPatient = orientation
    item.ImagePositionPatient = [float(v) for v in np.array([-10.0, -20.0, 30.0]) + 3.0 * index * normal]
    item.PixelSpacing, item.SliceThickness = [2.0, 1.5], 9.0
    item.Rows, item.Columns, item.SamplesPerPixel, item.PhotometricInterpretation = SHAPE[1], SHAPE[0], 1, "MONOCHROME2"
    item.BitsAllocated = item.BitsStored = 16
    item.HighBit, item.PixelRepresentation = 15, 0
    item.RescaleSlope, item.RescaleIntercept = 2.0, -1.0
    pixels = np.arange(SHAPE[0] * SHAPE[1], dtype=np.uint16).reshape(SHAPE[1], SHAPE[0]) + 100 * index
    item.PixelData = pixels.tobytes()
    for name, value in other.items():
        setattr(item, name, value)
    return item


def store(folder: Path, items: list[Dataset]) -> Path:
    """Under names that say nothing of their order."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, item in enumerate(items):
        item.save_as(folder / f"IM{(number * 7) % 11:02d}", enforce_file_format=True)
    return folder


def scan(**other: Any) -> list[Dataset]:
    return [one_slice(index, **other) for index in range(SHAPE[2])]


def test_a_series_is_sorted_by_place_with_spacing_and_orientation_of_its_headers(tmp_path: Path) -> None:
    (only,) = dicom.series(store(tmp_path / "in", scan()[::-1]))
    found = dicom.read(only)
    assert found.values.shape == SHAPE
    assert found.spacing == (1.5, 2.0, 3.0), "not the thickness, which is 9"
    assert (found.values[1, 0, 0], found.values[0, 1, 0], found.values[0, 0, 1]) == (1, 11, 199), "2 x stored - 1"
    assert np.allclose(found.affine @ [0, 0, 0, 1], [10, 20, 30, 1]), "DICOM counts to the left and back"
    assert np.allclose(found.affine @ [1, 1, 1, 1], [8.5, 18, 33, 1])


@pytest.mark.parametrize(("signed", "white"), [(0, 65535), (1, -1)])
def test_the_brighter_is_the_greater_where_a_file_says_that_zero_is_white(
    tmp_path: Path, signed: int, white: int
) -> None:
    inverted = {"PhotometricInterpretation": "MONOCHROME1", "PixelRepresentation": signed}
    (only,) = dicom.series(store(tmp_path / "in", scan(RescaleSlope=None, RescaleIntercept=None, **inverted)))
    found = dicom.read(only).values
    assert (found[0, 0, 0], found[1, 0, 0]) == (white, white - 1)


def test_the_same_place_is_found_whatever_the_plane(tmp_path: Path) -> None:
    (only,) = dicom.series(store(tmp_path / "in", scan(orientation=SAGITTAL)))
    found = dicom.read(only)
    assert np.allclose(found.affine[:3, 0], [0, -1.5, 0]), "columns run to the back"
    assert np.allclose(found.affine[:3, 1], [0, 0, -2.0]), "rows run down"
    turned = volume.canonical(found)
    assert turned.values.shape == (SHAPE[2], SHAPE[0], SHAPE[1])
    assert np.all(np.diag(turned.affine) > 0)


def without(items: list[Dataset], index: int, *names: str) -> list[Dataset]:
    for name in names:
        delattr(items[index], name)
    return items


def spelt(item: Dataset, name: str, value: bytes) -> Dataset:
    """With a value as a file has it, whatever it is."""
    tag = pydicom.datadict.tag_for_keyword(name)
    item[tag] = pydicom.dataelem.RawDataElement(pydicom.tag.Tag(tag), "DS", len(value), value, 0, False, True)
    return item


def test_a_header_without_values_for_rescaling_is_one_without_rescaling(tmp_path: Path) -> None:
    (only,) = dicom.series(store(tmp_path / "in", scan(RescaleSlope=None, RescaleIntercept=None, SamplesPerPixel=None)))
    with pytest.raises(DataError, match="cannot be read"):  # pixels of no known number of colours
        dicom.read(only)
    (only,) = dicom.series(store(tmp_path / "other", scan(RescaleSlope=None, RescaleIntercept=None)))
    assert dicom.read(only).values[1, 0, 0] == 1.0


@pytest.mark.parametrize(
    ("items", "words"),
    [
        (lambda: scan()[:1] + scan()[2:], "1 slice is missing"),
        (lambda: [*scan(), one_slice(2)], "lie at the same place"),
        (lambda: [*scan(), one_slice(4, ImagePositionPatient=[-10, -20, 43.0])], "the distance is uneven"),
        (lambda: [*scan(), one_slice(4, ImagePositionPatient=[-3, -20, 42.0])], "do not lie in a straight row"),
        (lambda: without(scan(), 1, "ImagePositionPatient"), "has no ImagePositionPatient: where it lies is not known"),
        (lambda: without(scan(), 2, "PixelSpacing"), "has no PixelSpacing"),
        (lambda: [*scan(), one_slice(4, ImageOrientationPatient=SAGITTAL)], "is no stack of slices"),
        (lambda: [*scan(), one_slice(4, Rows=4)], "has 6 x 4 pixels"),
        (lambda: [one_slice(0)], "is the only slice of its series"),
        (lambda: [*scan(), one_slice(4, NumberOfFrames=2)], "several frames"),
        (lambda: [*scan()[:3], one_slice(3, PixelData=b"\0\0")], "cannot be read"),
        (lambda: [*scan()[:3], one_slice(3, PixelData=None)], "cannot be read"),
        (lambda: [*scan()[:3], one_slice(3, ImagePositionPatient=None)], "has no ImagePositionPatient"),
        (lambda: [*scan()[:3], one_slice(3, ImageOrientationPatient=[1, 0, 0])], "has no ImageOrientationPatient"),
        (lambda: [*scan()[:3], one_slice(3, PixelSpacing=None)], "has no PixelSpacing"),
        (
            lambda: [*scan()[:3], spelt(one_slice(3), "PixelSpacing", b"wide\\high ")],
            "has a PixelSpacing that",
        ),
    ],
)
def test_what_is_no_whole_stack_is_refused_and_nothing_is_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], items: Callable[[], list[Dataset]], words: str
) -> None:
    store(tmp_path / "in", items())
    assert cli.main(["convert", "dicom", "--from", str(tmp_path / "in"), "--to", str(tmp_path / "out")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_converts_what_it_can_and_names_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = [spelt(item, "FlipAngle", b"steep ") for item in scan(EchoTime=["10", "80"], RepetitionTime="2000")]
    store(tmp_path / "in/a", odd)
    store(tmp_path / "in/b", scan(SeriesInstanceUID=generate_uid(), SeriesNumber=9)[:1])
    (tmp_path / "in/readme.txt").write_text("no DICOM")
    assert cli.main(["convert", "dicom", "--from", str(tmp_path / "in"), "--to", str(tmp_path / "out")]) == 1
    shown = capsys.readouterr().out
    assert "1 volume" in shown
    assert "FAULT: " in shown
    assert volume.read(tmp_path / "out/series-001.nii.gz").spacing == (1.5, 2.0, 3.0)
    told = (tmp_path / "out/series-001.json").read_text()
    about = json.loads(told)
    assert about["spacing_mm"] == [1.5, 2.0, 3.0]
    assert (about["Modality"], about["EchoTime"], about["RepetitionTime"]) == ("MR", [10, 80], 2000)
    assert "FlipAngle" not in about
    assert not any(word in told for word in ("Muster", "H12345", "2024", "Mary"))


def test_volumes_of_a_made_up_patient_say_so(tmp_path: Path) -> None:
    store(tmp_path / "in", scan(Manufacturer="SYNTHETIC"))
    dicom.convert(tmp_path / "in", tmp_path / "out")
    assert volume.read(tmp_path / "out/series-001.nii.gz").synthetic


def test_a_folder_without_dicom_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match="holds no DICOM image"):
        dicom.series(tmp_path)


def identified() -> list[Dataset]:
    """A series that says whose it is in every way that one can think of."""
    items = scan()
    for item in items:
        item.ImageComments = "for Dr. Smith"
        item.OperatorsName = "Smith^Ann"
        item.ReferringPhysicianName = "Jones^Bob"
        item.RequestAttributesSequence = [Dataset()]
        item.RequestAttributesSequence[0].RequestedProcedureID = "H12345"
        item.ReferencedImageSequence = [Dataset()]
        item.ReferencedImageSequence[0].ReferencedSOPClassUID = MRImageStorage
        item.ReferencedImageSequence[0].ReferencedSOPInstanceUID = items[0].SOPInstanceUID
        item.ReferencedImageSequence[0].PatientID = "H12345"
        item.SourceImageSequence = [Dataset()]
        item.SourceImageSequence[0].SOPClassUID = MRImageStorage
        item.SourceImageSequence[0].PatientName = "Muster^Erika"
        item.SequenceName = "t1 muster"  # not an attribute of the profile, but it repeats the name
        item.AcquisitionDateTime = "20240102101112"
        item.add_new(0x00291010, "LO", "Erika Muster")
        item.private_block(0x0043, "MAKER", create=True).add_new(1, "LO", "H12345")
        item.add_new(0x60003000, "OW", b"\0\0")
    return items


def test_nothing_says_whose_it_is_any_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    originals = identified()
    store(tmp_path / "in", originals)
    assert cli.main(["deidentify", "--from", str(tmp_path / "in"), "--to", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    written = sorted((tmp_path / "out").rglob("*.dcm"))
    assert len(written) == SHAPE[2]
    for path in written:
        raw = path.read_bytes()
        for word in (b"Muster", b"muster", b"Erika", b"H12345", b"19640812", b"20240102", b"A777", b"Smith", b"Jones"):
            assert word not in raw, word
        for uid in (SERIES, STUDY, FRAME, *(item.SOPInstanceUID for item in originals)):
            assert uid.encode() not in raw
        item = pydicom.dcmread(path)
        assert item.PatientName == item.PatientID
        assert str(item.PatientID).startswith("anonymous-")
        assert (item.PatientIdentityRemoved, item.StudyDate, item.BodyPartExamined) == ("YES", "", "BRAIN")
        assert not any(element.tag.is_private for element in item)
    for words in ("4 files", "InstitutionName", "is not stated. Look at the images", "shows a face"):
        assert words in shown
    report = json.loads((tmp_path / "out/deidentified.json").read_text())
    assert report["removed"]["SequenceName"] == 4
    assert report["private_elements_removed"] >= 12


def test_what_belonged_together_still_does_and_the_volume_is_the_same(tmp_path: Path) -> None:
    folder = store(tmp_path / "in", identified())
    deidentify.deidentify(folder, tmp_path / "out", patient="case-7")
    items = [pydicom.dcmread(path) for path in (tmp_path / "out").rglob("*.dcm")]
    assert {str(item.PatientID) for item in items} == {"case-7"}
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        assert len({item.get(name) for item in items}) == 1
    assert len({item.SOPInstanceUID for item in items}) == len(items)
    (referred,) = {item.ReferencedImageSequence[0].ReferencedSOPInstanceUID for item in items}
    assert referred in {item.SOPInstanceUID for item in items}
    assert items[0].file_meta.MediaStorageSOPInstanceUID == items[0].SOPInstanceUID
    before, after = (dicom.read(dicom.series(tmp_path / name)[0]) for name in ("in", "out"))
    assert np.array_equal(before.values, after.values)
    assert np.array_equal(before.affine, after.affine)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"BurnedInAnnotation": "YES"}, "Text may be written into the pixels"),
        ({"ImageType": ["DERIVED", "SECONDARY"]}, "Text may be written into the pixels"),
        ({"BurnedInAnnotation": "NO"}, None),
    ],
)
def test_text_in_pixels_is_warned_of(tmp_path: Path, header: dict[str, Any], words: str | None) -> None:
    report = deidentify.deidentify(store(tmp_path / "in", scan(**header)), tmp_path / "out")
    said = " ".join(report.warnings)
    assert (words in said) if words else ("pixels" not in said)


def test_one_name_for_two_patients_is_refused(tmp_path: Path) -> None:
    store(tmp_path / "in/a", scan())
    store(tmp_path / "in/b", scan(PatientID="H999", SeriesInstanceUID=generate_uid()))
    with pytest.raises(DataError, match="would mix them up"):
        deidentify.deidentify(tmp_path / "in", tmp_path / "out", patient="case-7")
    deidentify.deidentify(tmp_path / "in", tmp_path / "out")
    names = {str(pydicom.dcmread(path).PatientID) for path in (tmp_path / "out").rglob("*.dcm")}
    assert len(names) == 2


def test_patients_without_a_number_are_told_apart_by_their_names(tmp_path: Path) -> None:
    for name in ("Li^A", "Ng^B"):
        store(tmp_path / "in" / name, scan(PatientID="", PatientName=name, SeriesInstanceUID=generate_uid()))
    (tmp_path / "in/notes.txt").write_text("no image")
    report = deidentify.deidentify(tmp_path / "in", tmp_path / "out")
    assert len({str(pydicom.dcmread(path).PatientID) for path in (tmp_path / "out").rglob("*.dcm")}) == 2
    assert "1 other files are no DICOM images and were left out." in report.warnings


def test_an_object_of_no_kind_is_refused(tmp_path: Path) -> None:
    folder = store(tmp_path / "in", scan(SOPClassUID=""))
    with pytest.raises(DataError, match="does not say which kind of object it is"):
        deidentify.deidentify(folder, tmp_path / "out")


def test_a_file_in_which_something_is_left_stops_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = store(tmp_path / "in", identified())
    monkeypatch.setattr(deidentify, "_take_out", lambda *_: None)
    with pytest.raises(DataError, match="SequenceName still says whose it is"):
        deidentify.deidentify(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_attribute_of_the_profile_is_one_of_the_standard() -> None:
    from pydicom.datadict import tag_for_keyword

    assert [name for name in deidentify.EMPTY | deidentify.GONE if tag_for_keyword(name) is None] == []
