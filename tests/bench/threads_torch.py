"""Steps a second of a small U-Net that learns on the CPU: says `ready`, waits for a line, measures, and prints them."""

from __future__ import annotations

import sys
import time

import torch
from brainmri.unet import UNet

WARM = 3


def main(seconds: float) -> None:
    """Learn for so long, as `brainmri train segmentation2d` in size `quick` does."""
    torch.manual_seed(0)
    model = UNet(filters=16, levels=5).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(model.parameters())
    images = torch.randn(8, 1, 128, 128).contiguous(memory_format=torch.channels_last)
    masks = (torch.rand_like(images) > 0.9).float()

    def step() -> None:
        loss = torch.nn.functional.binary_cross_entropy_with_logits(model(images), masks)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    for _ in range(WARM):
        step()
    print("ready", flush=True)
    sys.stdin.readline()
    began, steps = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        step()
        steps += 1
    print(steps / (time.perf_counter() - began))


if __name__ == "__main__":
    main(float(sys.argv[1]))
