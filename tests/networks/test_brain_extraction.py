"""The Brain Extraction Tool, which the release carries, finds a brain whose place is known."""

from __future__ import annotations

from brainmri import phantom, preprocess
from brainmri.overlap import dice


def test_the_brain_of_a_made_up_head_is_found() -> None:
    head = phantom.make(spacing_mm=(3, 3, 3), noise=0.02, bias=0.0)
    found = preprocess.brain_mask(head.raw, method="bet")
    assert found.shape == head.brain.shape
    assert dice(found, head.brain) > 0.9
