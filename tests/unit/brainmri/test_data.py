"""What the reader makes of good folders, and what it says about bad ones."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from brainmri import data, synthetic
from PIL import Image
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

ROWS = [("1", "glioma", "anna"), ("2", "none", "bert"), ("3", "glioma", "anna")]


def test_reads_records_with_their_facts(make_folder: Callable[..., Path]) -> None:
    source = data.Source("test images", "CC0", "doi 10.0/test")
    dataset = data.read_folder(make_folder(ROWS), source)
    assert dataset.grouping == "patient"
    assert dataset.labels == {"glioma": 2, "none": 1}
    assert list(dataset.groups) == ["anna", "bert", "anna"]
    assert list(dataset.shows("glioma")) == [1, 0, 1]
    assert all(item.source.licence == "CC0" for item in dataset)


def test_a_table_as_excel_writes_it_in_other_countries_is_read(make_folder: Callable[..., Path]) -> None:
    folder = make_folder(ROWS)
    before, table = data.read_folder(folder), folder / "labels.csv"
    table.write_text(table.read_text().replace(",", ";"), encoding="utf-8-sig")
    assert data.read_folder(folder) == before


def test_block_stands_in_for_an_unknown_patient(make_folder: Callable[..., Path]) -> None:
    folder = make_folder(ROWS, columns=("slice", "tumour", "block"))
    assert data.read_folder(folder).grouping == "block"


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        (("slice", "kind", "patient"), ["lacks the column tumour", "slice, kind, patient"]),
        (("name", "kind", "patient"), ["lacks the column slice and tumour"]),
        (("slice", "tumour", "person"), ["neither a column patient nor block", "slice, tumour, person"]),
    ],
)
def test_missing_column_is_named_with_those_found(
    make_folder: Callable[..., Path], columns: tuple[str, ...], words: list[str]
) -> None:
    with pytest.raises(data.DataError) as error:
        data.read_folder(make_folder(ROWS, columns=columns))
    for word in words:
        assert word in str(error.value)


def test_file_that_is_no_image_is_named(make_folder: Callable[..., Path]) -> None:
    folder = make_folder(ROWS)
    (folder / "slices" / "2.png").write_text("<html>not found</html>")
    dataset = data.read_folder(folder)
    with pytest.raises(data.DataError, match=r"2\.png is not a readable image. Replace it"):
        data.load(dataset.slices, 8)


def test_cut_off_image_is_named(make_folder: Callable[..., Path]) -> None:
    folder = make_folder(ROWS)
    whole = (folder / "slices" / "3.png").read_bytes()
    (folder / "slices" / "3.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(data.DataError, match=r"3\.png is not a readable image"):
        data.load(data.read_folder(folder).slices, 8)


def test_a_header_that_no_image_has_is_named(make_folder: Callable[..., Path]) -> None:
    folder = make_folder(ROWS)
    whole = (folder / "slices/3.png").read_bytes()
    (folder / "slices/3.png").write_bytes(whole[:11] + b"\x05" + whole[12:])  # of 5 bytes instead of 13
    with pytest.raises(data.DataError, match=r"3\.png is not a readable image"):
        data.load(data.read_folder(folder).slices, 8)


def test_listed_but_absent_file_is_named(make_folder: Callable[..., Path]) -> None:
    folder = make_folder(ROWS)
    (folder / "slices" / "3.png").unlink()
    with pytest.raises(data.DataError, match=r"does not hold: 3\. Copy the files there or remove their lines"):
        data.read_folder(folder)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "lists no slice"),
        ([("1", "glioma", "")], "line 2: patient is empty"),
        ([("1", "glioma", "anna"), ("1", "none", "bert")], "1.png more than once"),
        ([("1", "glioma")], "line 2: patient is empty"),
    ],
)
def test_unusable_lines_are_named(make_folder: Callable[..., Path], rows: list[tuple[str, ...]], words: str) -> None:
    folder = make_folder(rows)
    Image.new("L", (4, 4)).save(folder / "slices" / "spare.png")
    with pytest.raises(data.DataError, match=words):
        data.read_folder(folder)


def test_unknown_part_of_a_split_is_refused(make_folder: Callable[..., Path]) -> None:
    folder = make_folder([("1", "glioma", "anna", "holdout")], columns=("slice", "tumour", "patient", "split"))
    with pytest.raises(data.DataError, match=r"'holdout'\. Use train, validation, test"):
        data.read_folder(folder)


def test_absent_and_empty_folders(tmp_path: Path, make_folder: Callable[..., Path]) -> None:
    with pytest.raises(data.DataError, match="There is no folder"):
        data.read_folder(tmp_path / "nowhere")
    with pytest.raises(data.DataError, match=r"has no labels\.csv"):
        data.read_folder(tmp_path)
    with pytest.raises(data.DataError, match=r"holds no image\. Put its images there"):
        data.read_folder(make_folder(ROWS, draw=False))


def test_a_name_cannot_lead_out_of_the_folder(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_folder([("../../secret", "glioma", "anna")])
    Image.new("L", (4, 4)).save(tmp_path / "secret.png")
    dataset = data.read_folder(folder, allow_missing=True)
    assert all(item.image.parent == folder / "slices" for item in dataset)


def test_one_class_is_no_question(make_folder: Callable[..., Path]) -> None:
    dataset = data.read_folder(make_folder([("1", "glioma", "a"), ("2", "glioma", "b")]))
    with pytest.raises(data.DataError, match="only one class for the question 'glioma or not'"):
        dataset.shows("glioma")
    with pytest.raises(data.DataError, match=r"shows 'gliom'\. Name one of its labels: glioma\."):
        dataset.shows("gliom")


def test_stored_source_is_read_back_and_a_broken_one_refused(make_folder: Callable[..., Path]) -> None:
    folder = make_folder(ROWS)
    source = data.Source("made up", "CC0", synthetic=True)
    data.write_source(folder, source)
    assert data.read_folder(folder).source == source
    (folder / "source.json").write_text(json.dumps({"title": "?"}))
    with pytest.raises(data.DataError, match=r"source\.json cannot be used.*name, licence, reference, synthetic"):
        data.read_folder(folder)


def test_sample_keeps_whole_groups(make_folder: Callable[..., Path]) -> None:
    rows = [(str(n), ("glioma", "none")[n % 2], f"patient-{n % 10}") for n in range(40)]
    dataset = data.read_folder(make_folder(rows))
    small = dataset.sample(groups=2)
    assert len(set(small.groups)) == 4
    assert len(small) == 16
    assert small == dataset.sample(groups=2)


def test_loaded_slices_are_padded_not_stretched(make_folder: Callable[..., Path]) -> None:
    folder = make_folder([("1", "glioma", "anna")])
    Image.new("L", (40, 20), 255).save(folder / "slices" / "1.png")
    (pixels,) = data.load(data.read_folder(folder).slices, 16)
    assert pixels.shape == (16, 16)
    assert pixels[4:12].min() == 1.0
    assert pixels[:4].max() == pixels[12:].max() == 0.0


def test_deep_grey_values_are_scaled_not_cut_off(make_folder: Callable[..., Path]) -> None:
    folder = make_folder([("1", "glioma", "anna")])
    Image.fromarray(np.full((8, 8), 3000, dtype=np.uint16) * np.arange(8, dtype=np.uint16)).save(
        folder / "slices" / "1.png"
    )
    (pixels,) = data.load(data.read_folder(folder).slices, 8)
    assert pixels[0] == pytest.approx(np.arange(8) / 7, abs=0.01)


def test_an_image_with_pixels_that_are_no_numbers_is_named(make_folder: Callable[..., Path]) -> None:
    folder = make_folder([("1", "glioma", "anna")])
    (folder / "slices/1.png").unlink()
    values = np.ones((8, 8), dtype=np.float32)
    values[3, 3] = np.nan
    Image.fromarray(values).save(folder / "slices/1.tif")
    with pytest.raises(data.DataError, match=r"1\.tif has pixels that are no finite numbers"):
        data.load(data.read_folder(folder).slices, 8)


def test_a_site_without_data_has_none(tmp_path: Path) -> None:
    assert data.read_site({"SCIENCEBOX_DATA": str(tmp_path)}) is None


def test_a_demonstrations_heads_are_found_and_stay_synthetic(tmp_path: Path) -> None:
    synthetic.make(tmp_path / "synthetic", patients=2, slices=1)
    dataset = data.read_site({"SCIENCEBOX_DATA": str(tmp_path)})
    assert dataset is not None
    assert dataset.source.synthetic


def test_a_folder_that_is_named_is_never_replaced_by_another(
    make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(ROWS)
    site = {"SCIENCEBOX_DATA": str(folder.parent / "nowhere")}
    monkeypatch.setenv("HOME", str(folder.parent))
    found = data.find(f"~/{folder.name}", environ=site)
    assert found is not None
    assert found.labels["glioma"] == 2
    with pytest.raises(data.DataError, match="has no mask for any of its slices"):
        data.find(folder, masks=True, environ=site)
    assert data.find(with_masks(folder, "1"), masks=True, environ=site) is not None
    with pytest.raises(data.DataError, match="There is no folder"):
        data.find("nowhere", environ=site)
    assert data.find(None, environ=site) is None


def test_of_a_sites_slices_that_are_not_taken_it_is_said_why(
    make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder(ROWS)
    folder.rename(folder.parent / "figshare")
    folder, site = folder.parent / "figshare", {"SCIENCEBOX_DATA": str(folder.parent)}
    assert data.find(None, environ=site) is not None
    assert capsys.readouterr().out == ""
    assert data.find(None, masks=True, environ=site) is None
    assert f"Not taken: {folder} has no mask" in capsys.readouterr().out
    (folder / "labels.csv").unlink()
    assert data.find(None, environ=site) is None
    assert f"Not taken: {folder} has no labels.csv, which `brainmri convert figshare` writes" in capsys.readouterr().out


@pytest.mark.data
def test_real_slices_lie_as_their_masks_do_when_transposed(real_data: Path) -> None:
    """The masks are stored transposed against the slices: rows of one are columns of the other."""
    dataset = data.read_site({"SCIENCEBOX_DATA": str(real_data)})
    assert dataset is not None
    by_name = {item.image.stem: item for item in dataset}
    number = next(path.stem for path in sorted((real_data / "figshare" / "masks").iterdir()) if path.stem in by_name)
    (pixels,) = data.load([by_name[number]], 512)
    beside = np.asarray(Image.open(real_data / "figshare" / "mask_images" / f"{number}.png").convert("L"), float)
    tumour = np.asarray(Image.open(real_data / "figshare" / "masks" / f"{number}.png").convert("L")) > 0

    def alike(other: np.ndarray) -> float:
        return float(np.corrcoef(pixels.ravel(), other.ravel())[0, 1])

    assert alike(beside.T) > 0.99 > alike(beside)
    assert tumour.T.any()
    assert not np.array_equal(tumour, tumour.T)


def test_reading_loads_no_machine_learning() -> None:
    heavy = "{'torch', 'tensorflow', 'keras', 'sklearn', 'nilearn'}"
    code = f"import sys, brainmri, brainmri.data, brainmri.cli; print(sorted({heavy} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def with_masks(folder: Path, *names: str, edge: int = 12) -> Path:
    """Give slices masks, whose left half is tumour."""
    (folder / "masks").mkdir()
    for name in names:
        mask = np.zeros((edge, edge), dtype=np.uint8)
        mask[:, : edge // 2] = 255
        Image.fromarray(mask).save(folder / "masks" / f"{name}.png")
    return folder


def test_only_slices_with_a_mask_are_masked(make_folder: Callable[..., Path]) -> None:
    dataset = data.read_folder(with_masks(make_folder(ROWS), "1", "3")).masked
    assert [item.image.stem for item in dataset] == ["1", "3"]
    masks = data.load_masks(dataset.slices, 12)
    assert masks.shape == (2, 12, 12)
    assert masks[:, :, :6].all()
    assert not masks[:, :, 6:].any()


def test_a_folder_without_masks_says_where_they_belong(make_folder: Callable[..., Path]) -> None:
    with pytest.raises(data.DataError, match="has no mask for any of its slices"):
        _ = data.read_folder(make_folder(ROWS)).masked


def test_a_mask_of_another_size_is_named(make_folder: Callable[..., Path]) -> None:
    dataset = data.read_folder(with_masks(make_folder(ROWS), "1", edge=10)).masked
    with pytest.raises(data.DataError, match=r"1\.png is 10 x 10 pixels, but its image 1\.png is 12 x 12"):
        data.load_masks(dataset.slices, 12)


def test_a_mask_lies_as_its_slice_does_whatever_it_was_drawn_on(make_folder: Callable[..., Path]) -> None:
    folder = with_masks(make_folder(ROWS), "1", "2", "3")
    (folder / "mask_images").mkdir()
    for name, way in (("1", Image.Transpose.TRANSPOSE), ("2", None)):
        with Image.open(folder / "slices" / f"{name}.png") as image:
            (image.transpose(way) if way is not None else image).save(folder / "mask_images" / f"{name}.png")
    with Image.open(folder / "slices/1.png") as image:
        image.save(folder / "mask_images/3.png")  # of another slice
    slices = data.read_folder(folder).slices
    turned, straight = data.load_masks(slices[:2], 12)
    assert np.array_equal(turned, straight.T)
    with pytest.raises(data.DataError, match=r"3\.png is another image"):
        data.load_masks(slices[2:], 12)


def test_a_mask_that_lies_otherwise_than_its_slice_is_refused_where_nothing_says_how(
    make_folder: Callable[..., Path],
) -> None:
    folder = with_masks(make_folder(ROWS), "1")
    Image.fromarray(np.arange(240, dtype=np.uint8).reshape(12, 20)).save(folder / "slices/1.png")
    Image.fromarray(np.full((20, 12), 255, dtype=np.uint8)).save(folder / "masks/1.png")
    with pytest.raises(data.DataError, match=r"1\.png is 12 x 20 pixels, but its image 1\.png is 20 x 12"):
        data.load_masks(data.read_folder(folder).masked.slices, 12)


def test_a_mask_of_zeros_and_ones_is_not_taken_for_an_empty_one(make_folder: Callable[..., Path]) -> None:
    folder = with_masks(make_folder(ROWS), "1")
    Image.fromarray(np.eye(12, dtype=np.uint8)).save(folder / "masks/1.png")
    with pytest.raises(data.DataError, match=r"its brightest pixel is 1 of 255\. Export it with 255 where"):
        data.load_masks(data.read_folder(folder).masked.slices, 12)
    Image.new("L", (12, 12)).save(folder / "masks/1.png")
    assert not data.load_masks(data.read_folder(folder).masked.slices, 12).any()


def test_how_a_mask_lies_is_not_guessed_from_an_image_that_shows_nothing(make_folder: Callable[..., Path]) -> None:
    folder = with_masks(make_folder(ROWS), "1")
    (folder / "mask_images").mkdir()
    Image.new("L", (12, 12)).save(folder / "mask_images/1.png")
    with pytest.raises(data.DataError, match=r"1\.png is another image"):
        data.load_masks(data.read_folder(folder).masked.slices, 12)


@pytest.mark.parametrize("place", ["slices", "masks"])
def test_two_files_of_one_name_are_refused(make_folder: Callable[..., Path], place: str) -> None:
    folder = with_masks(make_folder(ROWS), "1")
    Image.new("L", (12, 12)).save(folder / place / "1.jpg")
    with pytest.raises(data.DataError, match=f"{place} has 1 more than once, with other endings"):
        data.read_folder(folder)


@pytest.mark.parametrize("text", ["slice,tumour,patient\n1,glioma,M\u00fcller\n", "\u00fc"])
def test_a_table_in_another_encoding_is_named(make_folder: Callable[..., Path], text: str) -> None:
    folder = make_folder(ROWS)
    (folder / "labels.csv").write_bytes(text.encode("cp1252"))
    with pytest.raises(data.DataError, match=r"labels\.csv is no table in UTF-8 .*Save it again as CSV, in UTF-8"):
        data.read_folder(folder)


@pytest.mark.data
def test_borders_of_the_real_masks_lie_where_the_image_changes(real_data: Path) -> None:
    """A mask that lay otherwise than its slice would have its border anywhere."""
    dataset = data.read_folder(real_data / "figshare", data.FIGSHARE).masked
    images, masks = data.load(dataset.slices, 256), data.load_masks(dataset.slices, 256)

    def change(masks: Iterable[np.ndarray]) -> float:
        borders = [mask & ~ndimage.binary_erosion(mask) for mask in masks]
        slopes = [ndimage.gaussian_gradient_magnitude(image, 1) for image in images]
        return float(np.mean([slope[border].mean() for slope, border in zip(slopes, borders, strict=True)]))

    assert change(masks) > 1.3 * change(mask.T for mask in masks)
