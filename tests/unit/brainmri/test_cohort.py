"""The made-up cohort in 3D repeats with its seed, says what it is, and its tumours look as they should."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nibabel
import numpy as np
import pytest
from brainmri.segmentation3d import cohort
from brainmri.segmentation3d.cases import CORE, OEDEMA, read_scan

if TYPE_CHECKING:
    from pathlib import Path

SPACING = 4.0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> cohort.Cohort:
    return cohort.make(tmp_path_factory.mktemp("cohort") / "set", cases=2, spacing=SPACING, seed=3)


@pytest.fixture(scope="module")
def drawn() -> list[cohort.Drawn]:
    return [cohort.draw(number, spacing=SPACING) for number in range(1, 7)]


def test_the_same_seed_makes_the_same_voxels_and_another_does_not() -> None:
    one, again, other = (cohort.draw(1, spacing=8.0, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(one.images, again.images)
    assert np.array_equal(one.labels, again.labels)
    assert not np.array_equal(one.images, other.images)


def test_it_is_read_as_a_cohort_of_brats_and_says_synthetic_in_every_header(made: cohort.Cohort) -> None:
    assert made.layout.startswith("BraTS 2018-2021")
    assert made.source.synthetic
    assert [case.name for case in made] == ["SYNTHETIC-001", "SYNTHETIC-002"]
    for path in made.root.rglob("*.nii.gz"):
        assert bytes(nibabel.load(path).header["descrip"]).startswith(b"SYNTHETIC: made by a program")
    scan = read_scan(made.cases[0])
    assert scan.mask is not None
    assert set(np.unique(scan.mask)) == {0, CORE, OEDEMA}
    assert scan.spacing.tolist() == [SPACING] * 3


def test_an_existing_one_is_read_not_drawn_again(made: cohort.Cohort) -> None:
    assert cohort.make(made.root, cases=9) == made


def test_tumours_lie_in_the_brain_and_have_plausible_volumes(drawn: list[cohort.Drawn]) -> None:
    for one in drawn:
        brain = one.images.max(axis=0) > 0
        assert 0.9 < brain.sum() * SPACING**3 / 1e6 < 2.6  # litres
        tumour = one.labels > 0
        assert not (tumour & ~brain).any()
        assert 6 < tumour.sum() * SPACING**3 / 1000 < 220
        assert (one.labels == cohort.OEDEMA).sum() > 0.3 * tumour.sum()


def test_each_modality_shows_what_it_is_known_for(drawn: list[cohort.Drawn]) -> None:
    """Oedema is bright on FLAIR and T2 and dark on T1; a rim that enhances is brightest after contrast."""
    for one in drawn:
        t1, t1ce, t2, flair = one.images
        healthy = (one.labels == 0) & (t1 > 0)
        swollen = one.labels == cohort.OEDEMA
        assert flair[swollen].mean() > 1.2 * flair[healthy].mean()
        assert t2[swollen].mean() > t2[healthy].mean()
        rim = one.labels == cohort.RIM
        if rim.sum() > 20:
            change = t1ce[rim].mean() / t1[rim].mean()
            assert change > 1.2 * t1ce[healthy].mean() / t1[healthy].mean()
    assert any((one.labels == cohort.RIM).any() for one in drawn)


def test_hard_is_harder_than_easy() -> None:
    """How far oedema stands out on FLAIR, in deviations of what is healthy."""

    def contrast(difficulty: float) -> float:
        found = []
        for number in range(1, 5):
            one = cohort.draw(number, spacing=SPACING, difficulty=difficulty)
            flair = one.images[3]
            healthy = flair[(one.labels == 0) & (flair > 0)]
            found.append((flair[one.labels == cohort.OEDEMA].mean() - healthy.mean()) / healthy.std())
        return float(np.mean(found))

    assert contrast(0.0) > 1.2 * contrast(1.0)


def test_an_interrupted_cohort_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cohort.make(tmp_path / "set", cases=1, spacing=8.0, on_progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"cases": 0}, {"spacing": 0.5}, {"difficulty": 2.0}])
def test_arguments_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="cases must be at least 1, spacing between 1 and 8 mm"):
        cohort.make(tmp_path / "set", **wrong)  # type: ignore[arg-type]
