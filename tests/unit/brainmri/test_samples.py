"""From files to a network's grid and back, and patients that stay on one side of a split."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
from brainmri.data import DataError
from brainmri.segmentation3d.cases import CORE, OEDEMA, Case, Scan, read_cohort
from brainmri.segmentation3d.samples import load, normalise, prepare
from brainmri.splits import split_patients
from hypothesis import given
from hypothesis import strategies as st
from nibabel import orientations

CASE = Case("one", "one", {modality: (Path("x"), None) for modality in ("t1", "t1ce", "t2", "flair")}, None)


def scan(spacing: tuple[float, float, float] = (1.0, 1.0, 1.0), shape: tuple[int, int, int] = (40, 32, 24)) -> Scan:
    """A box of brain, in it a box of oedema with a box of core."""
    mask = np.zeros(shape, dtype=np.uint8)
    mask[12:28, 10:24, 6:18] = OEDEMA
    mask[16:24, 12:20, 8:14] = CORE
    image = np.zeros(shape, dtype=np.float32)
    image[4:36, 4:28, 2:22] = 5
    images = np.stack([image + mask * (number + 1) * (image > 0) for number in range(4)])
    return Scan(images, mask, np.diag([*spacing, 1.0]))


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@pytest.mark.parametrize(("spacing", "least"), [(1.0, 1.0), (2.0, 0.85), (1.4, 0.8)])
def test_what_was_made_coarser_comes_back_to_its_place(spacing: float, least: float) -> None:
    original = scan()
    sample = prepare(CASE, original, spacing)
    assert sample.labels is not None
    assert original.mask is not None
    shares = np.stack([sample.labels == region for region in (CORE, OEDEMA)])
    for region, back in zip((CORE, OEDEMA), sample.back(shares), strict=True):
        assert back.shape == original.mask.shape
        assert overlap(back >= 0.5, original.mask == region) >= least


def test_volumes_are_kept_whatever_the_voxels() -> None:
    original = scan(spacing=(1.0, 1.5, 3.0))
    sample = prepare(CASE, original, 1.5)
    assert original.mask is not None
    assert sample.labels is not None
    for region in (CORE, OEDEMA):
        before, after = (original.mask == region).sum() * 4.5, (sample.labels == region).sum() * 1.5**3
        assert after == pytest.approx(before, rel=0.1)


@pytest.mark.parametrize(
    "order", [(axes, flips) for axes in permutations(range(3)) for flips in product((1, -1), repeat=3)][::5]
)
def test_however_the_files_axes_lie_the_head_is_the_same_and_comes_back(order: tuple) -> None:
    axes, flips = order
    straight = scan()
    turn = np.array([[axis, flip] for axis, flip in zip(axes, flips, strict=True)], dtype=float)
    affine = straight.affine @ orientations.inv_ornt_aff(turn, straight.images.shape[1:])
    images = np.stack([orientations.apply_orientation(one, turn) for one in straight.images])
    assert straight.mask is not None
    mask = orientations.apply_orientation(straight.mask, turn)
    sample = prepare(CASE, Scan(images, mask, affine), 1.0)
    assert np.array_equal(sample.images, prepare(CASE, straight, 1.0).images)
    assert sample.labels is not None
    back = sample.back(sample.labels == CORE)
    assert np.array_equal(back >= 0.5, mask == CORE)
    assert nibabel.aff2axcodes(affine) is not None


def test_brightness_and_scale_of_a_scanner_do_not_matter_and_air_stays_0() -> None:
    image = scan().images[0]
    assert np.allclose(normalise(image), normalise(image * 37), atol=1e-4)
    assert not normalise(image)[image == 0].any()
    assert not normalise(np.zeros((3, 3, 3), dtype=np.float32)).any()


def test_a_head_whose_voxels_lost_their_size_is_refused(tmp_path: Path) -> None:
    original = scan()
    for modality, image in zip(CASE.images, original.images, strict=True):
        nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), tmp_path / f"one_{modality}.nii.gz")
    with pytest.raises(DataError, match=r"one says that its voxels are 1 x 1 x 1 mm, and the head 24 mm .*was lost"):
        load(read_cohort(tmp_path).cases, 2.0)
    for path in tmp_path.iterdir():
        nibabel.save(nibabel.Nifti1Image(nibabel.load(path).get_fdata(), np.diag([4, 5, 6, 1])), path)
    assert load(read_cohort(tmp_path).cases, 4.0)[0].scale.tolist() == [1, 0.8, pytest.approx(2 / 3)]


def test_a_case_is_known_again_by_its_voxels() -> None:
    one, again = prepare(CASE, scan(), 2.0), prepare(CASE, scan(), 2.0)
    other = prepare(CASE, Scan(scan().images[:, :20], None, np.eye(4)), 2.0)
    assert one.digest == again.digest != other.digest


@given(st.lists(st.integers(0, 8), min_size=3, max_size=30), st.integers(3, 6), st.integers(0, 5))
def test_a_patient_is_never_on_two_sides(numbers: list[int], folds: int, fold: int) -> None:
    patients = np.array([f"p{number}" for number in numbers])
    if len(set(numbers)) < 3:
        with pytest.raises(DataError, match="need one each"):
            split_patients(patients, folds=folds, fold=fold)
        return
    parts = split_patients(patients, folds=folds, fold=fold).parts
    sides = [set(patients[chosen]) for chosen in parts.values()]
    assert all(sides)
    assert sum(map(len, sides)) == len(set(numbers))
    assert sum(map(len, parts.values())) == len(numbers)


def test_a_head_with_air_and_skull_is_refused_and_says_how_to_take_them_off() -> None:
    original = scan()
    noisy = Scan(original.images + 0.5, original.mask, original.affine)
    with pytest.raises(DataError, match=r"one is not 0 in 100% of its voxels: .*Take off skull and air first"):
        prepare(CASE, noisy, 1.0)
    other = Case("ct", "ct", {"CT": (Path("x"), None)}, None)
    assert prepare(other, Scan(noisy.images[:1], None, noisy.affine), 1.0).labels is None
