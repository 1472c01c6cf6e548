"""Losses against values worked out by hand, and what they make of an image without a tumour."""

from __future__ import annotations

from math import log

import pytest
import torch
from brainmri.losses import FOREGROUND_WEIGHT, LOSSES, loss, signed_distance

SURE = 20.0  # a logit whose sigmoid is 1


def image(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32).reshape(1, 1, 2, 2)


TRUTH = image(1, 1, 0, 0)
UNSURE = image(0, 0, 0, 0)
HALF = image(SURE, -SURE, SURE, -SURE)  # one pixel found, one missed, one false alarm


@pytest.mark.parametrize(
    ("name", "logits", "expected"),
    [
        ("bce", UNSURE, log(2)),
        ("weighted bce", UNSURE, log(2) * (FOREGROUND_WEIGHT + 1) / 2),
        ("dice", HALF, 0.5),  # 1 - 2 * 1 / (2 + 2)
        ("bce + dice", HALF, 0.5 + SURE / 2),
        ("focal", UNSURE, 0.25 * log(2) * (0.75 + 0.25) / 2),
        ("tversky", HALF, 1 - 1 / (1 + 0.3 + 0.7)),
        ("focal tversky", HALF, 0.5**0.75),
        ("lovasz", image(1, 1, -1, -1), 0.0),  # every margin is kept
        ("lovasz", UNSURE, 1.0),  # every margin is missed by 1, so the slopes add up to 1
    ],
)
def test_values_worked_out_by_hand(name: str, logits: torch.Tensor, expected: float) -> None:
    assert float(loss(name)(logits, TRUTH)) == pytest.approx(expected, abs=2e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_the_right_answer_costs_less_than_a_wrong_one(name: str) -> None:
    right, wrong = (TRUTH * 2 - 1) * SURE, (1 - TRUTH * 2) * SURE
    assert float(loss(name)(right, TRUTH)) < float(loss(name)(HALF, TRUTH)) < float(loss(name)(wrong, TRUTH))


@pytest.mark.parametrize("name", LOSSES)
def test_an_image_without_a_tumour_has_a_finite_loss_and_slope(name: str) -> None:
    nothing = torch.zeros(1, 1, 4, 4)
    logits = torch.randn(1, 1, 4, 4, requires_grad=True)
    value = loss(name)(logits, nothing)
    value.backward()
    assert torch.isfinite(value)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()
    assert float(loss(name)(torch.full_like(nothing, -SURE), nothing)) <= float(value.detach())


def test_a_distance_is_negative_inside() -> None:
    mask = torch.zeros(8, 8)
    mask[2:6, 2:6] = 1
    distance = signed_distance(mask.numpy())
    assert distance[3, 3] == -2 / 8
    assert distance[3, 0] == 2 / 8
    assert not signed_distance(torch.zeros(8, 8).numpy()).any()


def test_an_unknown_loss_is_refused_with_those_known() -> None:
    with pytest.raises(ValueError, match="choose bce, weighted bce"):
        loss("dicee")
