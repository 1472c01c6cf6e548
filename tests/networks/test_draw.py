"""A slice to draw on: what goes to the browser and comes back. What the browser does with it, a test of pages sees."""

from __future__ import annotations

import numpy as np
import pytest
from brainmri.data import Source
from brainmri.draw import Drawing

IMAGE = np.linspace(0, 1, 12 * 8, dtype=np.float32).reshape(8, 12)
MADE_UP = Source("a ramp", "CC0", synthetic=True)


def test_what_the_browser_draws_is_the_mask() -> None:
    began = IMAGE > 0.9
    drawing = Drawing(IMAGE, MADE_UP, began)
    assert (drawing.mask == began).all()
    assert drawing.title.startswith("SYNTHETIC DATA: a ramp")
    drawn = IMAGE < 0.1
    drawing.set_state({"_drawn": memoryview(drawn.astype(np.uint8).tobytes())})
    assert (drawing.mask == drawn).all()
    drawing.reset()
    assert (drawing.mask == began).all()


def test_it_begins_with_nothing() -> None:
    assert not Drawing(IMAGE, MADE_UP).mask.any()


def test_a_mask_of_another_slice_is_refused() -> None:
    with pytest.raises(ValueError, match="they must be alike"):
        Drawing(IMAGE, MADE_UP, IMAGE[:4] > 0)
