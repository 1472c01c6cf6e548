"""The figshare set as it is downloaded: MATLAB 7.3 files, which are HDF5 with rows and columns exchanged."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
from brainmri import cli, data, figshare

if TYPE_CHECKING:
    from pathlib import Path

h5py = pytest.importorskip("h5py")
HEIGHT, WIDTH = 40, 30


def write_mat(path: Path, label: int = 2, patient: str = "MR040240B", height: int = HEIGHT, width: int = WIDTH) -> Path:
    """A slice as MATLAB stores it: bright at the top, with a tumour at the top left."""
    image = np.linspace(3000, 0, height)[:, None] * np.ones((1, width))
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[2:8, 3:6] = 1
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        group = file.create_group("cjdata")
        group["image"], group["tumorMask"] = image.T.astype(np.int16), mask.T
        group["label"] = [[float(label)]]
        group["PID"] = np.array([[ord(letter)] for letter in patient], dtype=np.uint16)
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116))
    return path


@pytest.fixture
def download(tmp_path: Path) -> Path:
    """Two loose slices, and two in an archive, beside the authors' folds."""
    folder = tmp_path / "download"
    write_mat(folder / "10.mat", label=1, patient="100360")
    write_mat(folder / "2.mat")
    inner = [write_mat(tmp_path / "inner" / name, 3, "anna", 256, 256) for name in ("766.mat", "767.mat")]
    with zipfile.ZipFile(folder / "brainTumorDataPublic_1.zip", "w") as archive:
        for path in inner:
            archive.write(path, path.name)
        archive.writestr("cvind.mat", b"")
    return folder


def test_a_download_becomes_a_folder_that_can_be_split_by_patients(download: Path, tmp_path: Path) -> None:
    dataset = figshare.convert(figshare.originals(download), tmp_path / "figshare")
    assert [item.image.stem for item in dataset] == ["2", "10", "766", "767"]
    assert (dataset.grouping, list(dataset.groups)) == ("patient", ["MR040240B", "100360", "anna", "anna"])
    assert dataset.labels == {"glioma": 1, "meningioma": 1, "pituitary": 2}
    assert dataset.source == data.FIGSHARE
    assert len(dataset.masked) == 4


def test_image_and_mask_lie_as_they_were_drawn(download: Path, tmp_path: Path) -> None:
    first = figshare.convert(figshare.originals(download), tmp_path / "figshare").slices[0]
    pixels, mask = np.asarray(data.open_image(first.image)), np.asarray(data.open_mask(first))
    assert pixels.shape == mask.shape == (HEIGHT, WIDTH)
    assert pixels[0].min() == 255
    assert pixels[-1].max() == 0
    rows, columns = np.nonzero(mask)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 7, 3, 5)


def test_a_download_that_stops_halfway_leaves_no_folder(download: Path, tmp_path: Path) -> None:
    (download / "3.mat").write_bytes(b"<html>not found</html>")
    with pytest.raises(data.DataError, match=r"3\.mat is no slice of this set"):
        figshare.convert(figshare.originals(download), tmp_path / "figshare")
    assert not (tmp_path / "figshare").exists()


@pytest.mark.parametrize("value", [np.nan, 40_000.0, b"bright"])
def test_an_image_with_pixels_that_are_no_numbers_of_16_bits_is_named(tmp_path: Path, value: float | bytes) -> None:
    with h5py.File(path := write_mat(tmp_path / "7.mat"), "r+") as file:
        image = np.full(file["cjdata"]["image"].shape, value)
        del file["cjdata"]["image"]
        file["cjdata"]["image"] = image
    with pytest.raises(data.DataError, match=r"7\.mat has pixels that are no finite numbers"):
        figshare.read(figshare.Original(path))


@pytest.mark.parametrize(("label", "patient"), [(4, "anna"), (2, "  ")])
def test_a_slice_without_a_known_label_or_a_patient_is_named(tmp_path: Path, label: int, patient: str) -> None:
    with pytest.raises(data.DataError, match=r"7\.mat has the label"):
        figshare.read(figshare.Original(write_mat(tmp_path / "7.mat", label, patient)))


def test_a_damaged_archive_and_an_empty_folder_are_said(tmp_path: Path) -> None:
    with pytest.raises(data.DataError, match="Download the set from figshare"):
        figshare.originals(tmp_path)
    (tmp_path / "broken.zip").write_bytes(b"PK")
    with pytest.raises(data.DataError, match=r"broken\.zip cannot be read"):
        figshare.originals(tmp_path)


def test_an_archive_with_a_damaged_slice_is_said(download: Path) -> None:
    archive = download / "packed.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(download / "2.mat", "3.mat")
    content = bytearray(archive.read_bytes())
    content[60:120] = b"\xff" * 60
    archive.write_bytes(content)
    with pytest.raises(data.DataError, match=r"packed\.zip cannot be read"):
        list(map(figshare.read, figshare.originals(download)))


def test_the_command_says_what_it_made_and_overwrites_nothing(
    download: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["convert", "figshare", "--from", str(download), "--to", str(tmp_path / "figshare")]
    assert cli.main(command) == 0
    assert "4 slices with masks of 3 patients" in capsys.readouterr().out
    assert cli.main(["check", str(tmp_path / "figshare")]) in (0, 1)
    assert cli.main(command) == 2
    assert "nothing is overwritten" in capsys.readouterr().err
