"""A made-up patient's series become a case; a mask becomes DICOM objects about the series that it was drawn on."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pydicom
import pytest
from brainmri import cli, deidentify, dicom, dicom_case, dicom_out, dicom_phantom, preprocess, volume
from brainmri.data import DataError
from brainmri.segmentation3d import cohort
from brainmri.segmentation3d.cases import read_cohort, read_scan
from brainmri.volume import Volume, on_grid_of
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytest.importorskip("highdicom")

CASE = [f"{name}={number}" for name, number in dicom_phantom.NUMBERS.items()]
DRAWN = ["--label", "1=core", "2=oedema"]


@pytest.fixture(scope="module")
def drawn() -> cohort.Drawn:
    """Four unlike images of an egg with a lump in it: quicker than a brain of `cohort.draw`."""
    places = np.stack(np.meshgrid(*[np.arange(low, -low, 8.0) for low in (-80, -96, -72)], indexing="ij"))
    egg = ((places / np.array([70.0, 88.0, 64.0])[:, None, None, None]) ** 2).sum(axis=0) < 1
    noise = np.random.default_rng(0).normal(size=(4, *egg.shape))
    smooth = ndimage.gaussian_filter(noise, (0, 2, 2, 2))
    away = np.sqrt(((places - np.array([24.0, -16.0, 16.0])[:, None, None, None]) ** 2).sum(axis=0))
    tumour = np.select([away < 14, away < 20, away < 30], [cohort.NECROSIS, cohort.RIM, cohort.OEDEMA], 0)
    affine = np.diag([8.0, 8.0, 8.0, 1.0])
    affine[:3, 3] = places[:, 0, 0, 0]
    return cohort.Drawn(((1 + smooth / smooth.std() / 5) * egg).astype(np.float32), tumour.astype(np.uint8), affine)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory, drawn: cohort.Drawn) -> Path:
    folder = tmp_path_factory.mktemp("hospital") / "in"
    dicom_phantom.make(folder, drawn)
    return folder


@pytest.fixture(scope="module")
def clean(hospital: Path) -> Path:
    folder = hospital.parent / "clean"
    deidentify.deidentify(hospital, folder, patient="SYNTHETIC-1")
    return folder


@pytest.fixture(scope="module")
def one(clean: Path) -> dicom.Series:
    return dicom_case.numbered(dicom.series(clean), dicom_phantom.NUMBERS["flair"])  # which lies obliquely


@pytest.fixture(scope="module")
def labels(one: dicom.Series, drawn: cohort.Drawn) -> np.ndarray:
    """The tumour as it was drawn, on the grid of the series."""
    tumour = np.select([drawn.labels == cohort.OEDEMA, drawn.labels > 0], [2, 1], 0)
    found = on_grid_of(Volume(tumour.astype(np.float32), drawn.affine), dicom.read(one), mask=True)
    return found.values.astype(np.uint8)


@pytest.fixture
def mask(tmp_path: Path, one: dicom.Series, labels: np.ndarray) -> Path:
    volume.write(dicom.read(one).holding(labels), tmp_path / "mask.nii.gz", mask=True)
    return tmp_path / "mask.nii.gz"


def test_four_series_become_a_case_on_one_grid_in_which_the_tumour_is_where_it_was_drawn(
    clean: Path, tmp_path: Path, drawn: cohort.Drawn, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "anna"
    assert cli.main(["convert", "dicom", "--from", str(clean), "--to", str(target), "--case", *CASE]) == 0
    assert "SYNTHETIC DATA" in capsys.readouterr().out
    (case,) = read_cohort(target)
    assert (case.name, case.mask) == ("anna", None)
    scan = read_scan(case)
    grid = dicom.read(dicom_case.numbered(dicom.series(clean), dicom_phantom.NUMBERS["t1ce"]))
    assert scan.images.shape == (4, *grid.values.shape)
    assert np.allclose(scan.affine, grid.affine)
    there = [on_grid_of(Volume(truth, drawn.affine), grid).values.ravel() for truth in drawn.images]
    alike = np.corrcoef(scan.images.reshape(4, -1), there)[:4, 4:]
    assert list(alike.argmax(axis=1)) == [0, 1, 2, 3], "another modality"
    assert alike.diagonal().min() > 0.9, "another place"


def test_what_is_outside_of_the_brain_becomes_black_in_all_of_them(
    clean: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def left(t1: Volume) -> np.ndarray:
        return np.broadcast_to(np.arange(t1.values.shape[0])[:, None, None] < 10, t1.values.shape)

    monkeypatch.setattr(preprocess, "brain_mask", left)
    (case,) = dicom_case.write(clean, tmp_path / "case", dicom_phantom.NUMBERS, strip=True)
    images = read_scan(case).images
    assert all(image[:10].any() and not image[10:].any() for image in images)


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        (["t1=2", "t2=4", "flair=3"], "One series for each of t1, t1ce, t2, flair is needed: t1ce not given."),
        (["t1=2", "t1ce=5", "t2=4", "flair=3", "dwi=6"], "flair is needed: dwi not known."),
        (["t1=2", "t2=4", "flair=3", "t1ce=9"], "There is no series 9, but series 2"),
        (["t1=2", "t2=4", "flair=3", "t1ce=3"], "Two modalities have the same series"),
        (["t1=2", "t2=4", "flair=3", "t1ce"], "give pairs such as t1=2"),
        (["t1=2", "t2=4", "flair=3", "t1ce=five"], "is no number of t1ce"),
    ],
)
def test_series_that_make_no_case_are_refused(
    clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], numbers: list[str], words: str
) -> None:
    target = tmp_path / "case"
    assert cli.main(["convert", "dicom", "--from", str(clean), "--to", str(target), "--case", *numbers]) == 2
    assert words in capsys.readouterr().err
    assert not target.exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [({"PatientID": "H2"}, "not all of one patient"), ({"FrameOfReferenceUID": "1.2.3"}, "not placed in one space")],
)
def test_series_that_do_not_belong_together_are_refused(
    clean: Path, tmp_path: Path, change: dict[str, str], words: str
) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(clean, folder)
    for path in (folder / "series-001").glob("*.dcm"):
        item = pydicom.dcmread(path)
        item.update(change)
        item.save_as(path)
    with pytest.raises(DataError, match=words):
        dicom_case.write(folder, tmp_path / "case", dicom_phantom.NUMBERS)


def test_the_objects_say_what_was_drawn_about_whom_and_where_and_nothing_of_the_identity(
    clean: Path, hospital: Path, one: dicom.Series, labels: np.ndarray, mask: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "out"
    command = ["dicom-seg", str(mask), "--series", str(clean), "--number", str(one.number), "--out", str(out)]
    assert cli.main([*command, *DRAWN]) == 0
    assert "not a medical device" in capsys.readouterr().out
    # By pydicom alone: frames, where they lie, and what they are.
    segmentation, report = (pydicom.dcmread(out / name) for name in (dicom_out.SEGMENTATION, dicom_out.REPORT))
    scan, seen = dicom.read(one), np.zeros(labels.shape, dtype=np.uint8)
    for frame, item in zip(segmentation.pixel_array, segmentation.PerFrameFunctionalGroupsSequence, strict=True):
        place = np.array([*item.PlanePositionSequence[0].ImagePositionPatient], dtype=float) * (-1, -1, 1)
        column, row, index = np.linalg.solve(scan.affine, [*place, 1])[:3]
        assert np.allclose((column, row, index - round(index)), 0, atol=1e-3)
        number = item.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        seen[:, :, round(index)][frame.T > 0] = number
    assert labels.any()
    assert np.array_equal(seen, labels)
    assert [item.SegmentLabel for item in segmentation.SegmentSequence] == ["tumour core", "peritumoural oedema"]
    assert {item.SegmentAlgorithmType for item in segmentation.SegmentSequence} == {"MANUAL"}
    header = dicom.opened(one.files[0])
    for item in (segmentation, report):
        assert (item.PatientID, item.StudyInstanceUID) == ("SYNTHETIC-1", header.StudyInstanceUID)
        assert item.SeriesDescription.startswith("SYNTHETIC: ")
        assert item.SeriesDescription.endswith("no medical device")
    assert segmentation.FrameOfReferenceUID == header.FrameOfReferenceUID
    assert report.VerificationFlag == "UNVERIFIED"
    told = [float(each.value) for each in report.iterall() if each.keyword == "NumericValue"]
    assert told == pytest.approx([(labels == label).sum() * scan.voxel_ml for label in (1, 2)])
    assert deidentify.came_back(out, hospital) == []
    assert {"PatientID", "ReferringPhysicianName", "SOPInstanceUID"} <= set(deidentify.came_back(hospital, hospital))


def test_what_was_written_is_read_again_with_the_network_that_drew_it(
    one: dicom.Series, labels: np.ndarray, tmp_path: Path
) -> None:
    card = {"task": "vae", "size_name": "full", "version": "0.1.0", "data_name": "Data: ours"}
    (tmp_path / "model.json").write_text(json.dumps(card))
    network = dicom_out.Network.of_run(tmp_path)
    assert network.regions == ("core", "oedema")
    written = dicom_out.write(labels, one, tmp_path / "out", {2: "oedema", 1: "core"}, network)
    found = dicom_out.read(tmp_path / "out", one)
    assert found.ml == written.ml
    assert list(found.names.values()) == ["peritumoural oedema", "tumour core"]
    assert all(found.agrees(labels, one, {2: "oedema", 1: "core"}).values())
    other = labels.copy()
    other[tuple(np.argwhere(labels == 2)[0])] = 0
    wrong = [what for what, right in found.agrees(other, one, {2: "oedema", 1: "core"}).items() if not right]
    assert wrong == ["every voxel", "volumes in the report"]
    raw = b"".join((tmp_path / "out" / name).read_bytes() for name in (dicom_out.SEGMENTATION, dicom_out.REPORT))
    for words in (b"brainmri vae, size full", b"AUTOMATIC", b"which learnt from: Data: ours", b"not a medical device"):
        assert words in raw


def test_nothing_found_is_an_answer_too(one: dicom.Series, labels: np.ndarray, tmp_path: Path) -> None:
    written = dicom_out.write(np.where(labels == 1, labels, 0), one, tmp_path / "core", dicom_out.PREDICTED)
    assert written.ml["tumour core"] > 0 == written.ml["peritumoural oedema"]
    written = dicom_out.write(np.zeros_like(labels), one, tmp_path / "none", dicom_out.PREDICTED)
    assert list(written.ml.values()) == [0, 0]


def test_objects_about_one_series_are_not_read_about_another(
    clean: Path, one: dicom.Series, labels: np.ndarray, tmp_path: Path
) -> None:
    dicom_out.write(labels, one, tmp_path / "out", dicom_out.PREDICTED)
    other = dicom_case.numbered(dicom.series(clean), dicom_phantom.NUMBERS["t2"])
    with pytest.raises(DataError, match="is about another series than series 4"):
        dicom_out.read(tmp_path / "out", other)


def cut(path: Path, mask: Path) -> None:
    """Half of the mask's slices."""
    found = volume.read(mask)
    volume.write(Volume(found.values[..., ::2], found.affine), mask, mask=True)


def test_organs_are_called_what_they_are_and_not_said_to_lie_in_the_brain(
    clean: Path, one: dicom.Series, labels: np.ndarray, tmp_path: Path
) -> None:
    folder = shutil.copytree(clean, tmp_path / "ct")
    for path in folder.glob("*/*.dcm"):
        item = pydicom.dcmread(path)
        item.Modality = "CT"
        item.save_as(path)
    scan = dicom_case.numbered(dicom.series(folder), one.number)
    written = dicom_out.write(labels, scan, tmp_path / "out", {1: "liver", 2: "kidneys"})
    assert list(written.ml) == ["liver", "kidneys"]
    segmentation, report = (pydicom.dcmread(tmp_path / "out" / name) for name in ("segmentation.dcm", "report.dcm"))
    for segment, code in zip(segmentation.SegmentSequence, ("10200004", "64033007"), strict=True):
        assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == code
        assert segment.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Anatomical Structure"
    said = {str(each.value) for each in (*segmentation.iterall(), *report.iterall()) if each.keyword == "CodeMeaning"}
    assert "CT unspecified body region" in said
    assert not {"Brain", "MRI unspecified body region"} & said


def organs(_: Path, mask: Path) -> None:
    """The card of a network that learnt something else."""
    card = {"task": "gan", "size_name": "full", "version": "0.1.0", "data_name": "Data: ours"}
    (mask.parent / "organs").mkdir()
    (mask.parent / "organs/model.json").write_text(json.dumps({**card, "target": {"regions": ["heart", "lung"]}}))


@pytest.mark.parametrize(
    ("change", "arguments", "words"),
    [
        (cut, DRAWN, "lies on another grid than its image"),
        (None, [], "What label 1, 2 of the mask means is not known"),
        (None, ["--label", "1=core"], "What label 2 of the mask means is not known"),
        (None, ["--label", "1=core", "2=heart"], "There is no region heart; there are core"),
        (None, ["--label", "1=core", "2=core"], "no two of them may have the same meaning"),
        (None, ["--label", "1", "2"], "give pairs such as 1=core"),
        (None, ["--run", "nowhere"], "holds no network in 3D"),
        (organs, ["--run", "organs"], "There is no region heart, lung; there are core"),
        (lambda path, _: sorted((path / "series-002").iterdir())[5].unlink(), DRAWN, "1 slice is missing"),
        (lambda path, _: shutil.rmtree(path / "series-002"), DRAWN, "There is no series 3"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_said_and_nothing_is_left(
    clean: Path, mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    change: Callable[[Path, Path], None] | None, arguments: list[str], words: str,
) -> None:  # fmt: skip
    series = clean
    if change:
        series = shutil.copytree(clean, tmp_path / "clean")
        change(series, mask)
    out = tmp_path / "out"
    arguments = [str(tmp_path / text) if text in {"nowhere", "organs"} else text for text in arguments]
    command = ["dicom-seg", str(mask), "--series", str(series), "--number", "3", "--out", str(out), *arguments]
    assert cli.main(command) == 2
    assert words in capsys.readouterr().err
    assert not out.exists()


def test_values_that_are_no_labels_are_refused() -> None:
    for value in (0.5, -1, 256):
        with pytest.raises(DataError, match="no labels from 0 to 255"):
            dicom_out.as_labels(np.array([[[0, value]]], dtype=np.float32))
