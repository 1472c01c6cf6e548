"""`brainmri check` and `brainmri synthetic` as a user meets them."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from brainmri import cli
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS = [("1", "glioma", "anna"), ("2", "none", "bert"), ("3", "glioma", "anna")]


def test_a_clean_folder_is_counted_and_passes(
    make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", str(make_folder(ROWS))]) == 0
    shown = capsys.readouterr().out
    for words in ("3 slices of 2 patients", "12 x 12 (3)", "glioma: 2 slices of 1 patients", "No fault found."):
        assert words in shown


def test_all_faults_are_listed_at_once(make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_folder([*ROWS, ("4", "glioma", "carl"), ("5", "none", "dora"), ("6", "none", "emil")])
    slices = folder / "slices"
    (slices / "2.png").write_bytes(b"no image")
    (slices / "3.png").unlink()
    shutil.copy(slices / "1.png", slices / "4.png")
    shutil.copy(slices / "1.png", slices / "5.png")
    assert cli.main(["check", str(folder)]) == 1
    shown = capsys.readouterr().out
    assert "2.png is not a readable image" in shown
    assert "/3 is missing" in shown
    assert "1.png, 4.png, 5.png are the same image with different labels" in shown
    assert "3 faults found." in shown


def test_the_same_image_of_two_patients_is_a_fault_of_one_patient_a_note(
    make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder([*ROWS, ("4", "glioma", "carl")])
    shutil.copy(folder / "slices" / "1.png", folder / "slices" / "3.png")
    assert cli.main(["check", str(folder)]) == 0
    assert "note: 1.png, 3.png are the same image" in capsys.readouterr().out
    shutil.copy(folder / "slices" / "1.png", folder / "slices" / "4.png")
    assert cli.main(["check", str(folder)]) == 1
    assert "1.png, 3.png, 4.png are the same image in different patients" in capsys.readouterr().out


def test_a_patient_on_both_sides_is_named(make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("1", "glioma", "anna", "train"), ("2", "none", "bert", "train"), ("3", "glioma", "anna", "test")]
    assert cli.main(["check", str(make_folder(rows, columns=("slice", "tumour", "patient", "split")))]) == 1
    assert "FAULT: patient anna is in test and train" in capsys.readouterr().out


def test_blocks_and_odd_sizes_are_noted(make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    folder = make_folder(ROWS, columns=("slice", "tumour", "block"))
    Image.new("L", (30, 20)).save(folder / "slices" / "2.png")
    assert cli.main(["check", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "Say 'block split'" in shown
    assert "1 images are not 12 x 12" in shown


def test_an_unusable_folder_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(tmp_path / "nowhere")]) == 2
    assert capsys.readouterr().err == f"brainmri: There is no folder {tmp_path / 'nowhere'}. Check the path.\n"


def test_a_synthetic_set_is_made_once_and_passes_its_own_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "made"
    make = ["synthetic", str(folder), "--patients", "2", "--slices", "1"]
    assert cli.main(make) == 0
    assert "2 SYNTHETIC slices" in capsys.readouterr().out
    assert cli.main(["check", str(folder)]) == 0
    assert "SYNTHETIC DATA" in capsys.readouterr().out
    assert cli.main(make) == 2
    assert "nothing is overwritten" in capsys.readouterr().err


@pytest.mark.data
def test_the_real_slices_are_sound(real_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", str(real_data / "figshare")]) == 0
    assert "2312 slices of 147 blocks" in capsys.readouterr().out


def test_masks_are_counted_and_one_that_does_not_fit_is_a_fault(
    make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_folder(ROWS)
    (folder / "masks").mkdir()
    for name, edge, grey in (("1", 12, 255), ("1-2", 12, 255), ("2", 12, 0), ("3", 9, 255), ("mask_4", 12, 255)):
        Image.new("L", (edge, edge), grey).save(folder / "masks" / f"{name}.png")
    assert cli.main(["check", str(folder)]) == 1
    shown = capsys.readouterr().out
    assert "masks: 2, 1 of them empty" in shown
    assert "3.png is 9 x 9 pixels, but its image 3.png is 12 x 12" in shown
    assert "note: No line of labels.csv is about mask_4.png of masks: nothing is learnt" in shown


def blob(middle: int) -> Image.Image:
    """A bright spot somewhere; two that are near each other look alike."""
    ring = Image.new("L", (64, 64), 10)
    ring.paste(200, (middle - 12, 20, middle + 12, 44))
    return ring


@pytest.mark.parametrize(
    ("parts", "code", "words"),
    [
        (("", ""), 0, "note: 1 pair of slices in different patients look nearly the same: 1.png and 2.png"),
        (("train", "test"), 1, "FAULT: 1.png and 2.png"),
        (("train", "train"), 0, "look nearly the same: 1.png"),
    ],
)
def test_look_alikes_of_two_patients_are_named(
    make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str], parts: tuple[str, str], code: int, words: str
) -> None:
    rows = [("1", "glioma", "anna"), ("2", "glioma", "bert"), ("3", "none", "carl"), ("4", "none", "carl")]
    if parts[0]:
        rows = [(*row, part) for row, part in zip(rows, (*parts, "test", "test"), strict=True)]
    folder = make_folder(rows, columns=("slice", "tumour", "patient", "split")[: len(rows[0])])
    for name, middle in (("1", 30), ("2", 30), ("3", 50), ("4", 50)):
        image = blob(middle)
        image.putpixel((0, 0), int(name))  # no copies, and those of one patient may look alike
        image.save(folder / "slices" / f"{name}.png")
    assert cli.main(["check", str(folder)]) == code
    shown = capsys.readouterr().out
    assert words in shown
    assert "3.png and 4.png" not in shown


def test_the_page_needs_nothing_and_runs_nothing_of_the_data(
    make_folder: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "<script>alert(1)</script>"
    folder = make_folder([*ROWS, ("4", evil, evil), ("5", "none", "emil")])
    (folder / "slices/5.png").write_bytes(b"no image")
    shutil.copy(folder / "slices/1.png", folder / "slices/2.png")
    page = tmp_path / "reports/page.html"
    assert cli.main(["check", str(folder), "--html", str(page)]) == 1
    assert f"With pictures: {page}" in capsys.readouterr().out
    text = page.read_text()
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert not [address for address in ("http://", "https://", "//cdn", "@import", "url(") if address in text]
    for words in (
        "2 faults found",
        "5 of 4 patients",
        "5.png is not a readable image",
        "same image with different labels",
    ):
        assert words in text
    assert text.count("data:image/png;base64,") == 4


def test_who_stops_a_command_is_shown_no_traceback(
    make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("brainmri.check.examine", stopped)
    assert cli.main(["check", str(make_folder(ROWS))]) == 130
    assert "stopped. What was stored stays." in capsys.readouterr().err


def test_a_page_replaces_only_a_page(make_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_folder(ROWS)
    page, other = folder / "page.html", folder / "labels.csv"
    before = other.read_text()
    for _ in range(2):
        assert cli.main(["check", str(folder), "--html", str(page)]) == 0
    assert cli.main(["check", str(folder), "--html", str(other)]) == 2
    assert "is no report of this command" in capsys.readouterr().err
    assert other.read_text() == before


def test_a_made_up_set_says_so_on_its_page(tmp_path: Path) -> None:
    folder, page = tmp_path / "made", tmp_path / "page.html"
    assert cli.main(["synthetic", str(folder), "--patients", "2", "--slices", "1"]) == 0
    assert cli.main(["check", str(folder), "--html", str(page)]) == 0
    assert "SYNTHETIC: none of this shows a patient." in page.read_text()
