"""Synthetic slices repeat with their seed, say what they are, and are as hard as asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from brainmri import data, synthetic
from PIL import Image

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> data.Dataset:
    return synthetic.make(tmp_path_factory.mktemp("synthetic") / "set", patients=6, slices=3, seed=7)


def pixels(dataset: data.Dataset) -> list[bytes]:
    return [Image.open(item.image).tobytes() for item in dataset]


def test_the_same_seed_makes_the_same_pixels(made: data.Dataset, tmp_path: Path) -> None:
    again = synthetic.make(tmp_path / "again", patients=6, slices=3, seed=7)
    other = synthetic.make(tmp_path / "other", patients=6, slices=3, seed=8)
    assert pixels(again) == pixels(made)
    assert not set(pixels(other)) & set(pixels(made))


def test_the_most_slices_of_a_head_lie_in_the_brain_in_every_plane() -> None:
    for plane in data.PLANES:
        sick, _ = synthetic.heads(2, synthetic.MOST_SLICES, seed=0, planes=(plane,))
        assert all(drawn.mask.any() for drawn in synthetic.draw(sick, difficulty=0.5))


def test_half_the_patients_have_a_lesion_and_keep_their_slices_together(made: data.Dataset) -> None:
    assert made.labels == {"glioma": 9, "none": 9}
    assert made.grouping == "patient"
    assert len(set(made.groups)) == 6


def test_every_image_says_synthetic_in_its_corner_and_in_its_metadata(made: data.Dataset) -> None:
    assert made.source.synthetic
    assert made.source.credit.startswith("SYNTHETIC DATA")
    corners = []
    for item in made:
        with Image.open(item.image) as image:
            assert image.info["Comment"].startswith("SYNTHETIC")
            assert image.info["Source"].startswith("SYNTHETIC DATA")
            corners.append(np.asarray(image)[-18:, :90] > 150)
    assert all(np.array_equal(corner, corners[0]) for corner in corners)
    assert 50 < corners[0].sum() < 500  # letters, neither nothing nor a filled box


def lesion_effects(difficulty: float) -> list[float]:
    """How much the lesion changes each slice of some heads: mean absolute difference to the same head without it."""
    heights = (0.0, 4.0, 8.0, 12.0, 16.0)
    effects = []
    for seed in range(4):
        heads = (synthetic.Head(lesion, heights, seed) for lesion in (True, False))
        pairs = zip(*(synthetic.draw(head, difficulty) for head in heads), strict=True)
        effects += [float(np.abs(with_lesion.image - without.image).mean()) for with_lesion, without in pairs]
    return effects


def test_a_lesion_shows_on_every_slice_of_its_head_and_less_where_it_is_harder() -> None:
    easy, hard = lesion_effects(0.0), lesion_effects(1.0)
    assert min(hard) > 0
    assert np.mean(easy) > 3 * np.mean(hard)


def test_grey_values_stay_between_black_and_white() -> None:
    (drawn,) = synthetic.draw(synthetic.Head(True, (10.0,), seed=1), difficulty=1)
    assert drawn.image.min() >= 0
    assert drawn.image.max() <= 1


def test_a_head_that_moves_is_the_same_head_in_the_same_place_with_ghosts_beside_it() -> None:
    head = synthetic.Head(True, (10.0,), seed=1)
    (still,), (little,), (much,) = (synthetic.draw(head, 0.0, motion) for motion in (0.0, 0.3, 1.0))
    (again,) = synthetic.draw(head, 0.0, 1.0)
    assert np.array_equal(much.image, again.image)
    assert np.array_equal(still.mask, much.mask)
    above = np.s_[:12, 96:160]  # there is nothing but air
    ghosts = [float(drawn.image[above].mean()) for drawn in (still, little, much)]
    assert ghosts == sorted(ghosts)
    assert ghosts[2] > 1.5 * ghosts[0]
    alike = [float(np.corrcoef(still.image.ravel(), drawn.image.ravel())[0, 1]) for drawn in (little, much)]
    assert 0.8 < alike[1] < alike[0]


@pytest.mark.parametrize("plane", synthetic.AXIS)
def test_a_mask_is_where_the_lesion_is(plane: synthetic.Plane) -> None:
    """What differs from the same head without it lies in the mask or, as oedema does, around it."""
    heads = [synthetic.Head(lesion, (0.0, 4.0), seed=3, plane=plane) for lesion in (True, False)]
    for ill, well in zip(*(synthetic.draw(head, 0.0) for head in heads), strict=True):
        assert ill.mask.any()
        assert not well.mask.any()
        changed = np.abs(ill.image - well.image)
        assert changed[ill.mask].mean() > 10 * changed[~ill.mask].mean()


def test_workers_draw_what_one_process_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synthetic.make(tmp_path / "alone", patients=4, slices=1)
    monkeypatch.setattr(synthetic, "WORTH_WORKERS", 1)
    synthetic.make(tmp_path / "together", patients=4, slices=1)
    for path in sorted((tmp_path / "alone").rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "together" / path.relative_to(tmp_path / "alone")).read_bytes()


def test_anterior_is_up_as_radiologists_show_it() -> None:
    """The eyes' end of the axial template is the narrow one: the frontal pole is less wide than the parietal part."""
    image = synthetic._template_slice(20.0, "axial") > 0.1
    rows = np.flatnonzero(image.any(axis=1))
    quarter = len(rows) // 4
    widths = image.sum(axis=1)[rows]
    assert widths[:quarter].mean() < widths[-quarter:].mean()


def test_an_existing_set_is_read_not_drawn_again(made: data.Dataset) -> None:
    before = made.slices[0].image.stat().st_mtime_ns
    assert synthetic.make(made.root, patients=6, slices=3, seed=7) == made
    assert made.slices[0].image.stat().st_mtime_ns == before


def test_an_interrupted_set_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthetic.make(tmp_path / "set", patients=2, slices=1, on_progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_set_that_another_kernel_has_drawn_meanwhile_is_taken(tmp_path: Path) -> None:
    def other(done: int, total: int) -> None:
        if done == total:
            synthetic.make(tmp_path / "set", patients=2, slices=1)

    made = synthetic.make(tmp_path / "set", patients=2, slices=1, on_progress=other)
    assert len(made) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize(
    "wrong", [{"patients": 1}, {"slices": 0}, {"slices": 21}, {"difficulty": 1.5}, {"motion": 2}, {"seed": -1}]
)
def test_arguments_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at least 2, slices from 1 to 20, difficulty and motion between 0"):
        synthetic.make(tmp_path / "set", **wrong)  # type: ignore[arg-type]
