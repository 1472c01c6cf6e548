"""The U-Net: its size, its shapes, that every part of it learns, and what it is estimated to need."""

from __future__ import annotations

import pytest
import torch
from brainmri import preflight
from brainmri.unet import UNet


def test_its_size_is_that_of_the_talk() -> None:
    model = UNet()
    learnt = sum(parameter.numel() for parameter in model.parameters())
    remembered = sum(buffer.numel() for name, buffer in model.named_buffers() if "running" in name)
    assert (learnt + remembered, learnt) == (34_535_745, 34_523_969)


@pytest.mark.parametrize(("edges", "levels"), [((32, 32), 3), ((64, 48), 4)])
def test_it_answers_for_every_pixel(edges: tuple[int, int], levels: int) -> None:
    model = UNet(channels=2, classes=3, filters=4, levels=levels)
    assert model(torch.zeros(2, 2, *edges)).shape == (2, 3, *edges)


def test_every_weight_has_a_slope() -> None:
    model = UNet(filters=4, levels=3)
    model(torch.randn(2, 1, 32, 32)).square().mean().backward()
    without = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    # A bias before a normalisation changes nothing: its slope is rounding at most.
    assert [name for name in without if not name.endswith("bias")] == []


def test_what_it_needs_is_what_was_measured() -> None:
    """The peak of such a training on an NVIDIA H200 (PyTorch 2.11, CUDA 13) was 253 MiB beside its data."""
    need = preflight.need(UNet(filters=16), (16, 1, 128, 128))
    assert (need.weights + need.activations) / 1024**2 == pytest.approx(253, rel=0.2)


def test_what_does_not_fit_is_said_with_what_to_do() -> None:
    need = preflight.need(UNet(), (16, 1, 256, 256))
    assert need.weights == 16 * 34_523_969
    assert need.advice(80 * 1024**3) == ""
    assert "Use at most" in need.advice(3 * 1024**3)
    assert "smaller network" in need.advice(1024**3)
