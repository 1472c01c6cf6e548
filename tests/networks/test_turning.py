"""A head to turn: what the browser is given, its source beside it, and a figure where the viewer is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nibabel
import numpy as np
from brainmri.data import Source
from brainmri.segmentation3d import turning
from matplotlib.figure import Figure

from tests.networks.test_segmentation3d import sample

if TYPE_CHECKING:
    import pytest

SOURCE = Source("made-up <heads>", "no licence is needed", synthetic=True)
REGIONS = ("core", "oedema")


def test_the_browser_gets_the_head_with_its_mask_and_is_told_that_it_is_synthetic() -> None:
    """What a browser makes of it, `tests/browser/test_widgets.py` sees."""
    one = sample()
    assert one.labels is not None
    box = turning.turned(one, one.labels, SOURCE, REGIONS)
    shown, caption = box.children
    image, mask = (nibabel.Nifti1Image.from_bytes(volume.data) for volume in shown.volumes)
    assert np.array_equal(np.asarray(mask.dataobj), one.labels)
    assert np.array_equal(np.asarray(image.dataobj) > 0, one.images[-1] != 0)
    assert np.allclose(image.affine, mask.affine)
    assert shown.volumes[1].colormap_label.labels == ["", *REGIONS]
    assert "SYNTHETIC" in caption.value
    assert "made-up &lt;heads&gt;" in caption.value


def test_what_was_drawn_and_not_found_is_white() -> None:
    one = sample()
    assert one.labels is not None
    found = np.where(one.labels == 1, 1, 0).astype(np.uint8)
    shown, _ = turning.turned(one, found, SOURCE, REGIONS, one.labels).children
    over = np.asarray(nibabel.Nifti1Image.from_bytes(shown.volumes[1].data).dataobj)
    assert np.array_equal(over == 1, found == 1)
    assert np.array_equal(over == 3, one.labels == 2)
    table = shown.volumes[1].colormap_label
    assert table.labels == ["", *REGIONS, "drawn, not found"]


def test_without_the_viewer_there_is_a_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    one = sample()
    assert one.labels is not None
    monkeypatch.setattr(turning, "find_spec", lambda _name: None)
    assert isinstance(turning.turned(one, one.labels, SOURCE, REGIONS), Figure)
    assert len(turning.turned(one, one.labels, SOURCE, REGIONS, one.labels).axes) == 2
