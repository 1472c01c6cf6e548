"""Masks that people draw: what is said of them, and that storing one spoils nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from brainmri import data, masks
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

INSIDE = np.zeros((64, 64), dtype=bool)
INSIDE[8:56, 8:56] = True


def drawn(*boxes: tuple[int, int, int, int], without: tuple[int, int, int, int] | None = None) -> np.ndarray:
    """Boxes of top, bottom, left and right."""
    mask = np.zeros_like(INSIDE)
    for top, bottom, left, right in boxes:
        mask[top:bottom, left:right] = True
    if without:
        mask[without[0] : without[1], without[2] : without[3]] = False
    return mask


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (drawn((20, 40, 20, 40)), []),
        (drawn((20, 40, 20, 40), (44, 54, 44, 54)), []),  # two tumours are none the worse for it
        (drawn(), ["Nothing is drawn."]),
        (drawn((20, 22, 20, 22)), ["It is very small: 4 pixels."]),
        (drawn((8, 56, 8, 40)), ["It is very large: 67% of what it lies in."]),
        (drawn((20, 40, 20, 40), (50, 51, 50, 52)), ["It has 1 tiny piece apart from the rest, 2 pixels together."]),
        (drawn((20, 40, 20, 40), without=(25, 26, 25, 26)), ["It has holes of 1 pixel."]),
        (drawn((20, 40, 4, 24)), ["80 pixels of it, 20%, lie outside of where it may be."]),
    ],
)
def test_what_is_suspicious_is_said(mask: np.ndarray, said: list[str]) -> None:
    assert masks.faults(mask, INSIDE) == said


def test_areas_are_in_square_millimetres_where_they_can_be() -> None:
    assert masks.faults(drawn((20, 22, 20, 22)), INSIDE, (0.5, 2.0)) == ["It is very small: 4 mm²."]


def test_a_mask_of_another_slice_is_refused() -> None:
    with pytest.raises(ValueError, match="draw it on the same slice"):
        masks.faults(drawn(), INSIDE[:32])


def test_a_mended_mask_has_no_faults() -> None:
    mask = drawn((20, 40, 4, 30), (50, 51, 50, 52), without=(25, 28, 15, 18))
    assert len(masks.faults(mask, INSIDE)) == 3
    assert masks.faults(masks.mended(mask, INSIDE), INSIDE) == []
    assert not masks.mended(drawn(), INSIDE).any()


def test_a_head_is_what_is_bright_and_what_that_surrounds() -> None:
    image = np.where(drawn((10, 50, 10, 50), without=(20, 30, 20, 30)), 200, 3).astype(np.float32)
    assert (masks.head(image) == drawn((10, 50, 10, 50))).all()


def test_a_mask_is_read_with_its_slice_and_a_correction_lies_beside_it(make_folder: Callable[..., Path]) -> None:
    folder = make_folder([("1", "glioma", "anna")])
    (item,) = data.read_folder(folder).slices
    with Image.open(item.image) as image:
        mask = np.zeros(image.size[::-1], dtype=bool)
    mask[3:9, 4:9] = True
    stored = [masks.store(item.image, mask), masks.store(item.image, ~mask), masks.store(item.image, mask)]
    assert [path.name for path in stored] == [f"{item.image.stem}{end}.png" for end in ("", "-2", "-3")]
    (again,) = data.read_folder(folder).slices
    assert again.mask == stored[0]
    assert (np.asarray(data.open_mask(again)) == np.where(mask, 255, 0)).all()


def test_a_correction_does_not_become_the_mask_of_another_slice(make_folder: Callable[..., Path]) -> None:
    folder = make_folder([("scan[1]", "glioma", "anna"), ("scan[1]-2", "glioma", "anna")])
    one, other = data.read_folder(folder).slices
    mask = np.eye(12, dtype=bool)
    (folder / "masks").mkdir()
    Image.fromarray(mask).save(folder / "masks/scan[1].tif")
    assert masks.store(one.image, mask).name == "scan[1]-3.png"
    assert data.read_folder(folder).slices[1].mask is None
    assert masks.store(other.image, mask).name == "scan[1]-2.png"


def test_a_mask_that_does_not_fit_its_slice_is_not_stored(make_folder: Callable[..., Path]) -> None:
    folder = make_folder([("1", "glioma", "anna")])
    (item,) = data.read_folder(folder).slices
    with pytest.raises(data.DataError, match="Draw it on the slice as its file has it"):
        masks.store(item.image, np.ones((3, 3), dtype=bool))
    assert not (folder / "masks").exists()


def test_no_folder_is_made_beside_one_that_holds_other_things(make_folder: Callable[..., Path]) -> None:
    (item,) = data.read_folder(make_folder([("1", "glioma", "anna")]))
    loose = item.image.rename(item.image.parent.parent / "1.png")
    with pytest.raises(data.DataError, match="lies in no folder named slices"):
        masks.store(loose, np.ones((12, 12), dtype=bool))
    assert not (loose.parent.parent / "masks").exists()
