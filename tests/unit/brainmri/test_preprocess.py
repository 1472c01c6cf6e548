"""Each step of preprocessing does what it is for, on a synthetic scan whose truth is known."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from brainmri import cli, phantom, preprocess, volume
from brainmri.data import DataError
from brainmri.overlap import dice
from brainmri.volume import Volume
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from pathlib import Path

EDGE = 3.0


@pytest.fixture(scope="module")
def made() -> phantom.Phantom:
    return phantom.make(spacing_mm=(EDGE, EDGE, EDGE), bias=0.25)


@pytest.fixture(scope="module")
def even(made: phantom.Phantom) -> Volume:
    """The scan without noise, with what N4 leaves of its bias."""
    return preprocess.correct_bias(preprocess.denoise(made.raw))


@pytest.mark.parametrize("noise", [0.02, 0.05, 0.1])
def test_the_noise_is_read_from_the_air(noise: float) -> None:
    scan = phantom.make(spacing_mm=(4, 4, 4), noise=noise)
    assert preprocess.noise_sigma(scan.raw) == pytest.approx(scan.sigma, rel=0.1)


def test_a_black_background_cannot_tell_the_noise_and_it_is_said(made: phantom.Phantom) -> None:
    padded = made.raw.holding(np.where(made.brain, made.raw.values, 0))
    with pytest.raises(DataError, match="Give the noise as `sigma`"):
        preprocess.denoise(padded)
    assert preprocess.denoise(padded, sigma=0) is padded


def test_noise_goes_and_structure_stays(made: phantom.Phantom) -> None:
    truth = made.clean * made.bias

    def error(values: np.ndarray) -> float:
        return float(np.sqrt(((values - truth)[made.brain] ** 2).mean()))

    clean = preprocess.denoise(made.raw)
    assert error(clean.values) < 0.8 * error(made.raw.values)
    air = ~preprocess.head(clean)
    assert clean.values[air].mean() < 0.5 * made.raw.values[air].mean(), (
        "what Rician noise adds to the dark is taken off"
    )


def test_the_bias_field_is_found(made: phantom.Phantom, even: Volume) -> None:
    corrected = made.bias * even.values / np.maximum(preprocess.denoise(made.raw).values, 1e-6)
    assert preprocess.unevenness(corrected, made.brain) < 0.5 * preprocess.unevenness(made.bias, made.brain)
    before, after = (preprocess.joint_variation(one.values, made.grey, made.white) for one in (made.raw, even))
    assert after < 0.5 * before


def test_the_brain_is_found_without_skull_and_face(made: phantom.Phantom, even: Volume) -> None:
    found = preprocess.brain_mask(even, method="morphology")
    assert dice(found, made.brain) > 0.93


def test_where_no_brain_is_it_is_said() -> None:
    flat = Volume.of(np.random.default_rng(0).rayleigh(1, (20, 20, 20)))
    with pytest.raises(DataError, match="No brain was found"):
        preprocess.brain_mask(flat, method="morphology")


def test_a_library_that_is_not_there_is_named_with_where_it_is(
    made: phantom.Phantom, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("brainextractor", "dipy.denoise.nlmeans"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DataError, match=r"brainextractor is not in this environment: .* Use the kernel PyTorch"):
        preprocess.brain_mask(made.raw, method="bet")
    with pytest.raises(DataError, match="dipy is not in this environment"):
        preprocess.denoise(made.raw)


@pytest.mark.parametrize("command", ["follow-up {0} {0} --masks {0} {0}", "convert dicom --from {1} --to {1}/out"])
def test_a_command_says_which_kernel_has_what_it_needs(
    made: phantom.Phantom,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    volume.write(made.raw, tmp_path / "a.nii.gz")
    for name in ("SimpleITK", "pydicom"):
        monkeypatch.setitem(sys.modules, name, None)
    assert cli.main(command.format(tmp_path / "a.nii.gz", tmp_path).split()) == 2
    assert "is not in this environment" in capsys.readouterr().err


@given(factor=st.floats(0.1, 50), shift=st.floats(-100, 100))
@settings(max_examples=20, deadline=None)
def test_scaled_grey_values_do_not_depend_on_the_scanners_unit(factor: float, shift: float) -> None:
    random = np.random.default_rng(3)
    values, brain = random.normal(100, 15, (8, 9, 10)), random.random((8, 9, 10)) > 0.4
    scan, other = Volume.of(values), Volume.of(values * factor + shift)
    landmarks = preprocess.histogram_landmarks([(scan, brain)])
    for step in (
        preprocess.z_score,
        preprocess.percentile_scale,
        lambda one, mask: preprocess.match_histogram(one, mask, landmarks=landmarks),
    ):
        assert np.allclose(step(scan, brain).values[brain], step(other, brain).values[brain], atol=0.02)


def test_scaled_grey_values_are_what_their_name_says(made: phantom.Phantom) -> None:
    inside = preprocess.z_score(made.raw, made.brain).values[made.brain]
    assert (inside.mean(), inside.std()) == pytest.approx((0, 1), abs=1e-3)
    low, high = np.percentile(
        preprocess.percentile_scale(made.raw, made.brain, low=5, high=95).values[made.brain], [5, 95]
    )
    assert (low, high) == pytest.approx((0, 1), abs=1e-3)
    with pytest.raises(ValueError, match="rising numbers"):
        preprocess.match_histogram(made.raw, made.brain, landmarks=[3, 2, 1])
    with pytest.raises(DataError, match="mask of the brain is empty"):
        preprocess.z_score(made.raw, np.zeros_like(made.brain))


def test_contrast_is_spread_within_the_brain_only(made: phantom.Phantom) -> None:
    spread = preprocess.enhance_contrast(made.raw, made.brain).values
    assert (spread.min(), spread[~made.brain].max()) == (0, 0)
    assert spread.max() <= 1


def test_resampling_keeps_places_and_amounts() -> None:
    values = np.zeros((30, 24, 20))
    values[8:20, 6:18, 5:15] = 1
    box = Volume(values.astype(np.float32), np.array([[-1.0, 0, 0, 9], [0, 1, 0, -4], [0, 0, 2, 7], [0, 0, 0, 1]]))
    for spacing in ((2.0, 2.0, 2.0), (0.5, 1.0, 1.0), (3.0, 3.0, 4.0)):
        other = preprocess.resample(box, spacing=spacing)
        assert other.spacing == pytest.approx(spacing)
        assert other.values.sum() * other.voxel_ml == pytest.approx(values.sum() * box.voxel_ml, rel=0.05)
        middle = [(one.affine @ [*np.mean(np.nonzero(one.values > 0.5), axis=1), 1])[:3] for one in (box, other)]
        assert np.allclose(*middle, atol=0.6 * max(spacing))
    assert set(np.unique(preprocess.resample(box, spacing=(2, 2, 2), mask=True).values)) == {0.0, 1.0}


def test_faults_of_a_mask_are_sentences() -> None:
    mask = np.zeros((20, 20, 20), dtype=bool)
    assert preprocess.mask_faults(mask, (1, 1, 1)) == ["The mask is empty."]
    mask[5:15, 5:15, 5:15] = True
    assert preprocess.mask_faults(mask, (1, 1, 1)) == []
    mask[9:11, 9:11, 9:11] = False
    mask[0, 0, 0] = True
    said = " ".join(preprocess.mask_faults(mask, (5, 5, 5)))
    assert "2 pieces; those but the largest hold 0.12 ml" in said
    assert "holes of 1.00 ml" in said
    assert "touches the border" in said
    assert preprocess.mask_faults(preprocess.mended(mask), (5, 5, 5)) == []


def test_a_volume_too_small_for_a_bias_field_is_said() -> None:
    scrap = Volume.of(np.random.default_rng(0).random((8, 8, 8)))
    with pytest.raises(DataError, match="No bias field can be fitted to this volume"):
        preprocess.bias_field(scrap, rounds=1, iterations=1)
