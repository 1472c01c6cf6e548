"""Two scans of a made-up patient whose growth is known, and what a user gets wrong about two real ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from brainmri import cli, followup, followup_view, phantom, volume
from brainmri.data import DataError
from brainmri.overlap import dice
from brainmri.volume import Volume

if TYPE_CHECKING:
    from pathlib import Path

EDGES = (3.0, 3.0, 3.0)
GROWS, GOES, COMES = (30, -25, 25), (-35, 20, 30), (-30, -50, 20)
BEFORE = [phantom.Lesion(GROWS, 11), phantom.Lesion(GOES, 8)]
AFTER = [phantom.Lesion(GROWS, 14), phantom.Lesion(COMES, 7)]


@pytest.fixture(scope="module")
def pair() -> tuple[followup.Scan, followup.Scan]:
    one = phantom.make(spacing_mm=EDGES, lesions=BEFORE)
    pose = phantom.Pose((5, -4, 7), (4, -6, 5))
    two = phantom.make(spacing_mm=EDGES, lesions=AFTER, scan=1, pose=pose)
    return followup.Scan(one.raw, one.tumour), followup.Scan(two.raw, two.tumour, 90)


@pytest.fixture(scope="module")
def change(pair: tuple[followup.Scan, followup.Scan]) -> followup.Change:
    return followup.compare(*pair)


def test_the_later_scan_comes_to_lie_where_the_head_was(change: followup.Change) -> None:
    still = phantom.make(spacing_mm=EDGES, lesions=AFTER)
    assert change.registration.trusted
    assert change.registration.after > change.registration.before + 0.2
    assert dice(np.isin(change.map, [followup.NEW, followup.KEPT]), still.tumour) > 0.85


def test_growth_new_and_vanished_parts_are_found(change: followup.Change) -> None:
    assert change.ml == pytest.approx(change.follow_up_ml - change.baseline_ml)
    assert change.per_cent > 25
    (new,), (gone,) = change.new_parts, change.vanished_parts
    assert np.linalg.norm(np.subtract(new.centre_mm, COMES)) < 5
    assert np.linalg.norm(np.subtract(gone.centre_mm, GOES)) < 5
    said = " ".join(change.sentences())
    for words in ("in 90 days", "is new", "has vanished", "it doubles in"):
        assert words in said


def box(edge: int, corner: int = 8) -> np.ndarray:
    mask = np.zeros((40, 40, 40), dtype=bool)
    mask[corner : corner + edge, corner : corner + edge, corner : corner + edge] = True
    return mask


def still(before: np.ndarray, after: np.ndarray, days: float = 30) -> followup.Change:
    """Two masks on one scan that has not moved."""
    image = Volume.of(np.random.default_rng(0).random((40, 40, 40)), (1, 1, 2))
    return followup.compare(followup.Scan(image, before), followup.Scan(image, after, days), method="none")


@pytest.mark.parametrize(
    ("before", "after", "ml", "words"),
    [
        (box(10), box(10), 0.0, "Less than 25 %"),
        (box(10), box(5), -1.75, "(-88 %)"),
        (box(0), box(10), 2.0, "From 0.00 ml to 2.00 ml in 30 days: +2.00 ml. New"),
        (box(10), box(0), -2.0, "has vanished"),
        (box(0), box(0), 0.0, "+0.00 ml"),
        (box(5), box(10), 1.75, "it doubles in 10 days"),
    ],
)
def test_volumes_are_counted_in_ml(before: np.ndarray, after: np.ndarray, ml: float, words: str) -> None:
    change = still(before, after)
    assert change.ml == pytest.approx(ml)
    assert words in " ".join(change.sentences())
    json.dumps(change.as_json(), allow_nan=False)
    assert followup_view.most_changed(change, 4)


def test_scans_that_do_not_lie_over_each_other_are_not_trusted() -> None:
    images = (Volume.of(np.random.default_rng(seed).random((40, 40, 40))) for seed in (0, 1))
    change = followup.compare(*(followup.Scan(image, box(6)) for image in images), method="none")
    assert not change.registration.trusted
    assert "cannot be trusted" in " ".join(change.sentences())
    with pytest.raises(ValueError, match="there is no method"):
        followup.register(Volume.of(np.ones((9, 9, 9))), Volume.of(np.ones((9, 9, 9))), method="elastic")


@pytest.mark.data
@pytest.mark.parametrize(("later", "doubtful"), [("01", False), ("07", True)])
def test_scans_that_may_be_of_two_patients_are_told(real_data: Path, later: str, doubtful: bool) -> None:
    first, second = (
        followup.read(folder / f"{when}_scan_t1.nii.gz", folder / f"{when}_mask.nii.gz", spacing=(0.9, 0.9, 6.0))
        for folder, when in ((real_data / "progression/01", "pre"), (real_data / "progression" / later, "post"))
    )
    change = followup.compare(first, second)
    assert change.registration.doubtful is doubtful
    assert ("make sure whose they are" in " ".join(change.sentences())) is doubtful


def test_a_report_with_many_parts_still_says_that_they_cannot_be_trusted() -> None:
    before, after = box(6), box(6)
    for place in (2, 9, 16, 23, 30):
        before[20:24, place : place + 4, 20:24] = after[30:34, place : place + 4, 20:24] = True
    images = [Volume.of(np.random.default_rng(seed).random((40, 40, 40))) for seed in (0, 1)]
    first, later = (followup.Scan(*one, 0.0) for one in zip(images, (before, after), strict=True))
    change = followup.compare(first, later, method="none")
    page = followup_view.report(first, change, phantom.SOURCE, "made-up")
    told = " ".join(" ".join(text.get_text() for text in page.texts).split())
    assert "is called new and gone here cannot be trusted" in told
    assert told.count("A part of 0.06 ml is new.") == followup.NAMED
    assert "3 more such parts, 0.19 ml together." in told
    assert len(change.as_json()["new_parts_ml"]) == 5, "programs get all of them"


@pytest.fixture
def files(pair: tuple[followup.Scan, followup.Scan], tmp_path: Path) -> list[str]:
    """The command's arguments for the pair."""
    for name, scan in zip("ab", pair, strict=True):
        volume.write(scan.image, tmp_path / f"{name}.nii.gz")
        volume.write(scan.image.holding(scan.mask), tmp_path / f"{name}-mask.nii.gz")
    a, b, *masks = (str(tmp_path / f"{name}.nii.gz") for name in ("a", "b", "a-mask", "b-mask"))
    return ["follow-up", a, b, "--masks", *masks]


def test_the_command_writes_one_page_and_does_not_write_over_it(
    files: list[str], tmp_path: Path, change: followup.Change, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "reports/anna.pdf"
    assert cli.main([*files, "--days", "90", "--out", str(out), "--patient", "$anna_"]) == 0
    shown = capsys.readouterr().out
    assert f"From {change.baseline_ml:.2f} ml to {change.follow_up_ml:.2f} ml in 90 days" in shown
    assert shown.startswith("SYNTHETIC DATA: a.nii.gz and b.nii.gz")
    assert "This is not a medical device" in shown
    written = out.read_bytes()
    assert (written[:5], written.count(b"/Type /Page ")) == (b"%PDF-", 1)
    assert b"not a medical device" in written
    assert cli.main([*files, "--out", str(out)]) == 2
    assert "add --force to write over it" in capsys.readouterr().err
    assert out.read_bytes() == written
    assert cli.main([*files, "--out", str(tmp_path / "anna.txt")]) == 2
    for days in ("-90", "nan"):
        assert cli.main([*files, "--days", days]) == 2
        assert f"{days} days cannot lie between" in capsys.readouterr().err


def test_the_report_says_synthetic_of_made_up_heads(
    pair: tuple[followup.Scan, followup.Scan], change: followup.Change
) -> None:
    page = followup_view.report(pair[0], change, phantom.SOURCE, "made-up")
    texts = [text.get_text() for text in page.texts]
    assert "SYNTHETIC" in texts
    assert any("not a medical device" in " ".join(text.split()) for text in texts)


def test_a_lost_spacing_is_refused_until_it_is_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = Volume.of(np.random.default_rng(0).random((120, 120, 24)))
    for name in ("scan", "mask"):
        volume.write(image.holding(image.values > 0.5) if name == "mask" else image, tmp_path / f"{name}.nii.gz")
    scan, mask = str(tmp_path / "scan.nii.gz"), str(tmp_path / "mask.nii.gz")
    command = ["follow-up", scan, scan, "--masks", mask, mask, "--method", "none", "--json"]
    assert cli.main(command) == 2
    assert "its spacing was lost" in capsys.readouterr().err
    assert cli.main([*command, "--spacing", "0.9", "0.9", "5"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["baseline_ml"] == pytest.approx((image.values > 0.5).sum() * 0.9 * 0.9 * 5 / 1000)
    assert cli.main([*command, "--spacing", "0.9", "0.9", "-5"]) == 2
    assert "is no spacing" in capsys.readouterr().err


@pytest.mark.parametrize("mask", [Volume.of(np.ones((9, 9, 8)), (2, 2, 2)), Volume.of(np.ones((9, 9, 9)), (2, 2, 3))])
def test_a_mask_of_another_grid_is_refused(tmp_path: Path, mask: Volume) -> None:
    volume.write(Volume.of(np.ones((9, 9, 9)), (2, 2, 2)), tmp_path / "scan.nii.gz")
    volume.write(mask, tmp_path / "mask.nii.gz")
    with pytest.raises(DataError, match="Resample it first"):
        followup.read(tmp_path / "scan.nii.gz", tmp_path / "mask.nii.gz")
