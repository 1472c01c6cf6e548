"""Volumes with masks become slices that lie as a radiologist looks at them, whatever way the scanner stored them."""

from __future__ import annotations

import gzip
from dataclasses import replace
from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
from brainmri import cli, data, nifti, volume

if TYPE_CHECKING:
    from pathlib import Path

SHAPE = (20, 30, 5)
SOURCE = data.Source("a test", "CC0")
RAS, LPS = np.diag([1.0, 1.0, 4.0, 1.0]), np.diag([-1.0, -1.0, 4.0, 1.0])


def volumes(affine: np.ndarray = RAS) -> tuple[np.ndarray, np.ndarray]:
    """A head whose right half is bright, with a tumour in front on the right, in the third slice; as stored."""
    image, mask = np.full(SHAPE, 100.0), np.zeros(SHAPE)
    image[10:] = 1000.0  # x grows to the patient's right
    mask[14:17, 24:28, 2] = 1  # y grows to the front
    flips = tuple(slice(None, None, int(sign)) for sign in np.sign(np.diag(affine)[:3]))
    return image[flips], mask[flips]


def store(folder: Path, name: str, values: np.ndarray, affine: np.ndarray = RAS) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), affine), path)
    return path


def patient(folder: Path, affine: np.ndarray = RAS) -> None:
    image, mask = volumes(affine)
    store(folder, "scan_t1", image, affine)
    store(folder, "mask", mask, affine)


def spoilt_stream(path: Path) -> None:
    """As a disk or a transfer may leave a file: its length is right, its compression is not."""
    content = bytearray(path.read_bytes())
    content[20:60] = b"\xff" * 40
    path.write_bytes(content)


def flat(path: Path) -> None:
    """Voxels without any height."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[280:328] = np.diag([1.0, 1, 0, 1])[:3].astype("<f4").tobytes()  # the header's sform
    path.write_bytes(gzip.compress(bytes(content)))


@pytest.mark.parametrize("affine", [RAS, LPS], ids=["RAS", "LPS"])
def test_slices_lie_as_a_radiologist_looks_at_them(tmp_path: Path, affine: np.ndarray) -> None:
    patient(tmp_path / "in/anna", affine)
    dataset = nifti.convert(nifti.scans(tmp_path / "in", "*t1*", "*mask*"), tmp_path / "out", "glioma", SOURCE)
    (only,) = dataset
    pixels, mask = np.asarray(data.open_image(only.image)), np.asarray(data.open_mask(only))
    assert pixels.shape == (30, 20)
    assert pixels[:, :10].min() > pixels[:, 10:].max(), "the patient's right is on the left"
    rows, columns = np.nonzero(mask)
    assert (rows.max() < 10, columns.max() < 10) == (True, True), "the front is at the top"
    assert (only.label, only.group, dataset.grouping) == ("glioma", "anna", "patient")


def test_a_mask_whose_header_was_rounded_lies_on_the_grid_of_its_image(tmp_path: Path) -> None:
    image, mask = volumes()
    apart = RAS + 1e-3 * np.eye(4, k=3)  # a thousandth of a millimetre to the right
    found = nifti.Scan("anna", "anna", store(tmp_path, "t1", image), store(tmp_path, "mask", mask, apart))
    assert nifti.read(found)[1].any()


def test_what_is_made_of_synthetic_volumes_says_so(tmp_path: Path) -> None:
    patient(tmp_path / "in/anna")
    scan = tmp_path / "in/anna/scan_t1.nii.gz"
    volume.write(replace(volume.read(scan), synthetic=True), scan)
    dataset = nifti.convert(nifti.scans(tmp_path / "in", "*t1*", "*mask*"), tmp_path / "out", "glioma", SOURCE)
    assert dataset.source.credit == "SYNTHETIC DATA: a test, CC0"


def test_pixels_are_square(tmp_path: Path) -> None:
    image, mask = volumes()
    (found,) = nifti.slices(image.astype(np.float32), mask > 0, (2.0, 1.0, 4.0))
    index, picture, outline = found
    assert (index, picture.size, outline.size) == (2, (40, 30), (40, 30))


def test_each_scan_is_paired_with_the_mask_of_its_name(tmp_path: Path) -> None:
    image, mask = volumes()
    for when in ("pre", "post"):
        store(tmp_path / "in/anna", f"{when}_scan_t1", image)
        store(tmp_path / "in/anna", f"{when}_mask", mask)
    for hidden in ("anna/._pre_mask.nii.gz", ".unfinished/bert/pre_mask.nii.gz"):
        (tmp_path / "in" / hidden).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / hidden).write_bytes(b"Mac OS X")
    found = nifti.scans(tmp_path / "in", "*t1*", "*mask*")
    assert [(scan.name, scan.image.name) for scan in found] == [
        ("anna-post_mask", "post_scan_t1.nii.gz"),
        ("anna-pre_mask", "pre_scan_t1.nii.gz"),
    ]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: store(folder / "anna", "other_t1", volumes()[0]), "Which image was"),
        (lambda folder: (folder / "anna/mask.nii.gz").unlink(), "has no file"),
        (lambda folder: store(folder / "anna", "mask", np.zeros((9, 9, 9))), "lies on another grid"),
        (lambda folder: store(folder / "anna", "mask", volumes()[1], np.diag([1.0, 1, 4, 1]) + 0.5), "another grid"),
        (lambda folder: store(folder / "anna", "mask", np.zeros(SHAPE)), "nothing to learn from"),
        (lambda folder: (folder / "anna/scan_t1.nii.gz").write_bytes(b"\x1f\x8b"), "is no readable NIfTI"),
        (lambda folder: store(folder, "mask", volumes()[1]), "Which image was"),
        (lambda folder: (folder / "anna/mask.nii").write_bytes(b"another"), "would both be called anna-mask"),
        (lambda folder: spoilt_stream(folder / "anna/scan_t1.nii.gz"), "is no readable NIfTI"),
        (lambda folder: flat(folder / "anna/scan_t1.nii.gz"), "does not say where its voxels lie"),
    ],
)
def test_what_cannot_be_used_is_said_and_no_folder_is_made(tmp_path: Path, spoil: object, words: str) -> None:
    patient(tmp_path / "in/anna")
    spoil(tmp_path / "in")  # type: ignore[operator]
    with pytest.raises(data.DataError, match=words):
        nifti.convert(nifti.scans(tmp_path / "in", "*t1*", "*mask*"), tmp_path / "out", "glioma", SOURCE)
    assert not (tmp_path / "out").exists()


def test_the_command_names_the_source_on_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    patient(tmp_path / "in/anna")
    where = ["--from", str(tmp_path / "in"), "--to", str(tmp_path / "out")]
    about = ["--image", "*t1*", "--label", "glioma", "--source", "our clinic", "--licence", "not to be passed on"]
    assert cli.main(["convert", "nifti", *where, *about]) == 0
    assert "Data: our clinic, not to be passed on" in capsys.readouterr().out
